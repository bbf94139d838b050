"""One frame of `florin top`: the verdict first, then how fast, how long, and what is left over."""

from collections.abc import Iterable, Sequence
from typing import Final

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from api_min.ops.document import Current, Overview
from api_min.ops.verdict import OF_OUR_OWN, judge, lasting
from cli.watching.source import Reading, Seen

_STYLES: Final = {"ok": "bold white on green", "warning": "bold black on yellow", "stuck": "bold white on red"}
_SIDE_BY_SIDE: Final = 96
"""Columns from which on there is room for two halves."""
_BARS: Final = " ▁▂▃▄▅▆▇█"
_DRAWN: Final = 40
_ALERTS_SHOWN: Final = 8


def frame(seen: Seen, *, width: int, now: float) -> RenderableType:
    """What is shown of what was seen, on a terminal so wide."""
    if seen.reading is None:
        words = f"{seen.trouble or 'no figures'}: trying again"
        return Group(Text.assemble((" NO FIGURES ", _STYLES["warning"]), " ", words), _footer(None, now))
    reading = seen.reading
    left = [_speed(reading, seen.before), _queue(reading), _processes(reading), _pools(reading)]
    right = [_left_over(reading), _alerts(reading.overview.current), _jobs(reading.overview.current)]
    if width >= _SIDE_BY_SIDE:
        halves = Table.grid(expand=True, padding=(0, 2))
        halves.add_column(ratio=1)
        halves.add_column(ratio=1)
        halves.add_row(Group(*_spaced(left)), Group(*_spaced(right)))
        body: list[RenderableType] = [halves]
    else:
        body = _spaced([left[0], right[0], right[1], *left[1:], right[2]])
    return Group(*_verdict(reading, now), Text(), *body, _footer(reading, now))


def _verdict(reading: Reading, now: float) -> list[RenderableType]:
    overview = reading.overview
    verdict = judge(
        overview.current,
        settled_per_s=overview.settled_now_per_s(),
        age_s=_age_s(overview, now),
        waits=overview.waits(),
    )
    first, *others = verdict.words
    headline, _, detail = first.partition(": ")
    heading = Text.assemble((f" {verdict.level.upper()} ", _STYLES[verdict.level]), " ", (headline, "bold"))
    # A line that is too long goes on under its own beginning.
    rest = Table.grid()
    rest.add_column(width=4)
    rest.add_column()
    if detail:
        rest.add_row("", Text(detail[0].upper() + detail[1:], style="bold"))
    for each in others:
        rest.add_row("  - ", Text(each))
    return [heading, rest]


def _speed(reading: Reading, before: Reading | None) -> RenderableType:
    overview = reading.overview
    series, current = overview.series, overview.current
    table = _table("", ">NOW", "LAST MINUTES")
    for name, metric, labels, line in (
        ("accepted /s", "florin_commands_accepted_total", {}, series.accepted_per_s),
        ("settled /s", "florin_commands_settled_total", {}, series.settled_per_s),
        ("refused /s", "florin_commands_settled_total", {"status": "refused"}, _refused(overview)),
    ):
        rate = _rate(reading, before, metric, labels)
        rate = _newest(line) if rate is None else rate
        table.add_row(name, "-" if rate is None else f"{rate:,.1f}", _sparkline(line))
    table.add_row("oldest pending", _lasting(current.oldest_pending_s), _sparkline(series.oldest_pending_s))
    table.add_row("backlog", _count(current.backlog), _sparkline(series.backlog))
    table.add_row("receipt to outcome, p50", _lasting(_newest(series.p50_s)), _sparkline(series.p50_s))
    table.add_row("receipt to outcome, p99", _lasting(_newest(series.p99_s)), _sparkline(series.p99_s))
    return table


def _queue(reading: Reading) -> RenderableType:
    table = _table("QUEUE", *(f">{state.upper()}" for state in ("ready", "delayed", "taken", "dead")))
    if reading.overview.current.redis_up is False:
        table.add_row("Redis does not answer", *"----")
        return table
    for queue in sorted(reading.by_label("florin_queue_messages", "queue")):
        counts = (
            reading.total("florin_queue_messages", queue=queue, state=state)
            for state in ("ready", "delayed", "taken", "dead")
        )
        table.add_row(queue, *map(_count, counts))
    return table


def _processes(reading: Reading) -> RenderableType:
    current = reading.overview.current
    counts = reading.by_label("florin_processes", "component")
    words = ", ".join(f"{count:,.0f} {name}" for name, count in sorted(counts.items()) if name) or "not known"
    leads = {True: "a scheduler leads", False: "NO SCHEDULER LEADS", None: "leader not known"}[current.leader]
    return Text.assemble(("PROCESSES  ", "dim"), f"{words}; ", (leads, "" if current.leader else "bold red"))


def _pools(reading: Reading) -> RenderableType:
    table = _table("POOL", ">USED", ">OF", ">WAITING")
    waiting = reading.by_label("florin_pool_waiting_requests", "pool")
    for pool, connections in sorted(reading.by_label("florin_pool_connections", "pool").items()):
        idle = reading.total("florin_pool_connections", pool=pool, state="idle") or 0.0
        table.add_row(pool, _count(connections - idle), _count(connections), _count(waiting.get(pool, 0.0)))
    return table


