"""The names of accounts in a journal: what other programs take, one for each account, and ours can be read back."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from processor.journal.naming import journal_name, read_name

NAMES = st.text("Aaz09-._:dcu", min_size=1, max_size=64)


@given(name=NAMES)
def test_a_name_is_one_that_beancount_takes_and_is_read_back(name: str) -> None:
    """Read back means that no two accounts share one."""
    written = journal_name("customer", "USD", name)

    assert re.fullmatch("Liabilities:Customers:[A-Z0-9][A-Za-z0-9-]*", written)
    assert read_name(written) == name


@pytest.mark.parametrize("kind", ["settlement", "fee_income", "advances_receivable", "suspense", "credit_loss"])
def test_the_banks_own_accounts_have_names_too(kind: str) -> None:
    """Every kind has its place."""
    assert read_name(journal_name(kind, "JPY", f"@{kind}:JPY")) == f"@{kind}:JPY"


@pytest.mark.parametrize(
    "written",
    ["Liabilities:Customers:USD-a-x", "Liabilities:Customers:USD", "Equity:Opening-Balances", "Assets:Cash:USD"],
)
def test_a_name_that_we_never_wrote_is_not_read(written: str) -> None:
    """Better nothing than somebody else's account."""
    with pytest.raises(ValueError, match="no account is called"):
        read_name(written)
