"""Whether the books are right, read as their owner and decided again by the rules: what no fault may change."""

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any, Final, LiteralString

from cli.servers.process import wait_until
from processor import clock
from processor.domain.advances import accounted_minor
from processor.domain.books import Books, Daily
from processor.domain.commands import Command
from processor.domain.decide import decide
from processor.domain.rules import Rules
from processor.proofs import PROOFS
from processor.proofs.proof import Limits, Scope
from processor.store.books import PendingRow
from processor.store.system_accounts import SELECT_TOTALS
from tests.builders import as_read_next
from tests.load import Receipt
from tests.stack import Stack

SETTLED_WITHIN_S: Final = 60.0

# The log of outcomes: xid8 is drawn by a transaction's first write, when it holds the locks of its accounts.
SELECT_LOG: Final[LiteralString] = """
    SELECT
        command.position, command.type, command.account, command.from_account, command.to_account,
        command.amount_minor, command.currency, command.overdraft_limit_minor, command.overdraft_fee_minor,
        command.accepted_at, command.id::text, command.idempotency_key, outcome.status, outcome.reason,
        command.client_id, outcome.decided_at, command.instalments, command.first_due_on,
        (SELECT granting.position FROM command AS granting WHERE granting.id = command.advance_id), command.instalment,
        (SELECT reserving.position FROM command AS reserving WHERE reserving.id = command.hold_id), command.expires_at,
        (SELECT earlier.position FROM command AS earlier WHERE earlier.id = command.reverses), command.force,
        command.daily_count, command.daily_amount_minor
    FROM command LEFT JOIN outcome USING (position)
    ORDER BY outcome.xid, command.position
"""

SELECT_TRANSFERS: Final[LiteralString] = """
    SELECT
        transfer.position, transfer.kind, transfer.amount_minor, transfer.currency,
        debit.name, transfer.debit_version, transfer.debit_balance_minor,
        credit.name, transfer.credit_version, transfer.credit_balance_minor
    FROM transfer
    JOIN account AS debit ON debit.id = transfer.debit_account_id
    JOIN account AS credit ON credit.id = transfer.credit_account_id
    ORDER BY transfer.position, transfer.leg
"""

SELECT_ACCOUNTS: Final[LiteralString] = """
    SELECT name, kind, currency, version, credits_minor, debits_minor, revision, status, held_minor, forced_minor,
        overdraft_limit_minor, overdraft_fee_minor,
        daily_count, daily_amount_minor, daily_on, daily_used, daily_used_minor
    FROM account
"""

SELECT_ADVANCES: Final[LiteralString] = """
    SELECT
        advance.id, account.name, advance.currency, advance.amount_minor, advance.first_due_on, advance.instalments,
        advance.paid_minor, advance.written_off_minor, advance.state, advance.version
    FROM advance JOIN account ON account.id = advance.account_id
"""

SELECT_INSTALMENTS: Final[LiteralString] = """
    SELECT
        advance_id, number, due_on, amount_minor, rolled_minor, paid_minor, state, settled_by, attempts, failed_at
    FROM instalment ORDER BY advance_id, number
"""

SELECT_HOLDS: Final[LiteralString] = """
    SELECT hold.id, account.name, hold.currency, hold.amount_minor, hold.expires_at, hold.state, hold.captured_minor,
        hold.settled_by, hold.attempts
    FROM hold JOIN account ON account.id = hold.account_id
"""


@dataclass(frozen=True)
class Verdict:
    """What was found, once all of it adds up: how the commands ended, and the balance of each account."""

    outcomes: Mapping[tuple[str, str], int]
    """How many commands of a type had a status, or a reason if they were refused."""
    balances_minor: Mapping[str, int]


def wait_until_settled(stack: Stack) -> None:
    """Return once no command is pending."""

    def settled() -> bool:
        return conn.execute("SELECT NOT EXISTS (SELECT FROM pending)").fetchone() == (True,)

    with stack.owner() as conn:
        if not wait_until(settled, timeout_s=SETTLED_WITHIN_S):
            left = conn.execute("SELECT count(DISTINCT position), min(position) FROM pending").fetchone()
            raise AssertionError(f"still pending (how many, the first): {left}")


