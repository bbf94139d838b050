"""What an account's document says of its limits: those of today, whatever an earlier day has had."""

from datetime import date, timedelta
from typing import Any, Final

import pytest

from api_min.documents import account_document
from processor.domain.commands import UNLIMITED_COUNT, UNLIMITED_MINOR
from processor.store.reading import AccountRow
from tests.builders import NOON, TODAY

DAILY: Final = ("daily_count", "daily_amount", "daily_used", "daily_used_amount")


def shown(**daily: Any) -> list[Any]:
    """What the document has of the limits of a day."""
    row = AccountRow("alice", "customer", "USD", "open", 3, 5_000, 1_000, 500, 0, 0, NOON, **daily)
    document = account_document(row, today=TODAY)
    return [document[name] for name in DAILY]


@pytest.mark.parametrize(
    ("on", "used"),
    [
        (TODAY, [2, "30.00"]),
        (TODAY - timedelta(days=1), [0, "0.00"]),
        # The worker that counted was past midnight already: for it, and for the next one, that day has begun.
        (TODAY + timedelta(days=1), [2, "30.00"]),
        (None, [0, "0.00"]),
    ],
)
def test_what_an_earlier_day_has_had_is_used_no_more(on: date | None, used: list[Any]) -> None:
    """The row is written at the next debit only: until then it has yesterday's count."""
    counted = {"daily_on": on, "daily_used": 2, "daily_used_minor": 3_000} if on else {}

    assert shown(daily_count=5, daily_amount_minor=10_000, **counted) == [5, "100.00", *used]


def test_one_limit_leaves_the_other_unlimited() -> None:
    """Both are counted as soon as one of them is a limit, and a limit of nothing is one."""
    by_count = shown(daily_count=0, daily_amount_minor=UNLIMITED_MINOR)
    by_amount = shown(daily_count=UNLIMITED_COUNT, daily_amount_minor=0)

    assert by_count == [0, "unlimited", 0, "0.00"]
    assert by_amount == ["unlimited", "0.00", 0, "0.00"]
    assert shown() == ["unlimited", "unlimited", None, None]
