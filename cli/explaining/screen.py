"""A command's life for people: one screen, 100 columns at most, and readable at 80."""

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from cli.dead_letters import action_words, age, second
from cli.explaining.document import balances
from cli.plain import plain
from processor.domain.outcomes import Reason
from processor.explaining import Life, allowances, sentence
from processor.money import format_amount
from processor.store.life import BatchRow
from processor.submissions import CommandBody
from workers.peeking import GIVEN_UP, Found, Looked

_STYLES: Final = {"applied": "green", "refused": "yellow", "failed": "red", "pending": "cyan", "held": "magenta"}
_SHOWN: Final = 16
"""Instalments and alerts that are shown: the rest is counted."""

Row = tuple[str, str]


def screen(life: Life, looked: Looked | None, *, now: datetime) -> RenderableType:
    """Everything, the most important first."""
    asked = life.asked
    stands = "held" if asked.held_at else asked.status
    heading = Text.assemble((stands, f"bold {_STYLES[stands]}"), "  ", (plain(sentence(asked.body)), "bold"))
    parts: list[RenderableType] = [heading, _rows(list(_receipt(life))) or Text()]
    for title, part in (
        ("Now", _rows(list(_standing(life, looked, now)))),
        ("Delivery", _rows(list(_delivery(life)))),
        ("Timeline", _timeline(life)),
        ("Transfers", _transfers(life)),
        ("Advance", _advance(life)),
        ("Hold", _rows(list(_hold(life)))),
        ("Account", _change(life)),
        ("Dead letter", _rows(list(_dead_letter(life)))),
        ("Alerts", _alerts(life)),
        ("Statement", _rows(list(_statement(life)))),
    ):
        if part is not None:
            parts += [Text(f"\n{title}", style="bold"), part]
    return Group(*parts)


def _receipt(life: Life) -> Iterator[Row]:
    asked, body = life.asked, life.asked.body
    yield "command", f"{asked.id}  position {asked.position}"
    yield "client", f"{asked.client}, key {plain(asked.idempotency_key)}"
    if asked.link_position is not None:
        number = asked.position - asked.link_position + 1
        yield "linked", f"{number} of {asked.link_size}, applied all or none; the first is {asked.link}"
    yield "accepted", f"{_instant(asked.accepted_at)} UTC"
    yield from _said(body)
    if asked.decided_at:
        yield "decided", f"{_instant(asked.decided_at)} UTC"
    if asked.reason:
        yield "reason", f"{asked.reason}: {Reason(asked.reason).text}"
    if life.reverses:
        yield "reverses", str(life.reverses)
    if life.reversed_by:
        yield "reversed", f"by {life.reversed_by}"
    if life.retry_of:
        by = f"number {life.retry_of.number}, by {plain(life.retry_of.acted_by)}: {plain(life.retry_of.reason)}"
        yield "retry of", f"{life.retry_of.id} ({by})"
    if life.block is not None:
        yield "sealed", f"in block {life.block}; proof: ./florin prove-inclusion {asked.id}"
    elif asked.status != "pending":
        yield "sealed", "not yet: the next run of the job `seal` does it"


def _said(body: CommandBody) -> Iterator[Row]:
    if body.reference:
        yield "reference", plain(body.reference)
    if body.first_due_on:
        yield "first due", body.first_due_on.isoformat()
    if body.expires_at:
        yield "expires", f"{second(body.expires_at)} UTC"
    if body.reason:
        yield "because", plain(body.reason)
    if body.metadata:
        yield "metadata", ", ".join(plain(f"{name}={value}") for name, value in body.metadata.items())


def _standing(life: Life, looked: Looked | None, now: datetime) -> Iterator[Row]:
    """Of a pending command: why it is."""
    asked = life.asked
    if asked.status != "pending":
        return
    yield "pending", f"for {age(now - asked.accepted_at)}"
    if asked.held_at:
        yield "held", f"since {second(asked.held_at)} UTC: its turn came while an account was in quarantine"
    for quarantine in life.quarantines:
        release = f"./florin quarantine release {quarantine.account}"
        since = f"in quarantine since {second(quarantine.began_at)} UTC, alert {quarantine.alert_id}"
        yield "account", f"{quarantine.account} is {since}; {release}"
    for account, line in life.lines.items():
        if line.ahead:
            first = f"the first is {line.head_id} (position {line.head})"
            yield "line", f"{account}: {line.ahead:,} before it; {first}"
        else:
            yield "line", f"{account}: it is the next"
    if asked.held_at is None:
        yield "queue", _queue(looked)
        if tries := sum(each.failures for each in looked.found) if looked else 0:
            times = "once, and failed" if tries == 1 else f"{tries:,} times, and failed each time"
            yield "tried", f"{times}: the workers' log says why; look there for books.contradiction"


