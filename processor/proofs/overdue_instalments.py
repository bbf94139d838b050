"""No instalment is forgotten: when its day is over, there is a collect of it."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any, Final

from psycopg import Connection

from processor.breaks import Break
from processor.proofs.proof import Proof, Scope
from processor.store.proving import advances

_PATIENCE: Final = timedelta(days=2)
"""After a collect that failed, the next one is sent a day later."""

_ENOUGH: Final = 100_000


def check(conn: Connection[Any], scope: Scope) -> Iterator[Break]:
    """Look for what is scheduled on a day before today and that nobody collects. One alert, however many there are."""
    count, oldest, advance = advances.find_uncollected(
        conn,
        today=scope.limits.rules.business_date(scope.now),
        failed_before=scope.now - _PATIENCE,
        limit=_ENOUGH,
    )
    scope.count(count)
    if count:
        many = f"{count} or more" if count == _ENOUGH else str(count)
        yield Break(
            proof=PROOF.name,
            subject="job:collect",
            expected="a collect of every instalment by the end of its day",
            found=f"{many} without one, the oldest of {oldest}, advance {advance}",
            advice="See `florin jobs list`: collect is late or fails. What is due is collected as soon as it runs.",
            position=advance,
        )


PROOF: Final = Proof("overdue_instalments", "There is a collect of every instalment whose day is over.", False, check)
