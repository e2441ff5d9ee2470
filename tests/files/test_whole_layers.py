"""A recurrent layer of a file is whole and understood, or it is refused, in every format."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from sample_files import need, onnx_model, write

from cells import draw_tensors
from grus.dialects import DIALECTS, Dialect, convert, find
from grus.dialects.stored_network import Incomplete, pack
from grus.errors import InputError
from grus.files import npz, safetensors_file, torch_file
from grus.files.formats import load
from grus.files.layers import Layer, find_layers, same_network
from grus.weight_file import Contents

STORED = [one for one in DIALECTS if one.tensors]
WRITTEN = {".npz": npz.content, ".pt": torch_file.content,
           ".safetensors": lambda t: safetensors_file.content(t, {})}  # fmt: skip


def tensors_of(dialect: Dialect, layers: int = 1, directions: int = 1) -> dict[str, np.ndarray]:
    """Random tensors by the dialect's names for them, under the path net."""
    found = draw_tensors(dialect, layers, directions)
    return {f"net/{name}": np.asarray(array) for name, array in found.items()}


def at(contents: Contents, path: str = "net") -> Layer | None:
    """The layer at a path."""
    return next((one for one in find_layers(contents) if one.path == path), None)


@pytest.mark.parametrize("dialect", STORED, ids=lambda d: f"{d.name}-{d.cell_name}")
def test_a_layer_without_one_of_its_tensors_is_no_layer(dialect: Dialect) -> None:
    """Two layers and two directions, each tensor left out in turn: nothing takes its place."""
    whole = tensors_of(dialect, 2, 2)
    layer = at(Contents("npz", whole))
    assert layer is not None
    assert layer.readings[0].network is not None
    for name in whole:
        rest = {other: array for other, array in whole.items() if other != name}
        with pytest.raises(Incomplete):
            dialect.read(rest, "net")
        broken = at(Contents("npz", rest))
        if broken is not None:
            with pytest.raises(InputError, match=r"^the layer at net: "):
                _ = broken.readings


@pytest.mark.parametrize("dialect", STORED, ids=lambda d: f"{d.name}-{d.cell_name}")
def test_a_layer_without_any_bias_is_whole(dialect: Dialect) -> None:
    whole = tensors_of(dialect, 2, 2)
    base = dialect.scheme.pattern(tuple(one.name for one in dialect.tensors))
    found = {n: base.fullmatch(n.removeprefix("net/")) for n in whole}
    bare = {n: a for n, a in whole.items() if (m := found[n]) and m["base"] not in dialect.biased}
    layer = at(Contents("npz", bare))
    assert layer is not None
    assert not layer.fault
    for weights in layer.fits[0].network.layers[0]:
        biases = [weights[family] for family in "bd" if family in weights]
        whole_bias = sum(np.abs(one).sum() for one in biases)
        # TensorFlow 1's layer adds 1 to the forget gate whatever is stored.
        assert whole_bias == sum(dialect.shift.values()) * len(weights["U"][0])


@pytest.mark.parametrize("dialect", STORED, ids=lambda d: f"{d.name}-{d.cell_name}")
@pytest.mark.parametrize("name", ["peephole", "bias_hh_l0_orig", "gate/scale"])
def test_an_unknown_tensor_at_the_path_of_a_layer_refuses_it(name: str, dialect: Dialect) -> None:
    given = tensors_of(dialect) | {f"net/{name}": np.ones(4, "f4")}
    layer = at(Contents("npz", given))
    assert layer is not None
    with pytest.raises(InputError, match=f"^the layer at net: net/{name} stands at the"):
        _ = layer.readings
    seeds = tensors_of(dialect) | {f"net/{name}": np.ones(4, "u4"), "head/w": np.ones(4, "f4")}
    layer = at(Contents("npz", seeds))
    assert layer is not None
    assert layer.readings


def test_tensors_at_the_top_are_of_a_layer_at_the_top(tmp_path: Path) -> None:
    own = {n.removeprefix("net/"): a for n, a in tensors_of(find("torch")).items()}
    head = {"head.weight": np.ones((2, 4), "f4")}
    for suffix, content in WRITTEN.items():
        (layer,) = find_layers(load(write(tmp_path, suffix, content(own | head))))
        assert layer.readings
        extra = {"bias_hh_l0_orig": np.ones(3, "f4")}
        (layer,) = find_layers(load(write(tmp_path, suffix, content(own | head | extra))))
        with pytest.raises(InputError, match="bias_hh_l0_orig stands at the layer's path"):
            _ = layer.readings
        rest = {n: a for n, a in own.items() if n != "bias_hh_l0"}
        (layer,) = find_layers(load(write(tmp_path, suffix, content(rest | head))))
        with pytest.raises(InputError, match="the tensor bias_hh_l0 is missing"):
            _ = layer.readings
        with pytest.raises(InputError, match="the tensor bias_hh_l0 is missing"):
            convert(rest, "torch", "keras")


