"""What torch's tools and programs ask of a recurrent module beside calling it: recorders
(``torch.jit.trace``, ``torch.jit.script``, ``torch.fx``), attributes, lists of weights, the repr.

A recorder keeps what it sees, and a loop that it sees becomes a loop of that many steps. So it is
given one thing for a whole sequence: torch's own module over the same parameters where torch has
the cell, a node that names the layer in ``torch.fx``, else the operator of `torch_operator`.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.fx import Proxy

from grus.dialects import TorchRecord
from grus.dialects.torch_record import current
from grus.equations import Cell
from grus.errors import InputError, KindError
from grus.layers import native
from grus.layers.dispatch import Path
from grus.layers.parameters import Names
from grus.layers.regularised import Regularised

Method = TypeVar("Method", bound=Callable[..., Any])
BEGUN = ("_calls", "_ready_record")
"""What copies and pickles begin anew."""


def as_torch(layer: Any, input: Any, hx: Any) -> Any:
    """What torch's own module gives over the layer's parameters; None where torch has no such
    cell."""
    twin = native.module(layer)
    return None if twin is None else twin.forward(input, hx)


def packed(layer: Any, input: Any, hx: Any) -> Any:
    """As `as_torch` of a PackedSequence. Raises InputError where torch has no such cell."""
    result = as_torch(layer, input, hx)
    if result is None:
        raise InputError(
            "torch.jit.trace would keep a PackedSequence's lengths as constants, and torch has no"
            f" {_called(layer)}: give the padded input with lengths="
        )
    return result


def _called(layer: nn.Module) -> str:
    """Its cell's name, and how its layers are joined."""
    held = layer.__dict__
    connect = held.get("connect")
    return f"{held['cell'].name}, joined by connect={connect!r}," if connect else held["cell"].name


NOTHING: Mapping[str, Any] = {}


def leaf(
    layer: nn.Module,
    input: Any,
    hx: Any,
    options: Mapping[str, Any],
    further: Mapping[str, Any] = NOTHING,
) -> Any:
    """The node of ``torch.fx.symbolic_trace`` that calls the layer, as it has for ``nn.GRU``.

    Raises InputError where the layer is itself what is traced, and where it has hooks, which would
    run here and in the graph; KindError where ``input`` is nothing that torch.fx made.
    """
    if not isinstance(input, Proxy):
        raise KindError(f"input must be a Tensor, got {type(input).__name__}")
    tracer: Any = input.tracer
    if tracer.root is layer:
        raise InputError(
            "torch.fx has a recurrent layer as one node: trace the model that holds it"
        )
    if layer._forward_hooks or layer._forward_pre_hooks:
        raise InputError("torch.fx would run this layer's hooks twice: remove them before tracing")
    arguments = (input,) if hx is None else (input, hx)
    return tracer.create_proxy(
        "call_module", tracer.path_of_module(layer), arguments, {**options, **further}
    )


def not_compiled(method: Method) -> Method:
    """A method that ``torch.compile`` leaves to Python: its graph breaks here, as at ``nn.GRU``."""
    outside: Method = torch.compiler.disable(method)  # type: ignore[no-untyped-call]
    return outside


class _NotQuantized:
    """Says what torch's quantization, which looks here first, will not do."""

    def __get__(self, layer: nn.Module | None, kind: type[nn.Module]) -> Any:
        if layer is None:
            return self
        warnings.warn(
            f"torch's quantization finds modules by their class: this {kind.__name__} stays as it"
            " is; call grus.restore(model) before",
            stacklevel=3,
        )
        raise AttributeError(f"{kind.__name__} has no qconfig")


class _Packaged:
    """What ``torch.package`` asks of what it packs: grus stays outside, as torch does. A class is
    asked, too, and has nothing to say."""

    def __get__(self, layer: nn.Module | None, kind: type[nn.Module]) -> Any:
        if layer is None:
            raise AttributeError("__reduce_package__")

        def reduce(exporter: Any) -> tuple[Any, ...]:
            exporter.extern(["grus", "grus.**"])
            return _unpackaged, (kind, layer.__getstate__())  # type: ignore[no-untyped-call]

        return reduce


class Recorded(nn.Module):
    """What torch's tools ask a module for, beside calling it."""

    def __prepare_scriptable__(self) -> nn.Module:
        """torch's own module over the same parameters: what ``torch.jit.script`` compiles.

        Raises InputError where torch has no such cell.
        """
        twin = native.module(self)
        if twin is None:
            raise InputError(
                "torch.jit.script compiles the layers that torch has; trace a layer of"
                f" {_called(self)} (torch.jit.trace) or export it (torch.export)"
            )
        return twin

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name not in BEGUN}

    __reduce_package__ = _Packaged()
    qconfig = _NotQuantized()

    def __dir__(self) -> list[str]:
        """Without ``qconfig``: who looks at everything does not quantize."""
        return [name for name in super().__dir__() if name != "qconfig"]  # type: ignore[no-untyped-call]


