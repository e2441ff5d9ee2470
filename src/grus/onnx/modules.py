"""A recurrent module of PyTorch or of this project as a `Network`. Imports no torch: a module is
known by its attributes and its tensors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from grus.dialects.network import Network, Pair
from grus.dialects.torch_record import TorchRecord, current
from grus.equations import CELLS, Cell
from grus.errors import InputError

Array = Any
MODES = {"GRU": "gru", "LSTM": "lstm", "RNN_TANH": "rnn", "RNN_RELU": "rnn_relu"}
"""What torch calls the cell of nn.GRU, nn.LSTM and nn.RNN."""


@dataclass(frozen=True)
class Given:
    """A network, and whether its module takes the batch first."""

    network: Network
    batch_first: bool = False
    turned: bool = False
    """Outputs come in the order of processing: a network that runs backward has its first step,
    the last in time, first."""


def given(module: Any) -> Given:
    """The network that a module is: ``nn.GRU``, ``nn.LSTM``, ``nn.RNN`` or `grus.Recurrent`.

    A `Network` is itself, and so is what this gave before. Dropout between layers is left out, as
    in evaluation. Raises InputError for anything else, a projection, and numbers that are neither
    float32 nor float64.
    """
    if isinstance(module, Given):
        return module
    if isinstance(module, Network):
        return Given(module)
    cell = _cell(module)
    if cell is None:
        raise InputError(_refusal(module))
    if getattr(module, "proj_size", 0):
        raise InputError("ONNX has no projection after the state: proj_size must be 0")
    ends = ("", "_reverse") if module.bidirectional else ("",)
    rows = int(module.num_layers)
    record, size = TorchRecord(cell), int(module.hidden_size)
    own_names = record.shapes({"input": int(module.input_size), "hidden": size}, bool(module.bias))
    names = [f"{name}_l{k}{end}" for k in range(rows) for end in ends for name in own_names]
    tensors = {name: _array(name, t) for name, t in current(module, names).items()}
    layers, pairs = [], []
    for k in range(rows):
        found = [_row(record, tensors, f"_l{k}{end}", size) for end in ends]
        layers.append(tuple(weights for weights, _ in found))
        pairs.append(tuple(pair for _, pair in found))
    kept = tuple(pairs) if pairs[0][0] is not None else ()
    return Given(Network(cell, tuple(layers), pairs=kept), bool(module.batch_first))


def _cell(module: Any) -> Cell | None:
    """The cell of a recurrent module; None for any other."""
    own, mode = getattr(module, "cell", None), getattr(module, "mode", None)
    cell = own if isinstance(own, Cell) else CELLS.get(MODES.get(str(mode), ""))
    layers = getattr(module, "num_layers", 0)
    return cell if layers and hasattr(module, "state_dict") else None


def _refusal(module: Any) -> str:
    """Why a module is not written, and for a whole model by which call it is."""
    kind = type(module).__name__
    inside = getattr(module, "named_modules", lambda: ())()
    names = [name for name, one in inside if _cell(one) is not None]
    if names:
        return (
            f"{kind} is a whole model, whose recurrent modules alone are written here"
            f" ({', '.join(names[:9])}); torch.onnx.export(model, args, path) writes it whole, with"
            " a node for each recurrent layer, and grus.onnx.load runs that"
        )
    return (
        "only a grus or torch recurrent module (nn.GRU, nn.LSTM, nn.RNN, grus.Recurrent) or a"
        f" Network can be written, not {kind}"
    )


def _array(name: str, tensor: Any) -> Array:
    kind = str(tensor.dtype)
    if kind not in ("torch.float32", "torch.float64"):
        raise InputError(f"{name} must be float32 or float64 to be written, got {kind}")
    return tensor.detach().cpu().numpy().copy()


def _row(
    record: TorchRecord, tensors: Mapping[str, Array], end: str, size: int
) -> tuple[dict[str, Array], Pair | None]:
    """One layer in one direction: its weights by family, and its two biases where it has two."""
    own = {name.removesuffix(end): t for name, t in tensors.items() if name.endswith(end)}
    dtype = next(iter(own.values())).dtype
    weights = record.families(own, size, lambda n: np.zeros(n, dtype), np.concatenate)
    return weights, record.pair(own, size)
