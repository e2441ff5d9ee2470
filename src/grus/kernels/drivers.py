"""Drivers: functions that cover a range of rows and hidden tiles with tile functions."""

from __future__ import annotations

from dataclasses import dataclass, field

from grus.equations import Weight
from grus.kernels import means
from grus.kernels.code import Code
from grus.kernels.ir import Function, Target
from grus.kernels.packing import pack_function
from grus.kernels.plan import ONE, Plan
from grus.kernels.slots import Slots, groups, operand_axis, size_slot, tiles_slot, vector
from grus.kernels.tile import HoistedTile, StageTile

ELEMENTWISE_TILES = ((1, (2, 1)),)
"""A stage without products has nothing to share between rows."""


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

    def code(self, name: str, *parameters: str, private: bool = True) -> Code:
        """A new function of the context and more parameters."""
        return Code(self.target, name, ["ptr %ctx", *parameters], self.slots, private)


def hoisted(module: Module) -> None:
    """``hoisted(ctx, x, p, n, g, j0, j1)``: n rows along one axis, g along the other.

    The hidden tile is the outer loop, so that its panel stays in the cache.
    """
    shapes = module.target.machine.tiles(len(module.plan.hoisted))
    for rows, widths in shapes:
        for width in widths:
            module.add(HoistedTile(module.target, module.plan, module.slots, rows, width).f)
    names = ["ptr %x", "ptr %p", "i64 %n", "i64 %g", "i64 %j0", "i64 %j1"]
    f = module.code("hoisted", *names)
    begin, end = span(f, module.plan.hoisted_axis)
    gx, gp, nx, np = (f.slot(name) for name in ("gx", "gp", "nx", "np"))
    first = "0"
    for rows, widths in shapes:
        last = f.cover(first, "%n", rows)

        def tiles(j: str, width: int, rows: int = rows, a: str = first, z: str = last) -> None:
            def outer(g: str, _: list[str]) -> list[str]:
                xg, pg = f.at("%x", f.mul(g, gx)), f.at("%p", f.mul(g, gp))

                def inner(r: str, _: list[str]) -> list[str]:
                    xr, pr = f.at(xg, f.mul(r, nx)), f.at(pg, f.mul(r, np))
                    call = f"ptr %ctx, ptr {xr}, ptr {pr}, i64 {j}"
                    f.emit(f"call void @hoisted.{rows}x{width}({call})")
                    return []

                f.loop(a, z, rows, inner)
                return []

            f.loop(0, "%g", 1, outer)

        f.columns(begin, end, widths, tiles)
        first = last
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
    f = module.code(f"stage{at}", "i64 %r0", "i64 %r1", "i64 %j0", "i64 %j1")
    begin, end = span(f, axis)
    first = "%r0"
    for rows, widths in shapes:
        last = f.cover(first, "%r1", rows)

        def tiles(j: str, width: int, rows: int = rows, a: str = first, z: str = last) -> None:
            def body(r: str, _: list[str]) -> list[str]:
                f.emit(f"call void @stage{at}.{rows}x{width}(ptr %ctx, i64 {r}, i64 {j})")
                return []

            f.loop(a, z, rows, body)

        f.columns(begin, end, widths, tiles)
        first = last
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
    f = module.code("finish" if final else "begin", *names)
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
    for transposed in (False, True):
        module.add(pack_function(module.target, transposed=transposed))
    f = module.code("pack", "i64 %j0", "i64 %j1")
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
    """A learned vector as the sum of its two parts, as the first if there is no second, as zeros
    if there is none: an address of 0 is no part."""
    t, axis = module.target, module.plan.cell.shapes.weights[weight][0]
    name, size = weight.name, f.slot(size_slot(axis))
    places = [f.slot(f"w.{name}"), f.slot(f"w.{name}.more")]
    there = [f.let(f"icmp ne i64 {place}, 0") for place in places]
    first, second = (f.let(f"inttoptr i64 {place} to ptr") for place in places)
    packed = f.pointer(f"vector.{name}")

    def body(j: str, _: list[str]) -> list[str]:
        column, inside = f.mul(j, t.machine.vector_bytes), f.sub(size, f.mul(j, t.lanes))
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
        f.store(value, f.at(packed, column))
        return []

    f.loop(*span(f, axis), 1, body)


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
    tile_bytes, kbytes = f.slot(f"{panel}.tile"), member.members * t.machine.vector_bytes

    def body(j: str, _: list[str]) -> list[str]:
        first = f.mul(j, t.lanes)
        left = f.smaller(f.sub(size, first), t.lanes)
        to = f.at(base, f.mul(j, tile_bytes))
        if member.transposed:
            name, start = "pack.transposed", f.mul(first, t.item)
            shape = f"i64 {depth}, i64 {left}"
        else:
            name, start = "pack.plain", f.mul(first, stride)
            shape = f"i64 {left}, i64 {depth}"
        head = f"ptr {f.at(source, start)}, i64 {stride}, {shape}"
        f.emit(f"call void @{name}({head}, ptr {to}, i64 {kbytes})")
        return []

    f.loop(*span(f, member.axis), 1, body)
