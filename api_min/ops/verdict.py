"""Is money stuck? The figures in, a level and sentences out, the most important first."""

from typing import Final, Literal

from pydantic import BaseModel, Field

from api_min.ops.document import Alert, Current

Level = Literal["ok", "warning", "stuck"]

SLOW_S: Final = 10.0
"""Ten times what a busy second needs: something is in the way."""
STUCK_S: Final = 60.0
"""Longer than every repair that happens by itself: the sweeper's, the queue's, a new leader's."""
OLD_S: Final = 30.0
"""Twice as long as anybody waits between two looks. Above this, figures say nothing of now."""
_UNPROVEN_S: Final = 600.0
_OVERDUE_S: Final = 900.0
"""A backlog that is worked through may be this old; what is older is a break by the proofs too."""


class Verdict(BaseModel):
    """What an operator reads first. ``stuck`` is for now, ``warning`` for today."""

    level: Level
    words: list[str] = Field(examples=[["Money is stuck: the oldest command waits 4 min, no worker runs"]])


def judge(current: Current, *, settled_per_s: float | None, age_s: float) -> Verdict:
    """What ``current``, which was read ``age_s`` seconds ago, comes to."""
    stuck = [*_no_database(current), *_waiting_too_long(current, settled_per_s), *_alerts(current.alerts, "page")]
    warning = [
        *_old(age_s),
        *_slow(current, settled_per_s),
        *_missing(current, settled_per_s),
        *_left_over(current),
        *_alerts(current.alerts, "ticket"),
        *_late(current),
    ]
    if stuck:
        return Verdict(level="stuck", words=[*stuck, *warning])
    if warning:
        return Verdict(level="warning", words=warning)
    return Verdict(level="ok", words=_fine(current, settled_per_s or 0.0))


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
        return ["Money is stuck: Postgres does not answer, so nothing is accepted or settled"]
    return []


def _waiting_too_long(current: Current, settled_per_s: float | None) -> list[str]:
    waits_s = current.oldest_pending_s or 0.0
    nothing_can_settle = bool(current.backlog) and (current.redis_up is False or current.workers == 0)
    if waits_s < STUCK_S and not (nothing_can_settle and waits_s >= SLOW_S):
        return []
    if _is_draining(current, settled_per_s) and waits_s < _OVERDUE_S:
        return []
    causes = []
    if current.redis_up is False:
        causes.append("Redis does not answer")
    if current.workers == 0:
        causes.append("no worker runs")
    if current.leader is False:
        causes.append("no scheduler leads")
    if not causes:
        causes.append("others are settled meanwhile" if settled_per_s else "nothing is settled")
    return [f"Money is stuck: the oldest command waits {lasting(waits_s)}, {', '.join(causes)}"]


def _is_draining(current: Current, settled_per_s: float | None) -> bool:
    """Whether the wait is explained by a line that moves. One command that waits behind nobody is stuck."""
    return bool(settled_per_s) and (current.backlog or 0) / (settled_per_s or 1.0) >= SLOW_S / 2


def _old(age_s: float) -> list[str]:
    return [f"These figures are {lasting(age_s)} old: what happens now is not known"] if age_s > OLD_S else []


def _slow(current: Current, settled_per_s: float | None) -> list[str]:
    waits_s = current.oldest_pending_s
    if waits_s is None:
        return [] if current.postgres_up is False else ["How long commands wait is not known"]
    if waits_s < SLOW_S or _waiting_too_long(current, settled_per_s):
        return []
    if _is_draining(current, settled_per_s) and settled_per_s:
        rest_s = (current.backlog or 0) / settled_per_s
        return [
            f"Money is late, but moves: the oldest command waits {lasting(waits_s)}, "
            f"at this speed the backlog is gone in {lasting(rest_s)}"
        ]
    return [f"Money is slow: the oldest command waits {lasting(waits_s)}"]


def _missing(current: Current, settled_per_s: float | None) -> list[str]:
    if _waiting_too_long(current, settled_per_s):
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


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
