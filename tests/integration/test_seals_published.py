"""Blocks are made known outside the database, and old ones are looked at again: both by the job `seal`."""

import fcntl
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final

import pytest
from pydantic import ValidationError

from processor import alerts, clock, pools, publishing
from processor.errors import BooksError
from processor.publishing import UnreadableError, announcement
from processor.sealing import Sealer
from processor.settings import Settings
from processor.store import seals
from tests.builders import deposit, opening
from tests.engine import Engine


class Hook(BaseHTTPRequestHandler):
    """Somebody else's machine, which keeps what it is told, and may be sick."""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        server: Any = self.server
        if not server.is_sick:
            server.told.append(body)
        self.send_response(500 if server.is_sick else 204)
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@contextmanager
def listening() -> Iterator[Any]:
    """A webhook that listens."""
    server: Any = ThreadingHTTPServer(("127.0.0.1", 0), Hook)
    server.told, server.is_sick = [], False
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def sealer(engine: Engine, *, choose: int = 0, **settings: Any) -> Sealer:
    """The job as a scheduler has it; the old block that it looks at is the one that the test chooses."""
    options = {"block_size": 2, **settings}
    return Sealer(engine.pool, now=clock.now, choose=lambda below: min(choose, below - 1), **options)


def numbers(file: Path) -> list[int]:
    """The blocks in the file."""
    return [each.number for each in publishing.read(file)]


def suspects(engine: Engine) -> list[str]:
    """What has an alert."""
    with engine.pool.connection() as conn:
        return [each.subject for each in alerts.open_subjects(conn, "seals")]


def hashes(engine: Engine) -> list[tuple[int, bytes]]:
    """What is stored."""
    return [(number, bytes(hash_)) for number, hash_ in engine.rows("SELECT number, hash FROM seal ORDER BY number")]


def test_a_run_seals_all_there_is_and_adds_every_block_to_the_file(engine: Engine, data_dir: Path) -> None:
    """A run after a pause catches up, and the file lacks none, whoever wrote the first part of it."""
    file = data_dir / "blocks.ndjson"
    engine.settle(opening("alice"), *[deposit("alice", 1)] * 4)
    without = sealer(engine).seal()
    engine.settle(deposit("alice", 1))
    runs = [sealer(engine, file=file).seal() for _ in range(2)]
    engine.settle(deposit("alice", 1))
    runs.append(sealer(engine, file=file).seal())

    assert (without, runs) == (3, [1, 0, 1])
    assert [(each.number, each.hash) for each in publishing.read(file)] == hashes(engine)


