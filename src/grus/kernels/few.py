"""A term of few numbers, worked out where its numbers stand: a vector of C at a time.

Sums begin anew in each block of k, as those of `matrices`: the same bits.
"""

from __future__ import annotations

from collections.abc import Mapping

from grus.kernels.ir import Function
from grus.kernels.matrices import DEPTH


def few(f: Function, term: Mapping[str, str], first: str, end: str) -> None:
    """Print rows ``first`` to ``end`` of C, for a term whose fields have these names."""
    t = f.target
    # What C holds counts where the term adds: a mask of no lane reads zeros.
    held = f.mul(term["adds"], term["columns"])

    def row(i: str, _: list[str]) -> list[str]:
        a, b, c = (f.at(term[name], f.mul(i, term[f"{name}.i"])) for name in "abc")

        def vector(j: str, _: list[str]) -> list[str]:
            at, mask = f.mul(j, t.item), f.lanes_below(f.sub(term["columns"], j))
            right, into = f.at(b, at), f.at(c, at)
            before = f.load_masked(into, f.lanes_below(f.sub(held, j)))

            def step(k: str, carried: list[str]) -> list[str]:
                left = f.broadcast(f.at(a, f.mul(k, term["a.k"])))
                other = f.load_masked(f.at(right, f.mul(k, term["b.k"])), mask)
                return [f.multiply_add(left, other, carried[0])]

            def block(k: str, carried: list[str]) -> list[str]:
                end = f.smaller(f.add(k, DEPTH), term["depth"])
                part = f.loop(k, end, 1, step, [(t.vector, "zeroinitializer")])
                return [f.let(f"fadd {t.vector} {carried[0]}, {part[0]}")]

            total = f.loop(0, term["depth"], DEPTH, block, [(t.vector, before)])
            f.store_masked(total[0], into, mask)
            return []

        f.loop(0, term["columns"], t.lanes, vector)
        return []

    f.loop(first, end, 1, row)
