"""What keeps the local servers from starting, in words for the person at the terminal."""


class ServersError(Exception):
    """The text says what happened and what to do about it; it never holds a password."""
