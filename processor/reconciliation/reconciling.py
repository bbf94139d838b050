"""Statements and books side by side: import, match, note what is not as it should be, and tell somebody."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta, tzinfo
from typing import Any, Final

from psycopg import Connection

from processor import alerts
from processor.breaks import Break, Severity
from processor.domain.matching import Limits, Line, Match, Matched, Moved, Result, TransferId, covered_days, match
from processor.money import format_amount
from processor.reconciliation.importing import Imported, import_statement, imported_before
from processor.reconciliation.statements import Statement
from processor.store import statements as store
from processor.store.statements import BreakRow, FileRow, NewBreak

PROOF: Final = "reconciliation"
"""The name under which its breaks become alerts."""

MOST_ALERTS: Final = 500
"""Breaks that have an alert each. A wrong file makes thousands at once: of those beyond, one alert says how many."""

_ADVICE: Final = {
    Result.MISSING_IN_BOOKS.value: "Find out what the money was for: send the command, or match the line by hand.",
    Result.MISSING_IN_STATEMENT.value: "Ask the bank where the money is; a statement of a later day may have it.",
    Result.AMOUNT_DIFFERS.value: "Ask who is right, client or bank: correct the books, or match by hand and say why.",
    Result.DUPLICATE.value: "The bank booked it twice: have it take one back.",
    "balance": "Fetch the statement again, and those before it: one is missing, or has lines that do not add up.",
}


@dataclass(frozen=True, slots=True)
class Settlement:
    """
    What the bank says that an account moved on the days of a file, and what the books say; credits less debits.

    The books are the settlement account's deposits and withdrawals of those days. The difference is what is in breaks,
    and what the two have on different days, or the books on another bank account.
    """

    bank_minor: int
    books_minor: int
    in_breaks_minor: int

    @property
    def other_days_minor(self) -> int:
        """The rest: what is matched, with another day or account, or within the tolerance."""
        return self.bank_minor - self.books_minor - self.in_breaks_minor


@dataclass(frozen=True, slots=True)
class Reconciled:
    """What came of a file. Without ``settlement``, it was imported before."""

    imported: Imported
    settlement: Settlement | None = None


def reconcile(
    conn: Connection,
    statement: Statement,
    data: bytes,
    *,
    name: str,
    bank_account: str,
    limits: Limits,
    zone: tzinfo,
    by: str,
    now: datetime,
) -> Reconciled:
    """
    Import a statement and match everything that is open in its currency: all of it is committed, or nothing.

    Raises ``FileError`` if the file cannot be of this account.
    """
    store.allow_long(conn)
    with conn.transaction():
        store.lock(conn)
        if again := imported_before(conn, data, bank_account):
            return Reconciled(again)
        imported = import_statement(conn, statement, data, name=name, bank_account=bank_account, by=by, now=now)
        settlement = _match(conn, imported.file, limits=limits, zone=zone, by=by, now=now)
        report_alerts(conn, now=now)
    return Reconciled(imported, settlement)


def report_alerts(conn: Connection, *, now: datetime) -> None:
    """Let there be an alert for every open break, whatever its currency, and for nothing else."""
    breaks = store.open_breaks(conn, limit=MOST_ALERTS + 1)
    found = [_alert(each) for each in breaks[:MOST_ALERTS]]
    if len(breaks) > MOST_ALERTS:
        count = sum(each.count for each in store.break_totals(conn, now=now))
        found.append(
            Break(
                PROOF,
                "reconciliation:more",
                f"at most {MOST_ALERTS} differences between books and statements",
                f"{count:,} differences; the {MOST_ALERTS} oldest have an alert each",
                "Is a statement missing, or was a wrong one imported? `florin reconcile` and the API list them all.",
                severity=Severity.TICKET,
            )
        )
    alerts.report(conn, PROOF, found, now=now, quarantine=False)


def start_of(day: date, zone: tzinfo) -> datetime:
    """The instant at which a day begins at the bank."""
    return datetime.combine(day, time(), zone)


def balance_errors(conn: Connection, files: Sequence[FileRow]) -> Iterator[tuple[FileRow, str]]:
    """
    What is wrong with the balances of files, which come by account and in order of their days.

    A statement's lines lead from its opening to its closing balance; the next one opens where it closed; and the lines
    that are stored of its days are those that it has.
    """
    before: FileRow | None = None
    for file in files:
        if file.opening_minor is None or file.closing_minor is None:
            continue
        currency = file.currency
        moved_minor = file.closing_minor - file.opening_minor
        wrong: list[str] = []
        if moved_minor != file.total_minor:
            wrong.append(
                f"from {format_amount(file.opening_minor, currency)} to {format_amount(file.closing_minor, currency)} "
                f"it is {format_amount(moved_minor, currency)}, and its lines add up to "
                f"{format_amount(file.total_minor, currency)}"
            )
        elif (total := store.lines_total(conn, currency, file.bank_account, file.from_on, file.to_on)) != moved_minor:
            wrong.append(
                f"it moved {format_amount(moved_minor, currency)}, and the lines of its days that are stored add up to "
                f"{format_amount(total, currency)}: another file says something else of these days"
            )
        if (
            before is not None
            and before.bank_account == file.bank_account
            and before.to_on < file.from_on
            and before.closing_minor != file.opening_minor
        ):
            wrong.append(
                f"it opens with {format_amount(file.opening_minor, currency)}, and the statement up to {before.to_on} "
                f"closed with {format_amount(before.closing_minor or 0, currency)}"
            )
        if wrong:
            yield file, "; ".join(wrong)
        if before is None or before.bank_account != file.bank_account or file.to_on >= before.to_on:
            before = file


def _match(conn: Connection, file: FileRow, *, limits: Limits, zone: tzinfo, by: str, now: datetime) -> Settlement:
    currency = file.currency
    files = store.files_of_currency(conn, currency)
    covered = covered_days(store.periods(files))
    lines = {line.id: line for line in store.open_lines(conn, currency, file.id)}
    before = store.open_breaks(conn, currency=currency)
    missing = [each.what.transfer[0] for each in before if each.what.transfer is not None]
    since = start_of(min(file.from_on, *(line.booked_on for line in lines.values()), file.to_on), zone)
    since -= timedelta(days=max(limits.reference_days, limits.window_days) + 1)
    # Most of what was decided then was accepted then; what waited in a quarantine was accepted long before.
    first_position = store.first_position(conn, since)
    earlier = [*missing, *store.decided_late(conn, since, first_position)]
    # Every transfer that an open line could be, or that is missing.
    transfers = {
        each.id: each
        for each in store.transfers(conn, currency, zone=str(zone), first_position=first_position, positions=earlier)
    }
    found = match(
        lines.values(),
        transfers.values(),
        limits=limits,
        covered=covered,
        kept_apart=store.kept_apart(conn, list(lines)),
    )
    store.insert_matches(conn, _rows(found.matches, lines, transfers, by, now))
    after = [*_breaks(found, lines, transfers, currency, zone)]
    after += [
        NewBreak("balance", currency, abs(wrong.total_minor), detail, start_of(wrong.to_on, zone), file_id=wrong.id)
        for wrong, detail in balance_errors(conn, files)
    ]
    _note(conn, before, after, now)
    return _settlement(file, found, lines, transfers)


def _rows(
    matches: Sequence[Match],
    lines: Mapping[int, Line],
    transfers: Mapping[TransferId, Moved],
    by: str,
    now: datetime,
) -> Iterator[list[Any]]:
    for each in matches:
        for line_id in each.lines:
            for id_ in each.transfers:
                amount_minor = min(lines[line_id].amount_minor, transfers[id_].amount_minor)
                yield [line_id, *id_, amount_minor, each.rule.value, by, None, now]


def _breaks(
    found: Matched, lines: Mapping[int, Line], transfers: Mapping[TransferId, Moved], currency: str, zone: tzinfo
) -> Iterator[NewBreak]:
    for line_id, verdict in found.verdicts.items():
        line = lines[line_id]
        detail = verdict.detail
        if verdict.result is Result.AMOUNT_DIFFERS:
            expected_minor = sum(transfers[id_].amount_minor for id_ in verdict.transfers)
            detail += f": {format_amount(expected_minor, currency)}"
        yield NewBreak(
            verdict.result.value,
            currency,
            line.amount_minor,
            detail,
            start_of(line.booked_on, zone),
            line_id=line_id,
        )
    for id_ in found.missing_in_statement:
        transfer = transfers[id_]
        yield NewBreak(
            Result.MISSING_IN_STATEMENT.value,
            currency,
            transfer.amount_minor,
            "no line of a statement is for it",
            start_of(transfer.moved_on, zone),
            transfer=id_,
        )


def _note(conn: Connection, before: Sequence[BreakRow], after: Sequence[NewBreak], now: datetime) -> None:
    """Open what is new and close what is gone; what lasts is left as it is, with the day since which it does."""
    wanted = {each.subject: each for each in after}
    gone, lasting = [], set()
    for each in before:
        new = wanted.get(each.what.subject)
        if new is not None and (new.result, new.detail) == (each.what.result, each.what.detail):
            lasting.add(new.subject)
        else:
            gone.append(each.id)
    store.close_breaks(conn, gone, now=now)
    store.insert_breaks(conn, [each for each in after if each.subject not in lasting], now=now)


def _settlement(
    file: FileRow, found: Matched, lines: Mapping[int, Line], transfers: Mapping[TransferId, Moved]
) -> Settlement:
    bank_minor = file.total_minor
    if file.opening_minor is not None and file.closing_minor is not None:
        bank_minor = file.closing_minor - file.opening_minor
    of_these_days = {id_: each for id_, each in transfers.items() if file.from_on <= each.moved_on <= file.to_on}
    books_minor = sum(map(_effect_minor, of_these_days.values()))
    in_breaks_minor = sum(
        line.amount_minor if line.is_credit else -line.amount_minor
        for line in (lines[id_] for id_ in found.verdicts)
        if file.from_on <= line.booked_on <= file.to_on
    )
    open_transfers = set(found.missing_in_statement)
    for verdict in found.verdicts.values():
        if verdict.result is Result.AMOUNT_DIFFERS:
            open_transfers.update(verdict.transfers)
    in_breaks_minor -= sum(_effect_minor(of_these_days[id_]) for id_ in open_transfers if id_ in of_these_days)
    return Settlement(bank_minor, books_minor, in_breaks_minor)


def _effect_minor(transfer: Moved) -> int:
    return transfer.amount_minor if transfer.is_deposit else -transfer.amount_minor


def _alert(broken: BreakRow) -> Break:
    what = broken.what
    amount = f"{format_amount(what.amount_minor, what.currency)} {what.currency}"
    if what.transfer is not None:
        expected = f"a line of {amount} in a statement, for the {broken.direction} of {broken.account}"
    elif what.line_id is not None:
        expected = f"a transfer of {amount} for a {broken.direction} of {broken.booked_on} on {broken.bank_account}"
    else:
        expected = f"the balances of {broken.file} agree with its lines"
    return Break(
        PROOF,
        what.subject,
        expected,
        f"{what.result}: {what.detail}",
        _ADVICE[what.result],
        severity=Severity.TICKET,
        position=what.transfer[0] if what.transfer else None,
        since=what.since,
    )
