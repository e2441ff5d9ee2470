"""The gradient of a loss in each earlier state of a layer, trained or freshly drawn."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from grus.equations import Cell, cell as find_cell
from grus.errors import InputError
from grus.runtime import adjoints, run
from grus.traces.layer import TracedStack, beside, read as read_layer

if TYPE_CHECKING:
    from torch import nn


Array = np.ndarray[Any, np.dtype[Any]]
NORMS = {**dict.fromkeys(("ga", "gx", "gh", "gc"), 1.0), "sc": 0.0}
"""Layer norm's gains and shift, and what they begin with."""


def draw(
    cell: Cell,
    size: Mapping[str, int],
    gain: float,
    gate_bias: Mapping[str, float],
    rng: np.random.Generator,
) -> dict[str, Array]:
    """Weights by family in float64 from U(-1/sqrt(H), 1/sqrt(H)), U times ``gain``.

    ``size`` is that of each axis, ``gate_bias`` has biases (family b) by gate. Raises InputError
    for a cell that needs masks from outside, or one size for input and hidden units, for a gate
    that has no bias, and for a gain that is not finite.
    """
    if not math.isfinite(gain):
        raise InputError(f"gain must be a finite number, got {gain}")
    masks = [i.name for i in cell.inputs if i.name != "x" and i.keep is None]
    if masks:
        raise InputError(f"cell {cell.name} needs the masks {', '.join(masks)}")
    for axis, other in cell.shapes.equal:
        if size[axis] != size[other]:
            raise InputError(
                f"cell {cell.name} needs {axis} = {other}, got {size[axis]} and {size[other]}"
            )
    bound, weights = 1 / math.sqrt(size["hidden"]), {}
    for family in cell.families:
        shape = cell.family_shape(family, dict(size))
        drawn = rng.uniform(-bound, bound, shape)
        weights[family] = np.full(shape, NORMS[family]) if family in NORMS else drawn
    if "U" in weights:
        weights["U"] = weights["U"] * gain
    biased = cell.families.get("b", ())
    for gate, value in gate_bias.items():
        if gate not in biased or not math.isfinite(value):
            raise InputError(
                f"cell {cell.name} has no bias of a gate {gate[:60]!r} to set to {value}; gates"
                f" with one: {', '.join(biased) or 'none'}"
            )
        weights["b"].reshape(len(biased), -1)[biased.index(gate)] = value
    return weights


FAR = 1e3
"""A gradient has vanished, or exploded, where it is so many times smaller, or larger, than at 0."""
HEAD = ("network", "per step", "halves in", "at lag {}", "gradient")


