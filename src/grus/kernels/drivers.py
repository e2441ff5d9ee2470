"""Drivers: functions that cover a range of rows and hidden tiles with tile functions."""

from __future__ import annotations

from dataclasses import dataclass, field

from grus.equations import Weight
from grus.kernels import means
from grus.kernels.code import Code
from grus.kernels.hoisted import HoistedTile
from grus.kernels.ir import Function, Target
from grus.kernels.packing import pack_function
from grus.kernels.plan import ONE, Plan
from grus.kernels.slots import Slots, groups, operand_axis, size_slot, tiles_slot, vector
from grus.kernels.tile import EquationsTile, StageTile

ELEMENTWISE_TILES = ((1, (2, 1)),)
"""A stage without products has nothing to share between rows."""
SHAPED = ("i64 %r0", "i64 %r1", "i64 %rows", "i64 %j0", "i64 %j1", "i64 %width")
"""A range of rows and of columns, and the shape of the tiles that cover it."""


@dataclass
class Module:
    """The functions printed so far, and what they call from outside."""

    target: Target
    plan: Plan
    slots: Slots
    functions: list[str] = field(default_factory=list)
    externals: set[str] = field(default_factory=set)

    def add(self, f: Function) -> None:
        """Take over a finished function."""
        self.functions.append(f.text())
        self.externals |= f.externals

    def code(self, name: str, *parameters: str, private: bool = True, quick: bool = False) -> Code:
        """A new function of the context and more parameters; ``quick`` for what runs once."""
        f = Code(self.target, name, ["ptr %ctx", *parameters], self.slots, private)
        f.quick = quick
        return f


def hoisted(module: Module) -> None:
    """``hoisted(ctx, x, p, n, g, j0, j1)``: n rows along one axis, g along the other.

    The hidden tile is the outer loop, so that its panel stays in the cache.
    """
    shapes = module.target.machine.tiles(len(module.plan.hoisted))
    for rows, widths in shapes:
        for width in widths:
            module.add(HoistedTile(module.target, module.plan, module.slots, rows, width).f)
    _hoisted_tiles(module)
    f = module.code(
        "hoisted", "ptr %x", "ptr %p", "i64 %n", "i64 %g", "i64 %j0", "i64 %j1", quick=True
    )
    begin, end = span(f, module.plan.hoisted_axis)

    def tiles(rows: int, width: int, lines: str, columns: str) -> None:
        name = f"@hoisted.{rows}x{width}"
        given = f"ptr %x, ptr %p, i64 %g, {lines}, i64 {rows}, {columns}, i64 {width}"
        f.emit(f"call void @hoisted.tiles(ptr %ctx, ptr {name}, {given})")

    f.tiled("0", "%n", (begin, end), shapes, tiles)
    module.add(f)


def _hoisted_tiles(module: Module) -> None:
    """``hoisted.tiles(ctx, tile, x, p, g, r0, r1, rows, j0, j1, width)``: tiles of one shape."""
    names = ["ptr %function", "ptr %x", "ptr %p", "i64 %g", *SHAPED]
    f = module.code("hoisted.tiles", *names)
    gx, gp, nx, np = (f.slot(name) for name in ("gx", "gp", "nx", "np"))

    def tiles(j: str, _: list[str]) -> list[str]:
        def outer(g: str, _: list[str]) -> list[str]:
            xg, pg = f.at("%x", f.mul(g, gx)), f.at("%p", f.mul(g, gp))

            def inner(r: str, _: list[str]) -> list[str]:
                xr, pr = f.at(xg, f.mul(r, nx)), f.at(pg, f.mul(r, np))
                f.emit(f"call void %function(ptr %ctx, ptr {xr}, ptr {pr}, i64 {j})")
                return []

            f.loop("%r0", "%r1", "%rows", inner)
            return []

        f.loop(0, "%g", 1, outer)
        return []

    f.loop("%j0", "%j1", "%width", tiles)
    module.add(f)


def stage(module: Module, at: int, stores: tuple[str, ...], sums: tuple[str, ...]) -> None:
    """``stage<at>(ctx, r0, r1, j0, j1)``: one stage at the present step."""
    if module.plan.stages[at].axis == ONE:
        _numbers(module, at, stores)
        return
    chains, axis = len(module.plan.stages[at].chains), module.plan.stages[at].axis
    shapes = module.target.machine.tiles(chains) if chains else ELEMENTWISE_TILES
    for rows, widths in shapes:
        for width in widths:
            tile = StageTile(
                module.target, module.plan, module.slots, at, rows, width, stores, sums
            )
            module.add(tile.f)
    if chains:
        shared = (module.target, module.plan, module.slots, at, 1, 1, stores, sums)
        module.add(EquationsTile(*shared).f)
    f = module.code(f"stage{at}", "i64 %r0", "i64 %r1", "i64 %j0", "i64 %j1")

    def tiles(rows: int, width: int, lines: str, columns: str) -> None:
        given = f"{lines}, i64 {rows}, {columns}, i64 {width}"
        driver = "tiles" if chains else "lines"
        f.emit(f"call void @{driver}(ptr %ctx, ptr @stage{at}.{rows}x{width}, {given})")

    f.tiled("%r0", "%r1", span(f, axis), shapes, tiles)
    module.add(f)


