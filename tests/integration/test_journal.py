"""The journal, read by the programs that it is for: what they add up to is what our books say."""

import csv
import io
import pathlib
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, timedelta
from decimal import Decimal
from random import Random
from typing import Any, Final
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from beancount import loader
from beancount.core import realization
from typer.testing import CliRunner

from cli.main import app
from processor.journal.export import Format, export
from processor.journal.naming import OPENING, read_name
from processor.money import format_amount
from processor.periods import Period
from processor.store import system_accounts
from processor.submissions import CommandBody
from tests.builders import advance, deposit, opening, transfer, withdraw
from tests.conftest import Database
from tests.engine import Engine, running_engine
from tests.watch import Watch

HLEDGER: Final = shutil.which("hledger")

needs_hledger = pytest.mark.skipif(HLEDGER is None, reason="hledger is not installed: apt-get install hledger")

CURRENCIES: Final = ("USD", "JPY", "KWD")

Balances = Mapping[tuple[str, str], Decimal]
"""What each account has in each currency, by our name of the account: credits less debits."""


@pytest.fixture
def watch() -> Watch:
    """The clock of everybody in a test."""
    return Watch()


@pytest.fixture
def engine(database: Database, watch: Watch) -> Iterator[Engine]:
    """The engine by that clock."""
    with running_engine(database, now=watch) as engine:
        yield engine


def journal(engine: Engine, format_: Format, watch: Watch, period: Period | None = None) -> str:
    """The journal, as the application's role reads it."""
    with engine.pool.connection() as conn:
        parts = export(conn, format_, period or Period(None, None, UTC), now=watch())
        return b"".join(parts).decode()


def as_beancount_reads(text: str) -> Balances:
    """What beancount adds up, once it has found no fault."""
    entries, errors, _ = loader.load_string(text)
    assert not errors, errors[:3]
    found = {}
    root = realization.realize(entries)  # type: ignore[no-untyped-call]
    for account in realization.iter_children(root):  # type: ignore[no-untyped-call]
        for position in account.balance:
            found[account.account, position.units.currency] = -position.units.number
    return _ours(found)


def as_hledger_reads(text: str) -> Balances:
    """What hledger adds up, once it has found no fault: every account and currency is declared, and each is as said."""
    assert HLEDGER is not None
    for command in (["check", "--strict"], ["balance", "--flat", "--layout=bare", "-O", "csv", "--empty"]):
        result = subprocess.run(
            [HLEDGER, "-f-", *command], input=text, capture_output=True, text=True, timeout=60, env={"LANG": "C.UTF-8"}
        )
        assert result.returncode == 0, result.stderr[-2000:]
    found = {}
    for row in csv.DictReader(io.StringIO(result.stdout)):
        if not row["account"].startswith("Total") and row["account"] != "total":
            found[row["account"], row["commodity"]] = -Decimal(row["balance"])
    return _ours(found)


def _ours(found: Mapping[tuple[str, str], Decimal]) -> Balances:
    return {
        (account if account == OPENING else read_name(account), currency): balance
        for (account, currency), balance in found.items()
        if balance
    }


def as_our_books_say(engine: Engine) -> Balances:
    """The totals of customers' rows, and what the application reads of the bank's own accounts."""
    found = {}
    for name, kind, currency, credits, debits in engine.rows(
        "SELECT name, kind, currency, credits_minor, debits_minor FROM account"
    ):
        totals = (credits, debits) if kind == "customer" else engine.totals(name)
        assert totals is not None
        if totals[0] != totals[1]:
            found[name, currency] = Decimal(format_amount(totals[0] - totals[1], currency))
    return found


def a_life(engine: Engine, watch: Watch) -> None:
    """Accounts with difficult names in three currencies, and each kind of transfer, over eleven days."""
    names = {"USD": ("a-b", "a.b"), "JPY": ("a--b", "A_b"), "KWD": ("-:a:-", "9"), "EUR": ("x" * 64, "_")}
    for one, other in names.values():
        currency = next(each for each, pair in names.items() if one in pair)
        engine.settle(
            opening(one, currency, overdraft_limit_minor=500, overdraft_fee_minor=70), opening(other, currency)
        )
        engine.settle(deposit(one, 1_005, currency, reference='two; "words" \\ | a:b, [2026-01-01] date:x\n* é 漢'))
        watch.forward(days=1)
        engine.settle(transfer(one, other, 105, currency), withdraw(one, 1_001, currency))
        engine.settle(advance(other, 2_000, currency))
        watch.forward(days=1, hours=13)
        sent = engine.rows("SELECT id FROM command WHERE type = 'transfer' ORDER BY position DESC LIMIT 1")[0][0]
        engine.settle(_reversal(sent, one, other, currency))
        engine.settle(_adjustment(f"@suspense:{currency}", one, 7, currency))


