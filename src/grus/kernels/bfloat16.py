"""Products with weights of bfloat16, two in a lane: that of an even k in the lower half, the next
one's above it.

A bfloat16 is the upper half of a float32, so that a shift widens it. "weights" multiplies in
float32 what the weights were rounded to; "products" rounds the other factor, too, and adds two
products at a time (VDPBF16PS: the sums are float32, rounded to nearest, denormals are 0).
"""

from __future__ import annotations

from collections.abc import Sequence

from grus.kernels.builder import Builder
from grus.kernels.loops import Argument, Value, type_of

Accumulators = dict[tuple[int, int, int], Argument]
"""(row, vector, chain) -> register."""
UPPER = -(1 << 16)
QUIET = 1 << 22
"""The bit that keeps a NaN a NaN when its lower half is cut off."""


def pair(f: Builder, even: Value, odd: Value) -> Value:
    """Two vectors rounded to bfloat16, to nearest, ties to even, in the halves of their lanes."""
    low = f.let("shr", _rounded(f, even), 16)
    high = f.let("and", _rounded(f, odd), UPPER)
    return f.let("bits", f.let("or", low, high), type=f.target.vector)


def _rounded(f: Builder, value: Value) -> Value:
    """The bits of a vector, their upper halves rounded."""
    bits = f.let("bits", value, type=f.target.integers)
    odd = f.let("and", f.let("shr", bits, 16), 1)
    total = f.let("add", f.let("add", bits, 0x7FFF), odd)
    nan = f.let("nan", value)
    return f.let("select", nan, f.let("or", bits, QUIET), total)


def widened(f: Builder, both: Value) -> tuple[Value, Value]:
    """The two vectors of a pair, as float32."""
    t = f.target
    bits = f.let("bits", both, type=t.integers)
    halves = f.let("shl", bits, 16), f.let("and", bits, UPPER)
    even, odd = (f.let("bits", half, type=t.vector) for half in halves)
    return even, odd


def products(
    f: Builder,
    count: Argument,
    panels: Sequence[Value],
    rows: Sequence[Value],
    chains: Sequence[int],
    used: Sequence[tuple[int, int, int]],
    accumulators: Accumulators,
) -> None:
    """One loop over pairs of k, and the last k by itself where there is one: ``panels`` of each
    vector, addresses of ``rows``, the chain of each member; ``used`` are the accumulators."""
    t = f.target
    step = len(chains) * t.machine.vector_bytes
    dots = t.narrow == "products"

    def turn(carried: Sequence[Argument], *, single: bool) -> list[Argument]:
        koff, poff, *names = carried
        now = dict(zip(used, names, strict=True))
        panel = [
            [f.load(f.at(place, m * t.machine.vector_bytes)) for m in range(len(chains))]
            for place in [f.at(base, poff) for base in panels]
        ]
        wide = [] if dots else [[widened(f, both) for both in vector] for vector in panel]
        for i, row in enumerate(rows):
            at = f.at(row, koff)
            factors = [_dotted(f, at, single)] if dots else _factors(f, at, single)
            for v, _ in enumerate(panels):
                for m, c in enumerate(chains):
                    total = now[i, v, c]
                    if dots:
                        total = _dot(f, total, factors[0], panel[v][m])
                    else:
                        for factor, weight in zip(factors, wide[v][m], strict=False):
                            total = f.multiply_add(factor, weight, total)
                    now[i, v, c] = total
        return [f.add(koff, 2 * t.item), f.add(poff, step), *(now[key] for key in used)]

    pairs = f.let("and", count, -2)
    with f.loop(0, pairs, 2, [0, 0, *(accumulators[k] for k in used)]) as loop:
        loop.next(*turn(loop.carried, single=False))
    with f.loop(pairs, count, 2, loop.carried) as loop:
        loop.next(*turn(loop.carried, single=True))
    accumulators.update(zip(used, loop.carried[2:], strict=True))


def _factors(f: Builder, at: Value, single: bool) -> list[Value]:
    """One number of a row, or two, each in all lanes."""
    return [f.broadcast(f.at(at, k * f.target.item)) for k in range(1 if single else 2)]


def _dotted(f: Builder, at: Value, single: bool) -> Value:
    """A pair of numbers of a row as bfloat16, in all lanes; the second is 0 where there is none."""
    t = f.target
    even, *odd = _factors(f, at, single)
    order = tuple(t.lanes if k % 2 == 0 else 0 for k in range(t.lanes))
    second = odd[0] if odd else 0.0
    mixed = f.let("shuffle", second, even, detail=order)
    return f.let("round_pairs", mixed, mixed)


def _dot(f: Builder, total: Argument, factors: Value, weights: Value) -> Value:
    pairs = type_of("bfloat16", 2 * f.target.lanes)
    return f.let("dot_pairs", total, factors, f.let("bits", weights, type=pairs))
