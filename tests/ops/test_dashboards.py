"""The dashboards: what is committed is what the code gives, it asks for what there is, and a person can read it."""

import json
import re
import shutil
import signal
import subprocess
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import Any, Final

import promql_parser
import pytest
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models import units
from grafana_foundation_sdk.models.dashboard import Dashboard
from prometheus_client import Histogram
from prometheus_client.metrics import MetricWrapperBase

from api_min.ops import verdict as page_verdict
from cli.servers import process
from exporter.figures import FIGURES
from ops.dashboards import overview
from ops.dashboards.board import COLUMNS, Section, place
from ops.dashboards.catalogue import FOLDER, files
from ops.dashboards.panels import SLO_S, stat
from processor import telemetry
from tests.conftest import Database
from tests.eventually import eventually
from tests.ops.rules import PROMETHEUS, metrics, read, rules
from tests.stack import Stack

BOARDS: Final[dict[str, dict[str, Any]]] = {path.stem: json.loads(path.read_text()) for path in FOLDER.glob("*.json")}

VARIABLES: Final = {"$__rate_interval": "30s", "$currency": ".*"}
"""What Grafana puts into expressions, and what a test puts there."""

OF_PROMETHEUS: Final = {"ALERTS": {"alertname", "alertstate", "severity"}}
SPREADING: Final = {"livesum", "liveall", "all"}
"""Modes of gauges that each process has its own of: they are added up."""

NOT_ON_EVERY_STACK: Final = {
    # What must not happen, and has no series before it does.
    "ALERTS",
    "florin_alert_notifications_total",
    "florin_alert_oldest_open_age_seconds",
    "florin_alerts_open",
    "florin_message_retries_total",
    "florin_messages_given_up_total",
    "florin_pool_errors_total",
    'florin_job_runs_total{result="error"}',
    # What a stack without statements, or without a day on which something was due, has none of.
    'florin_commands_settled_total{type="collect"}',
    "florin_overdue_amount",
    "florin_statement_breaks_open",
    "florin_statement_last_import_timestamp_seconds",
}
"""The series whose panels may be empty while all is well."""

WORKERS: Final = 'florin_processes{component="worker",version="1"}'
OF_ROWS: Final = {
    "florin_oldest_pending_age_seconds": 0,
    "florin_backlog_commands": 0,
    "florin_scheduler_leader": 1,
    "florin_dead_letters_open": 0,
    "florin_held_commands": 0,
}
FINE: Final = {**OF_ROWS, "florin_postgres_up": 1, "florin_redis_up": 1, WORKERS: 2}
"""The figures of a stack on which all is well."""


@dataclass(frozen=True, slots=True)
class Asked:
    """An expression of a panel, as Prometheus is asked."""

    where: str
    expr: str
    is_shown: bool = True
    """If not, only the names of its labels' values are."""


