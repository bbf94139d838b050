"""The whole life of one command, read in one snapshot: what `florin explain` shows."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

from psycopg import Connection

from processor.dead_letters import Case, cases
from processor.domain.commands import UNLIMITED_COUNT, UNLIMITED_MINOR
from processor.money import format_amount
from processor.store import dead_letters, effects, life, seals
from processor.store.dead_letters import Parent
from processor.store.effects import Allowed, Changed, TouchedHold
from processor.store.life import AlertLine, Asked, BatchRow, InQuarantine, Lent, Line, Match, Moved, Touched
from processor.submissions import CommandBody

_COUNTED: Final = 1_000
"""Commands before this one in a line: more are not counted."""


@dataclass(frozen=True, slots=True)
class Step:
    """Something that happened to the command, and how long after what happened before it."""

    name: str
    at: datetime
    after: timedelta | None


@dataclass(frozen=True, slots=True)
class Life:
    """All that is known. What does not apply, or is not remembered, is empty or ``None``."""

    asked: Asked
    lines: Mapping[str, Line]
    quarantines: Sequence[InQuarantine]
    batch: BatchRow | None
    transfers: Sequence[Moved]
    advance: Lent | None
    instalments: Sequence[Touched]
    hold: TouchedHold | None
    change: Changed | None
    reverses: UUID | None
    reversed_by: UUID | None
    dead_letter: Case | None
    retry_of: Parent | None
    block: int | None
    alerts: Sequence[AlertLine]
    matches: Sequence[Match]
    missing: Sequence[tuple[int, datetime]]

    @property
    def timeline(self) -> list[Step]:
        """What happened, in the order in which it does; clocks of several machines may say otherwise."""
        batch = self.batch
        instants = [
            ("accepted", self.asked.accepted_at),
            ("sent", batch.sent_at if batch else None),
            ("taken", batch.taken_at if batch else None),
            ("locked", self._locked_at()),
            ("held", self.asked.held_at),
            ("decided", self.asked.decided_at),
        ]
        known = [(name, at) for name, at in instants if at is not None]
        before: Sequence[datetime | None] = [None, *(at for _, at in known)]
        return [Step(name, at, at - was if was else None) for (name, at), was in zip(known, before, strict=False)]

    def _locked_at(self) -> datetime | None:
        """Roughly: the message was taken, and then its accounts were waited for."""
        if self.batch is None or self.batch.taken_at is None:
            return None
        return self.batch.taken_at + timedelta(microseconds=self.batch.lock_wait_us)


def explain(conn: Connection[Any], asked: Asked) -> Life:
    """Read the rest of the command's life. ``asked`` is read again, so that all is of one snapshot."""
    position = asked.position
    with conn.transaction():
        conn.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        (asked,) = life.find_at(conn, [position])
        names = asked.body.accounts()
        settled = asked.status != "pending"
        lent = position if asked.body.type == "advance" else asked.advance
        held = position if asked.body.type == "place_hold" else asked.hold
        sealed = seals.block_of(conn, position) if settled else None
        return Life(
            asked=asked,
            lines={} if settled else life.lines(conn, asked.place, names, limit=_COUNTED),
            quarantines=[] if settled else life.quarantines(conn, names),
            batch=life.batch_of(conn, position) if settled else None,
            transfers=life.transfers(conn, position),
            advance=None if lent is None else life.advance(conn, lent),
            instalments=[] if lent is None else life.instalments(conn, position, lent, asked.body.instalment),
            hold=None if held is None else effects.hold(conn, position, held),
            change=effects.change(conn, position),
            reverses=effects.reversed_one(conn, position),
            reversed_by=effects.reversed_by(conn, position),
            dead_letter=next(iter(cases(conn, [position])), None),
            retry_of=dead_letters.parents(conn, [position]).get(position),
            block=sealed[0] if sealed else None,
            alerts=life.alerts(conn, position, names),
            matches=life.matches(conn, position),
            missing=life.missing_in_statement(conn, position),
        )


def sentence(body: CommandBody) -> str:  # noqa: PLR0911, PLR0912
    """What was asked, in a few words."""

    def amount(minor: int | None) -> str:
        return f"{format_amount(minor or 0, body.currency)} {body.currency}"

    by_force = " by force" if body.force else ""
    match body.type:
        case "deposit":
            return f"deposit {amount(body.amount_minor)} to {body.account}"
        case "withdraw":
            return f"withdraw {amount(body.amount_minor)} from {body.account}"
        case "transfer":
            return f"transfer {amount(body.amount_minor)} from {body.from_account} to {body.to_account}"
        case "open_account":
            overdraft = f", overdraft {amount(body.overdraft_limit_minor)}" if body.overdraft_limit_minor else ""
            return f"open account {body.account} in {body.currency}{overdraft}"
        case "advance":
            return f"advance {amount(body.amount_minor)} to {body.account} in {body.instalments} instalments"
        case "repay":
            return f"repay {amount(body.amount_minor)} of advance {body.advance_id} from {body.account}"
        case "write_off":
            return f"write off advance {body.advance_id} of {body.account}"
        case "collect":
            return f"collect instalment {body.instalment} of advance {body.advance_id} from {body.account}"
        case "place_hold":
            return f"hold {amount(body.amount_minor)} on {body.account}"
        case "capture_hold":
            part = "all" if body.amount_minor is None else amount(body.amount_minor)
            to = f" to {body.to_account}" if body.to_account else ""
            return f"capture {part} of hold {body.hold_id} on {body.account}{to}"
        case "release_hold":
            return f"release hold {body.hold_id} on {body.account}"
        case "expire_hold":
            return f"let hold {body.hold_id} on {body.account} expire"
        case "set_limits":
            return f"limit {body.account}: {', '.join(_limits(body))}"
        case "reverse":
            return f"reverse command {body.reverses}{by_force}"
        case "adjust":
            return f"adjust {amount(body.amount_minor)} from {body.from_account} to {body.to_account}{by_force}"
    return f"{body.type} {' '.join(body.accounts())}".strip()


def allowances(allowed: Allowed, currency: str) -> dict[str, str]:
    """What an account may do, each by its name in the API."""
    return {
        "status": allowed.status,
        "overdraft_limit": format_amount(allowed.overdraft_limit_minor, currency),
        "overdraft_fee": format_amount(allowed.overdraft_fee_minor, currency),
        "daily_count": count_words(allowed.daily_count),
        "daily_amount": amount_words(allowed.daily_amount_minor, currency),
    }


def count_words(count: int | None) -> str:
    """A daily limit of debits."""
    return "unlimited" if count in (None, UNLIMITED_COUNT) else str(count)


def amount_words(minor: int | None, currency: str) -> str:
    """A daily limit of what they are together."""
    return "unlimited" if minor is None or minor == UNLIMITED_MINOR else format_amount(minor, currency)


def _limits(body: CommandBody) -> Iterator[str]:
    if body.overdraft_limit_minor is not None:
        yield f"overdraft {format_amount(body.overdraft_limit_minor, body.currency)}"
    if body.overdraft_fee_minor is not None:
        yield f"fee {format_amount(body.overdraft_fee_minor, body.currency)}"
    if body.daily_count is not None:
        yield f"{count_words(body.daily_count)} debits a day"
    if body.daily_amount_minor is not None:
        yield f"{amount_words(body.daily_amount_minor, body.currency)} a day"
