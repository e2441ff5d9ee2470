"""One tile: some rows x some vectors of hidden units. Products accumulate in registers, and the
equations of the stage are applied to them there."""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce, wraps
from itertools import product
from typing import Any, TypeVar, cast

from grus.equations import Expr, Input, Name, State, Weight
from grus.equations.expr import walk
from grus.kernels import bfloat16, blocks
from grus.kernels.argument_block import X, further_slot, operand_slot, size_slot
from grus.kernels.bfloat16 import Accumulators
from grus.kernels.builder import Module
from grus.kernels.functions import compute
from grus.kernels.loops import Argument, Value
from grus.kernels.plan import ONE, Chain, Plan

# Equations printed into every tile were 65 of the 246 ms that a GRU took to compile, called from
# the large ones they are 5. Small tiles would feel the call, of more vectors than two none did.
MOST_PRINTED = 2
BUFFERS = {Input: ("mask", ""), State: ("state", "cur"), Name: ("row", "cur")}
"""Where leaves stand: masks that were drawn, states, values; and in which half."""
Method = TypeVar("Method", bound=Callable[..., Any])


def once(method: Method) -> Method:
    """What a tile computes where it is first asked for, and knows from then on."""

    @wraps(method)
    def known(tile: Tile, *arguments: object) -> object:
        key = method.__name__, *arguments
        if key not in tile.known:
            tile.known[key] = method(tile, *arguments)
        return tile.known[key]

    return cast("Method", known)


def shared(rows: int, width: int) -> bool:
    """Whether a tile calls the function of its stage's equations, which saves much of the time to
    compile. They are printed into tiles of one row and `MOST_PRINTED` vectors, where a call would
    be felt."""
    return rows > 1 or width > MOST_PRINTED