def test_other_layers_of_the_file_are_read(tmp_path: Path) -> None:
    broken = {f"a.{n.removeprefix('net/')}": t for n, t in tensors_of(find("torch")).items()}
    sound = {f"b{n[1:]}": t for n, t in broken.items()}
    del broken["a.bias_ih_l0"]
    one, two = find_layers(load(write(tmp_path, ".npz", npz.content(broken | sound))))
    assert (one.path, bool(one.fault), two.path, two.fault) == ("a", True, "b", "")


def test_an_lstm_s_peepholes_refuse_it(tmp_path: Path) -> None:
    onnx = need("onnx")
    model = onnx_model({
        "w": np.ones((1, 12, 2), "f4"), "r": np.ones((1, 12, 3), "f4"),
        "b": np.ones((1, 24), "f4"), "p": np.ones((1, 9), "f4"),
    })  # fmt: skip
    node = model.graph.node[0]
    del node.attribute[:]
    node.op_type = "LSTM"
    node.attribute.append(onnx.helper.make_attribute("hidden_size", 3))
    node.input.extend(["", "", "", "p"])
    (layer,) = find_layers(load(write(tmp_path, ".onnx", model.SerializeToString())))
    with pytest.raises(InputError, match="enc/P stands at the layer's path"):
        _ = layer.readings
    node.input[7] = ""
    node.input[3] = "computed"
    (layer,) = find_layers(load(write(tmp_path, ".onnx", model.SerializeToString())))
    with pytest.raises(InputError, match=r"enc/B stands .* it is computed when the model runs"):
        _ = layer.readings


def test_numbers_of_a_type_that_is_not_read_refuse_the_layer(tmp_path: Path) -> None:
    need("torch")
    import torch
    from safetensors.torch import save

    own = {n.removeprefix("net/"): torch.tensor(a) for n, a in tensors_of(find("torch")).items()}
    own = {n: t.to(torch.float8_e4m3fn) if "bias" in n else t for n, t in own.items()}
    (layer,) = find_layers(load(write(tmp_path, ".safetensors", save(own))))
    with pytest.raises(InputError, match=r"bias_hh_l0 stands .* it has the type F8_E4M3"):
        _ = layer.readings


def test_a_record_packs_what_it_reads() -> None:
    """What `draw` makes are all tensors of the record, so that the tests above see each."""
    for dialect in STORED:
        given = draw_tensors(dialect, 2, 2)
        assert set(pack(dialect, dialect.read(given))) == set(given)


@pytest.mark.parametrize("base", ["bias_ih", "bias_hh"])
def test_paddle_s_layers_may_have_one_of_two_biases(base: str) -> None:
    """bias_ih_attr=False: the tensor is nowhere, or its zeros shift the names of all others."""
    whole = {n.replace("/", "."): a for n, a in tensors_of(find("torch"), 2, 2).items()}
    given = {n: a for n, a in whole.items() if base not in n}
    zeros = {n: np.zeros_like(a) if base in n else a for n, a in whole.items()}
    (layer,) = find_layers(Contents("pt", given))
    with pytest.raises(InputError, match=rf"the tensor {base}_l0 is missing, .*: --from paddle"):
        _ = layer.readings
    (layer,) = find_layers(Contents("pt", given), [find("paddle")])
    assert same_network(layer.readings[0].network, find("paddle").read(zeros, "net"))
    fewer = {n: a for n, a in zeros.items() if n != "net.bias_hh_l1_reverse"}
    (layer,) = find_layers(Contents("pt", fewer), [find("paddle")])
    with pytest.raises(InputError, match="the tensor bias_hh_l1_reverse is missing"):
        _ = layer.readings
    cells = {f"net.0.cell_fw.{n[4:-3]}": a for n, a in whole.items() if n.endswith("_l0")}
    layer = at(Contents("pt", given | cells), "net")
    known = find_layers(Contents("pt", given | cells), [find("paddle")])
    (layer,) = [one for one in known if one.path == "net"]
    with pytest.raises(InputError, match=r"wrong names: take --layer 0\.cell"):
        _ = layer.readings
    (cell,) = [one for one in known if one.path == "net.0.cell_fw"]
    assert np.array_equal(cell.readings[0].tensors["weight_ih"], whole["net.weight_ih_l0"])
