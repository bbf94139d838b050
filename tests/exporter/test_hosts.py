"""The exporter answers those who mean it, and no page that was led here."""

import asyncio

import httpx
import pytest

from exporter import figures
from exporter.app import Exporter, create_app
from exporter.state import State, Watched
from tests.exporter.test_away import Stuck


def get(path: str, *hosts: str) -> httpx.Response:
    """Ask an exporter that is called ``exporter`` and ``Figures.internal`` as well."""
    state = State(
        postgres=Watched("postgres", Stuck(figures.BACKLOG), every_s=60),
        redis=Watched("redis", Stuck(figures.REDIS_MEMORY), every_s=60),
    )
    app = create_app(Exporter(state, None), ["exporter", "Figures.internal"])

    async def asking() -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app)) as client:
            return await client.get(f"http://any{path}", headers=[("Host", host) for host in hosts])

    return asyncio.run(asking())


@pytest.mark.parametrize(
    "host",
    [
        *("127.0.0.1:9109", "10.0.0.7", "[::1]:9109", "[fd00::7]"),
        *("localhost", "LocalHost:9109", "exporter:9109", "figures.internal"),
    ],
)
def test_whoever_means_this_host_is_answered(host: str) -> None:
    """By any address of its own, by the name that every host has for itself, and by those that it was given."""
    assert {get(path, host).status_code for path in ("/metrics", "/overview", "/healthz")} == {200}


@pytest.mark.parametrize(
    "host",
    [
        *("rebound.example", "rebound.example:9109", "127.0.0.1.rebound.example", "localhost.rebound.example"),
        *("exporter.rebound.example", "rebound.example@127.0.0.1", "127.0.0.1:9109:1", "[::1", "[rebound.example]", ""),
    ],
)
@pytest.mark.parametrize("path", ["/metrics", "/overview", "/healthz", "/"])
def test_a_page_whose_name_was_made_to_lead_here_reads_nothing(host: str, path: str) -> None:
    """A browser on the machine would hand it what the bank owes: it asks by the name of that page."""
    answer = get(path, host)

    assert answer.status_code == 421
    assert "florin_" not in answer.text


def test_two_hosts_are_none() -> None:
    """What one reader takes for the host, another one does not."""
    assert get("/metrics", "localhost", "rebound.example").status_code == 421
