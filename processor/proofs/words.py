"""How breaks say what they say."""

from processor import money


def amount(amount_minor: int, currency: str) -> str:
    """The amount with its currency: ``10.50 USD``."""
    try:
        return f"{money.format_amount(amount_minor, currency)} {currency}"
    except ValueError:
        return f"{amount_minor} minor units of {currency}"