class Tile:
    """Builds the function of one tile shape; ``ctx`` is the thread's copy of the slots."""

    def __init__(
        self, module: Module, name: str, parameters: str, rows: int, width: int, axis: str
    ) -> None:
        self.f = module.function(name, parameters, alone=True)
        self.plan, self.slots, self.axis = module.plan, module.slots, axis
        self.stores, self.sums = module.stores, module.sums
        self.rows, self.width = rows, width
        self.vector_bytes = module.target.machine.vector_bytes
        self.known: dict[tuple[object, ...], Any] = {}

    @once
    def slot(self, name: str) -> Value:
        """The value of a slot."""
        return self.f.slot(name)

    @once
    def pointer(self, name: str) -> Value:
        """A slot as an address."""
        return self.f.pointer(name)

    @once
    def column(self, vector: int) -> Argument:
        """The byte offset of a vector of units."""
        return self.f.mul(self.f.add(self.f.named["tile"], vector), self.vector_bytes)

    @once
    def place(self, number: int, vector: int) -> Argument:
        """The byte offset of a vector of units in the ``number``-th of several padded rows."""
        return self.f.add(self.first(number), self.column(vector))

    @once
    def padded(self) -> Argument:
        """Bytes of a padded row."""
        return self.f.mul(self.slot(self.slots.widest), self.vector_bytes)

    def first(self, number: int) -> Argument:
        """The byte offset of the ``number``-th of several padded rows."""
        return self.f.mul(self.padded(), number)

    @once
    def mask(self, vector: int) -> Value:
        """Which lanes of a vector are real units."""
        first = self.f.mul(self.f.add(self.f.named["tile"], vector), self.f.target.lanes)
        return self.f.lanes_below(self.f.sub(self.slot(size_slot(self.axis)), first))

    @once
    def row_pointer(self, slot: str, stride: str, row: int, parity: str) -> Value:
        """The address of row %row + ``row`` of an array, in one of its two halves if asked."""
        f = self.f
        if row:
            return f.at(self.row_pointer(slot, stride, 0, parity), self.multiple(stride, row))
        first = f.at(self.pointer(slot), f.mul(f.named["row"], self.slot(stride)))
        return f.at(first, self.slot(parity)) if parity else first

    @once
    def array_row(self, slot: str, row: int) -> Value:
        """The address of a row of a caller's array, at the present step; of ragged rows a table
        says where they stand."""
        if not self.slots.variant.ragged:
            return self.row_pointer(slot, f"{slot}.row", row, "")
        offset = self.f.entry(self.pointer(f"{slot}.rows"), self.f.add(self.f.named["row"], row))
        return self.f.at(self.pointer(slot), offset)

    def number(self, node: Expr, row: int) -> Value:
        """A number of a row, in all lanes."""
        if isinstance(node, Input):
            return self.f.broadcast(self.array_row(f"in.{node.name}", row))
        assert isinstance(node, Name)
        return self.f.load(self.row_pointer(f"row.{node.name}", "ld", row, "cur"))

    @once
    def multiple(self, stride: str, count: int) -> Argument:
        """``count`` times a stride."""
        return self.f.mul(self.slot(stride), count) if count else 0

    def bias(self, chain: Chain, vector: int) -> Argument:
        """The sum of a chain's biases, zero if there are none."""
        if not chain.biases:
            return 0.0
        parts = [self.vector_weight(weight, vector) for weight in chain.biases]
        return reduce(lambda total, part: self.f.let("add", total, part), parts)

    @once
    def vector_weight(self, weight: Weight, vector: int) -> Value:
        """A learned vector at these units, as it was packed."""
        return self.f.load(self.f.at(self.pointer(f"vector.{weight.name}"), self.column(vector)))

    def products(self, number: int, row_pointers: list[Value], accumulators: Accumulators) -> None:
        """Add one group's products: one loop over k, every operand element read once; of blocks,
        one such loop for each block that the tile has units of."""
        f, loop_of = self.f, self.plan.k_loops[number]
        count = self.slot(size_slot(loop_of.depth))
        tile_bytes = self.slot(f"panel.{number}.tile")
        panels = [
            f.at(self.pointer(f"panel.{number}"), f.mul(f.add(f.named["tile"], v), tile_bytes))
            for v in range(self.width)
        ]
        chains = [chain for chain, _, _ in loop_of.members]
        used = sorted(product(range(self.rows), range(self.width), {*chains}))

        def along_k(count: Argument, rows: list[Value], sums: Accumulators) -> None:
            if f.target.narrow:
                bfloat16.products(f, count, panels, rows, chains, used, sums)
            else:
                self.along_k(count, panels, rows, chains, used, sums)

        if loop_of.blocks == 1:
            along_k(count, row_pointers, accumulators)
            return
        sums = {k: accumulators[k] for k in used}
        sizes = self.slot(size_slot(loop_of.axis)), count
        blocks.products(f, self.width, loop_of.blocks, sizes, row_pointers, sums, along_k)
        accumulators.update(sums)

    def along_k(
        self,
        count: Argument,
        panels: list[Value],
        row_pointers: list[Value],
        chains: list[int],
        used: list[tuple[int, int, int]],
        accumulators: Accumulators,
    ) -> None:
        """One loop over k: ``panels`` of each vector, the chain of each member; ``used`` are the
        accumulators."""
        f = self.f
        steps = [m * self.vector_bytes for m in range(len(chains))]
        # Offsets in bytes are carried, not the index.
        with f.loop(0, count, 1, [0, 0, *(accumulators[k] for k in used)]) as loop:
            koff, poff, *totals = loop.carried
            now = dict(zip(used, totals, strict=True))
            places = [f.at(base, poff) for base in panels]
            panel = [[f.load(f.at(place, m)) for m in steps] for place in places]
            for i, pointer in enumerate(row_pointers):
                element = f.broadcast(f.at(pointer, koff))
                for v, (m, c) in product(range(self.width), enumerate(chains)):
                    now[i, v, c] = f.multiply_add(element, panel[v][m], now[i, v, c])
            after = f.add(koff, f.target.item), f.add(poff, len(chains) * self.vector_bytes)
            loop.next(*after, *(now[key] for key in used))
        accumulators.update(zip(used, loop.carried[2:], strict=True))