def test_two_that_write_the_file_at_once_write_each_block_once(
    engine: Engine, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two schedulers may believe for an instant that they lead."""
    file = data_dir / "blocks.ndjson"
    engine.settle(opening("alice"), *[deposit("alice", 1)] * 9)
    sealer(engine).seal()

    original, asked = fcntl.flock, threading.Event()

    def flock(*args: Any) -> None:
        asked.set()
        original(*args)

    def write() -> int:
        with pools.connect(engine.database.app_url, "test") as conn:
            return publishing.append(file, seals.history(conn), partial(seals.headers, conn))

    with file.open("wb") as other, engine.pool.connection() as conn, ThreadPoolExecutor(1) as writer:
        original(other, fcntl.LOCK_EX)
        monkeypatch.setattr(fcntl, "flock", flock)
        writing = writer.submit(write)
        assert asked.wait(30)
        for block in seals.headers(conn, 1, 3):
            other.write(announcement(block) + b"\n")
        other.close()

    assert writing.result() == 2
    assert numbers(file) == [1, 2, 3, 4, 5]


def test_a_run_that_is_overtaken_by_another_is_no_alarm(
    engine: Engine, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file has a block that this run had not seen when it began to write: that is no other chain."""
    file = data_dir / "blocks.ndjson"
    engine.settle(opening("alice"))
    sealer(engine, file=file).seal()
    original = seals.history

    def overtaken(conn: Any) -> str:
        monkeypatch.setattr(seals, "history", original)
        engine.settle(deposit("alice", 1))
        sealer(engine, file=file).seal()
        return original(conn)

    monkeypatch.setattr(seals, "history", overtaken)
    sealer(engine, file=file).seal()

    assert numbers(file) == [1, 2]
    assert suspects(engine) == []


def test_a_line_that_a_crash_cut_short_is_written_again(engine: Engine, data_dir: Path) -> None:
    """Nothing is ever taken out of the file: the piece stays, and readers know it for what it is."""
    file = data_dir / "blocks.ndjson"
    engine.settle(opening("alice"), *[deposit("alice", 1)] * 5)
    sealer(engine, file=file).seal()
    whole = file.read_bytes()
    file.write_bytes(whole[:-100])
    torn = numbers(file)
    sealer(engine, file=file).seal()

    assert torn == [1, 2]
    assert numbers(file) == [1, 2, 3]
    assert file.read_bytes().startswith(whole[:-100] + b"\n")


A_BLOCK: Final = b'{"hash":"%s","history":"h","number":1}\n' % (b"00" * 32)


@pytest.mark.parametrize(
    "lines",
    [
        b"what is this?\n",
        b'{"number": 1}\n',
        A_BLOCK.replace(b"00", b"", 1),
        b"what is this?\n" + A_BLOCK,
    ],
)
def test_a_line_that_is_no_block_is_refused_by_its_number(data_dir: Path, lines: bytes) -> None:
    """A file with something else in it is no evidence."""
    file = data_dir / "blocks.ndjson"
    file.write_bytes(lines)

    with pytest.raises(UnreadableError, match="line 1: not a block"):
        numbers(file)


def test_a_database_that_is_not_the_one_of_the_file_is_an_alert(engine: Engine, data_dir: Path) -> None:
    """Somebody rewrote the chain, or restored an old backup: nothing more is added, and a person is told."""
    file = data_dir / "blocks.ndjson"
    engine.settle(opening("alice"), *[deposit("alice", 1)] * 3)
    sealer(engine, file=file).seal()
    written = file.read_bytes()
    engine.rows("DELETE FROM seal")
    engine.rows("UPDATE transfer SET amount_minor = 2 WHERE position = 2")
    sealer(engine, file=file).seal()
    found = suspects(engine)
    engine.rows("DELETE FROM seal WHERE number = 2")
    with engine.pool.connection() as conn, pytest.raises(BooksError, match="ends with block 2, and there is no such"):
        publishing.append(file, seals.history(conn), partial(seals.headers, conn))

    assert found == ["seal_file"]
    assert file.read_bytes() == written


def test_a_file_of_another_history_is_not_added_to(engine: Engine, data_dir: Path) -> None:
    """Two databases with one setting: neither could be compared with it any more."""
    file = data_dir / "blocks.ndjson"
    engine.settle(opening("alice"))
    sealer(engine, file=file).seal()

    with pytest.raises(BooksError, match="another history"):
        publishing.append(file, "another", lambda _: [])


def test_a_file_that_cannot_be_written_keeps_nobody_from_sealing(engine: Engine, data_dir: Path) -> None:
    """The next run tries again, and then the file lacks nothing."""
    file = data_dir / "away" / "blocks.ndjson"
    engine.settle(opening("alice"))
    made = sealer(engine, file=file).seal()
    file.parent.mkdir()
    sealer(engine, file=file).seal()

    assert (made, numbers(file)) == (1, [1])
    assert suspects(engine) == []


def test_the_webhook_is_told_of_each_newest_block_once(engine: Engine) -> None:
    """One that is sick is told by the next run, and keeps nobody from sealing meanwhile."""
    with listening() as hook:
        job = sealer(engine, webhook=f"http://127.0.0.1:{hook.server_port}/secret")
        nothing_to_tell = job.seal()
        hook.is_sick = True
        engine.settle(opening("alice"), deposit("alice", 1), deposit("alice", 1))
        made = job.seal()
        hook.is_sick = False
        for _ in range(2):
            job.seal()
    away = job.seal()
    with engine.pool.connection() as conn:
        newest = seals.newest(conn)
        assert newest is not None

    assert (nothing_to_tell, made, away) == (0, 2, 0)
    assert hook.told == [announcement(newest)]


def test_an_address_that_is_none_keeps_nobody_from_sealing(engine: Engine, capsys: pytest.CaptureFixture[str]) -> None:
    """Nor is it logged: it may hold a secret."""
    engine.settle(opening("alice"))

    assert sealer(engine, webhook="http://secret:port/").seal() == 1
    assert "secret" not in capsys.readouterr().out


@pytest.mark.parametrize("choose", [0, 1])
def test_a_changed_block_is_an_alert_until_it_is_mended(engine: Engine, choose: int) -> None:
    """Found in passing by a run that looks at it, and looked at by every run from then on."""
    engine.settle(opening("alice"), *[deposit("alice", 1)] * 5)
    sealer(engine).seal()
    untouched = suspects(engine)
    engine.rows("UPDATE transfer SET amount_minor = 2 WHERE position IN (2, 4)")
    sealer(engine, choose=choose).seal()
    found = suspects(engine)
    sealer(engine, choose=1 - choose).seal()
    both = suspects(engine)
    facts = engine.rows("SELECT severity, position, account, found FROM alert WHERE subject = 'block:1'")
    engine.rows("UPDATE transfer SET amount_minor = 1")
    sealer(engine).seal()

    assert (untouched, found, sorted(both)) == ([], [f"block:{choose + 1}"], ["block:1", "block:2"])
    assert facts == [
        ("page", 2, None, "position 2: the command, its outcome or its transfers are not as they were sealed")
    ]
    assert suspects(engine) == []


def test_the_newest_block_is_looked_at_by_every_run(engine: Engine) -> None:
    """What somebody changes in a hurry is most often what was just done."""
    engine.settle(opening("alice"), *[deposit("alice", 1)] * 5)
    sealer(engine).seal()
    engine.rows("UPDATE outcome SET decided_at = now() WHERE position = 6")
    sealer(engine).seal()

    assert suspects(engine) == ["block:3"]


def test_an_outcome_that_is_put_into_the_sealed_log_is_an_alert_until_it_is_gone(engine: Engine) -> None:
    """Every block is whole and every proof holds: only that no block has it tells it from a real one."""
    engine.settle(opening("alice"), *[deposit("alice", 1)] * 5)
    sealer(engine).seal()
    untouched = suspects(engine)
    engine.settle(deposit("alice", 1))
    engine.rows("SET session_replication_role = replica")
    engine.rows("UPDATE outcome SET position = -7, xid = '4' WHERE position = 7")
    found = []
    # The first looks where it is; the others elsewhere, and at what has an alert.
    for choose in (0, 99, 99):
        sealer(engine, choose=choose).seal()
        found.append(suspects(engine))
        engine.rows("DELETE FROM outcome WHERE position = -7 AND %s", [len(found) == 2])

    assert (untouched, found) == ([], [["command:-7"], ["command:-7"], []])
    assert engine.rows("SELECT severity, position, account, found FROM alert") == [
        ("page", -7, None, "it was put into the log where it is sealed: no block has it")
    ]


def test_a_webhook_that_is_no_web_address_stops_the_start() -> None:
    """Rather than a warning every minute, which nobody reads."""
    with pytest.raises(ValidationError, match="give an address that begins with https://"):
        Settings.model_validate({"database_url": "", "redis_url": "", "seal_webhook": "ftp://hook"})
