"""`florin forecast`: what it says comes true if nobody moves money meanwhile, and it says it to whoever may ask."""

import json
import pathlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from datetime import date, timedelta
from typing import Final

import pytest
from typer.testing import CliRunner, Result

from cli.main import app
from cli.servers import LocalServers
from cli.simulating.clock import Clock
from cli.simulating.engine import Engine as BareEngine
from cli.simulating.history import Scenario, live_through, start
from cli.simulating.ledger import read_ledger
from processor import clock, pools
from processor.domain.advances import InstalmentState
from processor.domain.books import AccountStatus
from processor.domain.commands import Collect
from processor.domain.outcomes import Reason
from processor.domain.rules import Rules
from processor.forecast import Expected, foresee, summarise
from processor.store.forecasting import read_pages
from tests.builders import NOON, RULES, TODAY, advance, an_account, books_of, deposit, lent, opening, withdraw
from tests.conftest import Database
from tests.engine import Engine, add_clients, running_engine
from tests.stack import new_database

A_WEEK: Final = timedelta(days=7)
NOWHERE: Final = "postgresql://florin_app:secret-word@127.0.0.1:1/florin"
MISSPELT: Final = "postgresql:/florin_app:secret-word@127.0.0.1:1/florin"


@pytest.fixture(autouse=True)
def _no_stack(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the environment of the tests names is not what this command may use."""
    for name in ("DATABASE_URL", "DATABASE_OWNER_URL", "FLORIN_API", "FLORIN_API_KEY"):
        monkeypatch.delenv(name, raising=False)


def florin(*arguments: str, **environment: str) -> Result:
    """Run the command line in this process."""
    return CliRunner().invoke(app, ["forecast", *arguments], env=environment)


def foreseen(*expected: Expected) -> list[tuple[date, int, int, int]]:
    """Day, what is due, what is on the account by then, and what is collected."""
    return [(each.due_on, each.amount_minor, each.available_minor, each.collected_minor) for each in expected]


# The rules, run ahead.


def test_a_miss_is_due_again_with_the_next_instalment() -> None:
    """A forecast that forgot the roll would promise a bank less trouble than it will have."""
    books = books_of(an_account(available_minor=150), advances=[lent(1_200, first_due_on=TODAY)])

    assert foreseen(*foresee(books, now=NOON, weeks=4, rules=RULES)) == [
        (TODAY, 100, 150, 100),
        (TODAY + A_WEEK, 100, 50, 0),
        (TODAY + 2 * A_WEEK, 200, 50, 0),
        (TODAY + 3 * A_WEEK, 300, 50, 0),
    ]


def test_behind_the_last_instalment_a_missed_one_is_due_a_week_later() -> None:
    """As it will be: the schedule grows within the weeks that are looked ahead."""
    books = books_of(an_account(), advances=[lent(100, instalments=1)])

    assert [each.number for each in foresee(books, now=NOON, weeks=3, rules=RULES)] == [1, 2, 3]


def test_what_is_overdue_is_expected_today() -> None:
    """The next tick finds it, whatever the week in which it was due."""
    books = books_of(an_account(available_minor=250), advances=[lent(1_200, first_due_on=TODAY - 2 * A_WEEK)])

    assert [(each.week, each.missed_minor) for each in foresee(books, now=NOON, weeks=2, rules=RULES)] == [
        (0, 0),
        (0, 0),
        (0, 100),
        (1, 200),
    ]


def test_two_advances_are_paid_from_one_balance_in_the_order_of_their_days() -> None:
    """Money that the first of them takes is not there for the second."""
    first, second = lent(100, instalments=1, advance_id=8), lent(100, instalments=1, advance_id=5)
    second = replace(second, instalments=(replace(second.instalments[0], due_on=TODAY + timedelta(days=1)),))
    books = books_of(an_account(available_minor=150), advances=[second, first])

    assert [(each.advance, each.short_by_minor) for each in foresee(books, now=NOON, weeks=1, rules=RULES)] == [
        (8, 0),
        (5, 50),
    ]


def test_a_frozen_account_will_miss_whatever_it_has() -> None:
    """It is short of nothing: who calls the customer should know that money is not what is missing."""
    account = an_account(available_minor=1_000, status=AccountStatus.FROZEN)
    (expected,) = foresee(books_of(account, advances=[lent(100, instalments=1)]), now=NOON, weeks=1, rules=RULES)

    assert (expected.reason, expected.missed_minor, expected.short_by_minor) == (Reason.ACCOUNT_NOT_OPEN, 100, 0)


def test_of_an_instalment_that_is_paid_in_part_each_part_is_counted() -> None:
    """With partial collection, what is there is taken, and the rest will be missed."""
    books = books_of(an_account(available_minor=30), advances=[lent(100, instalments=1)])
    (total,) = summarise(
        foresee(books, now=NOON, weeks=1, rules=Rules(partial_collection=True)), weeks=1, limit=1
    ).weeks

    assert (total.due_minor, total.collected_minor, total.missed_minor) == (100, 30, 70)


def test_the_largest_misses_are_named_one_for_each_advance_whatever_the_currency() -> None:
    """A hundred yen are less than ten dollars; and who misses four weeks in a row is one customer to be called."""
    accounts = [
        an_account("alice"),
        an_account("bob", currency="JPY"),
        an_account("carol"),
        an_account("dave", available_minor=5_000),
    ]
    books = books_of(
        *accounts,
        advances=[
            lent(4_000, account="alice", instalments=4, advance_id=1),
            lent(400, account="bob", instalments=4, currency="JPY", advance_id=2),
            lent(8_000, account="carol", instalments=4, advance_id=3),
            lent(4_000, account="dave", instalments=4, advance_id=4),
        ],
    )
    foretold = summarise(foresee(books, now=NOON, weeks=4, rules=RULES), weeks=4, limit=2)

    assert [miss.account for miss in foretold.misses] == ["bob", "carol"]
    assert foretold.missing_advances == 3
    assert [(each.week, each.currency, each.missed) for each in foretold.weeks[:2]] == [(0, "JPY", 1), (0, "USD", 2)]


# It comes true.


@pytest.mark.parametrize(
    ("seed", "rules", "outages"),
    [
        (0, RULES, []),
        (1, Rules(partial_collection=True), []),
        (2, RULES, [range(20, 42)]),
    ],
    ids=["in full or not at all", "in part", "with the scheduler away for three weeks"],
)
def test_what_is_foretold_comes_true_if_nobody_pays_in_or_out(
    database: Database, seed: int, rules: Rules, outages: list[range]
) -> None:
    """Four weeks of ticks on the books of a random history: each instalment is paid or missed as it was said."""
    add_clients(database)
    turned = Clock(start())
    scenario = Scenario(weeks=6, accounts=30, seed=seed, instalments=8, faults=False, outages=outages)
    with BareEngine.running(database.app_url, now=turned.now, rules=rules) as engine:
        live_through(scenario, engine, turned)
        lived = len(read_ledger(engine.pool).entries)
        with pools.connect(database.app_url, "florin test") as conn:
            books = list(read_pages(conn, advances_each=7))
            foretold = [each for page in books for each in foresee(page, now=turned.now(), weeks=4, rules=rules)]
        for _ in range(4 * 7):
            while engine.collect():
                engine.drain()
            turned.wait(timedelta(days=1))
        ledger = read_ledger(engine.pool)

    moved = Counter({move.position: move.amount_minor for move in ledger.moves})
    came = {
        (entry.command.advance, entry.command.instalment): moved[position]
        for position, entry in list(ledger.entries.items())[lived:]
        if isinstance(entry.command, Collect)
    }
    assert {(each.advance, each.number): each.collected_minor for each in foretold} == came
    for each in foretold:
        instalment = ledger.advances[each.advance].instalments[each.number - 1]
        assert (instalment.state is InstalmentState.MISSED) == bool(each.missed_minor)
        assert instalment.left_minor == each.missed_minor
    assert {each.reason for each in foretold} == {None, Reason.INSUFFICIENT_FUNDS}
    assert len(foretold) > 60


# The command.


@pytest.fixture
def borrowers(database: Database, monkeypatch: pytest.MonkeyPatch) -> Iterator[Engine]:
    """One who can pay and two who cannot, today and for the weeks to come. It stays noon."""
    monkeypatch.setattr(clock, "now", lambda: NOON)
    with running_engine(database, now=clock.now) as engine:
        lend(engine)
        yield engine


def lend(engine: Engine) -> None:
    """Advances of which the first instalments are due today, and the money for some."""
    engine.settle(
        *(opening(name, currency) for name, currency in (("alice", "USD"), ("bob", "USD"), ("carol", "JPY"))),
        advance("alice", 120_000, instalments=12, first_due_on=TODAY),
        advance("bob", 60_000, instalments=12, first_due_on=TODAY),
        advance("carol", 6_000, "JPY", instalments=12, first_due_on=TODAY),
        deposit("alice", 1_000),
        withdraw("bob", 58_000),
        withdraw("carol", 6_000, "JPY"),
    )


def test_the_forecast_says_how_much_and_from_whom(borrowers: Engine) -> None:
    """A week and currency each, and the customers to speak to before their day; nothing is changed by asking."""
    before = borrowers.rows("SELECT * FROM instalment ORDER BY advance_id, number")
    result = florin("--weeks", "2", DATABASE_URL=borrowers.database.app_url)
    document = json.loads(florin("--weeks", "2", "--json", DATABASE_URL=borrowers.database.app_url).stdout)

    (bobs_advance,) = borrowers.rows("SELECT id FROM command WHERE type = 'advance' AND account = 'bob'")[0]
    assert result.exit_code == 0, result.output
    assert document["weeks"] == [
        {
            "from": str(day),
            "currency": currency,
            "due": {"count": due[0], "amount": due[1]},
            "collected": {"count": collected[0], "amount": collected[1]},
            "missed": {"count": missed[0], "amount": missed[1]},
        }
        for day, currency, due, collected, missed in [
            (TODAY, "JPY", (1, "500"), (0, "0"), (1, "500")),
            (TODAY, "USD", (2, "150.00"), (1, "100.00"), (1, "50.00")),
            (TODAY + A_WEEK, "JPY", (1, "1000"), (0, "0"), (1, "1000")),
            (TODAY + A_WEEK, "USD", (2, "200.00"), (1, "100.00"), (1, "100.00")),
        ]
    ]
    assert [(miss["account"], miss["short_by"]) for miss in document["misses"]] == [("carol", "500"), ("bob", "30.00")]
    assert document["misses"][1] == {
        "account": "bob",
        "advance_id": str(bobs_advance),
        "instalment": 1,
        "due_on": str(TODAY),
        "currency": "USD",
        "amount": "50.00",
        "available": "20.00",
        "short_by": "30.00",
        "reason": "insufficient_funds",
    }
    for text in (
        str(bobs_advance),
        "150.00",
        "100.00",
        "30.00",
        "Of all advances, 2 will probably miss an instalment.",
    ):
        assert text in result.stdout
    assert borrowers.rows("SELECT * FROM instalment ORDER BY advance_id, number") == before


def test_a_forecast_may_be_of_one_currency_and_name_few(borrowers: Engine) -> None:
    """A desk that looks after one currency; and how many are left out is said."""
    result = florin("--currency", "USD", "--limit", "0", DATABASE_URL=borrowers.database.app_url)

    assert "JPY" not in result.stdout
    assert "Of all advances, 1 will probably miss an instalment; 1 more than are named here." in result.stdout


def test_a_forecast_without_misses_says_so(borrowers: Engine) -> None:
    """So does one of a currency in which nothing is lent."""
    borrowers.settle(deposit("bob", 1_000_000), deposit("carol", 1_000_000, "JPY"), deposit("alice", 1_000_000))

    assert "Every instalment will be collected." in florin(DATABASE_URL=borrowers.database.app_url).stdout
    assert (
        "Nothing comes to be due before" in florin("--currency", "KWD", DATABASE_URL=borrowers.database.app_url).stdout
    )


def test_the_business_date_is_that_of_the_bank(borrowers: Engine) -> None:
    """Where the bank is, it may be tomorrow already."""
    result = florin("--json", DATABASE_URL=borrowers.database.app_url, FLORIN_BUSINESS_ZONE="Pacific/Kiritimati")

    assert json.loads(result.stdout)["from"] == str(TODAY + timedelta(days=1))


@pytest.fixture
def empty_database(servers: LocalServers, _application_password: str) -> Iterator[str]:
    """The address of a database without any table."""
    with new_database(servers, "template1", _application_password) as (_, app_url):
        yield app_url


def test_a_database_without_tables_is_to_be_migrated_first(empty_database: str) -> None:
    """The sentence names the command that helps."""
    result = florin(DATABASE_URL=empty_database)

    assert (result.exit_code, result.stdout) == (1, "")
    assert "florin migrate" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "environment", "exit_code", "words"),
    [
        (["--currency", "usd"], {"DATABASE_URL": NOWHERE}, 2, "--currency: unknown currency 'usd'"),
        (["--weeks", "0"], {"DATABASE_URL": NOWHERE}, 2, "--weeks"),
        ([], {"DATABASE_URL": NOWHERE}, 1, "the database cannot be used"),
        ([], {"DATABASE_URL": MISSPELT}, 1, "the address is none of Postgres"),
        ([], {"DATABASE_URL": NOWHERE, "FLORIN_BUSINESS_ZONE": "Mars"}, 1, "FLORIN_BUSINESS_ZONE"),
        ([], {"FLORIN_API": "http://127.0.0.1:1", "FLORIN_API_KEY": "key"}, 1, "set DATABASE_URL"),
    ],
)
def test_what_keeps_a_forecast_from_being_made_is_said_in_one_sentence(
    arguments: list[str], environment: dict[str, str], exit_code: int, words: str
) -> None:
    """No traceback, and no password of an address."""
    result = florin(*arguments, **environment)

    assert (result.exit_code, result.stdout) == (exit_code, "")
    assert words in result.stderr
    assert "Traceback" not in result.stderr
    assert "secret-word" not in result.stderr


def test_without_a_stack_the_forecast_says_how_to_start_one(
    tmp_path: pathlib.Path,
) -> None:
    """Nobody is left with an address that does not answer."""
    result = florin("--data-dir", str(tmp_path / "none"))

    assert result.exit_code == 1
    assert "florin up" in result.stderr
