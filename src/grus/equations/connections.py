"""What joins the layers of a stack: what each layer reads, and what the stack gives.

y_k is the output of layer k (of both directions, side by side), x_k what it reads; x_0 is the input
of the stack.

| connect | layer k + 1 reads | the stack gives |
| --- | --- | --- |
| "" | y_k | the last y |
| "residual" | y_k + x_k | the last sum |
| "highway" | t * y_k + (1 - t) * x_k, t = sigmoid(T x_k + b_T) | the last mixture |
| "dense" | [x_0, y_0, ..., y_k] | the last y |

- residual: He et al. 2016 (arXiv 1512.03385); between recurrent layers as in Wu et al. 2016 (GNMT,
  arXiv 1609.08144).
- highway: Srivastava, Greff, Schmidhuber 2015 (arXiv 1505.00387), whose b_T begins below zero, so
  that a deep stack first carries its input: -1 here. Zhang et al. 2016 (arXiv 1510.08983) join the
  memory cells of LSTM layers by a gate; here it is the outputs, which layers of every cell have.
- dense: Huang et al. 2017 (arXiv 1608.06993); recurrent layers: Godin et al. 2017
  (arXiv 1707.06130). The output is the last layer's own, so that its size is that of a plain stack.

A sum needs two vectors of one size: where a layer's output is wider or narrower than what it reads,
as in a first layer whose input has another size, "residual" and "highway" leave it plain.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import ClassVar, TypeVar

from grus.equations.cell import Cell
from grus.equations.expr import CellError, Expr, Input, Name, Weight
from grus.equations.operators import sigmoid
from grus.equations.regularised import rewritten
from grus.errors import InputError

CONNECTIONS = ("", "residual", "highway", "dense")
OUTPUT, GATE = "y_layer", "t_highway"
"""The equations of a layer's output before it is joined, and of t."""
_X, _OUTPUT, _GATE = Input("x"), Name(OUTPUT), Name(GATE)
_WEIGHT, _BIAS = Weight("highway", "t"), Weight("highway_bias", "t")

Value = TypeVar("Value")


@dataclass(frozen=True)
class Connection:
    """How ``layers`` layers are joined whose outputs have ``width`` numbers.

    Raises InputError for another ``kind`` than those of `CONNECTIONS`.
    """

    EQUATIONS: ClassVar[dict[str, tuple[tuple[str, Expr], ...]]] = {
        "residual": (("y", _OUTPUT + _X),),
        "highway": (
            (GATE, sigmoid(_WEIGHT @ _X + _BIAS)),
            ("y", _GATE * _OUTPUT + (1 - _GATE) * _X),
        ),
    }
    """What joins a layer's output ``y_layer`` to x, which it reads; y is the sum."""
    HIGHWAY: ClassVar[tuple[str, ...]] = (_WEIGHT.family, _BIAS.family)
    """The families of T and b_T, of one gate t each."""

    OUTPUT: ClassVar[str] = OUTPUT
    """The name of a layer's output y in those equations."""

    kind: str
    inputs: int
    width: int
    layers: int
    reads: tuple[int, ...] = field(init=False)
    """The size of what each layer reads."""
    joins: tuple[bool, ...] = field(init=False)
    """Whether what each layer reads is added to its output, or mixed with it."""

    def __post_init__(self) -> None:
        if self.kind not in CONNECTIONS:
            known = ", ".join(CONNECTIONS[1:])
            raise InputError(f"connect must be one of {known}, or None, got {self.kind!r:.80}")
        reads = [self.inputs]
        for _ in range(self.layers - 1):
            reads.append(self.width + (reads[-1] if self.kind == "dense" else 0))
        adds = self.kind in ("residual", "highway")
        # Computed here: torch's compiler traces no lock of a cached property.
        object.__setattr__(self, "reads", tuple(reads))
        object.__setattr__(self, "joins", tuple(adds and size == self.width for size in reads))

    def above(
        self,
        layer: int,
        read: Value,
        y: Value,
        join: Callable[[int, Value, Value], Value],
        cat: Callable[[Value, Value], Value],
    ) -> Value:
        """What layer ``layer`` + 1 reads, of the last one what the stack gives.

        ``read`` is what the layer read, ``y`` its output; ``join`` of (layer, read, y) adds or
        mixes them, ``cat`` sets them side by side.
        """
        if self.kind == "dense":
            return y if layer == self.layers - 1 else cat(read, y)
        return join(layer, read, y) if self.joins[layer] else y


@lru_cache(maxsize=256)
def joined(cell: Cell, kind: str) -> Cell:
    """The cell whose output is joined to what it reads: what such a layer runs as.

    An output y of the cell is called ``y_layer`` there. Raises CellError for a cell that has an
    equation or weights of the names that are added.
    """
    names = {name for name, _ in cell.equations} | set(cell.families)
    taken = sorted(names & {OUTPUT, GATE, *Connection.HIGHWAY}) + ["y"] * (Name("y") in cell.nodes)
    if taken:
        raise CellError(f"cell {cell.name} uses the name {taken[0]}, which a {kind} stack needs")
    output = _OUTPUT if cell.output == "y" else Name(cell.output)
    kept = [(OUTPUT if name == "y" else name, expr) for name, expr in cell.equations]
    for name, expr in Connection.EQUATIONS[kind]:
        kept.append((name, rewritten(expr, lambda node: output if node == _OUTPUT else None)))
    return Cell(f"{cell.name}_{kind}", tuple(kept), cell.doc)