@dataclass(frozen=True, eq=False)
class Flow:
    """The norm of d(loss at t)/d(state at t - k) for each lag k, in float64.

    ``by_state``: for each state of the cell [lag, row], the Euclidean norm of its gradient: what
    the loss at step t changes by, by way of all steps between and of the layers above.
    """

    name: str
    cell: Cell
    by_state: Mapping[str, Array]

    @cached_property
    def lags(self) -> Array:
        """0, 1, ...: steps back."""
        return np.arange(len(next(iter(self.by_state.values()))))

    @cached_property
    def rows(self) -> Array:
        """[lag, row]: the norm over all states of the cell together."""
        norms, *others = self.by_state.values()
        for other in others:
            norms = np.hypot(norms, other)
        return norms

    @cached_property
    def norms(self) -> Array:
        """[lag]: the median over the rows."""
        return np.asarray(np.median(self.rows, axis=1))

    @cached_property
    def rate(self) -> float:
        """The factor of the norm for each step back: the least-squares line through its
        logarithm; 0 where nothing is left after one step; NaN where there is nothing at lag 0, or
        no second number for a line."""
        known = np.isfinite(self.norms) & (self.norms > 0)
        if known[0] and len(known) > 1 and not self.norms[1:].any():
            return 0.0
        if known.sum() < 2 or not self.norms[0]:
            return float("nan")
        slope, _ = np.polyfit(self.lags[known], np.log(self.norms[known]), 1)
        return float(np.exp(slope))

    @cached_property
    def share(self) -> float:
        """The norm at the last lag as a share of that at lag 0; NaN where that is 0."""
        return share(self.norms)

    @cached_property
    def verdict(self) -> str:
        """ "vanishing": at the last lag less than a thousandth of lag 0 is left; "exploding": more
        than a thousandfold, or no finite number; "none": nothing at lag 0; else "steady"."""
        if not self.norms[0]:
            return "none"
        if not self.share <= FAR:
            return "exploding"
        return "vanishing" if self.share < 1 / FAR else "steady"

    def row(self) -> tuple[str, ...]:
        """A line of the table under `HEAD`."""
        halves = np.log(2) / -np.log(self.rate) if 0 < self.rate < 1 else 0.0
        halved = f"{halves:.3g} steps" if halves else "1 step" if not self.rate else "never"
        rate, halved = ("-", "-") if np.isnan(self.rate) else (f"x {self.rate:.4g}", halved)
        share = "-" if np.isnan(self.share) else f"{self.share:.2g}"
        return self.name, rate, halved, share, self.verdict

    def json(self) -> dict[str, Any]:
        """All numbers; null where one is not finite."""
        return {
            "name": self.name,
            "cell": {"name": self.cell.name, "equations": str(self.cell).splitlines()},
            "lags": self.lags.tolist(),
            "norms": _plain(self.norms),
            "by_state": {s: _plain(np.median(a, axis=1)) for s, a in self.by_state.items()},
            "rate": self.rate if np.isfinite(self.rate) else None,
            "share": self.share if np.isfinite(self.share) else None,
            "verdict": self.verdict,
        }


