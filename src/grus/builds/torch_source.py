"""A torch module as a chain of layers: its forward recorded by torch.fx, and read call by call.

The recorder runs the module's own Python once, on stand-ins for tensors; no number is computed.
"""

from __future__ import annotations

import operator
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, fx, nn
from torch.nn import functional
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from grus.builds.activations import refused
from grus.builds.chain import OPERATORS
from grus.builds.flow import MOVES, Flow, Given, State, indexed, laid_out
from grus.builds.model import Model
from grus.builds.run_source import character_model
from grus.builds.torch_layers import RECURRENT, STEPS, add_function, add_layer, add_recurrent, array
from grus.errors import InputError, expect
from grus.models import LanguageModel

SPELLED = {"truediv": "div", "true_divide": "div", "multiply": "mul", "subtract": "sub"}
SPELLED |= {f"i{name}": name for name in ("add", "sub", "mul")} | {"itruediv": "div"}
KEPT = (
    *("contiguous", "detach", "float", "to", "cpu", "clone", "type_as", "identity"),
    *("dropout", "alpha_dropout", "feature_dropout", "dropout1d"),
)
"""What changes nothing in inference."""
PACKING = ("pack_padded_sequence", "pad_packed_sequence")
ZEROS = ("zeros", "new_zeros", "zeros_like")
ASKED = ("size", "dim", "ndim", "shape", "device", "dtype", "get_device", "is_cuda", "__len__")
"""What is asked of a tensor and is none."""


def read_module(module: nn.Module, logits: bool) -> Model:
    """The model that a torch module is. Raises InputError for what cannot be built."""
    expect("a build takes a torch module or a path", module, nn.Module)
    module = getattr(module, "_orig_mod", module)  # of torch.compile
    path = type(module).__name__.lower()
    if isinstance(module, LanguageModel):
        return character_model(module)
    if isinstance(module, (*RECURRENT, *STEPS)):
        return add_recurrent(Flow().chain, path, module).model()
    if module.__module__.startswith("torch.nn") and not isinstance(module, nn.Sequential):
        return add_layer(Flow().chain, path, module, logits).model()
    return _Reading(module, logits).model()


class _Tracer(fx.Tracer):
    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, (*RECURRENT, *STEPS)) or super().is_leaf_module(
            m, module_qualified_name
        )


