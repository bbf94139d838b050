"""The kinds of panels that all dashboards are made of, so that a colour, a unit and a line mean the same on each."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from grafana_foundation_sdk.builders import common as common_builders
from grafana_foundation_sdk.builders import dashboard as dashboard_builders
from grafana_foundation_sdk.builders import prometheus as prometheus_builders
from grafana_foundation_sdk.builders import stat as stat_builders
from grafana_foundation_sdk.builders import table as table_builders
from grafana_foundation_sdk.builders import text as text_builders
from grafana_foundation_sdk.builders import timeseries as timeseries_builders
from grafana_foundation_sdk.models import common, dashboard, prometheus, text, units

GOOD: Final = "green"
WORTH_A_LOOK: Final = "orange"
BAD: Final = "red"
NEUTRAL: Final = "blue"
UNKNOWN: Final = "purple"
"""No figure is not a good figure, so it looks like neither."""

PROMETHEUS: Final = common.DataSourceRef(type_val="prometheus", uid="${datasource}")
"""Whichever is chosen at the top of the dashboard."""

SLO_S: Final = 5
"""A command has its outcome within so many seconds of its receipt."""

_LONGER_THAN_ANYTHING_S: Final = 1_000_000_000

Link = dashboard_builders.DashboardLink
Panel = stat_builders.Panel | table_builders.Panel | text_builders.Panel | timeseries_builders.Panel
Steps = Sequence[tuple[float | None, str]]
"""Colours, each from its number on; the first from None, which is below everything."""


@dataclass(frozen=True, slots=True)
class Query:
    """An expression, and the name of its lines, in which ``{{label}}`` stands for a label's value."""

    expr: str
    legend: str = ""


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table: what is asked, how it is shown, and from where on it is a worry."""

    title: str
    expr: str
    unit: str = units.Short
    steps: Steps = ((None, "text"),)


def rising(worth_a_look: float, bad: float) -> Steps:
    """The more, the worse."""
    return ((None, GOOD), (worth_a_look, WORTH_A_LOOK), (bad, BAD))


def falling(good_from: float, worth_a_look_from: float) -> Steps:
    """The less, the worse."""
    return ((None, BAD), (worth_a_look_from, WORTH_A_LOOK), (good_from, GOOD))


NONE_IS_GOOD: Final = rising(1, 1)[::2]
"""One is one too many."""
NONE_IS_BAD: Final = falling(1, 1)[::2]
ALWAYS_NEUTRAL: Final[Steps] = ((None, NEUTRAL),)


def stat(
    title: str,
    description: str,
    expr: str,
    *,
    unit: str = units.Short,
    steps: Steps = ALWAYS_NEUTRAL,
    words: Mapping[str, str] | None = None,
    ranges: Sequence[tuple[float | None, float | None, str]] = (),
    size: tuple[int, int] = (4, 4),
    links: Sequence[Link] = (),
    decimals: int | None = None,
    legend: str = "",
) -> stat_builders.Panel:
    """
    One figure as it is now, on its colour. ``words`` and ``ranges`` say it in words instead.

    It is asked for as of now, never as the last one that there was: a figure that has gone is shown as unknown.
    """
    panel = (
        stat_builders.Panel()
        .title(title)
        .description(description)
        .datasource(PROMETHEUS)
        .span(size[0])
        .height(size[1])
        .unit(unit)
        .thresholds(_thresholds(steps))
        .color_scheme(dashboard_builders.FieldColor().mode(dashboard.FieldColorModeId.THRESHOLDS))
        .mappings(_mappings(steps, words or {}, ranges))
        .no_value("unknown")
        .color_mode(common.BigValueColorMode.BACKGROUND_SOLID)
        .graph_mode(common.BigValueGraphMode.NONE)
        .justify_mode(common.BigValueJustifyMode.CENTER)
        .text_mode(common.BigValueTextMode.VALUE_AND_NAME if legend else common.BigValueTextMode.VALUE)
        .orientation(common.VizOrientation.AUTO)
        .reduce_options(common_builders.ReduceDataOptions().calcs(["lastNotNull"]).fields("").values(False))
        .links(list(links))
        .with_target(_target(0, Query(expr, legend), instant=True))
    )
    return panel if decimals is None else panel.decimals(decimals)


def series(
    title: str,
    description: str,
    *queries: Query,
    unit: str = units.Short,
    steps: Steps | None = None,
    is_stacked: bool = False,
    from_zero: bool = True,
    size: tuple[int, int] = (12, 8),
    links: Sequence[Link] = (),
) -> timeseries_builders.Panel:
    """Figures over time, their largest and latest beneath. ``steps`` draws a dashed line where each colour begins."""
    panel = (
        timeseries_builders.Panel()
        .title(title)
        .description(description)
        .datasource(PROMETHEUS)
        .span(size[0])
        .height(size[1])
        .unit(unit)
        .color_scheme(dashboard_builders.FieldColor().mode(dashboard.FieldColorModeId.PALETTE_CLASSIC_BY_NAME))
        .draw_style(common.GraphDrawStyle.LINE)
        .line_interpolation(common.LineInterpolation.LINEAR)
        .line_width(1)
        .fill_opacity(25 if is_stacked else 8)
        .gradient_mode(common.GraphGradientMode.NONE)
        .show_points(common.VisibilityMode.NEVER)
        # A gap is shown as a gap: nobody knows what was in it.
        .span_nulls(False)
        .stacking(
            common_builders.StackingConfig()
            .mode(common.StackingMode.NORMAL if is_stacked else common.StackingMode.NONE)
            .group("A")
        )
        .legend(
            common_builders.VizLegendOptions()
            .display_mode(common.LegendDisplayMode.TABLE)
            .placement(common.LegendPlacement.BOTTOM)
            .show_legend(True)
            .calcs(["max", "lastNotNull"])
        )
        .tooltip(
            common_builders.VizTooltipOptions().mode(common.TooltipDisplayMode.MULTI).sort(common.SortOrder.DESCENDING)
        )
        .thresholds(_thresholds(steps or ((None, GOOD),)))
        .thresholds_style(
            common_builders.GraphThresholdsStyleConfig().mode(
                common.GraphThresholdsStyleMode.DASHED if steps else common.GraphThresholdsStyleMode.OFF
            )
        )
        .links(list(links))
    )
    if from_zero:
        panel.axis_soft_min(0)
    for number, query in enumerate(queries):
        panel.with_target(_target(number, query, instant=False))
    return panel


def table(
    title: str,
    description: str,
    labels: Mapping[str, str],
    *columns: Column,
    size: tuple[int, int] = (12, 8),
    links: Sequence[Link] = (),
    no_value: str = "none",
    sorted_by: str | None = None,
) -> table_builders.Panel:
    """Rows by their ``labels``, each with its title; one column for each question, joined where all labels agree."""
    names = [f"Value #{_ref(number)}" for number in range(len(columns))] if len(columns) > 1 else ["Value"]
    titles = {name: column.title for name, column in zip(names, columns, strict=True)}
    order = {name: index for index, name in enumerate([*labels, *names])}
    panel = (
        table_builders.Panel()
        .title(title)
        .description(description)
        .datasource(PROMETHEUS)
        .span(size[0])
        .height(size[1])
        .no_value(no_value)
        .thresholds(_thresholds(((None, "text"),)))
        .color_scheme(dashboard_builders.FieldColor().mode(dashboard.FieldColorModeId.THRESHOLDS))
        .align(common.FieldTextAlignment.AUTO)
        .cell_height(common.TableCellHeight.SM)
        .show_header(True)
        .links(list(links))
        .with_transformation(dashboard.DataTransformerConfig(id_val="merge", options={}))
        .with_transformation(
            dashboard.DataTransformerConfig(
                id_val="organize",
                options={
                    "excludeByName": {"Time": True},
                    "indexByName": order,
                    "renameByName": {**labels, **titles},
                },
            )
        )
        .sort_by([common_builders.TableSortByFieldState().display_name(sorted_by or columns[0].title).desc(True)])
    )
    for number, column in enumerate(columns):
        panel.with_target(_target(number, Query(column.expr), instant=True, as_table=True))
        panel.override_by_name(
            column.title,
            [
                dashboard.DynamicConfigValue(id_val="unit", value=column.unit),
                dashboard.DynamicConfigValue(id_val="thresholds", value=_thresholds(column.steps).build()),
                dashboard.DynamicConfigValue(
                    id_val="mappings", value=[_never()] if column.unit == units.Seconds else []
                ),
                dashboard.DynamicConfigValue(id_val="custom.cellOptions", value={"type": "color-text"}),
            ],
        )
    return panel


def words(title: str, markdown: str, *, size: tuple[int, int], description: str) -> text_builders.Panel:
    """Text, as Markdown."""
    return (
        text_builders.Panel()
        .title(title)
        .description(description)
        .mode(text.TextMode.MARKDOWN)
        .content(markdown)
        .span(size[0])
        .height(size[1])
    )


def quantile(share: float, histogram: str, *, by: str = "", where: str = "") -> str:
    """The expression for a quantile of a histogram over all processes."""
    labels = f"le, {by}" if by else "le"
    return f"histogram_quantile({share}, sum by ({labels}) (rate({histogram}_bucket{where}[$__rate_interval])))"


def per_second(counter: str, *, by: str = "", where: str = "") -> str:
    """The expression for the rate of a counter over all processes."""
    labels = f" by ({by})" if by else ""
    return f"sum{labels} (rate({counter}{where}[$__rate_interval]))"


def highest_rate(counter: str) -> str:
    """The expression for the rate of a counter that every exporter reads from the same server."""
    return f"max(rate({counter}[$__rate_interval]))"


def ago(timestamp: str, *, by: str, where: str = "") -> str:
    """The expression for the time since a timestamp that every exporter reads from the same row."""
    return f"time() - max by ({by}) ({timestamp}{where})"


def mean(histogram: str, *, by: str = "") -> str:
    """The expression for the mean of what a histogram counted."""
    return f"{per_second(f'{histogram}_sum', by=by)} / {per_second(f'{histogram}_count', by=by)}"


def _target(number: int, query: Query, *, instant: bool, as_table: bool = False) -> prometheus_builders.Dataquery:
    target = (
        prometheus_builders.Dataquery()
        .ref_id(_ref(number))
        .datasource(PROMETHEUS)
        .expr(query.expr)
        .editor_mode(prometheus.QueryEditorMode.CODE)
        .format(prometheus.PromQueryFormat.TABLE if as_table else prometheus.PromQueryFormat.TIME_SERIES)
    )
    target = target.instant() if instant else target.range()
    return target.legend_format(query.legend) if query.legend else target


def _ref(number: int) -> str:
    return chr(ord("A") + number)


def _thresholds(steps: Steps) -> dashboard_builders.ThresholdsConfig:
    return (
        dashboard_builders.ThresholdsConfig()
        .mode(dashboard.ThresholdsMode.ABSOLUTE)
        .steps([dashboard.Threshold(value=value, color=color) for value, color in steps])
    )


def _mappings(
    steps: Steps, words: Mapping[str, str], ranges: Sequence[tuple[float | None, float | None, str]]
) -> list[dashboard.ValueMapping]:
    """Words for numbers, in the colour that the number has; and no number at all has its own word and colour."""
    missing = dashboard.ValueMappingResult(text="unknown", color=UNKNOWN, index=0)
    mappings: list[dashboard.ValueMapping] = [
        dashboard.SpecialValueMap(
            dashboard.DashboardSpecialValueMapOptions(match=dashboard.SpecialValueMatch.NULL_AND_NAN, result=missing)
        )
    ]
    if words:
        options = {
            number: dashboard.ValueMappingResult(text=word, color=_color(steps, float(number)), index=index)
            for index, (number, word) in enumerate(words.items(), 1)
        }
        mappings.append(dashboard.ValueMap(options))
    for index, (low, high, word) in enumerate(ranges, 1 + len(words)):
        color = _color(steps, low if low is not None else float("-inf"))
        result = dashboard.ValueMappingResult(text=word, color=color, index=index)
        mappings.append(dashboard.RangeMap(dashboard.DashboardRangeMapOptions(low, high, result)))
    return mappings


def _never() -> dashboard.ValueMapping:
    """A timestamp of zero is one that never was; its age is that of 1970."""
    never = dashboard.ValueMappingResult(text="never", index=0)
    return dashboard.RangeMap(dashboard.DashboardRangeMapOptions(_LONGER_THAN_ANYTHING_S, None, never))


def _color(steps: Steps, number: float) -> str:
    return [color for value, color in steps if value is None or value <= number][-1]
