"""A step of one row at fixed sizes: where its weights, states and working memory stand.

Products stand as [k][unit]. With ``ranges`` of operands matrices are int8, [unit][k], a scale for
each unit; `row_program` has the arithmetic, and the order of sums.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain as joined
from operator import itemgetter

import numpy as np

from grus.equations import Cell, Expr, Name, State, Weight, columns
from grus.equations.expr import walk
from grus.kernels.layout import Array, derived_axes
from grus.kernels.plan import ONE, Chain, KLoop, Plan, UnsupportedCellError, chain_axis, make_plan

ITEM = 4


@dataclass
class Places:
    """Rows of numbers one behind the other: (first, count) by name."""

    of: dict[object, tuple[int, int]] = field(default_factory=dict)
    total: int = 0

    def add(self, name: object, count: int) -> None:
        """One more row."""
        self.of[name] = self.total, count
        self.total += count


Packed = tuple[Array, Array, Array]
"""Numbers in float32, offsets in int32, bytes in int8."""
LEVELS = 127
"""Steps of an int8 on each side of 0."""


@dataclass(frozen=True, eq=False)
class Block:
    """Weights of chains that lie side by side, for one operand: [depth][units]; as int8 [units]
    [depth]."""

    operand: Expr
    chains: tuple[str, ...]
    weights: tuple[tuple[Weight, bool], ...]
    depth: int
    part: int = 0
    parts: int = 1
    """Of a block-diagonal weight it is one of so many blocks: that of these of the chain's units,
    and of these of the operand."""


class RowStep:
    """The step of a cell at certain sizes (of each axis, that of x called "input"); with the
    ``ranges`` of products' operands, the largest size that each has, its matrices are int8."""

    def __init__(
        self, cell: Cell, sizes: Mapping[str, int], ranges: Mapping[Expr, float] | None = None
    ) -> None:
        self.plan: Plan = make_plan(cell)
        self.ranges, self.whole = ranges, bool(ranges)
        self.cell, self._columns = cell, columns(cell, sizes)
        # A flat cell reads weights and states in another order, and may call its axes otherwise.
        called = derived_axes(self.plan.cell, cell, backward=False)
        self.sizes = {ONE: 1} | {axis: sizes[name] for axis, name in called.items()}
        self.chains: dict[str, Chain] = {}
        for chain in (*self.plan.hoisted, *(c for s in self.plan.stages for c in s.chains)):
            self.chains.setdefault(chain.name, chain)
        inside = [stage.chains for stage in self.plan.stages for _ in stage.groups]
        owners = [self.plan.hoisted] * len(self.plan.hoisted_loops) + inside
        pairs = zip(self.plan.k_loops, owners, strict=True)
        self.blocks = [[*self._blocks(loop, chains)] for loop, chains in pairs]
        self.states, self.weights, self.rows = Places(), Places(), Places()
        self.offsets, self.bytes = Places(), Places()
        self._place()

    @property
    def reads(self) -> str:
        """The parameters that lead to its weights."""
        return "weights: pointer" + (", offsets: pointer, bytes: pointer" if self.whole else "")

    @property
    def state(self) -> int:
        """Numbers of the states that are read."""
        return self.states.total

    @property
    def work(self) -> int:
        """Numbers of its working memory."""
        return self.rows.total

    @property
    def inputs(self) -> int:
        """Numbers that it reads a step: x, and further inputs behind it."""
        return max(first + count for first, count in self._columns.values())

    @property
    def outputs(self) -> int:
        """Numbers of its output."""
        return self.sizes[str(self.plan.cell.shapes.values[self.cell.output])]

    @property
    def multiply_adds(self) -> int:
        """Multiplications of weights a step."""
        return sum(block.depth * self.size(block) for block in joined(*self.blocks))

    def size(self, block: Block) -> int:
        """The units of a block."""
        return sum(self.rows.of[name][1] for name in block.chains) // block.parts

    def width(self, chain: Chain) -> int:
        """The units of a chain."""
        return self.sizes[chain_axis(self.plan.cell, chain)]

    def _blocks(self, loop: KLoop, chains: Sequence[Chain]) -> Iterator[Block]:
        """What one pass can do at once: chains that lie side by side."""
        order = [*self.chains]
        if loop.blocks > 1:
            for k, weight, turned in loop.members:
                yield from self._parts(loop, chains[k].name, weight, turned)
            return
        places = [
            (order.index(chains[k].name), weight, turned) for k, weight, turned in loop.members
        ]
        run: list[tuple[int, Weight, bool]] = []
        for place in sorted(places, key=itemgetter(0)):
            if run and place[0] != run[-1][0] + 1:
                yield self._block(loop, run)
                run = []
            run.append(place)
        yield self._block(loop, run)

    def _parts(self, loop: KLoop, chain: str, weight: Weight, turned: bool) -> Iterator[Block]:
        """The blocks of a block-diagonal weight."""
        if turned:
            raise UnsupportedCellError(
                f"cell {self.cell.name}: a step of one row has no {weight.name}.T @ blocks(...)"
            )
        depth = self.sizes[loop.depth] // loop.blocks
        for part in range(loop.blocks):
            yield Block(loop.operand, (chain,), ((weight, False),), depth, part, loop.blocks)

    def _block(self, loop: KLoop, run: list[tuple[int, Weight, bool]]) -> Block:
        order = [*self.chains]
        weights = tuple((weight, turned) for _, weight, turned in run)
        return Block(
            loop.operand, tuple(order[k] for k, *_ in run), weights, self.sizes[loop.depth]
        )

    def _place(self) -> None:
        """Where everything stands: states, working rows, weights."""
        plan, shapes = self.plan, self.plan.cell.shapes
        leaves = [n for s in plan.stages for _, e in s.equations for n in walk(e)]
        read = {*leaves, *plan.operands}
        for state in self.cell.states:
            if State(state) in read:
                self.states.add(state, self.sizes[shapes.states[state]])
        for name, chain in self.chains.items():
            self.rows.add(name, self.width(chain))
            if chain.biases:
                self.weights.add(name, self.width(chain))
        numbers = [n for s in plan.stages if s.axis == ONE for n, _ in s.equations]
        for name in dict.fromkeys([*plan.rows, *numbers]):
            self.rows.add(name, self.sizes[plan.axis_of(Name(name))])
        for at, stage in enumerate(plan.stages):
            for name, _ in stage.equations:
                if self.next_state(name) and not self.in_place(name, at):
                    self.rows.add(f"next {name}", self.states.of[self.next_state(name)][1])
        for weight in dict.fromkeys(n for n in leaves if isinstance(n, Weight)):
            self.weights.add(weight, self.sizes[shapes.weights[weight][0]])
        for block in joined(*self.blocks):
            units = self.size(block)
            self.weights.add(block, units if self.whole else block.depth * units)
            if self.whole:
                self.offsets.add(block, units)
                self.bytes.add(block, block.depth * units)

    def next_state(self, name: str) -> str:
        """The state that a value is the next of, if somebody reads it."""
        state = name.removesuffix("_next")
        return state if name.endswith("_next") and state in self.states.of else ""

    def in_place(self, name: str, at: int) -> bool:
        """Whether a next state can be stored over the present one in this stage: none later reads
        that."""
        state = State(self.next_state(name))
        later = self.plan.stages[at + 1 :]
        read = [n for s in later for _, e in s.equations for n in walk(e)]
        return state not in [*read, *(g.operand for s in later for g in s.groups)]

    def packed(self, weights: Mapping[str, Array]) -> Packed:
        """The weights in the step's order, of stacked arrays by family."""
        numbers = np.empty(self.weights.total, np.float32)
        offsets = np.empty(self.offsets.total, np.int32)
        bytes_ = np.empty(self.bytes.total, np.int8)
        for key, (first, count) in self.weights.of.items():
            part = self._part(key, weights)
            if isinstance(key, Block) and self.whole:
                part, whole = self.quantized(key, part)
                at, units = self.offsets.of[key]
                offsets[at : at + units] = -(LEVELS + 1) * whole.sum(1, dtype=np.int32)
                at, size = self.bytes.of[key]
                bytes_[at : at + size] = whole.ravel()
            numbers[first : first + count] = part.ravel()
        return numbers, offsets, bytes_

    def quantized(self, block: Block, matrix: Array) -> tuple[Array, Array]:
        """Of a block [depth, units] the scales of its sums, float32 [units], and int8 [units,
        depth]: 127 is the largest weight of a unit."""
        assert self.ranges is not None
        rows = matrix.T.astype(np.float64)
        largest = np.abs(rows).max(1, keepdims=True) / LEVELS
        whole = np.rint(rows / np.where(largest == 0, 1, largest)).astype(np.int8)
        scales = largest[:, 0] * (self.ranges[block.operand] / LEVELS)
        return scales.astype(np.float32), whole

    def matrix(self, block: Block, weights: Mapping[str, Array]) -> Array:
        """The weights of a block, [depth, units]."""
        gates = [(self._gate(w, weights), turned) for w, turned in block.weights]
        if block.parts > 1:
            return np.split(gates[0][0], block.parts)[block.part].T
        return np.concatenate([gate if turned else gate.T for gate, turned in gates], axis=1)

    def _part(self, key: object, weights: Mapping[str, Array]) -> Array:
        if isinstance(key, Block):
            return self.matrix(key, weights)
        if isinstance(key, Weight):
            return self._gate(key, weights)
        total, *rest = (self._gate(w, weights) for w in self.chains[str(key)].biases)
        for vector in rest:
            total = total + vector
        return total

    def _gate(self, weight: Weight, weights: Mapping[str, Array]) -> Array:
        """One gate of a family, which is stacked as the cell has it, not its flat form."""
        gates = self.cell.families[weight.family]
        stacked = np.asarray(weights[weight.family], np.float32)
        rows = len(stacked) // len(gates)
        first = gates.index(weight.gate) * rows
        return stacked[first : first + rows]
