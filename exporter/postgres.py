"""Reads every figure that is in rows, over one connection of its own, and writes nothing."""

import time
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import suppress
from dataclasses import dataclass
from datetime import date, datetime
from typing import Final

import psycopg
import structlog
from psycopg import Connection

from exporter import figures
from exporter.state import Found, Reading, Values
from processor import clock, money, pools
from processor.domain.rules import Rules
from processor.logs import in_short
from processor.store import watching
from processor.store.dead_letters import dead_letters_open

log = structlog.get_logger()

_SLOWLY: Final = 12
"""What changes slowly, and is more to read, is read every so many times."""

_LOOK_S: Final = 4.0
"""No part is begun after so long. What could not be read before comes last, so that it is what is left out."""


class PostgresState:
    """Reads part by part: one that Postgres does not answer in time is left out, and the others are shown."""

    def __init__(self, database_url: str, *, rules: Rules, now: Callable[[], datetime] = clock.now) -> None:
        self._database_url = database_url
        self._rules = rules
        self._now = now
        self._conn: Connection | None = None
        self._looks = 0
        self._unread: AbstractSet[Part] = set()
        self._slow: Mapping[Part, Slow] = {}

    def read(self, heard: Callable[[], None] = lambda: None) -> Reading:
        """Every figure, as far as Postgres answers. Raises ``psycopg.Error`` if it cannot be reached."""
        look = Look(self._connection(), self._now(), self._rules)
        heard()
        self._looks += 1
        end = time.monotonic() + _LOOK_S
        due = [part for part, slow in self._slow.items() if slow.due <= self._looks]
        found: dict[Part, Values] = {}
        # Those that could not be read come last: whatever keeps them waiting keeps nobody else waiting.
        for part in sorted([*_PARTS, *due], key=lambda part: part in self._unread):
            if time.monotonic() < end and (values := _read(part, look)) is not None:
                found[part] = values
            heard()
        for part in due:
            self._slow[part].note(found.pop(part, None), self._looks)
        found |= {part: slow.values for part, slow in self._slow.items() if slow.values is not None}
        parts = {part: part in found for part in (*_PARTS, *_SLOW_PARTS)}
        self._unread = {part for part, was_read in parts.items() if not was_read}
        return Reading(
            {figure: by_labels for values in found.values() for figure, by_labels in values.items()},
            is_complete=not self._unread,
            parts={_name(part): was_read for part, was_read in parts.items()},
        )

    def close(self) -> None:
        """Let the connection go."""
        if self._conn is not None:
            with suppress(psycopg.Error):
                self._conn.close()

    def _connection(self) -> Connection:
        if self._conn is None or self._conn.closed:
            self._slow = {part: Slow() for part in _SLOW_PARTS}
            self._conn = pools.connect(
                self._database_url,
                "florin exporter",
                statement_timeout="3s",
                lock_timeout="1s",
                default_transaction_read_only="on",
                # Nothing here is urgent, and workers need the other cores.
                max_parallel_workers_per_gather="0",
            )
            self._conn.prepare_threshold = None
        return self._conn


@dataclass(frozen=True, slots=True)
class Look:
    """What a part needs: a connection, and when it is."""

    conn: Connection
    now: datetime
    rules: Rules

    @property
    def today(self) -> date:
        """The business date."""
        return self.rules.business_date(self.now)

    def age_s(self, since: datetime | None) -> float:
        """How long ago it was; 0 if it was not."""
        return max(0.0, (self.now - since).total_seconds()) if since else 0.0

    def day_begins_at(self, day: date) -> float:
        """When a business day begins."""
        return datetime(day.year, day.month, day.day, tzinfo=self.rules.zone).timestamp()


Part = Callable[[Look, Found], None]


