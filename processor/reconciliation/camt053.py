"""Statements as ISO 20022 camt.053, versions .001.02 to .001.08. What the schema does not allow is refused."""

import re
from collections.abc import Iterator, Sequence
from datetime import date
from typing import Any, Final

from lxml import etree

from processor.reconciliation.joining import join
from processor.reconciliation.statements import (
    Entry,
    FileError,
    Statement,
    day_after,
    exact_minor,
    known_currency,
    tidy,
)

_NAMESPACE: Final = re.compile(r"urn:iso:std:iso:20022:tech:xsd:camt\.053\.001\.(0[2-8])")
_DAY: Final = re.compile(r"([0-9]{4}-[0-9]{2}-[0-9]{2})(?:T.*|Z|[+-][0-9]{2}:[0-9]{2})?")
_STATUSES: Final = ("BOOK", "PDNG", "INFO", "FUTR")
_OPENING: Final = ("OPBD", "PRCD")
_CLOSING: Final = ("CLBD",)

_Element = Any
"""lxml has no annotations."""


def read_camt053(data: bytes, *, max_lines: int) -> Statement:
    """The statement in the file. Raises ``FileError``."""
    root = _parse(data)
    namespace = etree.QName(root).namespace or ""
    if etree.QName(root).localname != "Document" or _NAMESPACE.fullmatch(namespace) is None:
        raise FileError([("line 1", f"not camt.053.001.02 to .08: it begins with {root.tag}")])
    reading = _Reading(namespace)
    found = [reading.statement(each) for each in reading.all(root, "BkToCstmrStmt/Stmt")]
    if not found:
        raise FileError([("Document", "it has no BkToCstmrStmt/Stmt")])
    if reading.errors:
        raise FileError(reading.errors)
    if (lines := sum(len(each.entries) for each in found)) > max_lines:
        raise FileError([("", f"the file has {lines:,} lines, and {max_lines:,} are the most")])
    if len(reading.accounts) > 1:
        names = ", ".join(sorted(reading.accounts))
        raise FileError([("", f"it has statements of several accounts ({names}): give each its own file")])
    return join("camt053", found)


def _parse(data: bytes) -> _Element:
    """The document. One that declares a type is refused before it is read: its entities could be a bomb, or a thief."""
    if b"<!DOCTYPE" in data.replace(b"\0", b""):
        raise FileError([("", "it has a DOCTYPE, which no statement needs and which is not read")])
    parser = etree.XMLParser(
        resolve_entities=False, load_dtd=False, no_network=True, huge_tree=False, remove_comments=True, remove_pis=True
    )
    try:
        root = etree.fromstring(data, parser)
    except etree.XMLSyntaxError as error:
        raise FileError([(f"line {error.lineno}", f"not XML, or cut off: {error.msg}")]) from None
    if root.getroottree().docinfo.internalDTD is not None:
        raise FileError([("", "it has a DOCTYPE, which no statement needs and which is not read")])
    return root


