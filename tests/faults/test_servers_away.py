"""Postgres and Redis are flushed, killed and stopped: receipts stay good, and nothing is accepted by half."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import uuid4

import httpx

from cli.servers import LocalServers
from cli.servers.process import wait_until
from tests.faults.conftest import NewStack, flush
from tests.load import Load, openings, payments
from tests.stack import Stack, held
from tests.verdict import assert_the_books_are_right, wait_until_settled

NAMES = [f"a{n}" for n in range(400)]
"""So many that a lost message is not made good by the next one, which would find its accounts' lines."""
DEPOSIT = {"type": "deposit", "account": "a0", "amount": "10.50", "currency": "USD"}


def begin(stack: Stack) -> tuple[str, Load]:
    """A key, and accounts that are open."""
    key = stack.key("load")
    with Load(stack.port, key, openings(NAMES, overdraft="50.00")) as load:
        pass
    wait_until_settled(stack)
    return key, load


def a_client(stack: Stack, key: str) -> httpx.Client:
    """Somebody who sends one request at a time."""
    return httpx.Client(base_url=stack.url, headers={"Authorization": f"Bearer {key}"}, timeout=30, trust_env=False)


def post(client: httpx.Client, key: str, body: dict[str, Any] = DEPOSIT, **headers: str) -> httpx.Response:
    """Send one command."""
    return client.post("/v1/commands", json=body, headers={"Idempotency-Key": key, **headers})


def assert_unavailable(answer: httpx.Response) -> None:
    """The database is away: say so, and when to come again."""
    assert answer.status_code == 503, answer.text
    assert answer.json()["type"] == "urn:florin:problem:unavailable"
    assert int(answer.headers["retry-after"]) >= 1


def test_a_flushed_redis_loses_nothing(new_stack: NewStack) -> None:
    """FLUSHALL again and again while commands are pending: what was accepted is settled, and nothing twice."""
    stack = new_stack(workers=2)
    key, before = begin(stack)
    flushes = 0
    with Load(stack.port, key, payments(NAMES, 5_000, seed=11)) as load:
        while not load.is_over:
            load.wait_for(min(200 * (flushes + 1), 5_000))
            flush(stack)
            flushes += 1
    assert_the_books_are_right(stack, before.receipts, load.receipts)

    assert flushes > 10
    assert not load.troubles


def test_a_killed_postgres_loses_no_receipt(new_stack: NewStack, servers: LocalServers) -> None:
    """kill -9 in mid-load, twice: the client is told to come again, and what had been committed is there."""
    stack = new_stack(workers=2)
    key, before = begin(stack)
    with Load(stack.port, key, payments(NAMES, 4_000, seed=12)) as load:
        for receipts in (1_000, 2_500):
            load.wait_for(receipts)
            turned_away = load.troubles["503"]
            servers.postgres.kill()
            # It stays away until a client has met that: a start that is quick enough would be seen by nobody.
            assert wait_until(lambda: load.troubles["503"] > turned_away, timeout_s=20)  # noqa: B023
            servers.postgres.start()
    assert_the_books_are_right(stack, before.receipts, load.receipts)

    assert load.troubles["503"] > 0
    assert load.troubles.keys() == {"503"}


def test_a_killed_redis_loses_no_receipt(new_stack: NewStack, servers: LocalServers) -> None:
    """kill -9 in mid-load: commands are accepted while it is away, and applied once it is back."""
    stack = new_stack(workers=2)
    key, before = begin(stack)
    with Load(stack.port, key, payments(NAMES, 4_000, seed=13)) as load:
        load.wait_for(1_000)
        servers.redis.kill()
        load.wait_for(2_000)
        servers.redis.start()
    assert_the_books_are_right(stack, before.receipts, load.receipts)

    assert not load.troubles


