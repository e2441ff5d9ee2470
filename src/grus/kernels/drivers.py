"""Drivers: functions that cover a range of rows and hidden tiles with tile functions."""

from __future__ import annotations

from dataclasses import dataclass, field

from grus.equations import Weight
from grus.kernels import means
from grus.kernels.argument_block import Slots, groups, operand_axis, size_slot, tiles_slot, vector
from grus.kernels.ir import Code, Function
from grus.kernels.loops import Argument, Reference, Value
from grus.kernels.machine import Target
from grus.kernels.packing import pack_function
from grus.kernels.plan import ONE, Plan
from grus.kernels.tile import EquationsTile, HoistedTile, StageTile

ELEMENTWISE_TILES = ((1, (2, 1)),)
"""A stage without products has nothing to share between rows."""
SPAN = "r0, r1, j0, j1"
"""A range of rows and of hidden tiles."""
SHAPED = "r0, r1, rows, j0, j1, width"
"""The same and the shape of the tiles that cover it."""

Range = tuple[Argument, Argument]


@dataclass
class Module:
    """The functions built so far, for a plan and a machine."""

    target: Target
    plan: Plan
    slots: Slots
    functions: list[Function] = field(default_factory=list)

    def add(self, f: Function) -> None:
        """Take over a finished function."""
        self.functions.append(f)

    def code(
        self, name: str, parameters: str, *, once: bool = False, nearest: bool = False
    ) -> Code:
        """A new function of the context and more parameters; ``once`` for what runs once."""
        return Code(self.target, name, parameters, self.slots, once=once, nearest=nearest)


def hoisted(module: Module) -> None:
    """``hoisted(ctx, x, p, n, g, j0, j1)``: n rows along one axis, g along the other.

    The hidden tile is the outer loop, so that its panel stays in the cache.
    """
    shapes = module.target.machine.tiles(len(module.plan.hoisted))
    for rows, widths in shapes:
        for width in widths:
            module.add(HoistedTile(module.target, module.plan, module.slots, rows, width).f)
    _hoisted_tiles(module)
    f = module.code("hoisted", "x: pointer, p: pointer, n, g, j0, j1", once=True)
    x, p, n, g, *_ = f.given

    def tiles(rows: int, width: int, lines: Range, columns: Range) -> None:
        name = Reference(f"hoisted.{rows}x{width}")
        f.call("hoisted.tiles", f.ctx, name, x, p, g, *lines, rows, *columns, width)

    f.tiled(0, n, span(f, module.plan.hoisted_axis), shapes, tiles)
    module.add(f)


def _hoisted_tiles(module: Module) -> None:
    """``hoisted.tiles(ctx, tile, x, p, g, r0, r1, rows, j0, j1, width)``: tiles of one shape."""
    f = module.code("hoisted.tiles", f"tile: function, x: pointer, p: pointer, g, {SHAPED}")
    tile, x, p, count, r0, r1, rows, j0, j1, width = f.given
    gx, gp, nx, np = (f.slot(name) for name in ("gx", "gp", "nx", "np"))
    with f.each(j0, j1, width) as j, f.each(0, count, 1) as g:
        xg, pg = f.at(x, f.mul(g, gx)), f.at(p, f.mul(g, gp))
        with f.each(r0, r1, rows) as r:
            f.call(tile, f.ctx, f.at(xg, f.mul(r, nx)), f.at(pg, f.mul(r, np)), j)
    module.add(f)


def stage(module: Module, at: int, stores: tuple[str, ...], sums: tuple[str, ...]) -> None:
    """``stage<at>(ctx, r0, r1, j0, j1)``: one stage at the present step."""
    if module.plan.stages[at].axis == ONE:
        _numbers(module, at, stores)
        return
    chains, axis = len(module.plan.stages[at].chains), module.plan.stages[at].axis
    shapes = module.target.machine.tiles(chains) if chains else ELEMENTWISE_TILES
    common = (module.target, module.plan, module.slots, at)
    for rows, widths in shapes:
        for width in widths:
            module.add(StageTile(*common, rows, width, stores, sums).f)
    if chains:
        module.add(EquationsTile(*common, 1, 1, stores, sums).f)
    f = module.code(f"stage{at}", SPAN)
    r0, r1, *_ = f.given

    def tiles(rows: int, width: int, lines: Range, columns: Range) -> None:
        tile = Reference(f"stage{at}.{rows}x{width}")
        f.call("tiles" if chains else "lines", f.ctx, tile, *lines, rows, *columns, width)

    f.tiled(r0, r1, span(f, axis), shapes, tiles)
    module.add(f)


