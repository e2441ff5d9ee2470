"""`grus explain`: the layer to explain, of a file or of numbers pasted on the command line."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from grus.dialects import SECOND, Dialect, Layout, Network, Unpacked, dialects, find, unpack
from grus.dialects.dialect import Side
from grus.dialects.records import called
from grus.equations import Cell, cell as find_cell, expected, explain_name, named
from grus.equations.axes import sizes
from grus.equations.text import counted
from grus.errors import InputError
from grus.kernels import UnsupportedCellError
from grus.kernels.backend import backend
from grus.worksheet import Context, Explained, read_numbers, read_steps, readings

if TYPE_CHECKING:
    from grus.layers import Recurrent


Array = Any


@dataclass(frozen=True)
class Question:
    """What to work out: the input, the initial state, the dialect of the weights, the layer."""

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
    from grus.files.reading import READERS

    path = Path(name)
    if named(name):
        return False
    return path.suffix.lower() in READERS or path.is_dir()


def from_file(path: Path, asked: Question) -> Explained:
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
    path: Path, one: Choice, x: Array, tokens: Sequence[str] | None, asked: Question
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
    given = Context("", one.dialect, layout, h0, f"{path}, layer {one.name}", None, tuple(notes))
    return Explained(network.cell, unpacked, x, given, tokens, backward)


def _below(network: Network, layer: int, x: Array) -> Array:
    """The input of the layer: the output of the layers below, by the kernels if they can run it."""
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
    from grus.files.layers import ending, find_layers
    from grus.files.reading import load

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


def _chosen(path: Path, choices: Sequence[Choice], asked: Question) -> Choice:
    """The layer asked for; the only one where none is."""
    known = "; ".join(map(str, choices[:12]))
    fits = [one for one in choices if asked.layer in ("", one.name, one.name.rpartition(":")[2])]
    if not fits:
        from grus.files.layers import ending

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


class GatesIn(StrEnum):
    """Which side of a packed matrix the gates stand on."""

    rows = "rows"
    columns = "columns"


@dataclass(frozen=True)
class Pasted:
    """The weights as they were pasted, and how they are packed."""

    W: str
    U: str
    b: str
    b_inner: str
    weight: tuple[str, ...]
    order: str
    gates_in: GatesIn | None

    @property
    def given(self) -> bool:
        """True where there is anything."""
        return any([self.W, self.U, self.b, self.b_inner, self.weight, self.order, self.gates_in])


def from_pasted(name: str, asked: Question, pasted: Pasted) -> Explained:
    """The cell called ``name`` with pasted weights, over pasted steps, in float64."""
    if asked.x is None:
        raise InputError("--x is missing: the input, as in --x '1 2 9 8'")
    if asked.text is not None or asked.layer:
        raise InputError("--text and --layer are for a weight file or a run, not for a cell")
    found = find_cell(name)
    families = {"W": pasted.W, "U": pasted.U, "b": pasted.b, SECOND: pasted.b_inner}
    texts = _texts(families, pasted.weight)
    record = find(asked.dialect, found) if asked.dialect else _said(name, found, pasted.order)
    layout = _layout(
        found, record, pasted.order, pasted.gates_in.value if pasted.gates_in else None, texts
    )
    options = {SECOND: "--b-inner"} | {key: f"--{key}" for key in ("W", "U", "b")}
    tensors = {
        key: read_numbers(text, options.get(key, f"--weight {key}")) for key, text in texts.items()
    }
    unpacked = unpack(found, layout, tensors)
    steps = read_steps(asked.x, unpacked.sizes.get("input", 1))
    h0 = start(found, unpacked, asked.h0)
    given = Context(explain_name(name), record, layout, h0)
    others = readings(found, layout, tensors, unpacked, steps, h0)
    return Explained(found, unpacked, steps, given, readings=others)


def _said(name: str, cell: Cell, order: str) -> Dialect | None:
    """The dialect that the cell's own name is, where that stores weights and no order is given."""
    if order or not any(called(name) in (one.framework, one.named) for one in dialects(cell)):
        return None
    record = find(name, cell)
    return record if record.tensors else None


def _texts(options: dict[str, str], weights: tuple[str, ...]) -> dict[str, str]:
    """The weights given, by family or single weight; ``--weight NAME=TEXT`` any number of times."""
    found = {key: text for key, text in options.items() if text}
    for given in weights:
        name, equals, text = given.partition("=")
        name = name.strip()
        if not equals or not re.fullmatch(r"\w+(\.\w+)?", name):
            raise InputError(f"--weight takes FAMILY=TEXT or FAMILY.GATE=TEXT, got {given[:60]!r}")
        if name in found:
            raise InputError(f"{name} is given twice")
        found[name] = text
    return found


def _layout(
    cell: Cell, record: Dialect | None, order: str, gates_in: Side | None, texts: dict[str, str]
) -> Layout:
    """How the weights are packed, as told; never by default."""
    asked = tuple(order.replace(",", " ").split()) if set(order) & set(", ") else tuple(order)
    if record is None:
        if not asked and any(not _single(key) for key in texts):
            raise InputError(_layouts(cell))
        return Layout(asked, gates_in)
    known = Layout.of(record)
    if asked and known.order and asked != known.order:
        raise InputError(
            f"--order {order} contradicts --dialect {record.framework}, which packs the gates in"
            f" the order {' '.join(known.order)}; give one of them"
        )
    if gates_in and gates_in != known.gates_in:
        raise InputError(
            f"--gates-in {gates_in} contradicts --dialect {record.framework}, which has the gates"
            f" in the {known.gates_in}"
        )
    if not asked and not known.order and any(not _single(key) for key in texts):
        raise InputError(
            f"{record.title} keeps a tensor for each gate: give them one by one"
            " (--weight W.z=...), or packed with --order naming the order of your blocks"
        )
    return Layout(asked or known.order, known.gates_in, known.biases)


def _single(key: str) -> bool:
    return "." in key


def _layouts(cell: Cell) -> str:
    gates = list(dict.fromkeys(w.gate for w in cell.weights))
    others = [one for one in dialects(cell) if one.proven and one.plain]
    known = [
        f"--dialect {s.framework} ({' '.join(s.order) or 'a tensor a gate'}, in {s.gates_in})"
        for s in others
    ]
    order = next((s.order for s in others if s.order), gates)
    example = "".join(order) if all(len(gate) == 1 for gate in order) else ",".join(order)
    known.append(f"or --order with the gates as your blocks have them, such as --order {example}")
    return (
        f"weights are never read in a default order, and cell {cell.name} has the gates"
        f" {', '.join(gates)}; say whose the weights are: {', '.join(known)}"
    )
