"""The log is sealed block by block, and whatever is changed afterwards is found."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from typing import Any, Final

import psycopg
import pytest
from psycopg import sql

from cli.servers import LocalServers
from processor import clock, pools, publishing, sealing, verifying
from processor.errors import BooksError
from processor.publishing import Published
from processor.sealing import seal_next
from processor.store import books as books_store
from processor.store import locks, seals
from processor.store.seals import Stored
from processor.verifying import Difference, Report
from tests.builders import advance, deposit, opening, transfer, withdraw
from tests.conftest import TEMPLATE, Database
from tests.engine import Engine, running_engine
from tests.stack import new_database


def seal_all(engine: Engine, limit: int = 1_000) -> list[Stored]:
    """Seal until there is nothing left that can be."""
    made = []
    with pools.connect(engine.database.app_url, "test") as conn:
        while block := seal_next(conn, now=clock.now(), limit=limit):
            made.append(block)
    return made


def report_of(engine: Engine, **options: Any) -> Report:
    """What a verification says, as the application's login may make it."""
    with pools.connect(engine.database.app_url, "test") as conn:
        return verifying.verify(conn, **options)


def sealed_positions(engine: Engine) -> list[int]:
    """The leaves of all blocks, in their order."""
    return [
        position for (positions,) in engine.rows("SELECT positions FROM seal ORDER BY number") for position in positions
    ]


# Sealing.


def test_every_outcome_is_sealed_once_while_everything_goes_on(engine: Engine) -> None:
    """Workers and two sealers at once: whatever is settled becomes a leaf, and of one block only."""
    engine.settle(*(opening(name) for name in ("alice", "bob", "carol")))
    engine.accept_apart(*(deposit(name, 1) for _ in range(40) for name in ("alice", "bob", "carol")))
    done = threading.Event()

    def seal() -> int:
        made = 0
        with pools.connect(engine.database.app_url, "test") as conn:
            while not done.is_set():
                made += seal_next(conn, now=clock.now(), limit=7) is not None
        return made

    with ThreadPoolExecutor(2) as sealers:
        sealing_now = [sealers.submit(seal) for _ in range(2)]
        engine.drain(workers=2)
        done.set()
        meanwhile = sum(each.result() for each in sealing_now)
    seal_all(engine, limit=7)
    report = report_of(engine)

    assert meanwhile > 0
    assert sorted(sealed_positions(engine)) == list(engine.outcomes())
    assert (report.count, report.leaves, report.unsealed) == (0, 123, 0)


