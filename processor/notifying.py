"""Tells people of alerts: each change goes from the outbox to every address that is set, at least once."""

import base64
import hashlib
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, Protocol

import httpx
import orjson
import structlog
from psycopg import Connection
from standardwebhooks import Webhook

from processor import telemetry, tracing
from processor.alerts import runbook
from processor.errors import SettingsError
from processor.settings import AlertSettings
from processor.store import notices as notice_store
from processor.store.notices import Notice

log = structlog.get_logger()

_ATTEMPTS: Final = 14
_FIRST_PAUSE: Final = timedelta(seconds=10)
"""It doubles with each attempt: the 14th and last is made 23 hours after the first."""

_LEASE: Final = timedelta(minutes=2)
"""How long whoever takes a notice may be busy with one address. Then he is taken for dead, and it is sent again."""

_AT_ONCE: Final = 100
"""Notices for one message, at most."""

_TIMEOUT_S: Final = 10.0
_LOOPBACK: Final = {"127.0.0.1", "::1", "localhost"}

_TELLTALES: Final = ("apprise", "httpx", "urllib3", "requests_oauthlib")
"""Libraries that log addresses, with the secrets that are in them."""


class DeliveryError(Exception):
    """Somebody could not be told. The text names no address."""


class Target(Protocol):
    """Somebody who is told. ``name`` is the same in every process, and says nothing of the address's secrets."""

    name: str

    def tell(self, notice: Notice, *, now: datetime) -> None:
        """Return once it is delivered. Raises ``DeliveryError``, or whatever goes wrong."""


class Notifier:
    """Any number of them may work at once. ``connect`` opens a connection for each round, which is seldom."""

    def __init__(
        self, connect: Callable[[], Connection[Any]], targets: Sequence[Target], *, now: Callable[[], datetime]
    ) -> None:
        self._connect = connect
        self._targets = targets
        self._now = now

    def deliver(self) -> int:
        """Deliver what is due, a hundred notices at most, and return how many were taken up."""
        with self._connect() as conn:
            for taken in range(_AT_ONCE):
                now = self._now()
                notice = notice_store.claim(conn, now=now, until=now + _LEASE)
                if notice is None:
                    return taken
                self._tell_all(conn, notice)
        return _AT_ONCE

    def _tell_all(self, conn: Connection[Any], notice: Notice) -> None:
        errors = [
            error
            for target in self._targets
            if target.name not in notice.delivered_to and (error := self._tell(conn, target, notice))
        ]
        now = self._now()
        if not errors:
            notice_store.settle(conn, notice, state="delivered", error=None, now=now)
        elif notice.attempts < _ATTEMPTS:
            pause = _FIRST_PAUSE * 2 ** (notice.attempts - 1)
            notice_store.put_off(conn, notice, until=now + pause, error="; ".join(errors))
        else:
            notice_store.settle(conn, notice, state="undelivered", error="; ".join(errors), now=now)
            telemetry.undelivered_notices.inc()
            log.error("alert.undelivered", alert=notice.alert.id, change=str(notice.change_id), errors=errors)

    def _tell(self, conn: Connection[Any], target: Target, notice: Notice) -> str | None:
        """What went wrong, or nothing."""
        try:
            target.tell(notice, now=self._now())
        except Exception as error:
            # Only our own words: those of a library may show the address.
            reason = str(error) if isinstance(error, DeliveryError) else type(error).__name__
            telemetry.notices.labels("failed").inc()
            log.warning("alert.not_told", target=target.name, change=str(notice.change_id), error=reason)
            return f"{target.name}: {reason}"
        telemetry.notices.labels("sent").inc()
        notice_store.note_delivered(conn, notice, target.name, until=self._now() + _LEASE)
        return None


def targets_of(settings: AlertSettings) -> list[Target]:
    """Everybody whom the settings name. Raises ``SettingsError``, which shows no address."""
    for telltale in _TELLTALES:
        logging.getLogger(telltale).setLevel(logging.CRITICAL)
    targets: list[Target] = []
    if (url := settings.alert_webhook_url) is not None:
        if settings.alert_webhook_secret is None:
            raise SettingsError("FLORIN_ALERT_WEBHOOK_URL is set: set FLORIN_ALERT_WEBHOOK_SECRET as well")
        secret = _checked(settings.alert_webhook_secret.get_secret_value())
        targets.append(_SignedWebhook(url.get_secret_value(), Webhook(secret), settings.runbook_url))
    targets += [
        _Apprised(number, url.get_secret_value(), settings.runbook_url)
        for number, url in enumerate(settings.alert_urls, start=1)
    ]
    return targets


