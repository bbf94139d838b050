"""Every figure follows the rows that it is about, whoever wrote them."""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import psycopg

from processor import alerts
from processor.breaks import Break
from processor.proofs import zero_sum
from processor.proofs.proof import Limits
from processor.prove import Prover
from processor.sealing import Sealer
from processor.store import locks, system_accounts
from tests.builders import NOON, RULES, advance, deposit, opening, place_hold, transfer, withdraw
from tests.conftest import Database
from tests.engine import Engine
from tests.eventually import eventually
from tests.exporter.conftest import Read
from tests.watch import Watch

USD: Final = '{currency="USD"}'


def chosen(figures: Mapping[str, float], *names: str) -> dict[str, float]:
    """These figures, by their names without ``florin_``; with all of their labels."""
    return {
        name.removeprefix("florin_"): value
        for name, value in figures.items()
        if name.removeprefix("florin_").partition("{")[0] in names
    }


def test_nothing_is_not_unknown(read: Read) -> None:
    """An empty database has zeros where zero is the truth, so that a rule can tell 'nothing' from 'nobody knows'."""
    figures = read()

    assert chosen(
        figures,
        *("backlog_commands", "oldest_pending_age_seconds", "held_commands", "quarantined_accounts"),
        *("oldest_held_age_seconds", "dead_letters_open", "dead_letter_oldest_age_seconds", "watermark_lag_seconds"),
        *("scheduler_leader", "seal_height", "seal_leaves"),
    ) == dict.fromkeys(
        [
            *("backlog_commands", "oldest_pending_age_seconds", "held_commands", "quarantined_accounts"),
            *("oldest_held_age_seconds", "dead_letters_open", "dead_letter_oldest_age_seconds"),
            *("watermark_lag_seconds", "scheduler_leader", "seal_height", "seal_leaves"),
        ],
        0,
    )
    assert not [name for name, value in figures.items() if value < 0]


def test_what_waits_in_line_is_counted_and_ages(engine: Engine, read: Read, watch: Watch) -> None:
    """What the alert 'money is stuck' looks at; zero when nothing waits."""
    engine.settle(opening("alice"), opening("bob"))
    engine.accept(transfer("alice", "bob", 1))
    watch.forward(seconds=60)
    engine.accept(deposit("bob", 1))
    stuck = chosen(read(), "backlog_commands", "oldest_pending_age_seconds")
    engine.drain()

    assert stuck == {"backlog_commands": 3, "oldest_pending_age_seconds": 60}
    assert set(chosen(read(), *stuck).values()) == {0}


def test_what_waits_for_a_person_is_counted_and_ages(engine: Engine, read: Read, watch: Watch) -> None:
    """A quarantine keeps commands from their outcome: how many, and for how long."""
    engine.settle(opening("alice"), opening("bob"))
    with engine.pool.connection() as conn:
        alerts.report(conn, "chain", [a_break("account:alice", account="alice")], now=watch())
    engine.settle(transfer("alice", "bob", 1), deposit("alice", 1), deposit("bob", 1))
    watch.forward(minutes=1)
    waiting = chosen(read(), "quarantined_accounts", "held_commands", "oldest_held_age_seconds")
    engine.rows("DELETE FROM held")
    engine.rows("UPDATE quarantine SET released_at = now(), released_by = 'x'")

    assert waiting == {"quarantined_accounts": 1, "held_commands": 2, "oldest_held_age_seconds": 60}
    assert set(chosen(read(), *waiting).values()) == {0}


def test_dead_letters_count_until_somebody_has_seen_to_them(engine: Engine, read: Read, watch: Watch) -> None:
    """The counter of the workers says how many there ever were, and nothing of what is left to do."""
    one, two = engine.settle(opening("alice"), opening("bob"))
    for position, minutes in ((one, 10), (two, 5)):
        engine.rows(
            "INSERT INTO dead_letter (position, error, failed_at) VALUES (%s, 'x', %s)",
            [position, watch() - timedelta(minutes=minutes)],
        )
    both = chosen(read(), "dead_letters_open", "dead_letter_oldest_age_seconds")
    engine.rows(
        "INSERT INTO dead_letter_action (position, number, action, acted_by, acted_at, reason)"
        " VALUES (%s, 1, 'discard', 'x', now(), 'x')",
        [one],
    )

    assert both == {"dead_letters_open": 2, "dead_letter_oldest_age_seconds": 600}
    assert chosen(read(), *both) == {"dead_letters_open": 1, "dead_letter_oldest_age_seconds": 300}


