"""The right answer to a case: outputs, final states and gradients in float64, by the equations.

Lengths, masks, resets and zoneout become equations of the cell (`masked`), so that the gradient of
all of them is the derived one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from functools import lru_cache
from typing import Any

import numpy as np

from grus.dialects import TorchRecord
from grus.equations import Cell, Expr, Input, Name, State
from grus.gradients import backward
from grus.mistakes.backprop import Problem, backpropagate
from grus.mistakes.cell_changes import FRESH, rewritten
from grus.reference import run

Array = np.ndarray[Any, np.dtype[Any]]
Weights = Mapping[str, Array]


@dataclass(frozen=True, eq=False)
class Case:
    """One question: arrays in, and what a loss sends back.

    ``x`` [time, batch, input]; ``weights`` by PyTorch's names (``weight_ih_l0`` [3H, I],
    ``weight_hh_l0`` [3H, H], ``bias_ih_l0`` and ``bias_hh_l0`` [3H], gates r, z, n; ``_l1``,
    ``_reverse``), no biases where the case has none; ``h0`` [layers * directions, batch, hidden]
    or None. ``lengths`` [batch] of int64; ``resets`` [time, batch]; ``mask`` [time, batch] of
    bool, True where a step counts; ``zoneout`` [time, batch, hidden], 1 where a unit keeps its
    old state. ``dy`` and ``dh_n`` are the loss's derivatives by output and final state.
    """

    name: str
    why: str
    x: Array
    weights: Weights
    h0: Array | None = None
    num_layers: int = 1
    bidirectional: bool = False
    lengths: Array | None = None
    resets: Array | None = None
    mask: Array | None = None
    zoneout: Array | None = None
    stepwise: bool = False
    """Answered by one call a step, the state handed on."""
    dy: Array = field(default_factory=lambda: np.zeros(0))
    dh_n: Array = field(default_factory=lambda: np.zeros(0))

    @property
    def options(self) -> dict[str, Any]:
        """The arguments beyond x, weights and h0 that this case needs, by name."""
        found: dict[str, Any] = {}
        if self.num_layers > 1:
            found["num_layers"] = self.num_layers
        if self.bidirectional:
            found["bidirectional"] = True
        for name in ("lengths", "resets", "mask", "zoneout"):
            if getattr(self, name) is not None:
                found[name] = getattr(self, name)
        return found

    @property
    def directions(self) -> int:
        """1 or 2."""
        return 2 if self.bidirectional else 1

    @property
    def hidden(self) -> int:
        """The units of one direction."""
        return int(self.weights["weight_hh_l0"].shape[1])


@dataclass(frozen=True, eq=False)
class Answer:
    """``output`` [time, batch, directions * hidden], ``h_n`` [layers * directions, batch, hidden];
    ``gradients`` by name ("x", "h0", the weights' names), empty where none are given."""

    output: Array
    h_n: Array
    gradients: Mapping[str, Array] = field(default_factory=dict)


ALIVE, VALID, KEPT = Input("alive"), Input("valid"), Input("kept")


@dataclass(frozen=True)
class How:
    """How the layers are run; what differs from the default is a mistake that people make."""

    align: bool = True
    """The backward direction leaves padding alone; False: it reads it."""
    turn_back: bool = True
    """Results of the backward direction stand in the order of time."""
    backward: bool = True
    """The second direction runs backward at all."""
    run_on: bool = False
    """The cell runs on through padding; only the final state stops in time."""
    first_start: float = 0.0
    """The initial value of a state other than h."""

    def __or__(self, other: How) -> How:
        """Both, the other's where they differ from what is right."""
        changed = {f.name: getattr(other, f.name) for f in fields(other)}
        return replace(self, **{n: v for n, v in changed.items() if v != getattr(How(), n)})


@lru_cache(maxsize=256)
def masked(cell: Cell) -> Cell:
    """The cell with a mask for steps that begin anew, for steps that count, for units kept."""
    first = cell.states[0]
    # A mistaken cell may keep values beside the state; these belong to no episode.
    old: dict[str, Expr] = {first: Name(f"old_{first}")}
    found: list[tuple[str, Expr]] = [(f"old_{first}", ALIVE * State(first))]
    names = {f"{s}_next": f"new_{s}" for s in cell.states}

    def new_name(expr: Expr) -> Expr | None:
        if isinstance(expr, State):
            return old.get(expr.name, expr)
        return Name(names.get(expr.name, expr.name)) if isinstance(expr, Name) else None

    for name, expr in cell.equations:
        found.append((names.get(name, name), rewritten(expr, new_name)))
    for s in cell.states:
        new: Expr = Name(f"new_{s}")
        if s == first:
            found.append(("mixed", KEPT * old[s] + (1 - KEPT) * new))
            new = Name("mixed")
        found.append((f"{s}_next", VALID * new + (1 - VALID) * State(s)))
    found.append(("y", VALID * Name("mixed")))
    return Cell(f"{cell.name}_masked", tuple(found))


@dataclass(frozen=True)
class _Row:
    """One layer in one direction, as it ran."""

    problem: Problem
    flip: bool
    end: str


def answer(cell: Cell, case: Case, how: How | None = None, gradients: bool = False) -> Answer:
    """The answer of ``cell`` to a case; with gradients if asked for."""
    how = how or How()
    output, finals, layers = _forward(cell, case, how)
    found = _backward(cell, case, layers) if gradients else {}
    return Answer(output, np.stack(finals), found)


def step_masks(case: Case) -> dict[str, Array]:
    """Alive, valid and kept, each [time, batch, hidden], 0 and 1."""
    steps, batch = case.x.shape[:2]
    shape = (steps, batch, case.hidden)
    valid = np.ones((steps, batch), bool)
    if case.lengths is not None:
        valid &= np.arange(steps)[:, None] < case.lengths
    if case.mask is not None:
        valid &= case.mask
    alive = np.ones((steps, batch)) if case.resets is None else 1.0 - case.resets
    kept = np.zeros(shape) if case.zoneout is None else case.zoneout
    wide = {"alive": alive, "valid": valid.astype(np.float64)}
    found = {k: np.broadcast_to(m[:, :, None], shape) for k, m in wide.items()}
    return found | {"kept": np.asarray(kept, np.float64)}


def _forward(cell: Cell, case: Case, how: How) -> tuple[Array, list[Array], list[list[_Row]]]:
    masks = step_masks(case)
    if FRESH in cell.inputs:
        masks |= {FRESH.name: masks["alive"], "alive": np.ones_like(masks["alive"])}
    valid = masks["valid"][:, :, :1]
    # Padding may hold anything; it is replaced before it can meet a number.
    noisy = how.run_on or not how.align
    x = case.x if noisy else np.where(valid > 0, case.x, 0.0)
    whole, finals, layers = masked(cell), [], []
    for k in range(case.num_layers):
        rows, outputs = [], []
        for d, end in enumerate(("", "_reverse")[: case.directions]):
            flip = d == 1 and how.backward
            here = masks if how.align or d == 0 else masks | {"valid": np.ones_like(masks["valid"])}
            here = {n: m[::-1] for n, m in here.items()} if flip else dict(here)
            row = k * case.directions + d
            clean = x if not how.run_on else np.where(valid > 0, x, 0.0)
            problem, result = _run(whole, cell, case, clean[::-1] if flip else clean,
                                   f"_l{k}{end}", row, here, how)  # fmt: skip
            output = result.output[::-1] if flip and how.turn_back else result.output
            if how.run_on and case.lengths is not None:
                outputs.append(_run_on(whole, cell, case, x, f"_l{k}{end}", row, flip, masks, how))
            else:
                outputs.append(output * valid if how.turn_back else output)
            finals.append(result.state[0])
            rows.append(_Row(problem, flip, f"_l{k}{end}"))
        x = np.concatenate(outputs, axis=2)
        layers.append(rows)
    return x, finals, layers


def _run(
    whole: Cell, cell: Cell, case: Case, x: Array, end: str, row: int, masks: Any, how: How
) -> tuple[Problem, Any]:
    weights = families(cell, case.weights, end, case.hidden)
    zeros = np.zeros((x.shape[1], case.hidden))
    h0 = zeros if case.h0 is None else case.h0[row]
    start = (h0, *(zeros + how.first_start for _ in cell.states[1:]))
    result = run(whole, weights, x, start, masks=masks)
    return Problem(weights, x, start, masks, zeros, ()), result


def _run_on(
    whole: Cell, cell: Cell, case: Case, x: Array, end: str, row: int, flip: bool, masks: Any,
    how: How,
) -> Array:  # fmt: skip
    """The output of a cell that reads the padding after each row's own steps."""
    steps = np.arange(len(x))[:, None]
    assert case.lengths is not None
    # Backward: the row's own steps from its last, then the padding from its far end.
    order = (len(x) - 1 - steps + case.lengths) % len(x) if flip else steps
    order = np.broadcast_to(order, x.shape[:2])[:, :, None]
    every = masks | {"valid": np.ones_like(masks["valid"])}
    turned = np.take_along_axis(x, order, axis=0)
    _, result = _run(whole, cell, case, turned, end, row, every, how)
    return np.take_along_axis(result.output, order, axis=0)


def families(cell: Cell, weights: Weights, end: str, hidden: int) -> dict[str, Array]:
    """The weights of one layer and direction by family."""
    own = {n.removesuffix(end): w for n, w in weights.items() if n.endswith(end)}
    return TorchRecord(cell).families(own, hidden, np.zeros, np.concatenate)


@dataclass(frozen=True)
class Back:
    """How gradients go back; what differs from the default is a mistake that people make."""

    masks: Mapping[str, Array] = field(default_factory=dict)
    carried: bool = True
    dy: float = 1.0
    dh_n: float = 1.0


def _backward(
    cell: Cell, case: Case, layers: list[list[_Row]], back: Back | None = None
) -> dict[str, Array]:
    back = back or Back()
    derived, whole = backward(masked(cell)), masked(cell)
    dy = back.dy * case.dy
    found: dict[str, Array] = {}
    dh0: list[Array] = []
    for k in reversed(range(case.num_layers)):
        below = np.zeros_like(layers[k][0].problem.x)
        starts = []
        for d, row in enumerate(layers[k]):
            part = dy[:, :, d * case.hidden : (d + 1) * case.hidden]
            masks = {n: m[::-1] if row.flip else m for n, m in back.masks.items()}
            dstate = (back.dh_n * case.dh_n[k * case.directions + d],)
            extra = tuple(np.zeros_like(dstate[0]) for _ in cell.states[1:])
            problem = Problem(
                row.problem.weights, row.problem.x, row.problem.start, row.problem.masks,
                part[::-1] if row.flip else part, dstate + extra, masks, back.carried,
            )  # fmt: skip
            result = backpropagate(whole, derived, problem)
            names = [n.removesuffix(row.end) for n in case.weights if n.endswith(row.end)]
            own = TorchRecord(cell).gradients(result.weights, names, np.concatenate)
            found |= {f"{name}{row.end}": g for name, g in own.items()}
            below += result.x[::-1] if row.flip else result.x
            starts.append(result.start[0])
        dh0 = starts + dh0
        dy = below
    return {"x": dy, "h0": np.stack(dh0)} | found


def gradients(cell: Cell, case: Case, back: Back | None = None) -> dict[str, Array]:
    """The derivatives of sum(dy * output) + sum(dh_n * h_n) by x, h0 and each weight."""
    return _backward(cell, case, _forward(cell, case, How())[2], back)