def stage_tiles(module: Module) -> None:
    """``tiles(ctx, tile, r0, r1, rows, j0, j1, width)``: tiles of one shape of any stage with
    products; ``lines`` are for one without. The hidden tile is the outer loop, so that its panel
    stays in the cache."""
    f = module.code("tiles", "ptr %function", *SHAPED)

    def tiles(j: str, _: list[str]) -> list[str]:
        def body(r: str, _: list[str]) -> list[str]:
            f.emit(f"call void %function(ptr %ctx, i64 {r}, i64 {j})")
            return []

        f.loop("%r0", "%r1", "%rows", body)
        return []

    f.loop("%j0", "%j1", "%width", tiles)
    module.add(f)
    _lines(module)


def _lines(module: Module) -> None:
    """``lines``: the same row by row, for a stage that reads no panel: arrays in their order."""
    f = module.code("lines", "ptr %function", *SHAPED)

    def line(r: str, _: list[str]) -> list[str]:
        def body(j: str, _: list[str]) -> list[str]:
            f.emit(f"call void %function(ptr %ctx, i64 {r}, i64 {j})")
            return []

        f.loop("%j0", "%j1", "%width", body)
        return []

    f.loop("%r0", "%r1", "%rows", line)
    module.add(f)


def _numbers(module: Module, at: int, stores: tuple[str, ...]) -> None:
    """The same for numbers: whole rows, whatever the tiles."""
    for rows in means.ROWS:
        tile = means.NumbersTile(module.target, module.plan, module.slots, at, rows, stores)
        module.add(tile.f)
    f = module.code(f"stage{at}", "i64 %r0", "i64 %r1", "i64 %j0", "i64 %j1")
    first = "%r0"
    for rows in means.ROWS:
        last = f.cover(first, "%r1", rows)

        def body(r: str, _: list[str], rows: int = rows) -> list[str]:
            f.emit(f"call void @stage{at}.{rows}x1(ptr %ctx, i64 {r})")
            return []

        f.loop(first, last, rows, body)
        first = last
    module.add(f)


def span(f: Code, axis: str) -> tuple[str, str]:
    """The tiles of an axis that go with the tiles %j0 to %j1 of the hidden axis: all with all,
    and neighbours' parts meet."""
    if axis == "hidden":
        return "%j0", "%j1"
    own, tiles = f.slot(tiles_slot(axis)), f.slot("tiles")
    first, last = (f.let(f"sdiv i64 {f.mul(j, own)}, {tiles}") for j in ("%j0", "%j1"))
    return first, last


def copy_states(module: Module, *, final: bool) -> None:
    """``begin``: h0 into the state buffers; ``finish``: the state buffers into the results."""
    t = module.target
    names = ("i64 %r0", "i64 %r1", "i64 %j0", "i64 %j1")
    f = module.code("finish" if final else "begin", *names, quick=True)
    for state in module.plan.cell.states:
        part = "hn" if final else "h0"
        outer, stride = f.pointer(f"{part}.{state}"), f.slot(f"{part}.{state}.row")
        own, ld = f.at(f.pointer(f"state.{state}"), f.slot("cur")), f.slot("ld")
        axis = module.plan.cell.shapes.states[state]
        first, last = span(f, axis)

        def body(
            r: str,
            _: list[str],
            o: str = outer,
            s: str = stride,
            w: str = own,
            q: str = ld,
            size: str = size_slot(axis),
            ends: tuple[str, str] = (first, last),
        ) -> list[str]:
            theirs, ours = f.at(o, f.mul(r, s)), f.at(w, f.mul(r, q))

            def tile(j: str, _: list[str]) -> list[str]:
                column = f.mul(j, t.machine.vector_bytes)
                mask = f.lanes_below(f.sub(f.slot(size), f.mul(j, t.lanes)))
                a, b = f.at(theirs, column), f.at(ours, column)
                if final:
                    f.store_masked(f.load(b), a, mask)
                else:
                    f.store(f.load_masked(a, mask), b)
                return []

            f.loop(*ends, 1, tile)
            return []

        f.loop("%r0", "%r1", 1, body)
    module.add(f)


