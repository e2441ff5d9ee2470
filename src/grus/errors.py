"""The errors for what a caller or a file got wrong: `InputError`, and beside it the type that torch
raises in that place."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

EXTRAS = {
    "torch": "torch",
    "filelock": "torch",
    "h5py": "convert",
    "onnx": "convert",
    "matplotlib": "pictures",
    "mido": "tasks",
    "polars": "tasks",
    "sacrebleu": "tasks",
    "sklearn": "tasks",
    "tokenizers": "tasks",
    "optuna": "search",
    "plotly": "pictures",
    "starlette": "page",
    "uvicorn": "page",
    "ziglang": "wasm",
    "jax": "bench",
    "keras": "bench",
    "onnxruntime": "bench",
    "openvino": "bench",
    "tensorflow": "bench",
}
"""The packages that may be absent, by the name that is imported: the extra that installs each."""


class InputError(ValueError):
    """What was given cannot be; the message says what was expected, what came, and where.

    The command line prints it as one line and exits with code 2.
    """


class ShapeError(InputError, RuntimeError):
    """A tensor of a shape that cannot be. A RuntimeError too, as torch raises."""


class MemoryKindError(InputError):
    """A tensor whose numbers do not lie densely in the CPU's memory: no kernel may read it."""


class KindError(InputError, TypeError):
    """An argument of another type. A TypeError too, as torch raises."""


def expect(wanted: str, value: object, kinds: Any) -> None:
    """Raise InputError unless ``value`` is of these types; ``wanted`` is the sentence so far."""
    if not isinstance(value, kinds):
        raise InputError(f"{wanted}, got {type(value).__name__}")


class MissingPackageError(InputError, ModuleNotFoundError):
    """What was asked for needs a package that is not installed; the message names its extra."""

    def __init__(self, what: str, package: str, extra: str = "") -> None:
        name = "PyTorch" if package == "torch" else package
        super().__init__(f"{what} needs {name}: pip install 'grus[{extra or EXTRAS[package]}]'")
        self.name = package


def missing_package(
    error: ModuleNotFoundError, what: str, extra: str = ""
) -> MissingPackageError | None:
    """The sentence for ``what`` where one of `EXTRAS` is missing, None where another module is.

    ``extra`` is for what needs more than the one package.
    """
    package = (error.name or "").split(".")[0]
    return MissingPackageError(what, package, extra) if package in EXTRAS else None


@contextmanager
def needed_for(what: str, extra: str = "") -> Iterator[None]:
    """Raise MissingPackageError where an import in here finds one of `EXTRAS` missing."""
    try:
        yield
    except ModuleNotFoundError as error:
        missing = missing_package(error, what, extra)
        if missing is None:
            raise
        raise missing from None
