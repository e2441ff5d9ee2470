"""The head of a worksheet: how the numbers were read, and which of them is which gate."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from grus.dialects import Dialect, Layout, Unpacked, sense
from grus.dialects.unpacking import in_order
from grus.equations import CELLS, Cell, Weight, text
from grus.reference import split
from grus.worksheet.notation import Spoken

Array = Any
SHOWN = 26  # characters; of a longer block the shape is shown

ROLES = {
    "z": "update gate",
    "r": "reset gate",
    "n": "candidate",
    "i": "input gate",
    "f": "forget gate",
    "g": "candidate",
    "o": "output gate",
    "h": "new state",
}


@dataclass(frozen=True)
class Preamble:
    """The text above the first step."""

    first: str
    notes: tuple[str, ...]
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Context:
    """The arguments that the preamble mentions."""

    explained: str
    """The cell that a name means, and why; empty for a cell's own name."""
    dialect: Dialect | None
    layout: Layout
    h0: tuple[Array, ...] | None
    source: str = ""
    """Where the weights were read, if not pasted."""
    spoken: Spoken | None = None
    """The network in the notation of the sheet."""
    notes: tuple[str, ...] = ()
    """The part shown of a larger whole."""


def head(cell: Cell, context: Context, unpacked: Unpacked, x: Array) -> Preamble:
    """The head for weights that `unpack` has read and an input [time, features]."""
    notes = [context.explained] if context.explained else []
    notes.append(f"cell {cell.name}: {cell.doc}" if cell.doc else f"cell {cell.name}")
    biases = _held_biases(cell) if context.source else _biases(cell, unpacked)
    notes += [*_spoken(context.spoken), *_sense(context.spoken.cell if context.spoken else cell)]
    notes += [_read(context, unpacked), *biases, _start(cell, context), *context.notes]
    notes.append(
        "W.z @ x is a matrix times a vector, * goes element by element; h is the state that a"
        " step finds, h_next the one it leaves"
        + ("; z[2] is unit 2, units are counted from 1." if _units(unpacked) > 1 else ".")
    )
    columns, rows = _table(cell, context, unpacked)
    return Preamble(steps_line(x), tuple(notes), columns, rows)


def steps_line(x: Array) -> str:
    """``x: 4 steps of 1 feature``."""
    steps, features = x.shape
    return f"x: {text.counted(steps, 'step')} of {text.counted(features, 'feature')}"


def _units(unpacked: Unpacked) -> int:
    return max(unpacked.sizes.values(), default=1)


def _sense(cell: Cell) -> list[str]:
    update = sense(cell)
    if update is None:
        return []
    gate, sort = update
    state = cell.states[0]
    line = f"{state}_next = {text.show(cell[f'{state}_next'])}"
    if sort == "keep":
        return [f"sense of {gate}: near 1 it keeps the old state, near 0 it takes the new: {line}"]
    return [f"sense of {gate}: near 1 it takes the new state, near 0 it keeps the old: {line}"]


def _spoken(spoken: Spoken | None) -> list[str]:
    """The notation of the sheet, and the changes that it needs."""
    if spoken is None:
        return []
    gates = [f"W.{a} is W.{b}" for a, b in spoken.notation.gates.items() if a != b]
    values = [f"{a} is {b}" for a, b in spoken.notation.values.items()]
    spelled = ", ".join([*gates, *values]) or "the names are the same"
    return [f"notation: {spoken.dialect.title}; {spelled}", *spoken.notes]


def _held_biases(cell: Cell) -> list[str]:
    """A sentence on how the biases of a file were read."""
    if "d" not in cell.families:
        return []
    return [
        f"biases: d.{gate} is the part that the reset multiplies" for gate in cell.families["d"]
    ]


