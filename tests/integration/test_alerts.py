"""Alerts: one for each break while it lasts, their history, and that people are told of each change."""

import base64
import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from email import message_from_bytes, policy
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any, Final
from uuid import UUID

import psycopg
import pytest
from aiosmtpd.controller import Controller
from dramatiq.brokers.redis import RedisBroker
from prometheus_client import REGISTRY
from psycopg import Connection
from standardwebhooks import Webhook, WebhookVerificationError

from cli.servers import LocalServers
from cli.servers.process import free_port
from processor import clock, pools
from processor.alerts import Suspect, open_subjects, report
from processor.breaks import Break, Severity
from processor.errors import SettingsError
from processor.notifying import DeliveryError, Notifier, Target, targets_of
from processor.settings import AlertSettings
from processor.store import alerts as alert_store
from processor.store import notices
from processor.store.notices import Notice
from tests.builders import NOON
from tests.conftest import TEMPLATE, Database
from tests.eventually import eventually
from tests.stack import new_database
from workers import notify
from workers.broker import make_broker

# apprise asks whether a module is there that Python will not have any more.
pytestmark = pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning")

MINUTE: Final = timedelta(minutes=1)
SECRET: Final = "whsec_" + base64.b64encode(b"a secret of thirty-two bytes ...").decode()


@pytest.fixture(scope="module")
def _database(servers: LocalServers, _application_password: str) -> Iterator[Database]:
    """One for all tests of this file: only alerts are written here."""
    with new_database(servers, TEMPLATE, _application_password) as (owner_url, app_url):
        yield Database(owner_url, app_url)


@pytest.fixture
def database(_database: Database) -> Database:
    """Without any alert."""
    with psycopg.connect(_database.owner_url, autocommit=True) as owner:
        owner.execute("TRUNCATE alert RESTART IDENTITY CASCADE")
    return _database


@pytest.fixture
def conn(database: Database) -> Iterator[Connection]:
    """A connection of the application."""
    with pools.connect(database.app_url, "florin test") as conn:
        yield conn


def a_break(subject: str = "account:alice", **changes: Any) -> Break:
    """Something that is wrong."""
    facts = {"expected": "1.00 USD", "found": "2.00 USD", "advice": "Compare it with the transfers.", **changes}
    return Break("chain", subject, **facts)


def find(conn: Connection, *breaks: Break, now: datetime = NOON, proof: str = "chain") -> None:
    """A run of the proof finds just these."""
    report(conn, proof, breaks, now=now)


def rows(conn: Connection, query: Any) -> list[tuple[Any, ...]]:
    """What is written down."""
    return conn.execute(query).fetchall()


def history(conn: Connection) -> list[tuple[int, str]]:
    """Every change of every alert."""
    return [
        (alert_id, kind)
        for alert_id, kind in rows(conn, "SELECT alert_id, kind FROM alert_change ORDER BY alert_id, changed_at, id")
    ]


# What a run of a proof makes of its alerts.


def test_a_break_that_lasts_is_one_alert(conn: Connection) -> None:
    """It is seen each time, with the facts of now; whoever is woken by it is woken once."""
    find(conn, a_break(found="2.00 USD"))
    find(conn, a_break(found="3.00 USD"), now=NOON + MINUTE)

    assert rows(conn, "SELECT state, seen, found, first_seen_at, last_seen_at FROM alert") == [
        ("open", 2, "3.00 USD", NOON, NOON + MINUTE)
    ]
    assert history(conn) == [(1, "opened")]


def test_an_alert_is_resolved_by_itself_when_its_proof_passes_again(conn: Connection) -> None:
    """Nobody has to tidy up after a false alarm or a repair; and what else is wrong stays open."""
    find(conn, a_break("account:alice"), a_break("account:bob"))
    find(conn, a_break("account:bob"), now=NOON + MINUTE)

    assert rows(conn, "SELECT subject, state, resolved_at, resolved_by FROM alert ORDER BY id") == [
        ("account:alice", "resolved", NOON + MINUTE, None),
        ("account:bob", "open", None, None),
    ]
    assert open_subjects(conn, "chain") == [Suspect("account:bob", None, None)]


