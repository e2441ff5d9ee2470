"""`Network`: a stack of recurrent layers in house form, whatever dialect it came from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from grus.dialects.tensor_layout import ADDED
from grus.equations import Cell, Weight
from grus.equations.axes import sizes
from grus.errors import InputError
from grus.reference import run, split
from grus.runtime import run as compiled

Array = Any
Weights = Mapping[str, Array]
Pair = tuple[Array, Array]


class Unrepresentable(InputError):  # noqa: N818  the refusal is no failure
    """A network that a dialect cannot hold; the message names the term that has no place."""


@dataclass(frozen=True)
class Output:
    """What a network gives."""

    output: Array
    """[time, batch, directions * hidden], forward first; 0 past a row's length."""
    state: tuple[Array, ...]
    """The final states of the cell, each [layers * directions, batch, hidden], layer by layer."""


@dataclass(frozen=True, eq=False)
class Network:
    """A stack of recurrent layers in house form: weights by family, in the cell's own order.

    ``cell`` says everything about a step: the place of the reset, the sense of z, activations and
    clipping are in its equations. ``layers[k][d]`` are the weights of layer k in direction d
    (forward, then backward): W [gates * H, I], U [gates * H, H], b [gates * H], d [H], gates in
    the order of the equations. A layer's input is the layer before it: I is D * H from the second
    on. ``reverse`` is for one direction that runs from the last step to the first.

    ``pairs[k][d]`` holds two biases whose sum is b, where they were kept apart, so that another
    dialect that keeps them apart gets the same bits; () where there are none.

    Raises InputError naming the layer whose weights cannot be.
    """

    cell: Cell
    layers: tuple[tuple[Weights, ...], ...]
    reverse: bool = False
    pairs: tuple[tuple[Pair | None, ...], ...] = ()

    def __post_init__(self) -> None:
        if not self.layers or not self.layers[0]:
            raise InputError("a network needs at least one layer")
        if self.directions > 2 or any(len(one) != self.directions for one in self.layers):
            raise InputError("every layer of a network has the same directions, one or two")
        if self.reverse and self.directions == 2:
            raise InputError("reverse is for one direction; a network of two has its own")
        if any(count > 1 for count in self.cell.shapes.blocks.values()):
            raise Unrepresentable(
                f"cell {self.cell.name} has block-diagonal weights, which no framework's layer has"
            )
        width = self.input_size
        for k, directions in enumerate(self.layers):
            for weights in directions:
                self._check(k, weights, width)
            width = self.directions * self.hidden_size

    def _check(self, layer: int, weights: Weights, width: int) -> None:
        try:
            units = sizes(self.cell, weights, width)[self._hidden]
        except InputError as error:
            raise InputError(f"layer {layer}: {error}") from None
        if units != self.hidden_size:
            raise InputError(f"layer {layer} has {units} units, not the first's")

    @property
    def _hidden(self) -> str:
        return self.cell.shapes.states[self.cell.states[0]]

    @property
    def directions(self) -> int:
        """1 or 2."""
        return len(self.layers[0])

    @property
    def hidden_size(self) -> int:
        """The units of one layer in one direction."""
        family = next(f for f in "Ubdp" if f in self.cell.families)
        return int(self.layers[0][0][family].shape[0]) // len(self.cell.families[family])

    @property
    def input_size(self) -> int:
        """The features of a step."""
        if "W" not in self.cell.families:
            return self.hidden_size
        return int(self.layers[0][0]["W"].shape[-1])

    @property
    def dtype(self) -> np.dtype[Any]:
        """The widest dtype among the weights."""
        arrays = [w for one in self.layers for weights in one for w in weights.values()]
        return np.result_type(*arrays)

    def run(
        self,
        x: Array,
        h0: Array | Sequence[Array] | None = None,
        lengths: Array | None = None,
        *,
        kernels: bool = False,
    ) -> Output:
        """Run the network over ``x`` [time, batch, input] in float64, by the reference.

        With ``kernels`` by the compiled kernels, in the dtype of x (float32 or float64).

        ``h0`` [layers * directions, batch, hidden], a sequence of them for a cell with several
        states, defaults to zeros; layer by layer, forward first. ``lengths`` [batch], 0 allowed:
        outputs past the end are 0, a backward direction begins at each row's last valid step.

        Raises InputError naming the argument whose shape cannot be.
        """
        x = np.asarray(x)
        starts = self._starts(h0, x)
        finals: list[tuple[Array, ...]] = []
        for k, directions in enumerate(self.layers):
            outputs = []
            for d in range(len(directions)):
                start = starts[k * self.directions + d]
                weights, back = self.float64(k, d), self.reverse or d == 1
                done: Any = (compiled if kernels else run)(
                    self.cell,
                    {f: w.astype(x.dtype) for f, w in weights.items()} if kernels else weights,
                    x,
                    start,
                    lengths=lengths,
                    reverse=back,
                )
                outputs.append(done.output)
                finals.append(done.state)
            x = np.concatenate(outputs, axis=-1)
        return Output(x, tuple(np.stack(state) for state in zip(*finals, strict=True)))

    def blocks(self, layer: int, direction: int) -> dict[Weight, Array]:
        """The weights of one layer, gate by gate; where two biases were kept apart, b is the first
        and `ADDED` the second."""
        found = split(self.cell, self.layers[layer][direction])
        pair = self.pairs[layer][direction] if self.pairs else None
        gates = self.cell.families.get("b", ())
        for family, bias in zip(("b", ADDED), pair or (), strict=False):
            parts = np.split(bias, len(gates))
            found |= {Weight(family, g): part for g, part in zip(gates, parts, strict=True)}
        return found

    def float64(self, layer: int, direction: int) -> dict[str, Array]:
        """The weights of one layer in float64; two biases that were kept apart are added there."""
        found = {f: np.asarray(w, np.float64) for f, w in self.layers[layer][direction].items()}
        pair = self.pairs[layer][direction] if self.pairs else None
        if pair is not None:
            found["b"] = np.asarray(pair[0], np.float64) + np.asarray(pair[1], np.float64)
        return found

    def _starts(self, h0: Array | Sequence[Array] | None, x: Array) -> list[Any]:
        count = len(self.layers) * self.directions
        if h0 is None:
            return [None] * count
        given = tuple(h0) if isinstance(h0, (tuple, list)) else (h0,)
        names = self.cell.states
        if len(given) != len(names):
            raise InputError(f"h0 must hold the states {', '.join(names)}, got {len(given)} arrays")
        want = (count, x.shape[1] if x.ndim == 3 else 0, self.hidden_size)
        arrays = tuple(np.asarray(state) for state in given)
        for name, state in zip(names, arrays, strict=True):
            if state.shape != want:
                raise InputError(f"h0 of state {name} must have shape {want}, got {state.shape}")
        return [tuple(state[k] for state in arrays) for k in range(count)]
