"""The overview as its sources give it and as the page gets it: checked, bounded, and cut to the wanted time."""

import math
from bisect import bisect_left
from datetime import UTC, datetime, tzinfo
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, computed_field, model_validator

from processor import money

MOST_POINTS: Final = 720

Span = Literal["15m", "1h", "6h", "24h"]
SECONDS: Final[dict[str, int]] = {"15m": 900, "1h": 3_600, "6h": 21_600, "24h": 86_400}


def _finite(value: float) -> float:
    if not math.isfinite(value):
        raise ValueError("not a number that can be drawn")
    return round(value, 6)


def _as_amount(value: object) -> object:
    return f"{value:.6f}" if isinstance(value, int | float) else value


Number = Annotated[float, AfterValidator(_finite)]
Count = Annotated[int, Field(ge=0, le=10**15)]
Age = Annotated[float, Field(le=10**12), AfterValidator(_finite)]
At = Annotated[float, Field(ge=0, le=32_000_000_000)]
Word = Annotated[str, Field(max_length=100)]
Amount = Annotated[str, BeforeValidator(_as_amount), Field(max_length=40, pattern=r"^-?[0-9]+(\.[0-9]+)?$")]
Points = Annotated[list[Number | None], Field(max_length=MOST_POINTS)]


class _Part(BaseModel):
    # What an exporter of a newer version says besides is no reason to show nothing.
    model_config = ConfigDict(extra="ignore")


class Alert(_Part):
    """Open alerts of one proof."""

    proof: Word
    severity: Word
    count: Count
    oldest_age_s: Age | None = None


class Firing(_Part):
    """An alert that fires in Prometheus."""

    name: Word
    severity: Word = ""
    age_s: Age | None = None
    summary: Annotated[str, Field(max_length=500)] = ""
    runbook_url: Annotated[str, Field(max_length=500)] = ""


class Proof(_Part):
    """When a proof last passed; null if it never did."""

    proof: Word
    proven_age_s: Age | None = None
    breaks: Count | None = None


class Job(_Part):
    """When a job of the scheduler last succeeded; null if it never did."""

    job: Word
    age_s: Age | None = None
    period_s: Age | None = None

    @computed_field  # type: ignore[prop-decorator]
    @property
    def is_late(self) -> bool:
        """No success for three periods and a minute, as ``florin jobs list`` has it."""
        return self.age_s is not None and self.period_s is not None and self.age_s > 3 * self.period_s + 60


class Collection(_Part):
    """The next day on which instalments are due."""

    currency: Word
    at: At
    instalments: Count | None = None
    amount: Amount | None = None
    on: Word | None = Field(None, description="The business date", examples=["2026-11-27"])


class Money(_Part):
    """What is owed to customers, and by them."""

    currency: Word
    deposits: Amount | None = None
    advances_outstanding: Amount | None = None
    arrears: Amount | None = None


class Current(_Part):
    """How things are. Null is what could not be read."""

    postgres_up: bool | None = None
    unread: list[Word] = Field(default_factory=list, max_length=50, description="What Postgres did not give in time")
    redis_up: bool | None = None
    leader: bool | None = None
    workers: Count | None = None
    oldest_pending_s: Age | None = None
    backlog: Count | None = None
    held_commands: Count | None = None
    quarantined_accounts: Count | None = None
    dead_letters: Count | None = None
    books_errors: Annotated[
        Count | None, Field(description="Batches that workers refused to record in the last minutes")
    ] = None
    alerts: list[Alert] = Field(default_factory=list, max_length=200)
    firing: Annotated[
        list[Firing] | None,
        Field(max_length=200, description="What fires in Prometheus; null if it was not asked, or did not say"),
    ] = None
    proofs: list[Proof] = Field(default_factory=list, max_length=200)
    jobs: list[Job] = Field(default_factory=list, max_length=200)
    next_collections: list[Collection] = Field(default_factory=list, max_length=200)
    money: list[Money] = Field(default_factory=list, max_length=200)
    version: Word | None = None


class Series(_Part):
    """One value for each of ``times``."""

    settled_per_s: Points
    accepted_per_s: Points
    oldest_pending_s: Points
    p50_s: Points
    p99_s: Points
    backlog: Points


class Overview(_Part):
    """How things are and were."""

    source: Literal["florin", "prometheus"]
    now: At = Field(description="When the figures were read, in seconds since 1970")
    step_s: Annotated[float, Field(gt=0, le=86_400)]
    times: Annotated[list[At], Field(max_length=MOST_POINTS)]
    series: Series
    refusals: Annotated[dict[Word, Points], Field(max_length=50)] = Field(default_factory=dict)
    current: Current

    @model_validator(mode="after")
    def _one_value_each(self) -> "Overview":
        lines = [*(getattr(self.series, name) for name in Series.model_fields), *self.refusals.values()]
        if any(len(line) != len(self.times) for line in lines):
            raise ValueError("every series has one value for each time")
        if any(later <= earlier for earlier, later in zip(self.times, self.times[1:], strict=False)):
            raise ValueError("times go up")
        return self

    def last(self, span: Span) -> "Overview":
        """The same with no more than the last ``span`` of history."""
        first = bisect_left(self.times, self.now - SECONDS[span])
        return self.model_copy(
            update={
                "times": self.times[first:],
                "series": Series(**{name: getattr(self.series, name)[first:] for name in Series.model_fields}),
                "refusals": {reason: line[first:] for reason, line in self.refusals.items()},
            }
        )

    def for_people(self, zone: tzinfo) -> "Overview":
        """The same with amounts in the currencies' own decimals, and days by the bank's clock."""
        current = self.current.model_copy(
            update={
                "next_collections": [_collection(each, zone) for each in self.current.next_collections],
                "money": [_money(each) for each in self.current.money],
            }
        )
        return self.model_copy(update={"current": current})

    def waits(self) -> list[tuple[float, float]]:
        """How long the oldest command waited at each instant for which that is known, oldest first."""
        return [
            (at, value) for at, value in zip(self.times, self.series.oldest_pending_s, strict=True) if value is not None
        ]

    def settled_now_per_s(self) -> float | None:
        """The newest known speed, if it is of the last points: the very last one is often not there yet."""
        return next((value for value in reversed(self.series.settled_per_s[-3:]) if value is not None), None)


def _collection(each: Collection, zone: tzinfo) -> Collection:
    day = datetime.fromtimestamp(each.at, UTC).astimezone(zone).date().isoformat()
    return each.model_copy(update={"on": day, "amount": _in_decimals(each.amount, each.currency)})


def _money(each: Money) -> Money:
    names = ("deposits", "advances_outstanding", "arrears")
    return each.model_copy(update={name: _in_decimals(getattr(each, name), each.currency) for name in names})


def _in_decimals(amount: str | None, currency: str) -> str | None:
    """Figures of Prometheus are floats: to the nearest minor unit, they are exact up to 2**53 of them."""
    return None if amount is None else f"{float(amount):.{money.EXPONENTS.get(currency, 2)}f}"
