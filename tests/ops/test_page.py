"""The page as people see it: a real Chromium, a real API, and an exporter that says what the situation wants."""

import re
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser, Page, ViewportSize, expect

from cli.servers import LocalServers
from tests.conftest import TEMPLATE
from tests.eventually import eventually
from tests.folders import throwaway_folder
from tests.ops.browser import Watched, a_page, chromium, faint_texts, painted_share
from tests.ops.figures_stub import POINTS, Stub, send, stub_exporter
from tests.stack import Stack, new_database

WITHIN_MS = 15_000
POLL_MS = 3_000
PHONE: ViewportSize = {"width": 360, "height": 740}
WALL: ViewportSize = {"width": 1920, "height": 1080}

STOPPED = [400.0 if n < 130 else 0.0 for n in range(POINTS)]
STUCK: dict[str, Any] = {
    "workers": 0,
    "oldest_pending_s": 258.0,
    "backlog": 12_408,
    "dead_letters": 3,
    "alerts": [
        {"proof": "overdue_instalments", "severity": "ticket", "count": 14, "oldest_age_s": 90_000.0},
        {"proof": "running_balances", "severity": "page", "count": 2, "oldest_age_s": 760.0},
    ],
    "jobs": [{"job": "sweep", "age_s": 300.0, "period_s": 2}, {"job": "seal", "age_s": 20.0, "period_s": 60}],
    "series": {"settled_per_s": STOPPED},
}


@pytest.fixture(scope="module")
def exporter() -> Iterator[Stub]:
    """What the API asks."""
    with stub_exporter() as stub:
        yield stub


@pytest.fixture(scope="module")
def stack(servers: LocalServers, _application_password: str, exporter: Stub) -> Iterator[Stack]:
    """One API process: nothing else is needed for a page."""
    with (
        throwaway_folder() as folder,
        new_database(servers, TEMPLATE, _application_password) as (owner_url, app_url),
        Stack(
            *(owner_url, app_url, servers.redis_url, folder),
            workers=0,
            schedulers=0,
            settings={"FLORIN_EXPORTER_URL": exporter.url},
        ) as stack,
    ):
        yield stack


