"""Putting states back between steps, where a flag says so: a new episode, or its gradient.

The flag of a step and row is read after the step. The stage that makes a state's next value clears
it, so the barrier that ends the stage guards both.
"""

from __future__ import annotations

from typing import cast

from grus.kernels.argument_block import size_slot
from grus.kernels.drivers import SPAN, Module, span
from grus.kernels.ir import Code
from grus.kernels.loops import BYTE, Argument, Value


def made(module: Module, at: int) -> list[str]:
    """The states whose next value a stage makes."""
    names = {name for name, _ in module.plan.stages[at].equations}
    return [s for s in module.plan.cell.states if f"{s}_next" in names]


def clear(module: Module, at: int) -> None:
    """``clear<at>(ctx, r0, r1, j0, j1)``: the states that stage ``at`` has made."""
    f = module.code(f"clear{at}", SPAN)
    first, last, *_ = f.given
    flags = f.pointer("clear")
    with f.each(first, last, 1) as r:
        flag = f.let("load", f.at(flags, r), type=BYTE, detail=1)
        with f.when(f.let("differ", flag, 0)):
            for state in made(module, at):
                _state(module, f, state, r)
    module.add(f)


def _state(module: Module, f: Code, state: str, r: Value) -> None:
    clear, axis = module.slots.variant.clear, module.plan.cell.shapes.states[state]
    own = f.at(f.at(f.pointer(f"state.{state}"), f.slot("nxt")), f.mul(r, f.slot("ld")))
    base = None
    if clear != "zero":
        base = f.at(f.pointer(f"base.{state}"), f.mul(r, f.slot(f"base.{state}.row")))
    with f.each(*span(f, axis), 1) as j:
        t, new = f.target, cast("Argument", 0.0)
        column = f.mul(j, t.machine.vector_bytes)
        vector = f.at(own, column)
        if base:
            place = f.at(base, column)
            mask = f.lanes_below(f.sub(f.slot(size_slot(axis)), f.mul(j, t.lanes)))
            there = f.load_masked(place, mask)
            if clear == "copy":
                new = there
            else:
                f.store_masked(f.let("add", there, f.load(vector)), place, mask)
        f.store(new, vector)
