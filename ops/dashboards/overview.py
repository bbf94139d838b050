"""Is money stuck? The first lines answer that in five seconds; what is beneath says where to look next."""

from typing import Final

from grafana_foundation_sdk.models import units

from ops.dashboards.board import Board, Section, board, link_to
from ops.dashboards.panels import (
    ALWAYS_NEUTRAL,
    NONE_IS_BAD,
    NONE_IS_GOOD,
    SLO_S,
    Column,
    Panel,
    Query,
    ago,
    falling,
    per_second,
    quantile,
    rising,
    series,
    stat,
    table,
)
from ops.dashboards.runbooks import runbook

SLOW_AFTER_S: Final = 10
STUCK_AFTER_S: Final = 60
"""The age of the oldest command without an outcome from which on somebody looks, and somebody is woken."""

_OLDEST: Final = "max(florin_oldest_pending_age_seconds)"
_NO_WORKER: Final = '((sum(florin_processes{component="worker"}) or vector(0)) == bool 0)'
_NO_REDIS: Final = "((max(florin_redis_up) == bool 0) or vector(0))"
_WAITS: Final = f"(({_OLDEST} >= bool {SLOW_AFTER_S}) or vector(0))"

VERDICT: Final = f"""clamp_max(
  2 * (max(florin_postgres_up) == bool 0)
  + 2 * (({_OLDEST} >= bool {STUCK_AFTER_S}) or vector(0))
  + 2 * ((max(florin_alerts_open{{severity="page"}}) > bool 0) or vector(0))
  + ((max(florin_alerts_open{{severity="ticket"}}) > bool 0) or vector(0))
  + {_WAITS}
  + {_NO_WORKER} + {_NO_WORKER} * {_WAITS}
  + {_NO_REDIS} + {_NO_REDIS} * {_WAITS}
  + ((max(florin_scheduler_leader) == bool 0) or vector(0))
  + ((max(florin_dead_letters_open) > bool 0) or vector(0))
  + ((max(florin_held_commands) > bool 0) or vector(0)),
2)"""
"""2 is stuck, 1 is worth a look, 0 is fine. Without an exporter's word on Postgres there is no answer at all."""

_SMALL: Final = (3, 4)


def overview() -> Board:
    """For everybody, and for the wall."""
    return board(
        "overview",
        "Overview",
        "Is money stuck? The first lines say so; the panels beneath say where to look next.",
        Section("Is money stuck?", [_verdict(), *_answers()]),
        Section("Flow", _flow()),
        Section("Promises over 30 days", _promises()),
        Section("What needs somebody", _needs()),
        Section("Money", _money()),
        by_currency=True,
    )


def _verdict() -> Panel:
    return stat(
        "Is money stuck?",
        "All that matters in one word. 'No': every command has its outcome within seconds. 'Look': commands are "
        "slow, or something that they will need is missing; see which of the small panels is not green. 'Stuck': "
        f"commands wait for {STUCK_AFTER_S} s or longer, Postgres is away, or the books are in doubt: follow the "
        "runbook now. 'Unknown': no exporter answers, so nobody knows; start it, and ask Postgres meanwhile "
        "(./florin top).",
        VERDICT,
        steps=rising(1, 2),
        words={"0": "No", "1": "Look", "2": "Stuck"},
        size=(6, 8),
        links=[runbook("commandsstuck"), link_to("queue", "Queue and workers")],
    )


