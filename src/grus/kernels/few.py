"""Products of few rows, many in one call: what a library's product costs before it begins would be
most of their time.

A `Term` is C[i, j] = sum over k of A[i, k] * B[i, k, j], or adds that to C; strides of 0 make it a
product of matrices, an outer product, a sum over k or a copy, and no k at all makes C zero.
"""

from __future__ import annotations

import array
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from grus.kernels.code import Code
from grus.kernels.compiling import compiling
from grus.kernels.ir import ATTRIBUTES, Target
from grus.kernels.machine import DType
from grus.kernels.slots import Slots

Side = tuple[int, int, int, int]
"""Which buffer, bytes from its beginning, from k to k, from i to i."""
FIELDS = ("a", "a.k", "a.i", "b", "b.k", "b.i", "c", "c.i", "rows", "columns", "depth", "adds")


@dataclass(frozen=True)
class Term:
    """One product. ``a`` and ``b`` are read, ``c`` is (buffer, bytes from its beginning, from i to
    i); ``size`` is the number of i, j and k; ``adds`` to what C holds."""

    a: Side
    b: Side
    c: tuple[int, int, int]
    size: tuple[int, int, int]
    adds: bool = False

    @property
    def operations(self) -> int:
        """Multiply-adds."""
        rows, columns, depth = self.size
        return rows * columns * depth


class Few:
    """Terms to be worked out one after the other, wherever their buffers lie."""

    def __init__(self, dtype: DType, terms: Sequence[Term]) -> None:
        self.run = _compiled(dtype)
        numbers = [len(terms)]
        self.moving: list[tuple[int, int, int]] = []
        for k, term in enumerate(terms):
            (a, a_at, a_k, a_i), (b, b_at, b_k, b_i), (c, c_at, c_i) = term.a, term.b, term.c
            numbers += (0, a_k, a_i, 0, b_k, b_i, 0, c_i, *term.size, int(term.adds))
            at = 1 + k * len(FIELDS)
            self.moving += [(at, a, a_at), (at + 3, b, b_at), (at + 6, c, c_at)]
        self.block = array.array("q", numbers)

    def __call__(self, buffers: Sequence[int]) -> None:
        """Work the terms out; ``buffers`` are addresses, and what lies there lives till the end."""
        block = self.block[:]
        for slot, buffer, offset in self.moving:
            block[slot] = buffers[buffer] + offset
        self.run(block.buffer_info()[0])


class _Slots(Slots):
    """A term's numbers are read where it lies, none by its name."""

    def __init__(self) -> None:
        self.names = ()
        self.index = {}


def text(target: Target) -> str:
    """All terms as LLVM text."""
    f = Code(target, "run", ["ptr %ctx"], _Slots(), private=False)
    before = f.enter_float_mode()

    def each(index: str, _: list[str]) -> list[str]:
        _term(f, f.at("%ctx", f.add(8, f.mul(index, 8 * len(FIELDS)))))
        return []

    f.loop(0, f.let("load i64, ptr %ctx, align 8"), 1, each)
    f.leave_float_mode(before)
    return "\n\n".join([*sorted(f.externals), f.text(), ATTRIBUTES]) + "\n"


def _term(f: Code, term: str) -> None:
    t = f.target
    read = {
        name: f.let(f"load i64, ptr {f.at(term, 8 * k)}, align 8") for k, name in enumerate(FIELDS)
    }
    a, b, c = (f.let(f"inttoptr i64 {read[name]} to ptr") for name in "abc")
    # What C holds counts where the term adds: a mask of no lane reads zeros.
    held = f.mul(read["adds"], read["columns"])

    def row(i: str, _: list[str]) -> list[str]:
        own = [f.at(p, f.mul(i, read[f"{n}.i"])) for p, n in ((a, "a"), (b, "b"), (c, "c"))]

        def vector(j: str, _: list[str]) -> list[str]:
            at, mask = f.mul(j, t.item), f.lanes_below(f.sub(read["columns"], j))
            right, into = f.at(own[1], at), f.at(own[2], at)
            first = f.load_masked(into, f.lanes_below(f.sub(held, j)))

            def step(k: str, carried: list[str]) -> list[str]:
                left = f.broadcast(f.at(own[0], f.mul(k, read["a.k"])))
                other = f.load_masked(f.at(right, f.mul(k, read["b.k"])), mask)
                return [f.multiply_add(left, other, carried[0])]

            total = f.loop(0, read["depth"], 1, step, [(t.vector, first)])
            f.store_masked(total[0], into, mask)
            return []

        f.loop(0, read["columns"], t.lanes, vector)
        return []

    f.loop(0, read["rows"], 1, row)


def _compiled(dtype: DType) -> Any:
    with compiling:
        return _compile(dtype).call


@lru_cache(maxsize=2)
def _compile(dtype: DType) -> Any:
    from grus.kernels.jit import Compiled, host

    return Compiled(text(Target(host(), dtype)), {})