class _Reading:
    """The calls of one forward, in order, each with what it gives."""

    def __init__(self, module: nn.Module, logits: bool) -> None:
        self.module, self.logits = module, logits
        self.values: dict[fx.Node, Any] = {}

    def model(self) -> Model:
        """Follow the calls to what the forward gives."""
        result: Any = None
        for node in _graph(self.module).nodes:
            args = fx.node.map_arg(node.args, self.values.__getitem__)
            kwargs = fx.node.map_arg(node.kwargs, self.values.__getitem__)
            if node.op == "output":
                result = args[0]
                break
            self.values[node] = getattr(self, f"_{node.op}")(node, list(args), dict(kwargs))
        chains = {id(flow.chain): flow.chain for flow in _flows(result)}
        last = [c for c in chains.values() if all(c.contains(other) for other in chains.values())]
        if not last:
            raise InputError(
                f"{type(self.module).__name__} gives {len(chains) or 'no'} outputs of layers, and"
                " one is built"
            )
        return (
            last[0]
            .noted(*["of several outputs the last layer's is built"] * (len(chains) > 1))
            .model()
        )

    def _placeholder(self, node: fx.Node, args: list[Any], kwargs: dict[str, Any]) -> Any:
        return Given(f"the argument {node.target}", argument=True) if self.values else Flow()

    def _get_attr(self, node: fx.Node, args: list[Any], kwargs: dict[str, Any]) -> Any:
        return operator.attrgetter(str(node.target))(self.module)

    def _call_module(self, node: fx.Node, args: list[Any], kwargs: dict[str, Any]) -> Any:
        path, module = str(node.target), self.module.get_submodule(str(node.target))
        read = (args + [kwargs.pop(name) for name in ("input", "x") if name in kwargs])[0]
        read = read[0] if isinstance(read, tuple) else read  # of a recurrent layer: the output
        if not isinstance(read, Flow):
            raise InputError(f"{path} reads no output of a layer, but {_said(read)}")
        if isinstance(module, RECURRENT):
            return self._recurrent(path, module, read, args[1:], kwargs)
        if isinstance(module, STEPS):
            return self._step(path, module, read, [*args[1:], *kwargs.values()])
        self._check_alone(node, getattr(module, "inplace", False))
        if not isinstance(module, (nn.Flatten, nn.Unflatten)):
            if isinstance(module, (nn.Linear, nn.BatchNorm1d, nn.LayerNorm)):
                read = read.along(path, normed=isinstance(module, nn.BatchNorm1d))
            return read.of(add_layer(read.chain, path, module, self.logits))
        raise refused(path, type(module).__name__)

    def _recurrent(
        self, path: str, module: Any, read: Flow, args: list[Any], kwargs: dict[str, Any]
    ) -> Any:
        further = [node.name for node in getattr(getattr(module, "cell", None), "further", ())]
        if odd := [name for name in further if not isinstance(kwargs.pop(name, 0), Given)]:
            raise InputError(
                f"{path}: the further input {odd[0]} must be an argument of the module"
            )
        notes = [note for other in (*args, *kwargs.values()) for note in _starts(path, other)]
        notes += [f"{path}: {', '.join(further)} stand behind x in each row"] * bool(further)
        flow = read.running(path, bool(module.batch_first))
        flow = flow.of(add_recurrent(flow.chain, path, module).noted(*notes))
        cell = flow.chain.layers[-1].cell
        rows = int(module.num_layers)
        states = tuple(State(flow, rows, cell.output == f"{name}_next") for name in cell.states)
        return flow, states[0] if len(states) == 1 else states

    def _step(self, path: str, module: Any, read: Flow, others: list[Any]) -> Any:
        """A cell that the forward gives its state: the model keeps it."""
        notes = [note for other in others for note in _starts(path, other)]
        flow = read.step(path)
        flow = flow.of(add_recurrent(flow.chain, path, module).noted(*notes))
        states = flow.chain.layers[-1].cell.states
        return flow if len(states) == 1 else (flow, *map(Given, states[1:]))

    def _call_method(self, node: fx.Node, args: list[Any], kwargs: dict[str, Any]) -> Any:
        return self._call(node, str(node.target), args, kwargs)

    def _call_function(self, node: fx.Node, args: list[Any], kwargs: dict[str, Any]) -> Any:
        return self._call(node, getattr(node.target, "__name__", str(node.target)), args, kwargs)

    def _call(self, node: fx.Node, name: str, args: list[Any], kwargs: dict[str, Any]) -> Any:
        """A function or a method of what ``args`` are."""
        self._check_alone(node, name.endswith("_") or kwargs.pop("inplace", False))
        name = name.strip("_")
        name = SPELLED.get(name, name)
        args = args or [kwargs.pop("input", None)]
        if name == "getattr":
            name, args = str(args[1]), args[:1]
        if name == "getitem" and isinstance(args[0], tuple):
            return args[0][args[1]]
        read = any(isinstance(value, (Flow, State)) for value in _leaves([args, kwargs]))
        if name in KEPT and (read or isinstance(args[0], Given)):
            return args[0]
        if name in ZEROS or name in ASKED or not read:
            return Given(f"what {name} gives", zero=name in ZEROS)
        return self._computed(node, name, args, kwargs)

    def _computed(self, node: fx.Node, name: str, args: list[Any], kwargs: dict[str, Any]) -> Any:
        """A function of what layers gave."""
        path, read = f"{type(self.module).__name__}.forward", args[0]
        if name in OPERATORS and len(args) == 2 and not kwargs:
            return self._arithmetic(path, name, *args)
        if not isinstance(read, (Flow, State)):
            raise refused(path, name)
        if name == "getitem":
            return indexed(path, read, args[1])
        if name in PACKING and isinstance(read, Flow):
            return self._packed(path, name, read, args, kwargs)
        if name in MOVES or isinstance(read, State):
            return laid_out(path, name, read, [*args[1:], *kwargs.values()])
        if node.target is functional.linear:
            return self._linear(path, read, *args[1:], **kwargs)
        return read.of(add_function(read.chain, path, name, args[1:], kwargs, self.logits))

    def _packed(
        self, path: str, name: str, read: Flow, args: list[Any], kwargs: dict[str, Any]
    ) -> Any:
        """Rows packed, or unpacked with their lengths."""
        packs = name == PACKING[0]
        batch_first = dict(enumerate(args)).get(2 if packs else 1, kwargs.get("batch_first"))
        if packs:
            return read.pack(path, bool(batch_first))
        return read.unpack(bool(batch_first)), Given("the lengths")

    def _linear(self, path: str, read: Flow, weight: Any, bias: Any = None) -> Flow:
        tensors = [t for t in (weight, bias) if t is not None]
        if not all(isinstance(t, Tensor) for t in tensors):
            raise refused(path, "linear of computed weights")
        read = read.along(path)
        return read.of(read.chain.linear(path, *(array(path, t) for t in tensors)))

    def _arithmetic(self, path: str, name: str, left: Any, right: Any) -> Flow:
        """A layer's output and a number, a tensor that is kept, or another output, joined by an
        operator."""
        flow, kept = (left, right) if isinstance(left, Flow) else (right, left)
        if isinstance(kept, Flow) and isinstance(flow, Flow) and kept.axes == flow.axes:
            return flow.of(flow.chain.joined(path, kept.chain, name))
        if isinstance(kept, Tensor):
            kept = array(path, kept)
        elif not isinstance(kept, (int, float)) or not isinstance(flow, Flow):
            raise refused(path, name)
        return flow.of(flow.chain.with_number(path, name, kept, flow is not left))

    def _check_alone(self, node: fx.Node, in_place: object) -> None:
        """Raise InputError where a tensor is changed in place that something else reads too."""
        read = node.args[0] if node.args else None
        if in_place and isinstance(read, fx.Node) and len(read.users) > 1:
            raise InputError(f"{node.target} changes in place what something else reads too")