def _answers() -> list[Panel]:
    return [
        stat(
            "Oldest pending",
            f"Age of the oldest command without an outcome. Good below {SLO_S} s. If it grows, nothing decides that "
            "command: look at workers, Redis and the dead letters beside it.",
            "max(florin_oldest_pending_age_seconds)",
            unit=units.Seconds,
            steps=rising(SLO_S, STUCK_AFTER_S),
            ranges=[(None, 0, "none waits")],
            size=_SMALL,
            links=[link_to("queue", "Queue and workers")],
        ),
        stat(
            "Backlog",
            "Places in line of pending commands. Thousands are fine while the oldest is young. Long and old: start "
            "more workers. At FLORIN_MAX_BACKLOG the intake answers 429.",
            "max(florin_backlog_commands)",
            steps=rising(20_000, 250_000),
            ranges=[(None, 0, "empty")],
            size=_SMALL,
            links=[link_to("queue", "Queue and workers")],
        ),
        stat(
            "Scheduler",
            "Whether somebody holds the leader's lock in Postgres. 'None leads': what the queue loses is not sent "
            "again, and no instalment is collected: start a scheduler.",
            "max(florin_scheduler_leader)",
            steps=NONE_IS_BAD,
            words={"0": "none leads", "1": "leads"},
            size=_SMALL,
            links=[link_to("queue", "Queue and workers")],
        ),
        stat(
            "Workers",
            "Worker processes that run, on all hosts. None: nothing is decided, accepted commands wait. Start them.",
            'sum(florin_processes{component="worker"}) or 0 * max(florin_postgres_up)',
            steps=NONE_IS_BAD,
            words={"0": "none"},
            size=_SMALL,
            links=[link_to("queue", "Queue and workers")],
        ),
        stat(
            "Postgres",
            "Whether the exporters reach Postgres. 'Away': the intake answers 503 and nothing is decided; nothing "
            "is lost.",
            "max(florin_postgres_up)",
            steps=NONE_IS_BAD,
            words={"0": "away", "1": "up"},
            size=_SMALL,
            links=[link_to("servers", "Postgres and Redis")],
        ),
        stat(
            "Redis",
            "Whether the exporters reach Redis. 'Away': commands are accepted and wait; they are decided once it "
            "is back.",
            "max(florin_redis_up)",
            steps=NONE_IS_BAD,
            words={"0": "away", "1": "up"},
            size=_SMALL,
            links=[link_to("servers", "Postgres and Redis")],
        ),
        stat(
            "Open page alerts",
            "Breaks in the books that wake somebody. Good is none. Run ./florin alerts list; each has a runbook.",
            'sum(max by (proof) (florin_alerts_open{severity="page"})) or 0 * (max(florin_postgres_up) == 1)',
            steps=NONE_IS_GOOD,
            words={"0": "none"},
            size=_SMALL,
            links=[link_to("reconciliation", "Reconciliation")],
        ),
        stat(
            "Open ticket alerts",
            "Findings that wait for the morning. Good is none. Run ./florin alerts list.",
            'sum(max by (proof) (florin_alerts_open{severity="ticket"})) or 0 * (max(florin_postgres_up) == 1)',
            steps=((None, "green"), (1, "orange")),
            words={"0": "none"},
            size=_SMALL,
            links=[link_to("reconciliation", "Reconciliation")],
        ),
        stat(
            "Dead letters",
            "Commands given up on that nobody has looked after. Good is none. Run ./florin dead-letters list, mend "
            "the cause, retry or discard.",
            "max(florin_dead_letters_open)",
            steps=NONE_IS_GOOD,
            words={"0": "none"},
            size=_SMALL,
            links=[link_to("ledger", "Ledger")],
        ),
        stat(
            "Held commands",
            "Commands of accounts in quarantine. Good is none. They wait until an admin releases the account: "
            "./florin quarantine list.",
            "max(florin_held_commands)",
            steps=((None, "green"), (1, "orange")),
            words={"0": "none"},
            size=_SMALL,
            links=[link_to("ledger", "Ledger")],
        ),
        stat(
            "Overdue instalments",
            "Instalments whose day is over and that are neither paid nor missed. Good is none. Is the job "
            "'collect' late? ./florin jobs list.",
            "sum(max by (currency) (florin_overdue_instalments)) or 0 * (max(florin_postgres_up) == 1)",
            steps=((None, "green"), (1, "orange")),
            words={"0": "none"},
            size=_SMALL,
            links=[link_to("advances", "Advances")],
        ),
        stat(
            "Figures are",
            "How old the figures of this page are: since an exporter last read Postgres and Redis. Good below 15 "
            "s. Older: believe nothing here; start the exporter, or see why it cannot read.",
            "time() - min(max by (source) (florin_state_read_timestamp_seconds))",
            unit=units.Seconds,
            steps=rising(15, 60),
            ranges=[(None, 15, "fresh")],
            size=_SMALL,
            links=[link_to("servers", "Postgres and Redis")],
        ),
    ]