def stage_tiles(module: Module) -> None:
    """``tiles(ctx, tile, r0, r1, rows, j0, j1, width)``: tiles of one shape of any stage with
    products; ``lines`` are for one without. The hidden tile is the outer loop, so that its panel
    stays in the cache; ``lines`` read no panel, and arrays in their order."""
    ways = {bool(stage.chains) for stage in module.plan.stages if stage.axis != ONE}
    for name in ("tiles", "lines"):
        f = module.code(name, f"tile: function, {SHAPED}")
        tile, r0, r1, rows, j0, j1, width = f.given
        if name == "tiles":
            with f.each(j0, j1, width) as j, f.each(r0, r1, rows) as r:
                f.call(tile, f.ctx, r, j)
        else:
            with f.each(r0, r1, rows) as r, f.each(j0, j1, width) as j:
                f.call(tile, f.ctx, r, j)
        if (name == "tiles") in ways:
            module.add(f)


def _numbers(module: Module, at: int, stores: tuple[str, ...]) -> None:
    """The same for numbers: whole rows, whatever the tiles."""
    for rows in means.ROWS:
        tile = means.NumbersTile(module.target, module.plan, module.slots, at, rows, stores)
        module.add(tile.f)
    f = module.code(f"stage{at}", SPAN)
    first: Argument
    first, end, *_ = f.given
    for rows in means.ROWS:
        last = f.cover(first, end, rows)
        with f.each(first, last, rows) as r:
            f.call(f"stage{at}.{rows}x1", f.ctx, r)
        first = last
    module.add(f)


def span(f: Code, axis: str) -> Range:
    """The tiles of an axis that go with the tiles j0 to j1 of the hidden axis: all with all,
    and neighbours' parts meet."""
    j0, j1 = f.named["j0"], f.named["j1"]
    if axis == "hidden":
        return j0, j1
    own, tiles = f.slot(tiles_slot(axis)), f.slot("tiles")
    first, last = (f.let("div", f.mul(j, own), tiles) for j in (j0, j1))
    return first, last


def copy_states(module: Module, *, final: bool) -> None:
    """``begin``: h0 into the state buffers; ``finish``: the state buffers into the results."""
    t = module.target
    f = module.code("finish" if final else "begin", SPAN, once=True)
    r0, r1, *_ = f.given
    for state, axis in module.plan.cell.shapes.states.items():
        part = "hn" if final else "h0"
        outer, stride = f.pointer(f"{part}.{state}"), f.slot(f"{part}.{state}.row")
        own, ld = f.at(f.pointer(f"state.{state}"), f.slot("cur")), f.slot("ld")
        first, last = span(f, axis)
        with f.each(r0, r1, 1) as r:
            theirs, ours = f.at(outer, f.mul(r, stride)), f.at(own, f.mul(r, ld))
            with f.each(first, last, 1) as j:
                column = f.mul(j, t.machine.vector_bytes)
                mask = f.lanes_below(f.sub(f.slot(size_slot(axis)), f.mul(j, t.lanes)))
                a, b = f.at(theirs, column), f.at(ours, column)
                if final:
                    f.store_masked(f.load(b), a, mask)
                else:
                    f.store(f.load_masked(a, mask), b)
    module.add(f)