def _reversal(reverses: UUID, one: str, other: str, currency: str) -> CommandBody:
    return CommandBody(
        type="reverse", currency=currency, from_account=one, to_account=other, reverses=reverses, force=True, reason="="
    )


def _adjustment(source: str, target: str, minor: int, currency: str) -> CommandBody:
    return CommandBody(
        type="adjust",
        currency=currency,
        from_account=source,
        to_account=target,
        amount_minor=minor,
        force=False,
        reason='found; "it"',
    )


def test_beancount_adds_up_to_our_balances(engine: Engine, watch: Watch, tmp_path: pathlib.Path) -> None:
    """The auditor's own program, which knows nothing of us, comes to the same figures."""
    a_life(engine, watch)
    text = journal(engine, "beancount", watch)
    file = tmp_path / "journal.beancount"
    file.write_text(text)
    checked = subprocess.run(
        [pathlib.Path(sys.executable).with_name("bean-check"), file], capture_output=True, text=True, timeout=60
    )

    assert (checked.returncode, checked.stdout, checked.stderr) == (0, "", "")
    assert as_beancount_reads(text) == as_our_books_say(engine)
    assert text.count(" balance ") == len(engine.rows("SELECT id FROM account"))
    assert {kind for (kind,) in engine.rows("SELECT DISTINCT kind FROM transfer")} >= {
        *("deposit", "withdrawal", "overdraft_fee", "transfer", "advance", "reversal", "adjustment")
    }


@needs_hledger
def test_hledger_adds_up_to_our_balances(engine: Engine, watch: Watch) -> None:
    """The same with the other program, which also checks that each account and currency was declared."""
    a_life(engine, watch)

    assert as_hledger_reads(journal(engine, "hledger", watch)) == as_our_books_say(engine)


@needs_hledger
def test_nobody_writes_a_tag_into_a_reason(engine: Engine, watch: Watch) -> None:
    """An auditor who looks for a command by its tag finds that one only."""
    engine.settle(opening("alice"))
    engine.settle(replace(_adjustment("@suspense:USD", "alice", 1, "USD"), reason="x, position:1, y: ; z"))
    result = subprocess.run(
        [str(HLEDGER), "-f-", "tags", "--values", "position"],
        input=journal(engine, "hledger", watch),
        capture_output=True,
        text=True,
        timeout=60,
        env={"LANG": "C.UTF-8"},
    )

    assert (result.returncode, result.stdout.split()) == (0, ["2"])


@pytest.mark.parametrize(
    ("format_", "read"),
    [
        ("beancount", as_beancount_reads),
        pytest.param("hledger", as_hledger_reads, marks=needs_hledger),
    ],
)
def test_a_period_begins_with_what_was_there_and_ends_with_what_was_left(
    engine: Engine, watch: Watch, format_: Format, read: Any
) -> None:
    """Days are the bank's: what happened in the evening of another zone is in the period of its day here."""
    zone = ZoneInfo("Asia/Tokyo")
    begin = watch().astimezone(zone).date()
    a_life(engine, watch)
    end = watch().astimezone(zone).date()
    whole = read(journal(engine, format_, watch))
    for cut in range((end - begin).days + 1):
        on = begin + timedelta(days=cut)
        first = read(journal(engine, format_, watch, Period(None, on, zone)))
        rest = journal(engine, format_, watch, Period(on + timedelta(days=1), None, zone))
        if cut == 3:
            assert len(first) > 3
            assert "opening balance" in rest

        assert read(rest) == whole
        both = read(journal(engine, format_, watch, Period(begin + timedelta(days=1), on, zone))) if cut else first
        assert both == first


def test_a_balance_that_is_not_ours_is_found(engine: Engine, watch: Watch) -> None:
    """The assertions are our books' own figures, to the smallest unit: a row that was tampered with does not pass."""
    engine.settle(opening("alice"), deposit("alice", 1_000))
    engine.rows("UPDATE account SET credits_minor = credits_minor + 1 WHERE name = 'alice'")
    _, errors, _ = loader.load_string(journal(engine, "beancount", watch))

    assert len(errors) == 1
    assert "Balance failed for 'Liabilities:Customers:USD-alice'" in errors[0].message


