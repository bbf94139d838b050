"""Is money stuck? The figures in, a level and sentences out, the most important first."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from pydantic import BaseModel, Field

from api_min.ops.document import Alert, Current, Firing

Level = Literal["ok", "warning", "stuck"]

SLOW_S: Final = 10.0
"""Ten times what a busy second needs: something is in the way."""
STUCK_S: Final = 60.0
"""Longer than every repair that happens by itself: the sweeper's, the queue's, a new leader's."""
OLD_S: Final = 30.0
"""Twice as long as anybody waits between two looks. Above this, figures say nothing of now."""
_UNPROVEN_S: Final = 600.0
_AS_THE_CLOCK: Final = 0.85
"""Seconds by which something that is never reached grows older each second, read by a clock that is a little off."""
OF_OUR_OWN: Final = ("BooksBroken", "TicketAlertsOpen")
"""Alerts of Prometheus that only say that there are Florin's own."""
_OVERDUE_S: Final = 900.0
"""A backlog that is worked through may be this old; what is older is a break by the proofs too."""


class Verdict(BaseModel):
    """What an operator reads first. ``stuck`` is for now, ``warning`` for today."""

    level: Level
    words: list[str] = Field(examples=[["Money is stuck: the oldest command waits 4 min, no worker runs"]])


def judge(
    current: Current, *, settled_per_s: float | None, age_s: float, waits: Sequence[tuple[float, float]] = ()
) -> Verdict:
    """
    What ``current``, which was read ``age_s`` seconds ago, comes to.

    ``waits`` is how long the oldest command waited at instants until now: whether the line moves, or only its end.
    """
    line = Line(current, settled_per_s, waits)
    stuck = [
        *_no_database(current),
        *(_books_errors(current) or _waiting_too_long(line)),
        *_alerts(current.alerts, "page"),
        *_firing(line, "page"),
    ]
    warning = [
        *_old(age_s),
        *_unread(current),
        *_slow(line),
        *_missing(line),
        *_left_over(current),
        *_alerts(current.alerts, "ticket"),
        *_firing(line, "ticket"),
        *_late(current),
    ]
    if stuck:
        return Verdict(level="stuck", words=[*stuck, *warning])
    if warning:
        return Verdict(level="warning", words=warning)
    return Verdict(level="ok", words=_fine(current, settled_per_s or 0.0))


@dataclass(frozen=True, slots=True)
class Line:
    """Those who wait, how fast they are settled, and how long the oldest has waited lately."""

    current: Current
    settled_per_s: float | None
    waits: Sequence[tuple[float, float]]

    @property
    def waits_s(self) -> float:
        """How long the oldest waits now."""
        return self.current.oldest_pending_s or 0.0

    def stands_still(self) -> bool:
        """Whether the oldest has grown older as fast as the clock for a minute: it is never reached."""
        grown = self._grown(STUCK_S)
        return grown is not None and grown >= _AS_THE_CLOCK

    def falls(self) -> bool:
        """Whether the oldest is reached sooner and sooner: then the line has an end that can be told."""
        grown = self._grown(STUCK_S / 2)
        return grown is not None and grown < 0

    def is_draining(self) -> bool:
        """Whether the wait is explained by a line that moves. One command that waits behind nobody is stuck."""
        rest_s = (self.current.backlog or 0) / (self.settled_per_s or 1.0)
        return bool(self.settled_per_s) and rest_s >= SLOW_S / 2 and not self.stands_still()

    def _grown(self, seconds: float) -> float | None:
        """By how much it has grown each second over at least so many of the last; unknown without figures."""
        if not self.waits:
            return None
        until, now_s = self.waits[-1]
        earlier = [each for each in self.waits if each[0] <= until - seconds]
        if not earlier or until - earlier[-1][0] > 2 * seconds:
            return None
        at, then_s = earlier[-1]
        return (now_s - then_s) / (until - at)


