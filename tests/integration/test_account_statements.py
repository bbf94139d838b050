"""Statements of a customer's account: what is on them, where a period begins, and that they can be sent as they are."""

import csv
import io
import pathlib
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from zoneinfo import ZoneInfo

import pytest
from pypdf import PdfReader
from typer.testing import CliRunner

from cli.main import app
from processor.account_statements.statement import NotBegunError, Statement, UnknownAccountError, make, pages, reader
from processor.account_statements.to_csv import COLUMNS, to_csv
from processor.account_statements.to_pdf import TooLongError, to_pdf
from processor.errors import BooksError
from processor.periods import Period
from processor.submissions import CommandBody
from tests.builders import advance, deposit, opening, transfer, withdraw
from tests.conftest import Database
from tests.engine import Engine, running_engine
from tests.watch import Watch

LAGOS: Final = ZoneInfo("Africa/Lagos")
"""An hour ahead of UTC, all year."""


@pytest.fixture
def watch() -> Watch:
    """The clock of everybody in a test: the last hour of January in UTC, when it is February in Lagos."""
    return Watch(datetime(2026, 1, 31, 23, 30, tzinfo=UTC))


@pytest.fixture
def engine(database: Database, watch: Watch) -> Iterator[Engine]:
    """The engine by that clock."""
    with running_engine(database, now=watch) as engine:
        yield engine


def statement(engine: Engine, watch: Watch, month: str = "2026-02", name: str = "alice") -> Statement:
    """The statement of a month in Lagos."""
    with engine.pool.connection() as conn:
        return make(conn, name, Period.of_month(month, LAGOS), zone_name="Africa/Lagos", now=watch())


def rows(engine: Engine, made: Statement) -> list[dict[str, str]]:
    """The statement as a program reads its CSV."""
    with engine.pool.connection() as conn:
        text = b"".join(to_csv(made, pages(made, reader(conn)))).decode()
    return list(csv.DictReader(io.StringIO(text, newline="")))


def pdf(engine: Engine, made: Statement) -> bytes:
    """The statement as a document."""
    with engine.pool.connection() as conn:
        return to_pdf(made, pages(made, reader(conn)), bank="Bank of Nowhere")


def read(document: bytes) -> list[str]:
    """The text of each page, in lines as they are seen."""
    return [page.extract_text(extraction_mode="layout") for page in PdfReader(io.BytesIO(document)).pages]


def seen(rows: Sequence[dict[str, str]], *names: str) -> list[tuple[str, ...]]:
    """Some columns."""
    return [tuple(row[name] for name in names) for row in rows]


def a_month(engine: Engine, watch: Watch) -> None:
    """January's last deposit, then a February in which much happens."""
    engine.settle(opening("alice", overdraft_limit_minor=10_000, overdraft_fee_minor=1_500), opening("bob"))
    watch.forward(hours=-1)
    engine.settle(deposit("alice", 3_000, reference="January"))
    watch.forward(hours=1)
    engine.settle(deposit("alice", 1_000_000_00, reference="Gehälter 2026/02, 漢字"))
    watch.forward(days=3)
    engine.settle(transfer("alice", "bob", 1_000_010_00))
    engine.settle(withdraw("alice", 10_000))
    watch.forward(days=3)
    engine.settle(transfer("bob", "alice", 20_000), advance("alice", 12_000))
    engine.settle(
        CommandBody(
            type="adjust",
            currency="USD",
            from_account="@suspense:USD",
            to_account="alice",
            amount_minor=7,
            force=False,
            reason="=found it",
        )
    )


