"""Packing weights into panels: ``[hidden tile][k][member][lanes]``, what a k-loop reads in order.

A plain product needs the weight's rows across the lanes, so blocks of numbers are turned in
registers. A transposed product finds them already in that order. Weights of bfloat16 are rounded
here (`bfloat16`), and stand two in a lane.
"""

from __future__ import annotations

from grus.kernels import bfloat16, blocks
from grus.kernels.argument_block import size_slot
from grus.kernels.builder import Builder, Module
from grus.kernels.loops import Argument, Reference, Value
from grus.kernels.plan import KLoop

PIECE = 16
"""Bytes within which every instruction set shuffles cheaply; the narrowest vector."""


def pack(module: Module) -> None:
    """``pack(ctx, j0, j1)``: the panels of these hidden tiles, all groups."""
    plan = module.plan
    ways = {
        (turned, _apart(loop, turned)) for loop in plan.k_loops for _, _, turned in loop.members
    }
    for transposed in sorted(turned for turned, apart in ways if not apart):
        _pack_tile(module, transposed=transposed)
    if any(not apart for _, apart in ways):
        _pack_tiles(module)
    if any(apart for _, apart in ways):
        blocks.pack(module)
    if plan.vectors:
        _pack_part(module)
    f = module.function("pack", "j0, j1", once=True)
    for k, loop in enumerate(plan.k_loops):
        depth: Argument = f.slot(size_slot(loop.depth))
        if loop.blocks > 1:
            depth = f.let("div", depth, loop.blocks)
        for m, (_, weight, transposed) in enumerate(loop.members):
            axis = plan.cell.shapes.weights[weight][1 if transposed else 0]
            size, vector = f.slot(size_slot(axis)), module.target.machine.vector_bytes
            source, stride = f.pointer(f"w.{weight.name}"), f.slot(f"w.{weight.name}.row")
            panel, columns = f.at(f.pointer(f"panel.{k}"), m * vector), f.span(axis)
            to = panel, f.slot(f"panel.{k}.tile"), len(loop.members) * vector
            if _apart(loop, transposed):
                wide = f.let("div", size, loop.blocks)
                f.call("pack.blocks", source, stride, size, wide, depth, *to, *columns)
                continue
            turn = Reference("pack.transposed" if transposed else "pack.plain")
            unit = module.target.item if transposed else stride
            f.call("pack.tiles", turn, source, stride, unit, size, depth, *to, *columns)
    for weight in plan.vectors:
        axis, name = plan.axis_of(weight), weight.name
        size, columns = f.slot(size_slot(axis)), f.span(axis)
        parts = f.slot(f"w.{name}"), f.slot(f"w.{name}.more")
        f.call("pack.vector", f.pointer(f"vector.{name}"), *parts, size, *columns)


def _apart(loop: KLoop, transposed: bool) -> bool:
    """Whether columns that follow each other in a panel stand in different rows of the weight: a
    block's, whose own columns are the first. Plain products read rows, which follow each other."""
    return transposed and loop.blocks > 1


def _pack_part(module: Module) -> None:
    """``pack.vector(packed, first, second, size, j0, j1)``: a learned vector as the sum of its two
    parts, as the first if there is no second, as zeros if there is none: 0 is no part."""
    t, parameters = module.target, "packed: pointer, first, second, size, j0, j1"
    f = module.plain("pack.vector", parameters, once=True)
    packed, first, second, size, j0, j1 = f.parameters
    has_first, has_second = (f.let("differ", place, 0) for place in (first, second))
    one_part, other_part = f.let("address", first), f.let("address", second)
    with f.each(j0, j1, 1) as j:
        column = f.mul(j, t.machine.vector_bytes)
        mask = f.lanes_below(f.sub(size, f.mul(j, t.lanes)))

        def part(place: Value, bit: Value) -> Value:
            return f.load_masked(f.at(place, column), f.let("select", bit, mask, False))

        alone, more = part(one_part, has_first), part(other_part, has_second)
        total = f.let("add", alone, more)
        # Not a sum with zeros, which would turn -0 into 0.
        f.store(f.let("select", has_second, total, alone), f.at(packed, column))