def lasting(seconds: float) -> str:
    """A time as people say it: 45 s, 4 min, 2 h 5 min, 3 days."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 120:
        return f"{seconds:.0f} s"
    minutes = int(seconds // 60)
    if minutes < 120:
        return f"{minutes} min"
    if minutes < 48 * 60:
        return f"{minutes // 60} h {minutes % 60} min" if minutes % 60 else f"{minutes // 60} h"
    return f"{minutes // (24 * 60)} days"


def _no_database(current: Current) -> list[str]:
    if current.postgres_up is False:
        return ["Money is stuck: Postgres is away, so nothing is accepted or settled"]
    return []


def _books_errors(current: Current) -> list[str]:
    """While something waits: once the cause is gone it is settled, and what was counted is history."""
    if not current.books_errors or current.backlog == 0:
        return []
    refused = _count(current.books_errors, "batch", "batches")
    waits = f", the oldest command waits {lasting(current.oldest_pending_s)}" if current.oldest_pending_s else ""
    return [
        f"Money is stuck: the books contradict themselves. {refused} not recorded in the last minutes{waits}; "
        "see the runbook bookserrors"
    ]


def _waiting_too_long(line: Line) -> list[str]:
    current, waits_s = line.current, line.waits_s
    nothing_can_settle = bool(current.backlog) and (current.redis_up is False or current.workers == 0)
    if waits_s < STUCK_S and not (nothing_can_settle and waits_s >= SLOW_S):
        return []
    if line.is_draining() and waits_s < _OVERDUE_S:
        return []
    causes = []
    if current.redis_up is False:
        causes.append("Redis does not answer")
    if current.workers == 0:
        causes.append("no worker runs")
    if current.leader is False:
        causes.append("no scheduler leads")
    if not causes:
        causes.append("others are settled meanwhile" if line.settled_per_s else "nothing is settled")
    return [f"Money is stuck: the oldest command waits {lasting(waits_s)}, {', '.join(causes)}"]


def _old(age_s: float) -> list[str]:
    return [f"These figures are {lasting(age_s)} old: what happens now is not known"] if age_s > OLD_S else []


def _unread(current: Current) -> list[str]:
    if not current.unread:
        return []
    parts = ", ".join(current.unread[:3]) + (" and others" if len(current.unread) > 3 else "")
    return [f"Not everything is known: Postgres did not give {parts} in time"]


def _slow(line: Line) -> list[str]:
    current = line.current
    if current.oldest_pending_s is None:
        return [] if current.postgres_up is False else ["How long commands wait is not known"]
    if line.waits_s < SLOW_S or _books_errors(current) or _waiting_too_long(line):
        return []
    waits = f"the oldest command waits {lasting(line.waits_s)}"
    if not (line.is_draining() and line.settled_per_s):
        return [f"Money is slow: {waits}"]
    # Of a line that gets no shorter, nobody can tell its end.
    if line.falls() or line.waits_s < STUCK_S:
        rest_s = (current.backlog or 0) / line.settled_per_s
        return [f"Money is late, but moves: {waits}, at this speed the backlog is gone in {lasting(rest_s)}"]
    return [f"Money is late, but moves: {waits}, {_count(current.backlog or 0, 'command')} wait"]


def _missing(line: Line) -> list[str]:
    current = line.current
    if _waiting_too_long(line):
        return []  # Named there already, as the cause.
    words = []
    if current.redis_up is False:
        words.append("Redis does not answer: commands are accepted, and settled once it is back")
    if current.workers == 0:
        words.append("No worker runs: what is accepted waits")
    if current.leader is False:
        words.append("No scheduler leads: nothing is collected, and what the queue lost is not sent again")
    return words


def _left_over(current: Current) -> list[str]:
    words = []
    if current.dead_letters:
        words.append(f"{_count(current.dead_letters, 'dead letter')}: see florin dead-letters list")
    if current.held_commands or current.quarantined_accounts:
        accounts = _count(current.quarantined_accounts or 0, "account")
        words.append(f"{_count(current.held_commands or 0, 'command')} held, {accounts} in quarantine")
    return words


def _alerts(alerts: list[Alert], severity: str) -> list[str]:
    found = sorted((each for each in alerts if each.severity == severity), key=lambda each: -(each.oldest_age_s or 0.0))
    if not found:
        return []
    proofs = ", ".join(each.proof for each in found[:3]) + (" and others" if len(found) > 3 else "")
    count = _count(sum(each.count for each in found), "alert")
    what = "The books are in doubt" if severity == "page" else "To look at today"
    return [f"{what}: {count} open ({proofs}), the oldest for {lasting(found[0].oldest_age_s or 0.0)}"]


def _firing(line: Line, severity: str) -> list[str]:
    """Prometheus's alerts, but for those that say what stands here already."""
    said = set(OF_OUR_OWN)
    if _no_database(line.current):
        said.add("PostgresAway")
    if _books_errors(line.current):
        said |= {"BooksErrors", "CommandsStuck"}
    if _waiting_too_long(line):
        said.add("CommandsStuck")
    found = [each for each in line.current.firing or [] if each.severity == severity and each.name not in said]
    return [_in_words(each) for each in found[:3]] + ([f"And {len(found) - 3} more alerts fire"] if found[3:] else [])


def _in_words(alert: Firing) -> str:
    since = "" if alert.age_s is None else f" (for {lasting(alert.age_s)})"
    return f"Alert {alert.name}: {alert.summary or 'it fires'}{since}"


def _late(current: Current) -> list[str]:
    late = [each for each in current.jobs if each.is_late]
    words = [f"The job {each.job} is late: it last succeeded {lasting(each.age_s or 0.0)} ago" for each in late[:3]]
    unproven = [each for each in current.proofs if not each.breaks and (each.proven_age_s or 0.0) > _UNPROVEN_S]
    if unproven:
        oldest = max(unproven, key=lambda each: each.proven_age_s or 0.0)
        words.append(f"{oldest.proof} was last proven {lasting(oldest.proven_age_s or 0.0)} ago")
    return words


def _fine(current: Current, settled_per_s: float) -> list[str]:
    if settled_per_s > 0:
        return [f"Money is moving: {settled_per_s:,.{0 if settled_per_s >= 10 else 1}f} commands a second are settled"]
    if current.backlog:
        return ["Money is moving: commands have just come in"]
    return ["Nothing to do: no command is waiting"]


def _count(number: int, noun: str, nouns: str = "") -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {nouns or noun + 's'}"