def test_a_month_has_every_transfer_with_its_words_and_the_balances_around_it(engine: Engine, watch: Watch) -> None:
    """What a customer asks: what was there, what came, what went and why, what is left."""
    a_month(engine, watch)
    found = rows(engine, statement(engine, watch))

    assert seen(found, "row", "date", "kind", "counter_account", "amount", "balance") == [
        ("opening", "2026-02-01", "", "", "", "30.00"),
        ("transfer", "2026-02-01", "deposit", "", "1000000.00", "1000030.00"),
        ("transfer", "2026-02-04", "transfer", "bob", "-1000010.00", "20.00"),
        ("transfer", "2026-02-04", "withdrawal", "", "-100.00", "-80.00"),
        ("transfer", "2026-02-04", "penalty", "", "-15.00", "-95.00"),
        ("transfer", "2026-02-07", "transfer", "bob", "200.00", "105.00"),
        ("transfer", "2026-02-07", "advance", "", "120.00", "225.00"),
        ("transfer", "2026-02-07", "adjustment", "", "0.07", "225.07"),
        ("total_in", "", "", "", "1000320.07", ""),
        ("total_out", "", "", "", "-1000125.00", ""),
        ("closing", "2026-02-07", "", "", "", "225.07"),
        ("held", "2026-02-07", "", "", "0.00", ""),
        ("available", "2026-02-07", "", "", "325.07", ""),
    ]
    assert found[1]["reference"] == "Gehälter 2026/02, 漢字"
    assert found[4]["text"] == "Penalty: overdraft fee"
    assert found[10]["text"] == "so far: the period is not over"
    assert {row["account"] for row in found} == {"alice"}


def test_a_month_begins_with_what_the_one_before_it_ended_with(engine: Engine, watch: Watch) -> None:
    """Months are the bank's: no transfer is in two of them, or in none."""
    a_month(engine, watch)
    watch.forward(days=60)
    months = [rows(engine, statement(engine, watch, month)) for month in ("2026-01", "2026-02", "2026-03")]

    assert [each[0]["balance"] for each in months] == ["0.00", "30.00", "225.07"]
    assert [each[-1]["balance"] for each in months] == ["30.00", "225.07", "225.07"]
    assert [each[-1]["date"] for each in months] == ["2026-01-31", "2026-02-28", "2026-03-31"]
    assert [sum(row["row"] == "transfer" for row in each) for each in months] == [1, 7, 0]


def test_the_first_instant_of_a_month_is_in_it(engine: Engine, watch: Watch) -> None:
    """So it is in no other."""
    engine.settle(opening("alice"))
    watch.forward(minutes=-30)
    engine.settle(deposit("alice", 100))
    watch.forward(days=60)

    assert [statement(engine, watch, month).count for month in ("2026-01", "2026-02")] == [0, 1]


def test_clocks_that_disagree_lose_no_transfer(engine: Engine, watch: Watch) -> None:
    """One machine's midnight comes before another's: what follows a month's first transfer is in that month as well."""
    engine.settle(opening("alice"))
    begin = watch.instant - timedelta(minutes=30)
    for minutes in (-3, -2, 1, -1, 2, 0, 1, -1, 3):
        watch.instant = begin + timedelta(minutes=minutes)
        engine.settle(deposit("alice", 100))
    watch.forward(days=60)
    january, february = (statement(engine, watch, month) for month in ("2026-01", "2026-02"))

    assert january.up_to == february.after
    assert (january.count, february.count) == (2, 7)
    assert january.closing_minor == february.opening_minor


def test_a_period_that_is_over_never_changes_and_one_that_is_not_says_so(engine: Engine, watch: Watch) -> None:
    """A statement that was sent must be the same when somebody asks again."""
    a_month(engine, watch)
    so_far = read(pdf(engine, statement(engine, watch)))[0]
    engine.settle(CommandBody(type="place_hold", currency="USD", account="alice", amount_minor=5_000))
    held = rows(engine, statement(engine, watch))
    watch.forward(days=40)
    first = pdf(engine, statement(engine, watch)), rows(engine, statement(engine, watch))
    watch.forward(days=3)
    engine.settle(deposit("alice", 1))
    again = pdf(engine, statement(engine, watch)), rows(engine, statement(engine, watch))

    assert "This period is not over: the statement is as of 2026-02-07 00:30:00." in so_far
    assert seen(held[-2:], "row", "amount") == [("held", "50.00"), ("available", "275.07")]
    assert first == again
    assert "not over" not in read(first[0])[0]


