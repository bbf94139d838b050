"""What a process is told from outside: a mistake stops the start, and says which one it was."""

import os
from collections.abc import Iterator
from typing import Final

import pytest

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
