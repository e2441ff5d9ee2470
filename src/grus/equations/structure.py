"""What a cell's equations say of its step: affine in the state or not, units apart or mixed.

Found from the equations, never declared. A cell that is affine unit by unit, h_next = a * h + b
with a and b free of the state, needs no product inside the loop over time: a sequence is a scan.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from math import gcd
from typing import TYPE_CHECKING, Literal

from grus.equations import text
from grus.equations.blocks import without_blocks
from grus.equations.expr import Apply, Expr, Name, State
from grus.equations.operators import OPERATORS, linear

if TYPE_CHECKING:
    from grus.equations.cell import Cell

Jacobian = Literal["diagonal", "block-diagonal", "dense"]


@dataclass(frozen=True, slots=True)
class Dependence:
    """How a value depends on the states as the step finds them."""

    degree: int = 0
    """0: not at all; 1: affine, with coefficients free of the states; 2: otherwise."""
    bends: str = ""
    """The first piece that is not affine."""
    mixes: str = ""
    """The first piece that brings the states of several units together."""
    blocks: int = 0
    """In how many blocks units are brought together: 0 where they stand apart, 1 where all may."""


@dataclass(frozen=True, slots=True)
class Structure:
    """How a cell's next states depend on its states."""

    jacobian: Jacobian
    """"diagonal" where each unit's next states depend on that unit's states alone,
    "block-diagonal" where they depend on those of the unit's block (`blocks`)."""
    affine: bool
    """Whether the next states are affine in the states, with coefficients free of them."""
    mixes: str = ""
    """Why the jacobian is dense: the first piece that mixes units, and its equation."""
    bends: str = ""
    """Why the step is not affine: the first piece that is not, and its equation."""
    blocks: int = 0
    """How many blocks there are, if the jacobian has some."""

    @property
    def scan(self) -> bool:
        """Whether a sequence is a scan: affine, each unit by itself."""
        return self.affine and self.jacobian == "diagonal"

    def __str__(self) -> str:
        apart = "each unit's next state depends on its own states alone"
        count = f", {self.blocks} blocks" * (self.jacobian == "block-diagonal")
        lines = [
            f"jacobian {self.jacobian}{count}: "
            + (f"{self.mixes} mixes units" if self.mixes else apart),
            f"affine in the state: no, {self.bends} is not"
            if self.bends
            else "affine in the state",
        ]
        if self.scan:
            lines.append("a sequence is a scan: no product is left inside the loop over time")
        return "\n".join(lines)


@lru_cache(maxsize=256)
def structure(cell: Cell) -> Structure:
    """The structure of a cell's step.

    The answer is about the form of the equations: (h * h) / h counts as what it is written as.
    """
    values: dict[str, Dependence] = {}
    for name, expr in cell.equations:
        values[name] = _dependence(expr, values, name)
    ends = [values[f"{state}_next"] for state in cell.states]
    mixes = next((end.mixes for end in ends if end.mixes), "")
    bends = next((end.bends for end in ends if end.bends), "")
    blocks = gcd(*(end.blocks for end in ends))
    kind: Jacobian = "dense" if blocks == 1 else "block-diagonal" if blocks else "diagonal"
    return Structure(kind, not bends, mixes, bends, blocks)


def _dependence(expr: Expr, values: dict[str, Dependence], name: str) -> Dependence:
    if isinstance(expr, State):
        return Dependence(1)
    if isinstance(expr, Name):
        return values[expr.name]
    if not isinstance(expr, Apply):
        return Dependence()
    parts = [_dependence(arg, values, name) for arg in expr.args]
    degree = _degree(expr.op, [part.degree for part in parts])
    here = f"{text.show(expr)} in {name}"
    bends = next((part.bends for part in parts if part.bends), here if degree > 1 else "")
    joins = OPERATORS[expr.op].kind in ("linear", "reduction", "gather")
    # Blocks of 8 are parts of blocks of 4: what both bring together are blocks of 4.
    apart = without_blocks(expr.args[1])[1] if linear(expr) else int(joins)
    blocks = gcd(*(part.blocks for part in parts), apart if degree else 0)
    mixes = next((part.mixes for part in parts if part.mixes), here if joins and degree else "")
    return Dependence(degree, bends, mixes, blocks)


def _degree(op: str, degrees: list[int]) -> int:
    if op in ("add", "sub", "neg", "mean") or OPERATORS[op].kind in ("linear", "gather", "blocks"):
        return max(degrees)
    if op == "mul":
        return min(2, sum(degrees))
    if op == "div":
        return 2 if degrees[1] else degrees[0]
    return 2 if any(degrees) else 0
