"""Amounts at the edge: what a client may write, what it is told when it may not, and what it reads."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from processor.domain.commands import MAX_AMOUNT_MINOR
from processor.money import EXPONENTS, exponent, format_amount, parse_amount

currencies = st.sampled_from(sorted(EXPONENTS))


@given(amount_minor=st.integers(1, MAX_AMOUNT_MINOR), currency=currencies)
def test_what_is_shown_can_be_sent(amount_minor: int, currency: str) -> None:
    """A client that sends back what it was shown moves exactly that, in every currency of the world."""
    assert parse_amount(format_amount(amount_minor, currency), currency) == amount_minor


@given(amount_minor=st.integers(1, MAX_AMOUNT_MINOR), currency=currencies)
def test_a_debt_is_shown_as_the_amount_with_a_minus(amount_minor: int, currency: str) -> None:
    """Also the digits after a minus below one unit: -0.05 is not -.5 and not 0.05."""
    assert format_amount(-amount_minor, currency) == f"-{format_amount(amount_minor, currency)}"


@given(text=st.text(alphabet="0123456789.,-+eE _x", max_size=20), currency=currencies)
def test_any_text_is_an_amount_or_a_sentence_that_says_why_not(text: str, currency: str) -> None:
    """Nothing else comes out, and what is accepted means the same number to whoever reads the string."""
    try:
        shown = format_amount(parse_amount(text, currency), currency)
    except ValueError as error:
        said = str(error)
        shown = ""
    else:
        said = ""

    assert (shown != "" and shown.startswith(text) and float(shown) == float(text)) != (len(said) > 10)


@pytest.mark.parametrize(
    ("text", "currency", "amount_minor"),
    [
        ("10.50", "USD", 1_050),
        ("10.5", "USD", 1_050),
        ("10", "USD", 1_000),
        ("0.01", "USD", 1),
        ("1050", "JPY", 1_050),
        ("1.050", "KWD", 1_050),
        ("0.0001", "CLF", 1),
        ("90071992547409.91", "USD", MAX_AMOUNT_MINOR),
        ("9007199254740991", "JPY", MAX_AMOUNT_MINOR),
    ],
)
def test_amounts_are_read_in_the_exponent_of_their_currency(text: str, currency: str, amount_minor: int) -> None:
    """The same digits are another amount of money in dollars, yen and dinars."""
    assert parse_amount(text, currency) == amount_minor


@pytest.mark.parametrize(
    ("text", "currency", "said"),
    [
        ("10.505", "USD", 'USD has at most 2 decimals: give a string such as "10.50"'),
        ("10.0", "JPY", 'JPY has no decimals: give a string such as "1050"'),
        ("1.0500", "KWD", 'KWD has at most 3 decimals: give a string such as "10.500"'),
        ("0", "USD", "the amount must be above zero"),
        ("0.00", "USD", "the amount must be above zero"),
        ("90071992547409.92", "USD", "the amount is above the largest, 90071992547409.91 USD"),
        ("999999999999999999", "USD", "the amount is above the largest, 90071992547409.91 USD"),
        ("9007199254740992", "JPY", "the amount is above the largest, 9007199254740991 JPY"),
        ("1", "usd", "unknown currency 'usd': give an ISO 4217 code such as USD, JPY or KWD"),
        ("1", "ABC", "unknown currency 'ABC': give an ISO 4217 code such as USD, JPY or KWD"),
        ("1", "XAU", "unknown currency 'XAU': give an ISO 4217 code such as USD, JPY or KWD"),
        ("1", "", "unknown currency '': give an ISO 4217 code such as USD, JPY or KWD"),
    ],
)
def test_an_amount_that_cannot_be_taken_is_answered_with_what_to_send(text: str, currency: str, said: str) -> None:
    """Whoever reads the error of an integration must not need our source to mend it."""
    with pytest.raises(ValueError) as error:  # noqa: PT011 - the whole message is compared
        parse_amount(text, currency)
    assert str(error.value) == said


@pytest.mark.parametrize(
    "text",
    [
        *("", " ", "-1", "+1", "-0.01", "01", "00", "1.", ".5", ".", "1,000", "1 000", "1_000", "1e3", "0x10"),
        *("NaN", "Infinity", "1.0.0", " 1", "1 ", "1\n", "$1", "1.0000001", "1" * 19, "1" * 5_000),
        *("\u0661", "\uff11", "1\u0660", "1.\u0661", "\u00b2"),
    ],
)
def test_only_plain_ascii_digits_are_an_amount(text: str) -> None:
    """What a lenient parser would guess at is money: nothing is guessed, and no digit of another script is read."""
    with pytest.raises(ValueError, match=r'^not an amount: give a positive decimal string such as "10\.50"$'):
        parse_amount(text, "USD")


@pytest.mark.parametrize(("text", "currency"), [("0", "USD"), ("0.00", "USD"), ("0", "JPY"), ("0.000", "KWD")])
def test_zero_is_an_amount_where_it_is_asked_for(text: str, currency: str) -> None:
    """An overdraft limit of nothing is a limit."""
    assert parse_amount(text, currency, zero=True) == 0


@pytest.mark.parametrize(
    ("amount_minor", "currency", "text"),
    [
        (0, "USD", "0.00"),
        (5, "USD", "0.05"),
        (-5, "USD", "-0.05"),
        (1_050, "KWD", "1.050"),
        (0, "JPY", "0"),
        (-7, "JPY", "-7"),
        (-(2**63), "USD", "-92233720368547758.08"),
    ],
)
def test_an_amount_is_shown_with_all_decimals_of_its_currency(amount_minor: int, currency: str, text: str) -> None:
    """Balances may be zero, below zero, and larger than any one command."""
    assert format_amount(amount_minor, currency) == text


def test_a_currency_without_decimals_of_its_own_is_unknown() -> None:
    """Gold and the 'no currency' code have no minor unit to count in."""
    assert [exponent(each) for each in ("JPY", "USD", "KWD", "CLF")] == [0, 2, 3, 4]
    assert not EXPONENTS.keys() & {"XAU", "XXX", "XTS"}


def test_no_currency_changes_its_decimals_unnoticed() -> None:
    """
    Stored amounts are whole minor units: another exponent in a newer list would make each of them another sum of money.

    When the library's list changes, look at what changed, and migrate the amounts of that currency first.
    """
    decimals = {count: sorted(code for code, decimals in EXPONENTS.items() if decimals == count) for count in (0, 3, 4)}

    assert " ".join(decimals[0]) == "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF"
    assert " ".join(decimals[3]) == "BHD IQD JOD KWD LYD OMR TND"
    assert " ".join(decimals[4]) == "CLF UYW"
    assert len(EXPONENTS) >= 165