def _flow() -> list[Panel]:
    return [
        series(
            "Accepted and settled",
            "Commands made durable, and commands given their outcome. Good: the two lines lie on each other. "
            "Settled at zero below an accepted that is not: nothing decides; look at workers. Both at zero: "
            "clients send nothing, or cannot.",
            Query(per_second("florin_commands_accepted_total"), "accepted"),
            Query(per_second("florin_commands_settled_total"), "settled"),
            unit=units.CountsPerSecond,
            links=[link_to("queue", "Queue and workers")],
        ),
        series(
            "Receipt to outcome",
            f"How long clients wait for an outcome. Promised: {SLO_S} s, the dashed line, for 999 in 1,000. p99 "
            "above it: see whether messages wait in the queue, or transactions for locks (Queue and workers).",
            Query(quantile(0.5, "florin_receipt_to_outcome_seconds"), "p50"),
            Query(quantile(0.99, "florin_receipt_to_outcome_seconds"), "p99"),
            unit=units.Seconds,
            steps=((None, "transparent"), (SLO_S, "red")),
            links=[link_to("queue", "Queue and workers")],
        ),
        series(
            "Oldest pending command",
            f"Good: mostly zero, always below {SLO_S} s. A slope of one second a second is a command that nobody "
            "decides.",
            Query("max(florin_oldest_pending_age_seconds)", "oldest"),
            unit=units.Seconds,
            steps=((None, "transparent"), (SLO_S, "orange"), (STUCK_AFTER_S, "red")),
            size=(8, 7),
            links=[runbook("commandsstuck")],
        ),
        series(
            "Backlog over time",
            "Places in line. Good: returns to zero after a peak. Bad: grows for minutes; start workers, or slow "
            "the clients down.",
            Query("max(florin_backlog_commands)", "pending"),
            size=(8, 7),
            links=[link_to("queue", "Queue and workers")],
        ),
        series(
            "Refusals by reason",
            "A refusal is an answer, and most are customers' affairs. Bad is a step: insufficient_funds after a "
            "wrong collection, account_not_found after a client's mistake. Ask the client whose commands they are.",
            Query(per_second("florin_commands_settled_total", by="reason", where='{status="refused"}'), "{{reason}}"),
            unit=units.CountsPerSecond,
            is_stacked=True,
            size=(8, 7),
            links=[link_to("ledger", "Ledger")],
        ),
    ]


def _promises() -> list[Panel]:
    return [
        stat(
            "Intake: requests taken",
            "Share of requests to the intake of the last 30 days (or since there are figures) that were not "
            "answered with 5xx. Promised: 99.9 %.",
            "1 - 0.001 * (1 - florin:intake:error_budget_left30d)",
            unit=units.PercentUnit,
            steps=falling(0.9995, 0.999),
            decimals=3,
            size=(6, 4),
            links=[runbook("intake-error-budget")],
        ),
        stat(
            "Intake: budget left",
            "What is left of the 1 in 1,000 requests that may fail in 30 days. Good above half. Near zero: change "
            "nothing in production that can wait. Below zero: the promise is broken; find out why before anything "
            "else.",
            "florin:intake:error_budget_left30d",
            unit=units.PercentUnit,
            steps=falling(0.5, 0.1),
            decimals=0,
            size=(6, 4),
            links=[runbook("intake-error-budget")],
        ),
        series(
            "Speed at which the budgets burn",
            "1 uses the budget up in exactly 30 days. From the dashed lines on, somebody gets a ticket (above 1 "
            "for days), or is woken (6: gone in 5 days; 14.4: in 2). Look at the flow above for when it began.",
            Query("florin:intake_errors:ratio_rate1h / 0.001", "intake"),
            Query("florin:late_settlements:ratio_rate1h / 0.001", "settlement"),
            steps=((None, "transparent"), (1, "orange"), (6, "red"), (14.4, "dark-red")),
            size=(12, 8),
        ),
        stat(
            "Settlement: within 5 s",
            "Share of outcomes of the last 30 days (or since there are figures) that came within 5 s of the "
            "receipt. Promised: 99.9 %.",
            "1 - 0.001 * (1 - florin:settlement:error_budget_left30d)",
            unit=units.PercentUnit,
            steps=falling(0.9995, 0.999),
            decimals=3,
            size=(6, 4),
            links=[runbook("settlement-error-budget")],
        ),
        stat(
            "Settlement: budget left",
            "What is left of the 1 in 1,000 outcomes that may be late in 30 days. Good above half. Near zero: "
            "change nothing in production that can wait.",
            "florin:settlement:error_budget_left30d",
            unit=units.PercentUnit,
            steps=falling(0.5, 0.1),
            decimals=0,
            size=(6, 4),
            links=[runbook("settlement-error-budget")],
        ),
    ]


