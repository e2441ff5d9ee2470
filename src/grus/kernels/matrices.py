"""Long products of matrices: C[i, j] = sum over k of A[i, k] * B[k, j], a tile of C in registers.

Blocks of k and of columns of B are packed, so that tiles read what the second-level cache holds,
in order; A is packed where its numbers lie side by side along i, and read where it stands where
they lie so along k. Sums begin anew in each block of k and are added up: the error grows with a
block's length and the number of blocks, and no bit depends on tiles or threads.
"""

from __future__ import annotations

from dataclasses import dataclass

from grus.kernels.ir import Function, Target

DEPTH = 256
"""Numbers along k in a block."""
PANELS_B, PANELS_A = 32, 8
"""Vectors of columns of B, and of rows of A, in a block."""
WIDTHS = (3, 2, 1)
"""Vectors of columns in a tile."""
FIELDS = ("a", "a.k", "a.i", "b", "b.k", "c", "c.i", "columns", "depth", "adds")
"""What is read of a term (`terms`)."""


@dataclass(frozen=True)
class Blocks:
    """The shape of tiles and blocks for a target."""

    target: Target

    @property
    def rows(self) -> int:
        """Rows of a tile: three vectors of sums for each leave registers for operands."""
        return self.target.machine.registers // 4

    @property
    def panel(self) -> int:
        """Bytes of a packed vector of columns: a line more, so that panels are not cached in the
        same sets."""
        return DEPTH * self.target.machine.vector_bytes + 64

    @property
    def scratch(self) -> int:
        """Bytes that one thread packs into."""
        return (PANELS_A + PANELS_B) * self.panel


def functions(target: Target) -> list[Function]:
    """``matrices(fields of a term, scratch, i0, i1)`` and what it calls."""
    blocks = Blocks(target)
    tiles = [_tile(blocks, width) for width in WIDTHS]
    return [_pack(blocks), _put(blocks), *tiles, _cover(blocks), _matrices(blocks)]


def _pack(blocks: Blocks) -> Function:
    """``pack(source, k bytes, depth, columns, panels)``: rows of numbers as panels of vectors."""
    t = blocks.target
    sizes = ["i64 %stride", "i64 %depth", "i64 %columns"]
    f = Function(t, "pack", ["ptr %source", *sizes, "ptr %panels"])

    rest = f.let(f"srem i64 %columns, {t.lanes}")
    whole, some = f.sub("%columns", rest), f.let(f"icmp sgt i64 {rest}, 0")
    mask = f.lanes_below(rest)
    tail = f.mul(f.let(f"sdiv i64 {whole}, {t.lanes}"), blocks.panel)

    def each(k: str, _: list[str]) -> list[str]:
        row, to = f.at("%source", f.mul(k, "%stride")), f.at("%panels", f.mul(k, _bytes(t)))

        def vector(j: str, carried: list[str]) -> list[str]:
            f.store(f.load(f.at(row, f.mul(j, t.item)), t.item), f.at(to, carried[0]))
            return [f.add(carried[0], blocks.panel)]

        def last() -> None:
            f.store(f.load_masked(f.at(row, f.mul(whole, t.item)), mask), f.at(to, tail))

        f.loop(0, whole, t.lanes, vector, [("i64", "0")])
        f.when(some, last)
        return []

    f.loop(0, "%depth", 1, each)
    return f


def _bytes(target: Target) -> int:
    return target.machine.vector_bytes


def _tile(blocks: Blocks, width: int) -> Function:
    """``tile.W(a, panel bytes, i bytes, k bytes, i, n, b, depth, c, row bytes, columns, adds)``:
    n rows, at most a tile's, from row i of A's block; ``columns`` are those from the tile on."""
    t, rows = blocks.target, blocks.rows
    left = ["ptr %a", "i64 %panel", "i64 %unit", "i64 %ak", "i64 %i", "i64 %n"]
    right = ["ptr %b", "i64 %depth", "ptr %c", "i64 %row", "i64 %columns", "i64 %adds"]
    f = Function(t, f"tile.{width}", [*left, *right])
    sums = f.let(f"alloca [{rows * width} x {t.vector}], align {_bytes(t)}")
    # A row that is not there is read as the last one: nobody reads what becomes of it.
    last = f.sub("%n", 1)
    starts = []
    for i in range(rows):
        row = f.add("%i", f.smaller(i, last))
        panel, inside = f.let(f"sdiv i64 {row}, {t.lanes}"), f.let(f"srem i64 {row}, {t.lanes}")
        starts.append(f.at(f.at("%a", f.mul(panel, "%panel")), f.mul(inside, "%unit")))

    def body(index: str, carried: list[str]) -> list[str]:
        del index  # offsets in bytes are carried instead
        aoff, boff, *totals = carried
        at = f.at("%b", boff)
        vectors = [f.load(f.at(at, v * blocks.panel)) for v in range(width)]
        for i, start in enumerate(starts):
            element = f.broadcast(f.at(start, aoff))
            for v, vector in enumerate(vectors):
                totals[i * width + v] = f.multiply_add(element, vector, totals[i * width + v])
        return [f.add(aoff, "%ak"), f.add(boff, _bytes(t)), *totals]

    zeros = [(t.vector, "zeroinitializer")] * (rows * width)
    _, _, *totals = f.loop(0, "%depth", 1, body, [("i64", "0"), ("i64", "0"), *zeros])
    for k, total in enumerate(totals):
        f.store(total, f.at(sums, k * _bytes(t)))
    given = f"ptr {sums}, i64 {width}, i64 %n, ptr %c, i64 %row, i64 %columns, i64 %adds"
    f.emit(f"call void @put({given})")
    return f


