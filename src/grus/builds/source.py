"""`read_model`: whatever a model can be read from."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from grus.builds.model import Model
from grus.errors import InputError, needed_for

if TYPE_CHECKING:
    from torch import nn


def read_model(source: Path | str | nn.Module, *, logits: bool = False) -> Model:
    """The model that ``source`` is: a torch module.

    ``logits`` leaves out a softmax that stands last. The source is read, never changed, as it runs
    in evaluation. Raises InputError with a sentence that names what cannot be built and where it
    stands.
    """
    if isinstance(source, (str, Path)):
        raise InputError(f"{source} is no torch module")
    with needed_for("building a torch module"):
        from grus.builds.torch_source import read_module
    return read_module(source, logits)
