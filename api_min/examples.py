"""A command of each type, as the description shows it."""

from typing import Any, Final

_ID: Final = "0199a0b2-7d5e-7c3a-9f11-3a1f0c2d4e5f"
_OF: Final = {"account": "1001", "currency": "USD"}

_ANYBODY: Final[list[dict[str, Any]]] = [
    {"type": "open_account", **_OF, "overdraft_limit": "100.00", "overdraft_fee": "15.00"},
    {"type": "deposit", **_OF, "amount": "10.50"},
    {"type": "withdraw", **_OF, "amount": "4.00"},
    {
        "type": "transfer",
        "from_account": "1001",
        "to_account": "1002",
        "amount": "1.25",
        "currency": "USD",
        "reference": "lunch",
    },
    {"type": "advance", **_OF, "amount": "100.00", "instalments": 12, "first_due_on": "2026-11-27"},
    {"type": "repay", **_OF, "advance_id": _ID, "amount": "25.00"},
    {"type": "place_hold", **_OF, "amount": "25.00", "expires_at": "2026-11-27T12:00:00Z"},
    {"type": "capture_hold", **_OF, "hold_id": _ID, "amount": "20.00", "to_account": "1002"},
    {"type": "release_hold", **_OF, "hold_id": _ID},
    {"type": "close", **_OF, "reason": "the owner has moved"},
    {"type": "reverse", "command": _ID, "reason": "paid twice"},
]

_ADMINS: Final[list[dict[str, Any]]] = [
    {"type": "write_off", **_OF, "advance_id": _ID, "reason": "the owner is bankrupt"},
    {"type": "freeze", **_OF, "reason": "the card was stolen"},
    {"type": "unfreeze", **_OF, "reason": "the owner has a new card"},
    {
        "type": "set_limits",
        **_OF,
        "overdraft_limit": "100.00",
        "daily_count": 10,
        "daily_amount": "500.00",
        "reason": "the owner asked",
    },
    {
        "type": "adjust",
        "from_account": "@suspense:USD",
        "to_account": "1001",
        "amount": "3.50",
        "currency": "USD",
        "reason": "the cash was counted again",
    },
]

COMMANDS: Final[dict[str, dict[str, Any]]] = {
    **{body["type"]: {"value": body} for body in _ANYBODY},
    **{body["type"]: {"summary": "for admins", "value": body} for body in _ADMINS},
}
"""By type, as OpenAPI wants them."""