def pack(module: Module) -> None:
    """``pack(ctx, j0, j1)``: the panels of these hidden tiles, all groups."""
    ways = {transposed for _, members in groups(module.plan) for _, _, transposed in members}
    for transposed in sorted(ways):
        module.add(pack_function(module.target, transposed=transposed))
    _pack_tiles(module)
    _pack_part(module)
    f = module.code("pack", "i64 %j0", "i64 %j1", quick=True)
    for k, (operand, members) in enumerate(groups(module.plan)):
        depth = f.slot(size_slot(operand_axis(module.plan, operand)))
        for m, (_, weight, transposed) in enumerate(members):
            axis = module.plan.cell.shapes.weights[weight][1 if transposed else 0]
            member = Member(f"panel.{k}", m, len(members), weight.name, axis, transposed)
            _pack_member(module, f, member, depth)
    for weight in module.plan.cell.weights:
        if vector(module.plan, weight):
            _pack_vector(module, f, weight)
    module.add(f)


def _pack_vector(module: Module, f: Code, weight: Weight) -> None:
    axis = module.plan.cell.shapes.weights[weight][0]
    size, (first, last) = f.slot(size_slot(axis)), span(f, axis)
    parts = f"i64 {f.slot(f'w.{weight.name}')}, i64 {f.slot(f'w.{weight.name}.more')}"
    to = f"ptr {f.pointer(f'vector.{weight.name}')}"
    f.emit(f"call void @pack.vector({to}, {parts}, i64 {size}, i64 {first}, i64 {last})")


def _pack_part(module: Module) -> None:
    """``pack.vector(packed, first, second, size, j0, j1)``: a learned vector as the sum of its two
    parts, as the first if there is no second, as zeros if there is none: 0 is no part."""
    t = module.target
    names = ["i64 %first", "i64 %second", "i64 %size", "i64 %j0", "i64 %j1"]
    f = Function(t, "pack.vector", ["ptr %packed", *names])
    f.quick = True
    there = [f.let(f"icmp ne i64 {place}, 0") for place in ("%first", "%second")]
    first, second = (f.let(f"inttoptr i64 {place} to ptr") for place in ("%first", "%second"))

    def body(j: str, _: list[str]) -> list[str]:
        column, inside = f.mul(j, t.machine.vector_bytes), f.sub("%size", f.mul(j, t.lanes))
        mask = f.lanes_below(inside)
        one, other = (
            f.load_masked(
                f.at(part, column),
                f.let(f"select i1 {bit}, {t.mask} {mask}, {t.mask} zeroinitializer"),
            )
            for part, bit in ((first, there[0]), (second, there[1]))
        )
        total = f.let(f"fadd {t.vector} {one}, {other}")
        # Not a sum with zeros, which would turn -0 into 0.
        value = f.let(f"select i1 {there[1]}, {t.vector} {total}, {t.vector} {one}")
        f.store(value, f.at("%packed", column))
        return []

    f.loop("%j0", "%j1", 1, body)
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


def _pack_member(module: Module, f: Code, member: Member, depth: str) -> None:
    t, panel, size = module.target, member.panel, f.slot(size_slot(member.axis))
    source, stride = f.pointer(f"w.{member.weight}"), f.slot(f"w.{member.weight}.row")
    base = f.at(f.pointer(panel), member.at * t.machine.vector_bytes)
    first, last = span(f, member.axis)
    name, unit = ("transposed", str(t.item)) if member.transposed else ("plain", stride)
    weight = f"ptr {source}, i64 {stride}, i64 {unit}, i64 {size}, i64 {depth}"
    to = f"ptr {base}, i64 {f.slot(f'{panel}.tile')}, i64 {member.members * t.machine.vector_bytes}"
    where = f"ptr @pack.{name}, {weight}, {to}, i64 {first}, i64 {last}"
    f.emit(f"call void @pack.tiles({where})")


def _pack_tiles(module: Module) -> None:
    """``pack.tiles(pack, source, row bytes, unit bytes, size, depth, panel, tile bytes, k bytes,
    j0, j1)``: these hidden tiles of one member."""
    sizes = ["i64 %stride", "i64 %unit", "i64 %size", "i64 %depth"]
    panel = ["ptr %panel", "i64 %tile", "i64 %kbytes", "i64 %j0", "i64 %j1"]
    f = Function(module.target, "pack.tiles", ["ptr %function", "ptr %source", *sizes, *panel])
    f.quick = True
    lanes = f.target.lanes

    def body(j: str, _: list[str]) -> list[str]:
        first = f.mul(j, lanes)
        units = f.smaller(f.sub("%size", first), lanes)
        source, to = f.at("%source", f.mul(first, "%unit")), f.at("%panel", f.mul(j, "%tile"))
        shape = f"i64 {units}, i64 %depth, ptr {to}, i64 %kbytes"
        f.emit(f"call void %function(ptr {source}, i64 %stride, {shape})")
        return []

    f.loop("%j0", "%j1", 1, body)
    module.add(f)
