"""`florin reconcile` on real books: what agrees, what does not, and that nothing is counted twice."""

import json
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

import pytest
import structlog
from typer.testing import CliRunner, Result

from cli.main import app
from processor import clock, pools
from processor.domain.matching import Limits
from processor.reconciliation import reconciling
from processor.store import statements as store
from tests.builders import NOON, TODAY, deposit, opening, withdraw
from tests.conftest import Database
from tests.engine import Engine, running_engine

DAY: Final = timedelta(days=1)

MAPPING: Final = """
[columns]
date = "date"
amount = "amount"
currency = "currency"
bank_reference = "id"
text = "text"
"""

HEADER: Final = "id,date,amount,currency,text"


@pytest.fixture(autouse=True)
def _no_stack(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What the environment of the tests names is not what this command may use, and its log ends with it."""
    for name in ("DATABASE_URL", "DATABASE_OWNER_URL", "FLORIN_API", "FLORIN_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    yield
    structlog.reset_defaults()


@pytest.fixture
def books(database: Database, monkeypatch: pytest.MonkeyPatch) -> Iterator[Engine]:
    """Two deposits and a withdrawal, today at noon. It stays noon."""
    monkeypatch.setattr(clock, "now", lambda: NOON)
    with running_engine(database, now=lambda: NOON) as engine:
        engine.settle(
            opening("alice"),
            opening("bob"),
            deposit("alice", 10_000, reference="inv-2026-17"),
            deposit("bob", 2_500),
            withdraw("alice", 1_000),
        )
        yield engine


class Bank:
    """A bank's CSV statements, and the command that reads them."""

    def __init__(self, folder: Path, database: Database) -> None:
        self.folder = folder
        self.database = database
        (folder / "mapping.toml").write_text(MAPPING)

    def says(self, *lines: str, name: str = "statement.csv") -> Path:
        """A statement of these lines."""
        file = self.folder / name
        file.write_text("\n".join([HEADER, *lines]) + "\n")
        return file

    def reconcile(self, *lines: str, account: str = "main", name: str = "statement.csv", **options: str) -> Result:
        """Import a statement of these lines, and report as JSON."""
        more = [part for option, value in options.items() for part in (f"--{option}", value)]
        mapping = str(self.folder / "mapping.toml")
        file = str(self.says(*lines, name=name))
        return self.florin(file, "--account", account, "--mapping", mapping, "--report", "json", *more)

    def florin(self, *arguments: str, **environment: str) -> Result:
        """Run the command in this process."""
        where = {"DATABASE_URL": self.database.app_url, **environment}
        return CliRunner().invoke(app, ["reconcile", *arguments], env=where)

    def report(self) -> Result:
        """What is known, as JSON."""
        return self.florin("--report", "json")


@pytest.fixture
def bank(tmp_path: Path, books: Engine) -> Bank:
    """A bank at which the money of the books is."""
    return Bank(tmp_path, books.database)


ALICE: Final = f"b1,{TODAY},100.00,USD,thanks for INV 2026/17"
BOB: Final = f"b2,{TODAY + DAY},25.00,USD,from bob"
PAYOUT: Final = f"b3,{TODAY},-10.00,USD,payout alice"


def results(result: Result) -> dict[str, tuple[int, str]]:
    """Count and amount of each result."""
    totals = json.loads(result.stdout)["totals"]
    return {each["result"]: (each["count"], each["amount"]) for each in totals if each["count"]}


def breaks(result: Result) -> list[Mapping[str, Any]]:
    """The open breaks, the oldest first."""
    return list(json.loads(result.stdout)["breaks"])


def test_a_statement_that_agrees_with_the_books_leaves_no_break(bank: Bank, books: Engine) -> None:
    """By reference, and by amount, day and account; and the exit code lets a script go on."""
    result = bank.reconcile(ALICE, BOB, PAYOUT)

    assert result.exit_code == 0, result.output
    assert results(result) == {"matched": (3, "135.00")}
    assert books.rows("SELECT rule, count(*) FROM statement_match GROUP BY 1 ORDER BY 1") == [
        ("amount_date_account", 2),
        ("reference", 1),
    ]
    assert "the bank moved 115.00, the books moved 115.00, in breaks 0.00" in result.stderr


def test_every_kind_of_difference_is_a_break_with_an_alert(bank: Bank, books: Engine) -> None:
    """Both directions of drift: what the bank has and the books lack, and the other way round."""
    result = bank.reconcile(
        ALICE,
        f"b9,{TODAY},100.00,USD,thanks for INV 2026/17",
        f"b4,{TODAY},9.00,USD,interest",
        f"b5,{TODAY},-11.00,USD,payout alice",
    )
    subjects = {each["subject"] for each in breaks(result)}

    assert result.exit_code == 1
    assert results(result) == {
        "matched": (1, "100.00"),
        "duplicate": (1, "100.00"),
        "missing_in_books": (2, "20.00"),
        "missing_in_statement": (2, "35.00"),
    }
    assert {row[0] for row in books.rows("SELECT subject FROM alert WHERE state = 'open'")} == subjects
    assert {row[0] for row in books.rows("SELECT severity FROM alert")} == {"ticket"}


def test_an_alert_is_resolved_when_a_later_statement_explains_the_break(bank: Bank, books: Engine) -> None:
    """A bank books a day later: nobody has to close what closed itself. Of the break, the history stays."""
    first = bank.reconcile(ALICE, PAYOUT)
    second = bank.reconcile(BOB, name="next.csv")

    assert [each["result"] for each in breaks(first)] == ["missing_in_statement"]
    assert (second.exit_code, breaks(second)) == (0, [])
    assert books.rows("SELECT state FROM alert") == [("resolved",)]
    assert books.rows("SELECT opened_at, closed_at FROM reconciliation_break") == [(NOON, NOON)]


def test_a_file_that_was_imported_before_is_not_imported_again(bank: Bank, books: Engine) -> None:
    """It says so, and changes nothing; what is open is still reported."""
    bank.reconcile(ALICE)
    before = stored(books)
    again = bank.reconcile(ALICE, name="renamed.csv")

    assert "already: nothing was done" in again.stderr
    assert again.exit_code == 1
    assert stored(books) == before


def stored(books: Engine) -> list[list[tuple[Any, ...]]]:
    """Every row that an import writes."""
    return [
        books.rows("SELECT * FROM statement_file ORDER BY id"),
        books.rows("SELECT * FROM statement_line ORDER BY id"),
        books.rows("SELECT * FROM statement_match ORDER BY id"),
        books.rows("SELECT * FROM reconciliation_break ORDER BY id"),
    ]


def test_lines_that_two_files_share_are_there_once(bank: Bank, books: Engine) -> None:
    """Statements overlap. What the bank booked twice within one file is there twice all the same."""
    twice = f",{TODAY},3.00,USD,coffee"
    first = bank.reconcile(ALICE, twice, twice)
    second = bank.reconcile(twice, ALICE, twice, BOB, name="week.csv")

    assert (first.exit_code, second.exit_code) == (1, 1)
    assert books.rows("SELECT lines, new_lines FROM statement_file ORDER BY id") == [(3, 3), (4, 1)]
    assert books.rows("SELECT count(*) FROM statement_line WHERE text = 'coffee'") == [(2,)]
    # A break that lasts is the same break.
    assert books.rows("SELECT count(*) FROM reconciliation_break WHERE result = 'missing_in_books'") == [(2,)]
    assert "3 of them known from another file" in second.stderr


def test_a_second_file_of_a_day_is_refused_where_its_lines_cannot_be_told_from_stored_ones(
    bank: Bank, books: Engine
) -> None:
    """The second coffee would be lost without a word. The whole day in one file says that there were two."""
    coffee, tea = f",{TODAY},3.00,USD,coffee", f",{TODAY},2.00,USD,tea"
    bank.reconcile(coffee, tea, name="morning.csv")
    before = stored(books)
    afternoon = bank.reconcile(BOB, coffee, name="afternoon.csv")
    unchanged = stored(books) == before
    bank.reconcile(coffee, tea, BOB, coffee, name="day.csv")

    assert (afternoon.exit_code, unchanged) == (2, True)
    assert f"line 3: it says the same as a line of {TODAY} that is stored" in " ".join(afternoon.stderr.split())
    assert "Import the whole day in one file" in " ".join(afternoon.stderr.split())
    assert books.rows("SELECT count(*) FROM statement_line WHERE text = 'coffee'") == [(2,)]


def test_the_same_file_cannot_be_of_two_accounts(bank: Bank) -> None:
    """A slip of the hand would count the money twice."""
    bank.reconcile(ALICE)
    result = bank.reconcile(ALICE, account="other")

    assert result.exit_code == 2
    assert "was imported as a statement of main, and is none of other" in result.stderr


def test_a_bank_account_keeps_its_currency(bank: Bank) -> None:
    """Yen on the dollar account is the wrong file."""
    bank.reconcile(ALICE)
    result = bank.reconcile(f"j1,{TODAY},1050,JPY,x", name="yen.csv")

    assert result.exit_code == 2
    assert "main in USD: a bank account has one currency" in result.stderr


def test_a_bad_file_is_rejected_whole(bank: Bank, books: Engine) -> None:
    """One wrong line of three, and nothing is stored."""
    result = bank.reconcile(ALICE, f"b2,{TODAY},25.005,USD,from bob", PAYOUT)

    assert (result.exit_code, result.stdout) == (2, "")
    assert "line 3: '25.005' is not an amount in USD" in result.stderr
    assert books.rows("SELECT FROM statement_file") == []


@pytest.mark.parametrize(
    ("currency", "amount", "minor"), [("JPY", "9007199254740991", 2**53 - 1), ("KWD", "1.001", 1_001)]
)
def test_amounts_are_exact_to_the_last_unit(bank: Bank, books: Engine, currency: str, amount: str, minor: int) -> None:
    """No decimals, three of them, or more digits than a float has: one unit off is a difference."""
    books.settle(opening("yuki", currency), deposit("yuki", minor, currency), deposit("yuki", minor - 1, currency))
    result = bank.reconcile(f"y1,{TODAY},{amount},{currency},yuki")

    assert results(result)["matched"] == (1, amount)
    assert [each["result"] for each in breaks(result)] == ["missing_in_statement"]


def test_a_tolerance_and_a_window_let_more_be_equal(bank: Bank) -> None:
    """By default none is tolerated, and 3 days."""
    line = f"b2,{TODAY + 5 * DAY},24.99,USD,bob"
    strict, lenient = bank.reconcile(line), None
    lenient = bank.reconcile(line, f"b7,{TODAY + 5 * DAY},1.00,USD,x", name="2.csv", tolerance="0.01", window="5")

    assert results(strict)["missing_in_books"] == (1, "24.99")
    assert results(lenient)["matched"] == (1, "24.99")


def test_a_line_is_matched_by_hand_and_taken_apart_again(bank: Bank, books: Engine) -> None:
    """With a reason, on record; and what a person took apart, no rule puts together again."""
    line = f"b4,{TODAY},99.00,USD,inv-2026-17 less a fee"
    differs = bank.reconcile(line)
    (line_id,) = (each["subject"].split(":")[1] for each in breaks(differs) if each["result"] == "amount_differs")
    ((position,),) = books.rows("SELECT position FROM transfer WHERE amount_minor = 10000")

    matched = bank.florin("--match", line_id, f"{position}.1", "--reason", "the bank kept a fee")
    assert (matched.exit_code, matched.stdout) == (0, f"Line {line_id} is matched with transfer {position}.1.\n")
    assert line_id not in {each["subject"].split(":")[1] for each in breaks(bank.report())}
    again = bank.florin("--match", line_id, str(position), "--reason", "again")
    assert (again.exit_code, "is matched whole" in again.stderr) == (2, True)

    apart = bank.florin("--unmatch", line_id, "--reason", "it was another")
    assert (apart.exit_code, "1 taken apart" in apart.stdout) == (0, True)
    assert sum(each["detail"].endswith(": it was another") for each in breaks(bank.report())) == 2

    after = bank.reconcile(BOB, name="next.csv")
    assert {each["result"] for each in breaks(after)} == {"missing_in_books", "missing_in_statement"}
    assert books.rows(
        "SELECT rule, reason, undoes IS NOT NULL FROM statement_match WHERE line_id = %s ORDER BY id", [line_id]
    ) == [("by_hand", "the bank kept a fee", False), ("by_hand", "it was another", True)]


def test_a_sum_is_taken_apart_whole(bank: Bank, books: Engine) -> None:
    """Half of a sum explains nothing."""
    result = bank.reconcile(f"b4,{TODAY},60.00,USD,inv-2026-17 first", f"b5,{TODAY},40.00,USD,inv-2026-17 rest")
    ((line_id,), _) = books.rows("SELECT line_id FROM statement_match ORDER BY id")
    apart = bank.florin("--unmatch", str(line_id), "--reason", "two customers")

    assert results(result)["matched"] == (2, "100.00")
    assert "2 taken apart" in apart.stdout
    assert sum(each["result"] == "missing_in_books" for each in breaks(bank.report())) == 2


BY_HAND: Final = [
    (["--match", "77", "3.1", "--reason", "x"], "there is no line 77"),
    (["--match", "1", "77.1", "--reason", "x"], "there is no deposit or withdrawal 77.1"),
    (["--match", "1", "5.1", "--reason", "x"], "line 1 is a credit in USD, and transfer 5.1 a withdrawal in USD"),
    (["--match", "1", "what", "--reason", "x"], "'what' names no transfer"),
    (["--match", "1", "3.1", "--reason", " "], "give a reason of 1 to 255 characters"),
    (["--unmatch", "77", "--reason", "x"], "there is no line 77"),
    (["--unmatch", "1", "--reason", "x"], "line 1 is not matched"),
]


def test_what_cannot_be_decided_by_hand_is_said_in_a_sentence(bank: Bank, books: Engine) -> None:
    """Nothing is written for a typing error."""
    bank.reconcile(f"b4,{TODAY},9.00,USD,interest")
    for arguments, words in BY_HAND:
        result = bank.florin(*arguments)

        assert (result.exit_code, words in result.stderr) == (2, True), result.stderr
    assert books.rows("SELECT FROM statement_match") == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["FILE"], "--account is missing"),
        (["FILE", "--account", "a b"], "'a b' cannot be a bank account's name"),
        (["FILE", "--account", "main", "--currency", "usd"], "--currency: unknown currency 'usd'"),
        (
            ["FILE", "--account", "main", "--currency", "EUR", "--mapping", "MAPPING"],
            "it is in USD, and the file in EUR",
        ),
        (["FILE", "--account", "main"], "give --mapping FILE"),
        (["FILE", "--account", "main", "--mapping", "MAPPING", "--tolerance", "0.001"], "--tolerance: USD has at most"),
        (["FILE", "--account", "main", "--window", "32", "--mapping", "MAPPING"], "--window"),
        (["FILE", "--account", "main", "--format", "pdf"], "--format"),
        (["nowhere.csv", "--account", "main", "--mapping", "MAPPING"], "cannot be read: No such file"),
        (["FILE", "--account", "main", "--mapping", "nowhere.toml"], "the mapping nowhere.toml cannot be read"),
        (["FILE", "--unmatch", "1", "--reason", "x"], "give one of FILE, --match and --unmatch"),
        (["--unmatch", "1"], "--unmatch needs --reason"),
        (["--reason", "x"], "--reason is for --match and --unmatch"),
    ],
)
def test_a_wrong_option_ends_with_2_and_a_sentence(tmp_path: Path, arguments: list[str], words: str) -> None:
    """Before any database is looked for; and standard output stays empty for the program behind it."""
    (tmp_path / "mapping.toml").write_text(MAPPING)
    (tmp_path / "file.csv").write_text(f"{HEADER}\n{ALICE}\n")
    paths = {"FILE": str(tmp_path / "file.csv"), "MAPPING": str(tmp_path / "mapping.toml")}
    result = CliRunner().invoke(app, ["reconcile", *(paths.get(each, each) for each in arguments)])

    assert (result.exit_code, result.stdout) == (2, ""), result.output
    assert words in result.stderr


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        ({"DATABASE_URL": "postgresql://florin_app:secret-word@127.0.0.1:1/florin"}, "the database cannot be used"),
        ({"FLORIN_API": "http://127.0.0.1:1", "FLORIN_API_KEY": "key"}, "set DATABASE_URL"),
    ],
)
def test_a_database_that_cannot_be_used_is_a_sentence(environment: dict[str, str], words: str) -> None:
    """No traceback, and no password of an address."""
    result = CliRunner().invoke(app, ["reconcile"], env=environment)

    assert (result.exit_code, words in result.stderr, "secret-word" in result.stderr) == (1, True, False)


