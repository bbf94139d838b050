"""What a person decides: a line and a transfer are the same money, or are not. With a reason, and on record."""

import re
from datetime import datetime, tzinfo
from typing import Final

from psycopg import Connection

from processor.domain.matching import Result, TransferId, covered_days
from processor.reconciliation.reconciling import report_alerts, start_of
from processor.store import statements as store
from processor.store.statements import NewBreak

_TRANSFER: Final = re.compile(r"([1-9][0-9]{0,17})(?:\.([1-9][0-9]{0,3}))?", re.ASCII)
_DIRECTIONS: Final = {"deposit": "credit", "withdrawal": "debit"}
_LONGEST_REASON: Final = 255


class CannotError(Exception):
    """The line and the transfer cannot be matched, or not be taken apart; the message says why."""


class UnknownError(CannotError):
    """There is no such line, or no such transfer."""


def read_transfer(text: str) -> TransferId:
    """The transfer of a text such as "17.1", its position and leg, or "17", whose leg is 1. Raises ``ValueError``."""
    found = _TRANSFER.fullmatch(text)
    if found is None:
        raise ValueError(f'{text!r} names no transfer: give position and leg, such as "17.1"')
    return int(found[1]), int(found[2] or 1)


def match_by_hand(conn: Connection, line_id: int, transfer: TransferId, *, reason: str, by: str, now: datetime) -> None:
    """
    Let the line be for the transfer, whatever their amounts and days, and close the breaks of both.

    Raises ``CannotError`` if one does not exist, they are in two currencies or directions, or either is matched whole.
    """
    _check_reason(reason)
    with conn.transaction():
        store.lock(conn)
        line, moved = store.find_line(conn, line_id), store.find_transfer(conn, transfer)
        if line is None:
            raise UnknownError(f"there is no line {line_id}")
        if moved is None or moved.kind not in _DIRECTIONS:
            raise UnknownError(f"there is no deposit or withdrawal {_name(transfer)}")
        if (line.currency, line.direction) != (moved.currency, _DIRECTIONS[moved.kind]):
            raise CannotError(
                f"line {line_id} is a {line.direction} in {line.currency}, "
                f"and transfer {_name(transfer)} a {moved.kind} in {moved.currency}"
            )
        of_line_minor, of_transfer_minor = store.matched_minor(conn, line_id, transfer)
        left_minor = min(line.amount_minor - of_line_minor, moved.amount_minor - of_transfer_minor)
        if left_minor <= 0:
            full = f"line {line_id}" if line.amount_minor <= of_line_minor else f"transfer {_name(transfer)}"
            raise CannotError(f"{full} is matched whole: unmatch it first")
        store.insert_by_hand(conn, line_id, transfer, left_minor, by=by, reason=reason, now=now)
        about = [
            each.id
            for each in store.open_breaks(conn, currency=line.currency)
            if each.what.line_id == line_id or each.what.transfer == transfer
        ]
        store.close_breaks(conn, about, now=now)
        report_alerts(conn, now=now)


def unmatch(conn: Connection, line_id: int, *, zone: tzinfo, reason: str, by: str, now: datetime) -> int:
    """
    Take the line's match back, with all that was matched in one with it, and return how many pairs that were.

    Each of the lines and transfers is a break again, and no rule puts the same two together any more. Raises
    ``CannotError`` if the line is not matched.
    """
    _check_reason(reason)
    with conn.transaction():
        store.lock(conn)
        if (line := store.find_line(conn, line_id)) is None:
            raise UnknownError(f"there is no line {line_id}")
        pairs = store.connected(conn, line_id)
        if not pairs:
            raise CannotError(f"line {line_id} is not matched")
        for id_, of_line, transfer, amount_minor in pairs:
            store.insert_by_hand(conn, of_line, transfer, amount_minor, by=by, reason=reason, now=now, undoes=id_)
        breaks = []
        detail = f"taken apart by {by}: {reason}"
        for each_id in sorted({each for _, each, _, _ in pairs}):
            each = store.find_line(conn, each_id)
            assert each is not None
            since = start_of(each.booked_on, zone)
            result = Result.MISSING_IN_BOOKS.value
            breaks.append(NewBreak(result, line.currency, each.amount_minor, detail, since, line_id=each_id))
        covered = covered_days(store.periods(store.files_of_currency(conn, line.currency)))
        for transfer in sorted({each for _, _, each, _ in pairs}):
            moved = store.find_transfer(conn, transfer)
            assert moved is not None
            day = moved.decided_at.astimezone(zone).date()
            if any(first <= day <= last for first, last in covered):
                result = Result.MISSING_IN_STATEMENT.value
                since = start_of(day, zone)
                breaks.append(NewBreak(result, line.currency, moved.amount_minor, detail, since, transfer=transfer))
        store.insert_breaks(conn, breaks, now=now)
        report_alerts(conn, now=now)
    return len(pairs)


def _check_reason(reason: str) -> None:
    if not reason.strip() or len(reason) > _LONGEST_REASON or "\0" in reason:
        raise CannotError(f"give a reason of 1 to {_LONGEST_REASON} characters: others will ask for it")


def _name(transfer: TransferId) -> str:
    return f"{transfer[0]}.{transfer[1]}"