def _left_over(reading: Reading) -> RenderableType:
    current = reading.overview.current
    oldest_s = reading.total("florin_dead_letter_oldest_age_seconds")
    age = f", the oldest for {lasting(oldest_s)}" if current.dead_letters and oldest_s else ""
    accounts = "account" if current.quarantined_accounts == 1 else "accounts"
    held = f"{_count(current.held_commands)} held, {_count(current.quarantined_accounts)} {accounts} in quarantine"
    proven = [each.proven_age_s for each in current.proofs if each.proven_age_s is not None]
    never = sum(each.proven_age_s is None for each in current.proofs)
    proofs = f"all {len(proven)} proven, the oldest {lasting(max(proven))} ago" if proven else "none yet"
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim")
    table.add_column()
    table.add_row(
        "DEAD LETTERS", Text(f"{_count(current.dead_letters)} open{age}", style=_alarming(current.dead_letters))
    )
    table.add_row("HELD", Text(held, style=_alarming(current.held_commands)))
    table.add_row("PROOFS", Text(proofs if not never else f"{never} never proven", style="" if not never else "yellow"))
    return table


def _alerts(current: Current) -> RenderableType:
    seen = "" if current.firing is not None else "Florin's own only: Prometheus is not there, or does not say"
    firing = [each for each in current.firing or [] if each.name not in OF_OUR_OWN]
    if not current.alerts and not firing:
        return Text.assemble(("ALERTS  ", "dim"), "none open", (f"\n{seen}" if seen else "", "dim"))
    table = _table("ALERTS", "SEVERITY", ">COUNT", ">FOR")
    rows = [(each.proof, each.severity, _count(each.count), each.oldest_age_s) for each in current.alerts]
    rows += [(each.name, each.severity, "", each.age_s) for each in firing]
    for name, severity, count, age_s in rows[:_ALERTS_SHOWN]:
        style = "bold red" if severity == "page" else "yellow"
        table.add_row(Text(name, style=style), severity, count, _lasting(age_s))
    if len(rows) > _ALERTS_SHOWN:
        table.add_row(f"and {len(rows) - _ALERTS_SHOWN} more")
    hints = [seen] if seen else []
    if current.alerts:
        hints.append("which accounts: ./florin alerts list")
    return Group(table, *(Text(hint, style="dim") for hint in [*hints, "what to do: docs/runbooks.md"]))


def _jobs(current: Current) -> RenderableType:
    table = _table("JOB", ">AGO", ">EVERY", "")
    for each in current.jobs:
        ago = "never" if each.age_s is None else lasting(each.age_s)
        late = Text("late", style="bold red") if each.is_late else Text()
        table.add_row(each.job, ago, _lasting(each.period_s), late)
    return table


def _footer(reading: Reading | None, now: float) -> RenderableType:
    of = ""
    if reading is not None:
        age = lasting(_age_s(reading.overview, now))
        of = f"Florin {reading.overview.current.version or '(version not known)'}, figures of {age} ago; "
    return Text(f"\n{of}q ends", style="dim")


def _age_s(overview: Overview, now: float) -> float:
    """The exporter's clock goes on when its samples do not: what counts is the newest sample."""
    read_at = min(overview.now, overview.times[-1]) if overview.times else overview.now
    return max(0.0, now - read_at)


def _rate(reading: Reading, before: Reading | None, metric: str, labels: dict[str, str]) -> float | None:
    """By how much a counter grew since the last frame; one that went down began again."""
    if before is None or reading.at <= before.at:
        return None
    was, is_ = before.total(metric, **labels), reading.total(metric, **labels)
    if was is None or is_ is None or is_ < was:
        return None
    return (is_ - was) / (reading.at - before.at)


def _refused(overview: Overview) -> list[float | None]:
    """All refusals together, whatever their reason."""
    if not overview.refusals:
        return [None if value is None else 0.0 for value in overview.series.settled_per_s]
    return [
        None if all(value is None for value in values) else sum(value or 0.0 for value in values)
        for values in zip(*overview.refusals.values(), strict=True)
    ]


def _newest(line: Sequence[float | None]) -> float | None:
    """The newest known value, if it is of the last points: the very last one is often not there yet."""
    return next((value for value in reversed(line[-3:]) if value is not None), None)


def _sparkline(line: Sequence[float | None]) -> str:
    drawn = line[-_DRAWN:]
    most = max((value for value in drawn if value is not None), default=0.0)
    return "".join(
        " " if value is None else _BARS[max(1, round(8 * value / most)) if most > 0 else 1] for value in drawn
    )


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in columns:
        right = name.startswith(">")
        table.add_column(
            name.removeprefix(">"), justify="right" if right else "left", no_wrap=True, overflow="ellipsis"
        )
    return table


def _spaced(parts: Iterable[RenderableType]) -> list[RenderableType]:
    spaced = [each for part in parts for each in (part, Text())]
    return spaced[:-1]


def _alarming(count: int | None) -> str:
    return "bold red" if count else ""


def _count(value: float | None) -> str:
    return "-" if value is None else f"{value:,.0f}"


def _lasting(seconds: float | None) -> str:
    if seconds is None:
        return "-"
    return f"{seconds * 1_000:.1f} ms" if 0 < seconds < 1 else lasting(seconds)
