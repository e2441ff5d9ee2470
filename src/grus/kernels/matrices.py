"""Long products of matrices: C[i, j] = sum over k of A[i, k] * B[k, j], a tile of C in registers.

Blocks of k and of columns of B are packed, so that tiles read what the second-level cache holds,
in order; A is packed where its numbers lie side by side along i, and read where it stands where
they lie so along k. Sums begin anew in each block of k and are added up: the error grows with a
block's length and the number of blocks, and no bit depends on tiles or threads.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from grus.kernels.builder import Builder
from grus.kernels.loops import Argument, Value
from grus.kernels.machine import Target

# These shapes give 185 to 207 GFLOP/s on two Zen 4 cores where torch.mm gives 107 to 181 (3,200
# steps and rows, 128 to 1,024 units); packing with a mask for each vector gave 155 to 185.
DEPTH = 256
"""Numbers along k in a block."""
PANELS_B, PANELS_A = 32, 8
"""Vectors of columns of B, and of rows of A, in a block: B's take half a megabyte of the cache."""
WIDTHS = (3, 2, 1)
"""Vectors of columns in a tile."""
FIELDS = ("a", "a.k", "a.i", "b", "b.k", "c", "c.i", "columns", "depth", "adds")
"""What is read of a term (`terms`)."""
POINTERS = ("a", "b", "c")


@dataclass(frozen=True)
class Blocks:
    """The shape of tiles and blocks for a target."""

    target: Target

    @property
    def rows(self) -> int:
        """Rows of a tile: three vectors of sums for each leave registers for operands."""
        return self.target.machine.registers // 4

    @property
    def vector(self) -> int:
        """Bytes of a vector."""
        return self.target.machine.vector_bytes

    @property
    def panel(self) -> int:
        """Bytes of a packed vector of columns: a line more, so that panels are not cached in the
        same sets."""
        return DEPTH * self.vector + 64

    @property
    def scratch(self) -> int:
        """Bytes that one thread packs into."""
        return (PANELS_A + PANELS_B) * self.panel


def functions(target: Target) -> list[Builder]:
    """``matrices(fields of a term, scratch, i0, i1)`` and what it calls."""
    blocks = Blocks(target)
    tiles = [_tile(blocks, width) for width in WIDTHS]
    return [_pack(blocks), _put(blocks), *tiles, _cover(blocks), _matrices(blocks)]


def _pack(blocks: Blocks) -> Builder:
    """``pack(source, k bytes, depth, columns, panels)``: rows of numbers as panels of vectors."""
    t = blocks.target
    f = Builder(t, "pack", "source: pointer, stride, depth, columns, panels: pointer")
    source, stride, depth, columns, panels = f.parameters
    rest = f.let("rem", columns, t.lanes)
    whole, some = f.sub(columns, rest), f.let("more", rest, 0)
    mask = f.lanes_below(rest)
    tail = f.mul(f.let("div", whole, t.lanes), blocks.panel)
    with f.each(0, depth, 1) as k:
        row, to = f.at(source, f.mul(k, stride)), f.at(panels, f.mul(k, blocks.vector))
        with f.loop(0, whole, t.lanes, [0]) as loop:
            place = loop.carried[0]
            f.store(f.load(f.at(row, f.mul(loop.index, t.item)), t.item), f.at(to, place))
            loop.next(f.add(place, blocks.panel))
        with f.when(some):
            f.store(f.load_masked(f.at(row, f.mul(whole, t.item)), mask), f.at(to, tail))
    return f


def _tile(blocks: Blocks, width: int) -> Builder:
    """``tile.W(a, panel bytes, i bytes, k bytes, i, n, b, depth, c, row bytes, columns, adds)``:
    n rows, at most a tile's, from row i of A's block; ``columns`` are those from the tile on."""
    t, rows = blocks.target, blocks.rows
    left, right = "a: pointer, panel, unit, ak, i, n", "b: pointer, depth, c: pointer, row"
    f = Builder(t, f"tile.{width}", f"{left}, {right}, columns, adds")
    a, panel, unit, ak, first, n, b, depth, c, row, columns, adds = f.parameters
    sums = f.local(rows * width * blocks.vector, blocks.vector)
    # A row that is not there is read as the last one: nobody reads what becomes of it.
    last = f.sub(n, 1)
    starts = []
    for i in range(rows):
        line = f.add(first, f.smaller(i, last))
        at, inside = f.let("div", line, t.lanes), f.let("rem", line, t.lanes)
        starts.append(f.at(f.at(a, f.mul(at, panel)), f.mul(inside, unit)))
    # Offsets in bytes are carried, not the index.
    with f.loop(0, depth, 1, [0, 0, *[0.0] * (rows * width)]) as loop:
        aoff, boff, *totals = loop.carried
        place = f.at(b, boff)
        vectors = [f.load(f.at(place, v * blocks.panel)) for v in range(width)]
        for i, start in enumerate(starts):
            element = f.broadcast(f.at(start, aoff))
            for v, vector in enumerate(vectors):
                k = i * width + v
                totals[k] = f.multiply_add(element, vector, totals[k])
        loop.next(f.add(aoff, ak), f.add(boff, blocks.vector), *totals)
    for k, total in enumerate(loop.carried[2:]):
        f.store(total, f.at(sums, k * blocks.vector))
    f.call("put", sums, width, n, c, row, columns, adds)
    return f


