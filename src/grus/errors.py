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


class MissingTorchError(InputError, ModuleNotFoundError):
    """What was asked for needs PyTorch, which is not installed."""

    def __init__(self, what: str) -> None:
        super().__init__(f"{what} needs PyTorch: pip install 'grus[torch]'")
        self.name = "torch"


def needs_torch(error: ModuleNotFoundError, what: str) -> ModuleNotFoundError:
    """What to raise where an import failed: a sentence where torch was missing, else the error."""
    return MissingTorchError(what) if error.name == "torch" else error
