"""Texts of others' making, such as keys and errors, as a terminal may be shown them."""


def plain(text: str) -> str:
    """The text with a mark in place of whatever is not printed, and so might drive the terminal."""
    return "".join(each if each.isprintable() else "?" for each in text)