def test_the_document_has_the_same_figures(engine: Engine, watch: Watch) -> None:
    """What is sent says what the books say; a character that cannot be shown is seen to be missing."""
    a_month(engine, watch)
    watch.forward(days=40)
    (text,) = read(pdf(engine, statement(engine, watch)))
    lines = [" ".join(line.split()) for line in text.splitlines()]

    assert lines[0] == "Bank of Nowhere Account statement"
    assert "Period 2026-02-01 to 2026-02-28" in lines
    assert "30.00 +1,000,320.07 -1,000,125.00 225.07" in lines
    assert "2026-02-04 Penalty: overdraft fee -15.00 -95.00" in lines
    assert "2026-02-04 Transfer sent -1,000,010.00 20.00" in lines
    assert "To account bob" in lines
    assert "Reference Gehälter 2026/02, □□" in lines
    assert any(line.startswith("□ stands for a character") for line in lines)
    assert lines[-1] == "Account alice Page 1 of 1"


def test_a_long_statement_carries_its_balance_from_page_to_page(engine: Engine, watch: Watch) -> None:
    """Every transfer is on exactly one page, and nothing is cut off at a page's end."""
    engine.settle(opening("alice"))
    engine.settle(*(deposit("alice", minor, reference="long " * (minor % 50)) for minor in range(1, 191)))
    watch.forward(days=40)
    made = statement(engine, watch)
    texts = read(pdf(engine, made))
    lines = [" ".join(line.split()) for text in texts for line in text.splitlines()]
    carried = [line.split()[-1] for line in lines if line.startswith("Carried forward")]

    assert len(texts) > 3
    assert carried == [line.split()[-1] for line in lines if line.startswith("Brought forward")]
    assert [line for line in lines if "Deposit" in line] == [
        f"2026-02-01 Deposit +{minor / 100:.2f} {minor * (minor + 1) / 200:.2f}" for minor in range(1, 191)
    ]
    assert [text.split()[-1] for text in texts] == [str(len(texts))] * len(texts)
    engine_pages = [len(each) for each in _pages(engine, made)]
    assert sum(engine_pages) == 190


def _pages(engine: Engine, made: Statement) -> list[Any]:
    with engine.pool.connection() as conn:
        return list(pages(made, reader(conn)))


def test_pages_of_the_books_join_without_a_gap(engine: Engine, watch: Watch, monkeypatch: pytest.MonkeyPatch) -> None:
    """The account is read some transfers at a time, so the largest needs no memory."""
    monkeypatch.setattr("processor.account_statements.statement.PAGE", 3)
    a_month(engine, watch)
    made = statement(engine, watch)

    assert [len(each) for each in _pages(engine, made)] == [3, 3, 1]


@pytest.mark.parametrize(("currency", "balance"), [("JPY", "1005"), ("KWD", "1.005"), ("USD", "10.05")])
def test_amounts_have_the_currencys_decimals(engine: Engine, watch: Watch, currency: str, balance: str) -> None:
    """A yen has no cents, and a dinar a thousand fils."""
    engine.settle(opening("alice", currency), deposit("alice", 1_005, currency))
    text = read(pdf(engine, statement(engine, watch)))[0]
    shown = f"{int(balance):,}" if currency == "JPY" else balance

    assert rows(engine, statement(engine, watch))[1]["balance"] == balance
    assert f"+{shown} {shown}" in " ".join(text.split())


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@x", "\t=1", "\r=1"])
def test_no_cell_is_taken_for_a_formula(engine: Engine, watch: Watch, text: str) -> None:
    """A customer opens it in a spreadsheet, and somebody else wrote the reference. Amounts stay numbers."""
    engine.settle(opening("-alice"), opening("bob"), deposit("-alice", 500))
    engine.settle(deposit("-alice", 1, reference=text), transfer("-alice", "bob", 100))
    found = rows(engine, statement(engine, watch, name="-alice"))

    assert found[2]["reference"] == f"'{text}"
    assert found[0]["account"] == "'-alice"
    assert found[3]["amount"] == "-1.00"


