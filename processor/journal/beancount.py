"""How beancount wants a journal written (https://beancount.github.io/docs/beancount_language_syntax.html)."""

from collections.abc import Sequence
from datetime import date
from typing import Final

from processor.money import format_amount

_ESCAPES: Final = str.maketrans({"\\": "\\\\", '"': '\\"'})


class Beancount:
    """Each method is a piece of text that ends with a line end."""

    comment = ";"

    def head(self, title: str) -> str:
        """What the file is."""
        return f"option {_quoted('title')} {_quoted(title)}\n"

    def commodity(self, currency: str, on: date) -> str:
        """A currency that is used."""
        return f"{on} commodity {currency}\n"

    def open(self, account: str, currencies: Sequence[str], on: date) -> str:
        """An account, and the currencies that it may hold."""
        return f"{on} open {account} {','.join(currencies)}\n"

    def transaction(
        self, on: date, what: str, about: str | None, facts: Sequence[tuple[str, str]], postings: Sequence["Posting"]
    ) -> str:
        """Amounts that add up to zero: ``facts`` are names and texts."""
        lines = [f"{on} * {_quoted(what)}" + (f" {_quoted(about)}" if about else "")]
        lines += [f"  {name}: {_quoted(text)}" for name, text in facts]
        lines += [f"  {account}  {format_amount(minor, currency)} {currency}" for account, minor, currency in postings]
        return "\n" + "\n".join(lines) + "\n"

    def closing(self, account: str, minor: int, currency: str, *, last: date, following: date) -> str:  # noqa: ARG002
        """
        What the account has at the end of the ``last`` day, to the last decimal.

        beancount looks at the beginning of a day, and would let the smallest unit pass without the ``~ 0``.
        """
        return f"{following} balance {account}  {format_amount(minor, currency)} ~ 0 {currency}\n"


Posting = tuple[str, int, str]
"""Account, minor units (a debit is positive), currency."""


def _quoted(text: str) -> str:
    return f'"{text.translate(_ESCAPES)}"'