def _pack_tiles(module: Module) -> None:
    """``pack.tiles(pack, source, row bytes, unit bytes, size, depth, panel, tile bytes, k bytes,
    j0, j1)``: these hidden tiles of one member."""
    weight = "turn: function, source: pointer, stride, unit, size, depth"
    f = module.plain("pack.tiles", f"{weight}, panel: pointer, tile, kbytes, j0, j1", once=True)
    turn, source, stride, unit, size, depth, panel, tile, kbytes, j0, j1 = f.parameters
    lanes = f.target.lanes
    with f.each(j0, j1, 1) as j:
        first = f.mul(j, lanes)
        units = f.smaller(f.sub(size, first), lanes)
        begin, to = f.at(source, f.mul(first, unit)), f.at(panel, f.mul(j, tile))
        f.call(turn, begin, stride, units, depth, to, kbytes)


def _pack_tile(module: Module, *, transposed: bool) -> None:
    """``pack(source, row bytes, units, depth, panel, k bytes)``: one tile of one member.

    ``source`` is the first element of the tile. ``units`` (at most the lanes) become lanes,
    ``depth`` numbers of each become k. Plain: units are the weight's rows; transposed: its
    columns. The panel has room for k rounded up to whole vectors.
    """
    name = "pack.transposed" if transposed else "pack.plain"
    f = module.plain(name, "source: pointer, stride, units, depth, panel: pointer, kbytes")
    plain = _copy_pairs if module.target.narrow else _copy
    (plain if transposed else _turn)(f)


def _copy(f: Builder) -> None:
    source, stride, units, depth, panel, kbytes = f.parameters
    mask = f.lanes_below(units)
    with f.each(0, depth, 1) as k:
        value = f.load_masked(f.at(source, f.mul(k, stride)), mask)
        f.store(value, f.at(panel, f.mul(k, kbytes)))


def _copy_pairs(f: Builder) -> None:
    source, stride, units, depth, panel, kbytes = f.parameters
    mask = f.lanes_below(units)
    with f.each(0, depth, 2) as k:
        odd = f.add(k, 1)
        second = f.let("select", f.let("less", odd, depth), mask, False)
        pair = [
            f.load_masked(f.at(source, f.mul(at, stride)), inside)
            for at, inside in ((k, mask), (odd, second))
        ]
        place = f.mul(f.let("shr", k, 1), kbytes)
        f.store(bfloat16.pair(f, *pair), f.at(panel, place))


def _turn(f: Builder) -> None:
    """Blocks of all lanes x what 16 bytes hold: pieces of rows are put side by side, and each
    square among them is turned."""
    source, stride, units, depth, panel, kbytes = f.parameters
    t, few = f.target, PIECE // f.target.item
    # A unit that is not there is read as the last one: nobody reads what becomes of it.
    last = f.sub(units, 1)
    rows = [f.at(source, f.mul(stride, f.smaller(lane, last))) for lane in range(t.lanes)]
    with f.each(0, depth, few) as k:
        inside, column = f.lanes_below(f.sub(depth, k), few), f.mul(k, t.item)
        pieces = [f.load_masked(f.at(row, column), inside, few) for row in rows]
        turned = transpose(f, [_join(f, pieces[j::few], few) for j in range(few)])
        first = k
        if t.narrow:
            first = f.let("shr", k, 1)
            both = zip(turned[::2], turned[1::2], strict=True)
            turned = [bfloat16.pair(f, even, odd) for even, odd in both]
        for j, vector in enumerate(turned):
            f.store(vector, f.at(panel, f.mul(f.add(first, j), kbytes)))


def _join(f: Builder, pieces: list[Value], lanes: int) -> Value:
    """Short vectors as one, the first in the first lanes."""
    while len(pieces) > 1:
        lanes *= 2
        order = tuple(range(lanes))
        pieces = [_shuffle(f, a, b, order) for a, b in zip(pieces[::2], pieces[1::2], strict=True)]
    return pieces[0]


def transpose(f: Builder, rows: list[Value]) -> list[Value]:
    """Each square block of numbers turned about its diagonal, by swapping ever larger halves: as
    many rows as a block has numbers, blocks side by side."""
    lanes, half = range(f.target.lanes), 1
    while half < len(rows):
        done = list(rows)
        for i in range(len(rows)):
            if i & half:
                continue
            a, b = rows[i], rows[i + half]
            low = tuple(k if not k & half else len(lanes) + k - half for k in lanes)
            high = tuple(k + half if not k & half else len(lanes) + k for k in lanes)
            done[i] = _shuffle(f, a, b, low)
            done[i + half] = _shuffle(f, a, b, high)
        rows = done
        half *= 2
    return rows


def _shuffle(f: Builder, a: Value, b: Value, order: tuple[int, ...]) -> Value:
    return f.let("shuffle", a, b, detail=order)
