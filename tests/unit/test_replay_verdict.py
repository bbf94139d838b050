"""The verdict is only worth something if every way of being wrong changes it."""

from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal
from typing import Any, Final, Literal

import pytest

from cli.client import Account, Outcome, Receipt
from cli.replaying.sending import Replayed
from cli.replaying.transactions import Transaction
from cli.replaying.verdict import Verdict, document, judge, sentences

APPLIED: Final = Outcome("applied", None)


def a_transaction(id_: str, account: str, amount_minor: int) -> Transaction:
    type_: Literal["deposit", "withdraw"] = "deposit" if amount_minor > 0 else "withdraw"
    return Transaction(int(id_) + 1, id_, account, type_, abs(amount_minor), "1993-01-01")


TRANSACTIONS: Final = [
    a_transaction("1", "ann", 10_000),
    a_transaction("2", "bob", 5_000),
    a_transaction("3", "ann", -2_550),
    a_transaction("4", "bob", -6_000),
]


def a_replay(**changes: Any) -> Replayed:
    """Everything was new and was applied once: ann has 74.50, bob -10.00."""
    good = Replayed(
        receipts={each.id: Receipt(10 + int(each.id), replayed=False) for each in TRANSACTIONS},
        outcomes={10 + int(each.id): APPLIED for each in TRANSACTIONS},
        accounts=accounts(),
        seconds=0.5,
    )
    return replace(good, **changes)


def accounts(**changes: Account | None) -> Mapping[str, Account | None]:
    return {"ann": Account("CZK", "74.50", 2), "bob": Account("CZK", "-10.00", 2), **changes}


def verdict_of(replayed: Replayed) -> Verdict:
    return judge(TRANSACTIONS, replayed, "CZK")


def test_what_was_applied_once_adds_up() -> None:
    """The numbers that a person wants to see, in the words of the file."""
    verdict = verdict_of(a_replay())

    assert verdict.adds_up
    assert list(sentences(verdict)) == [
        "4 sent = 4 accepted + 0 replayed = 4 settled (4 applied, 0 refused)",
        "0 twice: the version of an account counts its transfers, and no account has more than the file gave it",
        "expected total of all balances 64.50 CZK, actual total 64.50 CZK",
        "2 of 2 accounts hold the plain sum of their applied transactions",
        "8 settled per second, 0.5 s from the first request to the last outcome",
        "Everything adds up.",
    ]


def test_a_second_run_says_that_all_were_replays() -> None:
    """It changed nothing, so it has no speed either."""
    receipts = {each.id: Receipt(10 + int(each.id), replayed=True) for each in TRANSACTIONS}
    verdict = verdict_of(a_replay(receipts=receipts))

    assert verdict.adds_up
    assert (verdict.accepted, verdict.replayed, verdict.settled_per_second) == (0, 4, None)
    assert "every transaction was a replay: nothing was changed" in list(sentences(verdict))


def test_a_refusal_is_an_answer_that_moves_nothing() -> None:
    """Expected is the sum of what was applied: the refused withdrawal of bob is not in it."""
    refused = {**a_replay().outcomes, 14: Outcome("refused", "insufficient_funds")}
    verdict = verdict_of(a_replay(outcomes=refused, accounts=accounts(bob=Account("CZK", "50.00", 1))))

    assert verdict.adds_up
    assert next(sentences(verdict)) == (
        "4 sent = 4 accepted + 0 replayed = 4 settled (3 applied, 1 refused for insufficient_funds)"
    )


@pytest.mark.parametrize(
    ("ann", "words"),
    [
        (
            Account("CZK", "174.50", 3),
            "3 transfers for 2 applied transactions, balance 174.50 CZK where their sum is 74.50",
        ),
        (Account("CZK", "100.00", 1), "1 transfers for 2 applied transactions, balance 100.00 CZK where their sum is"),
        (Account("CZK", "74.49", 2), "2 transfers for 2 applied transactions, balance 74.49 CZK where their sum is"),
        (Account("CZK", "74.50", 4), "4 transfers for 2 applied transactions, balance 74.50 CZK where their sum is"),
        (Account("USD", "74.50", 2), "there is no such account in CZK"),
        (None, "there is no such account in CZK"),
    ],
    ids=["applied twice", "not applied", "another amount", "there and back", "another currency", "no account"],
)
def test_an_account_that_differs_is_named(ann: Account | None, words: str) -> None:
    """Each way in which an account can be wrong is seen, even where the totals or the counts agree."""
    verdict = verdict_of(a_replay(accounts=accounts(ann=ann)))

    said = list(sentences(verdict))
    assert not verdict.adds_up
    assert any(line.startswith(f"account ann: {words}") for line in said)
    assert said[-1] == "It does not add up."


def test_two_errors_that_cancel_out_in_the_total_are_seen() -> None:
    """What one account lost and another found is wrong twice, not right."""
    swapped = accounts(ann=Account("CZK", "73.50", 2), bob=Account("CZK", "-9.00", 2))
    verdict = verdict_of(a_replay(accounts=swapped))

    assert verdict.expected_minor == verdict.actual_minor
    assert not verdict.adds_up


def test_more_transfers_than_the_file_has_are_explained() -> None:
    """They may be another command's, so 'twice' is neither claimed nor denied."""
    verdict = verdict_of(a_replay(accounts=accounts(ann=Account("CZK", "75.50", 3))))

    assert "1 transfers on the accounts are more than this file's" in list(sentences(verdict))
    assert any("Either other commands" in line for line in sentences(verdict))
    assert (document(verdict)["twice"], document(verdict)["surplus_transfers"]) == (None, 1)


def test_two_transactions_with_one_receipt_do_not_add_up() -> None:
    """One of them was taken for the other and left out."""
    receipts = {**a_replay().receipts, "4": Receipt(13, replayed=False)}
    verdict = verdict_of(a_replay(receipts=receipts))

    assert (verdict.commands, verdict.adds_up) == (3, False)
    assert any("share a receipt" in line for line in sentences(verdict))


def test_a_command_that_failed_does_not_add_up() -> None:
    """A dead letter is nothing that the file asked for, though no money went astray."""
    failed = {**a_replay().outcomes, 13: Outcome("failed", "internal_error")}
    verdict = verdict_of(a_replay(outcomes=failed, accounts=accounts(ann=Account("CZK", "100.00", 1))))

    assert "(3 applied, 0 refused, 1 failed)" in next(sentences(verdict))
    assert (verdict.settled, verdict.adds_up) == (4, False)


def test_amounts_stay_whole_where_a_float_would_not() -> None:
    """2**53 haleru and one more are two different totals."""
    largest = 2**53 - 1
    transactions = [a_transaction(str(n), "ann", largest) for n in range(1, 1_001)]
    total = f"{Decimal(1_000 * largest).scaleb(-2):f}"
    replayed = Replayed(
        receipts={each.id: Receipt(int(each.id), replayed=False) for each in transactions},
        outcomes={int(each.id): APPLIED for each in transactions},
        accounts={"ann": Account("CZK", total, 1_000)},
        seconds=1.0,
    )
    verdict = judge(transactions, replayed, "CZK")

    assert verdict.adds_up
    assert document(verdict)["actual_total"] == total == "90071992547409910.00"