def test_a_transaction_that_does_not_end_holds_up_the_log(
    engine: Engine, database: Database, read: Read, watch: Watch
) -> None:
    """Proofs, seals and checkpoints read below the oldest transaction under way: whoever forgets one stops them all."""
    engine.settle(opening("alice"))
    with psycopg.connect(database.owner_url) as forgotten:
        forgotten.execute("CREATE TABLE anything ()")
        engine.settle(deposit("alice", 1))
        watch.forward(minutes=2)
        engine.settle(deposit("alice", 1))
        held_up = chosen(read(), "watermark_lag_seconds")
        forgotten.rollback()

    assert held_up == {"watermark_lag_seconds": 120}
    assert chosen(read(), "watermark_lag_seconds") == {"watermark_lag_seconds": 0}


def test_a_follower_that_is_behind_is_seen(engine: Engine, read: Read, watch: Watch) -> None:
    """Its job may succeed again and again, and yet not get on."""
    lags = [chosen(read(), "follower_lag_seconds")]
    engine.settle(opening("alice"), deposit("alice", 1))
    watch.forward(minutes=1)
    engine.settle(deposit("alice", 1))
    lags.append(chosen(read(), "follower_lag_seconds"))
    with engine.pool.connection() as conn:
        system_accounts.roll_forward(conn, now=watch())
    lags.append(chosen(read(), "follower_lag_seconds"))
    sealer(engine).seal()
    lags.append(chosen(read(), "follower_lag_seconds"))
    watch.forward(minutes=1)
    engine.settle(deposit("alice", 1))
    watch.forward(seconds=1)
    lags.append(chosen(read(), "follower_lag_seconds"))

    assert [list(each.values()) for each in lags] == [[0, 0], [60, 60], [60, 0], [0, 0], [1, 1]]
    assert set(lags[0]) == {f'follower_lag_seconds{{follower="{name}"}}' for name in ("seal", "roll_forward")}


def test_a_leader_is_whoever_holds_the_lock(database: Database, read: Read) -> None:
    """A gauge of the process would say that it leads for as long as it believes so."""
    with psycopg.connect(database.app_url, autocommit=True) as conn:
        assert locks.try_lead(conn)
        leads = read()["florin_scheduler_leader"]

    assert leads == 1
    assert read()["florin_scheduler_leader"] == 0


def test_jobs_are_known_by_their_runs(engine: Engine, read: Read) -> None:
    """A new scheduler knows when the old one succeeded; what never did so looks late, not absent."""
    for job, started, seconds, result in (
        ("sweep", 0, 3, "success"),
        ("sweep", 10, 5, "error"),
        ("collect", 0, 7, "error"),
        ("collect", 60, 1, "lost"),
    ):
        began = NOON + timedelta(seconds=started)
        engine.rows(
            "INSERT INTO job_run (job, started_at, ended_at, result, emitted, error)"
            " VALUES (%s, %s, %s, %s, CASE %s WHEN 'success' THEN 0 END, CASE %s WHEN 'error' THEN 'x' END)",
            [job, began, began + timedelta(seconds=seconds), result, result, result],
        )
    engine.rows("INSERT INTO job_run (job, started_at) VALUES ('sweep', %s)", [NOON + timedelta(hours=1)])

    assert chosen(read(), "job_last_success_timestamp_seconds", "job_last_duration_seconds") == {
        'job_last_success_timestamp_seconds{job="sweep"}': NOON.timestamp() + 3,
        'job_last_success_timestamp_seconds{job="collect"}': 0,
        'job_last_duration_seconds{job="sweep"}': 5,
        'job_last_duration_seconds{job="collect"}': 7,
    }