def test_a_subject_that_breaks_again_has_a_new_alert(conn: Connection) -> None:
    """The first one's history says how it ended: it is over, and never written over."""
    find(conn, a_break())
    find(conn, now=NOON + MINUTE)
    find(conn, a_break(), now=NOON + 2 * MINUTE)

    assert rows(conn, "SELECT id, state FROM alert ORDER BY id") == [(1, "resolved"), (2, "open")]
    assert history(conn) == [(1, "opened"), (1, "resolved"), (2, "reopened")]


def test_one_proof_does_not_resolve_what_another_one_found(conn: Connection) -> None:
    """Each speaks for itself only, though both doubt the same account."""
    find(conn, a_break(account="alice", position=7))
    find(conn, proof="totals")

    assert open_subjects(conn, "chain") == [Suspect("account:alice", "alice", 7)]
    assert open_subjects(conn, "totals") == []


def test_an_alert_gets_worse_and_not_better(conn: Connection) -> None:
    """Somebody who was not woken for it is now; and what somebody was woken for stays that."""
    for severity in (Severity.TICKET, Severity.PAGE, Severity.TICKET):
        find(conn, a_break(severity=severity))

    assert rows(conn, "SELECT severity, seen FROM alert") == [("page", 3)]
    assert history(conn) == [(1, "opened"), (1, "raised")]


def test_a_break_is_reported_twice_at_once_and_opens_one_alert(database: Database) -> None:
    """The scheduler runs a proof while an admin runs it by hand."""

    def find_it(_: int) -> None:
        with pools.connect(database.app_url, "florin test") as conn:
            find(conn, a_break("account:alice"), a_break("account:bob"))

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(find_it, range(8)))
    with pools.connect(database.app_url, "florin test") as conn:
        seen = rows(conn, "SELECT subject, seen FROM alert ORDER BY subject")

        assert seen == [("account:alice", 8), ("account:bob", 8)]
        assert sorted(history(conn)) == [(1, "opened"), (2, "opened")]


def test_a_report_that_is_rolled_back_leaves_nothing(conn: Connection) -> None:
    """Alert, quarantine and the word to people are one transaction with the proof's own record."""
    with conn.transaction(force_rollback=True):
        find(conn, a_break(account="alice"))

    for table in ("alert", "alert_change", "alert_notice", "quarantine"):
        assert rows(conn, psycopg.sql.SQL("SELECT FROM {}").format(psycopg.sql.Identifier(table))) == []


# Telling people.


class Clock:
    """Stands still until it is moved."""

    def __init__(self) -> None:
        self.at = NOON

    def __call__(self) -> datetime:
        return self.at


@dataclass
class Somebody:
    """Is told, or cannot be reached."""

    name: str = "somebody"
    away: bool = False
    told: list[tuple[UUID, str]] = field(default_factory=list)

    def tell(self, notice: Notice, *, now: datetime) -> None:
        if self.away:
            raise DeliveryError("nobody answers")
        self.told.append((notice.change_id, notice.kind))


@pytest.fixture
def time() -> Clock:
    """The notifier's clock."""
    return Clock()


@pytest.fixture
def notifier_of(database: Database, time: Clock) -> Callable[..., Notifier]:
    """A notifier that tells these."""

    def make(*targets: Target) -> Notifier:
        return Notifier(lambda: pools.connect(database.app_url, "florin notifier"), targets, now=time)

    return make


def test_every_change_is_told_once_under_an_id_of_its_own(
    conn: Connection, notifier_of: Callable[..., Notifier]
) -> None:
    """Opened, resolved, opened again and worse: four pieces of news; that it lasts is none."""
    somebody = Somebody()
    notifier = notifier_of(somebody)
    ticket = a_break(severity=Severity.TICKET)
    for found in ([ticket], [ticket], [], [ticket], [a_break()]):
        find(conn, *found)
        notifier.deliver()
    again = notifier.deliver()

    assert [kind for _, kind in somebody.told] == ["opened", "resolved", "reopened", "raised"]
    assert {id_ for id_, _ in somebody.told} == {id_ for (id_,) in rows(conn, "SELECT id FROM alert_change")}
    assert again == 0