def test_a_statement_whose_lines_do_not_lead_to_its_closing_balance_is_a_break(bank: Bank) -> None:
    """The bank lost a line on the way, or somebody edited the file; the next one opens where this one closed."""
    (bank.folder / "balances.toml").write_text(MAPPING + 'balance = "balance"\n')

    def import_(name: str, *lines: str) -> Result:
        file = bank.folder / name
        file.write_text("\n".join([f"{HEADER},balance", *lines]) + "\n")
        mapping = str(bank.folder / "balances.toml")
        return bank.florin(str(file), "--account", "main", "--mapping", mapping, "--report", "json")

    lost = import_("1.csv", f"{ALICE},1100.00", f"{PAYOUT},1080.00")
    later = import_("2.csv", f"{BOB},1105.00")
    gap = import_("3.csv", f"b8,{TODAY + 2 * DAY},1.00,USD,x,2000.00")

    def balance(result: Result) -> list[str]:
        return [each["detail"] for each in breaks(result) if each["result"] == "balance"]

    assert balance(lost) == ["from 1000.00 to 1080.00 it is 80.00, and its lines add up to 90.00"]
    assert balance(later) == balance(lost)
    assert balance(gap)[1:] == ["it opens with 1999.00, and the statement up to 2026-01-06 closed with 1105.00"]


