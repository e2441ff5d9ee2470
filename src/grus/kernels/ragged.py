"""Rows of different lengths: drivers that visit only what is still under way.

Within a slice the rows stand longest first, so those under way are always the first ones. Where a
row begins in each array is a table's matter, and every row takes its first step at step 0.
"""

from __future__ import annotations

from grus.kernels.code import Code
from grus.kernels.drivers import Module, span
from grus.kernels.hoisted import HoistedTile
from grus.kernels.ir import Function

SPAN = (
    ("ptr", "%x"),
    ("ptr", "%p"),
    ("i64", "%r0"),
    ("i64", "%t0"),
    ("i64", "%count"),
    ("i64", "%groups"),
    ("i64", "%flag"),
)
"""What `hoist` says to the functions below it."""
EVERY = 2**62
"""More rows than there are."""


def entry(f: Function, table: str, index: str) -> str:
    """A number of a table of 64-bit numbers."""
    return f.let(f"load i64, ptr {f.at(table, f.mul(index, 8))}, align 8")


def begin(f: Code) -> None:
    """At a slice's start: its first row, all its rows, its own counts of rows under way."""
    f.set("end", "%r1")
    f.set("active", f.add(f.slot("active"), f.mul(f.mul("%s", f.slot("T")), 8)))


def shrink(f: Code) -> str:
    """At a step's start: results of rows that have ended are written out; the end of the others."""
    count = f.let(f"load i64, ptr {f.pointer('active')}, align 8")
    now, before = f.add("%r0", count), f.slot("end")
    f.emit(f"call void @finish(ptr %ctx, i64 {now}, i64 {before}, i64 %j0, i64 %j1)")
    f.set("end", now)
    f.set("active", f.add(f.slot("active"), "8"))
    return now


def hoist(f: Code, t0: str, count: str, p: str) -> None:
    """Compute a chunk of the products with x, into ``p``."""
    rows = f.let(f"load i64, ptr {f.pointer('active')}, align 8")
    x = f.at(f.pointer("x"), f.mul(t0, f.slot("x.time")))
    many = f.let(f"icmp sge i64 {rows}, 8")
    more = f.let(f"icmp sge i64 {rows}, {count}")
    by_row = f.let(f"or i1 {many}, {more}")
    groups = f.let(f"select i1 {by_row}, i64 {count}, i64 {rows}")
    for name, a, b in (("np", "P.row", "P.time"), ("gp", "P.time", "P.row")):
        f.set(name, f.let(f"select i1 {by_row}, i64 {f.slot(a)}, i64 {f.slot(b)}"))
    flag = f.let(f"zext i1 {by_row} to i64")
    where = f"i64 %r0, i64 {t0}, i64 {count}, i64 {groups}, i64 {flag}"
    f.emit(f"call void @hoisted(ptr %ctx, ptr {x}, ptr {p}, {where}, i64 %j0, i64 %j1)")


def hoisted(module: Module) -> None:
    """``hoisted(ctx, x, p, r0, t0, count, groups, by row, j0, j1)``: a tile's lines are the rows
    of one step, or the steps of one row, whichever are more."""
    shapes = module.target.machine.tiles(len(module.plan.hoisted))
    for rows, widths in shapes:
        for width in widths:
            tile = HoistedTile(module.target, module.plan, module.slots, rows, width, ragged=True)
            module.add(tile.f)
    _groups(module)
    f = module.code(
        "hoisted", *(f"{kind} {name}" for kind, name in SPAN), "i64 %j0", "i64 %j1", quick=True
    )
    begin, end = span(f, module.plan.hoisted_axis)
    given, before = ", ".join(f"{kind} {name}" for kind, name in SPAN), EVERY
    for rows, widths in shapes:
        first = begin
        for width in widths:
            stop = f.cover(first, end, width)
            which = f"ptr @hoisted.{rows}x{width}, i64 {before}, i64 {rows}"
            columns = f"i64 {first}, i64 {stop}, i64 {width}"
            f.emit(f"call void @hoisted.groups(ptr %ctx, {given}, {which}, {columns})")
            first = stop
        before = rows
    module.add(f)


def _groups(module: Module) -> None:
    """``hoisted.groups(ctx, ..., tile, before, rows, j0, j1, width)``: all lines that tiles of
    ``rows`` rows cover, after the tiles of ``before`` rows; both are powers of two."""
    names = ["ptr %tile", "i64 %before", "i64 %rows", "i64 %j0", "i64 %j1", "i64 %width"]
    f = module.code("hoisted.groups", *(f"{kind} {name}" for kind, name in SPAN), *names)
    by_row = f.let("icmp ne i64 %flag, 0")
    table, active = f.pointer("x.rows"), f.pointer("active")
    own, lengths = f.at(table, f.mul("%r0", 8)), f.at(f.pointer("lengths"), f.mul("%r0", 8))
    steps = f.pointer("steps")
    lines = f.let(f"select i1 {by_row}, ptr {own}, ptr {steps}")
    counts = f.let(f"select i1 {by_row}, ptr {active}, ptr {lengths}")
    time, gp, np = f.slot("x.time"), f.slot("gp"), f.slot("np")
    done, covered = f.sub("0", "%before"), f.sub("0", "%rows")

    def group(g: str, j: str) -> list[str]:
        there = entry(f, counts, g)
        left = f.smaller(f.sub(there, "%t0"), "%count")
        n = f.let(f"select i1 {by_row}, i64 {there}, i64 {left}")
        n = f.let(f"select i1 {f.let(f'icmp slt i64 {n}, 0')}, i64 0, i64 {n}")
        step = f.mul(g, time)
        row = entry(f, own, f.let(f"select i1 {by_row}, i64 0, i64 {g}"))
        offset = f.let(f"select i1 {by_row}, i64 {step}, i64 {row}")
        x, p = f.at("%x", offset), f.at("%p", f.mul(g, gp))
        first, last = (f.let(f"and i64 {n}, {whole}") for whole in (done, covered))

        def inner(r: str, _: list[str]) -> list[str]:
            to, table = f.at(p, f.mul(r, np)), f.at(lines, f.mul(r, 8))
            f.emit(f"call void %tile(ptr %ctx, ptr {x}, ptr {table}, ptr {to}, i64 {j})")
            return []

        f.loop(first, last, "%rows", inner)
        return []

    def column(j: str, _: list[str]) -> list[str]:
        f.loop(0, "%groups", 1, lambda g, _: group(g, j))
        return []

    f.loop("%j0", "%j1", "%width", column)
    module.add(f)