@pytest.fixture(scope="module")
def key(stack: Stack) -> str:
    """A key that can do nothing but look."""
    return stack.key("wall", "ops")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A real Chromium."""
    with chromium() as browser:
        yield browser


class Situation:
    """What the exporter says, and so the API, once it has forgotten what it was told before."""

    def __init__(self, stub: Stub, stack: Stack, key: str) -> None:
        self._stub = stub
        self.is_other = False
        self._ask = httpx.Client(base_url=stack.url, headers={"Authorization": f"Bearer {key}"}, trust_env=False)

    def is_(self, *, age_s: float = 0.0, **current: Any) -> None:
        """A good moment but for these."""
        self.is_other = bool(age_s or current)
        self._stub.says(age_s=age_s, **current)
        self._heard()

    def is_broken(self) -> None:
        """An exporter that fails."""
        self.is_other = True
        self._stub.answers(lambda it: send(it, b"", status=500))
        self._heard()

    def _heard(self) -> None:
        before = self._stub.asked
        eventually(lambda: self._ask.get("/v1/ops/overview") and self._stub.asked > before)


@pytest.fixture(scope="module")
def situation(exporter: Stub, stack: Stack, key: str) -> Situation:
    """Good, to begin with."""
    return Situation(exporter, stack, key)


@pytest.fixture
def good(situation: Situation) -> Iterator[Situation]:
    """All is well, before and after."""
    yield situation
    if situation.is_other:
        situation.is_()


def opened(it: Watched, stack: Stack, key: str, *, headline: str = "Money is moving") -> Page:
    """The page with its key, once it says what it should."""
    it.page.goto(f"{stack.url}/ops#key={key}")
    expect(it.page.locator("#headline")).to_have_text(headline, timeout=WITHIN_MS)
    return it.page


def tile(page: Page, label: str) -> str:
    """The value beside a label."""
    return page.locator(".tile", has_text=label).locator(".value").inner_text()


def rows(page: Page, name: str) -> list[list[str]]:
    """What a list says, row by row."""
    found: list[list[str]] = page.locator(f"#{name} tbody tr").evaluate_all(
        "rows => rows.map((row) => [...row.cells].map((cell) => cell.innerText))"
    )
    return found


def test_a_good_moment_is_seen_at_once(browser: Browser, stack: Stack, key: str, good: Situation) -> None:
    """The verdict, the figures, the money in its own decimals, and every chart painted with lines."""
    with a_page(browser) as it:
        page = opened(it, stack, key)
        settled = page.locator("#chart-settled tbody tr").first.inner_text().split()

        assert page.locator("body").get_attribute("data-level") == "ok"
        assert page.locator(".is-ok").is_visible()
        assert not page.locator(".is-stuck").is_visible()
        assert re.fullmatch(r"\d{3} commands a second are settled", page.locator("#detail").inner_text())
        assert [tile(page, label) for label in ("Oldest pending", "Backlog", "Workers", "Leader", "Dead letters")] == [
            *("<0.1 s", "38", "2", "Yes", "0")
        ]
        assert settled[0] == "settled"
        assert 250 < int(settled[1]) < int(settled[2]) < 600
        assert page.locator("#chart-refusals tbody .name").all_inner_texts() == [
            *("insufficient funds", "account not open", "currency mismatch")
        ]
        assert rows(page, "money") == [
            ["JPY", "81,230,455", "1,600,000", "0"],
            ["KWD", "1,045.125", "0.000", "0.000"],
            ["USD", "1,284,113.07", "120,000.00", "310.55"],
        ]
        assert [row[2:] for row in rows(page, "collections")] == [["31", "155,000"], ["1,204", "98,213.50"]]
        assert len(rows(page, "proofs")) == 14
        assert page.locator("#jobs").inner_text().endswith("All 4 jobs are on time.")
        for chart in ("settled", "oldest", "latency", "refusals", "backlog"):
            assert painted_share(page, f"#chart-{chart} canvas") > 0.01, chart
        assert it.complaints == []


def test_stuck_money_is_seen_at_once(browser: Browser, stack: Stack, key: str, good: Situation) -> None:
    """Red, another shape, the cause, and what is wrong marked by more than colour."""
    good.is_(**STUCK)
    with a_page(browser, WALL) as it:
        page = opened(it, stack, key, headline="Money is stuck")

        assert page.locator("#detail").inner_text() == "The oldest command waits 4 min, no worker runs"
        assert page.locator(".is-stuck").is_visible()
        assert page.title() == "■ Money is stuck"
        assert page.locator("#more li").all_inner_texts()[:2] == [
            "The books are in doubt: 2 alerts open (running_balances), the oldest for 12 min",
            "3 dead letters: see florin dead-letters list",
        ]
        assert page.locator("#announced").text_content() == (
            "Act now. Money is stuck. The oldest command waits 4 min, no worker runs"
        )
        assert page.locator(".tile", has_text="Workers").locator(".mark").inner_text() == "■"
        assert tile(page, "Backlog") == "12,408"
        assert rows(page, "alerts") == [
            ["■ page", "running_balances (2)\nRunbook: running_balances", "12 min"],
            ["▲ ticket", "overdue_instalments (14)\nRunbook: overdue_instalments", "25 h"],
        ]
        assert page.locator("#alerts .hints").inner_text() == (
            "Which accounts: ./florin alerts list · What to do: docs/runbooks.md · "
            "No Prometheus: only Florin's own alerts are seen."
        )
        assert rows(page, "jobs") == [["▲ sweep", "5 min ago", "2 s"]]
        # All of it without scrolling: nobody scrolls a wall.
        assert page.evaluate("document.documentElement.scrollHeight <= innerHeight")


def test_the_verdict_changes_while_one_looks(browser: Browser, stack: Stack, key: str, good: Situation) -> None:
    """Nobody reloads a wall either; and what was said to a screen reader is said anew, once."""
    with a_page(browser) as it:
        page = opened(it, stack, key)
        good.is_(**STUCK)
        page.clock.fast_forward(POLL_MS)
        expect(page.locator("#headline")).to_have_text("Money is stuck", timeout=WITHIN_MS)
        good.is_()
        page.clock.fast_forward(POLL_MS)
        expect(page.locator("#headline")).to_have_text("Money is moving", timeout=WITHIN_MS)

        assert (page.locator("#announced").text_content() or "").startswith("All is well. Money is moving.")


def test_old_figures_are_neither_good_nor_bad(browser: Browser, stack: Stack, key: str, good: Situation) -> None:
    """A green page whose figures stopped an hour ago would be believed."""
    good.is_(age_s=140.0)
    with a_page(browser) as it:
        page = opened(it, stack, key, headline="No fresh figures")
        stale = page.locator(".tiles").evaluate("tiles => getComputedStyle(tiles).filter")

        assert page.locator("body").get_attribute("data-level") == "none"
        assert page.locator(".is-none").is_visible()
        assert stale == "grayscale(1)"
        assert "2 min ago" in page.locator("#as-of").inner_text()


def test_no_figures_at_all_say_what_to_start(browser: Browser, stack: Stack, key: str, good: Situation) -> None:
    """And the page keeps trying: once there are some, it shows them by itself."""
    good.is_broken()
    with a_page(browser, PHONE) as it:
        page = opened(it, stack, key, headline="No figures")
        assert "Start it with python -m exporter" in page.locator("#detail").inner_text()
        assert tile(page, "Workers") == "\u2013"
        good.is_()
        page.clock.fast_forward(POLL_MS)
        expect(page.locator("#headline")).to_have_text("Money is moving", timeout=WITHIN_MS)

        assert tile(page, "Workers") == "2"


def test_an_api_that_goes_away_is_seen(browser: Browser, stack: Stack, key: str, good: Situation) -> None:
    """The page itself comes from it; what it showed last must not stay green for ever."""
    with a_page(browser) as it:
        page = opened(it, stack, key)
        page.route("**/v1/ops/**", lambda route: route.abort())
        page.clock.run_for(2 * POLL_MS)  # At once, and not when the figures have become old.
        expect(page.locator("#headline")).to_have_text("No fresh figures", timeout=WITHIN_MS)

        assert page.locator("#more li").first.inner_text() == "The API does not answer."


@pytest.mark.parametrize("is_known", [True, False], ids=["figures were shown", "the first question"])
def test_a_key_that_cannot_be_checked_is_red(
    browser: Browser, stack: Stack, key: str, good: Situation, is_known: bool
) -> None:
    """Keys are in Postgres: without it the page gets no figures, and that is just what it is there to say."""
    body = {"type": "urn:florin:problem:unavailable", "status": 503, "detail": "Postgres is away, so this key"}
    with a_page(browser) as it:
        if is_known:
            opened(it, stack, key)
        it.page.route("**/v1/ops/**", lambda route: route.fulfill(status=503, json=body))
        it.page.clock.fast_forward(POLL_MS)
        page = opened(it, stack, key, headline="Money is stuck")

        assert page.locator("body").get_attribute("data-level") == "stuck"
        assert page.locator("#detail").inner_text() == "Postgres is away, so nothing is accepted or settled"


def test_what_fires_in_prometheus_is_listed(browser: Browser, stack: Stack, key: str, good: Situation) -> None:
    """Beside Florin's own, with the way out; the one that only says that there are some is not there twice."""
    fires = [
        {"name": "Burning", "severity": "page", "age_s": 90.0, "summary": "A budget", "runbook_url": "x.md#budget"},
        {"name": "BooksBroken", "severity": "page", "age_s": 760.0, "summary": "Open alerts", "runbook_url": "x.md#b"},
    ]
    good.is_(alerts=STUCK["alerts"], firing=fires)
    with a_page(browser) as it:
        page = opened(it, stack, key, headline="The books are in doubt")

        assert rows(page, "alerts")[1] == ["■ page", "Burning: A budget\nRunbook: budget", "90 s"]
        assert len(rows(page, "alerts")) == 3
        assert tile(page, "Open alerts") == "17"
        assert page.locator("#more li").first.inner_text() == "Alert Burning: A budget (for 90 s)"


