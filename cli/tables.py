"""How figures are shown: tables for people, which are never cut, and the same for programs."""

from typing import Any, Final

from rich.console import Console
from rich.table import Table

from processor.money import format_amount

_WIDEST: Final = 1_000


def print_table(table: Table) -> None:
    """Print every column whole: where there is less room than that, lines are longer than it."""
    wanted = Console(width=_WIDEST).measure(table).maximum
    Console(width=max(Console().width, wanted), highlight=False).print(table)


def count_and_amount(count: int, amount_minor: int, currency: str) -> str:
    """A cell that says how many, and how much together."""
    return f"{count:,}  {format_amount(amount_minor, currency):>9}" if count else "-"


def figure(count: int, amount_minor: int, currency: str) -> dict[str, Any]:
    """The same for a program."""
    return {"count": count, "amount": format_amount(amount_minor, currency)}