@dataclass(slots=True)
class Slow:
    """What is known of a part that is read rarely, and at which look it is its turn."""

    due: int = 0
    values: Values | None = None
    failures: int = 0

    def note(self, values: Values | None, look: int) -> None:
        """One that could not be read is tried soon, and then ever more rarely, up to its usual turn."""
        self.values = values
        self.failures = 0 if values is not None else self.failures + 1
        self.due = look + (_SLOWLY if values is not None else min(_SLOWLY, 2 ** (self.failures - 1)))


def _read(part: Part, look: Look) -> Values | None:
    """What the part found, if it could be read. Raises ``psycopg.Error`` when the connection is gone."""
    found = Found()
    try:
        part(look, found)
    except psycopg.Error as error:
        if look.conn.closed:
            raise
        log.warning("state.part_unreadable", part=_name(part), error=in_short(error))
        return None
    return found.values


def _name(part: Part) -> str:
    return part.__name__.strip("_")


def _line(look: Look, found: Found) -> None:
    found.put(figures.BACKLOG, watching.backlog(look.conn))
    found.put(figures.OLDEST_PENDING, look.age_s(watching.oldest_pending(look.conn)))


def _people(look: Look, found: Found) -> None:
    held = watching.held(look.conn)
    found.put(figures.QUARANTINED, held.accounts)
    found.put(figures.HELD, held.commands)
    found.put(figures.OLDEST_HELD, look.age_s(held.oldest_held_at))
    count, oldest = dead_letters_open(look.conn)
    found.put(figures.DEAD_LETTERS, count)
    found.put(figures.OLDEST_DEAD_LETTER, look.age_s(oldest))


def _log(look: Look, found: Found) -> None:
    found.put(figures.WATERMARK_LAG, look.age_s(watching.above_watermark(look.conn)))
    for follower, decided_at in watching.unseen(look.conn):
        found.put(figures.FOLLOWER_LAG, look.age_s(decided_at), follower)


def _scheduler(look: Look, found: Found) -> None:
    found.put(figures.LEADER, watching.somebody_leads(look.conn))
    for job in watching.jobs(look.conn):
        found.put(figures.JOB_LAST_SUCCESS, _timestamp(job.last_success_at), job.job)
        if job.last_duration_s is not None:
            found.put(figures.JOB_LAST_DURATION, max(0.0, job.last_duration_s), job.job)


def _proofs(look: Look, found: Found) -> None:
    for proof in watching.proofs(look.conn):
        found.put(figures.PROVEN_AT, _timestamp(proof.proven_at), proof.proof)
        found.put(figures.PROVEN_FULL_AT, _timestamp(proof.proven_full_at), proof.proof)
        found.put(figures.BREAKS, proof.breaks, proof.proof)
        for severity in ("page", "ticket"):
            found.put(figures.ALERTS, 0, severity, proof.proof)
            found.put(figures.OLDEST_ALERT, 0, severity, proof.proof)
    for alert in watching.alerts(look.conn):
        found.put(figures.ALERTS, alert.count, alert.severity, alert.proof)
        found.put(figures.OLDEST_ALERT, look.age_s(alert.oldest_at), alert.severity, alert.proof)


def _seals(look: Look, found: Found) -> None:
    newest = watching.sealed(look.conn)
    found.put(figures.SEAL_HEIGHT, newest.number if newest else 0)
    found.put(figures.SEAL_LEAVES, newest.leaves if newest else 0)
    if newest is not None:
        found.put(figures.SEALED_AT, newest.sealed_at.timestamp())
        found.put(figures.SEAL_HASH, int.from_bytes(newest.hash[:6], "big"))


def _overdue(look: Look, found: Found) -> None:
    for each in watching.overdue(look.conn, today=look.today):
        found.put(figures.OVERDUE, each.count, each.currency)
        found.put(figures.OVERDUE_AMOUNT, _units(each.left_minor, each.currency), each.currency)


