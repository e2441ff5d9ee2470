"""Packing weights into panels: ``[hidden tile][k][member][lanes]``, what a k-loop reads in order.

A plain product needs the weight's rows across the lanes, so blocks of lanes x lanes numbers are
turned in registers. A transposed product finds them already in that order.
"""

from __future__ import annotations

from grus.kernels.ir import Function, Target


def pack_function(target: Target, *, transposed: bool) -> Function:
    """``pack(source, row bytes, rows, columns, panel, k bytes)``: one tile of one member.

    ``source`` is the first element of the tile. Plain: ``rows`` (at most the lanes) become
    lanes, ``columns`` become k. Transposed: ``rows`` become k, ``columns`` become lanes. The
    panel has room for k rounded up to whole vectors.
    """
    parameters = ["ptr %source", "i64 %stride", "i64 %rows", "i64 %columns"]
    parameters += ["ptr %panel", "i64 %kbytes"]
    name = "pack.transposed" if transposed else "pack.plain"
    f = Function(target, name, parameters)
    (_copy if transposed else _turn)(f)
    return f


def _copy(f: Function) -> None:
    mask = f.lanes_below("%columns")

    def body(k: str, _: list[str]) -> list[str]:
        value = f.load_masked(f.at("%source", f.mul(k, "%stride")), mask)
        f.store(value, f.at("%panel", f.mul(k, "%kbytes")))
        return []

    f.loop(0, "%rows", 1, body)


def _turn(f: Function) -> None:
    t = f.target
    present = [f.let(f"icmp slt i64 {lane}, %rows") for lane in range(t.lanes)]

    def body(k: str, _: list[str]) -> list[str]:
        left = f.sub("%columns", k)
        inside = f.lanes_below(left)
        vectors = []
        for lane, bit in enumerate(present):
            # A row that is not there is read as nothing: its mask is empty, its address unused.
            mask = f.let(f"select i1 {bit}, {t.mask} {inside}, {t.mask} zeroinitializer")
            offset = f.add(f.mul("%stride", lane), f.mul(k, t.item))
            vectors.append(f.load_masked(f.at("%source", offset), mask))
        for j, vector in enumerate(transpose(f, vectors)):
            f.store(vector, f.at("%panel", f.mul(f.add(k, j), "%kbytes")))
        return []

    f.loop(0, "%columns", t.lanes, body)


def transpose(f: Function, rows: list[str]) -> list[str]:
    """A square block of numbers turned about its diagonal, by swapping ever larger halves."""
    t, n = f.target, len(rows)
    half = 1
    while half < n:
        done = list(rows)
        for i in range(n):
            if i & half:
                continue
            a, b = rows[i], rows[i + half]
            low = [k if not k & half else n + k - half for k in range(n)]
            high = [k + half if not k & half else n + k for k in range(n)]
            done[i] = _shuffle(f, a, b, low)
            done[i + half] = _shuffle(f, a, b, high)
        rows = done
        half *= 2
    assert len(rows) == t.lanes
    return rows


def _shuffle(f: Function, a: str, b: str, order: list[int]) -> str:
    t = f.target
    mask = ", ".join(f"i32 {k}" for k in order)
    return f.let(f"shufflevector {t.vector} {a}, {t.vector} {b}, <{len(order)} x i32> <{mask}>")
