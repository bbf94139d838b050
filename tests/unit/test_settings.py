"""What a process is told from outside: a mistake stops the start, and says which one it was."""

import os
import re
from collections.abc import Iterator
from typing import Final
from zoneinfo import ZoneInfo

import pytest

from processor.domain.rules import Bounds, Overdraft, Rules
from processor.errors import SettingsError
from processor.settings import settings

PREFIX: Final = "the environment is not as it should be: "


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """A process that was told the two addresses and nothing else."""
    for name in [name for name in os.environ if name.startswith("FLORIN_")]:
        monkeypatch.delenv(name)
    monkeypatch.delenv("PROMETHEUS_MULTIPROC_DIR", raising=False)
    monkeypatch.setenv("DATABASE_URL", "postgresql://florin_app:hidden@localhost/florin")
    monkeypatch.setenv("REDIS_URL", "redis://:hidden@localhost/0")
    settings.cache_clear()
    yield monkeypatch
    settings.cache_clear()


def test_the_addresses_are_enough_to_start() -> None:
    """Everything else has a default that is safe."""
    assert settings().database_url.get_secret_value() == "postgresql://florin_app:hidden@localhost/florin"
    assert settings().redis_url.get_secret_value() == "redis://:hidden@localhost/0"


@pytest.mark.parametrize("name", ["DATABASE_URL", "REDIS_URL"])
def test_a_missing_address_stops_the_start_and_is_named(name: str, environment: pytest.MonkeyPatch) -> None:
    """A default would be somebody else's database."""
    environment.delenv(name)

    with pytest.raises(SettingsError, match=rf"\b{name}: Field required"):
        settings()


def test_everything_that_is_wrong_is_named_at_once(environment: pytest.MonkeyPatch) -> None:
    """Whoever sets up a machine starts the process twice, not once for each mistake."""
    environment.delenv("REDIS_URL")
    environment.setenv("FLORIN_MAX_BACKLOG", "many")
    environment.setenv("FLORIN_WORKER_THREADS", "0")

    with pytest.raises(SettingsError) as error:
        settings()
    named = [each.strip().split(":")[0] for each in str(error.value).removeprefix(PREFIX).split(";")]
    assert named == ["REDIS_URL", "FLORIN_MAX_BACKLOG", "FLORIN_WORKER_THREADS"]


def test_a_setting_is_read_from_its_variable(environment: pytest.MonkeyPatch) -> None:
    """FLORIN_ and the name of the field, and no other spelling."""
    environment.setenv("FLORIN_GROUP_SIZE", "7")
    environment.setenv("GROUP_SIZE", "8")

    assert settings().group_size == 7


def test_no_password_is_shown(environment: pytest.MonkeyPatch) -> None:
    """Settings end up in logs and in tracebacks."""
    shown = repr(settings()) + str(settings())
    settings.cache_clear()
    environment.setenv("FLORIN_GROUP_SIZE", "x")

    with pytest.raises(SettingsError) as error:
        settings()
    assert "hidden" not in shown + str(error.value)


def test_the_environment_is_read_once(environment: pytest.MonkeyPatch) -> None:
    """A process does not change its mind halfway."""
    before = settings()
    environment.setenv("FLORIN_GROUP_SIZE", "7")

    assert settings() is before


# The rules that a bank may set.


def test_the_rules_are_read_from_the_environment(environment: pytest.MonkeyPatch) -> None:
    """Amounts in the currency's own decimals, the zone by its name."""
    environment.setenv("FLORIN_BUSINESS_ZONE", "Europe/Prague")
    environment.setenv("FLORIN_MAX_LIVE_ADVANCES", "3")
    environment.setenv("FLORIN_ADVANCE_BOUNDS", '{"USD": ["10.00", "5000.00"], "JPY": ["1000", "500000"]}')
    environment.setenv("FLORIN_PARTIAL_COLLECTION", "true")

    assert settings().rules() == Rules(
        zone=ZoneInfo("Europe/Prague"),
        max_live_advances=3,
        bounds={("advance", "USD"): Bounds(1_000, 500_000), ("advance", "JPY"): Bounds(1_000, 500_000)},
        partial_collection=True,
    )


