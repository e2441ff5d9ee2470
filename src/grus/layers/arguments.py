"""What the constructors take: checked in torch's words, with what came."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

from grus.equations import CELLS, Cell
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


def in_blocks(cell: Cell, blocks: Any) -> Cell:
    """The cell as it is for None, else with so many blocks (`Cell.in_blocks`)."""
    return cell if blocks is None else cell.in_blocks(blocks)


def check_backend(backend: Any) -> None:
    """None, or the name of a path."""
    if backend not in (None, "kernels", "composite"):
        raise InputError(f"backend must be kernels, composite or None, got {backend!r}")


def check_projection(cell: Cell, proj_size: Any, hidden_size: int) -> None:
    """A size for a cell with a projection, torch's below hidden_size; 0 for any other."""
    if not isinstance(proj_size, int):
        raise KindError(f"proj_size should be of type int, got: {type(proj_size).__name__}")
    if proj_size < 0:
        raise InputError(
            "proj_size should be a positive integer or zero to disable projections,"
            f" got {proj_size}"
        )
    if proj_size >= hidden_size and cell in CELLS.values():  # as torch has it, for its LSTM
        raise InputError(
            f"proj_size has to be smaller than hidden_size, got {proj_size} and {hidden_size}"
        )
    if (proj_size > 0) != has_projection(cell):
        if not has_projection(cell):
            raise InputError(f"cell {cell.name} has no projection, got proj_size={proj_size}")
        second = [name for name, axis in cell.shapes.values.items() if axis == "projection"]
        raise InputError(
            f"cell {cell.name} has a projection, got proj_size=0, which is the size of"
            f" {', '.join(second)}"
        )


def has_projection(cell: Cell) -> bool:
    """Whether a state or a weight of the cell has the projection's axis."""
    axes = {axis for axes in cell.shapes.weights.values() for axis in axes}
    return "projection" in axes | set(cell.shapes.states.values())


CALLED = (
    *("input", "hx", "lengths", "resets", "reset_to", "self", "out", "x", "state"),
    *("layer", "values", "layers", "directions", "steps", "units", "tokens"),
)
"""What calls of a layer, of its stepper and of `grus.trace` name already."""


def check_further_sizes(cell: Cell, sizes: Mapping[str, Any]) -> dict[str, int]:
    """The size of each axis that a further input has for itself, from ``sizes`` by their names.

    Raises InputError for one that is missing, unknown or no size, for a mask that a caller would
    have to give once for a whole sequence, and for a name that calls have already.
    """
    once = [i.name for i in cell.inputs if i.per == "sequence" and i.keep is None]
    if once:
        raise InputError(f"cell {cell.name}: layers take no mask per sequence ({', '.join(once)})")
    for node in cell.further:
        if node.name in CALLED:
            raise InputError(
                f"cell {cell.name}: calls of a layer have an argument {node.name} already"
            )
    sized = {i.name: axis for i, axis in cell.shapes.inputs.items() if axis == f"step.{i.name}"}
    if set(sized) != set(sizes):
        raise InputError(
            f"cell {cell.name} needs the sizes of {', '.join(sized) or 'no further inputs'}"
            f" (further_sizes), got {', '.join(sizes) or 'none'}"
        )
    check_sizes(**{f"further_sizes of {name}": size for name, size in sizes.items()})
    return {axis: sizes[name] for name, axis in sized.items()}


def check_axes(cell: Cell, inputs: Sequence[int], hidden: int) -> None:
    """Refuse an input of another size than the state's where x meets it element by element, and
    layers that read rows of several sizes where a state or a further input is as long as x;
    ``inputs`` are the sizes of x of all layers, the first first."""
    like_x = [s for s, axis in cell.shapes.states.items() if axis == "input"]
    like_x += [n.name for n in cell.further if cell.shapes.inputs.get(n) == "input"]
    like_x += ["the output"] * (cell.shapes.values[cell.output] == "input")
    other = next((size for size in inputs if size != inputs[0]), None)
    if like_x and other is not None:
        raise InputError(
            f"cell {cell.name}: {', '.join(like_x)} has the size of x in every layer, which is"
            f" {inputs[0]} in the first and {other} above it"
        )
    for k, size in enumerate(inputs):
        if cell.shapes.equal and size != hidden:
            below = "input_size" if k == 0 else f"the size of what layer {k} reads"
            raise InputError(
                f"cell {cell.name} uses x element by element: {below} and hidden_size must be"
                f" equal, got {size} and {hidden}"
            )
