"""The one error for what a caller or a file got wrong."""

from typing import Any


class InputError(ValueError):
    """What was given cannot be; the message says what was expected, what came, and where.

    The command line prints it as one line and exits with code 2.
    """


def expect(wanted: str, value: object, kinds: Any) -> None:
    """Raise InputError unless ``value`` is of these types; ``wanted`` is the sentence so far."""
    if not isinstance(value, kinds):
        raise InputError(f"{wanted}, got {type(value).__name__}")
