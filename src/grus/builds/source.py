"""`read_model`: whatever a model can be read from."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from grus.builds.model import Model
from grus.errors import needed_for

if TYPE_CHECKING:
    from torch import nn


def read_model(source: Path | str | nn.Module, *, dialect: str = "", logits: bool = False) -> Model:
    """The model that ``source`` is: a torch module, the folder or a file of a run of `grus train`,
    a weight file of any dialect, or an ONNX model.

    ``dialect`` names whose a weight file's recurrent layers are, where names and shapes fit
    several. ``logits`` leaves out a softmax that stands last. The source is read, never changed, as
    it runs in evaluation. `Model.notes` tells what was assumed or left out.

    Raises InputError with a sentence that names what cannot be built and where it stands.
    """
    if not isinstance(source, (str, Path)):
        with needed_for("building a torch module"):
            from grus.builds.torch_source import read_module
        return read_module(source, logits)
    if Path(source).is_dir():
        with needed_for("building a run"):
            from grus.builds.run_source import read_run
        return read_run(Path(source))
    from grus.builds.file_source import read_file

    return read_file(Path(source), dialect, logits)
