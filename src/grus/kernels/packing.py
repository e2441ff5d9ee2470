"""Packing weights into panels: ``[hidden tile][k][member][lanes]``, what a k-loop reads in order.

A plain product needs the weight's rows across the lanes, so blocks of numbers are turned in
registers. A transposed product finds them already in that order. Weights of bfloat16 are rounded
here (`bfloat16`), and stand two in a lane.
"""

from __future__ import annotations

from grus.kernels import bfloat16
from grus.kernels.ir import Function
from grus.kernels.loops import Value
from grus.kernels.machine import Target

PIECE = 16
"""Bytes within which every instruction set shuffles cheaply; the narrowest vector."""


def pack_function(target: Target, *, transposed: bool) -> Function:
    """``pack(source, row bytes, units, depth, panel, k bytes)``: one tile of one member.

    ``source`` is the first element of the tile. ``units`` (at most the lanes) become lanes,
    ``depth`` numbers of each become k. Plain: units are the weight's rows; transposed: its
    columns. The panel has room for k rounded up to whole vectors.
    """
    name = "pack.transposed" if transposed else "pack.plain"
    parameters = "source: pointer, stride, units, depth, panel: pointer, kbytes"
    f = Function(target, name, parameters, once=False)
    plain = _copy_pairs if target.narrow else _copy
    (plain if transposed else _turn)(f)
    return f


def _copy(f: Function) -> None:
    source, stride, units, depth, panel, kbytes = f.parameters
    mask = f.lanes_below(units)
    with f.each(0, depth, 1) as k:
        value = f.load_masked(f.at(source, f.mul(k, stride)), mask)
        f.store(value, f.at(panel, f.mul(k, kbytes)))


def _copy_pairs(f: Function) -> None:
    source, stride, units, depth, panel, kbytes = f.parameters
    mask = f.lanes_below(units)
    with f.each(0, depth, 2) as k:
        odd = f.add(k, 1)
        there = f.let("select", f.let("less", odd, depth), mask, False)
        pair = [
            f.load_masked(f.at(source, f.mul(at, stride)), inside)
            for at, inside in ((k, mask), (odd, there))
        ]
        place = f.mul(f.let("shr", k, 1), kbytes)
        f.store(bfloat16.pair(f, *pair), f.at(panel, place))


def _turn(f: Function) -> None:
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


def _join(f: Function, pieces: list[Value], lanes: int) -> Value:
    """Short vectors as one, the first in the first lanes."""
    while len(pieces) > 1:
        lanes *= 2
        order = tuple(range(lanes))
        pieces = [_shuffle(f, a, b, order) for a, b in zip(pieces[::2], pieces[1::2], strict=True)]
    return pieces[0]


def transpose(f: Function, rows: list[Value]) -> list[Value]:
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


def _shuffle(f: Function, a: Value, b: Value, order: tuple[int, ...]) -> Value:
    return f.let("shuffle", a, b, detail=order)
