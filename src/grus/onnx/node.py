"""One GRU, LSTM or RNN node: what its attributes say, and running it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from grus import reference, runtime
from grus.equations import Cell
from grus.errors import InputError
from grus.kernels import UnsupportedCellError, make_plan
from grus.kernels.backend import backend
from grus.onnx.forms import DEFAULTS, Form, activations, cell_of
from grus.onnx.tensors import Shape, check, families

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class Rows:
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
) -> Rows:
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
    return Rows(output, dict(zip(cell.states, states, strict=True)))


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
    forms: tuple[Form, ...]
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
) -> tuple[Form, ...]:
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
        Form(
            kind,
            every[k * per : (k + 1) * per],
            clip=None if bound is None else float(bound),
            linear_before_reset=bool(attributes.get("linear_before_reset", 0)),
            input_forget=bool(attributes.get("input_forget", 0)),
        )
        for k in range(directions)
    )