def test_money_follows_the_bank_s_own_accounts(engine: Engine, read: Read, watch: Watch) -> None:
    """No customer's account is read, and checkpoints make no difference: what is behind them is added."""
    engine.settle(
        opening("alice", overdraft_limit_minor=10_000, overdraft_fee_minor=1_500),
        opening("bob"),
        opening("carol", "JPY"),
    )
    engine.settle(deposit("alice", 1_050), deposit("bob", 500), deposit("carol", 700, "JPY"), advance("bob", 1_200))
    with engine.pool.connection() as conn:
        before = read()
        system_accounts.roll_forward(conn, now=watch())
        engine.settle(withdraw("alice", 2_050), deposit("carol", 1, "JPY"))
        engine.settle(opening("dora", "EUR"), deposit("dora", 1, "EUR"))
        after = read()
        system_accounts.roll_forward(conn, now=watch())
    names = ("deposits_amount", "advances_outstanding_amount", "system_balance_amount")

    assert chosen(before, "deposits_amount") == {
        f"deposits_amount{USD}": 10.50 + 5 + 12,
        'deposits_amount{currency="JPY"}': 700,
    }
    assert chosen(after, *names) == {
        f"deposits_amount{USD}": 5 + 12 - 10 - 15,
        'deposits_amount{currency="JPY"}': 701,
        'deposits_amount{currency="EUR"}': 0.01,
        f"advances_outstanding_amount{USD}": 12,
        'system_balance_amount{kind="settlement",currency="USD"}': -(10.50 + 5 - 20.50),
        'system_balance_amount{kind="fee_income",currency="USD"}': 15,
        'system_balance_amount{kind="advances_receivable",currency="USD"}': -12,
        'system_balance_amount{kind="settlement",currency="JPY"}': -701,
        'system_balance_amount{kind="settlement",currency="EUR"}': -0.01,
    }
    assert chosen(read(), *names) == chosen(after, *names)


def test_each_account_is_read_from_its_own_checkpoint(engine: Engine, read: Read, watch: Watch) -> None:
    """One may be further behind than the others: what a checkpoint has is not added to it once more."""
    engine.settle(opening("alice", overdraft_limit_minor=10_000, overdraft_fee_minor=1_500))
    engine.settle(withdraw("alice", 100))
    with engine.pool.connection() as conn:
        system_accounts.roll_forward(conn, now=watch())
        older = "CREATE TEMP TABLE older AS SELECT system_checkpoint.* FROM system_checkpoint"
        engine.rows(older + " JOIN account ON account.id = account_id WHERE account.kind = 'settlement'")
        engine.settle(withdraw("alice", 200))
        system_accounts.roll_forward(conn, now=watch())
    before = chosen(read(), "system_balance_amount", "deposits_amount")
    engine.rows(
        "UPDATE system_checkpoint SET credits_minor = older.credits_minor, debits_minor = older.debits_minor,"
        " up_to_xid = older.up_to_xid FROM older WHERE older.account_id = system_checkpoint.account_id"
    )

    assert before[f'system_balance_amount{{kind="fee_income",{USD[1:]}'] == 30
    assert before[f'system_balance_amount{{kind="settlement",{USD[1:]}'] == 3
    assert chosen(read(), "system_balance_amount", "deposits_amount") == before


def test_what_is_due_missed_and_overdue_is_seen(engine: Engine, read: Read, watch: Watch) -> None:
    """How much will come in and when, what did not come in, and what nobody has even asked for."""
    names = (
        *("next_collection_timestamp_seconds", "next_collection_instalments", "next_collection_amount"),
        *("arrears_amount", "overdue_instalments", "overdue_amount"),
    )

    def seen() -> list[float | None]:
        figures = read()
        return [figures.get(f"florin_{name}{USD}") for name in names]

    def midnight(days: int) -> float:
        return datetime(2026, 1, 5, tzinfo=UTC).timestamp() + days * 86_400

    engine.settle(opening("alice"), opening("bob"), advance("alice", 300, instalments=3), withdraw("alice", 300))
    lent = seen()
    engine.settle(advance("bob", 1_000, instalments=2, first_due_on=(watch() + timedelta(days=3)).date()))
    both = seen()
    watch.forward(days=8)
    late = seen()
    engine.collect()
    engine.drain()
    missed = seen()

    assert lent == [midnight(7), 1, 1.00, 0, 0, 0]
    assert both == [midnight(3), 1, 5.00, 0, 0, 0]
    assert late == [midnight(10), 1, 5.00, 0, 2, 6.00]
    assert missed == [midnight(10), 1, 5.00, 1.00, 0, 0]