def panels(board: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """All but the headings."""
    return (panel for panel in board["panels"] if panel["type"] != "row")


def asked() -> list[Asked]:
    """Every expression of every dashboard: of panels, of what can be chosen, and of the marks for alerts."""
    found = []
    for name, board in BOARDS.items():
        for panel in panels(board):
            found += [Asked(f"{name}: {panel['title']}", each["expr"]) for each in panel.get("targets", [])]
        for mark in board.get("annotations", {}).get("list", []):
            found.append(Asked(f"{name}: {mark['name']}", mark["expr"]))
        for variable in board.get("templating", {}).get("list", []):
            if variable["type"] == "query":
                of_series, _, _ = variable["query"]["query"].removeprefix("label_values(").partition(",")
                found.append(Asked(f"{name}: ${variable['name']}", of_series, is_shown=False))
    for variable, value in VARIABLES.items():
        found = [replace(each, expr=each.expr.replace(variable, value)) for each in found]
    return found


each_board = pytest.mark.parametrize("name", sorted(BOARDS))


def test_what_is_committed_is_what_the_code_gives() -> None:
    """Grafana reads the files; somebody who changes one by hand would lose it, and one that is old shows nothing."""
    committed = {path: path.read_text() for path in FOLDER.glob("*.json")}

    assert committed == files(), "run: python -m ops.dashboards"


@each_board
def test_grafana_knows_every_field(name: str) -> None:
    """The SDK drops what is not in Grafana's model: there and back, nothing is missing."""
    register_default_plugins()
    there_and_back = json.loads(json.dumps(Dashboard.from_json(BOARDS[name]), cls=JSONEncoder))

    assert without_places(there_and_back) == without_places(BOARDS[name])
    assert BOARDS[name]["schemaVersion"] == 42
    known_units = {value for unit, value in vars(units).items() if not unit.startswith("_") and isinstance(value, str)}
    for panel in panels(BOARDS[name]):
        assert panel.get("fieldConfig", {}).get("defaults", {}).get("unit", "none") in known_units, panel["title"]


def without_places(node: Any) -> Any:
    """The SDK writes where each link stands, which would hide those at the top; ours say nothing of it."""
    if isinstance(node, dict):
        return {key: without_places(value) for key, value in node.items() if key != "placement" or value == "bottom"}
    return [without_places(each) for each in node] if isinstance(node, list) else node


@each_board
def test_panels_fill_the_grid_and_do_not_overlap(name: str) -> None:
    """Grafana moves what overlaps to where nobody looks for it, and a gap looks like something that is missing."""
    taken: dict[tuple[int, int], str] = {}
    for panel in BOARDS[name]["panels"]:
        at = panel["gridPos"]
        for x in range(at["x"], at["x"] + at["w"]):
            for y in range(at["y"], at["y"] + at["h"]):
                assert (x, y) not in taken, (taken[x, y], panel["title"])
                taken[x, y] = panel["title"]
    lines = max(y for _, y in taken) + 1

    assert {x for x, _ in taken} == set(range(COLUMNS))
    assert name == "runbooks" or len(taken) == COLUMNS * lines


def test_a_panel_that_does_not_fit_goes_to_the_next_line() -> None:
    """The grid is ours, so it is seen to work: beside a tall panel, two lines of small ones."""
    sizes = [(6, 8), (18, 4), (18, 4), (24, 2)]
    placed = place([Section("sizes", [stat(str(n), "", "up", size=size) for n, size in enumerate(sizes)])])[1:]

    assert [(at.x, at.y) for panel in placed if (at := panel.grid_pos)] == [(0, 1), (6, 1), (6, 5), (0, 9)]


@each_board
def test_every_panel_has_a_name_of_its_own_and_says_what_to_do(name: str) -> None:
    """Somebody who is woken has not seen the panel before."""
    titles = [panel["title"] for panel in panels(BOARDS[name])]
    ids = [panel["id"] for panel in BOARDS[name]["panels"]]

    assert len(set(titles)) == len(titles)
    assert len(set(ids)) == len(ids)
    for panel in panels(BOARDS[name]):
        assert len(panel["description"]) > 40, panel["title"]


def test_links_lead_somewhere() -> None:
    """To a dashboard that is there, and to the panel of the runbook that they name."""
    by_uid = {board["uid"]: board for board in BOARDS.values()}
    assert len(by_uid) == len(BOARDS)
    links = [link for board in BOARDS.values() for panel in panels(board) for link in panel.get("links", [])]
    assert links
    for link in links:
        path, _, query = link["url"].partition("?")
        board = by_uid[path.removeprefix("/d/")]
        if wanted := re.search(r"viewPanel=panel-(\d+)", query):
            (panel,) = [each for each in panels(board) if each["id"] == int(wanted[1])]
            assert link["title"] == f"Runbook: {anchor(panel['title'])}"


def anchor(title: str) -> str:
    """What a heading is called in an address."""
    return re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-")


@pytest.mark.parametrize("each", asked(), ids=lambda each: each.where)
def test_an_expression_asks_for_what_there_is(each: Asked) -> None:
    """
    A name or label with a slip in it is an empty panel that nobody misses until the night it is needed.

    And each kind is asked for as it must be: rates of counters only, histograms with ``le``, what every exporter reads
    from the same row by its maximum, and what each process has of its own by the sum.
    """
    assert "$" not in each.expr
    for use in uses(promql_parser.parse(each.expr)):
        kind, labels = known(use.name)
        named = {matcher.name for matcher in use.selector.matchers.matchers}
        assert named | use.grouped <= labels | {"le"}, f"{use.name} has no label {(named | use.grouped) - labels}"
        assert ("rate" in use.functions) <= (kind in {"counter", "histogram"}), f"{use.name} is a {kind}"
        if "histogram_quantile" in use.functions:
            assert use.name.endswith("_bucket")
            assert "le" in use.grouped
        if not each.is_shown:
            continue
        if kind == "state" or use.name in FIGURES:
            assert use.aggregate in {"max", "min"}, f"{use.name}: every exporter shows it, so take the max"
        elif kind in {"counter", "histogram", "of each process"}:
            assert use.aggregate == "sum", f"{use.name}: each process has its own, so take the sum"


def test_no_panel_is_excused_for_nothing() -> None:
    """A series that is on the list of those that may be missing, and no longer asked for, would hide the next one."""
    named = {str(each.selector.name) for one in asked() for each in uses(promql_parser.parse(one.expr))}

    assert {name.partition("{")[0] for name in NOT_ON_EVERY_STACK} <= named


@dataclass(frozen=True, slots=True)
class Use:
    """A selector, and what is done with it: functions around it, the nearest aggregation and its labels."""

    selector: promql_parser.VectorSelector
    functions: frozenset[str]
    aggregate: str | None
    grouped: frozenset[str]

    @property
    def name(self) -> str:
        return str(self.selector.name)


def uses(
    node: Any,
    functions: frozenset[str] = frozenset(),
    aggregate: str | None = None,
    grouped: frozenset[str] = frozenset(),
) -> Iterator[Use]:
    """Every selector of an expression, with what stands around it."""
    match node:
        case promql_parser.VectorSelector():
            yield Use(node, functions, aggregate, grouped)
        case promql_parser.MatrixSelector():
            yield Use(node.vector_selector, functions, aggregate, grouped)
        case promql_parser.Call():
            name = "rate" if node.func.name in {"rate", "increase"} else node.func.name
            for argument in node.args:
                yield from uses(argument, functions | {name}, aggregate, grouped)
        case promql_parser.BinaryExpr():
            for side in (node.lhs, node.rhs):
                yield from uses(side, functions, aggregate, grouped)
        case promql_parser.AggregateExpr():
            labels = frozenset(node.modifier.labels) if node.modifier else frozenset()
            yield from uses(node.expr, functions, str(node.op), labels)
        case _ if hasattr(node, "expr"):
            yield from uses(node.expr, functions, aggregate, grouped)


def known(name: str) -> tuple[str, set[str]]:
    """What kind of series it is, and its labels. It is in the code, or a rule writes it."""
    if name in OF_PROMETHEUS:
        return "of Prometheus", OF_PROMETHEUS[name]
    if name in {rule.name for rule in rules() if not rule.is_alert}:
        return "recorded", set()
    assert name in metrics(), f"no code and no rule writes {name}"
    if name in FIGURES:
        return ("counter" if FIGURES[name].kind == "counter" else "state"), metrics()[name]
    return of_processes()[name], metrics()[name]


def of_processes() -> dict[str, str]:
    """What the processes count, by kind."""
    kinds: dict[str, str] = {}
    for metric in vars(telemetry).values():
        if isinstance(metric, MetricWrapperBase):
            for family in metric.describe():
                if isinstance(metric, Histogram):
                    kinds |= {f"{family.name}_{part}": "histogram" for part in ("bucket", "count", "sum")}
                elif family.type == "counter":
                    kinds[f"{family.name}_total"] = "counter"
                else:
                    mode = getattr(metric, "_multiprocess_mode", "")
                    kinds[family.name] = "of each process" if mode in SPREADING else "state"
    return kinds


@pytest.mark.parametrize(
    ("figures", "verdict"),
    [
        ({}, 0),
        ({"florin_oldest_pending_age_seconds": 9, "florin_backlog_commands": 5_000}, 0),
        ({"florin_oldest_pending_age_seconds": 11}, 1),
        ({"florin_oldest_pending_age_seconds": 61}, 2),
        ({"florin_scheduler_leader": 0}, 1),
        ({"florin_redis_up": 0}, 1),
        ({"florin_redis_up": 0, "florin_oldest_pending_age_seconds": 11}, 2),
        ({WORKERS: None}, 1),
        ({WORKERS: None, "florin_oldest_pending_age_seconds": 11}, 2),
        ({"florin_dead_letters_open": 1}, 1),
        ({"florin_held_commands": 1}, 1),
        ({'florin_alerts_open{severity="ticket",proof="job_runs"}': 1}, 1),
        ({'florin_alerts_open{severity="page",proof="zero_sum"}': 1}, 2),
        # What is read from rows is not there while Postgres is away.
        ({"florin_postgres_up": 0, **dict.fromkeys(OF_ROWS)}, 2),
        # Without an exporter, nobody knows: that must not look like 'no'.
        (dict.fromkeys([*OF_ROWS, "florin_postgres_up", "florin_redis_up", WORKERS]), None),
    ],
)
def test_the_first_panel_says_whether_money_is_stuck(
    tmp_path: Path, figures: Mapping[str, int | None], verdict: int | None
) -> None:
    """The one word that a whole wall of people trusts, computed by Prometheus's own test tool."""
    if not shutil.which("promtool"):
        pytest.skip("promtool is not installed: the verdict was not computed (apt-get install prometheus)")
    given = {name: value for name, value in {**FINE, **figures}.items() if value is not None}
    test = {
        "interval": "15s",
        "input_series": [{"series": name, "values": str(value)} for name, value in given.items()],
        "promql_expr_test": [
            {
                "expr": overview.VERDICT,
                "eval_time": "0s",
                "exp_samples": [] if verdict is None else [{"labels": "{}", "value": verdict}],
            }
        ],
    }
    (tmp_path / "test.yml").write_text(json.dumps({"tests": [test]}))
    done = subprocess.run(["promtool", "test", "rules", tmp_path / "test.yml"], capture_output=True, text=True)

    assert done.returncode == 0, done.stderr


def test_the_first_panel_and_the_page_of_the_api_agree_on_what_is_slow() -> None:
    """Two screens side by side that say different things are worse than one."""
    assert (overview.SLOW_AFTER_S, overview.STUCK_AFTER_S) == (page_verdict.SLOW_S, page_verdict.STUCK_S)
    assert SLO_S in telemetry.SECONDS, "the promise is counted in a bucket of its own"


def test_a_real_prometheus_has_an_answer_for_every_panel(tmp_path: Path, database: Database, redis_url: str) -> None:
    """The parser knows the grammar; only a Prometheus that scrapes a stack knows whether the panel shows anything."""
    if not shutil.which("prometheus"):
        pytest.skip("prometheus is not installed: no expression of a dashboard was run (apt-get install prometheus)")
    often = {f"FLORIN_{job}_EVERY_S": "1" for job in ("PROVE", "PROVE_FULL", "SEAL", "CHECK_ADVANCES", "COLLECT")}
    with (
        Stack(
            database.owner_url,
            database.app_url,
            redis_url,
            tmp_path,
            workers=1,
            settings=often,
        ) as stack,
        prometheus(tmp_path, stack.metrics_url) as url,
    ):
        pay = customer(stack)
        # Only now: what changes slowly, such as advances, is read when it starts and once a minute then.
        stack.start("exporter-1")
        wanted = {each for each in asked() if not may_be_empty(each)}
        optional = set(asked()) - wanted
        assert wanted
        assert all(query(url, each.expr) is not None for each in optional)

        def all_answered() -> bool:
            pay()
            wanted.difference_update({each for each in wanted if query(url, each.expr)})
            return not wanted

        eventually(lambda: [each["value"][1] for each in query(url, overview.VERDICT)] == ["0"])
        try:
            eventually(all_answered, within_s=60)
        except AssertionError:
            pytest.fail(
                "nothing to show:\n" + "\n".join(f"{each.where}: {each.expr}" for each in sorted_by_where(wanted))
            )


def sorted_by_where(many: set[Asked]) -> list[Asked]:
    """In the order of dashboards and panels."""
    return sorted(many, key=lambda each: each.where)


def may_be_empty(each: Asked) -> bool:
    """Whether it asks for a series that a stack on which all is well need not have."""
    if " or " in each.expr:
        return False
    names = {use.name: str(use.selector.matchers) for use in uses(promql_parser.parse(each.expr))}
    return any(
        name in NOT_ON_EVERY_STACK or f"{name}{matchers}" in NOT_ON_EVERY_STACK for name, matchers in names.items()
    )


def query(url: str, expr: str) -> list[Any]:
    """What Prometheus answers. An error is one of the test."""
    parameters = urllib.parse.urlencode({"query": expr})
    with urllib.request.urlopen(f"{url}/api/v1/query?{parameters}", timeout=30) as answer:
        document = json.load(answer)
    assert document["status"] == "success", (expr, document)
    result: list[Any] = document["data"]["result"]
    return result


@contextmanager
def prometheus(folder: Path, scraped: str) -> Iterator[str]:
    """Debian's, with our configuration and rules, except that it looks every second, and here."""
    (folder / "prometheus" / "rules").mkdir(parents=True)
    for path in (PROMETHEUS / "rules").glob("*.yml"):
        hurried = re.sub(r"(?m)^(\s+interval:) .*$", r"\1 1s", path.read_text())
        (folder / "prometheus" / "rules" / path.name).write_text(hurried)
    configuration = read(PROMETHEUS / "prometheus.yml")
    (scrape,) = (each for each in configuration["scrape_configs"] if each["job_name"] == "florin")
    scrape = {**scrape, "static_configs": [{"targets": [scraped.removeprefix("http://")]}]}
    wanted = {
        "global": dict.fromkeys(("scrape_interval", "scrape_timeout", "evaluation_interval"), "1s"),
        "rule_files": configuration["rule_files"],
        "scrape_configs": [scrape],
    }
    (folder / "prometheus" / "prometheus.yml").write_text(json.dumps(wanted))  # JSON is YAML.
    port = process.free_port()
    running = process.spawn(
        [
            "prometheus",
            f"--config.file={folder}/prometheus/prometheus.yml",
            f"--storage.tsdb.path={folder}/prometheus/data",
            f"--web.listen-address=127.0.0.1:{port}",
        ],
        env={"PATH": "/usr/bin:/bin"},
        log=folder / "prometheus.log",
        death_signal=signal.SIGKILL,
    )
    url = f"http://127.0.0.1:{port}"
    try:
        eventually(lambda: is_ready(f"{url}/-/ready"))
        yield url
    finally:
        process.stop([running], signal.SIGTERM, patience_s=30)


def is_ready(url: str) -> bool:
    """Whether it answers with 200."""
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def customer(stack: Stack) -> Callable[[], None]:
    """Somebody with an advance, whose deposit is taken, and withdrawal refused, as often as it is called."""
    key = stack.key("billing")
    numbers = count()

    def send(**body: str) -> None:
        request = urllib.request.Request(
            f"{stack.url}/v1/commands",
            json.dumps({"account": "alice", "currency": "USD", **body}).encode(),
            {
                "Authorization": f"Bearer {key}",
                "Content-Type": "application/json",
                "Idempotency-Key": f"command-{next(numbers)}",
                "Prefer": "wait=20",
            },
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            assert answer.status == 200

    def pay() -> None:
        send(type="deposit", amount="10.50")
        send(type="withdraw", amount="90000.00")

    send(type="open_account")
    send(type="advance", amount="120.00")
    return pay
