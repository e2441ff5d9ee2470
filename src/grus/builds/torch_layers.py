"""Modules and functions of torch as layers of a chain."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from grus.builds.activations import ACTIVATIONS, LOGITS, refused
from grus.builds.chain import Chain
from grus.builds.model import Array
from grus.dialects import current
from grus.errors import InputError
from grus.layers import GRUCell, LSTMCell, Recurrent, RNNCell, read_layer

RECURRENT = (Recurrent, nn.GRU, nn.LSTM, nn.RNN)
STEPS = (GRUCell, LSTMCell, RNNCell, nn.GRUCell, nn.LSTMCell, nn.RNNCell)
"""What takes one step of a sequence."""
KEPT = (nn.Identity, nn.Dropout, nn.AlphaDropout, nn.Dropout1d)
"""What changes nothing in inference."""
MODULES = {name.replace("_", ""): name for name in (*ACTIVATIONS, *LOGITS, "gelu")}
"""The name of torch's class in small letters -> that of the function."""


def add_recurrent(chain: Chain, path: str, module: Any) -> Chain:
    """The rows of a recurrent module, or of one that takes steps, one layer each. Raises InputError
    for two directions, and for rows that are joined to more than the one below."""
    if getattr(module, "bidirectional", False):
        raise InputError(
            f"{path} has two directions: streaming: the backward direction needs the end of the"
            " sequence first"
        )
    if getattr(module, "connect", "") == "dense":
        raise InputError(
            f"{path}: connect='dense' cannot be built: a layer would read more than the one before"
        )
    try:
        known = read_layer(module, "a build", steps=True)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    for k, row in enumerate(known.rows):
        weights = row.weights(_plain(path, tensor) for tensor in row.tensors.values())
        where = path if len(known.rows) == 1 else f"{path}.{k}"
        inputs = chain.outputs if k else known.axes["input"]
        chain = chain.recurrent(where, row.record.cell, weights, inputs)
    return chain


def add_layer(chain: Chain, path: str, module: nn.Module, logits: bool) -> Chain:
    """Any other module of torch.nn. Raises InputError for one that cannot be built."""
    if isinstance(module, KEPT):
        return chain
    if isinstance(module, nn.Linear):
        return chain.linear(path, *(array(path, t) for t in _tensors(module)))
    if isinstance(module, nn.BatchNorm1d):
        return chain.scaled(path, *_batch_norm(path, module))
    if isinstance(module, nn.LayerNorm):
        size = module.normalized_shape
        if len(size) != 1:
            raise refused(path, "LayerNorm over several axes")
        gain, shift = (getattr(module, name) for name in ("weight", "bias"))
        return chain.normed(
            path,
            array(path, torch.ones(size) if gain is None else gain),
            array(path, torch.zeros(size) if shift is None else shift),
            module.eps,
        )
    if isinstance(module, nn.Embedding):
        if module.max_norm is not None:
            raise InputError(f"{path}: an embedding with max_norm cannot be built")
        return chain.looked_up(path, array(path, current(module, ["weight"])["weight"]))
    name = MODULES.get(type(module).__name__.lower(), "")
    numbers = ACTIVATIONS[name].numbers if name in ACTIVATIONS else ()
    named = {number: getattr(module, number) for number in numbers}
    if name == "gelu":
        named["approximate"] = module.approximate
    kind = type(module)
    unknown = (
        kind.__name__
        if kind.__module__.startswith("torch.nn")
        else f"{kind.__module__}.{kind.__name__}"
    )
    return add_function(chain, path, name or unknown, (), named, logits)


def add_function(
    chain: Chain,
    path: str,
    name: str,
    numbers: Sequence[Any],
    named: Mapping[str, Any],
    logits: bool,
) -> Chain:
    """A function of torch of one tensor, with its further arguments."""
    if name in LOGITS and logits:
        return chain.without(path, name)
    if name == "gelu" and "tanh" in (*numbers, *named.values()):
        name, numbers, named = "gelu_tanh", (), {}
    if name not in ACTIVATIONS:
        raise refused(path, name)
    known = ACTIVATIONS[name]
    chosen = dict(zip(known.numbers, numbers, strict=False)) | dict(named)
    return chain.applied(path, known.function(path, chosen), name)


def array(path: str, tensor: Tensor) -> Array:
    """The numbers of a tensor in float64 where it is so, else in float32, which holds them."""
    numbers: Array = _plain(path, tensor).numpy()
    return numbers


def _plain(path: str, tensor: Tensor) -> Tensor:
    if not tensor.is_floating_point() or tensor.is_sparse:
        raise InputError(f"{path}: its weights are no dense floating point tensor: {tensor.dtype}")
    tensor = tensor.detach().cpu()
    return tensor if tensor.dtype == torch.float64 else tensor.float()


def _tensors(module: nn.Module) -> list[Tensor]:
    """The weight and the bias, where there is one, as the next call reads them."""
    names = ["weight"] + ["bias"] * (module.bias is not None)
    return list(current(module, names).values())


def _batch_norm(path: str, module: nn.BatchNorm1d) -> tuple[Array, Array]:
    """The gain and the shift of a batch norm in inference, in float64."""
    if module.running_mean is None or module.running_var is None:
        raise InputError(
            f"{path}: a batch norm without running statistics cannot be built: it needs the batch"
        )
    mean, variance = (array(path, t) for t in (module.running_mean, module.running_var))
    gain = 1 / (variance.astype("float64") + module.eps) ** 0.5
    weights = [array(path, t) for t in _tensors(module)] if module.affine else []
    if weights:
        gain = gain * weights[0]
    shift = -mean * gain + (weights[1] if weights else 0)
    return gain, shift