def test_what_is_on_hold_and_overdue_is_seen(engine: Engine, read: Read, watch: Watch) -> None:
    """Promised money that nobody takes or gives back; and a scheduler that is behind with giving back."""
    engine.settle(opening("alice"), deposit("alice", 10_000), opening("kim", "JPY"), deposit("kim", 1, "JPY"))
    until = watch() + timedelta(hours=1)
    engine.settle(place_hold("alice", 250), place_hold("alice", 1_000, expires_at=until))
    # Nothing was ever paid in: what is on hold is all lent.
    engine.settle(opening("eve", "EUR", overdraft_limit_minor=100), place_hold("eve", 100, "EUR"))
    names = ("holds_open", "holds_amount", "holds_overdue")
    placed = chosen(read(), *names)
    watch.forward(hours=1)
    overdue = chosen(read(), "holds_overdue")
    engine.expire_holds()
    engine.drain()

    others = {
        'holds_open{currency="JPY"}': 0,
        'holds_amount{currency="JPY"}': 0,
        "holds_overdue": 0,
        'holds_open{currency="EUR"}': 1,
        'holds_amount{currency="EUR"}': 1,
    }
    assert placed == others | {'holds_open{currency="USD"}': 2, 'holds_amount{currency="USD"}': 12.5}
    assert overdue == {"holds_overdue": 1}
    assert chosen(read(), *names) == others | {'holds_open{currency="USD"}': 1, 'holds_amount{currency="USD"}': 2.5}


def test_the_next_day_is_found_for_every_currency(engine: Engine, read: Read) -> None:
    """That of one currency is not hidden by another's, whose day comes first."""
    for days, currency in ((1, "USD"), (2, "EUR"), (4, "JPY")):
        name = currency.lower()
        engine.settle(
            opening(name, currency),
            advance(name, 300, currency, instalments=3, first_due_on=(NOON + timedelta(days=days)).date()),
        )

    assert list(chosen(read(), "next_collection_amount").values()) == [1.0, 1.0, 100.0]


def test_alerts_are_counted_and_age_until_they_are_over(engine: Engine, read: Read, watch: Watch) -> None:
    """A rule sees them even if no address is set; and once all is well again, it sees zero."""
    labels = '{severity="page",proof="zero_sum"}'
    prove(engine, watch)
    with engine.pool.connection() as conn:
        alerts.report(conn, "zero_sum", [a_break("one"), a_break("two")], now=watch())
        watch.forward(minutes=1)
        broken = read()
        alerts.report(conn, "zero_sum", [], now=watch())
    mended = read()

    assert [broken[f"florin_{name}{labels}"] for name in ("alerts_open", "alert_oldest_open_age_seconds")] == [2, 60]
    assert [mended[f"florin_{name}{labels}"] for name in ("alerts_open", "alert_oldest_open_age_seconds")] == [0, 0]


def test_a_proof_that_breaks_keeps_the_day_on_which_it_last_held(engine: Engine, read: Read, watch: Watch) -> None:
    """Which process ran it, and how often it was started since, is nobody's concern."""
    names = ("proof_last_proven_timestamp_seconds", "proof_last_full_timestamp_seconds", "proof_breaks")

    def seen() -> list[float]:
        return [read()[f'florin_{name}{{proof="zero_sum"}}'] for name in names]

    engine.settle(opening("alice"), deposit("alice", 1))
    prove(engine, watch)
    new = seen()
    prove(engine, watch, is_full=True)
    full = seen()
    watch.forward(hours=1)
    engine.rows("UPDATE account SET credits_minor = credits_minor + 1 WHERE name = 'alice'")
    prove(engine, watch, is_full=True)

    assert new == [NOON.timestamp(), 0, 0]
    assert full == [NOON.timestamp(), NOON.timestamp(), 0]
    assert seen() == [NOON.timestamp(), NOON.timestamp(), 1]