def test_without_postgres_nothing_is_half_accepted(new_stack: NewStack, servers: LocalServers) -> None:
    """503 to everything that needs it; afterwards the same key works, and there is one command."""
    stack = new_stack(workers=1)
    key, _ = begin(stack)
    once, line = str(uuid4()), {"idempotency_key": "line", **DEPOSIT}
    with a_client(stack, key) as client, ThreadPoolExecutor(8) as threads:
        servers.postgres.stop()
        # Each of these waits for a connection as long as the pool does.
        answers = [
            threads.submit(post, client, once),
            threads.submit(post, client, once, Prefer="wait=5"),
            threads.submit(client.post, "/v1/commands/batch", json=[line]),
            threads.submit(client.get, "/v1/accounts/a0"),
            threads.submit(client.get, "/v1/commands"),
            threads.submit(client.get, f"/v1/commands/{uuid4()}"),
        ]
        ready = threads.submit(client.get, "/readyz")
        for answer in answers:
            assert_unavailable(answer.result())
        assert (ready.result().status_code, ready.result().json()["postgres"]) == (503, "away")
        assert client.get("/healthz").status_code == 200

        servers.postgres.start()
        assert wait_until(lambda: client.get("/readyz").status_code == 200, timeout_s=20)
        first, again = post(client, once, Prefer="wait=30"), post(client, once)
        balance = client.get("/v1/accounts/a0").json()["balance"]
    with stack.owner() as conn:
        commands = conn.execute("SELECT count(*) FROM command WHERE type = 'deposit'").fetchone()

    assert (first.status_code, first.json()["status"]) == (200, "applied")
    assert "idempotent-replayed" not in first.headers
    assert (again.status_code, again.headers["idempotent-replayed"]) == (202, "true")
    assert (commands, balance) == ((1,), "10.50")


def test_without_redis_commands_are_accepted_and_applied_later(new_stack: NewStack, servers: LocalServers) -> None:
    """Redis carries ids only: a receipt does not need it."""
    stack = new_stack(workers=1)
    key, _ = begin(stack)
    with a_client(stack, key) as client:
        servers.redis.stop()
        accepted = [post(client, f"d{n}") for n in range(3)]
        pending = client.get(accepted[0].json()["status_url"]).json()["status"]
        ready = client.get("/readyz")
        servers.redis.start()
        wait_until_settled(stack)
        statuses = [client.get(answer.json()["status_url"]).json()["status"] for answer in accepted]

    assert [answer.status_code for answer in accepted] == [202] * 3
    assert pending == "pending"
    assert (ready.status_code, ready.json()) == (503, {"postgres": "ok", "redis": "away"})
    assert statuses == ["applied"] * 3


def test_a_client_waits_through_a_restart_of_redis(new_stack: NewStack, servers: LocalServers) -> None:
    """The outcome is committed while Redis is away: the announcement is lost for good, and the client is told."""
    stack = new_stack(workers=1, FLORIN_MAX_WAIT_S="300")
    key, _ = begin(stack)
    with a_client(stack, key) as client, ThreadPoolExecutor(1) as thread:
        with held(stack, "a0"), stack.owner() as conn:
            waiting = thread.submit(post, client, "d", Prefer="wait=300")
            # The worker has the message in hand when it waits for the account's lock.
            assert wait_until(
                lambda: (
                    conn.execute(
                        "SELECT EXISTS (SELECT FROM pg_locks JOIN pg_database ON pg_database.oid = pg_locks.database"
                        " WHERE locktype = 'advisory' AND NOT granted AND datname = current_database())"
                    ).fetchone()
                    == (True,)
                ),
                timeout_s=20,
            )
            servers.redis.stop()
        wait_until_settled(stack)
        servers.redis.start()
        answer = waiting.result()

    assert (answer.status_code, answer.json()["status"]) == (200, "applied")


def test_above_its_backlog_the_intake_turns_commands_away(new_stack: NewStack) -> None:
    """429 and when to come again, nothing accepted; once there are workers, the same keys are accepted."""
    stack = new_stack(workers=0, schedulers=0, FLORIN_MAX_BACKLOG="3")
    key = stack.key("load")
    with Load(stack.port, key, openings(NAMES[:3])) as before, a_client(stack, key) as client:
        before.wait_for(3)
        fillers: dict[str, Any] = {}

        def is_turned_away() -> bool:
            answer = post(client, filler := str(uuid4()))
            if answer.status_code == 202:
                fillers[filler] = answer.json()
            return answer.status_code == 429

        assert wait_until(is_turned_away, timeout_s=20)
        refused = post(client, "later")
        batch = client.post("/v1/commands/batch", json=[{"idempotency_key": "later", **DEPOSIT}])
        with stack.owner() as conn:
            kept = conn.execute("SELECT count(*) FROM command WHERE idempotency_key = 'later'").fetchone()
        stack.start("worker-1")
        with Load(stack.port, key, [("later", DEPOSIT)]) as load:
            pass
        wait_until_settled(stack)

    for answer in (refused, batch):
        assert (answer.status_code, answer.json()["type"]) == (429, "urn:florin:problem:backlog")
        assert int(answer.headers["retry-after"]) >= 1
    assert kept == (0,)
    assert load.receipts.keys() == {"later"}
