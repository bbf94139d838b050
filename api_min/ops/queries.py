"""The overview in PromQL. Every host shows the same state, so that is a maximum; what processes count is a sum."""

from collections.abc import Sequence
from typing import Final

STATE: Final = (
    "florin_postgres_up",
    "florin_state_unread",
    "florin_redis_up",
    "florin_scheduler_leader",
    "florin_oldest_pending_age_seconds",
    "florin_backlog_commands",
    "florin_held_commands",
    "florin_quarantined_accounts",
    "florin_dead_letters_open",
    "florin_alerts_open",
    "florin_alert_oldest_open_age_seconds",
    "florin_proof_last_proven_timestamp_seconds",
    "florin_proof_breaks",
    "florin_job_last_success_timestamp_seconds",
    "florin_job_period_seconds",
    "florin_next_collection_timestamp_seconds",
    "florin_next_collection_instalments",
    "florin_next_collection_amount",
    "florin_deposits_amount",
    "florin_advances_outstanding_amount",
    "florin_arrears_amount",
)
"""Figures that stand in rows: what the overview says of now."""

READ_AT: Final = "max(timestamp(florin_postgres_up))"
"""When an exporter was last scraped. Nothing comes back once none is."""

SCRAPES: Final = "max(count_over_time(florin_postgres_up[1m]))"
"""How often an exporter was scraped in the last minute: no rate can be taken over less than a few of these."""

WORKERS: Final = 'sum(florin_processes{component="worker"})'
VERSION: Final = 'max by (version) (florin_build_info{component="exporter"})'
BOOKS_ERRORS: Final = "sum(increase(florin_books_errors_total[3m]))"
OLDEST_PENDING: Final = "max(florin_oldest_pending_age_seconds)"
BACKLOG: Final = "max(florin_backlog_commands)"


def state(names: Sequence[str] = STATE) -> str:
    """All of these at once, by whatever labels they have: one question instead of twenty."""
    short = "|".join(name.removeprefix("florin_") for name in names)
    return f'max by (__name__, currency, job, part, proof, severity) ({{__name__=~"florin_({short})"}})'


def settled_per_s(window: str) -> str:
    """Commands that are given their outcome; ``window`` is such as ``1m`` or ``$__rate_interval``."""
    return f"sum(rate(florin_commands_settled_total[{window}]))"


def accepted_per_s(window: str) -> str:
    """Commands that are made durable."""
    return f"sum(rate(florin_commands_accepted_total[{window}]))"


def refused_per_s(window: str) -> str:
    """Refusals by their reason."""
    return f'sum by (reason) (rate(florin_commands_settled_total{{status="refused"}}[{window}]))'


def receipt_to_outcome_s(quantile: float, window: str) -> str:
    """How long it takes from a receipt to its outcome."""
    buckets = f"sum by (le) (rate(florin_receipt_to_outcome_seconds_bucket[{window}]))"
    return f"histogram_quantile({quantile}, {buckets})"
