"""torch's layers, and this project's, which are called in the same way."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from grus import __version__
from grus_benchmarks.problem import BOTH, BOTH_DX, FORWARD, Problem
from grus_benchmarks.right import gradients
from grus_benchmarks.wire import Array, Arrays
from grus_benchmarks.worker import Call, Loaded, fastest

if TYPE_CHECKING:
    from torch import nn


class TorchLayers:
    """nn.GRU and nn.LSTM; one step by the faster of the layer and the cell (nn.GRUCell)."""

    def __init__(self, threads: int) -> None:
        import torch

        torch.set_num_threads(threads)
        torch.set_num_interop_threads(1)
        self.library: Any = torch.nn
        said = f"torch.set_num_threads({threads}), set_num_interop_threads(1)"
        self.about = {"version": f"torch {torch.__version__}", "threads": said}

    def load(self, problem: Problem, given: Arrays) -> Loaded:
        """A layer with these weights, by torch's own names."""
        import torch

        tensors = {name: torch.from_numpy(value) for name, value in given.items()}
        x, layer = tensors["x"], self.layer(problem, tensors)
        if problem.step:
            calls = {FORWARD: self.one_step(layer, problem, tensors)}
        else:
            calls = {FORWARD: _without_gradients(lambda dy: layer(x)[0])}
            for kind in (BOTH, BOTH_DX):
                calls[kind] = partial(_both, layer, x, with_x=kind == BOTH_DX)
        return Loaded(calls, torch.from_numpy, _read)

    def layer(self, problem: Problem, tensors: dict[str, Any]) -> nn.Module:
        """The layer with the given weights."""
        kind = getattr(self.library, problem.cell.upper())
        layer: nn.Module = kind(
            problem.shape.inputs,
            problem.shape.hidden,
            num_layers=problem.layers,
            bidirectional=problem.directions == 2,
            dtype=tensors["x"].dtype,
        )
        layer.load_state_dict({name: tensors[name] for name in layer.state_dict()})
        return layer

    def one_step(self, layer: Any, problem: Problem, tensors: dict[str, Any]) -> Call:
        """The faster of the two ways that torch has."""
        states = tuple(tensors[name] for name in problem.states)
        one = getattr(self.library, problem.cell.upper() + "Cell")
        cell = one(problem.shape.inputs, problem.shape.hidden, dtype=tensors["x"].dtype)
        cell.load_state_dict({n.removesuffix("_l0"): v for n, v in layer.state_dict().items()})
        x, lstm = tensors["x"], problem.cell == "lstm"
        whole, first = (states if lstm else states[0]), [state[0] for state in states]
        inner = tuple(first) if lstm else first[0]

        def by_cell(dy: Any) -> Any:
            found = cell(x[0], inner)
            return (found[0] if lstm else found)[None]

        by_layer = _without_gradients(lambda dy: layer(x, whole)[0])
        return fastest([by_layer, _without_gradients(by_cell)], None)


class Ours(TorchLayers):
    """grus.GRU and grus.LSTM; one step by `layer.stepper()`, with nothing allocated."""

    def __init__(self, threads: int) -> None:
        super().__init__(threads)
        from grus import layers

        self.library = layers
        self.about |= {"version": f"grus {__version__}"}

    def one_step(self, layer: Any, problem: Problem, tensors: dict[str, Any]) -> Call:
        """The stepper, whose weights are packed here."""
        import torch

        stepper, x = layer.stepper(), tensors["x"][0]
        states = tuple(tensors[name] for name in problem.states)
        after = tuple(torch.empty_like(state) for state in states)
        out = torch.empty(problem.shape.batch, problem.shape.hidden, dtype=x.dtype)

        def call(dy: Any) -> Any:
            stepper(x, states, out=(out, after))
            return out[None]

        return call


def _without_gradients(function: Call) -> Call:
    import torch

    def call(dy: Any) -> Any:
        with torch.no_grad():
            return function(dy)

    return call


def _both(layer: Any, x: Any, dy: Any, *, with_x: bool) -> Any:
    return gradients(layer, x, dy, with_x=with_x)


def _read(kind: str, raw: Any) -> dict[str, Array]:
    if kind == FORWARD:
        return {"output": raw.numpy()}
    output, found = raw
    return {"output": output.numpy(), **{name: value.numpy() for name, value in found.items()}}
