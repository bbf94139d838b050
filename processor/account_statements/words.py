"""What a transfer is called on a statement: a word for programs, and words for the customer."""

from typing import Final

from processor.domain.outcomes import TransferKind

KINDS: Final = {kind.value: kind.value for kind in TransferKind} | {TransferKind.OVERDRAFT_FEE.value: "penalty"}
"""The word for programs. The fee of an overdraft is a penalty, as whoever reads it calls it."""

_TEXTS: Final = {
    TransferKind.DEPOSIT: ("Deposit", "Deposit taken back"),
    TransferKind.WITHDRAWAL: ("Withdrawal given back", "Withdrawal"),
    TransferKind.TRANSFER: ("Transfer received", "Transfer sent"),
    TransferKind.OVERDRAFT_FEE: ("Penalty given back", "Penalty: overdraft fee"),
    TransferKind.ADVANCE: ("Advance paid out", "Advance taken back"),
    TransferKind.COLLECTION: ("Instalment given back", "Instalment of an advance"),
    TransferKind.REPAYMENT: ("Repayment given back", "Early repayment of an advance"),
    TransferKind.WRITE_OFF: ("Advance written off", "Advance written off"),
    TransferKind.CAPTURE: ("Payment received, held before", "Payment that was on hold"),
    TransferKind.REVERSAL: ("Reversal, in your favour", "Reversal"),
    TransferKind.ADJUSTMENT: ("Correction, in your favour", "Correction"),
}
"""For money in, and for money out."""


def text_of(kind: str, amount_minor: int) -> str:
    """What the customer reads."""
    money_in, money_out = _TEXTS[TransferKind(kind)]
    return money_in if amount_minor > 0 else money_out