def assert_the_books_are_right(stack: Stack, *receipts: Mapping[str, Receipt]) -> Verdict:
    """
    Wait until all is settled; then assert what must hold whatever has happened.

    ``receipts`` are all that were given out for this database: each names a command, and no command is without one.
    """
    wait_until_settled(stack)
    with stack.owner() as conn:
        log = conn.execute(SELECT_LOG).fetchall()
        transfers = defaultdict(list)
        for position, *transfer in conn.execute(SELECT_TRANSFERS):
            transfers[position].append(tuple(transfer))
        accounts = {name: tuple(rest) for name, *rest in conn.execute(SELECT_ACCOUNTS)}
        system_totals = {
            name: conn.execute(SELECT_TOTALS, [name]).fetchone() for name in accounts if name.startswith("@")
        }
        assert conn.execute("SELECT count(*) FROM dead_letter").fetchone() == (0,)
        advances = {row[0]: row for row in conn.execute(SELECT_ADVANCES)}
        instalments = defaultdict(list)
        for advance_id, *instalment in conn.execute(SELECT_INSTALMENTS):
            instalments[advance_id].append(tuple(instalment))
        holds = {row[0]: row for row in conn.execute(SELECT_HOLDS)}
        reversals: dict[int, int] = dict(conn.execute("SELECT reverses, position FROM reversal").fetchall())
        scope = Scope(True, 0, 2**62, (), clock.now(), None, Limits(rules=Rules()), {})
        breaks = [found for proof in PROOFS for found in proof.check(conn, replace(scope, memory={}))]

    _every_receipt_has_its_command(log, receipts)
    _every_command_has_an_outcome(log)
    _lines_were_kept(log)
    _chains_are_gapless(transfers, accounts)
    _sums_are_right(transfers, accounts, system_totals)
    books = _the_rules_say_the_same(log, transfers)
    _the_books_are_the_same(books, accounts, advances, instalments)
    _what_is_on_hold_and_was_reversed_is_the_same(books, holds, reversals)
    assert not breaks, breaks
    return Verdict(
        Counter((row[1], row[13] or row[12]) for row in log),
        {name: each[3] - each[4] for name, each in accounts.items() if each[0] == "customer"},
    )


def _every_receipt_has_its_command(log: list[tuple[Any, ...]], receipts: tuple[Mapping[str, Receipt], ...]) -> None:
    """Nothing accepted is lost, and nothing is there that nobody was promised or the scheduler sent."""
    promised = {key: receipt for each in receipts for key, receipt in each.items()}
    kept = {row[11]: Receipt(row[10], row[0]) for row in log if row[14]}
    assert len(kept) == sum(row[14] != 0 for row in log), "a key names two commands"
    assert kept == promised
    assert all((row[14] == 0) == (row[1] in ("collect", "expire_hold")) for row in log)


def _every_command_has_an_outcome(log: list[tuple[Any, ...]]) -> None:
    assert Counter(row[12] for row in log).keys() <= {"applied", "refused"}


def _lines_were_kept(log: list[tuple[Any, ...]]) -> None:
    """Commands that touch one account were decided in the order of their receipts, refusals among them."""
    last: dict[str, int] = {}
    for position, _, *names in (row[:5] for row in log):
        for name in names:
            if name is not None:
                assert last.get(name, 0) < position, f"{position} was decided after {last[name]} on {name}"
                last[name] = position


def _chains_are_gapless(
    transfers: Mapping[int, list[tuple[Any, ...]]], accounts: Mapping[str, tuple[Any, ...]]
) -> None:
    """Versions count an account's transfers, in the order of positions, and each balance follows from the last."""
    version: Counter[str] = Counter()
    balance: Counter[str] = Counter()
    for position in sorted(transfers):
        for _, amount, _, *sides in transfers[position]:
            for sign, (name, version_after, balance_after) in ((-1, sides[:3]), (1, sides[3:])):
                if name.startswith("@"):
                    assert (version_after, balance_after) == (None, None)
                    continue
                version[name] += 1
                balance[name] += sign * amount
                assert (version_after, balance_after) == (version[name], balance[name]), f"{position} on {name}"
    for name, (kind, _, last_version, credits_, debits, *_) in accounts.items():
        if kind == "customer":
            assert (last_version, credits_ - debits) == (version[name], balance[name]), name