def test_an_alert_with_nobody_to_tell_is_not_told_later(conn: Connection, notifier_of: Callable[..., Notifier]) -> None:
    """Whoever sets an address up does not get the news of last year."""
    find(conn, a_break())
    notifier_of().deliver()
    somebody = Somebody()
    notifier_of(somebody).deliver()

    assert somebody.told == []
    # An admin who reads "delivered" would believe that somebody was called.
    assert [row[-1] for row in conn.execute(alert_store.SELECT_HISTORY, [1])] == ["nobody"]


def test_whoever_cannot_be_reached_is_told_later_and_the_others_once(
    conn: Connection, notifier_of: Callable[..., Notifier], time: Clock
) -> None:
    """A mail server that is away for an hour costs the hour, and no second page to the phone."""
    phone, mail = Somebody("phone"), Somebody("mail", away=True)
    notifier = notifier_of(phone, mail)
    find(conn, a_break())
    for _ in range(5):
        notifier.deliver()
        time.at += timedelta(minutes=5)
    mail.away = False
    notifier.deliver()

    assert len(phone.told) == 1
    assert mail.told == phone.told
    assert rows(conn, "SELECT state, attempts, delivered_to FROM alert_notice") == [("delivered", 6, ["phone", "mail"])]


def test_attempts_grow_apart_and_end_after_a_day(
    conn: Connection, notifier_of: Callable[..., Notifier], time: Clock
) -> None:
    """An address that is wrong is not tried for ever, and that somebody was never told is a figure of its own."""
    before = REGISTRY.get_sample_value("florin_alert_undelivered_total") or 0
    nobody = Somebody(away=True)
    notifier = notifier_of(nobody)
    find(conn, a_break())
    waits = []
    while notifier.deliver():
        ((state, due_at),) = rows(conn, "SELECT state, due_at FROM alert_notice")
        if state == "waiting":
            waits.append((due_at - time.at).total_seconds())
            time.at = due_at

    assert waits == sorted(waits)
    assert waits[0] == 10
    assert timedelta(hours=20) < timedelta(seconds=sum(waits)) <= timedelta(days=1)
    assert rows(conn, "SELECT state, error FROM alert_notice") == [("undelivered", "somebody: nobody answers")]
    assert REGISTRY.get_sample_value("florin_alert_undelivered_total") == before + 1


def test_a_notice_whose_worker_died_is_taken_up_again(
    conn: Connection, notifier_of: Callable[..., Notifier], time: Clock
) -> None:
    """At least once: it may have been told and not noted, and its id says that it is the same."""
    find(conn, a_break())
    taken = notices.claim(conn, now=NOON, until=NOON + MINUTE)
    somebody = Somebody()
    notifier = notifier_of(somebody)
    meanwhile = notifier.deliver()
    time.at += 2 * MINUTE

    assert meanwhile == 0
    assert notifier.deliver() == 1
    assert taken is not None
    assert somebody.told == [(taken.change_id, "opened")]


def test_two_workers_share_the_notices(conn: Connection, notifier_of: Callable[..., Notifier]) -> None:
    """Both are asked at once: each change is told by one of them."""
    somebody = Somebody()
    find(conn, *[a_break(f"account:{number}") for number in range(30)])
    with ThreadPoolExecutor(3) as threads:
        taken = list(threads.map(lambda _: notifier_of(somebody).deliver(), range(3)))

    assert sum(taken) == 30
    assert len({id_ for id_, _ in somebody.told}) == len(somebody.told) == 30


# The ways to tell.


@dataclass
class Receiver:
    """A web server on this machine that notes what it is sent, and answers as it is told."""

    url: str = ""
    status: int = 204
    got: list[tuple[dict[str, str], bytes]] = field(default_factory=list)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """It listens while the test runs."""
    receiver = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            receiver.got.append(({name.lower(): value for name, value in self.headers.items()}, body))
            self.send_response(receiver.status)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        receiver.url = f"http://127.0.0.1:{server.server_port}/in-the-path-is-a-secret"
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield receiver
        server.shutdown()
        thread.join()


