"""Layers whose cell reads other positions than its own: a line, an image, a graph.

Outside, channels stand where torch's convolutions have them, [time, batch, channels, *grid], and
last over a graph, [time, batch, positions, channels], as graph libraries have them (PyTorch
Geometric Temporal and Torch Spatiotemporal, there batch first). Inside they are last, positions
being more rows.

The equations run on the composite. A matrix right of which ``patches`` stands is torch's own
convolution: unfolding first takes 1.1 to 12 times as long (one core, 3 x 3, 8 to 32 channels,
forward and backward, float32 and float64).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from grus.arguments import check_graph
from grus.dialects import TorchRecord
from grus.equations import Cell
from grus.errors import InputError, ShapeError
from grus.kernels import Steps, UnsupportedCellError
from grus.layers import composite
from grus.layers.states import Row, State, as_tuple, final
from grus.layers.surface import not_compiled
from grus.reference import Operations


class Window(NamedTuple):
    """Values [batch, *positions, channels], and the window that is read around each position."""

    values: Tensor
    size: tuple[int, ...]


def product(weight: Tensor, operand: Any) -> Tensor:
    """A matrix times a vector at each position; times a `Window`, a convolution."""
    if not isinstance(operand, Window):
        plain: Tensor = composite.TORCH.table["matmul"](weight, operand)
        return plain
    values, size = operand
    convolve = functional.conv1d if len(size) == 1 else functional.conv2d
    edges = [places // 2 for places in size]
    kernel = weight.reshape(weight.shape[0], -1, *size)
    result: Tensor = convolve(values.movedim(-1, 1), kernel, padding=edges)
    return result.movedim(1, -1)


def neighbours(matrices: Sequence[Tensor], values: Tensor, matrix: float = 0) -> Tensor:
    """A graph's matrix times values [batch, positions, channels]."""
    across = values.transpose(0, 1)
    gathered: Tensor = matrices[int(matrix)] @ across.flatten(1)
    return gathered.view(across.shape).transpose(0, 1)


class Positions(nn.Module):
    """Where a layer's positions are: ``sizes`` of their axes, and a graph's matrices as buffers,
    which move with the layer and are no part of its state_dict."""

    def __init__(self, sizes: tuple[int, ...], matrices: Sequence[Tensor]) -> None:
        super().__init__()
        self.sizes, self.count = sizes, len(matrices)
        self.channels = -1 if matrices else -1 - len(sizes)  # their axis outside
        for k, matrix in enumerate(matrices):
            self.register_buffer(f"graph_{k}", matrix, persistent=False)

    @staticmethod
    def of(
        cell: Cell, grid: Any, graph: Any, device: Any, dtype: torch.dtype | None
    ) -> Positions | None:
        """The positions of a layer of ``cell``; None where the cell reads none but its own.

        ``grid`` are the sizes of the axes of positions, ``graph`` is a matrix [positions,
        positions] or a list of them: tensors, dense or sparse, arrays, or matrices as SciPy has
        them. Raises InputError for the one that is missing, that the cell does not read, or that
        does not fit.
        """
        several = graph if isinstance(graph, (list, tuple)) else [] if graph is None else [graph]
        matrices = [_matrix(k, matrix, device, dtype) for k, matrix in enumerate(several)]
        sizes = tuple(matrices[0].shape[:1]) if matrices else ()
        check_graph(cell.name, [m.shape for m in matrices], cell.matrices, sizes)
        if not cell.matrices:
            sizes = _grid(cell, grid)
        elif grid is not None:
            raise InputError(f"cell {cell.name} reads a graph, not a grid: got grid={grid!r}")
        return Positions(sizes, matrices) if sizes else None

    def check_options(self, cell: Cell, backend: str | None, recompute: bool) -> None:
        """Raise UnsupportedCellError for what the kernels alone can do."""
        if backend == "kernels" or recompute:
            option = 'backend="kernels"' if backend == "kernels" else "recompute=True"
            raise UnsupportedCellError(
                f"cell {cell.name} reads other positions ({cell.gathers[0]}) and runs on torch's"
                f" operations, which have no {option}"
            )

    @property
    def matrices(self) -> list[Tensor]:
        """The graph's."""
        return [self.get_buffer(f"graph_{k}") for k in range(self.count)]

    @property
    def options(self) -> dict[str, Any]:
        """What makes a layer like this one."""
        return {"graph": self.matrices} if self.count else {"grid": self.sizes}

    def extra_repr(self) -> str:
        """The grid, or how many matrices of which size."""
        size = " x ".join(map(str, self.sizes * (2 if self.count else 1)))
        return f"graph={self.count} of {size}" if self.count else f"grid={self.sizes}"

    def inside(self, tensor: Tensor) -> Tensor:
        """Channels last."""
        return tensor.movedim(self.channels, -1)

    def outside(self, tensor: Tensor) -> Tensor:
        """Channels where the caller has them."""
        return tensor.movedim(-1, self.channels)

    def shape(self, *lead: int, channels: int) -> tuple[int, ...]:
        """The caller's shape of so many channels at all positions."""
        return (*lead, *self.sizes, channels) if self.count else (*lead, channels, *self.sizes)

    def time_first(self, x: Tensor, inputs: int, batch_first: bool) -> Tensor:
        """[time, batch, *positions, input] of the caller's input. Raises ShapeError."""
        lead = x.dim() - 1 - len(self.sizes)
        if lead not in (1, 2) or tuple(x.shape[lead:]) != self.shape(channels=inputs):
            axes = "batch, time" if batch_first else "time, batch"
            wanted = ", ".join(map(str, self.shape(channels=inputs)))
            raise ShapeError(f"input must be [{axes}, {wanted}], got {tuple(x.shape)}")
        x = self.inside(x)
        if lead == 1:
            return x.unsqueeze(1)
        return x.transpose(0, 1) if batch_first else x

    def initial(
        self,
        names: Sequence[str],
        sizes: Sequence[int],
        rows: int,
        x: Tensor,
        hx: State | None,
        dims: int,
    ) -> Sequence[Row]:
        """As `states.initial`, each state [batch, *positions, size]."""
        batch = x.shape[1]
        if hx is None:
            return (tuple(x.new_zeros((batch, *self.sizes, size)) for size in sizes),) * rows
        states = as_tuple(names, hx)
        for name, size, state in zip(names, sizes, states, strict=True):
            wanted = self.shape(rows, *([] if dims == 2 else [batch]), channels=size)
            if state.shape != wanted:
                raise ShapeError(f"hx of state {name} must be {wanted}, got {tuple(state.shape)}")
        moved = [self.inside(s.unsqueeze(1) if dims == 2 else s).unbind(0) for s in states]
        return list(zip(*moved, strict=True))

    def final(self, rows: Sequence[Row], dims: int) -> State:
        """As `states.final`, each state with its channels where the caller has them."""
        return final([tuple(map(self.outside, row)) for row in rows], dims)

    def sequence(
        self, record: TorchRecord, x: Tensor, start: Row, named: dict[str, Tensor], steps: Steps
    ) -> tuple[Tensor, Row]:
        """One layer over ``x`` [time, batch, *positions, input]: (output, final states)."""
        weights = composite.families(record, named)
        matrices = self.matrices
        # torch's compiler leaves sparse tensors to Python, better all at once than step by step.
        run = uncompiled if any(m.is_sparse for m in matrices) else composite.sequence
        return run(record.cell, weights, x, start, steps, operations(matrices))


