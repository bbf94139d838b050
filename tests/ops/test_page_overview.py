"""What the page is drawn from: figures of whoever answers, never a lie's, and never at the cost of the API."""

import asyncio
import gzip
import json
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import parse_qs, urlsplit

import orjson
import pytest
from pydantic import SecretStr

from api_min.ops.document import Span
from api_min.ops.overview import Overviews, overviews
from api_min.ops.sources import MOST_BYTES
from api_min.problem import ProblemError
from processor.settings import Settings
from tests.ops.figures_stub import POINTS, Stub, a_document, send, stub_exporter

NOWHERE = "http://127.0.0.1:9"


@pytest.fixture
def exporter() -> Iterator[Stub]:
    """One that can say anything."""
    with stub_exporter() as stub:
        yield stub


@pytest.fixture
def prometheus() -> Iterator[Stub]:
    """The same in the place of a Prometheus."""
    with stub_exporter() as stub:
        yield stub


def asked(exporter_url: str, prometheus_url: str | None = None, span: Span = "15m") -> dict[str, Any]:
    """The overview as the API would give it."""

    async def ask(overviews: Overviews) -> bytes:
        return await overviews.document(span)

    document: dict[str, Any] = orjson.loads(with_overviews(exporter_url, prometheus_url, ask))
    return document


def with_overviews(exporter_url: str, prometheus_url: str | None, use: Callable[[Overviews], Any]) -> Any:
    """Run what uses an API process's own overviews."""
    settings = Settings(
        metrics_dir=None,
        database_url=SecretStr("postgresql://nobody@127.0.0.1:9/none"),
        redis_url=SecretStr("redis://127.0.0.1:9"),
        exporter_url=SecretStr(exporter_url),
        prometheus_url=SecretStr(prometheus_url) if prometheus_url else None,
        business_zone="Pacific/Auckland",
    )

    async def run() -> Any:
        async with overviews(settings) as made:
            return await use(made)

    return asyncio.run(run())


def refused(exporter_url: str, prometheus_url: str | None = None) -> str:
    """Why there are no figures, in the words of the problem."""
    with pytest.raises(ProblemError) as caught:
        asked(exporter_url, prometheus_url)
    assert caught.value.document()["status"] == 503
    return caught.value.detail


def test_the_figures_of_the_exporter_are_judged_and_made_readable(exporter: Stub) -> None:
    """Amounts in the currency's decimals, days by the bank's own clock, and no more history than was asked for."""
    noon = datetime(2026, 11, 27, 11, tzinfo=UTC).timestamp()  # Midnight in Auckland: the 28th begins.
    due = {"currency": "KWD", "at": noon, "instalments": 3, "amount": 1.5}
    money = {"currency": "JPY", "deposits": 9007199254740991, "advances_outstanding": -1600.0, "arrears": None}
    exporter.says(next_collections=[due], money=[money], a_figure_of_next_year=1)
    found = asked(exporter.url)

    assert found["source"] == "florin"
    assert found["verdict"]["level"] == "ok"
    assert found["current"]["next_collections"] == [due | {"amount": "1.500", "on": "2026-11-28"}]
    assert found["current"]["money"] == [
        {"currency": "JPY", "deposits": "9007199254740991", "advances_outstanding": "-1600", "arrears": None}
    ]
    assert len(found["times"]) == POINTS == len(found["series"]["p99_s"]) == len(found["refusals"]["currency_mismatch"])
    assert found["times"][0] >= found["now"] - 900


def test_more_history_than_asked_for_is_left_out(exporter: Stub) -> None:
    """A phone gets a quarter of an hour of an exporter's hour."""
    document = a_document()
    times = [document["now"] - 5 * (719 - n) for n in range(720)]
    series = {name: [float(n) for n in range(720)] for name in document["series"]}
    exporter.answers(
        lambda it: send(it, json.dumps(document | {"times": times, "series": series, "refusals": {}}).encode())
    )
    short, long = asked(exporter.url), asked(exporter.url, span="1h")

    assert (len(short["times"]), len(long["times"])) == (181, 720)
    assert short["series"]["backlog"][0] == 719 - 180


