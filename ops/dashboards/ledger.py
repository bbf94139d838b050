"""The ledger: what is decided, what is owed, whether it proves itself, and what waits for a person."""

from grafana_foundation_sdk.models import units

from ops.dashboards.board import Board, Section, board, link_to
from ops.dashboards.panels import NONE_IS_GOOD, Panel, Query, per_second, rising, series, stat
from ops.dashboards.runbooks import runbook


def ledger() -> Board:
    """Amounts stand in whole units of their currency, and are never added up across currencies."""
    return board(
        "ledger",
        "Ledger",
        "What is decided, what is owed to whom, and what waits for a person.",
        Section("What waits for a person", _waiting()),
        Section("Decisions", _decisions()),
        Section("Balances", _balances()),
        Section("Followers of the log", _followers()),
        by_currency=True,
    )


def _waiting() -> list[Panel]:
    return [
        stat(
            "Dead letters",
            "Commands given up on that nobody has looked after. Good is none. ./florin dead-letters list; mend the "
            "cause; retry or discard with a reason.",
            "max(florin_dead_letters_open)",
            steps=NONE_IS_GOOD,
            words={"0": "none"},
        ),
        stat(
            "Oldest dead letter",
            "How long a client has waited for somebody to look. Good is none.",
            "max(florin_dead_letter_oldest_age_seconds)",
            unit=units.Seconds,
            steps=rising(1, 86_400),
            ranges=[(None, 0, "none")],
        ),
        stat(
            "Accounts in quarantine",
            "Accounts whose books are in doubt. Good is none. ./florin alerts list says why; release the account "
            "once its alert is closed.",
            "max(florin_quarantined_accounts)",
            steps=NONE_IS_GOOD,
            words={"0": "none"},
        ),
        stat(
            "Held commands",
            "Commands of accounts in quarantine. Nothing is lost; they are decided after the release.",
            "max(florin_held_commands)",
            steps=((None, "green"), (1, "orange")),
            words={"0": "none"},
        ),
        stat(
            "Oldest held command",
            "How long somebody's money has been waiting for an admin. Good is none.",
            "max(florin_oldest_held_age_seconds)",
            unit=units.Seconds,
            steps=rising(1, 86_400),
            ranges=[(None, 0, "none")],
        ),
        stat(
            "Breaks found last",
            "What the proofs found wrong in their last runs. Good is none. ./florin prove prints each.",
            "sum(max by (proof) (florin_proof_breaks)) or 0 * (max(florin_postgres_up) == 1)",
            steps=NONE_IS_GOOD,
            words={"0": "none"},
            links=[link_to("reconciliation", "Reconciliation")],
        ),
    ]


def _decisions() -> list[Panel]:
    return [
        series(
            "Outcomes by status",
            "Good: mostly applied. 'failed' is a dead letter: wake somebody. A rise of 'refused': see the reasons.",
            Query(per_second("florin_commands_settled_total", by="status"), "{{status}}"),
            unit=units.CountsPerSecond,
            is_stacked=True,
            size=(8, 8),
        ),
        series(
            "Outcomes by type",
            "What is done. A type that stops while others go on: ask its client.",
            Query(per_second("florin_commands_settled_total", by="type, status"), "{{type}} {{status}}"),
            unit=units.CountsPerSecond,
            is_stacked=True,
            size=(8, 8),
        ),
        series(
            "Refusals by type and reason",
            "A refusal is an answer. A step in one of them is a client's mistake or a change of rules: ask the client.",
            Query(
                per_second("florin_commands_settled_total", by="type, reason", where='{status="refused"}'),
                "{{type}} {{reason}}",
            ),
            unit=units.CountsPerSecond,
            is_stacked=True,
            size=(8, 8),
        ),
        series(
            "Books errors and dead letters",
            "Good: zero, always. Books errors: the books contradict themselves, or the schema is older than the "
            "workers; the accounts in the workers' log wait, all others go on. Dead letters: a command that no "
            "retry could save.",
            Query(per_second("florin_books_errors_total"), "books errors"),
            Query(per_second("florin_dead_letters_total"), "dead letters"),
            unit=units.CountsPerSecond,
            size=(24, 6),
            links=[runbook("commandsstuck")],
        ),
    ]


def _balances() -> list[Panel]:
    return [
        series(
            "Deposits",
            "What is owed to customers. Bad is a jump that no batch explains: see the outcomes of that minute.",
            Query('max by (currency) (florin_deposits_amount{currency=~"$currency"})', "{{currency}}"),
            unit=units.LocaleFormat,
            from_zero=False,
        ),
        series(
            "The bank's own accounts",
            "Balances of the system accounts. Settlement mirrors deposits and withdrawals, fee income rises, "
            "receivables are what advances owe. Suspense should be zero: what lies there belongs to nobody yet.",
            Query(
                'max by (kind, currency) (florin_system_balance_amount{currency=~"$currency"})', "{{kind}} {{currency}}"
            ),
            unit=units.LocaleFormat,
            from_zero=False,
        ),
    ]


def _followers() -> list[Panel]:
    return [
        series(
            "How far behind the log they are",
            "Age of the oldest outcome that a follower has not seen. Good: below two of its periods. Growing: its "
            "job fails (./florin jobs list), or the watermark beside it stands still.",
            Query("max by (follower) (florin_follower_lag_seconds)", "{{follower}}"),
            Query("max(florin_watermark_lag_seconds)", "watermark"),
            unit=units.Seconds,
            size=(8, 8),
        ),
        series(
            "Sealed commands",
            "Settled commands in all sealed blocks. Good: rises with what is settled. Standing still while "
            "commands are settled: the job 'seal' fails.",
            Query("max(florin_seal_leaves)", "commands"),
            size=(8, 8),
            from_zero=False,
            links=[runbook("seals")],
        ),
        stat(
            "Sealed blocks",
            "Number of the newest sealed block. It only ever rises; a lower one is a restored database: ./florin "
            "verify --against.",
            "max(florin_seal_height)",
            links=[runbook("seals")],
        ),
        stat(
            "Newest block sealed",
            "How long ago. Nothing is sealed while nothing is settled, so only the lag beside it says whether that "
            "is bad.",
            "time() - max(florin_seal_newest_timestamp_seconds)",
            unit=units.Seconds,
            links=[runbook("seals")],
        ),
        stat(
            "Seals not made known",
            "Blocks of the last hour that could not be written to the file or posted. Good is none. Bad: who "
            "rewrites history now is found later; see FLORIN_SEAL_FILE and FLORIN_SEAL_WEBHOOK.",
            "sum(increase(florin_seal_exports_failed_total[1h])) or 0 * (max(florin_postgres_up) == 1)",
            steps=((None, "green"), (1, "orange")),
            words={"0": "none"},
            decimals=0,
            links=[runbook("seals")],
        ),
        stat(
            "Watermark is behind",
            "Age of the oldest outcome that followers may not read yet, because an older transaction is open. "
            "Good: below 10 s. More: somebody left a transaction open; see the oldest transaction.",
            "max(florin_watermark_lag_seconds)",
            unit=units.Seconds,
            steps=rising(10, 60),
            ranges=[(None, 0, "not")],
            links=[link_to("servers", "Postgres and Redis")],
        ),
    ]
