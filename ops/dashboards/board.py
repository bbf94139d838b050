"""A dashboard out of panels: where each stands on the grid, what can be chosen at the top, what links to what."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from grafana_foundation_sdk.builders import dashboard as builders
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import dashboard

from ops.dashboards.panels import PROMETHEUS, Panel

COLUMNS: Final = 24
TAG: Final = "florin"

_LABEL_VALUES: Final = 1
"""What the editor of Grafana's Prometheus calls such a query."""
_ALERTS: Final = 'ALERTS{alertstate="firing", severity=~"page|ticket"}'


@dataclass(frozen=True, slots=True)
class Section:
    """A heading and the panels beneath it, in reading order. Its lines are full: no gaps."""

    title: str
    panels: Sequence[Panel]


@dataclass(frozen=True, slots=True)
class Board:
    """One dashboard, and its file."""

    name: str
    dashboard: dashboard.Dashboard

    def to_json(self) -> str:
        """What Grafana reads."""
        document = json.loads(json.dumps(self.dashboard, cls=JSONEncoder))
        _show_links(document)
        return json.dumps(document, indent=2, ensure_ascii=False, sort_keys=True) + "\n"


def uid(name: str) -> str:
    """Fixed, so that links and bookmarks hold."""
    return f"florin-{name}"


def link_to(name: str, title: str) -> builders.DashboardLink:
    """A link from a panel to another dashboard, for the same time."""
    return builders.DashboardLink(title).url(f"/d/{uid(name)}?${{__url_time_range}}&var-datasource=${{datasource}}")


def board(
    name: str,
    title: str,
    description: str,
    *sections: Section,
    by_currency: bool = False,
    has_data: bool = True,
    time_from: str = "now-1h",
) -> Board:
    """A dashboard for reading: what is changed in Grafana itself is gone with the next deployment."""
    builder = (
        builders.Dashboard(f"Florin: {title}")
        .uid(uid(name))
        .description(description)
        .tags([TAG])
        .timezone("browser")
        .time(time_from, "now")
        .readonly()
        .tooltip(dashboard.DashboardCursorSync.CROSSHAIR)
        .link(
            builders.DashboardLink("Florin")
            .type(dashboard.DashboardLinkType.DASHBOARDS)
            .tags([TAG])
            .icon("external link")
            .as_dropdown(False)
            .keep_time(True)
            .include_vars(True)
            .tooltip("The other dashboards")
        )
    )
    if has_data:
        builder.refresh("10s").with_variable(_datasource()).annotation(_alerts())
    if by_currency:
        builder.with_variable(_currency())
    made = builder.build()
    made.panels = place(sections)
    return Board(name, made)


def place(sections: Sequence[Section]) -> list[dashboard.Panel | dashboard.RowPanel]:
    """Put each panel in the topmost, leftmost place of its section that it fits in."""
    placed: list[dashboard.Panel | dashboard.RowPanel] = []
    top = 0
    for section in sections:
        heading = builders.Row(section.title).grid_pos(dashboard.GridPos(h=1, w=COLUMNS, x=0, y=top)).build()
        heading.id_val = len(placed) + 1
        placed.append(heading)
        top += 1
        taken: set[tuple[int, int]] = set()
        for panel in (each.build() for each in section.panels):
            assert panel.grid_pos is not None
            panel.grid_pos = _first_fit(panel.grid_pos, top, taken)
            panel.id_val = len(placed) + 1
            placed.append(panel)
        top = max(y for _, y in taken) + 1
    return placed


def _first_fit(size: dashboard.GridPos, top: int, taken: set[tuple[int, int]]) -> dashboard.GridPos:
    y = top
    while True:
        for x in range(COLUMNS - size.w + 1):
            cells = {(column, line) for column in range(x, x + size.w) for line in range(y, y + size.h)}
            if not cells & taken:
                taken |= cells
                return dashboard.GridPos(h=size.h, w=size.w, x=x, y=y)
        y += 1


def _datasource() -> builders.DatasourceVariable:
    return (
        builders.DatasourceVariable("datasource")
        .label("Prometheus")
        .description("The Prometheus that scrapes Florin's exporters.")
        .type("prometheus")
        .multi(False)
        .include_all(False)
    )


def _currency() -> builders.QueryVariable:
    query = "label_values(florin_deposits_amount, currency)"
    return (
        builders.QueryVariable("currency")
        .label("Currency")
        .description("Amounts of different currencies are never added up.")
        .datasource(PROMETHEUS)
        .query({"qryType": _LABEL_VALUES, "query": query, "refId": "PrometheusVariableQueryEditor-VariableQuery"})
        .definition(query)
        .refresh(dashboard.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(dashboard.VariableSort.ALPHABETICAL_ASC)
        .multi(True)
        .include_all(True)
        .all_value(".*")
        .current(dashboard.VariableOption(text="All", value="$__all", selected=True))
    )


def _alerts() -> builders.AnnotationQuery:
    """When which alert fired, as lines across every panel."""
    return (
        builders.AnnotationQuery()
        .name("Alerts")
        .datasource(PROMETHEUS)
        .enable(True)
        .hide(False)
        .icon_color("red")
        .expr(_ALERTS)
        .step("30s")
        .title_format("{{alertname}}")
        .text_format("{{severity}}")
        .tag_keys("severity")
        .use_value_for_time(False)
    )


def _show_links(node: Any) -> None:
    """Drop what the SDK writes into every link: it would hide the links at the top in a menu."""
    if isinstance(node, dict):
        for link in node.get("links") or []:
            link.pop("placement", None)
        for each in node.values():
            _show_links(each)
    elif isinstance(node, list):
        for each in node:
            _show_links(each)