def _queue(looked: Looked | None) -> str:
    if looked is None:
        return "not asked: it is away, or its address is not known here"
    named = [each for each in looked.found if each.state != GIVEN_UP]
    gone = len(looked.found) - len(named)
    before = f"; given up: {gone:,} that named it before" if gone else ""
    if named:
        return "; ".join(map(_message, named)) + before
    if looked.at_all:
        return "no message names it: the sweeper sends one within seconds" + before
    return "no message was found that names it, but there are too many to look at all" + before


def _message(found: Found) -> str:
    sent = f", sent {_instant(found.sent_at)}" if found.sent_at else ""
    by = f" by the {found.sent_by}" if found.sent_by else ""
    commands = "1 command" if found.commands == 1 else f"{found.commands} commands"
    return f"message {found.message_id} is {found.state}{sent}{by}, with {commands}"


def _delivery(life: Life) -> Iterator[Row]:
    batch = life.batch
    if batch is None:
        if life.asked.status != "pending":
            yield "", "not remembered any more: FLORIN_KEEP_RUNS_DAYS says for how long it is"
        return
    if batch.message_id or batch.sent_at:
        attempt = f", attempt {batch.attempt}" if batch.attempt is not None else ""
        yield "message", f"{batch.message_id or '-'}, sent by the {batch.sent_by or '(not said)'}{attempt}"
    if batch.worker:
        yield "worker", batch.worker
    yield "waited", f"{_waited(batch)}for locks {_duration(timedelta(microseconds=batch.lock_wait_us))}"
    others = batch.commands - 1
    yield "decided", "alone" if not others else f"with {others} other command{'s' if others > 1 else ''}"


def _waited(batch: BatchRow) -> str:
    if batch.sent_at is None or batch.taken_at is None:
        return ""
    return f"in the queue {_duration(batch.taken_at - batch.sent_at)}, "


def _timeline(life: Life) -> RenderableType | None:
    steps = life.timeline
    if len(steps) < 2:
        return None
    table = _table("", "", "")
    for step in steps:
        after = "" if step.after is None else f"+ {_duration(step.after)}"
        table.add_row(step.name, f"{_instant(step.at)} UTC", after)
    whole = f"{_duration(steps[-1].at - steps[0].at)} from receipt to {steps[-1].name}"
    return Padding(Group(table, Text(whole)), (0, 0, 0, 2), expand=False)


def _transfers(life: Life) -> RenderableType | None:
    if not life.transfers:
        return None
    table = _table("KIND", "ACCOUNT", *(f">{name}" for name in ("CHANGE", "BEFORE", "AFTER")), "")
    for transfer in life.transfers:
        for place, (account, change, before, after) in enumerate(balances(transfer)):
            known = ("-" if minor is None else format_amount(minor, transfer.currency) for minor in (before, after))
            table.add_row("" if place else transfer.kind, account, change, *known, transfer.currency)
    return Padding(table, (0, 0, 0, 2), expand=False)


def _advance(life: Life) -> RenderableType | None:
    lent, currency = life.advance, life.asked.body.currency
    if lent is None:
        return None
    amount, paid, lost = (
        format_amount(minor, currency) for minor in (lent.amount_minor, lent.paid_minor, lent.written_off_minor)
    )
    gone = f", written off {lost}" if lent.written_off_minor else ""
    words = Text(f"{lent.id}\n{lent.state} now: lent {amount} {currency}, paid {paid}{gone}")
    parts: list[RenderableType] = [words]
    if life.instalments:
        table = _table(">NO", "DUE", ">AMOUNT", ">ROLLED", ">PAID", "STATE NOW", "")
        for each in life.instalments[:_SHOWN]:
            amounts = (
                format_amount(minor, currency) for minor in (each.amount_minor, each.rolled_minor, each.paid_minor)
            )
            here = "settled by this command" if each.settled_here else ""
            table.add_row(str(each.number), each.due_on.isoformat(), *amounts, each.state, here)
        parts.append(table)
        parts += _more(len(life.instalments), "instalments")
    return Padding(Group(*parts), (0, 0, 0, 2), expand=False)


