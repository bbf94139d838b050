"""Advances: what is lent and owed, what is due next, and how collecting goes."""

from grafana_foundation_sdk.models import units

from ops.dashboards.board import Board, Section, board, link_to
from ops.dashboards.panels import NONE_IS_GOOD, Column, Panel, Query, falling, per_second, rising, series, stat, table
from ops.dashboards.runbooks import runbook


def advances() -> Board:
    """Looked at weekly by the business, and by the person on call when something is overdue."""
    return board(
        "advances",
        "Advances",
        "What is lent and owed, what is due next, and how collecting goes.",
        Section("Is anything forgotten?", _forgotten()),
        Section("What is due next", _next()),
        Section("Collecting", _collecting()),
        Section("Owed", _owed()),
        by_currency=True,
        time_from="now-7d",
    )


def _forgotten() -> list[Panel]:
    return [
        stat(
            "Overdue instalments",
            "Their day is over and they are neither paid nor missed. Good is none. Is 'collect' late (./florin "
            "jobs list), is the backlog long, did a collect fail? They are collected as soon as the cause is gone.",
            "sum(max by (currency) (florin_overdue_instalments)) or 0 * (max(florin_postgres_up) == 1)",
            steps=NONE_IS_GOOD,
            words={"0": "none"},
            size=(6, 4),
            links=[runbook("overdue_instalments")],
        ),
        stat(
            "Advances that do not add up",
            "Advances whose instalments do not add up to them. Good is none. The scheduler's log "
            "(advance.incomplete) names each.",
            "max(florin_advances_incomplete)",
            steps=NONE_IS_GOOD,
            words={"0": "none"},
            size=(6, 4),
            links=[runbook("advance_schedules")],
        ),
        stat(
            "Last collection",
            "How long ago the job 'collect' last succeeded. Good: below three of its periods (an hour unless set "
            "otherwise).",
            'time() - max(florin_job_last_success_timestamp_seconds{job="collect"})',
            unit=units.Seconds,
            steps=rising(2 * 3_600, 4 * 3_600),
            size=(6, 4),
            links=[runbook("overdue_instalments")],
        ),
        stat(
            "Schedules proven",
            "How long ago the proof of all schedules last found nothing wrong. Good: a minute or two.",
            'time() - max(florin_proof_last_proven_timestamp_seconds{proof="advance_schedules"})',
            unit=units.Seconds,
            steps=rising(180, 900),
            size=(6, 4),
            links=[runbook("advance_schedules")],
        ),
    ]


def _next() -> list[Panel]:
    return [
        table(
            "Next collections",
            "The next business day on which instalments are due, by currency. Bad is a day that has passed.",
            {"currency": "Currency"},
            Column(
                "Due in",
                'max by (currency) (florin_next_collection_timestamp_seconds{currency=~"$currency"}) - time()',
                units.Seconds,
                falling(0, -3_600),
            ),
            Column("Instalments", 'max by (currency) (florin_next_collection_instalments{currency=~"$currency"})'),
            Column(
                "Amount", 'max by (currency) (florin_next_collection_amount{currency=~"$currency"})', units.LocaleFormat
            ),
            size=(12, 7),
        ),
        series(
            "Overdue amount",
            "What is left of overdue instalments, by currency. Good: zero. It rises at midnight of the business "
            "zone and falls within minutes as the day's are collected.",
            Query('max by (currency) (florin_overdue_amount{currency=~"$currency"})', "{{currency}}"),
            unit=units.LocaleFormat,
            size=(12, 7),
            links=[runbook("overdue_instalments")],
        ),
    ]


def _collecting() -> list[Panel]:
    return [
        series(
            "Collections by result",
            "'applied' were paid. 'insufficient_funds' and 'account_not_open' were missed and rolled on. "
            "'instalment_not_scheduled' were paid early or written off. 'instalment_not_due': a scheduler's clock "
            "is ahead; set it.",
            Query(
                per_second("florin_commands_settled_total", by="status, reason", where='{type="collect"}'),
                "{{status}} {{reason}}",
            ),
            unit=units.CountsPerSecond,
            is_stacked=True,
        ),
        series(
            "Advances and repayments",
            "New advances, early repayments and write-offs. A write-off is an admin's decision: each should have a "
            "name.",
            Query(
                per_second("florin_commands_settled_total", by="type", where='{type=~"advance|repay|write_off"}'),
                "{{type}}",
            ),
            unit=units.CountsPerSecond,
            is_stacked=True,
            links=[link_to("ledger", "Ledger")],
        ),
    ]


def _owed() -> list[Panel]:
    return [
        series(
            "Outstanding",
            "What customers owe of their advances. Rises with new advances, falls with every collection.",
            Query('max by (currency) (florin_advances_outstanding_amount{currency=~"$currency"})', "{{currency}}"),
            unit=units.LocaleFormat,
        ),
        series(
            "Arrears",
            "Missed and not yet paid. Each miss is rolled on to the next instalment; growing arrears are the "
            "business's to judge.",
            Query('max by (currency) (florin_arrears_amount{currency=~"$currency"})', "{{currency}}"),
            unit=units.LocaleFormat,
        ),
    ]
