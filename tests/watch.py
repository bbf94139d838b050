"""A clock that the test turns."""

from datetime import UTC, datetime, timedelta


class Watch:
    """Stands still at an instant until it is turned."""

    def __init__(self, start: datetime = datetime(2026, 1, 5, 12, tzinfo=UTC)) -> None:
        self.instant = start

    def __call__(self) -> datetime:
        return self.instant

    def forward(self, **by: float) -> None:
        """Turn it: ``days=7``, ``hours=-1``."""
        self.instant += timedelta(**by)
