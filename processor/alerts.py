"""Alerts: one for each break for as long as it lasts, whose history is kept and of which somebody is told."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from uuid import UUID

import structlog
import uuid_utils.compat
from psycopg import AsyncConnection, Connection

from processor.breaks import Break, Severity
from processor.settings import AlertSettings
from processor.store import alerts as alert_store
from processor.store import locks
from processor.store import quarantine as quarantine_store
from processor.store.alerts import AlertRow, Change

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Suspect:
    """What an alert is about that is not resolved."""

    subject: str
    account: str | None
    position: int | None


def open_subjects(conn: Connection[Any], proof: str) -> Sequence[Suspect]:
    """What has an alert of this ``proof`` that is not resolved, acknowledged ones included."""
    return [Suspect(*row) for row in alert_store.subjects(conn, proof)]


def report(
    conn: Connection[Any],
    proof: str,
    breaks: Sequence[Break],
    *,
    now: datetime,
    quarantine: bool | None = None,
    new_id: Callable[[], UUID] = uuid_utils.compat.uuid7,
) -> None:
    """
    Make the alerts of ``proof`` say what it found just now: ``breaks`` is everything that is wrong, not what is new.

    A new break opens an alert and, unless the setting (or ``quarantine``) says no, quarantines the account that it
    names. One that lasts is counted. An alert whose subject is not among the breaks is resolved by itself. Call it in a
    transaction, a short one: no other report gets on meanwhile.
    """
    found = {each.subject: each for each in breaks}
    with conn.transaction():
        locks.lock_one(conn, locks.ALERTS)
        live = {each.subject: each for each in alert_store.lock_live(conn, proof)}
        lasting = [
            (each, _at_least(each.severity, found[subject])) for subject, each in live.items() if subject in found
        ]
        gone = [each.id for subject, each in live.items() if subject not in found]
        new = [each for subject, each in found.items() if subject not in live]
        changes = [
            Change(new_id(), each.id, "raised") for each, broken in lasting if each.severity != broken.severity.value
        ]
        changes += [Change(new_id(), id_, "resolved") for id_ in gone]
        if lasting:
            alert_store.see_again(conn, [(each.id, broken) for each, broken in lasting], now=now)
        if gone:
            alert_store.resolve_by_itself(conn, gone, now=now)
        opened: Sequence[alert_store.Opened] = ()
        if new:
            opened = alert_store.open_alerts(conn, proof, new, now=now)
            changes += [Change(new_id(), each.id, "reopened" if each.again else "opened") for each in opened]
            if AlertSettings().quarantine if quarantine is None else quarantine:
                _quarantine(conn, found, {each.subject: each.id for each in opened}, now)
        if changes:
            alert_store.note_changes(conn, changes, now=now)
    for each in opened:
        # Not its subject, which may be somebody's account.
        log.error("alert.opened", alert=each.id, proof=proof, severity=found[each.subject].severity.value)


async def acknowledge(
    conn: AsyncConnection[Any],
    alert_id: int,
    *,
    by: str,
    reason: str | None,
    now: datetime,
    new_id: Callable[[], UUID],
) -> AlertRow | None:
    """
    Say that somebody looks after the alert, and return it; ``None`` if there is none of this id.

    The first word stands: what is acknowledged or resolved already is left as it is.
    """
    async with conn.transaction():
        found = await alert_store.lock(conn, alert_id)
        if found is None or found.state != "open":
            return found
        await alert_store.acknowledge(conn, Change(new_id(), alert_id, "acknowledged"), by=by, reason=reason, now=now)
        return await alert_store.find(conn, alert_id)


async def resolve(
    conn: AsyncConnection[Any], alert_id: int, *, by: str, reason: str, now: datetime, new_id: Callable[[], UUID]
) -> AlertRow | None:
    """
    Say that the alert is done with, and return it; ``None`` if there is none of this id.

    What is resolved already is left as it is. If the proof finds the same again, it opens another alert.
    """
    async with conn.transaction():
        found = await alert_store.lock(conn, alert_id)
        if found is None or found.state == "resolved":
            return found
        await alert_store.resolve(conn, Change(new_id(), alert_id, "resolved"), by=by, reason=reason, now=now)
        return await alert_store.find(conn, alert_id)


def runbook(proof: str, url: str) -> str:
    """Where it says what to do about a break of the proof."""
    return f"{url}#{proof}"


def _at_least(severity: str, broken: Break) -> Break:
    """An alert does not calm down by itself: what was worth waking somebody for is until it is resolved."""
    return replace(broken, severity=Severity.PAGE) if severity == Severity.PAGE.value else broken


def _quarantine(conn: Connection[Any], found: dict[str, Break], opened: dict[str, int], now: datetime) -> None:
    # The bank's own accounts cannot wait: no command names them, and every command touches one.
    alerts = {
        account: alert_id
        for subject, alert_id in opened.items()
        if (account := found[subject].account) is not None and not account.startswith("@")
    }
    if alerts and quarantine_store.begin(conn, alerts, now=now):
        log.error("quarantine.began", accounts=len(alerts))
