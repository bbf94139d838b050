"""How hledger wants a journal written (https://hledger.org/hledger.html#journal)."""

import re
from collections.abc import Sequence
from datetime import date
from typing import Final

from processor.journal.beancount import Posting
from processor.money import exponent, format_amount

_SPECIAL: Final = re.compile(r"[;:|,\[\]]")
"""Begins a comment, a tag, a payee's note or a date within a comment; or ends a tag."""


class Hledger:
    """Each method is a piece of text that ends with a line end."""

    comment = ";"

    def head(self, title: str) -> str:
        """What the file is. Without the second line, 1.050 KWD could be a thousand and fifty."""
        return f"; {title}\ndecimal-mark .\n"

    def commodity(self, currency: str, on: date) -> str:  # noqa: ARG002
        """A currency that is used, with its decimals. It has no date."""
        return f"commodity 1000.{'0' * exponent(currency)} {currency}\n"

    def open(self, account: str, currencies: Sequence[str], on: date) -> str:  # noqa: ARG002
        """An account. It has neither date nor currency."""
        return f"account {account}\n"

    def transaction(
        self, on: date, what: str, about: str | None, facts: Sequence[tuple[str, str]], postings: Sequence[Posting]
    ) -> str:
        """Amounts that add up to zero: ``facts`` become tags."""
        lines = [f"{on} * {what}" + (f" | {_plain(about)}" if about else "")]
        lines += [f"    ; {name}:{_plain(text)}" for name, text in facts]
        lines += [
            f"    {account}  {format_amount(minor, currency)} {currency}" for account, minor, currency in postings
        ]
        return "\n" + "\n".join(lines) + "\n"

    def closing(self, account: str, minor: int, currency: str, *, last: date, following: date) -> str:  # noqa: ARG002
        """What the account has at the end of the ``last`` day, and that it has nothing else."""
        amount = f"{format_amount(0, currency)} {currency} == {format_amount(minor, currency)} {currency}"
        return f"\n{last} * closing balance\n    {account}  {amount}\n"


def _plain(text: str) -> str:
    return _SPECIAL.sub("_", text)
