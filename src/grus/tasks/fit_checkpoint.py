"""A fit as one file: weights, what the optimiser keeps, the carried state; beside them the task,
its encoding, the network's sizes, settings and progress as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from grus.models.checkpoint_file import (
    Kind,
    cell_text,
    content,
    load_weights,
    opened,
    read_cell,
    tensors_of,
)
from grus.models.optimizers import moment_names
from grus.models.settings import Place, check, from_json
from grus.tasks.registry import TASKS
from grus.tasks.task import FitSettings, Sizes, Task

FORMAT, VERSION = "grus fit", 1


@dataclass(kw_only=True)
class FitProgress(Place):
    """The place of a fit; ``stale`` reports in a row were not better than ``best_loss``, ``cuts``
    times the learning rate was halved."""

    best_loss: float | None = None
    stale: int = 0
    cuts: int = 0


@dataclass(frozen=True)
class FitSource:
    """The data's path, absolute, and that of the examples to test on; None: a frame in memory."""

    data: str | None = None
    test_data: str | None = None


@dataclass(frozen=True)
class Architecture:
    """A network apart from its weights: the task, what it learnt of its data, the sizes."""

    task: Task[Any, Any]
    encoding: Any
    sizes: Sizes

    def network(self, dropout: float = 0.0, seed: int = 0) -> Any:
        """The module with weights drawn from ``seed``."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return self.task.network(self.encoding, self.sizes, dropout)


@dataclass(frozen=True)
class FitCheckpoint:
    """The content of a file; ``sha256`` is of the data's files."""

    architecture: Architecture
    source: FitSource
    sha256: str
    settings: FitSettings
    progress: FitProgress
    tensors: Mapping[str, Tensor]

    def content(self) -> bytes:
        """The bytes of the file."""
        model = self.architecture
        sizes = {n: getattr(model.sizes, n) for n in ("hidden", "layers", "connect")}
        described = {
            "task": model.task.name,
            "options": asdict(model.task),
            "encoding": asdict(model.encoding),
            "cell": cell_text(model.sizes.cell),
            "decoder": model.sizes.decoder and cell_text(model.sizes.decoder),
            "sizes": sizes,
            "source": asdict(self.source),
            "sha256": self.sha256,
            "settings": asdict(self.settings),
            "progress": asdict(self.progress),
        }
        return content(FORMAT, VERSION, described, self.tensors)

    def network(self) -> Any:
        """The module with its weights, in evaluation mode."""
        module = self.architecture.network(self.settings.dropout)
        load_weights(dict(module.named_parameters()), self.tensors)
        return module.eval()


def step(path: Path) -> int:
    """At which step a file was saved."""
    with opened(path, FORMAT, VERSION) as (header, _):
        return from_json(FitProgress, header.get("progress"), "progress").step


def load(path: Path) -> FitCheckpoint:
    """Read and check a file. Raises InputError in one sentence for one that is missing, cut short,
    not a fit, or inconsistent in itself."""
    with opened(path, FORMAT, VERSION) as (header, file):
        described = _described(header)
        tensors = tensors_of(file, expected(described))
    return FitCheckpoint(**described, tensors=tensors)


def expected(described: Mapping[str, Any]) -> dict[str, Kind]:
    """Every tensor that a file holds: name -> (shape, dtype). Allocates nothing."""
    settings, progress = described["settings"], described["progress"]
    with torch.device("meta"):
        blank = described["architecture"].network()
    weights = {name: (tuple(p.shape), "float32") for name, p in blank.named_parameters()}
    held = moment_names(settings.optimizer, weights)
    tensors = weights | {key: weights[weight] for key, (_, weight) in held.items()}
    if progress.chunk:
        shapes = blank.carried(settings.batch)
        tensors |= {f"state.{k}": (shape, "float32") for k, shape in enumerate(shapes)}
    return tensors


def _described(header: Mapping[str, Any]) -> dict[str, Any]:
    kind = TASKS.get(str(header.get("task")))
    check(kind is not None, f"the task {header.get('task')!r:.40} is not one of {', '.join(TASKS)}")
    assert kind is not None
    sha256 = header.get("sha256")
    check(isinstance(sha256, str), "sha256 must be text")
    decoder = header.get("decoder")
    cells = {"cell": read_cell(header.get("cell")), "decoder": decoder and read_cell(decoder)}
    sizes = from_json(_Sizes, header.get("sizes"), "sizes")
    return {
        "architecture": Architecture(
            from_json(kind, header.get("options"), "options"),
            from_json(kind.encoding, header.get("encoding"), "encoding"),
            Sizes(**asdict(sizes), **cells),  # type: ignore[arg-type]
        ),
        "source": from_json(FitSource, header.get("source"), "source"),
        "sha256": sha256,
        "settings": from_json(FitSettings, header.get("settings"), "settings"),
        "progress": from_json(FitProgress, header.get("progress"), "progress"),
    }


@dataclass(frozen=True)
class _Sizes:
    hidden: int
    layers: int
    connect: str