def test_the_newest_block_is_witnessed(engine: Engine, read: Read, watch: Watch) -> None:
    """Whatever keeps metrics keeps a witness of the chain's end."""
    engine.settle(opening("alice"), *[deposit("alice", 1)] * 4)
    sealer(engine, block_size=2).seal()
    (hash_,) = engine.rows("SELECT hash FROM seal ORDER BY number DESC LIMIT 1")[0]

    assert chosen(read(), "seal_height", "seal_leaves", "seal_newest_timestamp_seconds", "seal_hash_prefix") == {
        "seal_height": 3,
        "seal_leaves": 5,
        "seal_newest_timestamp_seconds": watch().timestamp(),
        "seal_hash_prefix": int.from_bytes(bytes(hash_)[:6], "big"),
    }


def test_statements_that_differ_from_the_books_are_counted(engine: Engine, read: Read, watch: Watch) -> None:
    """Open differences by what they are, and whether statements still come in."""
    (file_id,) = engine.rows(
        "INSERT INTO statement_file (sha256, name, format, bank_account, currency, from_on, to_on, total_minor, lines,"
        " new_lines, amount_minor, skipped, imported_by, imported_at)"
        " VALUES (%s, 'x', 'csv', 'main', 'USD', '2026-01-01', '2026-01-02', 0, 0, 0, 0, 0, 'x', %s) RETURNING id",
        [bytes(32), watch()],
    )[0]
    engine.rows(
        "INSERT INTO reconciliation_break"
        " (result, file_id, currency, amount_minor, detail, since, opened_at, closed_at)"
        " SELECT 'balance', %s, 'USD', 1, 'x', now(), now(), closed FROM unnest(ARRAY[NULL, now()]) AS closed",
        [file_id],
    )

    assert chosen(read(), "statement_breaks_open", "statement_last_import_timestamp_seconds") == {
        'statement_breaks_open{result="balance",currency="USD"}': 1,
        f"statement_last_import_timestamp_seconds{USD}": watch().timestamp(),
    }


def test_postgres_itself_is_measured(engine: Engine, database: Database, read: Read) -> None:
    """Sessions that wait and transactions that nobody ends are seen before they stop anybody."""
    calm = read()
    with (
        psycopg.connect(database.app_url) as one,
        psycopg.connect(database.app_url) as two,
        ThreadPoolExecutor(1) as thread,
    ):
        for conn in (one, two):
            conn.execute("SELECT")
        locks.lock_one(one, locks.SEAL)
        thread.submit(locks.lock_one, two, locks.SEAL)
        eventually(lambda: read()["florin_postgres_lock_waiters"])
        waiting = read()
        one.rollback()

    grew = ("connections", "oldest_transaction_age_seconds")
    assert all(waiting[f"florin_postgres_{name}"] > calm[f"florin_postgres_{name}"] for name in grew)
    assert calm["florin_postgres_lock_waiters"] == 0
    assert calm["florin_postgres_max_connections"] >= waiting["florin_postgres_connections"]
    assert read()["florin_postgres_commits_total"] >= calm["florin_postgres_commits_total"]
    for name in ("database_bytes", 'table_bytes{table="transfer"}', "blocks_hit_total", "wal_bytes_total"):
        assert calm[f"florin_postgres_{name}"] > 0


def a_break(subject: str, **more: Any) -> Break:
    """Something that a proof found wrong."""
    return Break("chain", subject, expected="1", found="2", advice="look", **more)


def prove(engine: Engine, watch: Watch, *, is_full: bool = False) -> None:
    """Run a proof of all accounts."""
    with engine.pool.connection() as conn:
        limits = Limits(rules=RULES, pending=timedelta(hours=1), clock=timedelta(hours=1), periods={})
        assert Prover(conn, now=watch, limits=limits, stopped=lambda: False, keep_runs=timedelta(days=30)).run(
            zero_sum.PROOF, is_full=is_full
        )


def sealer(engine: Engine, *, block_size: int = 10) -> Sealer:
    """Seals without telling anybody."""
    return Sealer(engine.pool, now=engine.now, choose=lambda _: 0, block_size=block_size, file=None)
