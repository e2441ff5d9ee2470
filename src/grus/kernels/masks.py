"""Random masks, drawn where they are read: Philox4x32-10, a counter-based generator.

Four random words are a function of (unit // 4, row, time, stream) and a 64-bit key, the seed; unit
u takes word u % 4. So a mask depends on nothing else: not on tiles, threads, the instruction set
or the number type, not on which other rows or steps a call has. Backward draws the mask of its own
step again instead of keeping it. `grus.reference.masks` is the same in NumPy.

Salmon, Moraes, Dror, Shaw: Parallel random numbers: as easy as 1, 2, 3. SC 2011.
"""

from __future__ import annotations

from grus.equations import Input
from grus.kernels.code import Code
from grus.kernels.drivers import Module, span
from grus.kernels.ir import Function

MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
WEYL = (0x9E3779B9, 0xBB67AE85)
ROUNDS = 10
LOW = 0xFFFFFFFF
ALWAYS = LOW
"""The time of a mask that is drawn once for the whole sequence."""


class Words:
    """Vectors of 64-bit lanes whose lower halves are words; what the upper ones hold is unused."""

    def __init__(self, f: Function) -> None:
        self.f, self.lanes = f, f.target.machine.vector_bytes // 8
        self.vector = f"<{self.lanes} x i64>"

    def splat(self, number: str) -> str:
        """A 64-bit number in all lanes."""
        one = self.f.let(f"insertelement {self.vector} poison, i64 {number}, i64 0")
        zeros = f"<{self.lanes} x i32> zeroinitializer"
        return self.f.let(f"shufflevector {self.vector} {one}, {self.vector} poison, {zeros}")

    def op(self, name: str, a: str, b: str | int) -> str:
        """One instruction; a Python number stands in all lanes."""
        other = f"splat (i64 {b})" if isinstance(b, int) else b
        return self.f.let(f"{name} {self.vector} {a}, {other}")

    def low(self, a: str) -> str:
        """The words without what stands above them."""
        return self.op("and", a, LOW)

    def count(self, first: str) -> str:
        """first, first + 1, ..."""
        lanes = ", ".join(f"i64 {k}" for k in range(self.lanes))
        return self.op("add", self.splat(first), f"<{lanes}>")

    def zip(self, a: str, b: str) -> tuple[str, str]:
        """a0 b0 a1 b1 ..., in two vectors."""
        n, half = self.lanes, self.lanes // 2
        order = [k for lane in range(n) for k in (lane, n + lane)]
        return self._shuffle(a, b, order[: 2 * half]), self._shuffle(a, b, order[2 * half :])

    def _shuffle(self, a: str, b: str, order: list[int]) -> str:
        mask = ", ".join(f"i32 {k}" for k in order)
        kind = f"<{self.lanes} x i32> <{mask}>"
        return self.f.let(f"shufflevector {self.vector} {a}, {self.vector} {b}, {kind}")


def round_keys(f: Function, key: tuple[str, str]) -> list[tuple[str, str]]:
    """The keys of all rounds: a Weyl sequence from the seed's halves."""
    words, found = Words(f), []
    for k in range(ROUNDS):
        now = (f.let(f"add i64 {part}, {k * step}") for part, step in zip(key, WEYL, strict=True))
        first, second = (words.splat(part) for part in now)
        found.append((first, second))
    return found


def philox(
    f: Function, counter: tuple[str, str, str, str], keys: list[tuple[str, str]]
) -> list[str]:
    """The four words of each lane's counter."""
    w = Words(f)
    c0, c1, c2, c3 = counter
    for k0, k1 in keys:
        one = w.op("mul", w.low(c0), MULTIPLIERS[0])
        two = w.op("mul", w.low(c2), MULTIPLIERS[1])
        c0, c1, c2, c3 = (
            w.op("xor", w.op("xor", w.op("lshr", two, 32), c1), k0),
            two,
            w.op("xor", w.op("xor", w.op("lshr", one, 32), c3), k1),
            one,
        )
    return [c0, c1, c2, c3]


