"""Keys while Postgres is away: whoever looks is told that it is, and whoever pays is told to wait."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import psycopg
import pytest
from psycopg_pool import PoolTimeout

from api_min import auth
from api_min.auth import KeyRing
from api_min.problem import ProblemError
from processor import keys
from processor.store.keys import FoundKey

KEY = keys.generate()
FOUND = FoundKey(1, "wall", keys._parts(KEY)[1], ["ops"])


class Postgres:
    """Has the key, until it is told otherwise."""

    def __init__(self) -> None:
        self.error: Exception | None = None
        self.found: FoundKey | None = FOUND
        self.answers = asyncio.Event()
        self.answers.set()
        self.asked = 0

    @asynccontextmanager
    async def connection(self):  # type: ignore[no-untyped-def]
        self.asked += 1
        await self.answers.wait()
        if self.error:
            raise self.error
        yield self


@pytest.fixture
def postgres(monkeypatch: pytest.MonkeyPatch) -> Postgres:
    """Where keys are."""

    async def find(conn: Postgres, _: str) -> FoundKey | None:
        return conn.found

    monkeypatch.setattr(auth, "find_key", find)
    return Postgres()


def run(postgres: Postgres, use: Callable[[KeyRing, SimpleNamespace], Awaitable[Any]]) -> Any:
    """Use a ring whose clock stands still unless it is moved."""
    clock = SimpleNamespace(now=0.0)
    ring = KeyRing(postgres, seconds=5, monotonic=lambda: clock.now)  # type: ignore[arg-type]
    return asyncio.run(use(ring, clock))  # type: ignore[arg-type]


@pytest.mark.parametrize("error", [PoolTimeout("none"), psycopg.OperationalError("gone")])
def test_a_known_key_may_still_look_for_an_hour_and_never_do_more(postgres: Postgres, error: Exception) -> None:
    """The page is there to say that money is stuck; but no money is ever moved on the strength of a memory."""

    async def use(ring: KeyRing, clock: SimpleNamespace) -> None:
        assert await ring.looker(KEY)
        postgres.error = error
        clock.now = 3_599
        seen = await ring.looker(KEY)
        assert seen is not None
        assert seen.name == "wall"
        with pytest.raises(type(error)):
            await ring.client(KEY)
        assert await ring.looker(KEY[:-1] + ("A" if KEY[-1] != "A" else "B")) is None
        clock.now = 3_601
        with pytest.raises(ProblemError) as caught:
            await ring.looker(KEY)
        assert caught.value.kind == "unavailable"

    run(postgres, use)


def test_a_key_that_is_not_known_is_told_that_postgres_is_away(postgres: Postgres) -> None:
    """It may be a good one; what is no key at all is still none."""
    postgres.error = PoolTimeout("none")

    async def use(ring: KeyRing, _: SimpleNamespace) -> None:
        assert await ring.looker("swordfish") is None
        with pytest.raises(ProblemError, match="Postgres is away"):
            await ring.looker(KEY)

    run(postgres, use)


def test_a_revoked_key_looks_no_longer(postgres: Postgres) -> None:
    """As soon as it is checked again; what comes after does not bring it back."""

    async def use(ring: KeyRing, clock: SimpleNamespace) -> None:
        assert await ring.looker(KEY)
        clock.now, postgres.found = 6, None
        assert await ring.looker(KEY) is None
        postgres.error = PoolTimeout("none")
        with pytest.raises(ProblemError):
            await ring.looker(KEY)

    run(postgres, use)


def test_a_postgres_that_hangs_is_away_too_and_is_asked_once(
    postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its connections end no question: a screen that asks every few seconds must not take them all."""
    monkeypatch.setattr(auth, "_LOOKERS_PATIENCE_S", 0.05)

    async def use(ring: KeyRing, clock: SimpleNamespace) -> None:
        await ring.looker(KEY)
        clock.now = 10
        postgres.answers.clear()
        first = await ring.looker(KEY)
        clock.now = 20
        later = await ring.looker(KEY)
        postgres.answers.set()
        await asyncio.wait([task for _, task in ring._checks.values()])
        assert await ring.looker(KEY)
        assert None not in (first, later)

    run(postgres, use)

    assert postgres.asked == 2