def _money(look: Look, found: Found) -> None:
    owed: dict[str, int] = {}
    for each in watching.balances(look.conn):
        found.put(figures.SYSTEM_BALANCE, _units(each.balance_minor, each.currency), each.kind, each.currency)
        owed[each.currency] = owed.get(each.currency, 0) - each.balance_minor
        if each.kind == "advances_receivable":
            found.put(figures.ADVANCES_OUTSTANDING, _units(-each.balance_minor, each.currency), each.currency)
    for currency, minor in owed.items():
        found.put(figures.DEPOSITS, _units(minor, currency), currency)


def _reconciliation(look: Look, found: Found) -> None:
    for result, currency, count in watching.statement_breaks(look.conn):
        found.put(figures.STATEMENT_BREAKS, count, result, currency)
    for currency, imported_at in watching.statements(look.conn):
        found.put(figures.STATEMENT_IMPORTED_AT, imported_at.timestamp(), currency)


def _server(look: Look, found: Found) -> None:
    server = watching.server(look.conn)
    found.put(figures.CONNECTIONS, server.connections)
    found.put(figures.MAX_CONNECTIONS, server.max_connections)
    found.put(figures.LOCK_WAITERS, server.lock_waiters)
    found.put(figures.OLDEST_TRANSACTION, max(0.0, server.oldest_transaction_s))
    found.put(figures.COMMITS, server.commits)
    found.put(figures.ROLLBACKS, server.rollbacks)
    found.put(figures.DEADLOCKS, server.deadlocks)
    found.put(figures.BLOCKS_READ, server.blocks_read)
    found.put(figures.BLOCKS_HIT, server.blocks_hit)
    found.put(figures.TEMP_BYTES, server.temp_bytes)
    found.put(figures.WAL_BYTES, server.wal_bytes)


def _overdue_holds(look: Look, found: Found) -> None:
    found.put(figures.HOLDS_OVERDUE, watching.overdue_holds(look.conn, now=look.now))


def _holds(look: Look, found: Found) -> None:
    for currency, count, total_minor in watching.holds(look.conn):
        found.put(figures.HOLDS, count, currency)
        found.put(figures.HOLDS_AMOUNT, _units(total_minor, currency), currency)


def _arrears(look: Look, found: Found) -> None:
    for currency, minor in watching.arrears(look.conn).items():
        found.put(figures.ARREARS, _units(minor, currency), currency)


def _next_collections(look: Look, found: Found) -> None:
    lending = {
        each.currency
        for each in watching.balances(look.conn)
        if each.kind == "advances_receivable" and each.balance_minor
    }
    for each in watching.next_collections(look.conn, lending, today=look.today):
        of = each.instalments
        found.put(figures.NEXT_COLLECTION, look.day_begins_at(each.due_on), of.currency)
        found.put(figures.NEXT_COLLECTION_INSTALMENTS, of.count, of.currency)
        found.put(figures.NEXT_COLLECTION_AMOUNT, _units(of.left_minor, of.currency), of.currency)


def _sizes(look: Look, found: Found) -> None:
    found.put(figures.DATABASE_BYTES, watching.database_bytes(look.conn))
    for table in watching.tables(look.conn):
        found.put(figures.TABLE_BYTES, table.bytes, table.name)
        found.put(figures.TABLE_DEAD_ROWS, table.dead_rows, table.name)


def _timestamp(at: datetime | None) -> float:
    """Never is long ago: nothing that never happened must look as if it just had."""
    return at.timestamp() if at else 0.0


def _units(amount_minor: int, currency: str) -> float:
    """Whole units of the currency: near enough for a graph, and never used to reckon."""
    return float(amount_minor / 10 ** money.exponent(currency))


_PARTS: Final[Sequence[Part]] = (
    _line,
    _people,
    _log,
    _scheduler,
    _proofs,
    _seals,
    _overdue,
    _overdue_holds,
    _money,
    _reconciliation,
    _server,
)
_SLOW_PARTS: Final[Sequence[Part]] = (_arrears, _next_collections, _holds, _sizes)