def _put(blocks: Blocks) -> Function:
    """``put(sums, width, n, c, row bytes, columns, adds)``: n rows of a tile's sums into C, or
    added to it."""
    t = blocks.target
    sizes = ["i64 %row", "i64 %columns", "i64 %adds"]
    f = Function(t, "put", ["ptr %sums", "i64 %width", "i64 %n", "ptr %c", *sizes])

    def vector(v: str, _: list[str]) -> list[str]:
        here, own = f.sub("%columns", f.mul(v, t.lanes)), f.at("%sums", f.mul(v, _bytes(t)))
        # What C holds counts where the term adds: a mask of no lane reads zeros.
        before, mask = f.lanes_below(f.mul(here, "%adds")), f.lanes_below(here)
        into = f.at("%c", f.mul(v, t.lanes * t.item))

        def each(i: str, carried: list[str]) -> list[str]:
            sums, place = carried
            held = f.load_masked(f.at(into, place), before)
            total = f.let(f"fadd {t.vector} {held}, {f.load(f.at(own, sums))}")
            f.store_masked(total, f.at(into, place), mask)
            return [f.add(sums, f.mul("%width", _bytes(t))), f.add(place, "%row")]

        f.loop(0, "%n", 1, each, [("i64", "0"), ("i64", "0")])
        return []

    f.loop(0, "%width", 1, vector)
    return f


def _cover(blocks: Blocks) -> Function:
    """``cover(a, panel bytes, i bytes, k bytes, rows, panels, depth, c, row bytes, columns,
    adds)``: a block of A times a block of B."""
    t = blocks.target
    left = ["ptr %a", "i64 %panel", "i64 %unit", "i64 %ak", "i64 %rows"]
    right = ["ptr %panels", "i64 %depth", "ptr %c", "i64 %row", "i64 %columns", "i64 %adds"]
    f = Function(t, "cover", [*left, *right])
    vectors = f.let(f"sdiv i64 {f.add('%columns', t.lanes - 1)}, {t.lanes}")

    def rows(i: str, _: list[str]) -> list[str]:
        n, into = f.smaller(f.sub("%rows", i), blocks.rows), f.at("%c", f.mul(i, "%row"))
        first = "0"
        for width in WIDTHS:
            left = f.sub(vectors, first)
            end = f.add(first, f.mul(f.let(f"sdiv i64 {left}, {width}"), width))

            def tile(j: str, _: list[str], width: int = width) -> list[str]:
                b, c = f.at("%panels", f.mul(j, blocks.panel)), f.at(into, f.mul(j, _bytes(t)))
                columns = f.sub("%columns", f.mul(j, t.lanes))
                one = f"ptr %a, i64 %panel, i64 %unit, i64 %ak, i64 {i}, i64 {n}"
                other = f"ptr {b}, i64 %depth, ptr {c}, i64 %row, i64 {columns}, i64 %adds"
                f.emit(f"call void @tile.{width}({one}, {other})")
                return []

            f.loop(first, end, width, tile)
            first = end
        return []

    f.loop(0, "%rows", blocks.rows, rows)
    return f


def _matrices(blocks: Blocks) -> Function:
    """``matrices(fields of a term, scratch, i0, i1)``: rows i0 to i1 of C."""
    t = blocks.target
    pointers = {"a", "b", "c"}
    names = [f"{'ptr' if n in pointers else 'i64'} %{n}" for n in FIELDS]
    f = Function(t, "matrices", [*names, "ptr %scratch", "i64 %i0", "i64 %i1"])
    packed = f.at("%scratch", PANELS_B * blocks.panel)
    beside = f.let(f"icmp eq i64 %a.i, {t.item}")
    wide, high = PANELS_B * t.lanes, PANELS_A * t.lanes

    def columns(j: str, _: list[str]) -> list[str]:
        count, at = f.smaller(f.sub("%columns", j), wide), f.mul(j, t.item)
        b, c = f.at("%b", at), f.at("%c", at)

        def depth(k: str, _: list[str]) -> list[str]:
            deep, begun = f.smaller(f.sub("%depth", k), DEPTH), f.let(f"icmp sgt i64 {k}, 0")
            adds = f.let(f"select i1 {begun}, i64 1, i64 %adds")
            given = f"i64 %b.k, i64 {deep}, i64 {count}, ptr %scratch"
            f.emit(f"call void @pack(ptr {f.at(b, f.mul(k, '%b.k'))}, {given})")
            start = f.at("%a", f.mul(k, "%a.k"))

            def rows(i: str, _: list[str]) -> list[str]:
                n, own = f.smaller(f.sub("%i1", i), high), f.at(start, f.mul(i, "%a.i"))
                # Packed vectors, or the rows themselves.
                f.when(
                    beside,
                    lambda: f.emit(
                        f"call void @pack(ptr {own}, i64 %a.k, i64 {deep}, i64 {n}, ptr {packed})"
                    ),
                )
                a = f.let(f"select i1 {beside}, ptr {packed}, ptr {own}")
                panel, ak = (
                    f.let(f"select i1 {beside}, i64 {one}, i64 {other}")
                    for one, other in (
                        (blocks.panel, f.mul("%a.i", t.lanes)),
                        (_bytes(t), "%a.k"),
                    )
                )
                into = f.at(c, f.mul(i, "%c.i"))
                left = f"ptr {a}, i64 {panel}, i64 %a.i, i64 {ak}, i64 {n}"
                right = f"ptr %scratch, i64 {deep}, ptr {into}, i64 %c.i, i64 {count}, i64 {adds}"
                f.emit(f"call void @cover({left}, {right})")
                return []

            f.loop("%i0", "%i1", high, rows)
            return []

        f.loop(0, "%depth", DEPTH, depth)
        return []

    f.loop(0, "%columns", wide, columns)
    return f
