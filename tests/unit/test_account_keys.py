"""The lock key of an account: workers of any machine and any release must mean the same lock by it."""

import subprocess
import sys

from hypothesis import given
from hypothesis import strategies as st

from processor.account_keys import account_key

names = st.from_regex(r"[A-Za-z0-9._:-]{1,64}", fullmatch=True)


def test_the_key_of_a_name_never_changes() -> None:
    """Two releases run side by side during a deployment. Keys that differ would let both decide on one account."""
    assert {name: account_key(name) for name in ("alice", "bob", "@settlement:USD")} == {
        "alice": 5614559425216174729,
        "bob": 8427126794534429842,
        "@settlement:USD": -6025186164884387166,
    }


def test_another_process_computes_the_same_key() -> None:
    """Python salts its own hash() in each process; a lock that only one worker knows locks nothing."""
    program = "from processor.account_keys import account_key; print(account_key('alice'))"
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout

    assert int(said) == account_key("alice")


@given(name=names)
def test_every_key_is_a_bigint(name: str) -> None:
    """Postgres's advisory locks take a signed 64-bit number and nothing larger."""
    assert -(2**63) <= account_key(name) < 2**63


@given(some=st.sets(names, min_size=2, max_size=50))
def test_other_names_have_other_keys(some: set[str]) -> None:
    """A shared key is correct and costs waiting; were it common, unrelated customers would queue for each other."""
    assert len({account_key(name) for name in some}) == len(some)