def test_breaks_grow_old(bank: Bank, monkeypatch: pytest.MonkeyPatch) -> None:
    """Since the money moved, not since somebody looked; the table names the oldest first and says how many more."""
    bank.reconcile(ALICE, PAYOUT, f"b4,{TODAY - 9 * DAY},5.00,USD,[red]odd\x1b[2J", f"b5,{TODAY - 40 * DAY},6.00,USD,x")
    table = bank.florin("--limit", "1")
    later = datetime.combine(TODAY + 5 * DAY, NOON.time(), NOON.tzinfo)
    monkeypatch.setattr(clock, "now", lambda: later)

    def ages() -> dict[str, int]:
        ageing = json.loads(bank.report().stdout)["ageing"]
        return {each["days"]: each["count"] for each in ageing}

    assert table.exit_code == 1
    assert "2 more: --limit 3, or --report csv, names them all." in table.stdout
    assert "40" in table.stdout
    assert ages() == {"2-7": 1, "8-30": 1, ">30": 1}


def test_the_csv_report_is_for_spreadsheets_and_runs_nothing_there(bank: Bank) -> None:
    """A payer may write a formula in the remittance text."""
    bank.reconcile(ALICE, BOB, PAYOUT, f'b4,{TODAY},9.00,USD,"=HYPERLINK(1)"')
    result = bank.florin("--report", "csv")
    header, line, *rest = result.stdout.splitlines()

    assert header.startswith("subject,result,since,age_days,currency,amount")
    assert "'=HYPERLINK(1)" in line
    assert rest == []
    assert "\x1b" not in bank.florin().stdout