def test_there_is_none_of_the_future_or_of_an_account_that_is_not_a_customers(engine: Engine, watch: Watch) -> None:
    """An empty sheet would say that nothing happened."""
    engine.settle(opening("alice"), deposit("alice", 1))

    with pytest.raises(NotBegunError):
        statement(engine, watch, "2026-03")
    for name in ("nobody", "@settlement:USD"):
        with pytest.raises(UnknownAccountError):
            statement(engine, watch, name=name)


def test_books_that_contradict_themselves_are_sent_to_nobody(engine: Engine, watch: Watch) -> None:
    """Better no statement than a wrong one."""
    a_month(engine, watch)
    made = statement(engine, watch)
    engine.rows("UPDATE transfer SET credit_balance_minor = 0 WHERE kind = 'adjustment'")

    for write in (rows, pdf):
        with pytest.raises(BooksError):
            write(engine, made)
    engine.rows("DELETE FROM transfer WHERE kind = 'adjustment'")
    with pytest.raises(BooksError):
        rows(engine, made)


def test_a_document_has_a_bound(engine: Engine, watch: Watch, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody reads a thousand pages, and making them would keep others waiting."""
    monkeypatch.setattr("processor.account_statements.to_pdf.MOST_TRANSFERS", 6)
    a_month(engine, watch)

    with pytest.raises(TooLongError, match="the period has 7 transfers, and a PDF 6 at most"):
        pdf(engine, statement(engine, watch))


def florin(*arguments: str, **environment: str) -> Any:
    """`florin statement` with this environment only."""
    return CliRunner().invoke(app, ["statement", *arguments], env=environment)


def test_the_command_writes_both(engine: Engine, watch: Watch, tmp_path: pathlib.Path) -> None:
    """The same as over HTTP, for whoever is at the machine."""
    a_month(engine, watch)
    environment = {
        "DATABASE_URL": engine.database.app_url,
        "FLORIN_BUSINESS_ZONE": "Africa/Lagos",
        "FLORIN_BANK_NAME": "Bank of Nowhere",
    }
    watch.instant = datetime.now(UTC)
    printed = florin("alice", "--month", "2026-02", **environment)
    some = florin("alice", "--from", "2026-02-04", "--to", "2026-02-04", **environment)
    file = tmp_path / "statement.pdf"
    drawn = florin("alice", "--month", "2026-02", "--format", "pdf", "--output", str(file), **environment)

    assert [each.exit_code for each in (printed, some, drawn)] == [0, 0, 0]
    assert printed.stdout_bytes.startswith((",".join(COLUMNS) + "\r\n").encode())
    assert some.stdout_bytes.count(b"\r\ntransfer,2026-02-04") == 3
    assert file.read_bytes() == pdf(engine, statement(engine, watch))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "give --month, or --from and --to"),
        (["--month", "2026-13"], "no month"),
        (["--month", "2026-02", "--from", "2026-02-01"], "give --month, or --from and --to"),
        (["--from", "2026-02-01"], "give --month, or --from and --to"),
        (["--from", "2026-02-02", "--to", "2026-02-01"], "before it begins"),
        (["--from", "yesterday", "--to", "2026-02-01"], "--from: no day"),
    ],
)
def test_what_is_asked_wrongly_is_said_in_one_sentence(arguments: Sequence[str], words: str) -> None:
    """Before the database is looked at."""
    result = florin("alice", *arguments, DATABASE_URL="postgresql://nobody@127.0.0.1:1/none")

    assert (result.exit_code, result.stdout) == (2, "")
    assert words in result.stderr
