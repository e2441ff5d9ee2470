"""Rows of different lengths, and states that are put back between steps: what the programs of
these calls do beside the others.

Within a slice the rows stand longest first, so those under way are always the first ones. Where a
row begins in each array is a table's matter, and every row takes its first step at step 0.

A flag says of each step and row whether its states are put back after it: a new episode begins, or
its gradient ends. The stage that makes a state's next value clears it, so the barrier that ends
the stage guards both.
"""

from __future__ import annotations

from typing import cast

from grus.kernels.builder import SPAN, Module, SlotBuilder
from grus.kernels.loops import BYTE, INDEX, Argument, Reference, Value
from grus.kernels.tile import hoisted_name, hoisted_tiles

GROUPS = "x: pointer, p: pointer, r0, t0, count, groups, flag"
"""What `hoist` says to the functions below it."""
EVERY = 2**62
"""More rows than there are."""


def begin(f: SlotBuilder) -> None:
    """At a slice's start: its first row, all its rows, its own counts of rows under way."""
    f.set("end", f.named["r1"])
    counts = f.mul(f.mul(f.named["s"], f.slot("T")), 8)
    f.set("active", f.add(f.slot("active"), counts))


def shrink(f: SlotBuilder) -> Argument:
    """At a step's start: results of rows that have ended are written out; the end of the others."""
    count = f.entry(f.pointer("active"), 0)
    now, before = f.add(f.named["r0"], count), f.slot("end")
    f.call("finish", f.ctx, now, before, f.named["j0"], f.named["j1"])
    f.set("end", now)
    f.set("active", f.add(f.slot("active"), 8))
    return now


def hoist(f: SlotBuilder, t0: Value, count: Value, p: Value) -> None:
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
    shapes = {axis: hoisted_tiles(module, axis) for axis in module.plan.hoisted_axes}
    _groups(module)
    f = module.function("hoisted", f"{GROUPS}, j0, j1", once=True)
    for axis, tiles in shapes.items():
        begin, end = f.span(axis)
        before = EVERY
        for rows, widths in tiles:
            first = begin
            for width in widths:
                stop = f.cover(first, end, width)
                name = Reference(hoisted_name(axis, rows, width))
                cover = name, before, rows, first, stop, width
                f.call("hoisted.groups", f.ctx, *f.rest[:-2], *cover)
                first = stop
            before = rows


def _groups(module: Module) -> None:
    """``hoisted.groups(ctx, ..., tile, before, rows, j0, j1, width)``: all lines that tiles of
    ``rows`` rows cover, after the tiles of ``before`` rows; both are powers of two."""
    f = module.function("hoisted.groups", f"{GROUPS}, tile: function, before, rows, j0, j1, width")
    x, p, r0, t0, limit, groups, flag, tile, before, rows, j0, j1, width = f.rest
    by_row = f.let("differ", flag, 0)
    table, active = f.pointer("x.rows"), f.pointer("active")
    rows_of_x, lengths = f.at(table, f.mul(r0, 8)), f.at(f.pointer("lengths"), f.mul(r0, 8))
    steps = f.pointer("steps")
    lines = f.let("select", by_row, rows_of_x, steps)
    counts = f.let("select", by_row, active, lengths)
    time, gp, np = f.slot("x.time"), f.slot("gp"), f.slot("np")
    done, covered = f.sub(0, before), f.sub(0, rows)
    with f.each(j0, j1, width) as j, f.each(0, groups, 1) as g:
        under_way = f.entry(counts, g)
        left = f.smaller(f.sub(under_way, t0), limit)
        n = f.let("select", by_row, under_way, left)
        n = f.let("select", f.let("less", n, 0), 0, n)
        step = f.mul(g, time)
        row = f.entry(rows_of_x, f.let("select", by_row, 0, g))
        offset = f.let("select", by_row, step, row)
        begin, into = f.at(x, offset), f.at(p, f.mul(g, gp))
        first, last = (f.let("and", n, whole) for whole in (done, covered))
        with f.each(first, last, rows) as r:
            to, place = f.at(into, f.mul(r, np)), f.at(lines, f.mul(r, 8))
            f.call(tile, f.ctx, begin, place, to, j)


def put_back(module: Module, at: int) -> list[str]:
    """The states that a stage makes, if this program puts states back."""
    names = {name for name, _ in module.plan.stages[at].equations}
    states = [s for s in module.plan.cell.states if f"{s}_next" in names]
    return states if module.variant.clear else []


def clear(module: Module, at: int) -> None:
    """``clear<at>(ctx, r0, r1, j0, j1)``: the states that stage ``at`` has made."""
    states = put_back(module, at)
    if not states:
        return
    f = module.function(f"clear{at}", SPAN)
    flags = f.pointer("clear")
    with f.each(f.named["r0"], f.named["r1"], 1) as r:
        flag = f.let("load", f.at(flags, r), type=BYTE, detail=1)
        with f.when(f.let("differ", flag, 0)):
            for state in states:
                _put_back(module, f, state, r)


def _put_back(module: Module, f: SlotBuilder, state: str, r: Value) -> None:
    way, axis = module.variant.clear, module.plan.cell.shapes.states[state]
    row = f.at(f.at(f.pointer(f"state.{state}"), f.slot("nxt")), f.mul(r, f.slot("ld")))
    base = None
    if way != "zero":
        base = f.at(f.pointer(f"base.{state}"), f.mul(r, f.slot(f"base.{state}.row")))
    with f.each(*f.span(axis), 1) as j:
        new = cast("Argument", 0.0)
        column = f.mul(j, f.target.machine.vector_bytes)
        vector = f.at(row, column)
        if base:
            place, mask = f.at(base, column), f.real_units(axis, j)
            before = f.load_masked(place, mask)
            if way == "copy":
                new = before
            else:
                f.store_masked(f.let("add", before, f.load(vector)), place, mask)
        f.store(new, vector)