uncompiled = not_compiled(composite.sequence)


def operations(matrices: Sequence[Tensor]) -> Operations:
    """torch's operations with those that read other positions."""
    gathers: dict[str, Any] = {"patches": _window, "neighbours": partial(neighbours, matrices)}
    table = {**composite.TORCH.table, "matmul": product, **gathers}
    return replace(composite.TORCH, table=table)


def _window(values: Tensor, *size: float) -> Window:
    return Window(values, tuple(map(int, size)))


def _grid(cell: Cell, grid: Any) -> tuple[int, ...]:
    if grid is None and not cell.positions:
        return ()
    if not cell.positions:
        raise InputError(f"cell {cell.name} reads no other positions, got grid={grid!r}")
    axes = ["a line (length,)", "an image (height, width)"][cell.positions - 1]
    whole = isinstance(grid, (tuple, list)) and all(isinstance(n, int) and n > 0 for n in grid)
    if not whole or len(grid) != cell.positions:
        came = "nothing" if grid is None else f"grid={grid!r}"
        raise InputError(
            f"cell {cell.name} reads windows of {axes}: give grid= of {cell.positions} whole"
            f" {'numbers' if cell.positions > 1 else 'number'}, got {came}"
        )
    return tuple(grid)


def _matrix(k: int, matrix: Any, device: Any, dtype: torch.dtype | None) -> Tensor:
    """One matrix of a graph, dense or sparse as it came."""
    if hasattr(matrix, "tocoo"):
        coo = matrix.tocoo()
        places = torch.stack([torch.as_tensor(coo.row), torch.as_tensor(coo.col)])
        values = torch.as_tensor(coo.data)
        matrix = torch.sparse_coo_tensor(places, values, coo.shape, check_invariants=True)
    try:
        tensor = torch.as_tensor(matrix, device=device).detach()
    except (TypeError, ValueError, RuntimeError):
        kind = type(matrix).__name__
        raise InputError(f"graph: matrix {k} must be a tensor or an array, got {kind}") from None
    if tensor.dim() != 2:
        raise InputError(f"graph: matrix {k} must have two axes, got shape {tuple(tensor.shape)}")
    tensor = tensor.to(dtype or torch.get_default_dtype())
    # torch warns of other sparse layouts, and derives products with this one as fast.
    return (
        tensor
        if tensor.layout is torch.strided
        else tensor.to_sparse(layout=torch.sparse_coo).coalesce()
    )
