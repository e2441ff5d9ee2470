"""`grus explain` of a weight file or of a run's model: which layer, and what it reads."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from grus.dialects import Dialect, Layout, Network, Unpacked
from grus.equations import Cell, expected, named
from grus.equations.axes import sizes
from grus.equations.text import counted
from grus.errors import InputError
from grus.kernels import UnsupportedCellError
from grus.kernels.backend import backend
from grus.worksheet.explained import Explained
from grus.worksheet.pasted_numbers import read_numbers, read_steps
from grus.worksheet.preamble import Given

if TYPE_CHECKING:
    from grus.layers import Recurrent

Array = Any


@dataclass(frozen=True)
class Asked:
    """What is worked out: the input, the state it begins with, whose weights, which layer."""

    x: str | None
    text: str | None
    h0: str
    dialect: str
    layer: str
    direction: str


@dataclass(frozen=True, eq=False)
class Choice:
    """One layer of a network that a file holds."""

    name: str
    """The path in the file, followed by the number of the layer where it is a stack."""
    network: Network
    layer: int
    dialect: Dialect | None

    def __str__(self) -> str:
        both = ", forward and backward" if self.network.directions == 2 else ""
        cell, hidden = self.network.cell.name, self.network.hidden_size
        return f"{self.name} ({cell}, {counted(hidden, 'unit')}{both})"


def is_file(name: str) -> bool:
    """True for a weight file or a folder; the name of a cell is never one."""
    from grus.dialects.files.reading import READERS

    path = Path(name)
    if named(name):
        return False
    return path.suffix.lower() in READERS or path.is_dir()


def from_file(path: Path, asked: Asked) -> Explained:
    """A layer of a weight file with ``--x``, or of a run's model with ``--text`` or ``--x``."""
    tokens: Sequence[str] | None = None
    x: Array | None = None
    if path.is_dir() or asked.text is not None:
        choices, x, tokens = _model(path, asked.text)
    else:
        choices = list(_choices(path, asked.dialect, asked.layer))
    one = _chosen(path, choices, asked)
    network = one.network
    if x is None:
        if asked.x is None:
            raise InputError(f"{path}: give the input with --x, or a text with --text for a run")
        x = read_steps(asked.x, network.input_size)
    dtype = network.dtype if network.dtype in (np.float32, np.float64) else np.float32
    return _explained(path, one, np.asarray(x, dtype), tokens, asked)


def _explained(
    path: Path, one: Choice, x: Array, tokens: Sequence[str] | None, asked: Asked
) -> Explained:
    """The chosen layer with what the layers below it give."""
    network, at = one.network, int(asked.direction == "backward")
    notes = [f"direction: {asked.direction}"] if network.directions == 2 else []
    if one.layer:
        x = _below(network, one.layer, x)
        notes.append(f"x: the output of layer {one.layer} of the stack")
    backward = network.reverse or bool(at)
    if backward:
        notes.append("the steps are taken from the last to the first")
    weights = {f: np.asarray(w, x.dtype) for f, w in network.layers[one.layer][at].items()}
    axes = sizes(network.cell, weights, x.shape[1])
    side = one.dialect.gates_in if one.dialect else "rows"
    unpacked = Unpacked(weights, axes, side, 2)  # b may be the sum of two of theirs
    layout = Layout.of(one.dialect) if one.dialect and one.dialect.plain else Layout()
    h0 = start(network.cell, unpacked, asked.h0)
    given = Given("", one.dialect, layout, h0, f"{path}, layer {one.name}", None, tuple(notes))
    return Explained(network.cell, unpacked, x, given, tokens, backward)


def _below(network: Network, layer: int, x: Array) -> Array:
    """What the layer reads: the output of those below, by the kernels where they run the cell."""
    below = replace(
        network,
        cell=expected(network.cell),
        layers=network.layers[:layer],
        pairs=network.pairs[:layer],
    )
    if backend() == "kernels":
        try:
            return below.run(x[:, None], kernels=True).output[:, 0]
        except UnsupportedCellError:  # the sheet's head says the same of the layer itself
            pass
    return below.run(x[:, None]).output[:, 0].astype(x.dtype)


