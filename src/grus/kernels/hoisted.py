"""One tile of the products with x, which are computed ahead of the time loop."""

from __future__ import annotations

from grus.kernels.ir import Target
from grus.kernels.loops import Value
from grus.kernels.narrow import Accumulators
from grus.kernels.plan import Plan
from grus.kernels.slots import Slots
from grus.kernels.tile import Tile


class HoistedTile(Tile):
    """A tile of the products with x: rows are steps or batch rows, whichever are more.

    The rows of x follow each other at one stride, or stand where ``%table`` says if ``ragged``.
    """

    def __init__(
        self,
        target: Target,
        plan: Plan,
        slots: Slots,
        rows: int,
        width: int,
        *,
        ragged: bool = False,
    ) -> None:
        table = "table: pointer, " if ragged else ""
        parameters = f"x: pointer, {table}p: pointer, tile"
        name, axis = f"hoisted.{rows}x{width}", plan.hoisted_axis
        super().__init__(target, plan, slots, name, parameters, rows, width, axis)
        accumulators: Accumulators = {}
        for v in range(width):
            for c, chain in enumerate(plan.hoisted):
                for i in range(rows):
                    accumulators[i, v, c] = self.bias(chain, v)
        x, p = self.f.named["x"], self.f.named["p"]
        pointers = [
            self.listed(i) if ragged else self.f.at(x, self.multiple("nx", i)) for i in range(rows)
        ]
        self.products(0, pointers, accumulators)
        for i in range(rows):
            row = self.f.at(p, self.multiple("np", i))
            for v in range(width):
                for c in range(len(plan.hoisted)):
                    self.f.store(accumulators[i, v, c], self.f.at(row, self.place(c, v)))

    def listed(self, row: int) -> Value:
        """The address of a row of x that the table lists."""
        f = self.f
        return f.at(f.named["x"], f.entry(f.named["table"], row))
