"""The documented table of refusals is what the rules give, in the order in which they are checked."""

import inspect
from collections.abc import Callable
from typing import Any, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from api_min import refusals
from api_min.refusals import ALL_TYPES, ANY, PAGE, reasons_of, rules
from processor.domain import holding, life, payments
from processor.domain.books import Books
from processor.domain.commands import Command
from processor.domain.decide import decide
from processor.domain.outcomes import Reason
from processor.domain.rules import Bounds, Rules
from tests.builders import NOON, RULES, any_books, command_lists

RULE_OF: Final = rules()
MAY_ANSWER: Final = {
    inspect.signature(rule, eval_str=True).parameters["command"].annotation: reasons_of(rule)
    for rule in RULE_OF.values()
}
STRICT: Final = Rules(
    bounds={(type_, "USD"): Bounds(60, 200) for type_ in ("deposit", "withdraw", "transfer", "place_hold", "advance")},
    max_live_advances=2,
    partial_collection=True,
)


def test_the_page_is_what_the_rules_say() -> None:
    """Whoever writes a client reads the page: write it anew with ``python -m api_min.refusals``."""
    text = PAGE.read_text()

    assert refusals.table() in text
    assert refusals.page(text) == text


def test_every_reason_answers_some_command() -> None:
    """One that nobody gives any more is a promise without a rule."""
    given = {reason for rule in RULE_OF.values() for reason in reasons_of(rule)}

    assert given | set(ANY) == set(Reason)
    assert not given & set(ANY)


@pytest.mark.parametrize("type_", ALL_TYPES)
def test_reasons_are_checked_in_the_order_of_the_table(type_: str) -> None:
    """The first that holds is the answer: a client that mends one may rely on what comes before it."""
    places = [list(Reason).index(reason) for reason in reasons_of(RULE_OF[type_])]

    assert places == sorted(places)


@pytest.mark.parametrize(
    ("rule", "reasons"),
    [
        (life.decide_open_account, {"account_already_exists"}),
        (holding.decide_release_hold, {"account_not_found", "hold_not_found", "currency_mismatch", "hold_not_open"}),
        (
            payments.decide_adjust,
            {
                *("account_not_found", "currency_mismatch", "account_not_open", "insufficient_funds"),
                "balance_limit_exceeded",
            },
        ),
    ],
    ids=lambda value: value.__name__ if callable(value) else "",
)
def test_the_reasons_of_a_rule_are_read_from_it_and_from_what_it_calls(
    rule: Callable[..., Any], reasons: set[str]
) -> None:
    """Written here by hand once, so that the reader of the rules cannot quietly read nothing."""
    assert {reason.value for reason in reasons_of(rule)} == reasons


@settings(max_examples=200, deadline=None)
@given(books=any_books(), commands=command_lists(), with_rules=st.sampled_from((RULES, STRICT)))
def test_no_command_is_refused_for_a_reason_that_the_table_does_not_have(
    books: Books, commands: list[Command], with_rules: Rules
) -> None:
    """Whatever way a reason takes through the code."""
    outcomes = decide(books, commands, now=NOON, rules=with_rules).outcomes

    for command, outcome in zip(commands, outcomes, strict=True):
        assert outcome.reason is None or outcome.reason in MAY_ANSWER[type(command)]
