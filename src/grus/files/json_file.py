"""Weights as JSON: RTNeural's layers as its Keras exporter writes them, and state dicts of PyTorch
as lists of numbers, such as those of GuitarML's Proteus.

RTNeural: ``{"in_shape": ..., "layers": [{"type": "gru", "activation": "", "shape": ...,
"weights": [...]}]}``, the weights as Keras' ``get_weights`` gives them (python/model_utils.py).
Proteus: ``{"model_data": {...}, "state_dict": {"rec.weight_ih_l0": [[...]], ...}}``.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from grus.dialects import USUAL, Dialect
from grus.errors import InputError
from grus.weight_file import MAX_NAME, Array, Budget, Contents, check_name, one_line

MAX_BYTES = 256 * 2**20
MAX_DEPTH = 16
RECURRENT = {"gru": "GRU", "lstm": "LSTM"}
CLASSES = {"dense": "Dense", "time-distributed-dense": "Dense", "activation": "Activation"}
CLASSES |= RECURRENT
"""RTNeural's layers by Keras' names for them."""
VARIABLES = ("kernel", "recurrent_kernel", "bias")
REC = "rec."
"""What stands before the names of a Proteus file's recurrent layer."""


def read(path: Path) -> Contents:
    """The arrays of numbers of a JSON file by their path. Raises InputError.

    Numbers are float32 where that is what was printed, exactly, else float64.
    """
    budget = Budget.of(path)
    if budget.file_size > MAX_BYTES:
        raise InputError(f"larger than {MAX_BYTES} bytes")
    try:
        given = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise InputError(f"not JSON: {one_line(error)}") from None
    tensors: dict[str, Array] = {}
    described: dict[str, dict[str, Any]] = {}
    layers = given.get("layers") if isinstance(given, dict) else None
    configuration = ""
    if isinstance(layers, list):
        configuration = json.dumps(_in_words_of_keras(layers))
        given = dict(_layers(layers, described))
    aside = []
    for name, found in _leaves("", given, 0):
        if isinstance(found, str):
            aside.append(one_line(found)[:80])
            continue
        check_name(name)
        if name in tensors:
            raise InputError(f"two arrays are called {one_line(name)[:80]!r}")
        budget.take_array(name, found.shape, 8)
        tensors[name] = _single(found)
    kind = "rtneural" if isinstance(layers, list) else "json"
    notes = _notes(given)
    return Contents(kind, tensors, {}, described, tuple(aside), {}, notes, configuration)


def _notes(given: Any) -> tuple[str, ...]:
    """What a Proteus file says that its weights do not."""
    about = given.get("model_data") if isinstance(given, dict) else None
    if isinstance(about, dict) and about.get("skip"):
        return ("skip: the model adds its input to its output, which no weight says",)
    return ()


def _in_words_of_keras(layers: list[Any]) -> dict[str, Any]:
    """The layers as a Sequential of Keras, under the names of `_layers`."""
    settings = []
    for number, layer in enumerate(layers):
        held = layer if isinstance(layer, dict) else {}
        kind, weights = str(held.get("type"))[:40], held.get("weights")
        name = {"name": f"{kind}_{number}", "return_sequences": True}
        name |= {"activation": held.get("activation")} if kind not in RECURRENT else {}
        bias = {"use_bias": isinstance(weights, list) and len(weights) > 1}
        settings.append({"class_name": CLASSES.get(kind, kind), "config": name | bias})
    return {"class_name": "Sequential", "config": {"layers": settings}}


def _layers(layers: list[Any], described: dict[str, dict[str, Any]]) -> Iterator[tuple[str, Any]]:
    """RTNeural's layers by a name for each; those that are recurrent in Keras' words."""
    for number, layer in enumerate(layers):
        is_layer = isinstance(layer, dict)
        kind = str(layer.get("type"))[:40] if is_layer else "none"
        name, weights = f"{kind}_{number}", layer.get("weights") if is_layer else layer
        if kind in RECURRENT:
            if layer.get("activation") not in ("", None, "tanh"):
                raise InputError(f"{name}: RTNeural's {kind} has tanh alone")
            described[name] = {"class_name": RECURRENT[kind], "activation": "tanh",
                               "recurrent_activation": "sigmoid", "reset_after": True}  # fmt: skip
            if not isinstance(weights, list) or len(weights) > len(VARIABLES):
                raise InputError(f"{name}: its weights are no list of a kernel for the input, one"
                                 " for the state, and a bias")  # fmt: skip
            weights = dict(zip(VARIABLES, weights, strict=False))
        yield name, weights


def _leaves(name: str, value: Any, depth: int) -> Iterator[tuple[str, Array | str]]:
    """The arrays by their path, and the path of what is none, as text."""
    if len(name) > MAX_NAME:
        check_name(name)
    if depth > MAX_DEPTH:
        raise InputError(f"{one_line(name)[:80]} nests too deep")
    array = _array(value) if isinstance(value, list) and value else None
    if array is not None:
        yield name, array
        return
    items: Any = ()
    if isinstance(value, dict):
        items = value.items()
    elif isinstance(value, list):
        items = enumerate(value)
    else:
        yield name, name
    for key, inner in items:
        yield from _leaves(f"{name}.{key}".lstrip("."), inner, depth + 1)


def _array(value: list[Any]) -> Array | None:
    """Nested lists of numbers as an array; None for other lists."""
    first: Any = value
    while isinstance(first, list) and first:
        first = first[0]
    if type(first) not in (int, float):
        return None
    try:
        found = np.asarray(value, np.float64)
    except (ValueError, TypeError, OverflowError):
        return None
    return found


def _single(wide: Array) -> Array:
    with np.errstate(over="ignore"):
        narrow = wide.astype(np.float32)
    return narrow if np.array_equal(narrow, wide, equal_nan=True) else wide


def content(target: Dialect, tensors: Mapping[str, Array], layers: Sequence[Any]) -> bytes:
    """The bytes of a JSON file: Keras' layers as RTNeural reads them, PyTorch's tensors as Proteus
    and other programs on RTNeural do.

    ``layers`` are `KerasLayer` for a target of Keras. Raises InputError for what RTNeural has not.
    """
    if target.framework == "torch":
        state = {f"{REC}{name}": array.tolist() for name, array in tensors.items()}
        about = {
            "unit_type": target.cell_name.upper(), "input_size": tensors["weight_ih_l0"].shape[1],
            "hidden_size": tensors["weight_hh_l0"].shape[1], "bias_fl": "bias_ih_l0" in tensors,
            "num_layers": sum("hh" in name and name[-1].isdigit() for name in tensors) // 2,
        }  # fmt: skip
        return json.dumps({"model_data": about, "state_dict": state}).encode()
    plain = target.cell_name in RECURRENT and target.activations == USUAL
    if target.framework != "keras" or not plain:
        raise InputError(
            f"RTNeural has no {target.title}: it runs a GRU with the reset after the product, or an"
            " LSTM, with sigmoid and tanh"
        )
    found = []
    for layer in layers:
        if len(layer.directions) > 1 or "go_backwards" in layer.settings:
            raise InputError("RTNeural's layers run forward alone")
        (weights,) = layer.directions
        found.append({
            "type": target.cell_name, "activation": "",
            "shape": [None, None, len(weights[1])], "weights": [w.tolist() for w in weights],
        })  # fmt: skip
    inputs = [None, None, len(layers[0].directions[0][0])]
    return json.dumps({"in_shape": inputs, "layers": found}).encode()
