"""Kernels against the reference: every step from the kernel's own previous state, within bounds.

Checking a step from the state that the kernel itself had keeps every step's error apart: nothing
accumulates, so the bound of one step is the bound of all. Backward is a recurrence of its own; its
error bound is carried through the steps by the same rules, from the values that the kernel kept.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

import bounds
from bounds import UNITS, Bounded, bound, exact
from cells import draw_masks
from grus import kernels, runtime
from grus.equations import Cell, Expr, Input, Name, State, Weight, columns, input_size
from grus.kernels.layout import axis_sizes
from grus.reference import split

Array = np.ndarray
Sizes = tuple[int, int, int, int]
"""T, B, I, H."""
FLOAT64 = 1e-12
"""What float64 may be off by, absolutely or relative to what was summed."""
SLACK = 1 + 2.0**-20
"""The bounds themselves are rounded, in float64."""
WIDEST = 2.0**-7
"""A bound wider than this part of what was summed would excuse anything: an error too."""


class WrongKernelError(AssertionError):
    """A kernel's result that rounding does not explain."""


class TooWideError(AssertionError):
    """A bound that would excuse anything: the problem is not one to test with."""


@dataclass(frozen=True)
class Problem:
    """What a kernel is given: arrays of one dtype."""

    cell: Cell
    weights: dict[str, Array]
    x: Array
    """Behind x stand the further inputs."""
    start: tuple[Array, ...]

    @property
    def inputs(self) -> dict[str, Array]:
        """x and each further input, by name."""
        own = input_size(self.cell, self.x.shape[2], axis_sizes(self.cell, self.weights))
        places = columns(self.cell, {**self.size, "input": own})
        return {n: self.x[..., first : first + count] for n, (first, count) in places.items()}

    @property
    def dtype(self) -> str:
        return self.x.dtype.name

    @property
    def size(self) -> dict[str, int]:
        """The size of each axis."""
        return axis_sizes(self.cell, self.weights)

    @property
    def hidden(self) -> int:
        return self.size["hidden"]


@dataclass(frozen=True)
class Run:
    """What a training call gives: the output, the final states, the values kept by name."""

    problem: Problem
    output: Array
    final: tuple[Array, ...]
    saved: Array

    @property
    def kept(self) -> dict[str, Array]:
        p, layout, first = self.problem, kernels.layout(self.problem.cell), 0
        kept = {p.cell.output: self.output}
        for name in layout.saved:
            shape = (*p.x.shape[:2], p.size[layout.axes[name]])
            kept[name] = self.saved[first : first + math.prod(shape)].reshape(shape)
            first += math.prod(shape)
        return kept

    def read(self, state: str) -> Array:
        """The state as each step found it, [time, batch, hidden]."""
        if state in self.kept:
            return self.kept[state]
        # No gradient reads it, so it is not kept: the same sequence step by step has it.
        p, now, found = self.problem, self.problem.start, []
        for x in p.x:
            found.append(now[p.cell.states.index(state)])
            now = runtime.run(p.cell, p.weights, x[None], now).state
        return np.reshape(found, (len(p.x), *p.start[p.cell.states.index(state)].shape))

    def after(self, state: str) -> Array:
        """The state as each step left it."""
        at = self.problem.cell.states.index(state)
        return np.concatenate([self.read(state), self.final[at][None]])[1:]