def test_amounts_are_bounded_by_type_and_currency(environment: pytest.MonkeyPatch) -> None:
    """Those of advances have a variable of their own, from before there were others: neither undoes the other."""
    environment.setenv("FLORIN_ADVANCE_BOUNDS", '{"USD": ["10.00", "5000.00"]}')
    environment.setenv(
        "FLORIN_AMOUNT_BOUNDS",
        '{"withdraw": {"USD": ["1.00", "500.00"], "KWD": ["0.001", "1"]}, "place_hold": {"JPY": ["5", "5"]}}',
    )

    assert settings().rules().bounds == {
        ("advance", "USD"): Bounds(1_000, 500_000),
        ("withdraw", "USD"): Bounds(100, 50_000),
        ("withdraw", "KWD"): Bounds(1, 1_000),
        ("place_hold", "JPY"): Bounds(5, 5),
    }


def test_new_accounts_may_have_an_overdraft_by_default(environment: pytest.MonkeyPatch) -> None:
    """Limit and fee; either may be zero."""
    environment.setenv("FLORIN_OVERDRAFT_DEFAULTS", '{"USD": ["100.00", "15.00"], "JPY": ["1000", "0"]}')

    assert settings().rules().overdrafts == {"USD": Overdraft(10_000, 1_500), "JPY": Overdraft(1_000, 0)}


def test_without_settings_the_rules_are_those_of_the_domain() -> None:
    """UTC, one advance at a time, no bounds, no overdraft, in full or not at all."""
    assert settings().rules() == Rules(zone=ZoneInfo("UTC"))


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("BUSINESS_ZONE", "Mars/Olympus", "no time zone 'Mars/Olympus': give an IANA name such as UTC"),
        ("BUSINESS_ZONE", "../etc/passwd", "no time zone"),
        ("BUSINESS_ZONE", "", "no time zone"),
        ("MAX_LIVE_ADVANCES", "0", "greater than 0"),
        ("ADVANCE_BOUNDS", '{"USD": ["20.00", "10.00"]}', "USD: 20.00 is above 10.00"),
        ("ADVANCE_BOUNDS", '{"XXX": ["1", "2"]}', "unknown currency 'XXX'"),
        ("ADVANCE_BOUNDS", '{"USD": ["1.001", "2"]}', "USD has at most 2 decimals"),
        ("ADVANCE_BOUNDS", '{"USD": ["1"]}', "Field required"),
        ("ADVANCE_BOUNDS", "ten dollars", "FLORIN_ADVANCE_BOUNDS: Invalid JSON"),
        ("AMOUNT_BOUNDS", '{"withdraw": {"USD": ["20.00", "10.00"]}}', "USD: 20.00 is above 10.00"),
        ("AMOUNT_BOUNDS", '{"withdraw": {"USD": ["0", "10.00"]}}', "the amount must be above zero"),
        (
            "AMOUNT_BOUNDS",
            '{"withdrawal": {"USD": ["1.00", "10.00"]}}',
            "withdrawal: bounds are for deposit, withdraw, transfer, place_hold; "
            "those of advances are FLORIN_ADVANCE_BOUNDS",
        ),
        ("AMOUNT_BOUNDS", '{"advance": {"USD": ["1.00", "10.00"]}}', "those of advances are FLORIN_ADVANCE_BOUNDS"),
        ("AMOUNT_BOUNDS", '{"USD": ["1.00", "10.00"]}', "FLORIN_AMOUNT_BOUNDS: Input should be a valid dictionary"),
        ("OVERDRAFT_DEFAULTS", '{"USD": ["100.00", "-1"]}', "not an amount"),
        ("OVERDRAFT_DEFAULTS", '{"USD": ["100.00"]}', "Field required"),
        ("OVERDRAFT_DEFAULTS", '{"XXX": ["1", "1"]}', "unknown currency 'XXX'"),
        ("OVERDRAFT_DEFAULTS", '{"JPY": ["1.5", "1"]}', "JPY has no decimals"),
    ],
)
def test_a_rule_that_makes_no_sense_stops_the_start(
    name: str, value: str, words: str, environment: pytest.MonkeyPatch
) -> None:
    """Better no worker than one that lends by other rules than its neighbours."""
    environment.setenv(f"FLORIN_{name}", value)

    with pytest.raises(SettingsError, match=re.escape(words)):
        settings()
