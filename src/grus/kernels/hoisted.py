"""One tile of the products with x, which are computed ahead of the time loop."""

from __future__ import annotations

from grus.kernels.ir import Target
from grus.kernels.plan import Plan
from grus.kernels.slots import Slots
from grus.kernels.tile import Accumulators, Tile


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
        parameters = ["ptr %x", *(["ptr %table"] if ragged else []), "ptr %p", "i64 %tile"]
        name, axis = f"hoisted.{rows}x{width}", plan.hoisted_axis
        super().__init__(target, plan, slots, name, parameters, rows, width, axis)
        accumulators: Accumulators = {}
        for v in range(width):
            for c, chain in enumerate(plan.hoisted):
                for i in range(rows):
                    accumulators[i, v, c] = self.bias(chain, v)
        pointers = [
            self.listed(i) if ragged else self.f.at("%x", self.multiple("nx", i))
            for i in range(rows)
        ]
        self.products(0, pointers, accumulators)
        for i in range(rows):
            row = self.f.at("%p", self.multiple("np", i))
            for v in range(width):
                for c in range(len(plan.hoisted)):
                    self.f.store(accumulators[i, v, c], self.f.at(row, self.place(c, v)))

    def listed(self, row: int) -> str:
        """The address of a row of x that the table lists."""
        f = self.f
        return f.at("%x", f.let(f"load i64, ptr {f.at('%table', 8 * row)}, align 8"))
