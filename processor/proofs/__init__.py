"""Every proof. One more is a module with its ``PROOF``, and a line here."""

from typing import Final

from processor.proofs import (
    account_changes,
    account_totals,
    advance_schedules,
    balance_floors,
    clock_sanity,
    command_effects,
    command_lines,
    holds,
    instalment_outcomes,
    job_runs,
    links,
    overdue_instalments,
    receivables,
    running_balances,
    system_checkpoints,
    zero_sum,
)
from processor.proofs.proof import Proof

PROOFS: Final[tuple[Proof, ...]] = (
    command_effects.PROOF,
    command_lines.PROOF,
    links.PROOF,
    running_balances.PROOF,
    account_totals.PROOF,
    balance_floors.PROOF,
    account_changes.PROOF,
    holds.PROOF,
    zero_sum.PROOF,
    system_checkpoints.PROOF,
    advance_schedules.PROOF,
    instalment_outcomes.PROOF,
    receivables.PROOF,
    overdue_instalments.PROOF,
    clock_sanity.PROOF,
    job_runs.PROOF,
)
