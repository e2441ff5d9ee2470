"""One GRU, LSTM or RNN node: what its attributes say, its tensors checked and as weights by family,
and running it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from grus import reference, runtime
from grus.arguments import check_lengths
from grus.dialects import find
from grus.dialects.tensor_layout import TensorLayout, parse, stacked, weights
from grus.equations import Cell
from grus.errors import InputError
from grus.kernels import UnsupportedCellError, make_plan
from grus.kernels.backend import backend
from grus.onnx.forms import BASES, DEFAULTS, PEEPHOLES, NodeForm, activations, cell_of
from grus.onnx.stored import INPUTS

Array = np.ndarray[Any, np.dtype[Any]]

RECORDS = {key: find("onnx", base) for key, base in BASES.items()}
"""The operator, and whether its candidate has an inner bias -> what its tensors hold."""
ORDER = {kind: "".join(record.order) for (kind, _), record in RECORDS.items()}
"""The blocks of W, of R and of each half of B, in the letters of the house."""
PACKINGS = {
    key: TensorLayout((*record.tensors, parse("P", f"p.{PEEPHOLES}")))
    for key, record in RECORDS.items()
}
"""The same with an LSTM's peepholes, which no dialect of weights has."""
DTYPES = (np.dtype(np.float32), np.dtype(np.float64))


@dataclass(frozen=True, slots=True)
class Shape:
    """What a node says of its tensors' shapes."""

    kind: str
    directions: int
    layout: int
    hidden: int | None


def check(shape: Shape, given: Mapping[str, Array], where: str) -> dict[str, Array]:
    """The node's inputs in one dtype, time first, shapes checked; nothing given is changed.

    Raises InputError naming the input.
    """
    names = INPUTS[shape.kind]
    for name in given:
        if name not in names:
            raise InputError(f"{where} has no input {name!r}; it has {', '.join(names)}")
    for name in names[:3]:
        if name not in given:
            raise InputError(f"{where} needs the input {name}")
    x = np.asarray(given["X"])
    if x.ndim != 3:
        raise InputError(f"{where}: X must have 3 axes, got shape {x.shape}")
    x = x.swapaxes(0, 1) if shape.layout else x
    dtype = _computed_in(x.dtype, where)
    found = {"X": x.astype(dtype, copy=False)}
    wanted = _shapes(shape, x, given, where)
    columns = np.shape(given["W"])[2:]
    if np.shape(given["W"])[:2] == wanted["W"][:2] and columns not in ((), wanted["W"][2:]):
        raise InputError(
            f"{where}: X must have {columns[0]} features a step, as W has, got {x.shape[2]}"
        )
    for name in names[1:]:
        if name in given and name != "sequence_lens":
            array = np.asarray(given[name])
            if shape.layout and name.startswith("initial"):
                array = array.swapaxes(0, 1) if array.ndim == 3 else array
            if array.dtype != np.asarray(given["X"]).dtype:
                raise InputError(
                    f"{where}: {name} must be {given['X'].dtype} like X, not {array.dtype}"
                )
            if array.shape != wanted[name]:
                raise InputError(
                    f"{where}: {name} must have shape {wanted[name]}, got {array.shape}"
                )
            found[name] = array.astype(dtype, copy=False)
    if "sequence_lens" in given:
        found["sequence_lens"] = check_lengths(
            given["sequence_lens"],
            {"time": x.shape[0], "batch": x.shape[1]},
            name=f"{where}: sequence_lens",
        )
    return found


def _shapes(
    shape: Shape, x: Array, given: Mapping[str, Array], where: str
) -> dict[str, tuple[int, ...]]:
    recurrent = np.shape(given["R"])
    if len(recurrent) != 3:
        raise InputError(f"{where}: R must have 3 axes, got shape {recurrent}")
    hidden = shape.hidden if shape.hidden is not None else recurrent[2]
    if hidden < 1 or x.shape[2] < 1:
        raise InputError(f"{where}: hidden and input sizes must be at least 1")
    rows = len(ORDER[shape.kind]) * hidden
    state = (shape.directions, x.shape[1], hidden)
    return {
        "W": (shape.directions, rows, x.shape[2]),
        "R": (shape.directions, rows, hidden),
        "B": (shape.directions, 2 * rows),
        "P": (shape.directions, len(PEEPHOLES) * hidden),
        "initial_h": state,
        "initial_c": state,
    }


