"""The letters that a cell is written with: inputs, states, families of weights."""

from __future__ import annotations

from grus.equations.expr import Input, Per, State, Weight
from grus.equations.operators import OPERATORS

RESERVED = frozenset({"x", "y", "dy", "step", "sequence", "number", *OPERATORS})
"""No value, state or family has one of these names."""


class Family:
    """Weights that share a letter: ``W.r``, ``W.z``. Matrix or vector: the equations tell."""

    __slots__ = ("_letter",)
    _letter: str

    def __init__(self, letter: str) -> None:
        if not letter.isidentifier() or letter in RESERVED:
            raise ValueError(f"a weight family needs a plain name of its own, not {letter!r}")
        object.__setattr__(self, "_letter", letter)

    def __getattr__(self, gate: str) -> Weight:
        if gate.startswith("_"):
            raise AttributeError(gate)
        return Weight(self._letter, gate)

    def __repr__(self) -> str:
        return f"Family({self._letter!r})"


class Masks:
    """Inputs beside x: ``step.k`` is a vector at every step, ``number.k`` one number at every step,
    ``sequence.k`` a mask that stays the same."""

    __slots__ = ("_per",)
    _per: Per

    def __init__(self, per: Per) -> None:
        object.__setattr__(self, "_per", per)

    def __getattr__(self, name: str) -> Input:
        if name.startswith("_"):
            raise AttributeError(name)
        return Input(name, self._per)


x = Input("x")
h, c = State("h"), State("c")
W, U, V = Family("W"), Family("U"), Family("V")
b, d, p = Family("b"), Family("d"), Family("p")
step, sequence, number = Masks("step"), Masks("sequence"), Masks("number")
