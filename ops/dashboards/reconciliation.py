"""Reconciliation: whether the books prove themselves and agree with the banks, and whether somebody was told if not."""

from grafana_foundation_sdk.models import units

from ops.dashboards.board import Board, Section, board, link_to
from ops.dashboards.panels import NONE_IS_GOOD, Column, Panel, Query, ago, mean, per_second, rising, series, stat, table
from ops.dashboards.runbooks import runbook


def reconciliation() -> Board:
    """For admins: what was found, by which proof, since when."""
    return board(
        "reconciliation",
        "Reconciliation",
        "Do the books prove themselves, do they agree with the banks, and was somebody told?",
        Section("Are the books right?", _now()),
        Section("Proofs", _proofs()),
        Section("Bank statements", _statements()),
        Section("Telling somebody", _notices()),
        by_currency=True,
        time_from="now-6h",
    )


def _now() -> list[Panel]:
    return [
        stat(
            "Open page alerts",
            "Breaks that wake somebody. Good is none. ./florin alerts list; each has a runbook.",
            'sum(max by (proof) (florin_alerts_open{severity="page"})) or 0 * (max(florin_postgres_up) == 1)',
            steps=NONE_IS_GOOD,
            words={"0": "none"},
            links=[runbook("booksbroken")],
        ),
        stat(
            "Open ticket alerts",
            "Findings that wait for the morning. Good is none. ./florin alerts list.",
            'sum(max by (proof) (florin_alerts_open{severity="ticket"})) or 0 * (max(florin_postgres_up) == 1)',
            steps=((None, "green"), (1, "orange")),
            words={"0": "none"},
            links=[runbook("booksbroken")],
        ),
        stat(
            "Oldest open alert",
            "Since when the oldest one is open. Good is none; below a day somebody is at it. It closes itself once "
            "the proof passes.",
            "max(florin_alert_oldest_open_age_seconds) or 0 * (max(florin_postgres_up) == 1)",
            unit=units.Seconds,
            steps=rising(1, 86_400),
            ranges=[(None, 0, "none")],
            links=[runbook("booksbroken")],
        ),
        stat(
            "Least recently proven",
            "How long ago the proof that is furthest behind last found nothing wrong. Good: below three minutes. "
            "Old: it has breaks, or the job 'prove' fails: ./florin jobs list.",
            "time() - min(max by (proof) (florin_proof_last_proven_timestamp_seconds))",
            unit=units.Seconds,
            steps=rising(180, 900),
            links=[runbook("proofoverdue")],
        ),
        stat(
            "Differences with banks",
            "Lines of statements without a transfer, or the reverse, that nobody has closed. Good is none after "
            "the morning's import. ./florin reconcile lists them.",
            "sum(max by (result, currency) (florin_statement_breaks_open)) or 0 * (max(florin_postgres_up) == 1)",
            steps=((None, "green"), (1, "orange")),
            words={"0": "none"},
            links=[runbook("reconciliation")],
        ),
        stat(
            "Told nobody",
            "Changes of alerts of the last day that somebody was not told of after a day of attempts. Good is "
            "none. Is the webhook's address right, does its receiver answer?",
            "sum(increase(florin_alert_undelivered_total[1d])) or 0 * (max(florin_postgres_up) == 1)",
            steps=NONE_IS_GOOD,
            words={"0": "none"},
            decimals=0,
            links=[runbook("noticesundelivered")],
        ),
    ]


def _proofs() -> list[Panel]:
    return [
        table(
            "Proofs",
            "When each proof last found nothing wrong: in what is new, and in all of history; and what it found "
            "last. Good: minutes, at most eight days, none. ./florin prove --full NAME goes over one now.",
            {"proof": "Proof"},
            Column(
                "Proven ago",
                ago("florin_proof_last_proven_timestamp_seconds", by="proof"),
                units.Seconds,
                rising(180, 900),
            ),
            Column(
                "All of it ago",
                ago("florin_proof_last_full_timestamp_seconds", by="proof"),
                units.Seconds,
                rising(8 * 86_400, 15 * 86_400),
            ),
            Column("Breaks", "max by (proof) (florin_proof_breaks)", steps=NONE_IS_GOOD),
            size=(12, 11),
        ),
        table(
            "Open alerts",
            "By proof and severity, with the age of the oldest. Good is an empty table, or zeros.",
            {"proof": "Proof", "severity": "Severity"},
            Column("Open", "max by (proof, severity) (florin_alerts_open)", steps=NONE_IS_GOOD),
            Column(
                "Oldest since",
                "max by (proof, severity) (florin_alert_oldest_open_age_seconds)",
                units.Seconds,
                ((None, "text"), (86_400, "orange")),
            ),
            size=(12, 11),
            no_value="no alert is open",
            links=[runbook("booksbroken")],
        ),
        series(
            "Runs by result",
            "Good: only 'proven'. 'broken' found something; 'error' could not look: the scheduler's log says why.",
            Query(per_second("florin_proof_runs_total", by="scope, result"), "{{result}}, {{scope}}"),
            unit=units.CountsPerSecond,
            size=(8, 8),
        ),
        series(
            "Looked at",
            "Things that the proofs look at per second. Good: follows what is settled, with weekly peaks when all "
            "of history is proven.",
            Query(per_second("florin_proof_checked_total", by="proof"), "{{proof}}"),
            unit=units.CountsPerSecond,
            is_stacked=True,
            size=(8, 8),
        ),
        series(
            "Time of a run",
            "Mean by proof. Good: well below the period of a minute. Longer: the proofs fall behind; see Postgres.",
            Query(mean("florin_proof_seconds", by="proof"), "{{proof}}"),
            unit=units.Seconds,
            size=(8, 8),
            links=[link_to("servers", "Postgres and Redis")],
        ),
    ]


def _statements() -> list[Panel]:
    return [
        series(
            "Differences by what they are",
            "Open ones, by what they are and currency. Good: falls to zero after each import. What stays for days "
            "is somebody's money in the wrong place.",
            Query(
                'max by (result, currency) (florin_statement_breaks_open{currency=~"$currency"})',
                "{{result}} {{currency}}",
            ),
            size=(16, 8),
            links=[runbook("reconciliation")],
        ),
        table(
            "Last statement",
            "How long ago a statement was last imported. Good: a business day. Older: nobody compares with that bank.",
            {"currency": "Currency"},
            Column(
                "Imported ago",
                ago("florin_statement_last_import_timestamp_seconds", by="currency", where='{currency=~"$currency"}'),
                units.Seconds,
                rising(4 * 86_400, 8 * 86_400),
            ),
            size=(8, 8),
            no_value="no statement was ever imported",
            links=[runbook("reconciliation")],
        ),
    ]


def _notices() -> list[Panel]:
    return [
        series(
            "Attempts to tell somebody",
            "Good: 'sent' when something changed, 'failed' never. Failed ones are tried again for a day with "
            "growing pauses.",
            Query(per_second("florin_alert_notifications_total", by="result"), "{{result}}"),
            Query(per_second("florin_alert_undelivered_total"), "given up"),
            unit=units.CountsPerSecond,
            size=(24, 6),
            links=[runbook("noticesundelivered")],
        ),
    ]