class _Reading:
    def __init__(self, namespace: str) -> None:
        self.namespace = namespace
        self.accounts: set[str] = set()
        self.errors: list[tuple[str, str]] = []
        self._paths: dict[str, str] = {}

    def statement(self, stmt: _Element) -> Statement:
        entries: list[Entry] = []
        skipped = 0
        account = self.text(stmt, "Acct/Id/IBAN") or self.text(stmt, "Acct/Id/Othr/Id")
        if account:
            self.accounts.add(account)
        currency = self.text(stmt, "Acct/Ccy") or self._balance_currency(stmt)
        opening = self._balance(stmt, _OPENING, currency, last=False)
        closing = self._balance(stmt, _CLOSING, currency, last=True)
        for number, ntry in enumerate(self.all(stmt, "Ntry"), start=1):
            place = f"{_place(ntry)}[{number}]"
            try:
                found = list(self._entries(ntry, currency, place))
            except ValueError as error:
                self.errors.append((place, str(error)))
                continue
            entries += found
            skipped += not found
        days = [*(entry.booked_on for entry in entries), closing[1]]
        from_ = self.text(stmt, "FrToDt/FrDtTm")
        first = self._checked_day(stmt, from_) if from_ else day_after(opening[1])
        return Statement(
            "camt053",
            currency,
            min(*days, first),
            max(days),
            entries,
            opening[0],
            closing[0],
            skipped=skipped,
        )

    def _entries(self, ntry: _Element, currency: str, place: str) -> Iterator[Entry]:
        """The lines that an entry is: one, or one for each of its transactions if they add up to it."""
        amount_minor = self._amount(ntry, currency)
        is_credit = self._is_credit(ntry)
        status = self._status(ntry)
        reversal = self.text(ntry, "RvslInd") or "false"
        if reversal not in ("true", "false", "1", "0"):
            raise ValueError(f"RvslInd {reversal!r} is neither true nor false")
        if status != "BOOK" or amount_minor == 0:
            return
        day = self.text(ntry, "BookgDt/Dt") or self.text(ntry, "BookgDt/DtTm") or self.text(ntry, "ValDt/Dt")
        if day is None:
            raise ValueError("it has neither BookgDt nor ValDt")
        booked_on = _day(day)
        whole = Entry(
            place,
            booked_on,
            is_credit,
            amount_minor,
            is_reversal=reversal in ("true", "1"),
            bank_reference=tidy(self.text(ntry, "AcctSvcrRef")),
            reference=tidy(self.text(ntry, "NtryRef")),
            batch=tidy(self.text(ntry, "NtryDtls/Btch/PmtInfId") or self.text(ntry, "NtryDtls/Btch/MsgId")),
            text=tidy(self.text(ntry, "AddtlNtryInf")),
        )
        details = self.all(ntry, "NtryDtls/TxDtls")
        if len(details) == 1:
            yield self._detailed(whole, details[0], amount_minor)
            return
        amounts = [self._detail_amount(detail, currency, is_credit) for detail in details]
        known = [each for each in amounts if each]
        if details and len(known) == len(details) and sum(known) == amount_minor:
            for detail, each_minor in zip(details, known, strict=True):
                yield self._detailed(whole, detail, each_minor)
            return
        # Its parts are not known, or not in its currency: it is one line that says what they all say.
        texts = [self._detailed(whole, detail, amount_minor) for detail in details]
        yield _with(
            whole,
            amount_minor,
            reference=tidy(whole.reference, *(each.reference for each in texts if each.reference != whole.reference)),
            end_to_end_id=tidy(*(each.end_to_end_id for each in texts)),
            counterparty=tidy(*(each.counterparty for each in texts)),
            text=tidy(whole.text, *(each.text for each in texts if each.text != whole.text)),
        )

    def _detailed(self, whole: Entry, detail: _Element, amount_minor: int) -> Entry:
        """The line of one transaction of an entry."""
        side = "Dbtr" if whole.is_credit else "Cdtr"
        party = f"RltdPties/{side}"
        end_to_end_id = self.text(detail, "Refs/EndToEndId")
        return _with(
            whole,
            amount_minor,
            bank_reference=tidy(self.text(detail, "Refs/AcctSvcrRef")) or whole.bank_reference,
            reference=tidy(
                self.text(detail, "RmtInf/Strd/CdtrRefInf/Ref") or self.text(detail, "Refs/InstrId") or whole.reference
            ),
            end_to_end_id=None if end_to_end_id == "NOTPROVIDED" else tidy(end_to_end_id),
            counterparty=tidy(
                self.text(detail, f"{party}/Nm") or self.text(detail, f"{party}/Pty/Nm"),
                self.text(detail, f"RltdPties/{side}Acct/Id/IBAN")
                or self.text(detail, f"RltdPties/{side}Acct/Id/Othr/Id"),
            ),
            text=tidy(*(each.text for each in self.all(detail, "RmtInf/Ustrd")), self.text(detail, "AddtlTxInf"))
            or whole.text,
        )

    def _detail_amount(self, detail: _Element, currency: str, is_credit: bool) -> int | None:
        """What of the entry is this transaction's; ``None`` if that is not said in its currency and direction."""
        amt = self.first(detail, "Amt")
        if amt is None:
            amt = self.first(detail, "AmtDtls/TxAmt/Amt")
        if amt is None or amt.get("Ccy") != currency or not amt.text:
            return None
        direction = self.text(detail, "CdtDbtInd")
        if direction is not None and (direction == "CRDT") is not is_credit:
            return None
        return exact_minor(amt.text.strip(), currency)

    def _balance_currency(self, stmt: _Element) -> str:
        amt = self.first(stmt, "Bal/Amt")
        return (amt is not None and amt.get("Ccy")) or ""

    def _balance(self, stmt: _Element, codes: Sequence[str], currency: str, *, last: bool) -> tuple[int, date]:
        """The balance of the first of these types that there is, and its day."""
        balances = self.all(stmt, "Bal")
        for code in codes:
            for bal in reversed(balances) if last else balances:
                if self.text(bal, "Tp/CdOrPrtry/Cd") == code:
                    try:
                        amount_minor = self._amount(bal, currency)
                        sign = 1 if self._is_credit(bal) else -1
                        return sign * amount_minor, _day(self.text(bal, "Dt/Dt") or self.text(bal, "Dt/DtTm") or "")
                    except ValueError as error:
                        self.errors.append((_place(bal), str(error)))
                        return 0, date.min
        self.errors.append((_place(stmt), f"it has no balance of type {' or '.join(codes)}"))
        return 0, date.min

    def _amount(self, parent: _Element, currency: str) -> int:
        amt = self.first(parent, "Amt")
        if amt is None:
            raise ValueError("it has no Amt")
        if (found := known_currency(amt.get("Ccy") or "")) != currency:
            raise ValueError(f"its amount is in {found}, and the account in {currency}")
        return exact_minor((amt.text or "").strip(), currency)

    def _is_credit(self, parent: _Element) -> bool:
        direction = self.text(parent, "CdtDbtInd")
        if direction not in ("CRDT", "DBIT"):
            raise ValueError(f"CdtDbtInd {direction!r} is neither CRDT nor DBIT")
        return direction == "CRDT"

    def _status(self, ntry: _Element) -> str:
        """A code of its own until .07, within Cd from .08 on."""
        status = self.text(ntry, "Sts/Cd") or self.text(ntry, "Sts")
        if status not in _STATUSES:
            raise ValueError(f"Sts {status!r} is none of {', '.join(_STATUSES)}")
        return status

    def _checked_day(self, stmt: _Element, text: str) -> date:
        try:
            return _day(text)
        except ValueError as error:
            self.errors.append((_place(stmt), str(error)))
            return date.min

    def first(self, parent: _Element, path: str) -> _Element | None:
        return parent.find(self._qualified(path))

    def all(self, parent: _Element, path: str) -> list[_Element]:
        return list(parent.findall(self._qualified(path)))

    def text(self, parent: _Element, path: str) -> str | None:
        found = self.first(parent, path)
        return ((found.text or "").strip() or None) if found is not None else None

    def _qualified(self, path: str) -> str:
        if path not in self._paths:
            self._paths[path] = "/".join(f"{{{self.namespace}}}{name}" for name in path.split("/"))
        return self._paths[path]


def _with(whole: Entry, amount_minor: int, **texts: str | None) -> Entry:
    fields = {name: texts.get(name, getattr(whole, name)) for name in ("reference", "counterparty", "text")}
    return Entry(
        whole.place,
        whole.booked_on,
        whole.is_credit,
        amount_minor,
        whole.is_reversal,
        texts.get("bank_reference") or whole.bank_reference,
        end_to_end_id=texts.get("end_to_end_id"),
        batch=whole.batch,
        **fields,
    )


def _day(text: str) -> date:
    match = _DAY.fullmatch(text)
    try:
        return date.fromisoformat(match[1] if match else "")
    except ValueError:
        raise ValueError(f"{text!r} is not a day") from None


def _place(element: _Element) -> str:
    """The element's line, and its path in words that a person can follow."""
    names = [etree.QName(each).localname for each in (*reversed(list(element.iterancestors())), element)]
    return f"line {element.sourceline}, {'/'.join(names[1:])}"
