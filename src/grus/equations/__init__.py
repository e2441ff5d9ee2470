"""What a cell is: the expression language, `Cell`, the table of cells, printing and reading.

In: nothing. Out: cells as frozen values. Imports nothing beyond the standard library.
"""

from grus.equations.axes import sizes
from grus.equations.cell import Cell
from grus.equations.cells import CELLS
from grus.equations.expected import expected
from grus.equations.expr import Apply, CellError, Const, Expr, Input, Name, State, Weight, walk
from grus.equations.hold import held_at, hold_weights
from grus.equations.names import (
    KNOWN_AS,
    KnownAs,
    Named,
    also_known,
    cell,
    explain_name,
    held,
    hold,
    named,
    nearest,
    plain,
    separate,
)
from grus.equations.operators import (
    OPERATORS,
    Linear,
    Operator,
    clip,
    exp,
    hard_sigmoid,
    linear,
    log,
    maximum,
    mean,
    minimum,
    positive,
    relu,
    sigmoid,
    softplus,
    sqrt,
    tanh,
)
from grus.equations.shapes import Shapes
from grus.equations.structure import Structure, structure
from grus.equations.symbols import Family, U, V, W, b, c, d, h, p, sequence, step, x

__all__ = [
    "CELLS",
    "KNOWN_AS",
    "OPERATORS",
    "Apply",
    "Cell",
    "CellError",
    "Const",
    "Expr",
    "Family",
    "Input",
    "KnownAs",
    "Linear",
    "Name",
    "Named",
    "Operator",
    "Shapes",
    "State",
    "Structure",
    "U",
    "V",
    "W",
    "Weight",
    "also_known",
    "b",
    "c",
    "cell",
    "clip",
    "d",
    "exp",
    "expected",
    "explain_name",
    "h",
    "hard_sigmoid",
    "held",
    "held_at",
    "hold",
    "hold_weights",
    "linear",
    "log",
    "maximum",
    "mean",
    "minimum",
    "named",
    "nearest",
    "p",
    "plain",
    "positive",
    "relu",
    "separate",
    "sequence",
    "sigmoid",
    "sizes",
    "softplus",
    "sqrt",
    "step",
    "structure",
    "tanh",
    "walk",
    "x",
]
