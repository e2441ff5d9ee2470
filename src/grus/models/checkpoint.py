"""A run as one safetensors file: tensors, and a JSON object in the metadata that describes them.

The weights have PyTorch's names and layout (``recurrent.weight_ih_l0``), the cell is stored as its
equations. Beside the weights stand the optimiser's state (``adam.exp_avg.<weight>``), the carried
state (``state.h`` [layers, batch, hidden]) and the random generator's (``random``).

A file may come from anyone: its header's size, the JSON, and every tensor's name, shape and dtype
are checked against the cell before anything is allocated, and nothing in it is executed.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_bytes
from torch import Tensor

from grus import __version__
from grus.equations import Cell
from grus.errors import InputError
from grus.models.corpus import Architecture, Source, Vocabulary
from grus.models.language import LanguageModel
from grus.models.settings import Progress, Settings, check, from_json

FORMAT = "grus language model"
VERSION = 1
DIALECT = "torch"
MAX_HEADER = 32 * 2**20  # a vocabulary of every Unicode character needs about half of it
MAX_LAYERS = 1000
ADAM = ("exp_avg", "exp_avg_sq")
NAMES = {"F32": "float32", "F64": "float64", "U8": "uint8"}


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
        header = json.dumps(self._header(), allow_nan=False)
        return to_bytes(dict(self.tensors), {"grus": header})

    def _header(self) -> dict[str, Any]:
        model = self.architecture
        plain = {n: getattr(model, n) for n in ("hidden", "layers", "input", "embedding", "dtype")}
        plain |= {"connect": model.connect} if model.connect else {}
        return {
            "format": FORMAT,
            "version": VERSION,
            "written_by": f"grus {__version__}",
            "dialect": DIALECT,
            "cell": {"name": model.cell.name, "equations": str(model.cell)},
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
        weights = model.named_weights()
        with torch.no_grad():
            for name, parameter in weights.items():
                # Copied, not adopted: a tensor inside the file's bytes may be unaligned, and
                # then a product's last bits depend on where it lies.
                parameter.copy_(self.tensors[name])
        return model.eval()


def step(path: Path) -> int:
    """At which step a checkpoint file was saved. Raises InputError as `load` does."""
    with _opened(path) as (described, _):
        return int(described["progress"].step)


def load(path: Path) -> Checkpoint:
    """Read and check a checkpoint file.

    Raises InputError in one sentence for a file that is missing, cut short, not a checkpoint of
    this program, or inconsistent in itself.
    """
    with _opened(path) as (described, file):
        _check_tensors(described, file)
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        for name, tensor in tensors.items():
            check(bool(tensor.isfinite().all()), f"{name} holds NaN or infinity")
    return Checkpoint(**described, tensors=tensors)


@contextmanager
def _opened(path: Path) -> Iterator[tuple[dict[str, Any], Any]]:
    """The metadata and the open file; errors name ``path``."""
    _check_size(path)
    try:
        with safe_open(path, framework="pt") as file:
            yield _described(file.metadata()), file
    except InputError as error:
        raise InputError(f"{path}: {_one_line(error)}") from None
    except (SafetensorError, OSError) as error:
        raise InputError(f"{path} is not a whole safetensors file: {_one_line(error)}") from None


def _one_line(error: Exception) -> str:
    """The error's message, safe for a terminal even if the author of the file worded it."""
    return "".join(c if c.isprintable() else "?" for c in str(error)[:500])


def _check_size(path: Path) -> None:
    if not path.is_file():
        raise InputError(f"{path} not found; expected a checkpoint")
    try:
        with path.open("rb") as file:
            header = int.from_bytes(file.read(8), "little")
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from None
    size = path.stat().st_size
    if size < 8 or header > min(MAX_HEADER, size - 8):
        raise InputError(f"{path} is not a whole safetensors file")


def _described(metadata: Mapping[str, str] | None) -> dict[str, Any]:
    """The metadata's JSON as the arguments of `Checkpoint`, without the tensors."""
    try:
        header = json.loads((metadata or {})["grus"])
    except (KeyError, ValueError, RecursionError):
        raise InputError("a safetensors file, but not a grus checkpoint") from None
    if not isinstance(header, dict) or header.get("format") != FORMAT:
        raise InputError(f"a safetensors file, but not a {FORMAT}")
    if header.get("version") != VERSION:
        raise InputError(
            f"version {header.get('version')!r:.20} of the format; this program reads {VERSION}"
        )
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
class _CellText:
    name: str
    equations: str


@dataclass(frozen=True)
class _Model:
    hidden: int
    layers: int
    input: str
    embedding: int
    dtype: str
    connect: str


def _architecture(header: Mapping[str, Any]) -> Architecture:
    text = from_json(_CellText, header.get("cell"), "cell")
    vocabulary = from_json(Vocabulary, header.get("vocabulary"), "vocabulary")
    plain = header.get("model")
    if isinstance(plain, dict):  # files of plain stacks, earlier ones too, do not speak of it
        plain = {"connect": "", **plain}
    model = from_json(_Model, plain, "model")
    check(model.layers <= MAX_LAYERS, f"layers must be at most {MAX_LAYERS}")
    check(text.name.isidentifier(), f"the cell's name {text.name!r:.80} is not a name")
    cell = Cell.parse(text.equations, text.name, unused=True)
    return Architecture(cell, vocabulary, **asdict(model))


def expected(
    architecture: Architecture, settings: Settings, progress: Progress
) -> dict[str, tuple[tuple[int, ...], str]]:
    """Every tensor a checkpoint holds: name -> (shape, dtype). Allocates nothing."""
    dtype = architecture.dtype
    blank = LanguageModel(architecture, device="meta").named_weights()
    tensors = {name: (tuple(weight.shape), dtype) for name, weight in blank.items()}
    if settings.optimizer == "adam":
        moments = [(f"adam.{m}.{n}", kind) for m in ADAM for n, kind in tensors.items()]
        tensors |= dict(moments)
    if progress.chunk:
        shape = (architecture.layers, settings.batch, architecture.hidden)
        tensors |= {f"state.{name}": (shape, dtype) for name in architecture.cell.states}
    tensors["random"] = ((torch.Generator().get_state().numel(),), "uint8")
    return tensors


def _check_tensors(described: Mapping[str, Any], file: Any) -> None:
    wanted = expected(described["architecture"], described["settings"], described["progress"])
    names = set(file.keys())
    if names != set(wanted):
        missing, extra = sorted(set(wanted) - names), sorted(names - set(wanted))
        raise InputError(f"tensors do not fit the cell: missing {missing[:3]}, extra {extra[:3]}")
    for name, (shape, dtype) in wanted.items():
        part = file.get_slice(name)
        got = (tuple(part.get_shape()), NAMES.get(part.get_dtype(), part.get_dtype()))
        if got != (shape, dtype):
            raise InputError(f"{name} must be {dtype} {shape}, got {got[1]} {got[0]}")
