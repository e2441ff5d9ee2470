"""Files that are damaged or meant to harm: a sentence or a model, nothing else."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from copy import deepcopy
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from built import numbers

from grus.builds import Model, read_model
from grus.builds.keras_source import read_keras
from grus.errors import InputError
from grus.files import find_layers
from grus.files.hdf5 import Hdf5Data
from grus.files.keras_file import _contents

ODD: list[Any] = [None, 0, 1, -1, 7, 1e300, True, "", "x", "relu", [], [[]], {}, {"config": 3}]


def layer(kind: str, name: str, inbound: str = "", **settings: Any) -> dict[str, Any]:
    history = {"class_name": "__keras_tensor__", "config": {"keras_history": [inbound, 0, 0]}}
    return {
        "module": "keras.layers",
        "class_name": kind,
        "config": {"name": name, **settings},
        "name": name,
        "inbound_nodes": [{"args": [history], "kwargs": {}}] if inbound else [],
    }


CONFIG = {
    "class_name": "Functional",
    "config": {
        "name": "m",
        "layers": [
            layer("InputLayer", "in"),
            layer(
                "GRU", "g", "in", units=4, use_bias=True, activation="tanh", return_sequences=True
            ),
            layer("BatchNormalization", "n", "g", epsilon=1e-3, axis=-1),
            layer("TimeDistributed", "t", "n", layer=layer("Dense", "d", activation="elu")),
            layer("LeakyReLU", "l", "t", negative_slope=0.2),
            layer("Dense", "o", "l", use_bias=False, activation="relu"),
        ],
    },
}
TENSORS = {
    **{f"layers/gru/cell/vars/{k}": numbers(*s) for k, s in enumerate([(3, 12), (4, 12), (2, 12)])},
    **{f"layers/batch_normalization/vars/{k}": np.ones(4, "f4") for k in range(4)},
    "layers/time_distributed/layer/vars/0": numbers(4, 5),
    "layers/time_distributed/layer/vars/1": numbers(5),
    "layers/dense/vars/0": numbers(5, 2),
}


def read(config: Any, tensors: dict[str, np.ndarray]) -> Model:
    contents = _contents("keras", Hdf5Data(tensors, {}, ()), json.dumps(config), "3.5.0")
    return read_keras(contents, find_layers(contents), "dialect", logits=False)


def test_the_h5_of_keras_2_is_read_as_that_of_keras_3() -> None:
    config = deepcopy(CONFIG)
    for entry in config["config"]["layers"]:
        before = [
            history["config"]["keras_history"]
            for n in entry["inbound_nodes"]
            for history in n["args"]
        ]
        entry["inbound_nodes"] = [[[*names, {}]] for names in before]
        del entry["module"]
    config["config"]["layers"][1]["config"]["reset_after"] = True
    folders = {"gru/cell": "g/g/gru_cell", "batch_normalization": "n/n", "dense": "o/o"}
    folders["time_distributed/layer"] = "t/t"
    variables = {
        "g": ("kernel", "recurrent_kernel", "bias"),
        "o": ("kernel",),
        "t": ("kernel", "bias"),
    }
    variables["n"] = ("gamma", "beta", "moving_mean", "moving_variance")
    tensors = {
        f"model_weights/{folder}/{variables[folder[0]][k]}:0": TENSORS[f"layers/{path}/vars/{k}"]
        for path, folder in folders.items()
        for k in range(len(variables[folder[0]]))
    }
    data = Hdf5Data(tensors, {}, ())
    contents = _contents("h5", data, json.dumps(config), "2.11.0")
    model = read_keras(contents, find_layers(contents), "dialect", logits=False)
    x = numbers(5, 3)
    assert np.array_equal(model.run(x), read(CONFIG, TENSORS).run(x))


def refused(reading: Callable[[], Model]) -> bool:
    """Whether it ends with one sentence, and not with a model."""
    try:
        assert isinstance(reading(), Model)
    except InputError as error:
        sentence = str(error)
    else:
        return False
    assert "\n" not in sentence
    return True


def places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every place of nested dicts and lists: what it stands in, and its key there."""
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, inner in list(items):
        yield value, key
        if isinstance(inner, (dict, list)):
            yield from places(inner)


def test_a_configuration_with_anything_in_it_is_read_or_refused() -> None:
    assert [one.path for one in read(CONFIG, TENSORS).layers] == ["g", "n", "t", "o"]
    draw, count = random.Random(3), 0
    for _ in range(400):
        config = deepcopy(CONFIG)
        holder, key = draw.choice(list(places(config)))
        holder[key] = draw.choice(ODD)
        count += refused(partial(read, config, TENSORS))
    assert 50 < count < 390


