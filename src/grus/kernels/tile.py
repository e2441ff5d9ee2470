"""One tile: some rows x some vectors of hidden units. Products accumulate in registers, and the
equations of the stage are applied to them there."""

from __future__ import annotations

from functools import reduce
from itertools import product

from grus.equations import Expr, Input, Name, State, Weight
from grus.equations.expr import walk
from grus.kernels import bfloat16
from grus.kernels.argument_block import Slots, groups, operand_axis, operand_slot, size_slot
from grus.kernels.bfloat16 import Accumulators
from grus.kernels.functions import compute
from grus.kernels.ir import Function
from grus.kernels.loops import INDEX, POINTER, Argument, Value
from grus.kernels.machine import Target
from grus.kernels.plan import ONE, Chain, Plan

MOST_PRINTED = 2


def shared(rows: int, width: int) -> bool:
    """Whether a tile calls the function of its stage's equations, which saves much of the time to
    compile. They are printed into tiles of one row and `MOST_PRINTED` vectors, where a call would
    be felt."""
    return rows > 1 or width > MOST_PRINTED


class Tile:
    """Builds the function of one tile shape; ``ctx`` is the thread's copy of the slots."""

    def __init__(
        self,
        target: Target,
        plan: Plan,
        slots: Slots,
        name: str,
        parameters: str,
        rows: int,
        width: int,
        axis: str = "hidden",
    ) -> None:
        self.axis = axis
        self.f = Function(target, name, f"ctx: pointer, {parameters}", alone=True)
        self.plan, self.slots = plan, slots
        self.rows, self.width = rows, width
        self.vector_bytes = target.machine.vector_bytes
        self.cached: dict[object, Value] = {}
        self.offsets: dict[object, Argument] = {}

    def slot(self, name: str) -> Value:
        """The value of a slot, loaded once."""
        if name not in self.cached:
            at = self.f.at(self.f.named["ctx"], 8 * self.slots.index[name])
            self.cached[name] = self.f.let("load", at, type=INDEX, detail=8)
        return self.cached[name]

    def pointer(self, name: str) -> Value:
        """A slot as an address."""
        key = ("pointer", name)
        if key not in self.cached:
            at = self.f.at(self.f.named["ctx"], 8 * self.slots.index[name])
            self.cached[key] = self.f.let("load", at, type=POINTER, detail=8)
        return self.cached[key]

    def column(self, vector: int) -> Argument:
        """The byte offset of a vector of units."""
        key = ("column", vector)
        if key not in self.offsets:
            tile = self.f.add(self.f.named["tile"], vector)
            self.offsets[key] = self.f.mul(tile, self.vector_bytes)
        return self.offsets[key]

    def place(self, number: int, vector: int) -> Argument:
        """The byte offset of a vector of units in the ``number``-th of several padded rows."""
        key = ("place", number, vector)
        if key not in self.offsets:
            self.offsets[key] = self.f.add(self.first(number), self.column(vector))
        return self.offsets[key]

    def first(self, number: int) -> Argument:
        """The byte offset of the ``number``-th of several padded rows."""
        if "padded" not in self.offsets:
            self.offsets["padded"] = self.f.mul(self.slot(self.slots.widest), self.vector_bytes)
        return self.f.mul(self.offsets["padded"], number)

    def mask(self, vector: int) -> Value:
        """Which lanes of a vector are real units."""
        key = ("mask", vector)
        if key not in self.cached:
            first = self.f.mul(self.f.add(self.f.named["tile"], vector), self.f.target.lanes)
            self.cached[key] = self.f.lanes_below(
                self.f.sub(self.slot(size_slot(self.axis)), first)
            )
        return self.cached[key]

    def row_pointer(self, slot: str, stride: str, row: int, parity: str = "") -> Value:
        """The address of row %row + ``row`` of an array, in one of its two halves if asked."""
        f = self.f
        key: object = ("row", slot, parity, row)
        if row and key not in self.cached:
            first = self.row_pointer(slot, stride, 0, parity)
            self.cached[key] = f.at(first, self.multiple(stride, row))
        elif key not in self.cached:
            first = f.at(self.pointer(slot), f.mul(f.named["row"], self.slot(stride)))
            self.cached[key] = f.at(first, self.slot(parity)) if parity else first
        return self.cached[key]

    def listed_row(self, slot: str, row: int) -> Value:
        """The address of row %row + ``row`` of an array whose rows a table lists."""
        key: object = ("listed row", slot, row)
        if key not in self.cached:
            f = self.f
            offset = f.entry(self.pointer(f"{slot}.rows"), f.add(f.named["row"], row))
            self.cached[key] = f.at(self.pointer(slot), offset)
        return self.cached[key]

    def array_row(self, slot: str, row: int) -> Value:
        """The address of a row of a caller's array, at the present step."""
        if self.slots.variant.ragged:
            return self.listed_row(slot, row)
        return self.row_pointer(slot, f"{slot}.row", row)

    def number(self, node: Expr, row: int) -> Value:
        """A number of a row, in all lanes."""
        if isinstance(node, Input):
            return self.f.broadcast(self.array_row(f"in.{node.name}", row))
        assert isinstance(node, Name)
        return self.f.load(self.row_pointer(f"row.{node.name}", "ld", row, "cur"))

    def multiple(self, stride: str, count: int) -> Argument:
        """``count`` times a stride."""
        if count == 0:
            return 0
        key = ("multiple", stride, count)
        if key not in self.offsets:
            self.offsets[key] = self.f.mul(self.slot(stride), count)
        return self.offsets[key]

    def bias(self, chain: Chain, vector: int) -> Argument:
        """The sum of a chain's biases, zero if there are none."""
        if not chain.biases:
            return 0.0
        parts = [self.vector_weight(weight, vector) for weight in chain.biases]
        return reduce(lambda total, part: self.f.let("add", total, part), parts)

    def vector_weight(self, weight: Weight, vector: int) -> Value:
        """A learned vector at these units, as it was packed."""
        key: object = ("weight", weight, vector)
        if key not in self.cached:
            at = self.f.at(self.pointer(f"vector.{weight.name}"), self.column(vector))
            self.cached[key] = self.f.load(at)
        return self.cached[key]

    def products(self, number: int, row_pointers: list[Value], accumulators: Accumulators) -> None:
        """Add one group's products: one loop over k, every operand element read once."""
        f, t = self.f, self.f.target
        operand, members = groups(self.plan)[number]
        count = self.slot(size_slot(operand_axis(self.plan, operand)))
        tile_bytes = self.slot(f"panel.{number}.tile")
        panels = [
            f.at(self.pointer(f"panel.{number}"), f.mul(f.add(f.named["tile"], v), tile_bytes))
            for v in range(self.width)
        ]
        chains = [c for c, _, _ in members]
        used = sorted(product(range(self.rows), range(self.width), {*chains}))
        if t.narrow:
            bfloat16.products(f, count, panels, row_pointers, chains, used, accumulators)
            return

        step = len(members) * self.vector_bytes
        # Offsets in bytes are carried, not the index.
        with f.loop(0, count, 1, [0, 0, *(accumulators[k] for k in used)]) as loop:
            koff, poff, *totals = loop.carried
            now = dict(zip(used, totals, strict=True))
            places = [f.at(base, poff) for base in panels]
            steps = [m * self.vector_bytes for m in range(len(members))]
            panel = [[f.load(f.at(place, m)) for m in steps] for place in places]
            for i, pointer in enumerate(row_pointers):
                element = f.broadcast(f.at(pointer, koff))
                for v in range(self.width):
                    for m, (c, _, _) in enumerate(members):
                        now[i, v, c] = f.multiply_add(element, panel[v][m], now[i, v, c])
            loop.next(f.add(koff, t.item), f.add(poff, step), *(now[key] for key in used))
        accumulators.update(zip(used, loop.carried[2:], strict=True))