def gradient_flow(
    subject: str | Cell | nn.Module,
    *,
    lags: int = 100,
    rows: int = 16,
    x: Array | None = None,
    hidden: int = 64,
    inputs: int | None = None,
    gain: float = 1.0,
    gate_bias: Mapping[str, float] | None = None,
    seed: int = 0,
    name: str | None = None,
) -> Flow:
    """The gradient flow of a cell with fresh weights, or of a layer as it is.

    ``subject`` is an argument of `grus.cell`, or a layer of grus or torch of one direction; of a
    stack the last layer is looked at. The loss is that of one step: the output at t in a random
    direction of length 1, a new one for each of ``rows`` sequences. ``x`` [time, batch, input] are
    the sequences, more than ``lags`` steps, t the last; by default normal numbers, twice as many
    steps, so that the states are those of a running network. Fresh weights are
    U(-1/sqrt(H), 1/sqrt(H)) with H = ``hidden`` units, as torch draws them; those that multiply the
    state (U) times ``gain``, whole biases of gates as ``gate_bias`` has them ({"z": 3.0}).

    A state's gradient is total, what arrives at the value: for the LSTM's c it counts what goes by
    way of the h of the same step. It is that of the backward equations, on the kernels in float64:
    no differences. Raises InputError naming the argument that cannot be.
    """
    if lags < 1 or rows < 1 or hidden < 1:
        raise InputError(f"lags, rows and hidden must be at least 1, got {lags}, {rows}, {hidden}")
    if seed < 0:
        raise InputError(f"seed must be at least 0, got {seed}")
    rng = np.random.default_rng(seed)
    label = ""
    if isinstance(subject, (str, Cell)):
        cell, dense = find_cell(subject), False
        size = {"input": inputs or hidden, "hidden": hidden, "projection": max(1, hidden // 2)}
        cells, layers = [cell], [draw(cell, size, gain, gate_bias or {}, rng)]
        label = subject if isinstance(subject, str) else ""
    else:
        source = _of_layer(subject)
        cell, dense = source.cell, source.stack.above is not None
        size = {"input": source.inputs, **source.sizes}
        cells, layers = float64_rows(source)
    x = rng.normal(size=(2 * lags, rows, size["input"])) if x is None else _float64(x)
    if x.ndim != 3 or len(x) <= lags:
        raise InputError(f"x must be [time, batch, input], more than {lags} steps, got {x.shape}")
    starts = [
        tuple(np.zeros((x.shape[1], size[axis])) for axis in cell.shapes.states.values())
        for _ in layers
    ]
    below = x[: len(x) - lags - 1]
    for at, (row_cell, weights) in enumerate(zip(cells, layers, strict=True)):
        done = run(row_cell, weights, below, starts[at], threads=1)
        starts[at], output = done.state, done.output
        below = beside(at, below, output) if dense else output
    across = rng.normal(size=(x.shape[1], output.shape[-1]))
    across /= np.linalg.norm(across, axis=1, keepdims=True)
    by_layer = through(cells, layers, x[len(x) - lags - 1 :], starts, across, dense=dense)
    return Flow(name or label or cell.name, cell, by_layer[-1])


def through(
    cells: Sequence[Cell],
    layers: Sequence[Mapping[str, Array]],
    x: Array,
    starts: Sequence[tuple[Array, ...]],
    dy: Array,
    *,
    dense: bool = False,
) -> list[dict[str, Array]]:
    """For each layer of a stack and each of its states the norms [lag, row].

    ``cells`` are what the layers run as; ``x`` [time, batch, input] float64; ``starts`` are each
    layer's initial states; ``dy`` [batch, size] is the loss' gradient in the last layer's output at
    the last step. ``dense``: each layer reads x and all outputs below it.
    """
    inputs = [x]
    for k, (cell, weights) in enumerate(list(zip(cells, layers, strict=True))[:-1]):
        output = run(cell, weights, inputs[-1], starts[k], threads=1).output
        inputs.append(beside(k, inputs[-1], output) if dense else output)
    above = np.zeros((len(x), *dy.shape))
    above[-1] = dy
    norms: list[dict[str, Array]] = []
    passed: Array | float = 0.0  # to what a dense layer reads, past it
    for k in reversed(range(len(layers))):
        states, read = adjoints(cells[k], layers[k], inputs[k], starts[k], above, threads=1)
        norms.insert(0, {s: _norm(a[::-1]) for s, a in states.items()})
        read = read + passed if dense else read
        width = inputs[k].shape[-1] - inputs[k - 1].shape[-1] if dense and k else 0
        above, passed = np.ascontiguousarray(read[..., -width:]), read[..., :-width]
    return norms


def share(norms: Sequence[float] | Array) -> float:
    """The last of the norms by lag as a share of the first; NaN where that is 0."""
    first, last = np.float64(norms[0]), np.float64(norms[-1])
    with np.errstate(over="ignore", invalid="ignore"):
        return float(last / first) if first else float("nan")


def table(flows: Sequence[Flow]) -> list[tuple[str, ...]]:
    """Rows of text, the first the names of the columns."""
    last = max((int(flow.lags[-1]) for flow in flows), default=0)
    return [tuple(word.format(last) for word in HEAD), *(flow.row() for flow in flows)]


def _of_layer(layer: Any) -> TracedStack:
    source = read_layer(layer)
    if source.stack.bidirectional:
        raise InputError("a gradient flows back in one direction; the layer has two")
    return source


def float64_rows(source: TracedStack) -> tuple[list[Cell], list[dict[str, Array]]]:
    """What each row of h_n runs as, and its weights by family in float64."""
    weights = [{f: _float64(w) for f, w in row.items()} for row in source.stack.rows]
    return [source.stack.run_as(k) for k in range(len(weights))], weights


def _float64(array: Any) -> Array:
    return np.ascontiguousarray(array, np.float64)


def _norm(gradient: Array) -> Array:
    """[time, batch]: the norm over the last axis; its squares neither vanish nor overflow."""
    most = np.abs(gradient).max(axis=-1)
    scale = np.where((most > 0) & np.isfinite(most), most, 1.0)
    with np.errstate(over="ignore", invalid="ignore"):
        return np.asarray(scale * np.sqrt(((gradient / scale[..., None]) ** 2).sum(axis=-1)))


def _plain(numbers: Array) -> list[float | None]:
    return [float(n) if np.isfinite(n) else None for n in numbers]