def test_another_source_never_turns_back_the_clock(browser: Browser, stack: Stack, key: str, good: Situation) -> None:
    """A Prometheus that is started again knows less than what is on the screen, until it has scraped."""
    with a_page(browser) as it:
        page = opened(it, stack, key)
        newest = page.evaluate("overview.now")

        def given(now: float, workers: int) -> str:
            page.evaluate(
                "([now, workers]) => take({...overview, source: 'prometheus', now,"
                " current: {...overview.current, workers}})",
                [now, workers],
            )
            return tile(page, "Workers")

        assert given(newest - 20, 99) == "2"
        assert given(newest + 60, 7) == "7"


def test_a_single_value_is_a_dot_and_an_empty_chart_is_words(
    browser: Browser, stack: Stack, key: str, good: Situation
) -> None:
    """A rate that has just begun is not nothing; and a grid is not to be drawn through what there is to read."""
    one = [None] * 90 + [7.0] + [None] * (POINTS - 91)
    good.is_(series={"backlog": one}, refusals={})
    with a_page(browser) as it:
        page = opened(it, stack, key)
        dot = page.evaluate("drawn.get('backlog').uplot.series[1].points._paths !== null")
        ground = page.locator("#chart-refusals .empty").evaluate("it => getComputedStyle(it).backgroundColor")

        assert dot
        assert page.locator("#chart-refusals .empty").inner_text() == "Nothing was refused"
        assert ground == page.locator("#chart-refusals").evaluate("it => getComputedStyle(it).backgroundColor")