def test_samples_that_have_stopped_make_the_figures_old(exporter: Stub) -> None:
    """An exporter whose sampling hangs still answers, and its clock goes on: the verdict must not stay green."""
    exporter.answers(lambda it: send(it, json.dumps(a_document(time.time() - 100) | {"now": time.time()}).encode()))
    found = asked(exporter.url)

    assert 99 < found["age_s"] < 130
    assert found["verdict"]["level"] == "warning"
    assert "old" in found["verdict"]["words"][0]


def wrong(**changes: Any) -> bytes:
    """An overview that is one but for these."""
    return json.dumps(a_document() | changes).encode()


def _current(**changes: Any) -> dict[str, Any]:
    current: dict[str, Any] = a_document()["current"] | changes
    return current


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"", "not JSON"),
        (b"<html>It works!</html>", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b'{"source": NaN}', "not JSON"),
        (b"[]", "wrong: the whole"),
        (b"{}", "wrong: source"),
        (wrong(times=[1.0, 2.0]), "wrong: the whole"),
        (wrong(times=list(range(POINTS, 0, -1))), "wrong: the whole"),
        (wrong(times=list(range(100_000))), "wrong: times"),
        (wrong(now=1e300), "wrong: now"),
        (wrong(refusals={"x" * 1000: [0.0] * POINTS}), "wrong: refusals"),
        (wrong(refusals={str(n): [0.0] * POINTS for n in range(51)}), "wrong: refusals"),
        (wrong(current=_current(backlog="many")), "wrong: current.backlog"),
        (wrong(current=_current(backlog=10**400)), "not JSON"),
        (
            wrong(current=_current(alerts=[{"proof": "x", "severity": "page", "count": 1}] * 201)),
            "wrong: current.alerts",
        ),
        (wrong(current=_current(money=[{"currency": "USD", "deposits": "1e9"}])), "wrong: current.money.0.deposits"),
        (wrong(current=_current(money=[{"currency": "USD", "deposits": 1e300}])), "wrong: current.money.0.deposits"),
    ],
)
def test_an_answer_that_is_no_overview_is_a_problem_that_says_what(exporter: Stub, body: bytes, why: str) -> None:
    """Whoever sits at that port, the API says that there are no figures rather than breaks or passes nonsense on."""
    exporter.answers(lambda it: send(it, body))
    said = refused(exporter.url)

    assert why in said
    assert "python -m exporter" in said


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (lambda it: send(it, b"{}", status=500), "status 500"),
        (lambda it: send(it, b"{}", status=302, Location="http://127.0.0.1:1/overview"), "status 302"),
        (lambda it: send(it, gzip.compress(b" " * 10**7), Content_Encoding="gzip"), "compressed"),
        (lambda it: it.connection.close(), "does not answer"),
        (lambda it: it.wfile.write(b"\x00" * 1000), "does not answer"),
    ],
    ids=["an error", "sent elsewhere", "a bomb", "hung up", "no HTTP"],
)
def test_an_answer_of_another_kind_is_a_problem_too(
    exporter: Stub, answer: Callable[[BaseHTTPRequestHandler], None], why: str
) -> None:
    """Nobody is followed elsewhere, and nothing is unpacked."""
    exporter.answers(answer)

    assert why in refused(exporter.url)


def test_an_answer_without_end_is_cut_off(exporter: Stub) -> None:
    """It must not fill the memory of a process that takes payments."""
    sent: list[int] = []

    def flood(it: BaseHTTPRequestHandler) -> None:
        it.send_response(200)
        it.end_headers()
        try:
            while sum(sent) < 100 * MOST_BYTES:
                sent.append(it.wfile.write(b" " * 65_536))
        except OSError:
            hung_up.set()

    hung_up = threading.Event()
    exporter.answers(flood)

    assert "longer than" in refused(exporter.url)
    assert hung_up.wait(30)
    assert sum(sent) < 10 * MOST_BYTES


