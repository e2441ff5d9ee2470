"""Products with weights of bfloat16, two in a lane: that of an even k in the lower half, the next
one's above it.

A bfloat16 is the upper half of a float32, so that a shift widens it. "weights" multiplies in
float32 what the weights were rounded to; "products" rounds the other factor, too, and adds two
products at a time (VDPBF16PS: the sums are float32, rounded to nearest, denormals are 0).
"""

from __future__ import annotations

from collections.abc import Sequence

from grus.kernels.ir import Function

Accumulators = dict[tuple[int, int, int], str]
"""(row, vector, chain) -> register."""
UPPER = -(1 << 16)
QUIET = 1 << 22
"""The bit that keeps a NaN a NaN when its lower half is cut off."""


def pair(f: Function, one: str, other: str) -> str:
    """Two vectors rounded to bfloat16, to nearest, ties to even, in the halves of their lanes."""
    t = f.target
    low = f.let(f"lshr {t.integers} {_rounded(f, one)}, {t.splat_int(16)}")
    high = f.let(f"and {t.integers} {_rounded(f, other)}, {t.splat_int(UPPER)}")
    both = f.let(f"or {t.integers} {low}, {high}")
    return f.let(f"bitcast {t.integers} {both} to {t.vector}")


def _rounded(f: Function, value: str) -> str:
    """The bits of a vector, their upper halves rounded."""
    t = f.target
    bits = f.let(f"bitcast {t.vector} {value} to {t.integers}")
    odd = f.let(f"lshr {t.integers} {bits}, {t.splat_int(16)}")
    odd = f.let(f"and {t.integers} {odd}, {t.splat_int(1)}")
    total = f.let(f"add {t.integers} {bits}, {t.splat_int(0x7FFF)}")
    total = f.let(f"add {t.integers} {total}, {odd}")
    nan = f.let(f"fcmp uno {t.vector} {value}, {value}")
    kept = f.let(f"or {t.integers} {bits}, {t.splat_int(QUIET)}")
    return f.let(f"select {t.mask} {nan}, {t.integers} {kept}, {t.integers} {total}")


def widened(f: Function, both: str) -> tuple[str, str]:
    """The two vectors of a pair, as float32."""
    t = f.target
    bits = f.let(f"bitcast {t.vector} {both} to {t.integers}")
    low = f.let(f"shl {t.integers} {bits}, {t.splat_int(16)}")
    high = f.let(f"and {t.integers} {bits}, {t.splat_int(UPPER)}")
    one, other = (f.let(f"bitcast {t.integers} {half} to {t.vector}") for half in (low, high))
    return one, other


def products(
    f: Function,
    count: str,
    panels: Sequence[str],
    rows: Sequence[str],
    chains: Sequence[int],
    used: Sequence[tuple[int, int, int]],
    accumulators: Accumulators,
) -> None:
    """One loop over pairs of k, and the last k by itself where there is one: ``panels`` of each
    vector, addresses of ``rows``, the chain of each member; ``used`` are the accumulators."""
    t = f.target
    step = len(chains) * t.machine.vector_bytes
    dots = t.narrow == "products"

    def body(index: str, carried: list[str], *, single: bool = False) -> list[str]:
        del index  # offsets in bytes are carried instead
        koff, poff, *names = carried
        now = dict(zip(used, names, strict=True))
        panel = [
            [f.load(f.at(f.at(base, poff), m * t.machine.vector_bytes)) for m in range(len(chains))]
            for base in panels
        ]
        wide = [] if dots else [[widened(f, both) for both in vector] for vector in panel]
        for i, row in enumerate(rows):
            at = f.at(row, koff)
            factors = _dotted(f, at, single) if dots else _factors(f, at, single)
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

    pairs = f.let(f"and i64 {count}, -2")
    carried = [("i64", "0"), ("i64", "0"), *((t.vector, accumulators[k]) for k in used)]
    found = f.loop(0, pairs, 2, body, carried)

    def last(index: str, names: list[str]) -> list[str]:
        return body(index, names, single=True)

    carried = [("i64", found[0]), ("i64", found[1]), *((t.vector, name) for name in found[2:])]
    found = f.loop(pairs, count, 2, last, carried)
    accumulators.update(zip(used, found[2:], strict=True))


def _factors(f: Function, at: str, single: bool) -> list[str]:
    """One number of a row, or two, each in all lanes."""
    return [f.broadcast(f.at(at, k * f.target.item)) for k in range(1 if single else 2)]


def _dotted(f: Function, at: str, single: bool) -> list[str]:
    """A pair of numbers of a row as bfloat16, in all lanes; the second is 0 where there is none."""
    t = f.target
    one, *other = _factors(f, at, single)
    kinds = f"{t.vector} {other[0] if other else 'zeroinitializer'}, {t.vector} {one}"
    order = ", ".join(f"i32 {t.lanes if k % 2 == 0 else 0}" for k in range(t.lanes))
    mixed = f.let(f"shufflevector {kinds}, <{t.lanes} x i32> <{order}>")
    halves = f"<{2 * t.lanes} x bfloat>"
    name = "llvm.x86.avx512bf16.cvtne2ps2bf16.512"
    return [f.call(halves, name, f"{t.vector} {mixed}", f"{t.vector} {mixed}")]


def _dot(f: Function, total: str, factors: str, weights: str) -> str:
    t = f.target
    halves = f"<{2 * t.lanes} x bfloat>"
    both = f.let(f"bitcast {t.vector} {weights} to {halves}")
    name = "llvm.x86.avx512bf16.dpbf16ps.512"
    return f.call(t.vector, name, f"{t.vector} {total}", f"{halves} {factors}", f"{halves} {both}")