def _hold(life: Life) -> Iterator[Row]:
    hold, currency = life.hold, life.asked.body.currency
    if hold is None:
        return
    yield "hold", str(hold.id)
    taken = f", {format_amount(hold.captured_minor, currency)} of it taken" if hold.captured_minor else ""
    yield "now", f"{hold.state}: {format_amount(hold.amount_minor, currency)} {currency}{taken}"
    if hold.expires_at:
        yield "expires", f"{second(hold.expires_at)} UTC"
    if hold.settled_by:
        yield "settled", "by this command" if hold.settled_here else f"by {hold.settled_by}"


def _change(life: Life) -> RenderableType | None:
    """What the account may do since, beside what it might before if that is known."""
    change, currency = life.change, life.asked.body.currency
    if change is None:
        return None
    before = allowances(change.before, currency) if change.before else {}
    table = _table("", ">BEFORE", ">AFTER")
    for name, after in allowances(change.after, currency).items():
        table.add_row(name, before.get(name, "-"), after)
    return Padding(Group(Text(plain(change.account)), table), (0, 0, 0, 2), expand=False)


def _dead_letter(life: Life) -> Iterator[Row]:
    case = life.dead_letter
    if case is None:
        return
    yield "state", case.state
    for place, line in enumerate(case.letter.error.splitlines()):
        yield "" if place else "error", plain(line)
    for action in case.actions:
        yield "action", plain(action_words(action))
    if case.is_open:
        yield "to do", f"./florin dead-letters retry {life.asked.id}"


def _alerts(life: Life) -> RenderableType | None:
    if not life.alerts:
        return None
    table = _table(">ID", "SEVERITY", "STATE", "PROOF", "SUBJECT", "SINCE (UTC)", "TOLD")
    for each in life.alerts[:_SHOWN]:
        facts = (each.severity, each.state, each.proof, plain(each.subject), second(each.first_seen_at))
        table.add_row(str(each.id), *facts, each.notices or "-", style="bold" if each.names_command else "")
    return Padding(Group(table, *_more(len(life.alerts), "alerts")), (0, 0, 0, 2), expand=False)


def _statement(life: Life) -> Iterator[Row]:
    currency = life.asked.body.currency
    for each in life.matches:
        line = f"line {each.line_id} of {each.bank_account}, booked {each.booked_on}, {plain(each.file)}"
        amount = f"{format_amount(each.amount_minor, currency)} {currency}"
        yield f"leg {each.leg}", f"{amount} matched by {each.rule} ({plain(each.made_by)}): {line}"
    for leg, since in life.missing:
        yield f"leg {leg}", f"in no statement, since {second(since)} UTC"


def _rows(rows: Sequence[Row]) -> RenderableType | None:
    if not rows:
        return None
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim", no_wrap=True, min_width=9)
    table.add_column(overflow="fold")
    for name, value in rows:
        table.add_row(Text(name), Text(value))
    return Padding(table, (0, 0, 0, 2), expand=False)


def _table(*columns: str) -> "_Table":
    table = _Table(box=None, pad_edge=False, show_header=any(columns), header_style="dim")
    for name in columns:
        right = name.startswith(">")
        table.add_column(name.removeprefix(">"), justify="right" if right else "left", overflow="fold", no_wrap=right)
    return table


class _Table(Table):
    """Cells are text as it stands: what others wrote is no markup."""

    def add_row(self, *cells: object, **options: Any) -> None:
        super().add_row(*(Text(str(cell)) for cell in cells), **options)


def _more(count: int, what: str) -> list[RenderableType]:
    return [Text(f"and {count - _SHOWN} {what} more")] if count > _SHOWN else []


def _duration(elapsed: timedelta) -> str:
    seconds = elapsed.total_seconds()
    if seconds < 0:
        return f"-{_duration(-elapsed)} (the clocks differ)"
    if seconds < 1:
        return f"{seconds * 1_000:.1f} ms"
    return f"{seconds:.2f} s" if seconds < 60 else age(elapsed)


def _instant(at: datetime) -> str:
    return at.strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]