class StageTile(Tile):
    """A tile of a stage of the time loop, at row %row and vector %tile. Its equations are applied
    in it, or by the stage's `EquationsTile`."""

    def __init__(self, module: Module, at: int, rows: int, width: int) -> None:
        self.stage, self.at = module.plan.stages[at], at
        self.accumulators: Accumulators = {}
        name, parameters = self.head(rows, width)
        super().__init__(module, f"stage{at}.{name}", parameters, rows, width, self.stage.axis)
        self.print()

    def head(self, rows: int, width: int) -> tuple[str, str]:
        """What the function's name ends in, and its parameters."""
        return f"{rows}x{width}", "row, tile"

    def print(self) -> None:
        """Start the accumulators, add the products, apply the equations."""
        chains = self.stage.chains
        share = bool(chains) and shared(self.rows, self.width)
        size = self.rows * self.width * len(chains) * self.vector_bytes
        sums = self.f.local(size, self.vector_bytes) if share else None
        places = [*product(range(self.width), range(self.rows))]
        for v, i in places:
            for c, chain in enumerate(chains):
                self.accumulators[i, v, c] = self.start(chain, i, v)
        before = sum(len(s.groups) for s in self.plan.stages[: self.at])
        before += len(self.plan.hoisted_loops)
        for k, group in enumerate(self.stage.groups, before):
            slot = operand_slot(group.operand)
            pointers = [self.row_pointer(slot, "ld", i, "cur") for i in range(self.rows)]
            self.products(k, pointers, self.accumulators)
        if sums:
            self.hand_over(sums, places)
        else:
            for v, i in places:
                Equations(self, i, v).print()

    def hand_over(self, sums: Value, places: list[tuple[int, int]]) -> None:
        """Store all accumulators, and have the equations applied to each row and vector."""
        f, chains = self.f, len(self.stage.chains)
        parts = [f.at(sums, k * chains * self.vector_bytes) for k in range(len(places))]
        for (v, i), part in zip(places, parts, strict=True):
            for c in range(chains):
                f.store(self.accumulators[i, v, c], f.at(part, c * self.vector_bytes))
        for (v, i), part in zip(places, parts, strict=True):
            where = f.add(f.named["row"], i), f.add(f.named["tile"], v), part
            f.call(f"stage{self.at}.equations", f.ctx, *where)

    def start(self, chain: Chain, row: int, vector: int) -> Argument:
        """What an accumulator starts from."""
        if chain in self.plan.hoisted:
            return self.hoisted(chain, row, vector)
        return self.bias(chain, vector)

    def hoisted(self, chain: Chain, row: int, vector: int) -> Value:
        """A chain as far as it was computed before the time loop."""
        base = self.row_pointer("P.now", "P.row", row, "")
        return self.f.load(self.f.at(base, self.place(self.plan.hoisted.index(chain), vector)))


class EquationsTile(StageTile):
    """The equations for one row and one vector, whose accumulators stand at %sums: printed once
    for all shapes of tiles that are large."""

    def head(self, rows: int, width: int) -> tuple[str, str]:
        """What the function's name ends in, and its parameters."""
        del rows, width
        return "equations", "row, tile, sums: pointer"

    def print(self) -> None:
        """Load the accumulators, apply the equations."""
        for c in range(len(self.stage.chains)):
            at = self.f.at(self.f.named["sums"], c * self.vector_bytes)
            self.accumulators[0, 0, c] = self.f.load(at)
        Equations(self, 0, 0).print()