def test_words_of_a_legend_are_whole(browser: Browser, stack: Stack, key: str, good: Situation) -> None:
    """Also beside numbers that take its room, and within the card."""
    good.is_(series={"backlog": [1_234_567.0] * POINTS})
    with a_page(browser) as it:
        page = opened(it, stack, key)
        heights = page.locator("#chart-backlog tbody .name span:last-child").evaluate_all(
            "all => all.map((each) => each.getClientRects().length)"
        )

        within = page.locator("#chart-backlog").evaluate("it => it.scrollWidth <= it.clientWidth")

        assert heights == [1]
        assert within


def test_the_key_leaves_the_address_and_is_sent_nowhere_else(
    browser: Browser, stack: Stack, key: str, good: Situation
) -> None:
    """An address is in histories, logs and photographs of screens."""
    with a_page(browser) as it:
        page = opened(it, stack, key)
        stored = page.evaluate("[sessionStorage.getItem('florin.key'), localStorage.length]")

        assert page.url == f"{stack.url}/ops"
        assert stored == [key, 0]
        assert len(it.requests) > 5
        assert all(url.startswith(f"{stack.url}/") and key not in url for url in it.requests)
        page.reload()
        expect(page.locator("#headline")).to_have_text("Money is moving", timeout=WITHIN_MS)
        page.get_by_role("button", name="Forget key").click()
        expect(page.get_by_label("API key")).to_be_focused()
        assert page.evaluate("sessionStorage.getItem('florin.key')") is None


def test_a_key_is_asked_for_until_it_is_right(browser: Browser, stack: Stack, key: str, good: Situation) -> None:
    """Each wrong one gets a sentence that says what is wrong with it; all by keyboard."""
    with a_page(browser, PHONE) as it:
        page = it.page
        page.goto(f"{stack.url}/ops")
        entry, why = page.get_by_label("API key"), page.locator("#ask-why")
        expect(entry).to_be_focused()
        page.keyboard.press("Escape")
        for wrong, words in (
            ("swordfish", "This is not a key"),
            (f"florin_abcdefgh1234_{'x' * 43}", "This key is not valid"),
            (stack.key("till", "commands:write", "read"), "does not have the scope ops"),
        ):
            entry.press_sequentially(wrong)
            page.keyboard.press("Enter")
            expect(why).to_contain_text(words, timeout=WITHIN_MS)
            assert entry.input_value() == ""
        entry.press_sequentially(f" {key} ")
        page.keyboard.press("Enter")
        expect(page.locator("#headline")).to_have_text("Money is moving", timeout=WITHIN_MS)

        assert not page.locator("dialog").is_visible()
        assert all(key not in url for url in it.requests)


