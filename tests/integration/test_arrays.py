"""Lists of integers on their way to Postgres: packed by our own hand, so Postgres itself is asked what it got."""

from collections.abc import Iterator

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg import Connection

from processor.store.arrays import bigints
from tests.conftest import Database

BIGINT = st.integers(-(2**63), 2**63 - 1)


@pytest.fixture
def conn(database: Database) -> Iterator[Connection]:
    """A connection as the application's."""
    with psycopg.connect(database.app_url, autocommit=True) as conn:
        yield conn


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=100, deadline=None)
@given(values=st.lists(st.one_of(BIGINT, st.none()), max_size=40))
def test_postgres_gets_the_very_numbers(conn: Connection, values: list[int | None]) -> None:
    """Amounts, balances and versions go this way: none may change, and a NULL must stay one."""
    row = conn.execute("SELECT %b::bigint[], cardinality(%b::bigint[])", [bigints(values), bigints(values)]).fetchone()

    assert row == (values, len(values))


@pytest.mark.parametrize("values", [[2**63], [-(2**63) - 1], [1, None, 2**64], ["1"]])
def test_what_is_no_bigint_is_refused(conn: Connection, values: list[int | None]) -> None:
    """Before Postgres sees it, and as an error that blames the command and not the connection."""
    with pytest.raises(psycopg.DataError, match="not a bigint"):
        conn.execute("SELECT %b::bigint[]", [bigints(values)])