def _read(context: Context, unpacked: Unpacked) -> str:
    who = context.dialect.title if context.dialect else "as told by --order"
    if context.source:
        who = f"{context.source} ({who})" if context.dialect else context.source
    order, side = context.layout.order, unpacked.gates_in
    if not order:
        return f"weights: {who}" + ("" if context.source else "; one tensor for each gate")
    if len(order) == 1:
        return f"weights: {who}; one gate, {order[0]}"
    shape, use = ("[{} H, I]", "W @ x") if side == "rows" else ("[I, {} H]", "x @ W")
    return (
        f"weights: {who}; W is {shape.format(len(order))}, used as {use}; gates in its {side} in"
        f" the order {', '.join(order)}"
    )


def _biases(cell: Cell, unpacked: Unpacked) -> list[str]:
    families = [f for f in "bd" if f in cell.families]
    if not any(unpacked.weights[f].any() for f in families):
        verb = "is" if len(families) == 1 else "are"
        return [f"biases: {' and '.join(families)} {verb} 0"] if families else []
    if unpacked.biases < 2:
        return ["biases: one, b" + ("; the inner bias d is 0" if "d" in families else "")]
    if "d" not in families:
        return ["biases: two, and only their sum b counts"]
    inner = ", ".join(cell.families["d"])
    return [
        f"biases: two. The second one's part for {inner} is d.{inner}, which the reset multiplies;"
        " its other parts are added to b"
    ]


def _start(cell: Cell, context: Context) -> str:
    if context.h0 is None:
        verb = "starts" if len(cell.states) == 1 else "start"
        return f"start: no h0 given, so {' and '.join(cell.states)} {verb} at 0"
    return f"start: h0 given for {', '.join(cell.states)}"


def _table(
    cell: Cell, context: Context, unpacked: Unpacked
) -> tuple[tuple[str, ...], tuple[tuple[str, ...], ...]]:
    """One row for each gate, in the order of the packed tensors: where it stands, what it is."""
    single = split(cell, unpacked.weights)
    gates = dict.fromkeys([*context.layout.order, *(w.gate for w in cell.weights)])
    places = _places(cell, context, unpacked)
    letters = dict(context.dialect.letters) if context.dialect else {}
    names = context.dialect.names if context.dialect else {}
    known = ROLES if cell in CELLS.values() else {}
    columns = {
        "stands in": places,
        "gate": {gate: gate for gate in gates},
        "what it is": known,
        f"in {context.dialect.framework if context.dialect else ''}": letters
        and {gate: letters.get(gate, gate) for gate in gates},
    }
    if context.spoken and set(context.spoken.notation.gates) == set(gates):
        columns[f"said in {context.spoken.dialect.name}"] = dict(context.spoken.notation.gates)
    for family in cell.families:
        stored = names.get(family, family)
        if stored == family or (unpacked.biases == 2 and family in "bd"):
            title = family  # b is then the sum of two stored biases
        else:
            title = f"{family} ({stored})"
        columns[title] = {gate: _shown(family, gate, single) for gate in gates}
    shown = {title: column for title, column in columns.items() if column}
    rows = (tuple(column.get(gate, "") for column in shown.values()) for gate in gates)
    return tuple(shown), tuple(rows)


def _places(cell: Cell, context: Context, unpacked: Unpacked) -> dict[str, str]:
    """``column 2``, ``rows 3-4``: where each gate stands in the packed tensors."""
    family = next((f for f in "WU" if f in cell.families), "")
    if not context.layout.order or not family:
        return {}
    size = unpacked.sizes[cell.family_axes(family)[0]]
    side = unpacked.gates_in.removesuffix("s")
    return {
        gate: f"{side} {k + 1}" if size == 1 else f"{side}s {k * size + 1}-{(k + 1) * size}"
        for k, gate in enumerate(in_order(cell, family, context.layout.order))
    }


def _shown(family: str, gate: str, single: dict[Weight, Array]) -> str:
    array = single.get(Weight(family, gate))
    if array is None:
        return ""
    if array.size == 1:
        return text.number(float(np.ravel(array)[0]))
    shown = _nested(array) if array.size <= SHOWN else ""
    return shown if 0 < len(shown) <= SHOWN else " x ".join(map(str, array.shape))


def _nested(array: Array) -> str:
    if array.ndim == 0:
        return text.number(float(array))
    return f"[{', '.join(_nested(part) for part in array)}]"