def test_an_activation_without_a_name_is_refused() -> None:
    config = deepcopy(CONFIG)
    config["config"]["layers"][1]["config"]["activation"] = ""
    with pytest.raises(InputError, match="a GRU whose activation is a function of somebody's own"):
        read(config, TENSORS)


def test_variables_of_other_shapes_are_refused() -> None:
    for name in TENSORS:
        for odd in (np.zeros((0, 3), "f4"), np.zeros(9, "f4"), np.float32(1), np.zeros((2, 2, 2))):
            with pytest.raises(InputError):
                read(CONFIG, TENSORS | {name: np.asarray(odd)})
        with pytest.raises(InputError):
            read(CONFIG, {n: tensor for n, tensor in TENSORS.items() if n != name})


def graph() -> Any:
    """A GRU, a Gemm and activations, as exporters write them."""
    onnx = pytest.importorskip("onnx", reason="onnx is not installed: make test-peers")
    make, tensor = onnx.helper, onnx.numpy_helper.from_array
    held = {"W": numbers(1, 12, 3), "R": numbers(1, 12, 4), "B": numbers(1, 24), "C": numbers(5)}
    held |= {"M": numbers(4, 5), "one": np.array([1]), "last": np.array(-1), "half": numbers(1)}
    held |= {"shape": np.array([0, 0, -1])}
    nodes = [
        make.make_node("Shape", ["x"], ["size"]),
        make.make_node("ConstantOfShape", ["size"], ["zeros"]),
        make.make_node(
            "GRU", ["x", "W", "R", "B"], ["Y", "h"], hidden_size=4, linear_before_reset=1
        ),
        make.make_node("Transpose", ["Y"], ["turned"], perm=[0, 2, 1, 3]),
        make.make_node("Reshape", ["turned", "shape"], ["flat"]),
        make.make_node("Gather", ["flat", "last"], ["end"], axis=0),
        make.make_node("Gemm", ["end", "M", "C"], ["g"], alpha=1.0),
        make.make_node("Sigmoid", ["g"], ["s"]),
        make.make_node("Mul", ["g", "s"], ["silu"]),
        make.make_node("Add", ["silu", "half"], ["a"]),
        make.make_node("LeakyRelu", ["a"], ["y"], alpha=0.1),
    ]
    x = make.make_tensor_value_info("x", 1, ["time", "batch", 3])
    y = make.make_tensor_value_info("y", 1, ["batch", 5])
    made = make.make_graph(nodes, "g", [x], [y], [tensor(a, n) for n, a in held.items()])
    return make.make_model(made, opset_imports=[make.make_opsetid("", 17)], ir_version=8)


def test_a_graph_with_anything_in_it_is_read_or_refused(tmp_path: Path) -> None:
    whole, path, draw, count = graph(), tmp_path / "m.onnx", random.Random(4), 0
    path.write_bytes(whole.SerializeToString())
    assert [one.outputs for one in read_model(path).layers] == [4, 5]
    for _ in range(400):
        model = deepcopy(whole)
        damage(model.graph, draw)
        path.write_bytes(model.SerializeToString())
        count += refused(partial(read_model, path))
    assert 50 < count < 390


def damage(graph: Any, draw: random.Random) -> None:
    """Change one thing of a graph."""
    node, tensor = draw.choice(graph.node), draw.choice(graph.initializer)
    names = [name for other in graph.node for name in (*other.input, *other.output)]
    kind = draw.randrange(6)
    if kind == 0 and node.input:
        node.input[draw.randrange(len(node.input))] = draw.choice([*names, "", "nothing"])
    elif kind == 1:
        del node.input[draw.randrange(len(node.input)) :]
    elif kind == 2:
        node.op_type = draw.choice([*(n.op_type for n in graph.node), "Squeeze", "Slice", "Clip"])
    elif kind == 3 and node.attribute:
        attribute = draw.choice(node.attribute)
        attribute.i, attribute.f = draw.choice([-9, 0, 1, 99]), draw.choice([0.0, 2.0, -1.0])
        del attribute.ints[draw.randrange(4) :]
        attribute.ints.append(draw.choice([-9, 0, 1, 99]))
    elif kind == 4:
        tensor.dims[:] = draw.choice([[], [1], [2, 2], [0], [-1], [2**40]])
    else:
        tensor.CopyFrom(draw.choice(graph.initializer))
