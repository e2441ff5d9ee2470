"""What the constructors take: checked in torch's words, with what came."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from typing import Any

from grus.equations import Cell
from grus.errors import InputError, KindError

OPTIONS = (
    *("input_size", "hidden_size", "num_layers", "bias", "batch_first", "dropout"),
    *("bidirectional", "proj_size"),
)
"""What torch's layers are configured by, under the names of arguments and of attributes."""


def check_sizes(**sizes: Any) -> None:
    """Each must be an int from 1 up."""
    for name, size in sizes.items():
        if not isinstance(size, int):
            raise KindError(f"{name} should be of type int, got: {type(size).__name__}")
        if size < 1:
            raise InputError(f"{name} must be greater than zero, got {size}")


def check_flags(**flags: Any) -> None:
    """Each must be a bool."""
    for name, flag in flags.items():
        if not isinstance(flag, bool):
            raise KindError(f"{name} should be of type bool, got: {type(flag).__name__}")


def check_dropout(dropout: Any, num_layers: int) -> None:
    """A number in [0, 1]; with one layer there is nothing to drop between, which is said."""
    if not isinstance(dropout, int | float) or isinstance(dropout, bool) or not 0 <= dropout <= 1:
        raise InputError(
            "dropout should be a number in range [0, 1], the probability of an element being"
            f" zeroed, got {dropout!r}"
        )
    if dropout > 0 and num_layers == 1:
        warnings.warn(
            "dropout option adds dropout after all but last recurrent layer, so non-zero dropout"
            f" expects num_layers greater than 1, but got dropout={dropout} and num_layers=1",
            stacklevel=4,
        )


def check_backend(backend: Any) -> None:
    """None, or the name of a path."""
    if backend not in (None, "kernels", "composite"):
        raise InputError(f"backend must be kernels, composite or None, got {backend!r}")


def check_projection(cell: Cell, proj_size: Any, hidden_size: int) -> None:
    """A size in 1..hidden_size-1 for a cell with a projection, 0 for any other."""
    if not isinstance(proj_size, int):
        raise KindError(f"proj_size should be of type int, got: {type(proj_size).__name__}")
    if proj_size < 0:
        raise InputError(
            "proj_size should be a positive integer or zero to disable projections,"
            f" got {proj_size}"
        )
    if proj_size >= hidden_size:
        raise InputError(
            f"proj_size has to be smaller than hidden_size, got {proj_size} and {hidden_size}"
        )
    if (proj_size > 0) != has_projection(cell):
        has = "a" if has_projection(cell) else "no"
        raise InputError(f"cell {cell.name} has {has} projection, got proj_size={proj_size}")


def has_projection(cell: Cell) -> bool:
    """Whether a state or a weight of the cell has the projection's axis."""
    axes = {axis for axes in cell.shapes.weights.values() for axis in axes}
    return "projection" in axes | set(cell.shapes.states.values())


def check_axes(cell: Cell, inputs: Iterable[int], hidden: int) -> None:
    """Refuse masks that a caller would have to give, and where x is used element by element an
    input of another size than the state's; ``inputs`` are those of all layers, the first first."""
    masks = [i.name for i in cell.inputs if i.name != "x" and i.keep is None]
    if masks:
        raise InputError(
            f"cell {cell.name}: layers take no masks but drawn ones ({', '.join(masks)})"
        )
    for k, size in enumerate(inputs):
        if cell.shapes.equal and size != hidden:
            below = "input_size" if k == 0 else f"the size of what layer {k} reads"
            raise InputError(
                f"cell {cell.name} uses x element by element: {below} and hidden_size must be"
                f" equal, got {size} and {hidden}"
            )