def test_a_checkpoint_that_is_not_ours_is_found(engine: Engine, watch: Watch) -> None:
    """The same for the bank's own accounts, whose figures are a checkpoint and the transfers after it."""
    engine.settle(opening("alice"), deposit("alice", 1_000))
    with engine.pool.connection() as conn:
        system_accounts.roll_forward(conn, now=watch())
    engine.settle(deposit("alice", 500))

    assert as_beancount_reads(journal(engine, "beancount", watch)) == as_our_books_say(engine)
    engine.rows("UPDATE system_checkpoint SET debits_minor = debits_minor + 1")
    _, errors, _ = loader.load_string(journal(engine, "beancount", watch))
    assert ["Assets:Settlement:USD" in each.message for each in errors] == [True]


def any_text(random: Random, most: int) -> str:
    """Characters of any plane, and often those that mean something to one of the programs."""
    special = '"\\;|:,[]()*!=@#{}~%\n\r\t\x01\x1f\x7f\x85\u2028\u202e\ufeff '
    length = random.randint(1, most)
    return "".join(
        random.choice(special) if random.random() < 0.5 else chr(random.choice((random.randint(32, 0x2FF), 0x1F600)))
        for _ in range(length)
    )


def any_commands(random: Random) -> Iterator[CommandBody]:
    """Accounts whose names are alike, in several currencies, and what moves money between them, with any texts."""
    names = ["".join(random.choices("Aa0-._:cdux", k=random.randint(1, 4))) for _ in range(12)]
    currencies = {name: random.choice(CURRENCIES) for name in names}
    for name in names:
        limit = random.choice((0, 300))
        yield opening(name, currencies[name], overdraft_limit_minor=limit, overdraft_fee_minor=15)
        yield deposit(name, 400, currencies[name], reference=any_text(random, 255))
    for _ in range(80):
        name, other = random.sample(names, 2)
        currency, minor = currencies[name], random.randint(1, 400)
        moves = [
            deposit(name, minor, currency, reference=any_text(random, 20)),
            withdraw(name, minor, currency),
            advance(name, minor + 12, currency),
            replace(_adjustment(f"@suspense:{currency}", name, minor, currency), reason=any_text(random, 20)),
        ]
        yield random.choice(moves if name == other else [*moves, transfer(name, other, minor, currency)])


@pytest.mark.parametrize("seed", range(3))
def test_whatever_names_and_texts_there_are_both_programs_agree_with_us(
    engine: Engine, watch: Watch, seed: int
) -> None:
    """Names that only differ in what the programs do not allow stay apart, and no text breaks out of its line."""
    engine.settle(*any_commands(Random(seed)))
    ours = as_our_books_say(engine)

    assert as_beancount_reads(journal(engine, "beancount", watch)) == ours
    if HLEDGER:
        assert as_hledger_reads(journal(engine, "hledger", watch)) == ours


def florin(*arguments: str, **environment: str) -> Any:
    """`florin journal` with this environment only."""
    return CliRunner().invoke(app, ["journal", *arguments], env=environment)


def test_the_command_writes_a_whole_file_or_none(engine: Engine, tmp_path: pathlib.Path) -> None:
    """What has the name of a journal is one; what broke off in the middle would only lack its end."""
    engine.settle(opening("alice"), deposit("alice", 1_000))
    url = engine.database.app_url
    file = tmp_path / "journal.beancount"
    written = florin("--format", "beancount", "--output", str(file), DATABASE_URL=url)
    printed = florin("--format", "beancount", DATABASE_URL=url)

    assert (written.exit_code, written.stdout, written.stderr) == (0, "", "")
    assert file.read_bytes() == printed.stdout_bytes
    assert as_beancount_reads(printed.stdout) == as_our_books_say(engine)
    broken = florin("--format", "beancount", "--output", str(tmp_path / "none" / "file"), DATABASE_URL=url)
    assert (broken.exit_code, broken.stdout) == (1, "")
    assert "cannot be written" in broken.stderr
    assert [each.name for each in tmp_path.iterdir()] == [file.name]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--from", "2026-13-01"], "--from: no day"),
        (["--from", "2026-02-02", "--to", "2026-02-01"], "before it begins"),
        (["--from", "9000-01-01"], "in the future"),
    ],
)
def test_a_period_that_cannot_be_is_said_in_one_sentence(arguments: Sequence[str], words: str) -> None:
    """Before the database is looked at."""
    result = florin("--format", "hledger", *arguments, DATABASE_URL="postgresql://nobody@127.0.0.1:1/none")

    assert (result.exit_code, result.stdout) == (2, "")
    assert words in result.stderr


def test_an_empty_ledger_is_a_journal(engine: Engine, watch: Watch) -> None:
    """On the first day there is nothing, and that is right."""
    assert as_beancount_reads(journal(engine, "beancount", watch)) == {}
    if HLEDGER:
        assert as_hledger_reads(journal(engine, "hledger", watch)) == {}
