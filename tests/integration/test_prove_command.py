"""`florin prove` on a real database, as the person on call and a script use it; and the scheduler's jobs that prove."""

import json
import threading
from collections.abc import Iterator

import pytest
import structlog
from pydantic import SecretStr
from typer.testing import CliRunner, Result

from cli.main import app
from processor.proofs import PROOFS
from processor.settings import Settings
from scheduler import services
from scheduler.jobs import Ended, run
from scheduler.timetable import JOBS, proof_limits
from tests.builders import deposit, opening
from tests.conftest import Database
from tests.engine import Engine

NOWHERE = "postgresql://florin_app:secret-word@127.0.0.1:1/florin"


@pytest.fixture(autouse=True)
def _no_stack(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What the environment of the tests names is not what this command may use, and its log ends with it."""
    for name in ("DATABASE_URL", "REDIS_URL", "FLORIN_API", "FLORIN_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    yield
    structlog.reset_defaults()


@pytest.fixture
def books(engine: Engine) -> Engine:
    """Books with something in them."""
    engine.settle(opening("alice"), deposit("alice", 1_050))
    return engine


def florin(engine: Engine, *arguments: str) -> Result:
    """Run the command line in this process, on the engine's database."""
    return CliRunner().invoke(app, ["prove", *arguments], env={"DATABASE_URL": engine.database.app_url})


def damage(books: Engine) -> None:
    """Somebody gives alice a dollar."""
    books.rows("UPDATE account SET credits_minor = credits_minor + 100 WHERE name = 'alice'")


# The command.


def test_books_that_are_right_are_a_line_for_each_proof_and_exit_code_0(books: Engine) -> None:
    """One look, or the exit code in a script, says that there is nothing to do."""
    result = florin(books)

    assert result.exit_code == 0, result.output
    assert all(proof.name in result.stdout for proof in PROOFS)
    assert "expected" not in result.stdout
    assert books.rows("SELECT count(*) FROM proof_run") == [(len(PROOFS),)]


def test_a_break_is_said_with_what_to_do_and_exit_code_1(books: Engine) -> None:
    """The person who reads it at night has not read the code."""
    damage(books)
    result = florin(books, "account_totals", "running_balances")

    assert result.exit_code == 1, result.output
    assert "account_totals  account:alice" in result.stdout
    assert "expected  credits 10.50 USD, debits 0.00 USD: the sums of its transfers" in result.stdout
    assert "found     credits 11.50 USD, debits 0.00 USD on its row" in result.stdout
    assert "to do     Somebody wrote in account or transfer" in result.stdout
    assert books.rows("SELECT proof, subject FROM alert") == [("account_totals", "account:alice")]


def test_in_full_old_rows_are_looked_at(books: Engine) -> None:
    """What the weekly run does, for whoever does not want to wait for it."""
    florin(books)
    damage(books)
    codes = [florin(books, "account_totals").exit_code, florin(books, "--full", "account_totals").exit_code]

    assert codes == [0, 1]


def test_a_program_is_given_json(books: Engine) -> None:
    """Whatever watches the bank from outside needs no parser for a table."""
    damage(books)
    result = florin(books, "--json", "zero_sum")
    (document,) = json.loads(result.stdout)

    assert result.exit_code == 1
    assert (document["proof"], document["result"], document["scope"]) == ("zero_sum", "broken", "new")
    assert document["checked"] > 0
    assert [each["subject"] for each in document["breaks"]] == ["currency:USD"]
    assert document["error"] is None


def test_a_proof_that_cannot_be_run_is_no_proof(books: Engine) -> None:
    """A script that asks whether the books are right must not be told yes."""
    books.rows("REVOKE SELECT ON transfer FROM florin_app")
    result = florin(books, "account_totals", "receivables")

    assert result.exit_code == 1
    assert "42501 permission denied" in result.stdout


def test_an_unknown_proof_is_refused_with_those_that_there_are(books: Engine) -> None:
    """A slip of the finger must not look like books that are right."""
    result = florin(books, "account_total", "zero_sum")

    assert result.exit_code == 2
    assert result.stderr.startswith("florin: there is no proof account_total: the proofs are command_effects, ")


def test_without_a_database_there_is_one_sentence() -> None:
    """The password that is in the address is not in it."""
    result = CliRunner().invoke(app, ["prove"], env={"DATABASE_URL": NOWHERE})

    assert result.exit_code == 1
    assert result.stderr.startswith("florin: the database cannot be used: ")
    assert "secret-word" not in result.output


# The jobs.


@pytest.fixture
def settings(database: Database, redis_url: str) -> Settings:
    """What a scheduler of this database is told."""
    return Settings(database_url=SecretStr(database.app_url), redis_url=SecretStr(redis_url))  # type: ignore[call-arg]


@pytest.fixture
def provided(settings: Settings) -> Iterator[services.Services]:
    """What a job is given."""
    with services.opened(settings, services.queue_of(settings), connections=1, stop=threading.Event()) as provided:
        yield provided


def ran(name: str, provided: services.Services) -> Ended:
    """One run of a job of the timetable."""
    (job,) = [job for job in JOBS if job.name == name]
    return run(job, provided)


def test_the_jobs_prove_what_is_new_and_what_is_due_in_full(books: Engine, provided: services.Services) -> None:
    """The run over everything is not repeated before its time, whoever leads."""
    emitted = [ran("prove", provided).emitted, ran("prove_full", provided).emitted]
    damage(books)
    emitted += [ran("prove_full", provided).emitted, ran("prove", provided).emitted]
    books.rows("UPDATE proof_state SET ran_full_at = ran_full_at - interval '7 d'")
    emitted += [ran("prove_full", provided).emitted]

    # The account and its currency.
    assert emitted == [0, 0, 0, 0, 2]


def test_a_proof_that_fails_is_an_error_of_the_job(books: Engine, provided: services.Services) -> None:
    """A full run that cannot end would otherwise never be seen: nothing is wrong in what it found."""
    books.rows("REVOKE SELECT ON advance FROM florin_app")
    ended = ran("prove_full", provided)
    failed = books.rows("SELECT proof FROM proof_run WHERE error IS NOT NULL ORDER BY id")

    assert ended.words is not None
    assert "receivables: 42501 permission denied" in ended.words
    assert ("receivables",) in failed
    assert books.rows("SELECT count(*) FROM proof_run WHERE error IS NULL") == [(len(PROOFS) - len(failed),)]


def test_jobs_that_never_ran_are_no_break_at_first(books: Engine, provided: services.Services) -> None:
    """All begin at once when a scheduler first leads: this one may be the quickest."""
    ran("prove", provided)

    assert books.rows("SELECT breaks FROM proof_run WHERE proof = 'job_runs'") == [(0,)]
    assert set(proof_limits(provided.settings).periods) == {job.name for job in JOBS}


def test_the_limits_are_those_of_the_settings(settings: Settings) -> None:
    """A bank whose backlog is long on pay day sets its own."""
    limits = proof_limits(
        settings.model_copy(update={"pending_limit_s": 60, "clock_tolerance_s": 5, "sweep_every_s": 10})
    )

    assert (limits.pending.total_seconds(), limits.clock.total_seconds()) == (60, 5)
    assert limits.periods["sweep"].total_seconds() == 90