class Mailbox:
    """Takes every mail."""

    def __init__(self) -> None:
        self.mails: list[bytes] = []

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: N802 - aiosmtpd's name
        self.mails.append(envelope.content)
        return "250 OK"


def settings_of(**values: Any) -> AlertSettings:
    """As the environment would have them."""
    return AlertSettings(**values)


def test_a_webhook_is_signed_and_says_all_there_is_to_know(
    conn: Connection, notifier_of: Callable[..., Notifier], receiver: Receiver, time: Clock
) -> None:
    """Whoever receives it can tell that it is ours and unchanged, and which alert of which proof it is about."""
    time.at = now = clock.now()
    find(conn, a_break(account="alice", position=7, since=NOON), now=now)
    urls = settings_of(
        alert_webhook_url=receiver.url, alert_webhook_secret=SECRET, runbook_url="https://example.com/runbooks"
    )
    notifier_of(*targets_of(urls)).deliver()
    ((headers, body),) = receiver.got
    payload = Webhook(SECRET).verify(body, headers)
    ((change_id,),) = rows(conn, "SELECT id FROM alert_change")

    assert headers["webhook-id"] == payload["data"]["change_id"] == str(change_id)
    assert (payload["type"], datetime.fromisoformat(payload["timestamp"])) == ("alert.opened", now)
    assert (
        payload["data"].items()
        >= {
            "alert_id": 1,
            "proof": "chain",
            "subject": "account:alice",
            "account": "alice",
            "position": 7,
            "severity": "page",
            "expected": "1.00 USD",
            "found": "2.00 USD",
            "advice": "Compare it with the transfers.",
            "runbook_url": "https://example.com/runbooks#chain",
        }.items()
    )
    with pytest.raises(WebhookVerificationError):
        Webhook(SECRET).verify(body.replace(b"2.00", b"9.00"), headers)


def test_a_webhook_that_is_refused_is_sent_again_with_the_same_id(
    conn: Connection, notifier_of: Callable[..., Notifier], receiver: Receiver, time: Clock
) -> None:
    """The receiver was being deployed. It may have read the first one all the same: the id tells it."""
    notifier = notifier_of(*targets_of(settings_of(alert_webhook_url=receiver.url, alert_webhook_secret=SECRET)))
    receiver.status = 503
    find(conn, a_break())
    notifier.deliver()
    receiver.status = 200
    time.at += MINUTE
    notifier.deliver()
    ids = [headers["webhook-id"] for headers, _ in receiver.got]

    assert len(ids) == 2
    assert len(set(ids)) == 1
    assert rows(conn, "SELECT state, attempts FROM alert_notice") == [("delivered", 2)]


