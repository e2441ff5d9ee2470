"""Layers put one behind the other as a source names them; activations join the linear layer before
them, and what scales each number by itself is folded into it."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from grus.builds.activations import refused
from grus.builds.model import Array, Layer, Model, layer
from grus.equations import Apply, Cell, Expr, Input, Name, Weight, mean, sqrt, walk
from grus.errors import InputError

Function = Callable[[Expr], Expr]
"""An activation as an expression in its argument."""
X, WEIGHT, GAIN, BIAS = Input("x"), Weight("W", "h"), Weight("g", "h"), Weight("b", "h")
LINEAR = Cell("linear", (("h_next", WEIGHT @ X + BIAS),))
UNBIASED = Cell("linear", (("h_next", WEIGHT @ X),))
OPERATORS: dict[str, Callable[[Any, Any], Any]] = {
    "add": operator.add,
    "sub": operator.sub,
    "mul": operator.mul,
    "div": operator.truediv,
}
LARGEST = 200
"""How many operations and operands are joined to one layer."""
SCALE = Cell("scale", (("h_next", GAIN * X + BIAS),))


@dataclass(frozen=True, eq=False)
class Chain:
    """The layers so far; each method gives the chain with one more.

    A layer that stands first and keeps the size of what it reads has 0 inputs until a layer with
    weights follows. All methods raise InputError, beginning with the path, for what does not fit.
    """

    layers: tuple[Layer, ...] = ()
    embedding: Array | None = None
    notes: tuple[str, ...] = ()
    ended: str = ""
    """What was left out behind the last layer, such as a softmax."""
    before: Chain | None = None
    """The chain to which activations were joined since; ``since`` is what they are together."""
    since: Function | None = None

    @property
    def outputs(self) -> int:
        """The numbers that the next layer reads; 0 where no weight has told them."""
        if self.layers:
            return self.layers[-1].outputs
        return 0 if self.embedding is None else int(self.embedding.shape[1])

    def contains(self, other: Chain) -> bool:
        """Whether another chain is this one, or the beginning of it."""
        return self.layers[: len(other.layers)] == other.layers

    def noted(self, *notes: str) -> Chain:
        """The chain with notes that it does not have yet."""
        return replace(self, notes=tuple(dict.fromkeys((*self.notes, *notes))))

    def looked_up(self, path: str, table: Any) -> Chain:
        """Symbols are read, each a row of ``table`` [symbols, size]."""
        if self.layers or self.embedding is not None:
            raise InputError(f"{path}: an embedding can only stand first")
        rounded = self._rounded(path, table)
        return replace(rounded, embedding=np.ascontiguousarray(table, np.float32))

    def recurrent(self, path: str, cell: Cell, weights: Mapping[str, Any], inputs: int) -> Chain:
        """A layer of ``cell`` whose x has ``inputs`` numbers."""
        new = layer(path, cell, weights, inputs)
        if self.layers and cell.further:
            raise InputError(
                f"{path}: the further input {cell.further[0].name} reaches the first layer alone"
            )
        return self._rounded(path, *weights.values())._behind(new)

    def linear(self, path: str, weight: Any, bias: Any = None) -> Chain:
        """``weight`` [outputs, inputs] @ x + ``bias`` [outputs]."""
        if np.ndim(weight) != 2:
            raise InputError(f"{path}: the weight must be a matrix, got shape {np.shape(weight)}")
        weights = {"W": weight} | ({} if bias is None else {"b": bias})
        cell = UNBIASED if bias is None else LINEAR
        new = layer(path, cell, weights, int(np.shape(weight)[1]))
        return self._rounded(path, *weights.values())._behind(new)

    def scaled(self, path: str, gain: Any, shift: Any) -> Chain:
        """``gain`` * x + ``shift``, number by number, both [size]; folded into the weights of a
        linear layer before it."""
        if plain := self._plain():
            self._check_end(path)
            gain, shift = (np.asarray(part, np.float64) for part in (gain, shift))
            weight, bias = (np.asarray(plain.weights.get(f, 0.0), np.float64) for f in "Wb")
            if {gain.shape, shift.shape} <= {(), (plain.outputs,)}:
                before = replace(self, layers=self.layers[:-1])
                spread = np.broadcast_to(shift + gain * bias, (plain.outputs,))
                rows = np.broadcast_to(gain, (plain.outputs,))[:, None] * weight
                parts = (part.astype(np.float32) for part in (rows, spread))
                note = f"{path} is folded into the weights of {plain.path}"
                return before.linear(plain.path, *parts).noted(*[note] * bool(np.any(gain != 1)))
        return self._behind(layer(path, SCALE, {"g": gain, "b": shift}, len(gain)))

    def normed(self, path: str, gain: Any, shift: Any, epsilon: float) -> Chain:
        """A layer norm: x less its mean, over its standard deviation, times ``gain`` [size] plus
        ``shift`` [size]."""
        spread = mean(Name("d") * Name("d")) + epsilon
        scaled = GAIN * (Name("d") / sqrt(spread)) + BIAS
        cell = Cell("layer_norm", (("d", X - mean(X)), ("h_next", scaled)))
        return self._behind(layer(path, cell, {"g": gain, "b": shift}, len(gain)))

    def applied(self, path: str, function: Function, name: str) -> Chain:
        """An activation, joined to a linear layer that stands before it."""
        self._check_end(path)
        base, since = self._base

        def whole(v: Expr) -> Expr:
            return function(since(v))

        if base is self or _size(whole) > LARGEST:
            return self._function(path, function, name)
        return base._function(self.layers[-1].path, whole, name).noted(*self.notes)

    def joined(self, path: str, other: Chain, name: str) -> Chain:
        """``name`` of OPERATORS between what this and another chain give, where both are
        activations of one layer's output. Raises InputError where they are two branches."""
        (base, since), (other_base, other_since) = self._base, other._base

        def whole(v: Expr) -> Expr:
            joined: Expr = OPERATORS[name](since(v), other_since(v))
            return joined

        same = base.layers is other_base.layers and base.embedding is other_base.embedding
        if not same or _size(whole) > LARGEST:
            raise refused(path, name)
        self._check_end(path)
        first = self if self.since else other
        path = first.layers[-1].path if first.since else path
        return base._function(path, whole, name).noted(*self.notes, *other.notes)

    def with_number(self, path: str, name: str, number: Any, turned: bool) -> Chain:
        """``name`` of OPERATORS between what the chain gives and a number, or a vector [outputs];
        ``turned``: the number stands first."""
        operand, compute = np.asarray(number, np.float64), OPERATORS[name]
        if operand.size == 1:
            value = float(operand.reshape(()))
            return self.applied(
                path, lambda v: compute(value, v) if turned else compute(v, value), name
            )
        scales = {
            ("add", turned): (np.ones_like(operand), operand),
            ("sub", False): (np.ones_like(operand), -operand),
            ("sub", True): (-np.ones_like(operand), operand),
            ("mul", turned): (operand, np.zeros_like(operand)),
        }
        if (name, turned) == ("div", False) and operand.all():
            scales["div", False] = 1 / operand, np.zeros_like(operand)
        if (name, turned) not in scales or operand.size != operand.shape[-1]:
            raise refused(path, f"{name} of a tensor")
        gain, shift = scales[name, turned]
        return self.scaled(path, gain.ravel(), shift.ravel())

    def without(self, path: str, name: str) -> Chain:
        """The chain that ends here: what ``name`` computes of all outputs is left out."""
        self._check_end(path)
        return replace(self.noted(f"{path}: {name} is left out; y is what it reads"), ended=name)

    def model(self) -> Model:
        """What the chain is. Raises InputError where no layer tells how much is read."""
        if not self.layers or not self.layers[0].inputs:
            raise InputError("the model has no layer with weights: there is nothing to build")
        return Model(self.layers, self.embedding, notes=self.notes)

    @property
    def _base(self) -> tuple[Chain, Function]:
        """The chain before the activations that it ends with, and these."""
        if self.before is None or self.since is None:
            return self, lambda v: v
        return self.before, self.since

    def _function(self, path: str, function: Function, name: str) -> Chain:
        if plain := self._plain():
            cell = activated(f"linear_{name}", plain.cell["h_next"], function)
            chain = replace(self, layers=(*self.layers[:-1], replace(plain, cell=cell)))
        else:
            size = self.outputs
            chain = self._behind(Layer(path, activated(name, X, function), {}, size, size))
        return replace(chain, before=self, since=function)

    def _plain(self) -> Layer | None:
        """The last layer, where it is a linear one that nothing was joined to."""
        plain = self.layers and self.layers[-1].cell in (LINEAR, UNBIASED)
        return self.layers[-1] if plain else None

    def _check_end(self, path: str) -> None:
        if self.ended:
            raise InputError(f"{path} reads what {self.ended} gives, which cannot be built")

    def _behind(self, new: Layer) -> Chain:
        self._check_end(new.path)
        if self.outputs and self.outputs != new.inputs:
            before = self.layers[-1].path if self.layers else "the embedding"
            raise InputError(
                f"{new.path} reads {new.inputs} numbers, but {before} before it gives"
                f" {self.outputs}"
            )
        sized = (replace(each, inputs=new.inputs, outputs=new.inputs) for each in self.layers)
        layers = self.layers if self.outputs else tuple(sized)
        return replace(self, layers=(*layers, new), before=None, since=None)

    def _rounded(self, path: str, *arrays: Any) -> Chain:
        wide = any(np.asarray(array).dtype == np.float64 for array in arrays)
        return self.noted(*[f"{path}: its float64 weights are rounded to float32"] * wide)


def _size(function: Function) -> int:
    """How many operations and operands an activation is."""
    return sum(1 for _ in walk(function(Name("v"))))


def activated(name: str, v: Expr, function: Function) -> Cell:
    """``h_next = function(v)``; v gets a name of its own where it is computed and read twice."""
    reads = sum(node == Name("v") for node in walk(function(Name("v"))))
    if isinstance(v, Apply) and reads > 1:
        return Cell(name, (("h_in", v), ("h_next", function(Name("h_in")))))
    return Cell(name, (("h_next", function(v)),))