def pack(module: Module) -> None:
    """``pack(ctx, j0, j1)``: the panels of these hidden tiles, all groups."""
    ways = {transposed for _, members in groups(module.plan) for _, _, transposed in members}
    for transposed in sorted(ways):
        module.add(pack_function(module.target, transposed=transposed))
    _pack_tiles(module)
    vectors = [w for w in module.plan.cell.weights if vector(module.plan, w)]
    if vectors:
        _pack_part(module)
    f = module.code("pack", "j0, j1", once=True)
    for k, (operand, members) in enumerate(groups(module.plan)):
        depth = f.slot(size_slot(operand_axis(module.plan, operand)))
        for m, (_, weight, transposed) in enumerate(members):
            axis = module.plan.cell.shapes.weights[weight][1 if transposed else 0]
            member = Member(f"panel.{k}", m, len(members), weight.name, axis, transposed)
            _pack_member(module, f, member, depth)
    for weight in vectors:
        _pack_vector(module, f, weight)
    module.add(f)


def _pack_vector(module: Module, f: Code, weight: Weight) -> None:
    axis = module.plan.cell.shapes.weights[weight][0]
    size, columns = f.slot(size_slot(axis)), span(f, axis)
    parts = f.slot(f"w.{weight.name}"), f.slot(f"w.{weight.name}.more")
    f.call("pack.vector", f.pointer(f"vector.{weight.name}"), *parts, size, *columns)


def _pack_part(module: Module) -> None:
    """``pack.vector(packed, first, second, size, j0, j1)``: a learned vector as the sum of its two
    parts, as the first if there is no second, as zeros if there is none: 0 is no part."""
    t = module.target
    f = Function(t, "pack.vector", "packed: pointer, first, second, size, j0, j1", once=True)
    packed, first, second, size, j0, j1 = f.parameters
    has_first, has_second = (f.let("differ", place, 0) for place in (first, second))
    one, two = f.let("address", first), f.let("address", second)
    with f.each(j0, j1, 1) as j:
        column = f.mul(j, t.machine.vector_bytes)
        mask = f.lanes_below(f.sub(size, f.mul(j, t.lanes)))

        def part(place: Value, bit: Value) -> Value:
            return f.load_masked(f.at(place, column), f.let("select", bit, mask, False))

        alone, more = part(one, has_first), part(two, has_second)
        total = f.let("add", alone, more)
        # Not a sum with zeros, which would turn -0 into 0.
        f.store(f.let("select", has_second, total, alone), f.at(packed, column))
    module.add(f)


@dataclass(frozen=True)
class Member:
    """A weight in a panel: the ``at``-th of ``members``, its lanes along ``axis``."""

    panel: str
    at: int
    members: int
    weight: str
    axis: str
    transposed: bool


def _pack_member(module: Module, f: Code, member: Member, depth: Value) -> None:
    t, panel, size = module.target, member.panel, f.slot(size_slot(member.axis))
    source, stride = f.pointer(f"w.{member.weight}"), f.slot(f"w.{member.weight}.row")
    base = f.at(f.pointer(panel), member.at * t.machine.vector_bytes)
    columns = span(f, member.axis)
    turn = Reference("pack.transposed" if member.transposed else "pack.plain")
    weight = source, stride, t.item if member.transposed else stride, size, depth
    to = base, f.slot(f"{panel}.tile"), member.members * t.machine.vector_bytes
    f.call("pack.tiles", turn, *weight, *to, *columns)


def _pack_tiles(module: Module) -> None:
    """``pack.tiles(pack, source, row bytes, unit bytes, size, depth, panel, tile bytes, k bytes,
    j0, j1)``: these hidden tiles of one member."""
    weight = "turn: function, source: pointer, stride, unit, size, depth"
    parameters = f"{weight}, panel: pointer, tile, kbytes, j0, j1"
    f = Function(module.target, "pack.tiles", parameters, once=True)
    turn, source, stride, unit, size, depth, panel, tile, kbytes, j0, j1 = f.parameters
    lanes = f.target.lanes
    with f.each(j0, j1, 1) as j:
        first = f.mul(j, lanes)
        units = f.smaller(f.sub(size, first), lanes)
        begin, to = f.at(source, f.mul(first, unit)), f.at(panel, f.mul(j, tile))
        f.call(turn, begin, stride, units, depth, to, kbytes)
    module.add(f)