def _checked(secret: str) -> str:
    """The webhook's secret. The library takes anything that looks like base64, also what is too short to be one."""
    try:
        size = len(base64.b64decode(secret.removeprefix("whsec_"), validate=True))
    except ValueError:
        size = 0
    if not (secret.startswith("whsec_") and 24 <= size <= 64):
        raise SettingsError("FLORIN_ALERT_WEBHOOK_SECRET is none: give whsec_ and 24 to 64 random bytes in base64")
    return secret


@dataclass
class _SignedWebhook:
    """One HTTP POST, signed as https://www.standardwebhooks.com has it. Its id is that of the change."""

    url: str
    signer: Webhook
    runbook_url: str

    def __post_init__(self) -> None:
        try:
            address = httpx.URL(self.url)
        except (httpx.InvalidURL, ValueError):
            address = httpx.URL()
        if address.scheme not in ("http", "https") or not address.host:
            raise SettingsError("FLORIN_ALERT_WEBHOOK_URL is no address: give one such as https://example.com/alerts")
        self.name = _named("webhook", self.url)
        # A proxy that is set up for the outside world cannot reach this machine's own loopback.
        self._host = address.host
        self._trust_env = address.host not in _LOOPBACK

    def tell(self, notice: Notice, *, now: datetime) -> None:
        body = orjson.dumps(document(notice, self.runbook_url))
        headers = {
            "content-type": "application/json",
            "webhook-id": str(notice.change_id),
            "webhook-timestamp": str(int(now.timestamp())),
            "webhook-signature": self.signer.sign(str(notice.change_id), now, body.decode()),
        }
        with tracing.span(
            "POST",
            "client",
            http__request__method="POST",
            server__address=self._host,
            florin__alert=notice.alert.id,
            florin__proof=notice.alert.proof,
            florin__change=notice.kind,
        ) as span:
            if tracing.is_on():
                headers["traceparent"] = tracing.current()
            answer = httpx.post(self.url, content=body, headers=headers, timeout=_TIMEOUT_S, trust_env=self._trust_env)
            span.annotate(http__response__status_code=answer.status_code)
            if not answer.is_success:
                raise DeliveryError(f"it answered {answer.status_code}")


@dataclass
class _Apprised:
    """Whoever apprise knows how to reach: by e-mail, Slack, Teams, and a hundred other ways."""

    number: int
    url: str
    runbook_url: str

    def __post_init__(self) -> None:
        # Only who is to be told that way pays for the import.
        import apprise  # noqa: PLC0415

        plugin = apprise.Apprise.instantiate(self.url)
        if plugin is None:
            raise SettingsError(
                f"FLORIN_ALERT_URLS: number {self.number} is no address that apprise knows,"
                " such as mailto://user:password@example.com"
            )
        self._plugin = plugin
        self.name = _named(self.url.partition(":")[0], self.url)

    def tell(self, notice: Notice, *, now: datetime) -> None:  # noqa: ARG002
        title, body = words(notice, self.runbook_url)
        if not self._plugin.notify(title=title, body=body):
            raise DeliveryError("it was not taken")


def document(notice: Notice, runbook_url: str) -> Mapping[str, Any]:
    """A change as a webhook carries it."""
    alert = notice.alert
    return {
        "type": f"alert.{notice.kind}",
        "timestamp": notice.changed_at,
        "data": {
            "change_id": notice.change_id,
            "alert_id": alert.id,
            "proof": alert.proof,
            "subject": alert.subject,
            "account": alert.account,
            "position": alert.position,
            "severity": alert.severity,
            "expected": alert.expected,
            "found": alert.found,
            "since": alert.since,
            "advice": alert.advice,
            "runbook_url": runbook(alert.proof, runbook_url),
            "first_seen_at": alert.first_seen_at,
            "last_seen_at": alert.last_seen_at,
            "seen": alert.seen,
            "changed_by": notice.changed_by,
            "reason": notice.reason,
        },
    }


def words(notice: Notice, runbook_url: str) -> tuple[str, str]:
    """A change as a person reads it: a subject, and what there is to know."""
    alert = notice.alert
    lines = [
        f"{alert.proof}: {alert.subject}",
        f"Expected: {alert.expected}",
        f"Found: {alert.found}",
        *([f"Since: {alert.since:%Y-%m-%d %H:%M:%S} UTC"] if alert.since else []),
        *([f"By {notice.changed_by}: {notice.reason}"] if notice.changed_by else []),
        f"What to do: {alert.advice}",
        f"Runbook: {runbook(alert.proof, runbook_url)}",
        f"florin alerts show {alert.id} (change {notice.change_id})",
    ]
    return f"[{alert.severity}] Florin alert {alert.id} {notice.kind}: {alert.subject}", "\n".join(lines)


def _named(kind: str, url: str) -> str:
    return f"{kind}-{hashlib.sha256(url.encode()).hexdigest()[:12]}"
