"""A model as one program of the loop language: all its layers' steps, one behind the other.

    reset(state)                           all zeros
    step(weights, state, x, y)             one step
    run(weights, state, x, y, steps)       several

``weights`` are three arrays where matrices are int8: numbers, offsets, bytes.

A model that reads symbols has `step(weights, state, symbol, y)`, and no `run`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from grus.builds.model import Array, Layer, Model
from grus.equations import Expr, expected, sizes
from grus.kernels import (
    ITEM,
    Builder,
    Function,
    Machine,
    Program,
    RowStep,
    ScalarTarget,
    Value,
    byte_products,
    check_calls,
    products,
    row_function,
)


@dataclass(frozen=True, eq=False)
class StepProgram:
    """The program of a model, in the arithmetic of a machine; with the ``ranges`` of each layer's
    operands its matrices are int8."""

    model: Model
    machine: Machine
    ranges: tuple[Mapping[Expr, float], ...] = ()

    @cached_property
    def target(self) -> ScalarTarget:
        """One number at a time."""
        return ScalarTarget(self.machine, "float32")

    @cached_property
    def steps(self) -> tuple[RowStep, ...]:
        """The step of each layer."""
        ranges = self.ranges or (None,) * len(self.model.layers)
        pairs = zip(self.model.layers, ranges, strict=True)
        return tuple(_row_step(layer, of) for layer, of in pairs)

    @cached_property
    def packed(self) -> tuple[Array, Array, Array]:
        """All weights in the order of the program: numbers, an embedding first, offsets, bytes."""
        table = self.model.embedding
        first = np.empty(0, np.float32) if table is None else np.ravel(table)
        none = first, np.empty(0, np.int32), np.empty(0, np.int8)
        pairs = zip(self.steps, self.model.layers, strict=True)
        parts = [none, *(step.packed(layer.weights) for step, layer in pairs)]
        numbers, offsets, bytes_ = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
        return numbers.astype(np.float32), offsets, bytes_

    @property
    def size(self) -> int:
        """Bytes of the weights."""
        return sum(array.nbytes for array in self.packed)

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

    @property
    def reads(self) -> str:
        """The parameters that lead to the weights."""
        return max((step.reads for step in self.steps), key=len)

    def program(self) -> Program:
        """The functions; layers of one cell and one size share theirs."""
        names: dict[object, str] = {}
        functions = [byte_products(self.target) if self.ranges else products(self.target)]
        for step in self.steps:
            if _kind(step) not in names:
                # Of no name that C or the program has: a cell may be called tanh, or step.
                cell = re.sub(r"\W", "_", step.cell.name, flags=re.ASCII)
                names[_kind(step)] = f"layer_{len(names)}_{cell}"
                functions.append(row_function(step, self.target, names[_kind(step)]))
        functions += [self._reset(), self._step([names[_kind(step)] for step in self.steps])]
        functions += [] if self.symbols else [self._run()]
        return _checked(functions)

    def public(self, name: str, *, nearest: bool = False) -> tuple[Program, list[str]]:
        """The same, with functions as the header declares them; and their names. With ``nearest``
        they round to nearest and keep denormals, whatever mode their thread is in."""
        functions = [*self.program().functions]
        inner = (f for f in functions if f.name in ("reset", "step", "run"))
        wrapped = [self._public(f, name, nearest) for f in inner]
        return _checked([*functions, *wrapped]), [f.name for f in wrapped]

    def _public(self, inner: Function, name: str, nearest: bool) -> Function:
        """A function that takes the model where the inner one takes its arrays."""
        read = "symbol" if self.symbols else "x: pointer"
        parameters = {
            "reset": "state: pointer",
            "step": f"model: pointer, state: pointer, {read}, y: pointer",
            "run": "model: pointer, state: pointer, steps, x: pointer, y: pointer",
        }[inner.name]
        f = Builder(self.target, f"{name}_{inner.name}", parameters, nearest=nearest)
        known: dict[str, Value] = dict(f.named)
        if "model" in known:
            first = 0
            for array, name_ in zip(self.packed, ("weights", "offsets", "bytes"), strict=True):
                known[name_] = f.at(known["model"], first)
                first += array.nbytes
        f.call(inner.name, *(known[p.name] for p in inner.parameters))
        return f.finished()

    def _reset(self) -> Function:
        f = Builder(self.target, "reset", "state: pointer")
        with f.each(0, self.state, 1) as k:
            place = f.at(f.named["state"], f.mul(k, ITEM))
            f.do("store", 0.0, place, of=self.target.number, detail=ITEM)
        return f.finished()

    def _step(self, called: list[str]) -> Function:
        read = "symbol" if self.symbols else "x: pointer"
        f = Builder(self.target, "step", f"{self.reads}, state: pointer, {read}, y: pointer")
        *weights, state, x, y = f.parameters
        if self.symbols:
            x = f.at(weights[0], f.mul(x, ITEM * self.inputs))
        rest = f.local(ITEM * self.work, ITEM)
        table = self.model.embedding
        first, kept, reads = [ITEM * table.size if table is not None else 0, 0, 0], 0, x
        for k, (name, step) in enumerate(zip(called, self.steps, strict=True)):
            last = k == len(self.steps) - 1
            writes = y if last else f.at(rest, ITEM * self.between * (k % 2))
            work = f.at(rest, ITEM * 2 * self.between)
            parts = [f.at(array, at) for array, at in zip(weights, first, strict=False)]
            parts = parts if step.whole else parts[:1]
            f.call(name, *parts, f.at(state, ITEM * kept), reads, writes, work)
            sizes_ = ITEM * step.weights.total, ITEM * step.offsets.total, step.bytes.total
            first = [at + size for at, size in zip(first, sizes_, strict=True)]
            kept, reads = kept + step.state, writes
        return f.finished()

    def _run(self) -> Function:
        parameters = f"{self.reads}, state: pointer, x: pointer, y: pointer, steps"
        f = Builder(self.target, "run", parameters)
        *weights, state, x, y, steps = f.parameters
        with f.each(0, steps, 1) as t:
            read = f.at(x, f.mul(t, ITEM * self.inputs))
            written = f.at(y, f.mul(t, ITEM * self.outputs))
            f.call("step", *weights, state, read, written)
        return f.finished()


def _checked(functions: list[Function]) -> Program:
    program = Program(tuple(functions))
    check_calls(program)
    return program


def _kind(step: RowStep) -> tuple[object, ...]:
    """What steps have in common that are one function."""
    ranges = tuple(step.ranges.items()) if step.ranges else ()
    return step.cell, tuple(sorted(step.sizes.items())), ranges


def _row_step(layer: Layer, ranges: Mapping[Expr, float] | None) -> RowStep:
    cell = expected(layer.cell)
    return RowStep(cell, sizes(cell, layer.weights, layer.inputs, row=True), ranges)