def _graph(module: nn.Module) -> fx.Graph:
    """The calls of the forward, in evaluation."""
    try:
        with _evaluating(module):
            packing = (pack_padded_sequence, pad_packed_sequence)
            return _Tracer(autowrap_functions=packing).trace(module)
    except InputError:
        raise
    except Exception as error:  # whatever the module's own Python raises on a stand-in
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(
            f"the forward of {type(module).__name__} cannot be followed ({reason[:200]}); build an"
            " nn.Sequential of its layers, or its ONNX export"
        ) from error


@contextmanager
def _evaluating(module: nn.Module) -> Iterator[None]:
    before = {part: part.training for part in module.modules()}
    try:
        module.eval()
        yield
    finally:
        for part, training in before.items():
            part.training = training


def _leaves(value: Any) -> Iterator[Any]:
    """What stands in nested tuples, lists and dicts."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, (tuple, list)):
        for item in value:
            yield from _leaves(item)
    else:
        yield value


def _flows(value: Any) -> list[Flow]:
    return [item for item in _leaves(value) if isinstance(item, Flow)]


def _starts(path: str, value: Any) -> Iterator[str]:
    """Notes on the states that a layer is given. Raises InputError for those that are not zero."""
    for item in _leaves(value):
        if isinstance(item, Given) and item.argument:
            yield f"{path}: {item.what} is not read: states begin at zero, and no row is padded"
        elif isinstance(item, Tensor) and not item.any():
            continue
        elif item is not None and not getattr(item, "zero", False):
            raise InputError(
                f"{path} begins from {_said(item)}: a built model's states begin at zero"
            )


def _said(value: Any) -> str:
    if isinstance(value, Given):
        return value.what
    return "a state" if isinstance(value, State) else f"a {type(value).__name__}"
