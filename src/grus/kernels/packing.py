"""Packing weights into panels: ``[hidden tile][k][member][lanes]``, what a k-loop reads in order.

A plain product needs the weight's rows across the lanes, so blocks of numbers are turned in
registers. A transposed product finds them already in that order. Weights of bfloat16 are rounded
here (`narrow`), and stand two in a lane.
"""

from __future__ import annotations

from grus.kernels import narrow
from grus.kernels.ir import Function, Target

PIECE = 16
"""Bytes within which every instruction set shuffles cheaply; the narrowest vector."""


def pack_function(target: Target, *, transposed: bool) -> Function:
    """``pack(source, row bytes, units, depth, panel, k bytes)``: one tile of one member.

    ``source`` is the first element of the tile. ``units`` (at most the lanes) become lanes,
    ``depth`` numbers of each become k. Plain: units are the weight's rows; transposed: its
    columns. The panel has room for k rounded up to whole vectors.
    """
    parameters = ["ptr %source", "i64 %stride", "i64 %units", "i64 %depth"]
    parameters += ["ptr %panel", "i64 %kbytes"]
    name = "pack.transposed" if transposed else "pack.plain"
    f = Function(target, name, parameters)
    plain = _copy_pairs if target.narrow else _copy
    (plain if transposed else _turn)(f)
    return f


def _copy(f: Function) -> None:
    mask = f.lanes_below("%units")

    def body(k: str, _: list[str]) -> list[str]:
        value = f.load_masked(f.at("%source", f.mul(k, "%stride")), mask)
        f.store(value, f.at("%panel", f.mul(k, "%kbytes")))
        return []

    f.loop(0, "%depth", 1, body)


def _copy_pairs(f: Function) -> None:
    mask = f.lanes_below("%units")

    def body(k: str, _: list[str]) -> list[str]:
        one, other = k, f.add(k, 1)
        there = f.let(f"icmp slt i64 {other}, %depth")
        second = f.let(
            f"select i1 {there}, {f.target.mask} {mask}, {f.target.mask} zeroinitializer"
        )
        pair = [
            f.load_masked(f.at("%source", f.mul(at, "%stride")), inside)
            for at, inside in ((one, mask), (other, second))
        ]
        place = f.mul(f.let(f"lshr i64 {k}, 1"), "%kbytes")
        f.store(narrow.pair(f, *pair), f.at("%panel", place))
        return []

    f.loop(0, "%depth", 2, body)


def _turn(f: Function) -> None:
    """Blocks of all lanes x what 16 bytes hold: pieces of rows are put side by side, and each
    square among them is turned."""
    t, few = f.target, PIECE // f.target.item
    # A unit that is not there is read as the last one: nobody reads what becomes of it.
    last = f.sub("%units", 1)
    rows = [f.at("%source", f.mul("%stride", f.smaller(lane, last))) for lane in range(t.lanes)]

    def body(k: str, _: list[str]) -> list[str]:
        inside, column = f.lanes_below(f.sub("%depth", k), few), f.mul(k, t.item)
        pieces = [f.load_masked(f.at(row, column), inside, few) for row in rows]
        beside = [_join(f, pieces[j::few], few) for j in range(few)]
        turned = transpose(f, beside)
        if t.narrow:
            k = f.let(f"lshr i64 {k}, 1")
            both = zip(turned[::2], turned[1::2], strict=True)
            turned = [narrow.pair(f, one, other) for one, other in both]
        for j, vector in enumerate(turned):
            f.store(vector, f.at("%panel", f.mul(f.add(k, j), "%kbytes")))
        return []

    f.loop(0, "%depth", few, body)


def _join(f: Function, pieces: list[str], lanes: int) -> str:
    """Short vectors as one, the first in the first lanes."""
    while len(pieces) > 1:
        kind = f"<{lanes} x {f.target.number}>"
        order = ", ".join(f"i32 {k}" for k in range(2 * lanes))
        pieces = [
            f.let(f"shufflevector {kind} {a}, {kind} {b}, <{2 * lanes} x i32> <{order}>")
            for a, b in zip(pieces[::2], pieces[1::2], strict=True)
        ]
        lanes *= 2
    return pieces[0]


def transpose(f: Function, rows: list[str]) -> list[str]:
    """Each square block of numbers turned about its diagonal, by swapping ever larger halves: as
    many rows as a block has numbers, blocks side by side."""
    lanes, half = range(f.target.lanes), 1
    while half < len(rows):
        done = list(rows)
        for i in range(len(rows)):
            if i & half:
                continue
            a, b = rows[i], rows[i + half]
            low = [k if not k & half else len(lanes) + k - half for k in lanes]
            high = [k + half if not k & half else len(lanes) + k for k in lanes]
            done[i] = _shuffle(f, a, b, low)
            done[i + half] = _shuffle(f, a, b, high)
        rows = done
        half *= 2
    return rows


def _shuffle(f: Function, a: str, b: str, order: list[int]) -> str:
    t = f.target
    mask = ", ".join(f"i32 {k}" for k in order)
    return f.let(f"shufflevector {t.vector} {a}, {t.vector} {b}, <{len(order)} x i32> <{mask}>")
