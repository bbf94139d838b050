"""`florin keys` and `florin migrate` on a real database, as an operator runs them."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from cli import instance
from cli.main import app
from cli.servers import LocalServers
from processor import keys, pools
from tests.conftest import Database
from tests.stack import new_database

NOWHERE = "postgresql://florin_app:secret-word@127.0.0.1:1/florin"
MISSPELT = "postgresql:/florin_app:secret-word@127.0.0.1:1/florin"


@pytest.fixture(autouse=True)
def _no_stack(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the environment of the tests names is not what these commands may use."""
    for name in ("DATABASE_URL", "DATABASE_OWNER_URL", "FLORIN_API", "FLORIN_API_KEY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def empty_database(servers: LocalServers, _application_password: str) -> Iterator[dict[str, str]]:
    """The environment that names a database without any table."""
    with new_database(servers, "template1", _application_password) as (owner_url, app_url):
        yield {"DATABASE_OWNER_URL": owner_url, "DATABASE_URL": app_url}


def florin(*arguments: str, **environment: str) -> Result:
    """Run the command line in this process."""
    return CliRunner().invoke(app, arguments, env=environment)


def live(database: Database) -> dict[str, list[str]]:
    """The scopes of each client's live keys."""
    with pools.connect(database.app_url, "florin test") as conn:
        return {row.client: sorted(row.scopes) for row in keys.listed(conn) if row.revoked_at is None}


def test_a_new_key_is_the_whole_of_standard_output(database: Database) -> None:
    """It can be piped into a secret store, and the warning for people does not go along."""
    result = florin("keys", "create", "payroll", "--scopes", "commands:write, read", DATABASE_URL=database.app_url)

    assert result.exit_code == 0, result.output
    assert keys.prefix_of(result.stdout.removesuffix("\n")) is not None
    assert "only time" in result.stderr
    assert live(database) == {"payroll": ["commands:write", "read"]}


def test_a_key_that_is_listed_does_not_show_its_secret(database: Database) -> None:
    """Client, prefix and scopes in full, whatever the width of what reads it; the secret is kept nowhere."""
    client = "a-client-with-a-name-as-long-as-names-can-be-without-being-refused"[:64]
    key = florin(
        "keys", "create", client, "--scopes", "read,commands:write,admin", DATABASE_URL=database.app_url
    ).stdout

    listed = florin("keys", "list", DATABASE_URL=database.app_url)

    assert listed.exit_code == 0
    assert all(
        word in listed.stdout for word in (client, keys.prefix_of(key.strip()) or "-", "admin,commands:write,read")
    )
    assert key.strip().split("_", 2)[2] not in listed.stdout


def test_a_revoked_key_is_dead_and_stays_in_the_list(database: Database) -> None:
    """Who had which key is history, and history stays."""
    key = florin("keys", "create", "payroll", "--scopes", "read", DATABASE_URL=database.app_url).stdout
    prefix = keys.prefix_of(key.strip()) or ""

    assert florin("keys", "revoke", prefix, DATABASE_URL=database.app_url).exit_code == 0
    assert live(database) == {}
    assert prefix in florin("keys", "list", DATABASE_URL=database.app_url).stdout

    again = florin("keys", "revoke", prefix, DATABASE_URL=database.app_url)
    assert (again.exit_code, "no live key with the prefix" in again.stderr) == (1, True)


@pytest.mark.parametrize(
    ("client", "scopes", "words"),
    [
        ("payroll", "write", "scopes are any of commands:write, read, ops, admin"),
        ("payroll", "", "scopes are any of"),
        ("pay roll", "read", "a client's name has 1 to 64"),
    ],
)
def test_a_key_that_cannot_be_made_is_refused_with_the_reason(
    database: Database, client: str, scopes: str, words: str
) -> None:
    """A scope with a typing error would be a key that opens nothing, or too much."""
    result = florin("keys", "create", client, "--scopes", scopes, DATABASE_URL=database.app_url)

    assert (result.exit_code, words in result.stderr) == (2, True), result.output
    assert live(database) == {}


@pytest.mark.parametrize("command", [["keys", "list"], ["migrate"]], ids=["keys", "migrate"])
@pytest.mark.parametrize(
    ("url", "words"), [(NOWHERE, "Connection refused"), (MISSPELT, "none of Postgres")], ids=["away", "misspelt"]
)
def test_a_database_that_cannot_be_used_is_a_sentence_without_its_password(
    command: list[str], url: str, words: str
) -> None:
    """The sentence may end up in a ticket."""
    result = florin(*command, DATABASE_URL=url, DATABASE_OWNER_URL=url)

    assert (result.exit_code, words in result.stderr) == (1, True), result.output
    assert "secret-word" not in result.output


def test_an_empty_database_takes_two_commands_to_its_first_key(empty_database: dict[str, str]) -> None:
    """The first says what it did, or that there was nothing to do; without it, the second says what is missing."""
    assert "run `florin migrate` first" in florin("keys", "list", **empty_database).stderr

    first, second = florin("migrate", **empty_database), florin("migrate", **empty_database)

    assert first.stdout.startswith("applied 0001_")
    assert second.stdout == "The schema is current.\n"
    assert florin("keys", "create", "payroll", "--scopes", "read", **empty_database).exit_code == 0


def test_only_the_owner_migrates(database: Database) -> None:
    """The application's login is not tried, and no other stack's owner is taken for this database's."""
    result = florin("migrate", DATABASE_URL=database.app_url)

    assert (result.exit_code, "set DATABASE_OWNER_URL" in result.stderr) == (1, True)


def test_the_database_of_a_running_stack_is_found_by_its_data_directory(database: Database, tmp_path: Path) -> None:
    """What `florin up` wrote there counts, whatever the environment says."""
    note = instance.Stack("http://127.0.0.1:1", "", database.app_url, database.owner_url, pid=os.getpid())
    instance.publish(tmp_path, note)

    where = ("--data-dir", str(tmp_path))
    assert florin("migrate", *where, DATABASE_OWNER_URL=NOWHERE).stdout == "The schema is current.\n"
    assert florin("keys", "create", "payroll", "--scopes", "read", *where, DATABASE_URL=NOWHERE).exit_code == 0
    assert live(database) == {"payroll": ["read"]}


def test_a_stack_of_which_only_the_api_is_known_gives_no_keys() -> None:
    """FLORIN_API says where to send commands, not where the database is."""
    result = florin("keys", "list", FLORIN_API="http://127.0.0.1:1", FLORIN_API_KEY=keys.generate())

    assert (result.exit_code, "set DATABASE_URL" in result.stderr) == (1, True)
