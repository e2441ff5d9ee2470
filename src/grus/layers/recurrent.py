"""A stack of layers of any cell, with PyTorch's parameter names, layout and defaults."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Unpack, cast

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence

from grus.arguments import ResetTo
from grus.dialects import TorchRecord
from grus.equations import Cell, Connection, cell as find_cell, expected
from grus.errors import InputError
from grus.kernels import PLAIN, Narrow, Steps
from grus.layers import (
    arguments,
    connected,
    dispatch,
    inputs,
    paper_start,
    parameters,
    stack,
    states,
    surface,
)
from grus.layers.dispatch import Path, choose
from grus.layers.inputs import BOTH, Further, directions
from grus.layers.packed import no_tensor
from grus.layers.positions import Positions
from grus.layers.regularised import PLAIN_CELL, Options, Regularised, drawn
from grus.layers.states import Row, State
from grus.layers.stepper import Stepper
from grus.layers.surface import TorchSurface
from grus.layers.torch_state import jit_state


class Recurrent(TorchSurface):
    """A stack of layers of any cell.

    ``cell`` is whatever `grus.cell` takes. The other arguments are ``nn.GRU``'s, and so are the
    parameters' names and layout (``weight_ih_l0`` [3H, I], ``weight_hh_l0``, ``bias_ih_l0``,
    ``bias_hh_l0``; ``_reverse`` for the other direction). They are drawn from U(-1/sqrt(H),
    1/sqrt(H)) in the same order, so one seed gives both the same weights.

    ``gate_bias`` sets the whole bias of a gate by its name in the cell's own equations: for "gru",
    where z keeps the state, ``{"z": 1.0}`` starts with a long memory; for "gru_admit" it starts
    with a short one.

    ``further_sizes`` has the size of each further input that only products read, by its name:
    those that meet x, the state or a single number are sized by the equations.

    ``initial="paper"`` starts a published cell as its paper does (`layers.paper_start`), where
    chrono's draw takes the longest lag that matters, ``longest``, in steps.

    ``backend`` picks the path ("kernels" or "composite"); None follows `layers.dispatch`.

    ``recompute`` keeps the states of a few steps only and runs the others again in backward: a
    layer keeps less than half as much for about a third more time.

    ``connect`` joins the layers (`equations.connections` has the equations and their sources):
    "residual" adds to a layer's output what the layer read, "highway" mixes the two by a gate with
    parameters of its own (``highway_weight_l1`` [H, H], ``highway_bias_l1`` [H], which begins at
    -1), "dense" has a layer read the input and all outputs below it. Dropout between layers is of a
    layer's own output, before it is joined.

    A cell that reads other positions (``patches``, ``neighbours``) is told where they are: ``grid``
    holds their sizes, (length,) or (height, width), and x is [time, batch, input, *grid], a state
    [rows, batch, hidden, *grid]; ``graph`` is a matrix [positions, positions] or a list of them,
    dense or sparse, x [time, batch, positions, input]. It runs on torch's operations, and begins as
    torch's convolutions do, for a window of 3 x 3 within 1/sqrt(9 H).

    ``blocks`` makes every matrix block-diagonal, of so many blocks: unit i belongs to block i *
    blocks // H and reads the same block of x and of the state. A weight [gates * H, K] is stored
    without its zeros, [gates * H, K / blocks], as torch stores a grouped convolution's, and drawn
    within 1/sqrt(H / blocks). Of a cell whose equations mark operands (``blocks(h, 8)``) it is the
    number of these alone. All sizes must be multiples of it.

    ``options`` normalise and regularise (`layers.regularised.Regularised` has all of them):
    ``layer_norm="split"`` or ``"joint"``, and the probabilities ``zoneout``, ``recurrent_dropout``,
    ``candidate_dropout``, ``input_dropout``, ``weight_dropout``. Each call in training draws its
    masks from torch's generator; in ``eval()`` none are drawn.

    Raises InputError for what cannot be: TypeErrors and ValueErrors as torch's classes raise
    them, a start that is not known, an unknown gate, a gate without a bias, an unknown backend,
    an option that the cell cannot have, or a cell that a layer cannot hold (a mask that is given
    once for a sequence).
    """

    recompute = False
    starts = paper_start.NOTHING

    def __init__(
        self,
        cell: str | Cell | type[Cell],
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        *,
        proj_size: int = 0,
        further_sizes: Mapping[str, int] | None = None,
        gate_bias: Mapping[str, float] | None = None,
        initial: paper_start.Initial = "torch",
        longest: int | None = None,
        backend: Path | None = None,
        recompute: bool = False,
        connect: str | None = None,
        grid: Sequence[int] | None = None,
        graph: Any = None,
        blocks: int | None = None,
        device: Any = None,
        dtype: torch.dtype | None = None,
        **options: Unpack[Options],
    ) -> None:
        super().__init__()
        regularised = Regularised.of(options)
        arguments.check_dropout(dropout, num_layers)
        arguments.check_flags(bias=bias, batch_first=batch_first, bidirectional=bidirectional)
        arguments.check_flags(recompute=recompute)
        arguments.check_sizes(input_size=input_size, hidden_size=hidden_size, num_layers=num_layers)
        arguments.check_backend(backend)
        plain = arguments.in_blocks(find_cell(cell), blocks)
        self.starts = paper_start.starts(plain, initial, longest, bias)
        self.configure(
            regularised.cell(plain),
            input_size,
            hidden_size,
            num_layers=num_layers,
            bias=bias,
            batch_first=batch_first,
            dropout=dropout,
            bidirectional=bidirectional,
            proj_size=proj_size,
            further_sizes=further_sizes,
            backend=backend,
            gate_bias=gate_bias,
            regularised=regularised,
            connect=connect or "",
        )
        self.recompute = recompute
        self.positions = Positions.of(self.cell, grid, graph, device, dtype)
        if self.positions is not None:
            self.positions.check_options(self.cell, backend, recompute)
            self.backend = "composite"
        for k, names in enumerate(self._rows):
            shapes = self.record.shapes(self._axes(k), bias) | connected.gate_shapes(self, k)
            parameters.declare(self, names, shapes, device, dtype)
        if not self._rows[0]:
            parameters.declare_blank(self, device, dtype)
        self.reset_parameters()

    def configure(
        self,
        cell: Cell,
        input_size: int,
        hidden_size: int,
        *,
        num_layers: int,
        bias: bool,
        batch_first: bool,
        dropout: float,
        bidirectional: bool,
        proj_size: int = 0,
        further_sizes: Mapping[str, int] | None = None,
        backend: Path | None = None,
        gate_bias: Mapping[str, float] | None = None,
        regularised: Regularised = PLAIN_CELL,
        connect: str = "",
    ) -> None:
        """Set everything but the parameters, of which only the names are noted."""
        arguments.check_projection(cell, proj_size, hidden_size)
        regularised.check(cell)
        self.regularised, self._random = regularised, regularised.draws or bool(cell.masks)
        drawn, cell = TorchRecord(cell), expected(cell)
        self.cell, self.record, self.positions = cell, TorchRecord(cell), None
        self.input_size, self.hidden_size, self.num_layers = input_size, hidden_size, num_layers
        self.bias, self.batch_first, self.dropout = bias, batch_first, float(dropout)
        self.bidirectional, self.proj_size = bidirectional, proj_size
        self.backend, self.gate_bias, self.connect = backend, dict(gate_bias or {}), connect
        self.further_sizes = dict(further_sizes or {})
        self._further_axes = arguments.check_further_sizes(cell, self.further_sizes)
        sizes = {"input": input_size, "hidden": hidden_size, "projection": proj_size}
        width = (1 + bidirectional) * sizes[str(cell.shapes.values[cell.output])]
        self._connection = Connection(connect, input_size, width, num_layers)
        arguments.check_axes(cell, self._connection.reads, hidden_size)
        names = tuple(self.record.shapes(self._axes(0), bias))
        ends = parameters.suffixes(num_layers, bidirectional)
        self._cell_rows = [{name: name + end for name in names} for end in ends]
        self._rows = connected.named(self._connection, self._cell_rows, ends)
        self._records = connected.records(self._connection, self.record, bidirectional)
        self._drawn = (*connected.records(self._connection, drawn, bidirectional), drawn)
        if cell.families and not names:
            raise InputError(f"cell {cell.name} has biases alone, which bias=False takes away")
        self._names, self._parameter_names = names, tuple(self._rows[0].values())
        self._begin_calls()
        self._first = next(iter(self._parameter_names), parameters.BLANK)
        axes = self._axes(0)
        self._state_sizes = tuple(axes[cell.shapes.states[s]] for s in cell.states)

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)  # type: ignore[no-untyped-call]
        # Pickles of version 0.1.0 before these were kept.
        if "connect" not in state:
            connected.earlier(self)
        self._begin_calls()

    def _begin_calls(self) -> None:
        """Calls that are `ready`: of the only layer, or of those that are like the last one."""
        rows = self._cell_rows if self.bidirectional else self._rows
        self._calls = dispatch.LayerCalls(self._records[-1], tuple(rows[-1]))
        several = len(self._rows) > 1 or self.cell.further
        self._ready_record = self._records[-1] if several else None

    def _axes(self, row: int) -> dict[str, int]:
        """The size of each axis in a row of h_n."""
        below = self._connection.reads[row // (1 + self.bidirectional)]
        sizes = {"input": below, "hidden": self.hidden_size, **self._further_axes}
        return sizes | ({"projection": self.proj_size} if self.proj_size else {})

    def reset_parameters(self) -> None:
        """Draw all parameters anew, set those of a paper, then the gate biases asked for."""
        parameters.draw(self, self.cell, self.hidden_size)
        paper_start.fill(self, self.record, self._rows, self.starts)
        for gate, value in self.gate_bias.items():
            parameters.set_gate_bias(self, self.record, self._rows, gate, value)

    def _read(self, row: int) -> dict[str, Tensor]:
        """As `layer_tensors`, inside of a call, whose hooks have run."""
        return parameters.read(self, self._rows[row])

    def forward(
        self,
        input: Tensor | PackedSequence,
        hx: State | None = None,
        lengths: Any = None,
        resets: Any = None,
        reset_to: ResetTo = "zero",
        **further: Tensor | PackedSequence,
    ) -> tuple[Any, State]:
        """Run over ``input`` [time, batch, input] (batch first if asked for).

        It may also be one sequence, [time, input], or packed.

        ``hx`` holds the initial states, each [layers * directions, batch, size]; None is zeros.
        Returns the output [time, batch, directions * size], packed where the input was, and the
        final states, a tuple where the cell has several. An empty sequence gives back the initial
        state (torch raises there).

        ``lengths`` [batch], 0 to time in any order: outputs past a row's end are 0, its final state
        is the one at its last valid step, at length 0 the initial one. Padding reaches nothing.

        ``resets``, bool or 0 and 1, with the input's axes (time and batch): this step begins a
        new episode, so the state is zero (or ``hx``, with ``reset_to="h0"``) before the step's
        input is read. With two directions no state crosses the beginning of an episode either way.

        ``further`` has the further inputs of the cell by name, each laid out as the input (packed
        where it is), of its own size, a number without that axis or with one of size 1, bool or
        the input's dtype; every layer and direction reads them.

        Raises InputError (ShapeError, KindError) naming the argument that cannot be.
        """
        if not isinstance(input, Tensor):
            return no_tensor(self, input, hx, lengths, resets, reset_to, further)
        dims, steps = input.dim(), BOTH
        if lengths is not None or resets is not None:
            x = self._time_first(input)
            axes = inputs.axes(dims - self.cell.positions, self.batch_first)
            steps = directions(x, lengths, resets, reset_to, axes)
        more: Further = ()
        if further or self.cell.further:
            more = self._further(input, further)
        known = self._ready(input, hx, steps[0]) if len(self._rows) == 1 and not more else None
        if known is None and jit_state() is not None and steps is BOTH and not more:
            known = surface.as_torch(self, input, hx)
        if known is not None:
            return known
        x = self._time_first(input)
        shapes: Any = states
        if self.positions is not None:
            shapes, dims = self.positions, dims - self.cell.positions
        start = shapes.initial(self.cell.states, self._state_sizes, len(self._rows), x, hx, dims)
        if len(start) == 1 and not self.connect:
            y, row = self._layer(0, x, start[0], steps[0], more=more)
            rows = [row]
        else:
            y, rows = stack.through(self, x, start, steps, self._drop, more)
        if self.positions is not None:
            y = self.positions.outside(y)
        if dims == 2:
            y = y.squeeze(1)
        elif self.batch_first:
            y = y.transpose(0, 1)
        return y, shapes.final(rows, dims)

    def _further(self, input: Tensor, further: Mapping[str, Any]) -> Further:
        """The further inputs as [time, batch, size], in the order of the cell's."""
        return inputs.further(self.cell, self._axes(0), input, further, self.batch_first)

    def _time_first(self, input: Tensor) -> Tensor:
        weight = parameters.tensor(self, self._first)
        if self.positions is not None:
            inputs.check_dtype(input, weight)
            return self.positions.time_first(input, self.input_size, self.batch_first)
        return inputs.time_first(input, weight, self.input_size, self.batch_first)

    def _ready(self, input: Tensor, hx: State | None, steps: Steps) -> tuple[Tensor, State] | None:
        """What `forward` gives, where the call is one of those that are `ready`."""
        held: dict[str, Any] = self._parameters
        if not self._plain() or (self.batch_first and input.dim() != 3):
            return None
        try:
            parameters = [held[name] for name in self._parameter_names]
        except KeyError:  # a parametrization or a hook has taken a parameter's place
            return None
        x = input.transpose(0, 1) if self.batch_first else input
        result = dispatch.ready(self._calls, self.input_size, parameters, x, hx, steps, lead=(1,))
        if result is None:
            return None
        y, states = result
        if self.batch_first:
            y = y.transpose(0, 1)
        return y, states[0] if len(states) == 1 else states

    def _plain(self) -> bool:
        """Whether the layer's options allow a call that is `ready`."""
        plain = self.backend in (None, "kernels") and not (self.training and self._random)
        return plain and not (self.recompute and torch.is_grad_enabled())

    def _drop(self, y: Tensor) -> Tensor:
        return torch.dropout(y, self.dropout, True)

    def path(self, input: Tensor, steps: Steps = PLAIN) -> Path:
        """Which code `forward` would run for this input: "kernels", "torch" or "composite"."""
        return choose(input, self.backend, self.cell, steps)

    def _layer(
        self,
        row: int,
        x: Tensor,
        start: Row,
        steps: Steps,
        *,
        joined: bool = True,
        more: Further = (),
    ) -> tuple[Tensor, Row]:
        """A row of h_n, its output joined to x where the stack does that and ``joined`` does."""
        named, record = self._read(row), self._records[row]
        if not joined:
            named, record = parameters.read(self, self._cell_rows[row]), self.record
        if self.training and self._random:
            steps = drawn(steps)
            x, named = self.regularised.outside(x, named, cast("int", steps.seed))
            record = self._drawn[row if joined else -1]
        if more:  # input_dropout is of x alone
            x = torch.cat([x, *more], dim=2)
        if steps is PLAIN and record is self._ready_record and self._plain():
            weights = tuple(named.values())
            if known := dispatch.ready(self._calls, x.shape[2], weights, x, start):
                return known
        if self.positions is not None:
            return self.positions.sequence(record, x, start, named, steps)
        if self.recompute:
            steps = replace(steps, recompute=True)
        return dispatch.sequence(record, x, start, named, steps, self.backend)

    def step(self, x: Tensor, hx: State | None = None, **further: Tensor) -> tuple[Tensor, State]:
        """One time step: ``x`` [batch, input] -> (output [batch, hidden], next states).

        The bits are those of the sequence, any derivative too. ``hx`` and ``further`` ([batch,
        size], a number [batch]) as in `forward`. Raises
        InputError for a layer of two directions, whose second one begins at the end.
        """
        if self.bidirectional:
            raise InputError("a layer of two directions cannot take one step at a time")
        time = 1 if self.batch_first else 0
        each = {name: value.unsqueeze(time) for name, value in further.items()}
        output, state = self(x.unsqueeze(time), hx, **each)
        return output.squeeze(time), state

    def stepper(self, narrow: Narrow = "") -> Stepper:
        """The layer as it is now with its weights packed, one step at a time, for serving;
        ``narrow="weights"`` keeps them in bfloat16."""
        return Stepper(self, narrow)
