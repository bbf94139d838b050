"""The form of a line, and what it may say of an error."""

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Final

import httpx
import psycopg
import pytest
import structlog

from processor import logs, tracing
from processor.errors import BooksError, PermanentError
from processor.logs import in_short
from workers.traced import Traced

ROOT: Final = Path(__file__).resolve().parents[2]

MUCH: Final = """
import logging, sys, threading, warnings
from processor import logs
logs.set_up("INFO", "worker", log_format=sys.argv[1])
logs.log.debug("nobody.looks")
logs.log.info("something.happened", address="redis://:hidden-1@localhost/0")
logging.getLogger("library").info("too much")
logging.getLogger("library").warning("postgresql://me:hidden-2@localhost, key florin_abcdefgh_%s", 43 * "k")
logging.getLogger("dramatiq.worker").critical("Redis is away")
warnings.warn("careful")
def fails():
    local = "hidden-3"
    raise ValueError("alice has hidden-4")
thread = threading.Thread(target=fails, name="a thread")
thread.start()
thread.join()
fails()
"""


def written(log_format: str) -> str:
    """What a process writes that meets a bit of everything."""
    ended = subprocess.run(
        [sys.executable, "-c", MUCH, log_format], capture_output=True, text=True, cwd=ROOT, timeout=60, check=False
    )
    assert (ended.returncode, ended.stdout) == (1, "")
    return ended.stderr


@pytest.mark.parametrize("log_format", ["auto", "json"])
def test_every_line_is_json_whoever_wrote_it(log_format: str) -> None:
    """Ours, a library's, a warning, and what nobody caught: a machine reads them all, and none has a secret."""
    text = written(log_format)
    lines = [json.loads(line) for line in text.splitlines()]

    assert [(line["level"], line["event"].partition(" ")[0]) for line in lines] == [
        ("info", "something.happened"),
        ("warning", "postgresql://***@localhost,"),
        ("warning", "Redis"),
        ("warning", "<string>:10:"),
        ("error", "thread.ended"),
        ("critical", "process.crashed"),
    ]
    assert {line["component"] for line in lines} == {"worker"}
    assert lines[-1]["exception"].endswith("in fails\nValueError")
    assert "hidden" not in text
    assert "kkk" not in text


def test_a_person_reads_text() -> None:
    """The same at a terminal, and as careful."""
    text = written("console")

    assert "something.happened" in text
    assert "component=worker" in text
    assert "{" not in text
    assert "hidden" not in text


def caused_by(error: PermanentError, cause: Exception) -> PermanentError:
    """The error, raised from its cause."""
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (BooksError("advances not as they were read: 17"), "BooksError('advances not as they were read: 17')"),
        (psycopg.OperationalError("the connection is closed"), "OperationalError('the connection is closed')"),
        (ConnectionRefusedError(111, "refused"), "ConnectionRefusedError(111, 'refused')"),
        (KeyError("alice"), "KeyError"),
        (AssertionError("alice has 12.50"), "AssertionError"),
        (httpx.ConnectError("https://example.com/the-path-is-a-secret"), "ConnectError"),
        (
            caused_by(PermanentError("the rules broke: alice"), KeyError("alice")),
            "PermanentError, because of KeyError",
        ),
        (
            RuntimeError("cannot reach redis://:hunter2@localhost:1"),
            "RuntimeError('cannot reach redis://***@localhost:1')",
        ),
        (OSError(2 * "two\nlines "), "OSError('two\\nlines two\\nlines ')"),
        (TypeError(1_000 * "x"), "TypeError('" + 489 * "x"),
    ],
)
def test_of_an_error_a_log_says_only_what_cannot_be_about_a_customer(error: Exception, words: str) -> None:
    """In case of doubt its kind: the place is in the traceback, and the rest in the database."""
    assert in_short(error) == words


def a_message(message_id: str, **options: object) -> SimpleNamespace:
    """A message as Dramatiq hands it over."""
    return SimpleNamespace(
        queue_name="commands", message_id=message_id, kwargs={"positions": [1]}, options=options, failed=False
    )


def test_nothing_of_a_message_is_left_when_the_next_one_comes() -> None:
    """The thread is the same: a line about one client's command must not bear the trace of another's."""
    traced = Traced()
    given = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    traced.before_process_message(None, a_message("one", trace=[given]))
    first = (tracing.trace_id(), structlog.contextvars.get_contextvars())
    # Its end is never told, as when another middleware fails.
    traced.before_process_message(None, a_message("two"))
    second = (tracing.trace_id(), structlog.contextvars.get_contextvars())
    traced.after_process_message(None, a_message("two"))

    assert first == (given[3:35], {"message_id": "one"})
    assert second[0] not in ("", given[3:35])
    assert second[1] == {"message_id": "two"}
    assert (tracing.trace_id(), structlog.contextvars.get_contextvars()) == ("", {})


def test_nobody_pays_for_traces_who_does_not_want_them() -> None:
    """Every `florin` command would start later. (What redis-py imports where it finds it, whoever uses it pays for.)"""

    def imported(modules: str, of: str) -> str:
        code = f"import sys, {modules}; print([each for each in sys.modules if each.startswith('{of}')])"
        return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True).stdout

    assert imported("cli.main, processor.apply, processor.intake, processor.logs", "opentelemetry") == "[]\n"
    assert imported("api_min.app, scheduler.ticks, workers.actors", "opentelemetry.exporter") == "[]\n"


def test_what_a_command_logs_has_no_colours_in_a_file(capsys: pytest.CaptureFixture[str]) -> None:
    """Whoever keeps the output of `florin prove --full` reads it in a mail or an editor."""
    before = structlog.get_config()
    try:
        logs.for_a_command()
        structlog.get_logger().warning("proof.broken", proof="chain")
    finally:
        structlog.configure(**before)
    said = capsys.readouterr().err

    assert "proof.broken" in said
    assert "\x1b" not in said
