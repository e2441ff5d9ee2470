"""Products with block-diagonal weights: a unit sums over its own block of the operand.

A weight has its zeros nowhere, so that its rows are packed as those of any other, to the depth of a
block. A tile goes along k once for each block that it has units of, and the units of the others
keep their sums: nothing of another block reaches them, not even an infinite number, and the bits
are those of a product with the zeros.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from grus.kernels import bfloat16
from grus.kernels.bfloat16 import Accumulators
from grus.kernels.builder import Builder, Module
from grus.kernels.loops import Argument, Value

AlongK = Callable[[Argument, list[Value], Accumulators], None]
"""Adds the products of so many k, with rows at these addresses, to accumulators."""


def products(
    f: Builder,
    width: int,
    blocks: int,
    sizes: tuple[Value, Value],
    rows: Sequence[Value],
    accumulators: Accumulators,
    along_k: AlongK,
) -> None:
    """The products of a tile of ``width`` vectors from %tile on; ``sizes`` are those of the axis of
    its units and of the operand, both in so many ``blocks``."""
    lanes, used = f.target.lanes, sorted(accumulators)
    wide, deep = (f.let("div", size, blocks) for size in sizes)
    *starts, stop = (f.mul(f.add(f.named["tile"], v), lanes) for v in range(width + 1))
    first = f.let("div", starts[0], wide)
    last = f.let("div", f.add(f.smaller(stop, sizes[0]), -1), wide)
    with f.loop(first, f.add(last, 1), 1, [accumulators[k] for k in used]) as block:
        before = dict(zip(used, block.carried, strict=True))
        after: Accumulators = {**before}
        offset, low = f.mul(f.mul(block.index, deep), f.target.item), f.mul(block.index, wide)
        along_k(deep, [f.at(row, offset) for row in rows], after)
        units = [f.lanes_between(f.sub(low, s), f.sub(f.add(low, wide), s)) for s in starts]
        block.next(*(f.let("select", units[k[1]], after[k], before[k]) for k in used))
    accumulators.update(zip(used, block.carried, strict=True))


def pack(module: Module) -> None:
    """``pack.blocks(source, row bytes, size, wide, depth, panel, tile bytes, k bytes, j0, j1)``:
    these tiles of one member of a transposed product; ``depth`` and ``wide`` are a block's rows and
    columns."""
    weight = "source: pointer, stride, size, wide, depth"
    f = module.plain("pack.blocks", f"{weight}, panel: pointer, tile, kbytes, j0, j1", once=True)
    source, stride, size, wide, depth, panel, tile, kbytes, j0, j1 = f.parameters
    lanes, pairs = f.target.lanes, bool(f.target.narrow)
    with f.each(j0, j1, 1) as j:
        start, to = f.mul(j, lanes), f.at(panel, f.mul(j, tile))
        last = f.let("div", f.add(f.smaller(f.add(start, lanes), size), -1), wide)
        with f.each(f.let("div", start, wide), f.add(last, 1), 1) as block:
            low = f.sub(f.mul(block, wide), start)
            mask, rest = (f.lanes_between(low, top) for top in (f.add(low, wide), lanes))
            # The tile's first column, were it one of this block: other lanes are not read.
            place = f.sub(f.mul(f.mul(block, depth), stride), f.mul(low, f.target.item))
            begin = f.at(source, place)
            with f.each(0, depth, 2 if pairs else 1) as k:
                value = f.load_masked(f.at(begin, f.mul(k, stride)), mask)
                if pairs:
                    odd = f.add(k, 1)
                    more = f.let("select", f.let("less", odd, depth), mask, False)
                    other = f.load_masked(f.at(begin, f.mul(odd, stride)), more)
                    value = bfloat16.pair(f, value, other)
                at = f.let("shr", k, 1) if pairs else k
                f.store_masked(value, f.at(to, f.mul(at, kbytes)), rest)
