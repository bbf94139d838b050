"""URLs: the application's login in place of the owner's, and nothing secret on a screen."""

import pytest

from cli.urls import as_application, without_password


@pytest.mark.parametrize(
    ("owner_url", "expected"),
    [
        ("postgresql://o:w@db:5/florin", "postgresql://florin_app:p%2Fw@db:5/florin"),
        ("postgres://db/florin", "postgres://florin_app:p%2Fw@db/florin"),
        (
            "postgresql://db/florin?sslmode=require&user=o&password=w",
            "postgresql://florin_app:p%2Fw@db/florin?sslmode=require",
        ),
        ("host=db dbname=florin user=o password=w", "user=florin_app password=p/w dbname=florin host=db"),
    ],
)
def test_the_application_has_a_login_of_its_own_to_the_same_database(owner_url: str, expected: str) -> None:
    """However the owner's is written: with a port or without, with options, or as libpq's keywords."""
    assert as_application(owner_url, "p/w") == expected


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://o:w@db:5/florin", "postgresql://o:***@db:5/florin"),
        ("redis://:w@queue:6/0", "redis://:***@queue:6/0"),
        ("redis://queue:6/0", "redis://queue:6/0"),
        ("postgresql://o@db/florin?password=w&sslmode=require", "postgresql://o@db/florin?sslmode=require"),
        ("host=db user=o password=w", "user=o password=*** host=db"),
        ("host=db user=o", "host=db user=o"),
    ],
)
def test_a_password_is_not_shown(url: str, shown: str) -> None:
    """Screens are shared and recorded. Where there is no password, none is made up."""
    assert without_password(url) == shown