def test_people_are_told_by_mail_and_in_their_chat(
    conn: Connection,
    notifier_of: Callable[..., Notifier],
    receiver: Receiver,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Every way that apprise knows, of which these are two: the words are for people, with what to do."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    mailbox = Mailbox()
    port = free_port()
    server = Controller(mailbox, hostname="127.0.0.1", port=port)
    server.start()
    try:
        urls = [
            f"mailto://127.0.0.1:{port}?from=florin@example.com&to=oncall@example.com&mode=insecure",
            receiver.url.replace("http://", "json://"),
        ]
        find(conn, a_break())
        notifier_of(*targets_of(settings_of(alert_urls=json.dumps(urls)))).deliver()
    finally:
        server.stop()
    (mail,) = [message_from_bytes(each, policy=policy.default) for each in mailbox.mails]
    ((_, chat),) = receiver.got

    assert mail["subject"] == "[page] Florin alert 1 opened: account:alice"
    assert mail["to"] == "oncall@example.com"
    assert "What to do: Compare it with the transfers." in mail.get_body(("plain",)).get_content()  # type: ignore
    assert "docs/runbooks.md#chain" in json.loads(chat)["message"]
    assert rows(conn, "SELECT state, cardinality(delivered_to) FROM alert_notice") == [("delivered", 2)]


def test_what_is_logged_and_recorded_shows_no_address(
    *,
    conn: Connection,
    notifier_of: Callable[..., Notifier],
    receiver: Receiver,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Tokens stand in addresses: whoever reads logs must not be able to write into our chat."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    caplog.set_level("DEBUG")
    receiver.status = 500
    urls = [
        receiver.url.replace("http://", "json://"),
        "mailto://user:the-password@127.0.0.1:1?from=a@example.com&to=b@example.com&mode=insecure",
    ]
    settings = settings_of(alert_urls=json.dumps(urls), alert_webhook_url=receiver.url, alert_webhook_secret=SECRET)
    find(conn, a_break())
    notifier_of(*targets_of(settings)).deliver()
    ((error, names),) = rows(conn, "SELECT error, delivered_to FROM alert_notice")
    said = "".join(capfd.readouterr()) + caplog.text + error + str(names) + repr(settings)

    assert len(receiver.got) == 2
    assert error.count(";") == 2
    assert "in-the-path-is-a-secret" not in said
    assert "the-password" not in said
    assert SECRET not in said


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"alert_webhook_url": "https://example.com"}, "set FLORIN_ALERT_WEBHOOK_SECRET as well"),
        ({"alert_webhook_url": "https://example.com", "alert_webhook_secret": "whsec_"}, "give whsec_ and"),
        ({"alert_webhook_url": "https://example.com", "alert_webhook_secret": "whsec_AAAA"}, "give whsec_ and"),
        ({"alert_webhook_url": "https://example.com", "alert_webhook_secret": "abc"}, "give whsec_ and"),
        ({"alert_webhook_url": "https://example.com", "alert_webhook_secret": SECRET[6:]}, "give whsec_ and"),
        ({"alert_webhook_url": "example.com/x", "alert_webhook_secret": SECRET}, "FLORIN_ALERT_WEBHOOK_URL is no"),
        (
            {"alert_webhook_url": "http://example.com:port", "alert_webhook_secret": SECRET},
            "FLORIN_ALERT_WEBHOOK_URL is no",
        ),
        ({"alert_urls": '["json://localhost", "hush://a-secret"]'}, "FLORIN_ALERT_URLS: number 2 is no address"),
    ],
)
def test_a_wrong_address_stops_the_start_with_a_sentence(values: dict[str, str], sentence: str) -> None:
    """Not at the first alert, months later; and the address itself is not shown."""
    with pytest.raises(SettingsError, match=sentence) as refused:
        targets_of(settings_of(**values))

    assert "a-secret" not in str(refused.value)


# The queue.


@pytest.fixture
def broker(redis_url: str) -> Iterator[RedisBroker]:
    """The real queue, empty."""
    broker = make_broker(redis_url)
    yield broker
    broker.client.close()


def test_a_worker_delivers_when_it_is_asked_and_whoever_asks_twice_sends_one_message(
    conn: Connection, notifier_of: Callable[..., Notifier], broker: RedisBroker
) -> None:
    """The scheduler asks every few seconds: while nobody works, that must not fill the queue."""
    somebody = Somebody()
    notify.declare(broker, notifier_of(somebody))
    find(conn, a_break())
    notify.ask()
    notify.ask()
    waiting = broker.client.llen(f"{broker.namespace}:{notify.NOTICES}")
    with notify.delivering(broker):
        eventually(lambda: somebody.told)

    assert waiting == 1
    assert rows(conn, "SELECT state FROM alert_notice") == [("delivered",)]


def test_nothing_is_lost_with_the_queue(
    conn: Connection, notifier_of: Callable[..., Notifier], broker: RedisBroker
) -> None:
    """Redis is flushed between the question and the answer: the outbox still says what is to be told."""
    somebody = Somebody()
    notify.declare(broker, notifier_of(somebody))
    find(conn, a_break())
    notify.ask()
    broker.client.flushall()
    assert notices.count_due(conn, now=NOON) == 1
    notify.ask()
    with notify.delivering(broker):
        eventually(lambda: somebody.told)

    assert notices.count_due(conn, now=NOON) == 0
