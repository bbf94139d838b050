"""A command's life for a program."""

from dataclasses import asdict
from typing import Any

from cli.dead_letters import case_document
from processor.domain.outcomes import Reason
from processor.explaining import Life, allowances, amount_words, count_words, sentence
from processor.money import format_amount
from processor.store.effects import TouchedHold
from processor.store.life import Moved, Touched
from processor.submissions import CommandBody
from workers.peeking import Looked


def document(life: Life, looked: Looked | None) -> dict[str, Any]:
    """All that is known. What does not apply is null or empty; amounts are strings in their currency's decimals."""
    asked, currency = life.asked, life.asked.body.currency
    return {
        "id": asked.id,
        "position": asked.position,
        "client": asked.client,
        "idempotency_key": asked.idempotency_key,
        "accepted_at": asked.accepted_at,
        "status": asked.status,
        "reason": asked.reason,
        "text": Reason(asked.reason).text if asked.reason else None,
        "decided_at": asked.decided_at,
        "held_at": asked.held_at,
        "sentence": sentence(asked.body),
        "command": _body(asked.body),
        "lines": [
            {"account": account, "ahead": line.ahead, "first": line.head_id, "first_position": line.head}
            for account, line in life.lines.items()
        ],
        "quarantines": [asdict(each) for each in life.quarantines],
        "delivery": asdict(life.batch) if life.batch else None,
        "messages": [asdict(each) for each in looked.found] if looked else None,
        "timeline": [
            {
                "step": each.name,
                "at": each.at,
                "after_s": each.after.total_seconds() if each.after is not None else None,
            }
            for each in life.timeline
        ],
        "transfers": [_transfer(each) for each in life.transfers],
        "advance": {
            "id": life.advance.id,
            "state": life.advance.state,
            "amount": format_amount(life.advance.amount_minor, currency),
            "paid": format_amount(life.advance.paid_minor, currency),
            "written_off": format_amount(life.advance.written_off_minor, currency),
        }
        if life.advance
        else None,
        "instalments": [_instalment(each, currency) for each in life.instalments],
        "hold": _hold(life.hold, currency) if life.hold else None,
        "change": {
            "account": life.change.account,
            "before": allowances(life.change.before, currency) if life.change.before else None,
            "after": allowances(life.change.after, currency),
        }
        if life.change
        else None,
        "reverses": life.reverses,
        "reversed_by": life.reversed_by,
        "dead_letter": case_document(life.dead_letter) if life.dead_letter else None,
        "retry_of": life.retry_of.id if life.retry_of else None,
        "block": life.block,
        "alerts": [asdict(each) for each in life.alerts],
        "statement_matches": [
            asdict(each) | {"amount_minor": None, "amount": format_amount(each.amount_minor, currency)}
            for each in life.matches
        ],
        "missing_in_statement": [{"leg": leg, "since": since} for leg, since in life.missing],
    }


def balances(transfer: Moved) -> list[tuple[str, str, int | None, int | None]]:
    """Both sides of a transfer: the account, how it changes, and its balance before and after if that is known."""
    sides = []
    for account, sign, after in (
        (transfer.debit_account, -1, transfer.debit_balance_minor),
        (transfer.credit_account, 1, transfer.credit_balance_minor),
    ):
        change = sign * transfer.amount_minor
        words = ("+" if sign > 0 else "") + format_amount(change, transfer.currency)
        sides.append((account, words, None if after is None else after - change, after))
    return sides


def _body(body: CommandBody) -> dict[str, Any]:
    fields = asdict(body)
    amounts = {
        name.removesuffix("_minor"): format_amount(minor, body.currency)
        for name, minor in fields.items()
        if name.endswith("_minor") and minor is not None
    }
    others = {name: value for name, value in fields.items() if not name.endswith("_minor") and value is not None}
    if body.daily_count is not None:
        others["daily_count"] = count_words(body.daily_count)
    if body.daily_amount_minor is not None:
        amounts["daily_amount"] = amount_words(body.daily_amount_minor, body.currency)
    return others | amounts


def _transfer(transfer: Moved) -> dict[str, Any]:
    def amount(minor: int | None) -> str | None:
        return None if minor is None else format_amount(minor, transfer.currency)

    return {
        "leg": transfer.leg,
        "kind": transfer.kind,
        "amount": amount(transfer.amount_minor),
        "currency": transfer.currency,
        "accounts": [
            {"account": account, "change": change, "balance_before": amount(before), "balance_after": amount(after)}
            for account, change, before, after in balances(transfer)
        ],
    }


def _hold(touched: TouchedHold, currency: str) -> dict[str, Any]:
    return {
        "id": touched.id,
        "amount": format_amount(touched.amount_minor, currency),
        "captured": format_amount(touched.captured_minor, currency),
        "state": touched.state,
        "expires_at": touched.expires_at,
        "settled_by": touched.settled_by,
        "settled_by_this": bool(touched.settled_here),
    }


def _instalment(touched: Touched, currency: str) -> dict[str, Any]:
    return {
        "number": touched.number,
        "due_on": touched.due_on,
        "amount": format_amount(touched.amount_minor, currency),
        "rolled": format_amount(touched.rolled_minor, currency),
        "paid": format_amount(touched.paid_minor, currency),
        "state": touched.state,
        "settled_by_this": bool(touched.settled_here),
    }
