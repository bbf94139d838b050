"""Reading the alert rules: what each says, which metrics it asks for, and which metrics there are."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

import promql_parser
from prometheus_client import Histogram
from prometheus_client.metrics import MetricWrapperBase
from ruamel.yaml import YAML

from exporter.figures import FIGURES
from processor import telemetry

ROOT: Final = Path(__file__).resolve().parents[2]
PROMETHEUS: Final = ROOT / "ops" / "prometheus"
RULE_FILES: Final = sorted((PROMETHEUS / "rules").glob("*.yml"))
TEST_FILES: Final = sorted((PROMETHEUS / "tests").glob("*.yml"))
ALERTMANAGER: Final = ROOT / "ops" / "alertmanager" / "alertmanager.yml"

OF_PROMETHEUS: Final = {
    "up": {"job", "instance"},
    "prometheus_rule_evaluation_failures_total": {"rule_group"},
    "prometheus_notifications_errors_total": {"alertmanager"},
    "prometheus_config_last_reload_successful": set[str](),
    "alertmanager_notifications_failed_total": {"integration"},
    "alertmanager_config_last_reload_successful": set[str](),
}
"""What Prometheus and Alertmanager say of themselves and of whom they ask. `test_alerting.py` looks whether they do."""


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule: a ``record`` has a name and an expression only."""

    file: str
    name: str
    is_alert: bool
    expr: str
    labels: dict[str, str]
    annotations: dict[str, str]

    @property
    def key(self) -> tuple[str, str | None]:
        """What tells it from all others: of an error budget there is one alert for each window."""
        return self.name, self.labels.get("window")


@cache
def read(path: Path) -> Any:
    """A YAML file, in which no key may be given twice."""
    return YAML(typ="safe").load(path)


@cache
def rules() -> list[Rule]:
    """Every rule of every file."""
    return [
        Rule(
            path.name,
            rule.get("alert") or rule["record"],
            "alert" in rule,
            rule["expr"],
            rule.get("labels", {}),
            rule.get("annotations", {}),
        )
        for path in RULE_FILES
        for group in read(path)["groups"]
        for rule in group["rules"]
    ]


def alerts() -> list[Rule]:
    """Those that call somebody."""
    return [rule for rule in rules() if rule.is_alert]


@cache
def metrics() -> dict[str, set[str]]:
    """Every series that the code can write, as Prometheus calls it, with its labels."""
    found = {figure.name: set(figure.labels) for figure in FIGURES.values()}
    for metric in vars(telemetry).values():
        if isinstance(metric, MetricWrapperBase):
            labels = set(metric._labelnames)
            for family in metric.describe():
                if isinstance(metric, Histogram):
                    found |= {f"{family.name}_{part}": labels for part in ("count", "sum")}
                    found[f"{family.name}_bucket"] = labels | {"le"}
                else:
                    found[family.name + ("_total" if family.type == "counter" else "")] = labels
    return found


def selectors(expr: str) -> list[promql_parser.VectorSelector]:
    """Every series that an expression asks for. Raises ``ValueError`` if it is none."""
    return list(_selectors(promql_parser.parse(expr)))


def _selectors(node: Any) -> Iterator[promql_parser.VectorSelector]:
    if isinstance(node, promql_parser.VectorSelector):
        yield node
    elif isinstance(node, promql_parser.MatrixSelector):
        yield node.vector_selector
    elif isinstance(node, promql_parser.Call):
        for argument in node.args:
            yield from _selectors(argument)
    elif isinstance(node, promql_parser.BinaryExpr):
        yield from _selectors(node.lhs)
        yield from _selectors(node.rhs)
    elif hasattr(node, "expr"):
        yield from _selectors(node.expr)


def sources(expr: str) -> set[str]:
    """The metrics that an expression rests on: recording rules are followed to where they begin."""
    recorded = {rule.name: rule.expr for rule in rules() if not rule.is_alert}
    found: set[str] = set()
    for selector in selectors(expr):
        name = str(selector.name)
        found |= sources(recorded[name]) if name in recorded else {name}
    return found