def _computed_in(dtype: np.dtype[Any], where: str) -> np.dtype[Any]:
    """float32 and float64 themselves, float32 for the smaller floats of ONNX."""
    if dtype in DTYPES:
        return dtype
    if dtype.name in ("float16", "bfloat16"):
        return DTYPES[0]
    raise InputError(f"{where}: X must be a float tensor, got {dtype}")


def check_weights(node: Node, held: Mapping[str, Array]) -> dict[str, Array]:
    """W, R, B and P of a node as float arrays of the right shapes. Raises InputError."""
    where, sizes = f"{node.kind} node {node.name!r}", [np.shape(held.get(n, ())) for n in "WR"]
    if any(len(size) != 3 for size in sizes):
        raise InputError(f"{where}: W and R must have 3 axes, got shapes {sizes[0]} and {sizes[1]}")
    shape = Shape(node.kind, len(node.forms), 0, node.hidden_size)
    x = np.zeros((0, 0, sizes[0][2]), np.asarray(held["W"]).dtype)
    arrays = check(shape, {"X": x, **held}, where)
    return {name: array for name, array in arrays.items() if name != "X"}


def families(kind: str, cell: Cell, tensors: Mapping[str, Array]) -> dict[str, Array]:
    """W, R, B and P of one direction as the cell's weights by family.

    Of a gate's two biases only the sum counts, except for the inner bias d of the cell that
    resets after the product. Without B the biases are zero.
    """
    sizes = tensors["R"].shape[1], tensors["W"].shape[1]
    single = PACKINGS[kind, "d" in cell.families].cut(tensors, sizes)
    return stacked(cell, weights(cell, single, sizes[0]))


@dataclass(frozen=True)
class NodeRun:
    """The output [time, batch, hidden] and the final states by name, each [batch, hidden]."""

    output: Array
    state: dict[str, Array]


def run_rows(
    cell: Cell,
    weights: Mapping[str, Array],
    x: Array,
    start: Mapping[str, Array],
    lengths: Array | None,
    reverse: bool,
) -> NodeRun:
    """Run ``x`` [time, batch, input]: by the kernels where they can, else by the reference.

    Zero past a row's length; a row of length 0 ends with zeros, not with its initial state.
    """
    first = tuple(start[name] for name in cell.states)
    if runs_on_kernels(cell):
        fast = runtime.run(cell, weights, x, first, lengths=lengths, reverse=reverse)
        output, final = fast.output, fast.state
    else:
        slow = reference.run(cell, weights, x, first, lengths=lengths, reverse=reverse)
        output = slow.output.astype(x.dtype)
        final = tuple(state.astype(x.dtype) for state in slow.state)
    ran = np.full(x.shape[1], len(x)) > 0 if lengths is None else lengths > 0
    states = (np.where(ran[:, None], state, x.dtype.type(0)) for state in final)
    return NodeRun(output, dict(zip(cell.states, states, strict=True)))


def runs_on_kernels(cell: Cell) -> bool:
    """Whether this cell is run by compiled kernels here and now, or by the slow reference."""
    if backend() != "kernels":
        return False
    try:
        make_plan(cell)
    except UnsupportedCellError:
        return False
    return True


DIRECTIONS = {"forward": (False,), "reverse": (True,), "bidirectional": (False, True)}
"""Direction -> for each of its directions whether it runs backward."""
COMMON = frozenset({
    "activation_alpha", "activation_beta", "activations", "clip", "direction", "hidden_size",
    "layout", "output_sequence",
})  # fmt: skip
OWN = {"GRU": {"linear_before_reset"}, "LSTM": {"input_forget"}, "RNN": set[str]()}
OUTPUTS = {"GRU": ("Y", "Y_h"), "LSTM": ("Y", "Y_h", "Y_c"), "RNN": ("Y", "Y_h")}
STATES = {"h": "initial_h", "c": "initial_c"}


