"""Every network that a format can hold comes back from its file bit for bit."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from refusal import readings
from sample_files import need, onnx_model, safetensors_of, tensors, write

from grus.dialects import Network, TorchRecord, convert, find
from grus.dialects.activation import Activation
from grus.equations import CELLS, Cell
from grus.errors import InputError
from grus.files import safetensors_file, torch_file
from grus.files.description import describe
from grus.files.formats import WRITERS, load, save
from grus.files.layers import Reading, find_layers, same_network, stacked
from grus.weight_file import Contents

TARGETS = {".safetensors": "torch", ".npz": "torch", ".pt": "torch", ".pth": "torch",
           ".weights.h5": "keras", ".keras": "keras", ".onnx": "onnx",
           ".json": "torch"}  # fmt: skip
CONVERTED = ("gru", "lstm", "rnn", "rnn_relu")


def network(cell: Cell, layers: int = 1, directions: int = 1, *, reverse: bool = False,
            dtype: str = "float32") -> Network:  # fmt: skip
    """Random weights; input 3, hidden 4."""
    rng = np.random.default_rng(5)
    found = []
    for k in range(layers):
        sizes = {"input": 3 if k == 0 else 4 * directions, "hidden": 4}
        found.append(
            tuple(
                {
                    f: rng.normal(0, 0.5, cell.family_shape(f, sizes)).astype(dtype)
                    for f in cell.families
                }
                for _ in range(directions)
            )
        )
    return Network(cell, tuple(found), reverse)


def file_of(one: Network, path: Path, target: str) -> Path:
    """The network, converted to the target and written."""
    if path.suffix in (".h5", ".keras", ".onnx"):
        need({".onnx": "onnx"}.get(path.suffix, "h5py"))
    save(path, convert(one, None, target))
    return path


def network_in(path: Path, source: str) -> Network:
    """All layers of the file, the next on top of the one before, read as one dialect's."""
    layers = find_layers(load(path), [find(source)])
    return stacked([one.readings[0] for one in layers])


