"""Libraries that only some formats need: what is said where one is not installed."""

from __future__ import annotations

from grus.errors import InputError


def missing(error: ModuleNotFoundError, package: str, what: str) -> InputError:
    """The error for ``what``, which needs ``package``; ``error`` itself if it is another's."""
    if error.name != package:
        raise error
    return InputError(f"{what} needs {package}: pip install 'grus[convert]'")
