"""API keys: their form, and what is kept of them."""

import hashlib
import hmac
from unittest.mock import Mock

import pytest

from processor.keys import ADMIN, OPS, READ, SCOPES, WRITE, Client, generate, matches, prefix_of

KEY = "florin_dev00000_" + "s" * 43


def test_a_new_key_has_256_random_bits_and_a_public_part() -> None:
    """No two are alike, and the part that is shown in lists says nothing about the secret."""
    made = [generate() for _ in range(200)]

    assert len({key.split("_", 2)[2] for key in made}) == len({prefix_of(key) for key in made}) == 200
    assert all(prefix_of(key) == key.split("_")[1] for key in made)
    assert all(len(key.split("_", 2)[2]) == 43 for key in made)


def test_a_secret_may_contain_underscores() -> None:
    """The alphabet of the secret has them: one key in two has one."""
    assert prefix_of("florin_abcdefgh_" + "_" * 43) == "abcdefgh"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "florin__" + "s" * 43,
        "florin_short_" + "s" * 43,
        "florin_" + "p" * 33 + "_" + "s" * 43,
        "florin_dev00000_" + "s" * 42,
        "florin_dev00000_" + "s" * 44,
        "Florin_dev00000_" + "s" * 43,
        "florin_dev-0000_" + "s" * 43,
        "florin_dev0000\u0660_" + "s" * 43,
        KEY + "\n",
        " " + KEY,
        "florin_dev00000_" + "\x00" * 43,
    ],
)
def test_anything_else_is_no_key(text: str) -> None:
    """It is turned away before the database is asked, and never reaches it."""
    assert prefix_of(text) is None


def test_a_key_matches_its_own_hash_only() -> None:
    """One character more, less or other is another key."""
    digest = hashlib.sha256(KEY.encode()).digest()

    assert matches(KEY, digest)
    assert not any(matches(other, digest) for other in (KEY[:-1], KEY + "s", KEY[:-1] + "t", "", KEY.upper()))


def test_keys_are_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Time that depends on the first difference would tell the hash digit by digit."""
    compared = Mock(return_value=True)
    monkeypatch.setattr(hmac, "compare_digest", compared)

    assert matches(KEY, b"stored")
    compared.assert_called_once_with(hashlib.sha256(KEY.encode()).digest(), b"stored")


@pytest.mark.parametrize(
    ("has", "may"),
    [
        ({WRITE}, {WRITE}),
        ({READ}, {READ}),
        ({OPS}, {OPS}),
        ({READ, WRITE}, {READ, WRITE}),
        ({ADMIN}, set(SCOPES)),
    ],
)
def test_a_client_may_do_what_its_scopes_say(has: set[str], may: set[str]) -> None:
    """A key for reports moves no money; an administrator's may do everything."""
    client = Client(1, "acme", frozenset(has))

    assert {scope for scope in SCOPES if client.may(scope)} == may