def test_a_source_that_dawdles_is_given_up_on(exporter: Stub, prometheus: Stub) -> None:
    """A byte now and then never meets a limit between two bytes; the page would wait for ever."""
    released = threading.Event()

    def drip(it: BaseHTTPRequestHandler) -> None:
        it.send_response(200)
        it.end_headers()
        while not released.wait(0.1):
            it.wfile.write(b" ")
            it.wfile.flush()

    exporter.answers(drip)
    prometheus.answers(lambda it: released.wait())  # type: ignore[arg-type]
    said = refused(exporter.url, prometheus.url)
    released.set()

    assert "Prometheus (FLORIN_PROMETHEUS_URL): it does not answer" in said
    assert "The exporter (FLORIN_EXPORTER_URL): it does not answer within 3 s" in said
    assert "It runs but hangs" in said
    assert "Start it" not in said


def test_nothing_that_runs_is_a_problem_that_says_what_to_start() -> None:
    """The page shows these words."""
    assert refused(NOWHERE) == (
        "The exporter (FLORIN_EXPORTER_URL): it does not answer (ConnectError). "
        "Start it with python -m exporter; florin up does by itself."
    )


@pytest.mark.parametrize("body", [b"<html>", b"[]", b'{"data": {"result": [{"value": [0, "x"], "metric": {}}]}}'])
def test_a_prometheus_that_lies_is_passed_over(exporter: Stub, prometheus: Stub, body: bytes) -> None:
    """There are figures next door."""
    prometheus.answers(lambda it: send(it, body))

    assert asked(exporter.url, prometheus.url)["source"] == "florin"


def test_a_prometheus_that_knows_nothing_of_florin_is_passed_over(exporter: Stub, prometheus: Stub) -> None:
    """Its empty answers would be drawn as a bank in which nothing happens."""
    prometheus.answers(lambda it: send(it, b'{"status": "success", "data": {"resultType": "vector", "result": []}}'))

    assert asked(exporter.url, prometheus.url)["source"] == "florin"
    assert "does it scrape the exporter?" in refused(NOWHERE, prometheus.url)


def test_a_value_that_is_no_number_is_not_drawn(exporter: Stub, prometheus: Stub) -> None:
    """A quantile of nothing is NaN in Prometheus, and JSON has no word for that."""

    def answer(it: BaseHTTPRequestHandler) -> None:
        address = urlsplit(it.path)
        end = int(parse_qs(address.query).get("end", ["0"])[0])
        lines: list[dict[str, Any]] = [{"metric": {"reason": "why"}, "values": [[end - 5, "NaN"], [end, "0.25"]]}]
        if address.path == "/api/v1/query":
            lines = [{"metric": {"__name__": "florin_postgres_up"}, "value": [time.time(), str(time.time())]}]
        send(it, json.dumps({"data": {"result": lines}}).encode())

    prometheus.answers(answer)
    found = asked(exporter.url, prometheus.url)

    assert found["source"] == "prometheus"
    assert found["series"]["p50_s"][-2:] == [None, 0.25]
    assert found["refusals"]["why"][-2:] == [None, 0.25]


def a_prometheus(
    it: BaseHTTPRequestHandler, *, scraped_every_s: float = 5, asked: list[str] | None = None, **figures: float
) -> None:
    """Answers as one that scrapes so often; it has these alerts besides: one of each kind, and one of others."""
    address = urlsplit(it.path)
    question = parse_qs(address.query).get("query", [""])[0]
    if asked is not None:
        asked.append(question)
    if address.path == "/api/v1/alerts":
        labels = [("PoolExhausted", "ticket"), ("Burning", "page"), ("NodeDown", "critical"), ("Soon", "page")]
        alerts = [
            {
                "labels": {"alertname": name, "severity": severity},
                "annotations": {"summary": f"{name} it is", "runbook_url": "docs/runbooks.md#burning"},
                "state": "pending" if name == "Soon" else "firing",
                "activeAt": "2026-01-01T00:00:00.123456789Z",
                "value": "1e+00",
            }
            for name, severity in labels
        ]
        return send(it, json.dumps({"status": "success", "data": {"alerts": alerts}}).encode())
    lines: list[dict[str, Any]] = []
    if "count_over_time" in question:
        lines = [{"metric": {}, "value": [time.time(), str(60 / scraped_every_s)]}]
    elif question.startswith("max(timestamp("):
        lines = [{"metric": {}, "value": [time.time(), str(time.time() - 20)]}]
    elif question.startswith("max by (__name__"):
        found = {"florin_postgres_up": 1.0, "florin_state_unread": 0.0} | figures
        lines = [{"metric": {"__name__": name}, "value": [time.time(), str(value)]} for name, value in found.items()]
    elif question.startswith("sum(florin_processes"):
        lines = [{"metric": {}, "value": [time.time(), "7"]}]
    return send(it, json.dumps({"data": {"result": lines}}).encode())