@dataclass(frozen=True)
class Node:
    """A recurrent operator of ONNX with its attributes: GRU, LSTM or RNN.

    ``forms`` says for each direction what its cell is (peepholes come with the tensor P).
    """

    name: str
    kind: str
    forms: tuple[NodeForm, ...]
    direction: str = "forward"
    layout: int = 0
    hidden_size: int | None = None

    @classmethod
    def read(cls, kind: str, name: str, attributes: Mapping[str, Any]) -> Node:
        """The node that these attributes describe; what is left out has ONNX's default.

        Raises InputError naming the attribute that cannot be.
        """
        where = f"{kind} node {name!r}" if name else f"the {kind} node"
        unknown = sorted(set(attributes) - COMMON - OWN[kind])
        if unknown:
            raise InputError(f"{where} has attributes that ONNX does not know: {unknown}")
        direction = attributes.get("direction", "forward")
        if direction not in DIRECTIONS:
            raise InputError(f"{where}: direction must be one of {[*DIRECTIONS]}, got {direction}")
        layout = attributes.get("layout", 0)
        if layout not in (0, 1):
            raise InputError(f"{where}: layout must be 0 or 1, got {layout}")
        size = attributes.get("hidden_size")
        forms = _forms(kind, attributes, len(DIRECTIONS[direction]), where)
        return cls(name, kind, forms, direction, layout, size)

    def run(self, given: Mapping[str, Array]) -> dict[str, Array]:
        """Run on arrays by the operator's own names; gives all its outputs by theirs.

        ``X`` [time, batch, input]; ``W`` [directions, gates * hidden, input]; ``R`` [directions,
        gates * hidden, hidden]; optional ``B`` [directions, 2 * gates * hidden], ``sequence_lens``
        [batch] (integers), ``initial_h`` and ``initial_c`` [directions, batch, hidden], ``P``
        [directions, 3 * hidden]. Gives ``Y`` [time, directions, batch, hidden], ``Y_h`` and
        ``Y_c`` [directions, batch, hidden]. With layout 1 the batch is the first axis of X, Y and
        the states. float32 and float64 are computed as such, smaller floats in float32; results
        have the dtype of X.

        As in ONNX Runtime: Y is zero past a row's length, the reverse direction begins at each
        row's last valid step, and a row of length 0 ends with zeros whatever its initial state.

        Raises InputError naming the input whose shape, dtype or values cannot be.
        """
        where = f"{self.kind} node {self.name!r}"
        shape = Shape(self.kind, len(self.forms), self.layout, self.hidden_size)
        arrays = check(shape, given, where)
        x = arrays["X"]
        zeros = np.zeros((x.shape[1], arrays["R"].shape[2]), x.dtype)
        runs = []
        for k, reverse in enumerate(DIRECTIONS[self.direction]):
            cell = cell_of(replace(self.forms[k], peepholes="P" in arrays))
            weights = families(self.kind, cell, {n: a[k] for n, a in arrays.items() if n in "WRBP"})
            start = {s: arrays[n][k] if n in arrays else zeros for s, n in STATES.items()}
            run = run_rows(cell, weights, x, start, arrays.get("sequence_lens"), reverse)
            runs.append(run)
        found = [np.stack([run.output for run in runs], axis=1)]
        found += [np.stack([run.state[s] for run in runs]) for s in "hc" if s in runs[0].state]
        if self.layout:
            found = [found[0].transpose(2, 0, 1, 3), *(s.swapaxes(0, 1) for s in found[1:])]
        dtype = np.asarray(given["X"]).dtype
        return {n: a.astype(dtype) for n, a in zip(OUTPUTS[self.kind], found, strict=True)}


def _forms(
    kind: str, attributes: Mapping[str, Any], directions: int, where: str
) -> tuple[NodeForm, ...]:
    per = len(DEFAULTS[kind])
    names = attributes.get("activations") or DEFAULTS[kind] * directions
    if len(names) != per * directions:
        raise InputError(
            f"{where}: {per} activations for each of {directions} directions wanted,"
            f" got {len(names)}"
        )
    alphas, betas = attributes.get("activation_alpha", ()), attributes.get("activation_beta", ())
    every = activations(names, alphas, betas, where)
    bound = attributes.get("clip")
    if bound is not None and not 0 < bound < float("inf"):
        # ONNX Runtime refuses it in GRU and LSTM, and holds every sum of an RNN at 0.
        raise InputError(f"{where}: clip must be a positive number, got {bound:g}")
    return tuple(
        NodeForm(
            kind,
            every[k * per : (k + 1) * per],
            clip=None if bound is None else float(bound),
            linear_before_reset=bool(attributes.get("linear_before_reset", 0)),
            input_forget=bool(attributes.get("input_forget", 0)),
        )
        for k in range(directions)
    )