class StageTile(Tile):
    """A tile of a stage of the time loop, at row %row and vector %tile."""

    more = ""

    def __init__(
        self,
        target: Target,
        plan: Plan,
        slots: Slots,
        at: int,
        rows: int,
        width: int,
        stores: tuple[str, ...],
        sums: tuple[str, ...],
    ) -> None:
        name = f"stage{at}.{self.shape(rows, width)}"
        self.stage, self.at = plan.stages[at], at
        places = f"row, tile{self.more}"
        super().__init__(target, plan, slots, name, places, rows, width, self.stage.axis)
        self.stores, self.sums = stores, sums
        self.accumulators: Accumulators = {}
        self.print()

    def shape(self, rows: int, width: int) -> str:
        """What the function's name ends in."""
        return f"{rows}x{width}"

    def print(self) -> None:
        """Start the accumulators, add the products, apply the equations."""
        share = bool(self.stage.chains) and shared(self.rows, self.width)
        size = self.rows * self.width * len(self.stage.chains) * self.vector_bytes
        sums = self.f.local(size, self.vector_bytes) if share else None
        for v in range(self.width):
            for i in range(self.rows):
                for c, chain in enumerate(self.stage.chains):
                    self.accumulators[i, v, c] = self.start(chain, i, v)
        before = sum(len(s.groups) for s in self.plan.stages[: self.at])
        before += 1 if self.plan.hoisted else 0
        for k, group in enumerate(self.stage.groups):
            slot = operand_slot(group.operand)
            pointers = [self.row_pointer(slot, "ld", i, "cur") for i in range(self.rows)]
            self.products(before + k, pointers, self.accumulators)
        if sums:
            self.hand_over(sums)
            return
        for v in range(self.width):
            for i in range(self.rows):
                Equations(self, i, v).print()

    def hand_over(self, sums: Value) -> None:
        """Store all accumulators, and have the equations applied to each row and vector."""
        f, chains = self.f, len(self.stage.chains)
        places = [(i, v) for v in range(self.width) for i in range(self.rows)]
        parts = [f.at(sums, k * chains * self.vector_bytes) for k in range(len(places))]
        for (i, v), part in zip(places, parts, strict=True):
            for c in range(chains):
                f.store(self.accumulators[i, v, c], f.at(part, c * self.vector_bytes))
        for (i, v), part in zip(places, parts, strict=True):
            where = f.add(f.named["row"], i), f.add(f.named["tile"], v), part
            f.call(f"stage{self.at}.equations", f.named["ctx"], *where)

    def start(self, chain: Chain, row: int, vector: int) -> Argument:
        """What an accumulator starts from."""
        if chain in self.plan.hoisted:
            return self.hoisted(chain, row, vector)
        return self.bias(chain, vector)

    def hoisted(self, chain: Chain, row: int, vector: int) -> Value:
        """A chain as far as it was computed before the time loop."""
        f = self.f
        base = self.row_pointer("P.now", "P.row", row)
        return f.load(f.at(base, self.place(self.plan.hoisted.index(chain), vector)))


