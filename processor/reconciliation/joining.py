"""Several statements of one account in a file, which are pages of one."""

from collections.abc import Sequence

from processor.reconciliation.statements import FileError, Statement


def join(format: str, statements: Sequence[Statement]) -> Statement:
    """
    All of them as one: from the first one's opening balance to the last one's closing balance.

    In order of their days. Whether they follow one another is seen in the sum. Raises ``FileError`` if they are in two
    currencies.
    """
    currencies = sorted({each.currency for each in statements})
    if len(currencies) > 1:
        raise FileError([("", f"it has statements in {' and '.join(currencies)}: give each currency its own file")])
    ordered = sorted(statements, key=lambda each: (each.from_on, each.to_on))
    return Statement(
        format,
        currencies[0],
        min(each.from_on for each in ordered),
        max(each.to_on for each in ordered),
        [entry for each in ordered for entry in each.entries],
        ordered[0].opening_minor,
        ordered[-1].closing_minor,
        skipped=sum(each.skipped for each in ordered),
    )