def test_a_transfer_is_missing_only_once_every_account_of_its_currency_has_been_looked_at(bank: Bank) -> None:
    """The money may be at the PSP, whose statement comes later."""
    yesterday = f"p0,{TODAY - DAY},1.00,USD,x"
    assert bank.reconcile(yesterday, account="psp", name="psp-1.csv").exit_code == 1
    first = bank.reconcile(f"b0,{TODAY - DAY},2.00,USD,y", ALICE, PAYOUT, name="bank.csv")
    second = bank.reconcile(f"p1,{TODAY},3.00,USD,z", account="psp", name="psp-2.csv")

    assert "missing_in_statement" not in results(first)
    assert results(second)["missing_in_statement"] == (1, "25.00")


def test_a_wrong_file_makes_one_alert_for_all_that_are_too_many(
    bank: Bank, books: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A hundred thousand mails on Monday morning help nobody."""
    monkeypatch.setattr(reconciling, "MOST_ALERTS", 2)
    bank.reconcile(*(f"w{n},{TODAY},{n}.00,USD,w" for n in range(1, 6)))

    assert sorted(row[0] for row in books.rows("SELECT subject FROM alert"))[0] == "reconciliation:more"
    assert books.rows("SELECT count(*) FROM alert") == [(3,)]


def test_the_search_for_the_first_position_never_begins_too_late(books: Engine) -> None:
    """A transfer that is not read cannot be matched."""
    with pools.connect(books.database.app_url, "florin test") as conn:
        positions = [store.first_position(conn, NOON + seconds * DAY) for seconds in (-1, 0, 1)]

    ((first, last),) = books.rows("SELECT min(position), max(position) FROM command")
    assert positions == [first, first, last + 1]
    assert Limits().tolerance_minor == 0


@pytest.mark.parametrize("xid", [None, "0", "1"], ids=["in order", "restored, sealed", "restored, not sealed"])
def test_what_waited_long_before_it_was_decided_is_matched(bank: Bank, books: Engine, xid: str | None) -> None:
    """A quarantine may hold a withdrawal for months: the bank's line is of the day on which it was let go."""
    books.rows("UPDATE command SET accepted_at = accepted_at - interval '60 days'")
    books.rows("SET session_replication_role = replica")
    books.rows("UPDATE outcome SET xid = coalesce(%s, xid::text)::xid8", [xid])

    result = bank.reconcile(ALICE, BOB, PAYOUT)

    assert (result.exit_code, breaks(result)) == (0, [])
