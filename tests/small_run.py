"""A training run that takes milliseconds, with everything on that a checkpoint must carry."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor

from grus.equations import cell as find_cell
from grus.models import corpus, kept_run, run as runs
from grus.models.corpus import Architecture
from grus.models.run import Metrics, Run
from grus.models.settings import Settings
from grus.models.train import train

PROSE = "the quick brown fox jumps over the lazy dog; pack my box with five dozen jugs. " * 8
SETTINGS = Settings(seq_len=5, batch=4, steps=40, dropout=0.2, report_every=7, seed=3)


class Silent:
    """A watch that keeps the reports."""

    def __init__(self) -> None:
        self.reports: list[Metrics] = []

    def step(self, run: Run) -> None:
        pass

    def report(self, run: Run, metrics: Metrics) -> None:
        self.reports.append(metrics)


def prose_file(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "prose.txt"
    file.write_text(PROSE)
    return file


def start(folder: Path, settings: Settings = SETTINGS, **model: Any) -> Run:
    """A new run in ``folder``/run on the prose, 12 hidden units unless said otherwise."""
    source = corpus.Source(str(prose_file(folder)))
    read = corpus.read(source)
    sizes: dict[str, Any] = {"hidden": 12, "embedding": 6, **model}
    cell = find_cell(sizes.pop("cell", "gru"))
    return runs.start(
        folder / "run", source, read, Architecture(cell, read.vocabulary, **sizes), settings
    )


def go_on(folder: Path, **changes: Any) -> Run:
    found = runs.load_last(folder / "run")
    return runs.resume(found, folder / "run", found.source, replace(found.settings, **changes))


def finish(run: Run, after: int | None = None) -> Silent:
    """Train to the end, or for ``after`` steps."""
    watch, began = Silent(), run.progress.step
    train(run, watch, lambda: after is not None and run.progress.step >= began + after)
    return watch


def tensors(folder: Path, name: str = kept_run.LAST) -> dict[str, Tensor]:
    from grus.models.checkpoint import load

    return dict(load(folder / "run" / name).tensors)
