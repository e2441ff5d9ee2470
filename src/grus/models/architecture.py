"""What a language model is apart from its weights. Needs no torch."""

from __future__ import annotations

from dataclasses import dataclass

from grus.equations import Cell
from grus.errors import InputError
from grus.models.fields import check
from grus.models.text import Vocabulary

INPUTS = ("embedding", "onehot")
DTYPES = ("float32", "float64")
MAX_SIZE = 1_000_000  # keeps products of sizes far inside 64 bits, whatever a file says


@dataclass(frozen=True)
class Architecture:
    """What a model is apart from its weights.

    ``input`` "embedding" looks up a learned vector of ``embedding`` numbers; "onehot" gives the
    layers the one-hot vector itself, and ``embedding`` is not used.
    """

    cell: Cell
    vocabulary: Vocabulary
    hidden: int = 256
    layers: int = 1
    input: str = "embedding"
    embedding: int = 64
    dtype: str = "float32"

    def __post_init__(self) -> None:
        for name in ("hidden", "layers", "embedding"):
            size = getattr(self, name)
            check(1 <= size <= MAX_SIZE, f"--{name} must lie in 1..{MAX_SIZE}, got {size}")
        check(self.input in INPUTS, f"--input must be one of {INPUTS}, got {self.input!r}")
        check(self.dtype in DTYPES, f"--dtype must be one of {DTYPES}, got {self.dtype!r}")
        self._check_cell()

    def _check_cell(self) -> None:
        cell = self.cell
        masks = [i.name for i in cell.inputs if i.name != "x"]
        check(not masks, f"cell {cell.name} needs the masks {masks}, which text does not have")
        axes = {axis for f in cell.families for axis in cell.family_axes(f)}
        axes |= set(cell.shapes.states.values())
        odd = sorted(axes - {"input", "hidden"})
        check(not odd, f"cell {cell.name} has an axis {odd}; layers have input and hidden only")
        if ("input", "hidden") in cell.shapes.equal and self.features != self.hidden:
            raise InputError(
                f"cell {cell.name} uses x itself beside the state, so the embedding must be as"
                f" large as the hidden state: {self.features} is not {self.hidden}"
            )

    @property
    def features(self) -> int:
        """The input size of the first layer."""
        return self.embedding if self.input == "embedding" else len(self.vocabulary)
