"""A run as one safetensors file: tensors, and a JSON object in the metadata that describes them.

The weights have PyTorch's names and layout (``recurrent.weight_ih_l0``), the cell is stored as its
equations. Beside the weights stand the optimiser's state (``adam.exp_avg.<weight>``), the carried
state (``state.h`` [layers, batch, hidden]) and the random generator's (``random``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from grus.models.checkpoint_file import (
    cell_text,
    content,
    load_weights,
    opened,
    read_cell,
    tensors_of,
)
from grus.models.corpus import Architecture, Source, Vocabulary
from grus.models.language import LanguageModel
from grus.models.optimizers import moment_names
from grus.models.settings import Progress, Settings, check, from_json

FORMAT = "grus language model"
VERSION = 1
DIALECT = "torch"
MAX_LAYERS = 1000


@dataclass(frozen=True)
class Checkpoint:
    """The content of a file. ``tensors`` are by name, ``sha256`` is of the training text."""

    architecture: Architecture
    source: Source
    sha256: str
    settings: Settings
    progress: Progress
    tensors: Mapping[str, Tensor]

    def content(self) -> bytes:
        """The bytes of the file."""
        return content(FORMAT, VERSION, self.header(), self.tensors)

    def header(self) -> dict[str, Any]:
        """What the file says of itself beside its tensors, as JSON has it."""
        model = self.architecture
        plain = {n: getattr(model, n) for n in ("hidden", "layers", "input", "embedding", "dtype")}
        plain |= {"connect": model.connect} if model.connect else {}
        return {
            "dialect": DIALECT,
            "cell": cell_text(model.cell),
            "vocabulary": asdict(model.vocabulary),
            "model": plain,
            "text": asdict(self.source),
            "text_sha256": self.sha256,
            "settings": asdict(self.settings),
            "progress": asdict(self.progress),
        }

    def model(self) -> LanguageModel:
        """The model with its weights, in evaluation mode."""
        with torch.random.fork_rng(devices=[]):  # the weights drawn are replaced at once
            model = LanguageModel(self.architecture, self.settings.dropout)
        load_weights(model.named_weights(), self.tensors)
        return model.eval()


def step(path: Path) -> int:
    """At which step a checkpoint file was saved. Raises InputError as `load` does."""
    with opened(path, FORMAT, VERSION) as (header, _):
        return int(_described(header)["progress"].step)


def load(path: Path) -> Checkpoint:
    """Read and check a checkpoint file.

    Raises InputError in one sentence for a file that is missing, cut short, not a checkpoint of
    this program, or inconsistent in itself.
    """
    with opened(path, FORMAT, VERSION) as (header, file):
        described = _described(header)
        wanted = (described[name] for name in ("architecture", "settings", "progress"))
        tensors = tensors_of(file, expected(*wanted))
    return Checkpoint(**described, tensors=tensors)


def _described(header: Mapping[str, Any]) -> dict[str, Any]:
    """A file's JSON object as the arguments of `Checkpoint`, without the tensors."""
    check(header.get("dialect") == DIALECT, f"the dialect must be {DIALECT!r}")
    sha256 = header.get("text_sha256")
    check(isinstance(sha256, str), "text_sha256 must be text")
    return {
        "architecture": _architecture(header),
        "source": from_json(Source, header.get("text"), "text"),
        "sha256": sha256,
        "settings": from_json(Settings, header.get("settings"), "settings"),
        "progress": from_json(Progress, header.get("progress"), "progress"),
    }


@dataclass(frozen=True)
class _Model:
    hidden: int
    layers: int
    input: str
    embedding: int
    dtype: str
    connect: str


def _architecture(header: Mapping[str, Any]) -> Architecture:
    cell = read_cell(header.get("cell"))
    vocabulary = from_json(Vocabulary, header.get("vocabulary"), "vocabulary")
    plain = header.get("model")
    if isinstance(plain, dict):  # files of plain stacks, earlier ones too, do not speak of it
        plain = {"connect": "", **plain}
    model = from_json(_Model, plain, "model")
    check(model.layers <= MAX_LAYERS, f"layers must be at most {MAX_LAYERS}")
    return Architecture(cell, vocabulary, **asdict(model))


def expected(
    architecture: Architecture, settings: Settings, progress: Progress
) -> dict[str, tuple[tuple[int, ...], str]]:
    """Every tensor a checkpoint holds: name -> (shape, dtype). Allocates nothing."""
    dtype = architecture.dtype
    blank = LanguageModel(architecture, device="meta").named_weights()
    tensors = {name: (tuple(weight.shape), dtype) for name, weight in blank.items()}
    held = moment_names(settings.optimizer, tensors)
    tensors |= {key: tensors[weight] for key, (_, weight) in held.items()}
    if progress.chunk:
        shape = (architecture.layers, settings.batch, architecture.hidden)
        tensors |= {f"state.{name}": (shape, dtype) for name in architecture.cell.states}
    tensors["random"] = ((torch.Generator().get_state().numel(),), "uint8")
    return tensors
