"""Runs of `grus train`, opened before a text: traced, and their gradient followed."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from grus.equations import Cell
from grus.errors import InputError, needed_for
from grus.runtime import values
from grus.traces.flow import Flow, float64_rows, through
from grus.traces.layer import TracedStack, beside, follow, joined, read
from grus.traces.recorded import Trace
from grus.traces.recording import Chosen, Selection

if TYPE_CHECKING:
    from grus.models import Checkpoint, LanguageModel


Array = np.ndarray[Any, np.dtype[Any]]
NOTHING: Mapping[str, float] = {}
MOST = 10_000
"""Symbols of the held-out text that are read where no other is named."""


@dataclass(frozen=True, eq=False)
class OpenedRun:
    """A model and what it reads: ids [time] of the symbols, x [time, 1, features] of its layers."""

    model: LanguageModel
    symbols: str
    ids: Array
    x: Array
    source: TracedStack


def open_run(
    path: str | os.PathLike[str], text: str | None, held: Mapping[str, float] = NOTHING
) -> OpenedRun:
    """The model of a run's folder or of a checkpoint file, with values ``held``, before a text.

    Without a text it stands before the first `MOST` symbols that were held out of its training.

    Raises InputError for a path without a model, an empty text, a symbol that the model does not
    know, or what cannot be held; without a text where none was held out or it has changed.
    """
    with needed_for("a run"):
        import torch

        from grus.models import checkpoint, hold_model, kept_run

    if text == "":
        raise InputError("there is no text to read")
    saved = checkpoint.load(kept_run.find(Path(path)))
    model, vocabulary = hold_model(saved.model(), held), saved.architecture.vocabulary
    symbols = _held_out(path, saved) if text is None else vocabulary.split(text)
    ids = vocabulary.encode(symbols)
    with torch.no_grad():
        x = model.features(torch.from_numpy(ids)[:, None]).numpy()
    source = joined([read(layer) for layer in model.layers], saved.architecture.connect)
    return OpenedRun(model, symbols, ids, x, source)


def _held_out(path: str | os.PathLike[str], saved: Checkpoint) -> str:
    """The first symbols of the tail of the text that the run was not trained on."""
    import torch

    from grus.models import batches, corpus

    whole = corpus.read(saved.source)
    if whole.sha256 != saved.sha256:
        raise InputError(f"{saved.source.name} is not the text that {path} was trained on any more")
    _, tail = batches.split(torch.from_numpy(whole.ids), saved.settings.holdout)
    if not len(tail):
        raise InputError(f"nothing was held out of the training of {path}: it needs a text to read")
    return "".join(whole.vocabulary.symbols[k] for k in tail[:MOST])


def flow_run(
    path: str | os.PathLike[str],
    text: str | None,
    *,
    lags: int = 100,
    rows: int = 16,
    held: Mapping[str, float] = NOTHING,
) -> list[Flow]:
    """For each layer of a run the norm of d(loss at t)/d(state at t - k), the median over places t.

    The loss is the model's own: minus the logarithm of the probability that it gives the character
    after t. ``rows`` places t are taken, evenly over the text, each with ``lags`` steps before it;
    the states are those that the model has there. In float64. Raises InputError for a text that is
    too short, and as `open_run`.
    """
    reading = open_run(path, text, held)
    if lags < 1 or rows < 1:
        raise InputError(f"lags and rows must be at least 1, got {lags} and {rows}")
    if len(reading.ids) < lags + 2:
        raise InputError(
            f"{lags} lags need a text of at least {lags + 2} symbols, got {len(reading.ids)}"
        )
    places = np.unique(np.linspace(lags, len(reading.ids) - 2, rows).round().astype(int))
    cell = reading.source.cell
    cells, layers = float64_rows(reading.source)
    starts, below = [], reading.x.astype(np.float64)
    architecture = reading.model.architecture
    dense = architecture.connect == "dense"
    for k, weights in enumerate(layers):
        start, output = _states(cells[k], weights, below, architecture.hidden, places - lags)
        starts.append(start)
        below = beside(k, below, output) if dense else output
    windows = np.stack([reading.x[t - lags : t + 1, 0] for t in places], axis=1)
    dy = _loss(reading, output[places, 0], reading.ids[places + 1])
    every = through(cells, layers, windows.astype(np.float64), starts, dy, dense=dense)
    several = len(every) > 1
    return [
        Flow(f"{cell.name} layer {k}" if several else cell.name, cell, norms)
        for k, norms in enumerate(every)
    ]


def _states(
    cell: Cell, weights: Mapping[str, Array], x: Array, hidden: int, places: Array
) -> tuple[tuple[Array, ...], Array]:
    """The states [place, unit] that each place finds, and the layer's output [time, 1, unit]."""
    zeros = tuple(np.zeros((1, hidden)) for _ in cell.states)
    computed, _ = values(cell, weights, x, zeros, [*cell.states, cell.output], threads=1)
    before = [np.concatenate([zeros[0][None], computed[state]])[places, 0] for state in cell.states]
    return tuple(map(np.ascontiguousarray, before)), computed[cell.output]


def _loss(reading: OpenedRun, output: Array, following: Array) -> Array:
    """d(-log p(following))/d(output), one row a place."""
    linear = reading.model.linear
    weight, bias = (p.detach().numpy().astype(np.float64) for p in (linear.weight, linear.bias))
    scores = output @ weight.T + bias
    share = np.exp(scores - scores.max(axis=1, keepdims=True))
    share /= share.sum(axis=1, keepdims=True)
    share[np.arange(len(following)), following] -= 1
    return np.asarray(share @ weight)


def trace_text(
    path: str | os.PathLike[str],
    text: str | None,
    *,
    values: Sequence[str] | None = None,
    layers: Chosen = None,
    steps: Chosen = None,
    units: Chosen = None,
    held: Mapping[str, float] | None = None,
) -> Trace:
    """Let the model of a run read ``text`` from zero states, and record what its layers compute.

    ``path`` is a folder of ``grus train`` (its best model, or its last where nothing was held out)
    or a checkpoint file. One step is one character, or one byte for a model of bytes, and these are
    the trace's tokens. The rest is asked for as in `grus.trace`. Values ``held`` at numbers ({"z":
    1.0}) are so in every layer (`grus.hold`); they are no part of the cell and of its trace.

    A ``text`` None is the run's own: the beginning of what was held out of its training.

    Raises InputError for a path without a model, an empty text, a character that the model does not
    know, or what the layers have not or cannot hold.
    """
    reading = open_run(path, text, held or {})
    asked = Selection(values, layers, None, steps, units)
    return follow(reading.source, reading.x, None, asked, tokens=reading.symbols)