def _sums_are_right(
    transfers: Mapping[int, list[tuple[Any, ...]]],
    accounts: Mapping[str, tuple[Any, ...]],
    system_totals: Mapping[str, Any],
) -> None:
    """Every total is the sum of its transfers, the checkpoints of the bank's own as well; currencies sum up to zero."""
    credits_: Counter[str] = Counter()
    debits: Counter[str] = Counter()
    for each in transfers.values():
        for _, amount, currency, debit, _, _, credit, _, _ in each:
            debits[debit] += amount
            credits_[credit] += amount
            assert accounts[debit][1] == accounts[credit][1] == currency
    sums: Counter[str] = Counter()
    for name, (kind, currency, _, credits_minor, debits_minor, *_) in accounts.items():
        totals = (credits_minor, debits_minor) if kind == "customer" else system_totals[name]
        assert totals == (credits_[name], debits[name]), name
        sums[currency] += totals[0] - totals[1]
    assert not any(sums.values()), sums


def _the_rules_say_the_same(log: list[tuple[Any, ...]], transfers: Mapping[int, list[tuple[Any, ...]]]) -> Books:
    """One after the other, in the order of the log, without a database: the same answers and transfers."""
    books = Books.of([])
    for decided_at, batch in groupby(log, key=lambda row: row[15]):
        rows = list(batch)
        decided = decide(books, [_command(row) for row in rows], now=decided_at, rules=Rules())
        for row, outcome in zip(rows, decided.outcomes, strict=True):
            assert (row[12], row[13]) == (outcome.status.value, outcome.reason and outcome.reason.value), row
            assert transfers.get(row[0], []) == [
                (
                    *(each.kind.value, each.amount_minor, each.currency),
                    *(each.debit.account, each.debit.version, each.debit.balance_minor),
                    *(each.credit.account, each.credit.version, each.credit.balance_minor),
                )
                for each in outcome.transfers
            ], row
        books = as_read_next(books, decided)
    return books


def _command(row: tuple[Any, ...]) -> Command:
    return PendingRow(*row[:10], *row[16:]).command()


def _the_books_are_the_same(
    books: Books,
    accounts: Mapping[str, tuple[Any, ...]],
    advances: Mapping[int, tuple[Any, ...]],
    instalments: Mapping[int, list[tuple[Any, ...]]],
) -> None:
    """What the rules lead to is what is written down: accounts, advances, and each of their instalments."""
    assert {name: each for name, each in accounts.items() if each[0] == "customer"} == {
        each.name: (
            *("customer", each.currency, each.version, each.credits_minor, each.debits_minor),
            *(each.revision, each.status.value, each.held_minor, each.forced_minor),
            *(each.overdraft_limit_minor, each.overdraft_fee_minor, *_day(each.daily)),
        )
        for each in books.accounts.values()
    }
    assert advances == {
        each.id: (
            *(each.id, each.account, each.currency, each.amount_minor, each.first_due_on, each.count),
            *(each.paid_minor, each.written_off_minor, each.state.value, each.version),
        )
        for each in books.advances.values()
    }
    assert instalments == {
        advance.id: [
            (
                *(each.number, each.due_on, each.amount_minor, each.rolled_minor, each.paid_minor, each.state.value),
                *(each.settled_by, each.attempts, each.failed_at),
            )
            for each in advance.instalments
        ]
        for advance in books.advances.values()
    }
    for advance in books.advances.values():
        assert accounted_minor(advance.instalments) == advance.amount_minor, advance


def _day(daily: Daily) -> tuple[Any, ...]:
    """The limits of a day as they are stored: none, and no day before its first debit."""
    if not daily.is_limited:
        return (None,) * 5
    used = (daily.on, daily.used, daily.used_minor) if daily.used else (None,) * 3
    return (daily.count, daily.amount_minor, *used)


def _what_is_on_hold_and_was_reversed_is_the_same(
    books: Books, holds: Mapping[int, tuple[Any, ...]], reversals: Mapping[int, int]
) -> None:
    """Each hold, however it ended, and each reversal with what it reversed."""
    assert holds == {
        each.id: (
            *(each.id, each.account, each.currency, each.amount_minor, each.expires_at, each.state.value),
            *(each.captured_minor, each.settled_by, each.attempts),
        )
        for each in books.holds.values()
    }
    assert reversals == {each.position: each.reversed_by for each in books.done.values() if each.reversed_by}