def _unpackaged(importer: Any, kind: type[nn.Module], state: dict[str, Any]) -> nn.Module:
    del importer
    layer = kind.__new__(kind)
    layer.__setstate__(state)  # type: ignore[no-untyped-call]
    return layer


class TorchSurface(Recorded):
    """The attributes of ``nn.RNNBase`` that programs read."""

    cell: Cell
    input_size: int
    hidden_size: int
    num_layers: int
    bias: bool
    batch_first: bool
    dropout: float
    bidirectional: bool
    proj_size: int
    backend: Path | None
    regularised: Regularised
    further_sizes: dict[str, int]
    connect: str
    record: TorchRecord
    _rows: list[Names]

    def flatten_parameters(self) -> None:
        """Nothing to do: the parameters are read where they lie. It is here because torch's is."""

    def layer_tensors(self, row: int) -> dict[str, Tensor]:
        """The tensors of one row of h_n, as the next call reads them, under torch's names without
        the layer's number.

        Row k is layer k; with two directions layer k // 2, forward where k is even.
        """
        names = self._rows[row]
        tensors = current(self, names.values())
        return {name: tensors[parameter] for name, parameter in names.items()}

    def layer_weights(self, row: int) -> dict[str, Tensor]:
        """The weights of one row of h_n by family, as the cell's equations name them."""
        tensors = self.layer_tensors(row)
        if not tensors:
            return {}
        like = next(iter(tensors.values()))
        size = self.record.bias_size(tensors)
        return self.record.families(tensors, size, like.new_zeros, torch.cat)

    @property
    def all_weights(self) -> list[list[Tensor]]:
        """The parameters, one list for each layer and direction."""
        return [[getattr(self, name) for name in row.values()] for row in self._rows]

    @property
    def _all_weights(self) -> list[list[str]]:
        # Private in torch too, but read by packages; so are the two below.
        return [list(row.values()) for row in self._rows]

    @property
    def _flat_weights_names(self) -> list[str]:
        return [name for row in self._rows for name in row.values()]

    @property
    def _flat_weights(self) -> list[Tensor]:
        return [weight for row in self.all_weights for weight in row]

    @_flat_weights.setter
    def _flat_weights(self, weights: list[Tensor]) -> None:
        # As in torch, the next calls read these: packages put their fast weights here.
        for name, weight in zip(self._flat_weights_names, weights, strict=True):
            if getattr(self, name) is not weight:
                self._parameters[name] = weight  # type: ignore[assignment]

    # Checks of arguments that subclasses and packages call. `forward` makes its own.
    check_input = nn.RNNBase.check_input
    check_forward_args = nn.RNNBase.check_forward_args
    check_hidden_size = nn.RNNBase.check_hidden_size
    get_expected_hidden_size = nn.RNNBase.get_expected_hidden_size
    permute_hidden = nn.RNNBase.permute_hidden

    def _weights_have_changed(self) -> bool:
        return False  # nothing is kept of them from call to call

    def _init_flat_weights(self) -> None:
        """Nothing to do, as for `flatten_parameters`."""

    def _update_flat_weights(self) -> None:
        """Nothing to do, as for `flatten_parameters`."""

    def extra_repr(self) -> str:
        """What ``print(layer)`` shows: the cell first, then what is not at its default."""
        return ", ".join([self.cell.name, *self._sizes_repr()])

    def _sizes_repr(self) -> list[str]:
        options = {
            "proj_size": (self.proj_size, 0),
            "num_layers": (self.num_layers, 1),
            "bias": (self.bias, True),
            "batch_first": (self.batch_first, False),
            "dropout": (self.dropout, 0.0),
            "bidirectional": (self.bidirectional, False),
        }
        named = [f"{name}={now}" for name, (now, usual) in options.items() if now != usual]
        texts: dict[str, Any] = {"connect": self.connect} if self.connect else {}
        texts |= {"further_sizes": self.further_sizes} if self.further_sizes else {}
        counts = {*self.cell.shapes.blocks.values()} - {1}
        texts |= {"blocks": counts.pop()} if len(counts) == 1 else {}
        texts |= self.regularised.given
        named += [f"{name}={value!r}" for name, value in texts.items()]
        return [str(self.input_size), str(self.hidden_size), *named]
