"""A model as one program of the loop language: all its layers' steps, one behind the other.

    reset(state)                           all zeros
    step(weights, state, x, y)             one step
    run(weights, state, x, y, steps)       several

A model that reads symbols has `step(weights, state, symbol, y)`, and no `run`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from grus.builds.model import Array, Layer, Model
from grus.equations import expected, sizes
from grus.kernels.builder import Builder
from grus.kernels.loops import Function, Program, Value
from grus.kernels.machine import Machine
from grus.kernels.one_row import ITEM, RowStep, ScalarTarget, products
from grus.kernels.operations import check_calls


@dataclass(frozen=True, eq=False)
class StepProgram:
    """The program of a model, in the arithmetic of a machine."""

    model: Model
    machine: Machine

    @cached_property
    def target(self) -> ScalarTarget:
        """One number at a time."""
        return ScalarTarget(self.machine, "float32")

    @cached_property
    def steps(self) -> tuple[RowStep, ...]:
        """The step of each layer."""
        return tuple(map(_row_step, self.model.layers))

    @cached_property
    def weights(self) -> Array:
        """All weights in the order of the program; an embedding first."""
        rows = [np.ravel(self.model.embedding)] if self.model.embedding is not None else []
        pairs = zip(self.steps, self.model.layers, strict=True)
        packed = [*rows, *(step.packed(layer.weights) for step, layer in pairs)]
        return np.concatenate(packed).astype(np.float32)

    @property
    def state(self) -> int:
        """Numbers of the state."""
        return sum(step.state for step in self.steps)

    @property
    def inputs(self) -> int:
        """Numbers that the first layer reads."""
        return self.steps[0].inputs

    @property
    def symbols(self) -> int:
        """How many symbols there are, of which a step reads one; 0 where it reads numbers."""
        return 0 if self.model.embedding is None else len(self.model.embedding)

    @property
    def outputs(self) -> int:
        """Numbers that a step gives."""
        return self.steps[-1].outputs

    @property
    def work(self) -> int:
        """Numbers that a step keeps on the stack: one layer's, and two rows between layers."""
        return max(step.work for step in self.steps) + 2 * self.between

    @property
    def between(self) -> int:
        """Numbers of the widest row from a layer to the next."""
        return max((step.outputs for step in self.steps[:-1]), default=0)

    @property
    def multiply_adds(self) -> int:
        """Multiplications of weights a step."""
        return sum(step.multiply_adds for step in self.steps)

    def program(self, prefix: str = "") -> Program:
        """The functions, the public ones behind a prefix; layers of one cell and one size share
        theirs."""
        names: dict[object, str] = {}
        functions: list[Function] = [products(self.target)]
        for step in self.steps:
            key = step.cell, tuple(sorted(step.sizes.items()))
            if key not in names:
                names[key] = f"{step.cell.name}_{len(names)}" if names else step.cell.name
                functions.append(step.function(self.target, names[key]))
        called = [names[s.cell, tuple(sorted(s.sizes.items()))] for s in self.steps]
        functions += [self._reset(prefix), self._step(prefix, called)]
        functions += [] if self.symbols else [self._run(prefix)]
        program = Program(tuple(functions))
        check_calls(program)
        return program

    def _reset(self, prefix: str) -> Function:
        f = Builder(self.target, f"{prefix}reset", "state: pointer")
        with f.each(0, self.state, 1) as k:
            place = f.at(f.named["state"], f.mul(k, ITEM))
            f.do("store", 0.0, place, of=self.target.number, detail=ITEM)
        return f.finished()

    def _step(self, prefix: str, called: list[str]) -> Function:
        read = "symbol" if self.symbols else "x: pointer"
        parameters = f"weights: pointer, state: pointer, {read}, y: pointer"
        f = Builder(self.target, f"{prefix}step", parameters)
        weights, state, x, y = f.parameters
        if self.symbols:
            x = f.at(weights, f.mul(x, ITEM * self.inputs))
        rest = f.local(ITEM * self.work, ITEM)
        first = 0 if self.model.embedding is None else self.model.embedding.size
        kept, reads = 0, x
        for k, (name, step) in enumerate(zip(called, self.steps, strict=True)):
            last = k == len(self.steps) - 1
            writes = y if last else f.at(rest, ITEM * self.between * (k % 2))
            work = f.at(rest, ITEM * 2 * self.between)
            f.call(name, *self._at(f, (weights, first), (state, kept)), reads, writes, work)
            first, kept, reads = first + step.weights.total, kept + step.state, writes
        return f.finished()

    def _at(self, f: Builder, *places: tuple[Value, int]) -> list[Value]:
        return [f.at(pointer, ITEM * count) for pointer, count in places]

    def _run(self, prefix: str) -> Function:
        parameters = "weights: pointer, state: pointer, x: pointer, y: pointer, steps"
        f = Builder(self.target, f"{prefix}run", parameters)
        weights, state, x, y, steps = f.parameters
        with f.each(0, steps, 1) as t:
            read = f.at(x, f.mul(t, ITEM * self.inputs))
            f.call(f"{prefix}step", weights, state, read, f.at(y, f.mul(t, ITEM * self.outputs)))
        return f.finished()


def _row_step(layer: Layer) -> RowStep:
    cell = expected(layer.cell)
    return RowStep(cell, sizes(cell, layer.weights, layer.inputs, row=True))