def _put(blocks: Blocks) -> Builder:
    """``put(sums, width, n, c, row bytes, columns, adds)``: n rows of a tile's sums into C, or
    added to it."""
    t = blocks.target
    f = Builder(t, "put", "sums: pointer, width, n, c: pointer, row, columns, adds")
    sums, width, n, c, row, columns, adds = f.parameters
    with f.each(0, width, 1) as v:
        left, part = f.sub(columns, f.mul(v, t.lanes)), f.at(sums, f.mul(v, blocks.vector))
        # What C holds counts where the term adds: a mask of no lane reads zeros.
        before, mask = f.lanes_below(f.mul(left, adds)), f.lanes_below(left)
        into = f.at(c, f.mul(v, t.lanes * t.item))
        with f.loop(0, n, 1, [0, 0]) as loop:
            source, place = loop.carried
            held = f.load_masked(f.at(into, place), before)
            total = f.let("add", held, f.load(f.at(part, source)))
            f.store_masked(total, f.at(into, place), mask)
            loop.next(f.add(source, f.mul(width, blocks.vector)), f.add(place, row))
    return f


def _cover(blocks: Blocks) -> Builder:
    """``cover(a, panel bytes, i bytes, k bytes, rows, panels, depth, c, row bytes, columns,
    adds)``: a block of A times a block of B."""
    t = blocks.target
    left, right = "a: pointer, panel, unit, ak, rows", "panels: pointer, depth, c: pointer, row"
    f = Builder(t, "cover", f"{left}, {right}, columns, adds")
    a, panel, unit, ak, rows, panels, depth, c, row, columns, adds = f.parameters
    vectors = f.let("div", f.add(columns, t.lanes - 1), t.lanes)
    with f.each(0, rows, blocks.rows) as i:
        n, into = f.smaller(f.sub(rows, i), blocks.rows), f.at(c, f.mul(i, row))
        first: Argument = 0
        for width in WIDTHS:
            end = f.cover(first, vectors, width)
            with f.each(first, end, width) as j:
                b, to = f.at(panels, f.mul(j, blocks.panel)), f.at(into, f.mul(j, blocks.vector))
                rest = f.sub(columns, f.mul(j, t.lanes))
                f.call(f"tile.{width}", a, panel, unit, ak, i, n, b, depth, to, row, rest, adds)
            first = end
    return f


def _matrices(blocks: Blocks) -> Builder:
    """``matrices(fields of a term, scratch, i0, i1)``: rows i0 to i1 of C."""
    t = blocks.target
    fields = ", ".join(f"{n}: pointer" if n in POINTERS else n for n in FIELDS)
    f = Builder(t, "matrices", f"{fields}, scratch: pointer, i0, i1")
    a, a_k, a_i, b, b_k, c, c_i, columns, depth, adds, scratch, i0, i1 = f.parameters
    packed = f.at(scratch, PANELS_B * blocks.panel)
    beside = f.let("equal", a_i, t.item)
    wide, high = PANELS_B * t.lanes, PANELS_A * t.lanes
    with f.each(0, columns, wide) as j:
        count, at = f.smaller(f.sub(columns, j), wide), f.mul(j, t.item)
        b_j, c_j = f.at(b, at), f.at(c, at)
        with f.each(0, depth, DEPTH) as k:
            deep, begun = f.smaller(f.sub(depth, k), DEPTH), f.let("more", k, 0)
            more = f.let("select", begun, 1, adds)
            f.call("pack", f.at(b_j, f.mul(k, b_k)), b_k, deep, count, scratch)
            start = f.at(a, f.mul(k, a_k))
            with f.each(i0, i1, high) as i:
                n, lines = f.smaller(f.sub(i1, i), high), f.at(start, f.mul(i, a_i))
                # Packed vectors, or the rows themselves.
                with f.when(beside):
                    f.call("pack", lines, a_k, deep, n, packed)
                block = f.let("select", beside, packed, lines)
                panel = f.let("select", beside, blocks.panel, f.mul(a_i, t.lanes))
                step = f.let("select", beside, blocks.vector, a_k)
                into = f.at(c_j, f.mul(i, c_i))
                f.call("cover", block, panel, a_i, step, n, scratch, deep, into, c_i, count, more)
    return f


def small(f: Builder, term: Mapping[str, Value], first: Argument, end: Argument) -> None:
    """Rows ``first`` to ``end`` of C for a term of few numbers, worked out where they stand: a
    vector of C at a time, with the blocks of k, and so the bits, of a long product."""
    t = f.target
    # What C holds counts where the term adds: a mask of no lane reads zeros.
    held = f.mul(term["adds"], term["columns"])
    with f.each(first, end, 1) as i:
        a, b, c = (f.at(term[name], f.mul(i, term[f"{name}.i"])) for name in POINTERS)
        with f.each(0, term["columns"], t.lanes) as j:
            at, mask = f.mul(j, t.item), f.lanes_below(f.sub(term["columns"], j))
            right, into = f.at(b, at), f.at(c, at)
            before = f.load_masked(into, f.lanes_below(f.sub(held, j)))
            with f.loop(0, term["depth"], DEPTH, [before]) as total:
                stop = f.smaller(f.add(total.index, DEPTH), term["depth"])
                with f.loop(total.index, stop, 1, [0.0]) as part:
                    left = f.broadcast(f.at(a, f.mul(part.index, term["a.k"])))
                    other = f.load_masked(f.at(right, f.mul(part.index, term["b.k"])), mask)
                    part.next(f.multiply_add(left, other, part.carried[0]))
                total.next(f.let("add", total.carried[0], part.carried[0]))
            f.store_masked(total.carried[0], into, mask)
