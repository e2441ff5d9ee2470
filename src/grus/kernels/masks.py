"""Random masks, drawn where they are read: Philox4x32-10, a counter-based generator.

Four random words are a function of (unit // 4, row, time, stream) and a 64-bit key, the seed; unit
u takes word u % 4. So a mask depends on nothing else: not on tiles, threads, the instruction set
or the number type, not on which other rows or steps a call has. Backward draws the mask of its own
step again instead of keeping it. `grus.reference.masks` is the same in NumPy.

Salmon, Moraes, Dror, Shaw: Parallel random numbers: as easy as 1, 2, 3. SC 2011.
"""

from __future__ import annotations

from grus.equations import Input
from grus.kernels.builder import SPAN, Builder, Module, SlotBuilder
from grus.kernels.loops import LANES, Argument, Value, type_of

MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
WEYL = (0x9E3779B9, 0xBB67AE85)
ROUNDS = 10
LOW = 0xFFFFFFFF
ALWAYS = LOW
"""The time of a mask that is drawn once for the whole sequence."""


class Words:
    """Vectors of 64-bit lanes whose lower halves are words; what the upper ones hold is unused."""

    def __init__(self, f: Builder) -> None:
        self.f, self.lanes = f, f.target.machine.vector_bytes // 8
        self.vector = type_of("index", self.lanes)

    def splat(self, number: Argument) -> Value:
        """A 64-bit number in all lanes."""
        return self.f.let("splat", number, type=self.vector)

    def low(self, a: Value) -> Value:
        """The words without what stands above them."""
        return self.f.let("and", a, LOW)

    def count(self, first: Argument) -> Value:
        """first, first + 1, ..."""
        return self.f.let("add", self.splat(first), LANES)

    def zip(self, a: Value, b: Value) -> tuple[Value, Value]:
        """a0 b0 a1 b1 ..., in two vectors."""
        n = self.lanes
        order = tuple(k for lane in range(n) for k in (lane, n + lane))
        first, second = (
            self.f.let("shuffle", a, b, detail=part) for part in (order[:n], order[n:])
        )
        return first, second


Keys = list[tuple[Value, Value]]


def round_keys(f: Builder, key: tuple[Value, Value]) -> Keys:
    """The keys of all rounds: a Weyl sequence from the seed's halves."""
    words, keys = Words(f), []
    for k in range(ROUNDS):
        now = [f.let("add", half, k * step) for half, step in zip(key, WEYL, strict=True)]
        keys.append((words.splat(now[0]), words.splat(now[1])))
    return keys


def philox(f: Builder, counter: tuple[Value, Value, Value, Value], keys: Keys) -> list[Value]:
    """The four words of each lane's counter."""
    w = Words(f)
    c0, c1, c2, c3 = counter

    def mixed(product: Value, word: Value, key: Value) -> Value:
        return f.let("xor", f.let("xor", f.let("shr", product, 32), word), key)

    for k0, k1 in keys:
        first = f.let("mul", w.low(c0), MULTIPLIERS[0])
        second = f.let("mul", w.low(c2), MULTIPLIERS[1])
        c0, c1, c2, c3 = mixed(second, c1, k0), second, mixed(first, c3, k1), first
    return [c0, c1, c2, c3]


def in_units(f: Builder, words: list[Value]) -> list[Value]:
    """The words in the order of the units, as vectors of integers as wide as a number."""
    w, t = Words(f), f.target
    x0, x1, x2, x3 = words
    if t.item == 4:
        pairs = [f.let("or", w.low(a), f.let("shl", b, 32)) for a, b in ((x0, x1), (x2, x3))]
        return [f.let("bits", v, type=t.integers) for v in w.zip(pairs[0], pairs[1])]
    even, odd = w.zip(w.low(x0), w.low(x2)), w.zip(w.low(x1), w.low(x3))
    return [v for a, b in zip(even, odd, strict=True) for v in w.zip(a, b)]


def threshold(mask: Input) -> int:
    """A word below it keeps: round(keep 2^32)."""
    assert mask.keep is not None
    return round(mask.keep * 2**32)


def values(f: Builder, mask: Input, bits: Value) -> Argument:
    """The mask's values from a vector of words."""
    limit = threshold(mask)
    if limit > LOW:
        return float(mask.value)
    kept = f.let("below", bits, limit)
    return f.let("select", kept, float(mask.value), 0.0, type=f.target.vector)


def draw(module: Module, per: str) -> None:
    """``masks.<per>(ctx, r0, r1, j0, j1)``: the masks of the present step, or of the sequence."""
    f = module.function(f"masks.{per}", SPAN)
    keys = round_keys(f, (f.slot("seed.low"), f.slot("seed.high")))
    for mask in module.plan.masks:
        if mask.per == per:
            _draw(module, f, mask, keys)


def _draw(module: Module, f: SlotBuilder, mask: Input, keys: Keys) -> None:
    t, w = f.target, Words(f)
    begin, end = f.span(module.plan.axis_of(mask))
    several = 4 * w.lanes // t.lanes
    buffer, ld = f.pointer(f"mask.{mask.name}"), f.slot("ld")
    stream = w.splat(f.slot(f"mask.{mask.name}.stream"))
    rows, firsts, now = f.pointer("mask.rows"), f.pointer("mask.first"), f.slot("mask.now")
    first = f.let("div", begin, several)
    last = f.let("div", f.add(end, several - 1), several)
    with f.each(f.named["r0"], f.named["r1"], 1) as r:
        number = w.splat(f.entry(rows, r))
        time = f.add(f.entry(firsts, r), now)
        when = w.splat(time if mask.per == "step" else ALWAYS)
        row = f.at(buffer, f.mul(r, ld))
        with f.each(first, last, 1) as b:
            counter = (w.count(f.mul(b, w.lanes)), number, when, stream)
            for k, bits in enumerate(in_units(f, philox(f, counter, keys))):
                value = values(f, mask, bits)
                j = f.add(f.mul(b, several), k)
                inside = f.let("and", f.let("at_least", j, begin), f.let("less", j, end))
                place = f.at(row, f.mul(j, t.machine.vector_bytes))
                # A neighbour's vectors are the neighbour's: it may be at another step.
                with f.when(inside):
                    f.store(value, place)