def test_what_fires_in_prometheus_is_seen_and_judged(prometheus: Stub) -> None:
    """A page that is green while somebody is woken would be believed once. Alerts that are not ours are not."""
    prometheus.answers(a_prometheus)
    found = asked(NOWHERE, prometheus.url)

    assert [each["name"] for each in found["current"]["firing"]] == ["Burning", "PoolExhausted"]
    assert found["current"]["firing"][0]["runbook_url"] == "docs/runbooks.md#burning"
    assert found["prometheus"] == "answers"
    assert found["verdict"]["level"] == "stuck"
    assert found["verdict"]["words"][0].startswith("Alert Burning: Burning it is (for ")


def test_without_prometheus_it_is_said_that_its_alerts_are_not_seen(exporter: Stub) -> None:
    """No alert is not the same as nobody who could raise one."""
    none, away = asked(exporter.url), asked(exporter.url, NOWHERE)

    assert (none["prometheus"], none["current"]["firing"]) == ("none", None)
    assert (away["prometheus"], away["current"]["firing"]) == ("away", None)


def test_what_the_exporter_has_read_since_the_last_scrape_counts(exporter: Stub, prometheus: Stub) -> None:
    """Money that has just got stuck is red now, not a scrape later; processes are still those of every host."""
    prometheus.answers(a_prometheus)
    exporter.says(postgres_up=False, oldest_pending_s=None, workers=1)
    found = asked(exporter.url, prometheus.url)
    exporter.says(age_s=40)
    older = asked(exporter.url, prometheus.url)

    assert found["source"] == older["source"] == "prometheus"
    assert found["age_s"] < 15 < older["age_s"] < 39
    assert found["verdict"]["words"][0] == "Money is stuck: Postgres is away, so nothing is accepted or settled"
    assert (found["current"]["workers"], older["current"]["workers"]) == (7, 7)
    assert [each["name"] for each in found["current"]["firing"]] == ["Burning", "PoolExhausted"]


def test_a_database_that_answers_in_part_is_not_away_by_prometheus_either(prometheus: Stub) -> None:
    """As the exporter has it."""
    prometheus.answers(lambda it: a_prometheus(it, florin_postgres_up=0.0, florin_state_unread=1.0))

    assert asked(NOWHERE, prometheus.url)["current"]["postgres_up"] is True


@pytest.mark.parametrize(
    ("scraped_every_s", "span", "window"),
    [(5, "15m", "30s"), (15, "15m", "60s"), (5, "6h", "65s"), (15, "24h", "255s")],
)
def test_rates_are_over_as_little_time_as_the_scrapes_allow(
    prometheus: Stub, scraped_every_s: float, span: Span, window: str
) -> None:
    """Over minutes a burst is spread out until it is none; over less than four scrapes, there may be nothing."""
    questions: list[str] = []
    prometheus.answers(lambda it: a_prometheus(it, scraped_every_s=scraped_every_s, asked=questions))
    asked(NOWHERE, prometheus.url, span)

    assert f"sum(rate(florin_commands_settled_total[{window}]))" in questions


def test_ten_screens_cost_as_much_as_one(exporter: Stub) -> None:
    """They ask at the same moment, and one question is sent on; so it is when there is no answer."""

    async def ten(overviews: Overviews) -> None:
        answers = await asyncio.gather(*(overviews.document("15m") for _ in range(10)), return_exceptions=True)
        assert len({type(each) for each in answers}) == 1

    with_overviews(exporter.url, None, ten)
    asked_for_good = exporter.asked
    exporter.answers(lambda it: send(it, b"", status=500))
    with_overviews(exporter.url, None, ten)

    assert asked_for_good == 1
    assert exporter.asked == 2