def test_a_transaction_that_commits_late_is_sealed_after_it(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """It has a lower number than what was committed meanwhile: a sealer that passed it would never seal it."""
    engine.settle(opening("alice"), opening("bob"), deposit("bob", 1))
    engine.accept_apart(deposit("alice", 100), deposit("bob", 10))
    late, early = engine.queue
    engine.queue = []
    written, go_on = threading.Event(), threading.Event()
    original = books_store.record

    def slow(*args: Any, **kwargs: Any) -> None:
        original(*args, **kwargs)
        monkeypatch.setattr(books_store, "record", original)
        written.set()
        go_on.wait(30)

    monkeypatch.setattr(books_store, "record", slow)
    with ThreadPoolExecutor(1) as worker:
        handled = worker.submit(engine.handle, late, engine.another_applier())
        assert written.wait(30)
        engine.handle(early)
        first = seal_all(engine)
        go_on.set()
        handled.result()
    before = sealed_positions(engine)
    second = seal_all(engine)

    assert (len(first), len(second)) == (1, 1)
    assert before == [1, 2, 3]
    assert sealed_positions(engine) == [1, 2, 3, 4, 5]
    assert report_of(engine).count == 0


def test_a_block_has_a_limit_and_the_rest_goes_into_the_next(engine: Engine) -> None:
    """After a day without a scheduler, one transaction must not seal it all."""
    engine.settle(opening("alice"), *[deposit("alice", 1)] * 9)

    assert [block.header.leaves for block in seal_all(engine, limit=4)] == [4, 4, 2]
    assert [(block.header.first_leaf, block.header.number) for block in seal_all(engine)] == []
    assert report_of(engine).count == 0


@pytest.mark.parametrize("limit", [1, 2, 10])
def test_the_log_is_sealed_in_order_of_its_transactions(engine: Engine, limit: int) -> None:
    """Their ids are numbers: as text, 10 comes before 9, and a sealer that went from 9 on would seal 10 twice."""
    engine.settle(opening("alice"), *[deposit("alice", 1)] * 4)
    engine.rows("SET session_replication_role = replica")
    for table in ("outcome", "transfer"):
        engine.rows(
            sql.SQL("UPDATE {} SET xid = ('{{10,9,100,99,9}}'::text[])[position]::xid8").format(sql.Identifier(table))
        )
    seal_all(engine, limit)

    assert sealed_positions(engine) == [2, 5, 1, 4, 3]
    assert report_of(engine).count == 0


def test_one_of_two_sealers_does_the_work(engine: Engine) -> None:
    """The other goes home at once."""
    engine.settle(opening("alice"))
    with psycopg.connect(engine.database.owner_url) as holder:
        assert locks.try_lock(holder, locks.SEAL)
        assert seal_all(engine) == []
    assert len(seal_all(engine)) == 1


def test_two_sealers_that_do_not_see_each_other_make_one_chain(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """The lock spares work; that a number is given once is what keeps the chain one."""
    engine.settle(opening("alice"), *[deposit("alice", 1)] * 5)
    together = Barrier(2)
    original = seals.insert
    monkeypatch.setattr(seals, "try_seal", lambda _: True)

    def insert(*args: Any) -> None:
        together.wait(30)
        original(*args)

    monkeypatch.setattr(seals, "insert", insert)

    def seal(_: int) -> Stored | None:
        with pools.connect(engine.database.app_url, "test") as conn:
            return seal_next(conn, now=clock.now(), limit=10)

    with ThreadPoolExecutor(2) as sealers:
        made = list(sealers.map(seal, range(2)))

    assert sum(block is not None for block in made) == 1
    assert sealed_positions(engine) == [1, 2, 3, 4, 5, 6]
    assert report_of(engine).count == 0


def test_a_sealer_that_is_killed_leaves_nothing_behind(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its block was never there: the next sealer makes it."""
    engine.settle(opening("alice"), deposit("alice", 1))
    original = seals.insert

    def insert(conn: psycopg.Connection, *args: Any) -> None:
        original(conn, *args)
        engine.rows("SELECT pg_terminate_backend(%s)", [conn.info.backend_pid])

    with monkeypatch.context() as patch:
        patch.setattr(seals, "insert", insert)
        with pytest.raises(psycopg.OperationalError):
            seal_all(engine)
    left = engine.rows("SELECT * FROM seal")
    again = seal_all(engine)

    assert left == []
    assert [block.header.number for block in again] == [1]
    assert report_of(engine).count == 0


def test_the_recipe_for_a_restored_dump_works(engine: Engine) -> None:
    """A dump has transaction ids that lie in the future elsewhere: the chain goes on, and covers the whole log."""
    engine.settle(opening("alice"), deposit("alice", 100))
    seal_all(engine)
    engine.settle(deposit("alice", 5))
    engine.rows(
        "ALTER TABLE transfer DROP CONSTRAINT transfer_of_its_outcome;"
        " UPDATE outcome SET xid = (xid::text::bigint + 9000000000)::text::xid8;"
        " UPDATE transfer SET xid = (xid::text::bigint + 9000000000)::text::xid8;"
        " UPDATE seal SET last_xid = (last_xid::text::bigint + 9000000000)::text::xid8;"
        " ALTER TABLE transfer ADD CONSTRAINT transfer_of_its_outcome"
        " FOREIGN KEY (xid, position) REFERENCES outcome (xid, position)"
    )
    with pytest.raises(BooksError, match="another cluster"):
        seal_all(engine)
    page = (Path(__file__).resolve().parents[2] / "docs" / "tamper-evidence.md").read_text()
    recipe = page.partition("## After a restore")[2].partition("```sql\n")[2].partition("```")[0]
    engine.rows(sql.SQL(recipe))  # type: ignore[arg-type]  # a page of the repository, never input
    after = report_of(engine)
    engine.settle(deposit("alice", 7))
    seal_all(engine)
    report = report_of(engine)

    assert (after.count, after.unsealed) == (0, 1)
    assert (report.count, report.leaves, report.unsealed) == (0, 4, 0)


def test_a_leaf_has_the_transfers_in_order_of_leg(engine: Engine) -> None:
    """Postgres may give them in any order: then nobody could compute the same hash twice."""
    engine.settle(opening("alice", overdraft_limit_minor=500, overdraft_fee_minor=10), withdraw("alice", 200))
    with pools.connect(engine.database.app_url, "test") as conn:
        transfers = seals.records(conn, [2])[2]["transfers"]

    assert [(each["leg"], each["kind"]) for each in transfers] == [(1, "withdrawal"), (2, "overdraft_fee")]


# Verifying. The owner's changes below are all made to the same history, in a transaction that is rolled back.


@pytest.fixture(scope="module")
def books(servers: LocalServers, _application_password: str) -> Iterator[Engine]:
    """Ten commands in blocks of three: the last one is not sealed."""
    with (
        new_database(servers, TEMPLATE, _application_password) as (owner_url, app_url),
        running_engine(Database(owner_url, app_url)) as engine,
    ):
        engine.settle(opening("alice", overdraft_limit_minor=500, overdraft_fee_minor=10), opening("bob"))
        engine.settle(deposit("alice", 100), withdraw("alice", 200), withdraw("bob", 1))
        engine.settle(transfer("alice", "bob", 5), advance("bob", 60, instalments=2))
        engine.settle(withdraw("bob", 7), deposit("bob", 2))
        seal_all(engine, limit=3)
        engine.settle(deposit("bob", 1))
        yield engine


@pytest.fixture
def owner(books: Engine) -> Iterator[psycopg.Connection]:
    """Somebody who may do everything, also what no constraint allows."""
    with psycopg.connect(books.database.owner_url) as conn:
        conn.execute("SET session_replication_role = replica")
        yield conn
        conn.rollback()


def differences(conn: psycopg.Connection, **options: Any) -> list[tuple[int | None, int | None, str]]:
    """Block, position and words of each difference."""
    return [(each.block, each.position, each.what) for each in verifying.verify(conn, **options).differences]


def published(conn: psycopg.Connection) -> list[Published]:
    """What somebody else has kept."""
    return [Published(each.header.history, each.header.number, each.hash) for each in seals.headers(conn, 1, 99)]


CHANGED: Final = "the command, its outcome or its transfers are not as they were sealed"
GONE: Final = "the command or its outcome is gone"
ADDED: Final = "it was put into the log where it is sealed: no block has it"
HEADER: Final = "its header is not as it was sealed"


def test_every_column_of_a_settled_command_is_sealed(books: Engine) -> None:
    """Whoever adds a column decides here: into the leaf, or among those that may change unseen."""
    columns = {
        table: {f"{name}_us" if name.endswith("_at") else name for name in names}
        for table, names in books.rows("""
            SELECT table_name, array_agg(column_name::text) FROM information_schema.columns
            WHERE table_name IN ('command', 'outcome', 'transfer') GROUP BY table_name
        """)
    }

    assert columns["command"] == set(seals.COMMAND) - {"client"}
    assert columns["outcome"] == {*seals.OUTCOME, "position", "xid"}
    assert columns["transfer"] == {*seals.TRANSFER, "position", "xid"} - {"debit_account", "credit_account"}


def test_an_untouched_history_has_no_difference(books: Engine) -> None:
    """No false alarm, and a word about what is not sealed yet."""
    report = report_of(books)

    assert (report.differences, report.blocks, report.leaves, report.unsealed) == ([], 3, 9, 1)


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ("UPDATE transfer SET amount_minor = 101 WHERE position = 3", [(1, 3, CHANGED)]),
        ("UPDATE command SET amount_minor = 101 WHERE position = 3", [(1, 3, CHANGED)]),
        ("UPDATE outcome SET reason = 'account_not_open' WHERE position = 5", [(2, 5, CHANGED)]),
        ("UPDATE command SET idempotency_key = 'another' WHERE position = 4", [(2, 4, CHANGED)]),
        ("UPDATE command SET metadata = '{}' WHERE position = 4", [(2, 4, CHANGED)]),
        ("UPDATE command SET first_due_on = 'infinity' WHERE position = 7", [(3, 7, CHANGED)]),
        ("UPDATE command SET accepted_at = 'infinity' WHERE position = 9", [(3, 9, CHANGED)]),
        ("UPDATE outcome SET decided_at = decided_at + interval '1 us' WHERE position = 9", [(3, 9, CHANGED)]),
        ("DELETE FROM transfer WHERE position = 4 AND leg = 2", [(2, 4, CHANGED)]),
        (
            "UPDATE transfer SET leg = leg + 10 WHERE position = 4;"
            " UPDATE transfer SET leg = 13 - leg WHERE position = 4",
            [(2, 4, CHANGED)],
        ),
        (
            "UPDATE outcome SET position = -position WHERE position IN (5, 8);"
            " UPDATE outcome SET position = 13 + position WHERE position < 0",
            [(2, 5, CHANGED), (3, 8, CHANGED)],
        ),
        ("UPDATE client SET name = 'other' WHERE id = 1", [((p + 2) // 3, p, CHANGED) for p in range(1, 10)]),
        (
            "UPDATE account SET name = 'mallory' WHERE name = 'alice'",
            [(1, 3, CHANGED), (2, 4, CHANGED), (2, 6, CHANGED)],
        ),
        ("DELETE FROM outcome WHERE position = 9; DELETE FROM transfer WHERE position = 9", [(3, 9, GONE)]),
        ("DELETE FROM command WHERE position = 2", [(1, 2, GONE)]),
        ("UPDATE outcome SET xid = '4' WHERE position = 10", [(None, 10, ADDED)]),
        (
            "UPDATE seal SET positions = '{1,2,2}' WHERE number = 1",
            [
                (1, None, "it is listed under other positions than those of its leaves"),
                (1, 2, CHANGED),
                (1, 2, "it is in more than one block: 1, 1"),
                (None, 3, ADDED),
            ],
        ),
        ("UPDATE seal SET sealed_at = sealed_at - interval '1 day' WHERE number = 2", [(2, None, HEADER)]),
        (
            "UPDATE seal SET hash = sha256('') WHERE number = 2",
            [(2, None, HEADER), (3, None, "it does not name the block before it")],
        ),
        (
            "UPDATE seal SET first_leaf = 30 WHERE number = 2",
            [
                (2, None, "it begins with leaf 30, and 3 comes next"),
                (2, None, HEADER),
                (3, None, "it begins with leaf 6, and 33 comes next"),
            ],
        ),
        (
            "UPDATE seal SET leaf_hashes = substr(leaf_hashes, 33) || substr(leaf_hashes, 1, 32) WHERE number = 2",
            [
                (2, None, "the hashes of its leaves do not make its root: somebody changed both"),
                *((2, position, CHANGED) for position in (4, 5, 6)),
            ],
        ),
        (
            "UPDATE seal SET leaf_hashes = '', positions = '{NULL}' WHERE number = 3",
            [
                (3, None, "its list of leaves is damaged"),
                *((None, position, ADDED) for position in (7, 8, 9)),
            ],
        ),
        (
            "DELETE FROM seal WHERE number = 2",
            [
                (2, None, "it is gone"),
                *((None, position, ADDED) for position in (4, 5, 6)),
            ],
        ),
        (
            "DELETE FROM seal WHERE number < 3",
            [
                (2, None, "it is gone, with 1 more before it"),
                *((None, position, ADDED) for position in range(1, 7)),
            ],
        ),
    ],
)
def test_what_the_owner_changes_is_found(
    owner: psycopg.Connection, change: str, found: list[tuple[int | None, int | None, str]]
) -> None:
    """Just that, and where it is: whoever owns the database can change any row, and not unseen."""
    owner.execute("ALTER TABLE seal DROP CONSTRAINT seal_leaves_listed")
    owner.execute(change.encode())

    assert differences(owner) == found


def test_a_verification_may_begin_with_a_later_block(owner: psycopg.Connection) -> None:
    """What was verified yesterday need not be every day."""
    owner.execute("UPDATE transfer SET amount_minor = 101 WHERE position IN (3, 9)")

    assert differences(owner, first=2) == [(3, 9, CHANGED)]
    assert verifying.verify(owner, first=3).leaves == 3

    owner.execute("DELETE FROM seal WHERE number = 1")

    assert differences(owner, first=2)[0] == (1, None, "it is gone")


def test_many_changes_in_a_block_are_counted_not_listed(engine: Engine) -> None:
    """A person reads the first ones; a report of a million lines helps nobody."""
    engine.settle(opening("alice"), *[deposit("alice", 1)] * 20)
    seal_all(engine)
    engine.rows("UPDATE outcome SET decided_at = decided_at - interval '1 day'")
    found = report_of(engine).differences

    assert [each.position for each in found] == [*range(1, 11), None]
    assert found[-1] == Difference("11 more of its commands are not as they were sealed", 1)


@pytest.mark.parametrize(
    "rewrite",
    [
        "UPDATE transfer SET amount_minor = 101 WHERE position = 3",
        "DELETE FROM transfer WHERE position >= 9; DELETE FROM outcome WHERE position >= 9;"
        " DELETE FROM command WHERE position >= 9",
    ],
    ids=["an amount", "the newest rows"],
)
def test_who_rewrites_the_chain_as_well_is_found_by_what_others_keep(owner: psycopg.Connection, rewrite: str) -> None:
    """Inside the database nothing is wrong: the owner can compute every hash. He cannot change what was published."""
    kept = published(owner)
    owner.execute("SET session_replication_role = replica")
    owner.execute(rewrite.encode())
    owner.execute("DELETE FROM seal")
    while seal_next(owner, now=clock.now(), limit=3):
        pass

    assert differences(owner) == []
    assert [block for block, _, what in differences(owner, published=kept) if "published as" in what]


def test_the_newest_blocks_cannot_be_taken_away_unseen(owner: psycopg.Connection) -> None:
    """The chain that is left is whole, but shorter than what others know."""
    kept = published(owner)
    owner.execute(
        "DELETE FROM transfer WHERE position >= 7; DELETE FROM outcome WHERE position >= 7;"
        " DELETE FROM seal WHERE number = 3"
    )

    assert differences(owner) == []
    assert differences(owner, published=kept) == [
        (3, None, f"published as {kept[-1].hash.hex()}, and there is no such block any more")
    ]


def test_blocks_of_another_history_are_told_apart(owner: psycopg.Connection) -> None:
    """Somebody compares with the file of the test system: that is no fraud, and the words say so."""
    other = Published("00000000-0000-0000-0000-000000000000", 1, bytes(32), line=4)

    assert differences(owner, published=[other]) == [
        (1, None, "line 4 was published of another history, 00000000-0000-0000-0000-000000000000")
    ]


def test_a_history_is_read_in_pages(books: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory is that of a page: what falls on the edge of one is neither lost nor taken for a difference."""
    monkeypatch.setattr(verifying, "_PAGE", 1)
    told: list[int] = []
    small = report_of(books, tell=told.append)
    original: Callable[..., Any] = seals.uncovered
    monkeypatch.setattr(seals, "uncovered", lambda *args, **options: original(*args, **options, window=2))

    assert (small.count, told) == (0, [3, 6, 9])
    assert report_of(books).count == 0


def test_what_is_published_names_nobody(books: Engine) -> None:
    """The file and the webhook go to strangers: there are hashes in them, and no account, amount or key."""
    with pools.connect(books.database.app_url, "test") as conn:
        lines = b"\n".join(publishing.announcement(each) for each in seals.headers(conn, 1, 99))

    assert lines.count(b"history") == 3
    assert not any(word in lines for word in (b"alice", b"bob", b"acme", b"deposit", b"minor"))


def test_an_outcome_without_its_command_is_not_sealed(owner: psycopg.Connection) -> None:
    """A leaf of nothing could never be proven: a person has to look first."""
    owner.execute("DELETE FROM command WHERE position = 10")

    with pytest.raises(BooksError, match="outcomes without their commands: 10"):
        sealing.seal_next(owner, now=clock.now(), limit=10)
