"""`Dialect`: how one framework, format or paper stores a cell; reading and writing by it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal

from grus.dialects.activation import USUAL, Activation, Activations, Factored
from grus.dialects.network import Network
from grus.dialects.stored_network import Scheme, pack, read
from grus.dialects.tensor_layout import ADDED, Tensor, TensorLayout, parse
from grus.dialects.transform import fit
from grus.equations import CELLS, Cell, Weight
from grus.errors import InputError

Padded = Literal["zero", "repeat", "raw", "no lengths"]
Reverse = Literal["row", "tensor", "caller"]
Order = Literal["time", "processing", "caller"]
Empty = Literal["initial", "zero", "refused", "last", "unknown", "no lengths"]

SAID = {
    "zero": "0",
    "repeat": "the output before it again",
    "raw": "whatever the cell gives for padding",
    "row": "from each row's last valid step",
    "tensor": "from the end of the padded tensor",
    "time": "in time order",
    "processing": "in the order of processing",
    "initial": "the initial state",
    "refused": "refused",
    "last": "the state after all the padding",
    "unknown": "not known",
    "no lengths": "no lengths at all",
}


@dataclass(frozen=True, slots=True)
class Runtime:
    """A framework's switches that no conversion of weights can change."""

    padded: Padded = "no lengths"
    """The output past a row's length."""
    reverse: Reverse = "caller"
    """Where a reverse direction begins."""
    order: Order = "caller"
    """In which order a reverse direction's outputs come."""
    empty: Empty = "no lengths"
    """The final state of a row of length 0."""
    backward: bool = True
    """True where one direction alone can run backward."""

    def __str__(self) -> str:
        if self.padded == "no lengths":
            said = [SAID["no lengths"]]
        else:
            said = [f"padding: {SAID[self.padded]}", f"length 0: {SAID[self.empty]}"]
        if self.reverse == "caller":
            return "; ".join([*said, "a reverse direction is left to the caller"])
        return "; ".join([*said, f"reverse: {SAID[self.reverse]}, {SAID[self.order]}"])


Array = Any
Side = Literal["rows", "columns"]
Second = Literal["none", "gates", "inner"]


@dataclass(frozen=True, slots=True)
class Biases:
    """How a framework gives its biases.

    ``second`` is what there is beside the input bias of all gates: nothing, a recurrent bias of
    all gates (where the cell has no inner bias only the sum counts), or the inner bias alone.
    ``together`` means that one tensor holds both.
    """

    second: Second
    together: bool
    said: str


ONE = Biases("none", False, "one bias")
TWO = Biases("gates", False, "two biases: the input's, and the recurrent one")
ROWS = Biases("gates", True, "one tensor of two rows: the input bias, then the recurrent one")
JOINED = Biases("gates", True, "one vector: the input biases, then the recurrent ones")
INNER = Biases("inner", False, "one bias, and the inner bias of the candidate alone")


