"""Rows of different lengths: drivers that visit only what is still under way.

Within a slice the rows stand longest first, so those under way are always the first ones. Where a
row begins in each array is a table's matter, and every row takes its first step at step 0.
"""

from __future__ import annotations

from grus.kernels.drivers import Module, span
from grus.kernels.ir import Code
from grus.kernels.loops import INDEX, Argument, Reference, Value
from grus.kernels.tile import HoistedTile

GROUPS = "x: pointer, p: pointer, r0, t0, count, groups, flag"
"""What `hoist` says to the functions below it."""
EVERY = 2**62
"""More rows than there are."""


def begin(f: Code) -> None:
    """At a slice's start: its first row, all its rows, its own counts of rows under way."""
    f.set("end", f.named["r1"])
    counts = f.mul(f.mul(f.named["s"], f.slot("T")), 8)
    f.set("active", f.add(f.slot("active"), counts))


def shrink(f: Code) -> Argument:
    """At a step's start: results of rows that have ended are written out; the end of the others."""
    count = f.entry(f.pointer("active"), 0)
    now, before = f.add(f.named["r0"], count), f.slot("end")
    f.call("finish", f.ctx, now, before, f.named["j0"], f.named["j1"])
    f.set("end", now)
    f.set("active", f.add(f.slot("active"), 8))
    return now


def hoist(f: Code, t0: Value, count: Value, p: Value) -> None:
    """Compute a chunk of the products with x, into ``p``."""
    rows = f.entry(f.pointer("active"), 0)
    x = f.at(f.pointer("x"), f.mul(t0, f.slot("x.time")))
    by_row = f.let("or", f.let("at_least", rows, 8), f.let("at_least", rows, count))
    groups = f.let("select", by_row, count, rows)
    for name, a, b in (("np", "P.row", "P.time"), ("gp", "P.time", "P.row")):
        f.set(name, f.let("select", by_row, f.slot(a), f.slot(b)))
    flag = f.let("convert", by_row, type=INDEX)
    r0, j0, j1 = (f.named[name] for name in ("r0", "j0", "j1"))
    f.call("hoisted", f.ctx, x, p, r0, t0, count, groups, flag, j0, j1)


def hoisted(module: Module) -> None:
    """``hoisted(ctx, x, p, r0, t0, count, groups, by row, j0, j1)``: a tile's lines are the rows
    of one step, or the steps of one row, whichever are more."""
    shapes = module.target.machine.tiles(len(module.plan.hoisted))
    for rows, widths in shapes:
        for width in widths:
            tile = HoistedTile(module.target, module.plan, module.slots, rows, width, ragged=True)
            module.add(tile.f)
    _groups(module)
    f = module.code("hoisted", f"{GROUPS}, j0, j1", once=True)
    begin, end = span(f, module.plan.hoisted_axis)
    before = EVERY
    for rows, widths in shapes:
        first = begin
        for width in widths:
            stop = f.cover(first, end, width)
            tiles = Reference(f"hoisted.{rows}x{width}"), before, rows, first, stop, width
            f.call("hoisted.groups", f.ctx, *f.given[:-2], *tiles)
            first = stop
        before = rows
    module.add(f)


def _groups(module: Module) -> None:
    """``hoisted.groups(ctx, ..., tile, before, rows, j0, j1, width)``: all lines that tiles of
    ``rows`` rows cover, after the tiles of ``before`` rows; both are powers of two."""
    f = module.code("hoisted.groups", f"{GROUPS}, tile: function, before, rows, j0, j1, width")
    x, p, r0, t0, limit, groups, flag, tile, before, rows, j0, j1, width = f.given
    by_row = f.let("differ", flag, 0)
    table, active = f.pointer("x.rows"), f.pointer("active")
    own, lengths = f.at(table, f.mul(r0, 8)), f.at(f.pointer("lengths"), f.mul(r0, 8))
    steps = f.pointer("steps")
    lines = f.let("select", by_row, own, steps)
    counts = f.let("select", by_row, active, lengths)
    time, gp, np = f.slot("x.time"), f.slot("gp"), f.slot("np")
    done, covered = f.sub(0, before), f.sub(0, rows)
    with f.each(j0, j1, width) as j, f.each(0, groups, 1) as g:
        there = f.entry(counts, g)
        left = f.smaller(f.sub(there, t0), limit)
        n = f.let("select", by_row, there, left)
        n = f.let("select", f.let("less", n, 0), 0, n)
        step = f.mul(g, time)
        row = f.entry(own, f.let("select", by_row, 0, g))
        offset = f.let("select", by_row, step, row)
        begin, into = f.at(x, offset), f.at(p, f.mul(g, gp))
        first, last = (f.let("and", n, whole) for whole in (done, covered))
        with f.each(first, last, rows) as r:
            to, place = f.at(into, f.mul(r, np)), f.at(lines, f.mul(r, 8))
            f.call(tile, f.ctx, begin, place, to, j)
    module.add(f)