class EquationsTile(StageTile):
    """The equations for one row and one vector, whose accumulators stand at %sums: printed once
    for all shapes of tiles that are large."""

    more = ", sums: pointer"

    def shape(self, rows: int, width: int) -> str:
        """What the function's name ends in."""
        del rows, width
        return "equations"

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
        if isinstance(node, Input):
            return self.input(node)
        if isinstance(node, State):
            return self.f.load(self.padded(f"state.{node.name}", "cur"))
        assert isinstance(node, Name)
        chain = next((c for c in tile.plan.hoisted if c.name == node.name), None)
        if chain:
            return tile.hoisted(chain, self.row, self.vector)
        return self.f.load(self.padded(f"row.{node.name}", "cur"))

    def input(self, node: Input) -> Value:
        """Load what arrives, or what was drawn."""
        if node.keep is not None:
            return self.f.load(self.padded(f"mask.{node.name}", ""))
        return self.f.load_masked(self.strided(f"in.{node.name}"), self.tile.mask(self.vector))

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
        tile, f = self.tile, self.f
        address = f.at(tile.pointer("sums.now"), tile.place(at, self.vector))
        total = f.let("add", f.load(address), value)
        f.store(total, address)

    def padded(self, slot: str, parity: str) -> Value:
        """The address in one of our own buffers: aligned, padded to whole vectors."""
        tile = self.tile
        row = tile.row_pointer(slot, "ld", self.row, parity)
        return self.f.at(row, tile.column(self.vector))

    def strided(self, slot: str) -> Value:
        """The address in a caller's array, at the present step."""
        tile = self.tile
        return self.f.at(tile.array_row(slot, self.row), tile.column(self.vector))


class HoistedTile(Tile):
    """A tile of the products with x: rows are steps or batch rows, whichever are more.

    The rows of x follow each other at one stride, or stand where ``%table`` says if ``ragged``.
    """

    def __init__(
        self,
        target: Target,
        plan: Plan,
        slots: Slots,
        rows: int,
        width: int,
        *,
        ragged: bool = False,
    ) -> None:
        table = "table: pointer, " if ragged else ""
        parameters = f"x: pointer, {table}p: pointer, tile"
        name, axis = f"hoisted.{rows}x{width}", plan.hoisted_axis
        super().__init__(target, plan, slots, name, parameters, rows, width, axis)
        chains = range(len(plan.hoisted))
        places = [(i, v, c) for v in range(width) for c in chains for i in range(rows)]
        accumulators = {(i, v, c): self.bias(plan.hoisted[c], v) for i, v, c in places}
        x, p = self.f.named["x"], self.f.named["p"]
        listed = self.listed if ragged else lambda i: self.f.at(x, self.multiple("nx", i))
        pointers = [listed(i) for i in range(rows)]
        self.products(0, pointers, accumulators)
        for i in range(rows):
            row = self.f.at(p, self.multiple("np", i))
            for v, c in product(range(width), chains):
                self.f.store(accumulators[i, v, c], self.f.at(row, self.place(c, v)))

    def listed(self, row: int) -> Value:
        """The address of a row of x that the table lists."""
        f = self.f
        return f.at(f.named["x"], f.entry(f.named["table"], row))