@dataclass(frozen=True)
class Dialect:
    """How one framework, format or paper stores the weights of one cell."""

    framework: str
    """The framework. Several dialects may share it; their cells tell them apart."""
    title: str
    cell_name: str
    """The name of the cell in `CELLS`."""
    columns: bool = False
    """Where the gates stand: False is [gates * H, I] for W x, True [I, gates * H] for x W."""
    holds: Mapping[str, str] = field(default_factory=dict)
    """Tensor name -> what it holds, in the language of `packing`."""
    scheme: Scheme = field(default_factory=Scheme)
    letters: Mapping[str, str] = field(default_factory=dict)
    """The cell's gate letter -> theirs, where it differs."""
    named: str = ""
    """A name of this one dialect; the framework's where it is empty."""
    activations: Activations = USUAL
    words: Mapping[str, Activation] = field(default_factory=dict)
    """What its users may choose instead, by its own words; {} where nothing."""
    free: bool = False
    """True where alpha, beta and clip may be given too."""
    runtime: Runtime = field(default_factory=Runtime)
    turned: bool = False
    """True where each gate's block is the memory of its matrix [H, I], under the shape [I, H]."""
    shift: Mapping[str, float] = field(default_factory=dict)
    """Gate -> what the framework adds to its bias at each step, stored nowhere."""
    either: bool = False
    """True where a layer may have one of its two biases alone; what is not there is 0."""
    evidence: str = "equations only"
    """The package and the version that the tests run against this record, or what was read."""

    @cached_property
    def cell(self) -> Cell:
        """The equations of a step, activations among them."""
        return Factored(CELLS[self.cell_name], self.activations).cell

    @property
    def proven(self) -> bool:
        """True where the tests run the framework against this record."""
        return not self.evidence.startswith("equations only")

    @property
    def plain(self) -> bool:
        """True where order, side and biases say all of how the weights are stored."""
        return not (self.turned or self.shift)

    @property
    def name(self) -> str:
        """What `find` knows it by."""
        return self.named or self.framework

    @cached_property
    def tensors(self) -> tuple[Tensor, ...]:
        """The tensors of one layer in one direction, in the framework's order."""
        return tuple(parse(name, text) for name, text in self.holds.items())

    @cached_property
    def packing(self) -> TensorLayout:
        """The same with the way round that the matrices are."""
        return TensorLayout(self.tensors, self.columns, self.turned)

    @cached_property
    def blocks(self) -> frozenset[Weight]:
        """Every weight that has a place."""
        return frozenset(block for tensor in self.tensors for block in tensor.blocks)

    @cached_property
    def biased(self) -> frozenset[str]:
        """The names of its biases."""
        return frozenset(tensor.name for tensor in self.tensors if not tensor.matrix)

    def is_without(self, names: Iterable[str]) -> bool:
        """True for tensors of a layer that has some of its biases and not all."""
        every = tuple(names)
        there = [any(bias in name for name in every) for bias in self.biased]
        return any(there) and not all(there)

    # What worksheets say of it.

    @property
    def gates_in(self) -> Side:
        """Where the gates stand in a packed matrix."""
        return "columns" if self.columns else "rows"

    @property
    def order(self) -> tuple[str, ...]:
        """The gates as they stand in a packed tensor; () where no tensor holds them all."""
        gates = set(self.cell.families["W"])
        for tensor in self.tensors:
            stack = tuple(block.gate for block in tensor.parts[0])
            if tensor.matrix and len(tensor.parts) == 1 and set(stack) == gates:
                return stack
        return ()

    @property
    def biases(self) -> Biases:
        """How the biases are given."""
        families = [{block.family for block in t.blocks} for t in self.tensors if not t.matrix]
        every = set().union(*families)
        together = any("b" in one and len(one) > 1 for one in families)
        if ADDED not in every:
            return INNER if "d" in every else ONE
        if not together:
            return TWO
        return ROWS if any(len(t.parts) > 1 for t in self.tensors if not t.matrix) else JOINED

    @property
    def names(self) -> dict[str, str]:
        """Weight family -> what its tensors are called."""
        return {
            family: ", ".join(held)
            for family in "WUbd"
            if (held := [t.name for t in self.tensors if family in {w.family for w in t.blocks}])
        }

    # Reading and writing.

    def read(
        self, tensors: Mapping[str, Array], where: str = "", *, reverse: bool = False
    ) -> Network:
        """The network that ``tensors`` are, by their names in this dialect.

        ``where`` is what stands before the names, as in "encoder.rnn.weight_ih_l0"; tensors
        elsewhere are then left alone. Biases are all there, or none is and they are 0 (or the
        same one is nowhere there, where the dialect has ``either``).
        ``reverse``: one direction that runs backward, which no tensor tells.

        Raises InputError when a tensor is missing (`Incomplete`), unknown, or of a shape that
        cannot be.
        """
        return read(self, tensors, where, reverse)

    def write(self, network: Network) -> dict[str, Array]:
        """The tensors that this network is in this dialect, by name.

        What can be said otherwise is: `transform.fit` finds it. Raises Unrepresentable naming the
        term that has no place here.
        """
        fitted = fit(network, self)
        return pack(fitted.dialect, fitted.network)

    def activated(
        self,
        gates: str | Activation = "",
        candidate: str | Activation = "",
        output: str | Activation = "",
        *,
        clip: float | None = None,
    ) -> Dialect:
        """The dialect with other activations, by its own words for them or as `Activation`.

        Raises InputError where its users cannot choose them.
        """
        given = {"gates": gates, "candidate": candidate, "output": output}
        usual = self.activations
        found = {r: self._word(a) if a else getattr(usual, r) for r, a in given.items()}
        chosen = Activations(**found, clip=usual.clip if clip is None else clip)
        if not self.allows(chosen):
            raise InputError(f"{self.title} cannot have {chosen}")
        return replace(self, activations=chosen)

    def _word(self, given: str | Activation) -> Activation:
        if isinstance(given, Activation):
            return Activation("linear") if given == Activation("affine") else given
        found = self.words.get(given) or self.words.get(given.lower())
        return found or Activation(given)

    def allows(self, chosen: Activations) -> bool:
        """True where its users can choose these."""
        if chosen == self.activations:
            return True
        if chosen.clip is not None and not self.free:
            return False
        return all(self._allows(getattr(chosen, r)) for r in ("gates", "candidate", "output"))

    def _allows(self, one: Activation) -> bool:
        if self.free:
            names = {known.name for known in self.words.values()}
            # Linear is affine with the numbers 1 and 0.
            return one.name in names or (one.name == "linear" and "affine" in names)
        usual = self.activations
        return one in {*self.words.values(), usual.gates, usual.candidate, usual.output}


RNN, RNN_RELU = "rnn", "rnn_relu"


@dataclass(frozen=True)
class Meant:
    """The dialect that a layer's settings mean; ``reverse`` if it runs backward alone."""

    dialect: Dialect
    reverse: bool = False
    notes: tuple[str, ...] = ()


def cell_of(kind: str, after: bool, relu: bool) -> str:
    """The cell of `CELLS` that a layer or node of this kind is, other activations aside."""
    if kind == "LSTM":
        return "lstm"
    if kind in ("RNN", "SimpleRNN"):
        return RNN_RELU if relu else RNN
    return "gru" if after else "gru_reset_before"