# What there is.


def _choices(path: Path, dialect: str, layer: str) -> Iterator[Choice]:
    """Every layer that the file has, or that the dialect finds in it; ``layer`` alone if it is
    one."""
    from grus.dialects.conversion import candidates
    from grus.dialects.files.layers import ending, find_layers
    from grus.dialects.files.reading import load

    contents = load(path)
    found = find_layers(contents, candidates(dialect) if dialect else None)
    if not found:
        names = ", ".join(list(contents.tensors)[:12]) or "none"
        raise InputError(f"{path}: no recurrent layer of a known dialect; its tensors are {names}")
    wanted = ending(layer, [one.shown for one in found])
    for one in found:
        if len(wanted) == 1 and one.shown not in wanted:
            continue
        if len(one.readings) > 1:
            names = ", ".join(f"{r.dialect.name} ({r.dialect.title})" for r in one.readings)
            raise InputError(
                f"{path}: names and shapes at {one.shown} fit several dialects that compute"
                f" different things; say with --dialect which of them it is: {names}"
            )
        (reading,) = one.readings
        yield from _stack(one.shown, reading.network, reading.dialect)


def _stack(name: str, network: Network, dialect: Dialect | None) -> Iterator[Choice]:
    count = len(network.layers)
    for k in range(count):
        yield Choice(name if count == 1 else f"{name}:{k + 1}", network, k, dialect)


def _model(
    path: Path, text: str | None
) -> tuple[list[Choice], Array | None, tuple[str, ...] | None]:
    """The layers of a run's model, what its first one reads of ``text``, and the characters."""
    from grus.models import checkpoint, run as runs

    file = checkpoint.load(runs.find(path))
    model, architecture = file.model(), file.architecture
    layers = tuple(
        ({f: w.detach().numpy() for f, w in cast("Recurrent", layer).layer_weights(0).items()},)
        for layer in model.layers
    )
    choices = list(_stack("recurrent", Network(architecture.cell, layers), None))
    if text is None:
        return choices, None, None
    symbols = architecture.vocabulary.split(text)
    ids = architecture.vocabulary.encode(symbols)
    if not len(ids):
        raise InputError("--text is empty")
    if architecture.input == "embedding":
        return choices, file.tensors["embedding.weight"].numpy()[ids], tuple(symbols)
    return (
        choices,
        np.eye(len(architecture.vocabulary), dtype=architecture.dtype)[ids],
        tuple(symbols),
    )


def _chosen(path: Path, choices: Sequence[Choice], asked: Asked) -> Choice:
    """The layer asked for; the only one where none is."""
    known = "; ".join(map(str, choices[:12]))
    fits = [one for one in choices if asked.layer in ("", one.name, one.name.rpartition(":")[2])]
    if not fits:
        from grus.dialects.files.layers import ending

        names = ending(asked.layer, [one.name for one in choices])
        fits = [one for one in choices if one.name in names]
    if not fits:
        raise InputError(f"{path}: no layer {asked.layer[:80]!r}; there are {known}")
    if len(fits) > 1:
        raise InputError(f"{path} has {len(choices)} layers: {known}; say which with --layer")
    (one,) = fits
    if asked.direction == "backward" and one.network.directions == 1:
        raise InputError(f"{path}: the layer {one} has one direction; leave --direction out")
    return one


def start(cell: Cell, unpacked: Unpacked, text: str) -> tuple[Array, ...] | None:
    """The initial states of ``--h0``: a row for each, or all numbers in a row."""
    if not text:
        return None
    found = read_numbers(text, "--h0")
    alone = found.size // len(cell.states)  # where no weight tells the size
    axes = [unpacked.sizes.get(cell.shapes.states[s], alone) for s in cell.states]
    if found.size != sum(axes) or (found.ndim > 1 and len(found) not in (1, len(axes))):
        wanted = " and ".join(f"{n} for {s}" for s, n in zip(cell.states, axes, strict=True))
        raise InputError(
            f"--h0: {counted(found.size, 'number')} of shape {found.shape}, wanted {wanted}"
        )
    return tuple(np.split(np.ravel(found), np.cumsum(axes)[:-1]))