class Equations:
    """The equations of a stage for one row and one vector, all in registers."""

    def __init__(self, tile: StageTile, row: int, vector: int) -> None:
        self.tile, self.f = tile, tile.f
        self.row, self.vector = row, vector
        self.values: dict[Expr, Argument] = {}

    def print(self) -> None:
        """Compute every equation and keep what others will read."""
        tile = self.tile
        for c, chain in enumerate(tile.stage.chains):
            self.values[Name(chain.name)] = tile.accumulators[self.row, self.vector, c]
        for state, axis in tile.plan.cell.shapes.states.items():
            if tile.at == tile.plan.first_stage(axis) and state in tile.stores:
                self.put(f"out.{state}", self.leaf(State(state)))
        for name, expr in tile.stage.equations:
            for node in walk(expr):
                if node not in self.values and isinstance(node, (Name, State, Input, Weight)):
                    self.values[node] = self.leaf(node)
            self.values[Name(name)] = compute(self.f, expr, self.values)
            self.keep(name, self.values[Name(name)])

    def leaf(self, node: Expr) -> Value:
        """Load what an expression reads from memory."""
        tile = self.tile
        if isinstance(node, Weight):
            return tile.vector_weight(node, self.vector)
        if tile.plan.axis_of(node) == ONE:
            return tile.number(node, self.row)
        if isinstance(node, Input) and node.keep is None:
            place = self.strided(f"in.{node.name}")
            return self.f.load_masked(place, tile.mask(self.vector))
        assert isinstance(node, (Input, State, Name))
        chain = next((c for c in tile.plan.hoisted if c.name == node.name), None)
        if isinstance(node, Name) and chain:
            return tile.hoisted(chain, self.row, self.vector)
        buffer, parity = BUFFERS[node.__class__]
        return self.f.load(self.padded(f"{buffer}.{node.name}", parity))

    def keep(self, name: str, value: Argument) -> None:
        """Store a value wherever somebody will look for it."""
        tile = self.tile
        state = name.removesuffix("_next")
        if name.endswith("_next") and state in tile.plan.cell.states:
            self.f.store(value, self.padded(f"state.{state}", "nxt"))
        if name in tile.plan.rows:
            self.f.store(value, self.padded(f"row.{name}", "cur"))
        if name in tile.stores:
            self.put(f"out.{name}", value)
        if name in tile.sums:
            self.add_up(tile.sums.index(name), value)

    def put(self, slot: str, value: Argument) -> None:
        """Store into a caller's array at the present step."""
        self.f.store_masked(value, self.strided(slot), self.tile.mask(self.vector))

    def add_up(self, at: int, value: Argument) -> None:
        """Add to a sum over time and batch."""
        address = self.f.at(self.tile.pointer("sums.now"), self.tile.place(at, self.vector))
        self.f.store(self.f.let("add", self.f.load(address), value), address)

    def padded(self, slot: str, parity: str) -> Value:
        """The address in one of our own buffers: aligned, padded to whole vectors."""
        row = self.tile.row_pointer(slot, "ld", self.row, parity)
        return self.f.at(row, self.tile.column(self.vector))

    def strided(self, slot: str) -> Value:
        """The address in a caller's array, at the present step."""
        return self.f.at(self.tile.array_row(slot, self.row), self.tile.column(self.vector))


class HoistedTile(Tile):
    """A tile of the products with inputs: rows are steps or batch rows, whichever are more.

    The rows of x, behind which the further inputs stand, follow each other at one stride, or stand
    where ``%table`` says if the program is ragged.
    """

    def __init__(self, module: Module, rows: int, width: int, axis: str) -> None:
        plan, ragged = module.plan, module.slots.variant.ragged
        parameters = f"x: pointer, {'table: pointer, ' if ragged else ''}p: pointer, tile"
        super().__init__(module, hoisted_name(axis, rows, width), parameters, rows, width, axis)
        chains = chains_along(plan, axis)
        places = product(range(width), chains, range(rows))
        accumulators = {(i, v, c): self.bias(plan.hoisted[c], v) for v, c, i in places}
        f, x, p = self.f, self.f.named["x"], self.f.named["p"]
        pointers = [
            f.at(x, f.entry(f.named["table"], i) if ragged else self.multiple("nx", i))
            for i in range(rows)
        ]
        for k, loop in enumerate(plan.hoisted_loops):
            if loop.axis != axis:
                continue
            if loop.operand != X:
                first = self.slot(further_slot(loop.operand))
                self.products(k, [f.at(pointer, first) for pointer in pointers], accumulators)
            else:
                self.products(k, pointers, accumulators)
        for i in range(rows):
            row = f.at(p, self.multiple("np", i))
            for v, c in product(range(width), chains):
                f.store(accumulators[i, v, c], f.at(row, self.place(c, v)))


def chains_along(plan: Plan, axis: str) -> list[int]:
    """The numbers of the chains of products with inputs along an axis."""
    return [k for k, chain in enumerate(plan.hoisted) if plan.axis_of(Name(chain.name)) == axis]


def hoisted_name(axis: str, rows: int, width: int) -> str:
    """The name of the function of a tile of the products with inputs."""
    return f"hoisted.{'' if axis == 'hidden' else f'{axis}.'}{rows}x{width}"


def hoisted_tiles(module: Module, axis: str) -> tuple[tuple[int, tuple[int, ...]], ...]:
    """The tiles of the products with inputs along an axis; gives their shapes."""
    shapes = module.target.machine.tiles(len(chains_along(module.plan, axis)))
    for rows, widths in shapes:
        for width in widths:
            HoistedTile(module, rows, width, axis)
    return shapes
