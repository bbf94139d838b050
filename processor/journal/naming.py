"""What an account is called in a journal: a name that both programs take, from which ours can be read back."""

import re
from typing import Final

_ROOTS: Final = {
    "customer": "Liabilities:Customers",
    "settlement": "Assets:Settlement",
    "fee_income": "Income:Fees",
    "advances_receivable": "Assets:Advances-Receivable",
    "suspense": "Liabilities:Suspense",
    "credit_loss": "Expenses:Credit-Losses",
}
"""Where each kind of account stands. Debits are positive: what customers have is below zero, as a bank owes it."""

OPENING: Final = "Equity:Opening-Balances"

_ESCAPES: Final = {"-": "--", ".": "-d", "_": "-u", ":": "-c"}
_UNESCAPES: Final = {escaped: plain for plain, escaped in _ESCAPES.items()}
_ESCAPED: Final = re.compile("-.")
_CUSTOMER: Final = re.compile(f"{_ROOTS['customer']}:[A-Z]{{3}}-(.+)", re.ASCII)
_KINDS: Final = {root: kind for kind, root in _ROOTS.items()}


def journal_name(kind: str, currency: str, name: str) -> str:
    """
    The account's name in a journal: ``Liabilities:Customers:USD-alice``, ``Assets:Settlement:USD``.

    Letters and digits stand for themselves; ``-`` is ``--``, ``.`` is ``-d``, ``_`` is ``-u``, ``:`` is ``-c``. So no
    two accounts share a name, and ``read_name`` has ours again. The currency begins the last part because beancount
    wants a capital letter there.
    """
    if kind != "customer":
        return f"{_ROOTS[kind]}:{currency}"
    return f"{_ROOTS[kind]}:{currency}-{''.join(_ESCAPES.get(each, each) for each in name)}"


def read_name(written: str) -> str:
    """Our name of the account that a journal calls so. Raises ``ValueError`` for a name that no account has."""
    if match := _CUSTOMER.fullmatch(written):
        try:
            return _ESCAPED.sub(lambda found: _UNESCAPES[found[0]], match[1])
        except KeyError:
            raise ValueError(f"no account is called {written!r} in a journal") from None
    root, _, currency = written.rpartition(":")
    if root not in _KINDS or _KINDS[root] == "customer":
        raise ValueError(f"no account is called {written!r} in a journal")
    return f"@{_KINDS[root]}:{currency}"