def in_units(f: Function, words: list[str]) -> list[str]:
    """The words in the order of the units, as vectors of integers as wide as a number."""
    w, t = Words(f), f.target
    x0, x1, x2, x3 = words
    if t.item == 4:
        pairs = [w.op("or", w.low(a), w.op("shl", b, 32)) for a, b in ((x0, x1), (x2, x3))]
        zipped = w.zip(*pairs)
        return [f.let(f"bitcast {w.vector} {v} to {t.integers}") for v in zipped]
    even, odd = w.zip(w.low(x0), w.low(x2)), w.zip(w.low(x1), w.low(x3))
    return [v for a, b in zip(even, odd, strict=True) for v in w.zip(a, b)]


def threshold(mask: Input) -> int:
    """A word below it keeps: round(keep 2^32)."""
    assert mask.keep is not None
    return round(mask.keep * 2**32)


def values(f: Function, mask: Input, bits: str) -> str:
    """The mask's values from a vector of words."""
    t, limit = f.target, threshold(mask)
    if limit > LOW:
        return t.splat(mask.value)
    kept = f.let(f"icmp ult {t.integers} {bits}, {t.splat_int(limit)}")
    return f.let(
        f"select {t.mask} {kept}, {t.vector} {t.splat(mask.value)}, {t.vector} zeroinitializer"
    )


def draw(module: Module, per: str) -> None:
    """``masks.<per>(ctx, r0, r1, j0, j1)``: the masks of the present step, or of the sequence."""
    f = module.code(f"masks.{per}", "i64 %r0", "i64 %r1", "i64 %j0", "i64 %j1")
    halves = (f.slot("seed.low"), f.slot("seed.high"))
    keys = round_keys(f, halves)
    for mask in module.plan.masks:
        if mask.per == per:
            _draw(module, f, mask, keys)
    module.add(f)


def _draw(module: Module, f: Code, mask: Input, keys: list[tuple[str, str]]) -> None:
    t, w = f.target, Words(f)
    begin, end = span(f, module.plan.axis_of(mask))
    several = 4 * w.lanes // t.lanes
    buffer, ld = f.pointer(f"mask.{mask.name}"), f.slot("ld")
    stream = w.splat(f.slot(f"mask.{mask.name}.stream"))
    rows, firsts, now = f.pointer("mask.rows"), f.pointer("mask.first"), f.slot("mask.now")
    first = f.let(f"sdiv i64 {begin}, {several}")
    last = f.let(f"sdiv i64 {f.add(end, several - 1)}, {several}")

    def row(r: str, _: list[str]) -> list[str]:
        at = f.mul(r, 8)
        number = w.splat(f.let(f"load i64, ptr {f.at(rows, at)}, align 8"))
        time = f.add(f.let(f"load i64, ptr {f.at(firsts, at)}, align 8"), now)
        when = w.splat(time if mask.per == "step" else str(ALWAYS))
        own = f.at(buffer, f.mul(r, ld))

        def block(b: str, _: list[str]) -> list[str]:
            counter = (w.count(f.mul(b, w.lanes)), number, when, stream)
            for k, bits in enumerate(in_units(f, philox(f, counter, keys))):
                value = values(f, mask, bits)
                j = f.add(f.mul(b, several), k)
                inside = f.let(
                    f"and i1 {f.let(f'icmp sge i64 {j}, {begin}')},"
                    f" {f.let(f'icmp slt i64 {j}, {end}')}"
                )
                place = f.at(own, f.mul(j, t.machine.vector_bytes))
                # A neighbour's vectors are the neighbour's: it may be at another step.
                f.when(inside, lambda value=value, place=place: f.store(value, place))  # type: ignore[misc]
            return []

        f.loop(first, last, 1, block)
        return []

    f.loop("%r0", "%r1", 1, row)
