"""The page over a whole stack: what the exporter and Prometheus say of money that really moves."""

import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser, Page, expect

from cli.servers import LocalServers
from tests.api.conftest import Api, a_deposit, a_withdrawal, an_advance
from tests.conftest import TEMPLATE
from tests.eventually import eventually
from tests.folders import throwaway_folder
from tests.ops.browser import a_page, chromium, painted_share
from tests.stack import Stack, new_database

WITHIN_MS = 30_000


@pytest.fixture(scope="module")
def prometheus_port() -> int:
    """Where the tests' Prometheus will listen, once it runs."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


@pytest.fixture(scope="module")
def stack(servers: LocalServers, _application_password: str, prometheus_port: int) -> Iterator[Stack]:
    """One process of each kind. It is told of a Prometheus that does not run yet."""
    with (
        throwaway_folder() as folder,
        LocalServers(folder, postgres=False) as queue,
        new_database(servers, TEMPLATE, _application_password) as (owner_url, app_url),
        Stack(
            *(owner_url, app_url, queue.redis_url, folder),
            workers=1,
            settings={
                "FLORIN_PROMETHEUS_URL": f"http://127.0.0.1:{prometheus_port}",
                "FLORIN_EXPORTER_EVERY_S": "1",
                "FLORIN_ROLL_FORWARD_EVERY_S": "1",
                "FLORIN_PROVE_EVERY_S": "1",
            },
        ) as stack,
    ):
        api = Api(stack, stack.key("shop", "commands:write", "read"))
        name = api.opened(deposit="1284.13")
        api.settle(an_advance(name, "100.00", first_due_on=_day(3)))
        api.settle(a_withdrawal(name, "9999.00"))
        api.settle(a_deposit(api.opened("KWD"), "10.125", "KWD"))
        stack.start("exporter-1")  # Only now: some figures, such as what is due next, it reads once a minute.
        yield stack
        api.http.close()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A real Chromium."""
    with chromium() as browser:
        yield browser


def opened(page: Page, stack: Stack, source: str) -> None:
    """The page, once it shows what this source says of the money that moved."""
    page.goto(f"{stack.url}/ops#key={stack.key('wall', 'ops')}")
    expect(page.locator("#as-of")).to_contain_text(source, timeout=WITHIN_MS)
    expect(page.locator("#money tbody tr").last).to_contain_text("1,384.13", timeout=WITHIN_MS)


def shown(page: Page) -> dict[str, Any]:
    """What the page says of the money that moved."""
    labels, values = (page.locator(f".tile .{each}").all_inner_texts() for each in ("label", "value"))
    lists: dict[str, list[list[str]]] = {
        name: page.locator(f"#{name} tbody tr").evaluate_all(
            "rows => rows.map((row) => [...row.cells].map((cell) => cell.innerText))"
        )
        for name in ("money", "collections", "proofs", "alerts")
    }
    return {"tiles": dict(zip(labels, values, strict=True)), **lists}


def assert_true(found: dict[str, Any]) -> None:
    """What happened, and nothing else."""
    assert [text for label, text in found["tiles"].items() if label != "Oldest pending"] == [
        *("0", "1", "Yes"),  # backlog, workers, leader
        *("0", "0", "0"),  # dead letters, held, open alerts
    ]
    assert found["money"] == [["KWD", "10.125", "0.000", "0.000"], ["USD", "1,384.13", "100.00", "0.00"]]
    assert found["collections"] == [["USD", _day(3), "1", "8.34"]]
    assert len(found["proofs"]) > 10
    assert {row[2] for row in found["proofs"]} == {"0"}
    assert found["alerts"] == []


def test_the_page_shows_what_the_exporter_sees(browser: Browser, stack: Stack) -> None:
    """With a Prometheus that is set but away: the exporter of the host is asked instead."""
    with a_page(browser) as it:
        opened(it.page, stack, "exporter")
        expect(it.page.locator("#headline")).to_have_text("Nothing to do", timeout=WITHIN_MS)

        assert_true(shown(it.page))
        assert painted_share(it.page, "#chart-backlog canvas") > 0.01
        assert it.complaints == []


@pytest.mark.skipif(shutil.which("prometheus") is None, reason="no Prometheus: apt-get install prometheus")
def test_the_page_shows_the_same_from_prometheus(browser: Browser, stack: Stack, prometheus_port: int) -> None:
    """And a day of it, with rates that only it can know of all hosts; without it, the page goes on."""
    api = Api(stack, stack.key("shop", "commands:write", "read"))
    name = api.opened(currency="EUR")
    with throwaway_folder() as folder, _prometheus(folder, prometheus_port, stack), a_page(browser) as it:
        opened(it.page, stack, "Prometheus")
        _once_scraped_again(prometheus_port, lambda: api.settle(a_withdrawal(name, "1.00", "EUR")))
        it.page.get_by_label("24 h").check()
        it.page.get_by_label("15 min").check()
        expect(it.page.locator("#headline")).to_have_text("Money is moving", timeout=WITHIN_MS)
        expect(it.page.locator("#chart-refusals tbody .name")).to_have_text("insufficient funds", timeout=WITHIN_MS)
        found = shown(it.page)
        latency = it.page.locator("#chart-latency").inner_text()

        assert_true(found | {"money": [row for row in found["money"] if row[0] != "EUR"]})
        assert " ms" in latency or " s" in latency
        assert it.complaints == []
    api.http.close()
    with a_page(browser) as it:
        opened(it.page, stack, "exporter")


def _day(days: int) -> str:
    return (datetime.now(UTC) + timedelta(days=days)).date().isoformat()


@contextmanager
def _prometheus(folder: Path, port: int, stack: Stack) -> Iterator[None]:
    config = folder / "prometheus.yml"
    target = stack.metrics_url.removeprefix("http://")
    config.write_text(
        "global: {scrape_interval: 1s}\n"
        f"scrape_configs: [{{job_name: florin, static_configs: [{{targets: ['{target}']}}]}}]\n"
    )
    log = (folder / "prometheus.log").open("wb")
    command = ["prometheus", f"--config.file={config}", f"--storage.tsdb.path={folder / 'data'}"]
    running = subprocess.Popen([*command, f"--web.listen-address=127.0.0.1:{port}"], stdout=log, stderr=log)
    try:
        yield
    finally:
        running.terminate()
        running.wait(30)
        log.close()


def _once_scraped_again(port: int, act: Any) -> None:
    """A rate needs two points: act once there is one."""
    query = {"query": "count_over_time(florin_postgres_up[1m]) or vector(0)"}

    def scrapes() -> float:
        answer = httpx.get(f"http://127.0.0.1:{port}/api/v1/query", params=query, trust_env=False).json()
        return float(answer["data"]["result"][0]["value"][1])

    eventually(lambda: scrapes() >= 2)
    act()