def draw(cell: Cell, sizes: Sizes, dtype: str = "float32", seed: int = 0) -> Problem:
    """A random problem at the scale of trained weights; a cell with x elementwise has I = H, a
    projection has about half of H, or one more; sizes are rounded up to whole blocks."""
    steps, batch, *wide = sizes
    blocks = max(cell.shapes.blocks.values(), default=1)
    inputs, hidden = (-(-size // blocks) * blocks for size in wide)
    inputs = hidden if cell.shapes.equal else inputs
    rng = np.random.default_rng([seed, *sizes])
    axes = {"input": inputs, "hidden": hidden, "projection": hidden // 2 + 1}
    axes["projection"] = -(-axes["projection"] // blocks) * blocks
    axes |= {axis: 2 for axis in cell.shapes.inputs.values() if axis.startswith("step.")}
    weights = {
        family: rng.normal(0.0, axes[cell.family_axes(family)[-1]] ** -0.5, shape).astype(dtype)
        for family in cell.families
        for shape in [cell.family_shape(family, axes)]
    }
    x = rng.normal(0.0, 1.0, (steps, batch, inputs)).astype(dtype)
    if cell.further:
        beside = draw_masks(cell, axes, steps, batch, rng)
        parts = [x, *(beside[node.name].astype(dtype) for node in cell.further)]
        x = np.concatenate(parts, axis=2)
    shapes = [(batch, axes[cell.shapes.states[s]]) for s in cell.states]
    start = tuple(rng.normal(0.0, 0.5, shape).astype(dtype) for shape in shapes)
    return Problem(cell, weights, x, start)


def initialised(cell: Cell, sizes: Sizes, dtype: str) -> Problem:
    """A problem at PyTorch's default initialisation: every weight from U(-1/sqrt H, 1/sqrt H)."""
    p = draw(cell, sizes, dtype)
    rng, ends = np.random.default_rng([1, *sizes]), p.hidden**-0.5
    weights = {f: rng.uniform(-ends, ends, w.shape).astype(dtype) for f, w in p.weights.items()}
    return replace(p, weights=weights)


def train(problem: Problem, *, threads: int | None = None) -> Run:
    """Run a training call, which keeps what backward reads."""
    p = problem
    output = np.empty((*p.x.shape[:2], kernels.output_size(p.cell, p.weights)), p.dtype)
    final = tuple(np.empty_like(s) for s in p.start)
    saved = np.empty(kernels.saved_size(p.cell, p.x.shape, p.size), p.dtype)
    runtime.forward(p.cell, p.weights, p.x, p.start, output, final, saved, threads=threads)
    return Run(p, output, final, saved)


def step_bounds(run: Run) -> dict[str, Bounded]:
    """Every value of every step, [time, batch, hidden], from the state that the kernel had."""
    p, flat = run.problem, kernels.layout(run.problem.cell).derived.forward
    values = _weights(flat, p.weights, p.cell)
    inputs = {name: exact(array.astype(np.float64)) for name, array in p.inputs.items()}
    values |= {node: inputs[node.name] for node in flat.inputs}
    for state in p.cell.states:
        values[State(state)] = exact(run.read(state).astype(np.float64))
    for name, expr in flat.equations:
        values[Name(name)] = bound(expr, values, p.dtype).settle(UNITS[p.dtype])
    return {name: values[Name(name)] for name, _ in flat.equations}


def check_forward(run: Run) -> None:
    """Raise WrongKernelError where a step is not the reference's step from the same state."""
    p = run.problem
    for at, state in enumerate(p.cell.states):
        first = run.read(state)[:1]
        if first.tobytes() != p.start[at][None][: len(first)].tobytes():
            raise WrongKernelError(f"the first step did not find h0 in state {state}")
    found = run.kept | {f"{s}_next": run.after(s) for s in p.cell.states}
    for name, want in step_bounds(run).items():
        if name in found:
            compare(f"{name} at (time, batch, unit)", found[name], want, p.dtype)


def check_backward(run: Run, *, threads: int | None = None, seed: int = 1) -> None:
    """Raise WrongKernelError where a gradient of a random linear loss is not the reference's."""
    p = run.problem
    rng = np.random.default_rng([seed, *run.output.shape])
    dy = rng.normal(0.0, 1.0, run.output.shape).astype(p.dtype)
    dfinal = tuple(rng.normal(0.0, 1.0, s.shape).astype(p.dtype) for s in run.final)
    found = runtime.backward(
        p.cell, p.weights, p.x, run.output, run.saved, dy, dfinal, threads=threads
    )
    want = _Backward(run, dy, dfinal)
    for family, gates in p.cell.families.items():
        parts = np.split(found.weights[family], len(gates))
        for gate, part in zip(gates, parts, strict=True):
            compare(f"d{family}.{gate}", part, want.weight(Weight(family, gate)), p.dtype)
    assert found.x is not None
    first = 0
    for name, terms in want.back.inputs:
        like = p.inputs[name]
        part = found.x[..., first : first + like.shape[2]]
        compare(f"d{name}", part, want.input(like.shape, terms), p.dtype)
        first += like.shape[2]
    for state, part in zip(p.cell.states, found.h0, strict=True):
        compare(f"d{state} of the initial state", part, want.states[f"d{state}"], p.dtype)


class _Backward:
    """The derived backward step, evaluated with bounds from the last step to the first."""

    def __init__(self, run: Run, dy: Array, dfinal: tuple[Array, ...]) -> None:
        self.run, self.unit = run, UNITS[run.problem.dtype]
        p = run.problem
        self.back = kernels.layout(p.cell).derived
        self.leaves = _weights(self.back.cell, p.weights, p.cell)
        self.seen = run.kept | p.inputs | {"dy": dy}
        self.seen = {name: value.astype(np.float64) for name, value in self.seen.items()}
        self.states = {
            f"d{s}": exact(d.astype(np.float64)) for s, d in zip(p.cell.states, dfinal, strict=True)
        }
        self.steps: list[dict[str, Bounded]] = []
        for t in reversed(range(len(p.x))):
            self.step(t)
        self.steps.reverse()

    def step(self, t: int) -> None:
        values: dict[Expr, Bounded] = dict(self.leaves)
        values |= {i: exact(self.seen[i.name][t]) for i in self.back.cell.inputs}
        values |= {State(name): value for name, value in self.states.items()}
        for name, expr in self.back.cell.equations:
            value = bound(expr, values, self.run.problem.dtype)
            values[Name(name)] = value.settle(self.unit)
        self.steps.append({n: values[Name(n)] for n, _ in self.back.cell.equations})
        self.states = {s: self.steps[-1][f"{s}_next"] for s in self.states}

    def adjoint(self, name: str) -> Bounded:
        """The adjoint called ``name`` at all steps, [time * batch, hidden]."""
        parts = [(s[name].value, s[name].error) for s in self.steps]
        value, error = (np.concatenate(part) for part in zip(*parts, strict=True))
        return Bounded(value, error, np.abs(value))

    def weight(self, weight: Weight) -> Bounded:
        """The sum over time and batch: T B products, T B - 1 additions in some order, one more
        for each further term."""
        shape, blocks = self.matrix(weight).shape, self.blocks(weight)
        total = exact(np.zeros((shape[0], *(shape[1:] or (1,)))))
        for term in self.back.weights:
            if term.weight == weight:
                adjoint = self.adjoint(term.adjoint)
                rows = np.ones((len(adjoint.value), 1))
                if isinstance(term.operand, (Input, Name, State)):
                    rows = self.seen[term.operand.name].reshape(len(rows), -1)
                product = bounds.product(self.unit, rows.T, _turned(adjoint))
                product = _turned(product) if term.turned else product
                total = total + _mapped(product, lambda part: bounds.folded(part, blocks))
        return _shaped(total, shape).settle(self.unit)

    def input(self, shape: tuple[int, ...], terms: Sequence[tuple[Weight | None, str]]) -> Bounded:
        """The gradient of an input, [time, batch, size], the sum of its terms."""
        total = exact(np.zeros((shape[0] * shape[1], shape[2])))
        for weight, name in terms:
            adjoint = self.adjoint(name)
            if weight is not None:
                matrix = bounds.unfolded(self.matrix(weight), self.blocks(weight))
                adjoint = bounds.product(self.unit, matrix.T, adjoint)
            elif adjoint.value.shape[1] > shape[2]:  # one number that every unit read
                ones = np.ones((1, adjoint.value.shape[1]))
                adjoint = bounds.product(self.unit, ones, adjoint)
            total = total + adjoint
        return _shaped(total, shape).settle(self.unit)

    def blocks(self, weight: Weight) -> int:
        """How many blocks a weight has."""
        return self.run.problem.cell.shapes.blocks.get(weight, 1)

    def matrix(self, weight: Weight) -> Array:
        """A weight by itself, a matrix or a vector."""
        p = self.run.problem
        return split(p.cell, p.weights)[weight].astype(np.float64)


def _weights(cell: Cell, weights: Mapping[str, Array], stacked_as: Cell) -> dict[Expr, Bounded]:
    single = split(stacked_as, weights)
    return {w: exact(single[w].astype(np.float64)) for w in cell.weights}


def _mapped(b: Bounded, change: Callable[[Array], Array]) -> Bounded:
    return Bounded(change(b.value), change(b.error), change(b.size), b.roundings)


def _turned(b: Bounded) -> Bounded:
    return _mapped(b, np.transpose)


def _shaped(b: Bounded, shape: tuple[int, ...]) -> Bounded:
    return _mapped(b, lambda part: np.reshape(part, shape))


def compare(name: str, found: Array, want: Bounded, dtype: str) -> None:
    """Raise WrongKernelError where found is further from want than its error bound, or, in
    float64, than 1e-12 of what was summed."""
    off = np.abs(found.astype(np.float64) - want.value)
    allowed = np.broadcast_to(want.error, off.shape) * SLACK
    if dtype == "float64":
        allowed = np.minimum(allowed, FLOAT64 * np.maximum(1.0, want.size))
    wrong = ~(off <= allowed)  # so that NaN is wrong too
    if wrong.any():
        where = tuple(map(int, np.argwhere(wrong)[0]))
        raise WrongKernelError(
            f"{name}: {int(wrong.sum())} of {wrong.size} are wrong, first at {where}: off by"
            f" {off[where]:.3g} where rounding explains {allowed[where]:.3g}"
        )
    if not (allowed <= WIDEST * np.maximum(1.0, want.size)).all():
        raise TooWideError(f"{name}: a bound of {allowed.max():.3g} proves nothing")