def test_names_are_text_whatever_they_say(browser: Browser, stack: Stack, key: str, good: Situation) -> None:
    """Whoever can name something must not run a script in an operator's browser, nor break the page's layout."""
    evil = "<img src=x onerror=document.title='gone'>"
    long = "a" * 100
    good.is_(
        alerts=[{"proof": evil, "severity": "page", "count": 1, "oldest_age_s": 1.0}],
        refusals={evil: [1.0] * POINTS, long: [2.0] * POINTS},
        money=[{"currency": long, "deposits": 1.0}],
        version=evil,
    )
    with a_page(browser, PHONE) as it:
        page = opened(it, stack, key, headline="The books are in doubt")

        assert (page.locator("#alerts td").first.text_content() or "").startswith(evil)
        assert page.locator("#version").inner_text() == evil
        assert evil in page.locator("#chart-refusals").inner_text()
        assert page.locator("img[onerror], img[src=x]").count() == 0
        assert page.title().startswith("■ The books")
        assert page.evaluate("document.documentElement.scrollWidth") <= 360


@pytest.mark.parametrize("level", ["ok", "warning", "stuck", "none"])
def test_every_text_can_be_read_on_a_phone_and_on_a_wall_by_day_and_by_night(
    browser: Browser, stack: Stack, key: str, good: Situation, level: str
) -> None:
    """WCAG AA in each colour that there is, and nothing beside the screen."""
    situations: dict[str, dict[str, Any]] = {
        "ok": {},
        "warning": {"dead_letters": 1, "leader": False},
        "stuck": STUCK,
        "none": {"age_s": 99.0},
    }
    good.is_(**situations[level])
    grounds = set()
    for dark in (False, True):
        with a_page(browser, PHONE, dark=dark) as it:
            it.page.goto(f"{stack.url}/ops#key={key}")
            expect(it.page.locator("body")).to_have_attribute("data-level", level, timeout=WITHIN_MS)
            expect(it.page.locator("#money tbody tr")).to_have_count(3)
            for size in (PHONE, WALL):
                it.page.set_viewport_size(size)
                assert faint_texts(it.page) == []
                assert it.page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
            grounds.add(it.page.evaluate("getComputedStyle(document.body).backgroundColor"))

    assert len(grounds) == 2


def test_the_contrast_that_is_measured_can_be_too_low(
    browser: Browser, stack: Stack, key: str, good: Situation
) -> None:
    """The test of the tests: grey on grey is found."""
    with a_page(browser) as it:
        page = opened(it, stack, key)
        page.locator("#detail").evaluate("it => { it.style.color = '#9aa'; }")

        assert [each["text"][-7:] for each in faint_texts(page)] == ["settled"]


def test_light_and_dark_can_be_chosen_and_are_remembered(
    browser: Browser, stack: Stack, key: str, good: Situation
) -> None:
    """A wall in a dark room, whatever the machine behind it thinks; the charts follow."""
    with a_page(browser) as it:
        page = opened(it, stack, key)
        ink = (
            "canvas => [...canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data].join().length"
        )
        before = (
            page.evaluate("getComputedStyle(document.body).color"),
            page.locator("#chart-backlog canvas").evaluate(ink),
        )
        button = page.get_by_role("button", name="Colours")
        button.click()
        button.click()
        after = (
            page.evaluate("getComputedStyle(document.body).color"),
            page.locator("#chart-backlog canvas").evaluate(ink),
        )
        page.reload()
        expect(page.locator("#headline")).to_have_text("Money is moving", timeout=WITHIN_MS)

        assert all(one != other for one, other in zip(before, after, strict=True))
        assert page.evaluate("getComputedStyle(document.body).color") == after[0]


def test_a_longer_time_can_be_chosen_by_keyboard(browser: Browser, stack: Stack, key: str, good: Situation) -> None:
    """Without Prometheus there is an hour at most, and no more is offered."""
    with a_page(browser) as it:
        page = opened(it, stack, key)
        page.get_by_label("15 min").focus()
        with page.expect_response("**/v1/ops/overview?span=1h"):
            page.keyboard.press("ArrowRight")

        assert page.get_by_label("1 h", exact=True).is_checked()
        assert not page.get_by_text("24 h").is_visible()