@pytest.mark.parametrize("suffix", WRITERS)
@pytest.mark.parametrize("cell", CONVERTED)
@pytest.mark.parametrize(("layers", "directions"), [(1, 1), (3, 1), (1, 2), (2, 2)])
def test_a_network_comes_back_bit_for_bit(
    suffix: str, cell: str, layers: int, directions: int, tmp_path: Path
) -> None:
    one = network(CELLS[cell], layers, directions)
    target = TARGETS[suffix]
    done = convert(one, None, target)
    path = file_of(one, tmp_path / f"model{suffix}", target)
    assert same_network(network_in(path, done.target.name), one)
    torch = convert(one, None, "torch").tensors
    back = convert(network_in(path, done.target.name), None, "torch").tensors
    assert {name: array.tobytes() for name, array in torch.items()} == {
        name: array.tobytes() for name, array in back.items()
    }
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("suffix", [".keras", ".weights.h5", ".safetensors", ".onnx"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_float64_and_float32_stay_what_they_are(suffix: str, dtype: str, tmp_path: Path) -> None:
    one = network(CELLS["gru"], dtype=dtype)
    path = file_of(one, tmp_path / f"model{suffix}", TARGETS[suffix])
    (layer,) = find_layers(load(path), [convert(one, None, TARGETS[suffix]).target])
    assert layer.readings[0].network.dtype == np.dtype(dtype)


@pytest.mark.parametrize("suffix", [".keras", ".onnx", ".safetensors"])
def test_a_direction_that_runs_backward_and_activations_come_back(
    suffix: str, tmp_path: Path
) -> None:
    """These three formats say more than tensors."""
    target = {".safetensors": "keras"}.get(suffix, TARGETS[suffix])
    record = find(target, "gru").activated("hard_sigmoid", "relu") if target == "keras" else None
    record = record or find("onnx_reset_after").activated(
        Activation("hard_sigmoid", 0.25, 0.375), Activation("scaled_tanh", 1.5, 0.5), clip=2.0
    )
    one = network(record.cell, reverse=True)
    path = file_of(one, tmp_path / f"model{suffix}", target)
    (layer,) = find_layers(load(path))
    (reading,) = layer.readings
    assert same_network(reading.network, one)
    assert reading.dialect.activations == record.activations


def test_a_different_number_is_another_network() -> None:
    one = network(CELLS["gru"])
    weights = dict(one.layers[0][0])
    weights["U"] = weights["U"].copy()
    weights["U"][0, 0] = np.nextafter(weights["U"][0, 0], np.float32(9))
    assert not same_network(one, replace(one, layers=((weights,),)))
    assert not same_network(one, replace(one, reverse=True))
    assert same_network(one, replace(one))


def test_a_draft_that_does_not_read_back_is_never_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One bit of the written bytes is turned round, where the format has no checksum of its own."""
    real = safetensors_file.content

    def wrong(*arguments: object) -> bytes:
        content = bytearray(real(*arguments))  # type: ignore[arg-type]
        content[-1] ^= 1
        return bytes(content)

    monkeypatch.setattr(safetensors_file, "content", wrong)
    with pytest.raises(ArithmeticError, match="does not read back"):
        save(tmp_path / "model.safetensors", convert(network(CELLS["gru"]), None, "torch"))
    assert list(tmp_path.iterdir()) == []


def test_metadata_say_dialect_cell_equations_and_version(tmp_path: Path) -> None:
    path = file_of(network(CELLS["gru"]), tmp_path / "model.safetensors", "torch")
    found = load(path).metadata
    assert (found["dialect"], found["cell"]) == ("torch", "gru")
    assert Cell.parse(found["equations"]) == CELLS["gru"]
    assert found["written_by"].startswith("grus ")


@pytest.mark.parametrize(
    "change",
    [{"activations": "{"}, {"activations": "[" * 10_000}, {"activations": "null"},
     {"activations": '{"gates": ["sigmoid", 1, 2]}'}, {"reverse": "1"}, {"reverse": "x"},
     {"equations": "h_next = h"}, {"equations": ""},
     {"activations": json.dumps({"gates": ["relu", None, None], "candidate": ["tanh", None, None],
                                 "output": ["tanh", None, None], "clip": None})}],
    ids=range(9),
)  # fmt: skip
def test_metadata_that_contradict_the_record_are_refused(
    change: dict[str, str], tmp_path: Path
) -> None:
    given = {n.removeprefix("rnn."): a for n, a in tensors().items() if n != "head.weight"}
    metadata = describe(find("torch"), False)
    content = safetensors_file.content(given, metadata)
    assert len(find_layers(load(write(tmp_path, ".safetensors", content)))) == 1
    content = safetensors_file.content(given, metadata | change)
    with pytest.raises(InputError, match="its metadata"):
        readings(find_layers(load(write(tmp_path, ".safetensors", content))))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_weights_that_are_no_numbers_are_refused(value: float, tmp_path: Path) -> None:
    given = tensors()
    given["head.weight"][0, 0] = value
    path = write(tmp_path, ".pt", torch_file.content(given))
    assert len(find_layers(load(path))) == 1, "a head is not converted"
    given["rnn.weight_hh_l0"][1, 1] = value
    path = write(tmp_path, ".pt", torch_file.content(given))
    with pytest.raises(InputError, match=r"rnn\.weight_hh_l0 holds NaN or infinity"):
        readings(find_layers(load(path)))


def layers_of(names: dict[str, tuple[int, ...]], **more: object) -> dict[str, list[str]]:
    """Path -> dialects, for zeros of these shapes."""
    arrays = {name: np.ones(shape, "f4") for name, shape in names.items()}
    contents = Contents("npz", arrays, **more)  # type: ignore[arg-type]
    return {one.shown: [r.dialect.name for r in one.readings] for one in find_layers(contents)}


GRU = {"weight_ih": (12, 3), "weight_hh": (12, 4), "bias_ih": (12,), "bias_hh": (12,)}


def test_paths_are_what_stands_before_the_names() -> None:
    top = {f"{name}_l0": shape for name, shape in GRU.items()}
    assert layers_of(top) == {".": ["torch"]}
    deep = {f"encoder.gru.{name}": shape for name, shape in top.items()}
    assert layers_of(deep | {"head.weight": (2, 4)}) == {"encoder.gru": ["torch"]}
    cells = {f"cells.{k}.{name}": shape for k in (0, 1) for name, shape in GRU.items()}
    assert list(layers_of(cells)) == ["cells.0", "cells.1"]


def test_shapes_tell_the_cell_and_what_they_do_not_tell_is_listed() -> None:
    lstm = {"a.weight_ih_l0": (16, 3), "a.weight_hh_l0": (16, 4)}
    rnn = {"b.weight_ih_l0": (4, 3), "b.weight_hh_l0": (4, 4)}
    found = layers_of(lstm | rnn)
    assert found == {"a": ["torch_lstm"], "b": ["torch_rnn", "torch_rnn_relu"]}
    keras = {"k/kernel": (3, 12), "k/recurrent_kernel": (4, 12), "k/bias": (12,)}
    assert {"keras_reset_before", "keras_2"} <= set(layers_of(keras)["k"])


@pytest.mark.parametrize("join", ["/", "."])
def test_nested_names_may_be_joined_by_either_separator(join: str) -> None:
    gates = {f"i{g}/kernel": (3, 4) for g in "rzn"} | {f"h{g}/kernel": (4, 4) for g in "rzn"}
    gates |= {"ir/bias": (4,), "iz/bias": (4,), "in/bias": (4,), "hn/bias": (4,)}
    names = {f"params/cell/{name}".replace("/", join): shape for name, shape in gates.items()}
    assert layers_of(names) == {f"params{join}cell": ["flax"]}


def test_a_lone_matrix_or_a_convolution_is_no_layer() -> None:
    assert layers_of({"weight_ih_l0": (12, 3)}) == {}
    assert layers_of({"kernel": (3, 3, 1, 12), "recurrent_kernel": (3, 3, 4, 12)}) == {}
    assert layers_of({"W": (3, 3), "b": (3,)}) == {}


@pytest.mark.parametrize(
    ("attributes", "told"),
    [
        ({"activations": ["Tanh", "Softplus"]}, "the activation 'Softplus'"),
        ({"direction": "reverse"}, ""),
        ({"clip": 3.0}, ""),
        ({"activations": ["HardSigmoid", "Relu"], "activation_alpha": [0.375]}, ""),
        ({"linear_before_reset": 0}, ""),
    ],
)
def test_attributes_of_an_onnx_node_say_the_cell(
    attributes: dict[str, object], told: str, tmp_path: Path
) -> None:
    onnx = need("onnx")
    model = onnx_model()
    del model.graph.node[0].attribute[:]
    given = {"hidden_size": 3, "linear_before_reset": 1} | attributes
    model.graph.node[0].attribute.extend(
        onnx.helper.make_attribute(*item) for item in given.items()
    )
    contents = load(write(tmp_path, ".onnx", model.SerializeToString()))
    if told:
        with pytest.raises(InputError, match=told):
            readings(find_layers(contents))
        return
    ((reading,),) = (one.readings for one in find_layers(contents))
    assert reading.dialect.cell_name == (
        "gru" if given["linear_before_reset"] else "gru_reset_before"
    )
    assert reading.network.reverse == (given.get("direction") == "reverse")
    assert reading.dialect.activations.clip == given.get("clip")
    if "activations" in given:
        assert reading.dialect.activations.gates == Activation("hard_sigmoid", 0.375, 0.5)


def test_stacked_layers_must_be_of_one_cell_and_fit() -> None:
    networks = [network(CELLS["gru"]), network(CELLS["lstm"])]
    one, two = (Reading(find("torch"), each, {}) for each in networks)
    with pytest.raises(InputError, match="not of one cell"):
        stacked([one, two])
    with pytest.raises(InputError, match="layer 1"):
        stacked([one, one])


@pytest.mark.parametrize("framework", ["keras", "flax"])
def test_backward_layers_whose_outputs_come_as_processed_are_no_stack(framework: str) -> None:
    """The second would read the first one's outputs from the end, and so run forward in time."""
    record = find(framework)
    one = Reading(record, network(record.cell, reverse=True), {})
    with pytest.raises(InputError, match="every second one of a stack runs forward"):
        stacked([one, one])
    deep = network(CELLS["gru"], 2, reverse=True)
    with pytest.raises(InputError, match="every second one of a stack runs forward"):
        convert(deep, None, framework)
    assert convert(deep, None, "onnx").network is deep


def test_a_framework_s_own_format_holds_no_other_dialect(tmp_path: Path) -> None:
    done = convert(network(CELLS["gru"]), None, "torch")
    for suffix in (".keras", ".weights.h5", ".onnx"):
        with pytest.raises(InputError, match="has no place in it"):
            save(tmp_path / f"model{suffix}", done)
    with pytest.raises(InputError, match=r"what is written ends in one of \.safetensors"):
        save(tmp_path / "model.h5", done)
    with pytest.raises(InputError, match="a folder that exists"):
        save(tmp_path / "nowhere" / "model.npz", done)
    assert list(tmp_path.iterdir()) == []


def test_layers_count_like_numbers() -> None:
    names = [f"l_{k}/{name}" for k, name in itertools.product((10, 2, 1), GRU)]
    found = layers_of({name: GRU[name.split("/")[1]] for name in names})
    assert list(found) == ["l_1", "l_2", "l_10"]


def test_a_header_of_our_own_is_not_trusted_with_shapes(tmp_path: Path) -> None:
    one = {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}
    header = {"weight_ih_l0": one, "__metadata__": describe(find("torch"), False)}
    path = write(tmp_path, ".safetensors", safetensors_of(header, bytes(16)))
    assert find_layers(load(path)) == ()


def test_onnx_keeps_the_numbers_of_activations_in_float32_and_the_difference_says_so(
    tmp_path: Path,
) -> None:
    """Keras 3's hard_sigmoid is v / 6 + 1 / 2; the nearest float32 is off by 5e-9."""
    need("onnx")
    record = find("keras", "gru").activated("hard_sigmoid")
    one = network(record.cell, dtype="float64")
    saved = save(tmp_path / "model.onnx", convert(one, None, "onnx"))
    assert 0 < saved.difference < 1e-7
    one = network(CELLS["gru"], dtype="float64")
    assert save(tmp_path / "model.onnx", convert(one, None, "onnx")).difference == 0


def checkpoint_of(cell: Cell, folder: Path) -> Path:
    """A file as `grus train` writes it: weights under "recurrent", and the optimiser's beside."""
    record, sizes = TorchRecord(cell), {"input": 3, "hidden": 4}
    rng = np.random.default_rng(8)
    names = [f"{before}recurrent.{name}_l0" for before in ("", "adam.exp_avg.")
             for name in record.shapes(sizes)]  # fmt: skip
    shapes = [*record.shapes(sizes).values()] * 2
    arrays = {n: rng.normal(0, 0.5, s).astype("f4") for n, s in zip(names, shapes, strict=True)}
    header = json.dumps({"cell": {"name": "anything", "equations": str(cell)}})
    return write(folder, ".safetensors", safetensors_file.content(arrays, {"grus": header}))


@pytest.mark.parametrize("name", [n for n, c in CELLS.items() if set(c.families) <= set("WUbd")])
def test_a_checkpoint_is_of_the_cell_that_it_prints(name: str, tmp_path: Path) -> None:
    """All of them have torch's names and shapes; read as torch's GRU most would be wrong."""
    cell = CELLS[name]
    contents = load(checkpoint_of(cell, tmp_path))
    (layer,) = find_layers(contents)
    (reading,) = layer.readings
    assert (layer.path, reading.network.cell) == ("recurrent", cell)
    plain = {n.split(".")[1][:-3]: a for n, a in contents.tensors.items() if n[:4] != "adam"}
    families = TorchRecord(cell).families(plain, 4, lambda n: np.zeros(n, "f4"), np.concatenate)
    for family, array in families.items():
        assert np.array_equal(reading.network.layers[0][0][family], array)


def test_a_checkpoint_of_a_cell_of_one_s_own_is_refused(tmp_path: Path) -> None:
    own = Cell.parse("h_next = tanh(W.a @ x + U.a @ h + b.a) * 0.5")
    with pytest.raises(InputError, match="a cell of one's own"):
        readings(find_layers(load(checkpoint_of(own, tmp_path))))
