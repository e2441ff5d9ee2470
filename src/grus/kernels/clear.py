"""Putting states back between steps, where a flag says so: a new episode, or its gradient.

The flag of a step and row is read after the step. The stage that makes a state's next value clears
it, so the barrier that ends the stage guards both.
"""

from __future__ import annotations

from grus.kernels.code import Code
from grus.kernels.drivers import Module, span
from grus.kernels.slots import size_slot

SPAN = ("i64 %r0", "i64 %r1", "i64 %j0", "i64 %j1")


def made(module: Module, at: int) -> list[str]:
    """The states whose next value a stage makes."""
    names = {name for name, _ in module.plan.stages[at].equations}
    return [s for s in module.plan.cell.states if f"{s}_next" in names]


def clear(module: Module, at: int) -> None:
    """``clear<at>(ctx, r0, r1, j0, j1)``: the states that stage ``at`` has made."""
    f = module.code(f"clear{at}", *SPAN)
    flags = f.pointer("clear")

    def row(r: str, _: list[str]) -> list[str]:
        flag = f.let(f"load i8, ptr {f.at(flags, r)}, align 1")
        f.when(f.let(f"icmp ne i8 {flag}, 0"), lambda: _row(module, f, at, r))
        return []

    f.loop("%r0", "%r1", 1, row)
    module.add(f)


def _row(module: Module, f: Code, at: int, r: str) -> None:
    clear = module.slots.variant.clear
    for state in made(module, at):
        axis = module.plan.cell.shapes.states[state]
        own = f.at(f.at(f.pointer(f"state.{state}"), f.slot("nxt")), f.mul(r, f.slot("ld")))
        base = ""
        if clear != "zero":
            base = f.at(f.pointer(f"base.{state}"), f.mul(r, f.slot(f"base.{state}.row")))

        def tile(
            j: str, _: list[str], own: str = own, base: str = base, size: str = size_slot(axis)
        ) -> list[str]:
            t = f.target
            column = f.mul(j, t.machine.vector_bytes)
            mine, value = f.at(own, column), "zeroinitializer"
            if base:
                theirs = f.at(base, column)
                mask = f.lanes_below(f.sub(f.slot(size), f.mul(j, t.lanes)))
                there = f.load_masked(theirs, mask)
                if clear == "copy":
                    value = there
                else:
                    total = f.let(f"fadd {t.vector} {there}, {f.load(mine)}")
                    f.store_masked(total, theirs, mask)
            f.store(value, mine)
            return []

        f.loop(*span(f, axis), 1, tile)