def _needs() -> list[Panel]:
    return [
        table(
            "Firing alerts",
            "What Prometheus has found, by its rules. Good is an empty table. Each has a runbook: what to look at, "
            "which command to run.",
            {"alertname": "Alert", "severity": "Severity"},
            Column(
                "Firing",
                'count by (alertname, severity) (ALERTS{alertstate="firing", severity=~"page|ticket"})',
                steps=NONE_IS_GOOD,
            ),
            size=(8, 9),
            no_value="nothing fires",
            links=[link_to("runbooks", "Runbooks")],
        ),
        table(
            "Proofs",
            "How long ago each proof last found nothing wrong, and what it found last. Good: proven within two "
            "minutes, all of history within eight days, no breaks. A break: ./florin alerts list. Old: is the job "
            "'prove' late? ./florin jobs list.",
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
            size=(8, 9),
            links=[link_to("reconciliation", "Reconciliation")],
        ),
        table(
            "Jobs of the scheduler",
            "How long ago each job last succeeded, in seconds and in periods. Good: below three periods. More: it "
            "fails or nobody leads; ./florin jobs list says which.",
            {"job": "Job"},
            Column(
                "Periods ago",
                "(time() - max by (job) (florin_job_last_success_timestamp_seconds > 0)) "
                "/ on (job) max by (job) (florin_job_period_seconds)",
                steps=rising(3, 10),
            ),
            Column("Succeeded ago", ago("florin_job_last_success_timestamp_seconds", by="job"), units.Seconds),
            size=(8, 9),
            links=[link_to("queue", "Queue and workers")],
        ),
    ]


def _money() -> list[Panel]:
    return [
        table(
            "Money by currency",
            "What is owed to customers, what they owe of advances, and what of that they have missed. Bad is a "
            "jump without a reason; arrears that grow are a matter for the business, not for the person on call.",
            {"currency": "Currency"},
            Column("Deposits", 'max by (currency) (florin_deposits_amount{currency=~"$currency"})', units.LocaleFormat),
            Column(
                "Advances outstanding",
                'max by (currency) (florin_advances_outstanding_amount{currency=~"$currency"})',
                units.LocaleFormat,
            ),
            Column("Arrears", 'max by (currency) (florin_arrears_amount{currency=~"$currency"})', units.LocaleFormat),
            size=(12, 6),
            links=[link_to("ledger", "Ledger"), link_to("advances", "Advances")],
        ),
        table(
            "Next collections",
            "The next business day on which instalments are due, how many, and how much. Bad is a day that has "
            "passed: then they are overdue and 'collect' is late.",
            {"currency": "Currency"},
            Column(
                "Due in",
                'max by (currency) (florin_next_collection_timestamp_seconds{currency=~"$currency"}) - time()',
                units.Seconds,
                falling(0, -3_600),
            ),
            Column("Instalments", 'max by (currency) (florin_next_collection_instalments{currency=~"$currency"})'),
            Column(
                "Amount",
                'max by (currency) (florin_next_collection_amount{currency=~"$currency"})',
                units.LocaleFormat,
                ALWAYS_NEUTRAL,
            ),
            size=(12, 6),
            links=[link_to("advances", "Advances")],
        ),
    ]