def test_a_page_that_nobody_sees_asks_nothing(browser: Browser, stack: Stack, key: str, good: Situation) -> None:
    """Forgotten tabs must not cost anything."""
    with a_page(browser) as it:
        page = opened(it, stack, key)
        page.evaluate(
            "() => { Object.defineProperty(document, 'hidden', {get: () => window.asleep, configurable: true});"
            "window.asleep = true; document.dispatchEvent(new Event('visibilitychange')); }"
        )
        before = len(it.requests)
        page.clock.run_for(10 * POLL_MS)
        asleep = len(it.requests)
        with page.expect_response("**/v1/ops/overview?*"):
            page.evaluate("() => { window.asleep = false; document.dispatchEvent(new Event('visibilitychange')); }")

        assert asleep == before


def test_nothing_moves_when_figures_arrive(browser: Browser, stack: Stack, key: str, good: Situation) -> None:
    """What one is about to touch or read stays where it is."""
    with a_page(browser, WALL) as it:
        it.page.add_init_script(
            "window.shifts = []; new PerformanceObserver((list) => list.getEntries().forEach("
            "(each) => window.shifts.push(each.value))).observe({type: 'layout-shift', buffered: true});"
        )
        page = opened(it, stack, key)
        page.clock.run_for(2 * POLL_MS)

        assert sum(page.evaluate("window.shifts")) < 0.02


def test_the_page_needs_no_key_and_says_nothing(stack: Stack, good: Situation) -> None:
    """Whoever finds it learns what everybody can read in the source; its headers let no script in from elsewhere."""
    page = httpx.get(f"{stack.url}/ops", trust_env=False)
    assets = re.findall(r'"(/ops/[^"]+)"', page.text)
    answers = [httpx.get(f"{stack.url}{asset}", trust_env=False) for asset in assets]

    assert (page.status_code, page.headers["cache-control"]) == (200, "no-cache")
    assert len(set(assets)) == 9
    assert "<script>" not in page.text
    assert " style=" not in page.text
    for answer in (page, *answers):
        policy = answer.headers["content-security-policy"]
        assert answer.status_code == 200
        assert "default-src 'self';" in policy
        assert "unsafe" not in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "no-referrer"
    assert all("immutable" in answer.headers["cache-control"] for answer in answers)
    assert all(re.search(r"\.[0-9a-f]{12}\.(js|css|svg)$", asset) for asset in assets)


@pytest.mark.parametrize("path", ["/ops/nothing.js", "/ops/page.html", "/ops/..%2Fpage.py", "/ops/uPlot.LICENSE.txt"])
def test_no_other_file_is_served(stack: Stack, path: str) -> None:
    """A folder that answers for whatever lies in it would answer for more one day."""
    answer = httpx.get(f"{stack.url}{path}", trust_env=False)

    assert (answer.status_code, answer.headers["content-type"]) == (404, "application/problem+json")


@pytest.mark.parametrize(
    ("scopes", "status"),
    [(None, 401), (["read", "commands:write"], 403), (["ops"], 200), (["admin"], 200)],
)
def test_the_overview_is_for_operators(stack: Stack, good: Situation, scopes: list[str] | None, status: int) -> None:
    """What a bank holds is not for its clients; and a key of a wall screen can do nothing else."""
    headers = {"Authorization": f"Bearer {stack.key('somebody', *scopes)}"} if scopes else {}
    with httpx.Client(base_url=stack.url, headers=headers, trust_env=False) as client:
        answer = client.get("/v1/ops/overview")
        others = {client.get(path).status_code for path in ("/v1/commands", "/v1/accounts/alice", "/v1/alerts")}

    assert answer.status_code == status
    if status == 200:
        assert answer.headers["cache-control"] == "no-store"
        assert set(answer.json()) >= {"source", "now", "times", "series", "refusals", "current", "verdict"}
    if scopes == ["ops"]:
        assert others == {403}


@pytest.mark.parametrize("span", ["2h", "", "1h'"])
def test_a_span_that_there_is_not_is_refused(stack: Stack, key: str, span: str) -> None:
    """As every parameter of the API is."""
    answer = httpx.get(
        f"{stack.url}/v1/ops/overview?span={span}", headers={"Authorization": f"Bearer {key}"}, trust_env=False
    )

    assert (answer.status_code, answer.headers["content-type"]) == (422, "application/problem+json")
