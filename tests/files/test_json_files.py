"""RTNeural's JSON and state dicts as lists, read and written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from refusal import refused
from sample_files import write

from cells import draw_tensors
from grus.dialects import convert, find
from grus.errors import InputError
from grus.files.formats import load, save
from grus.files.layers import find_layers, same_network


def rtneural(kind: str, name: str, **more: Any) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """A file as RTNeural's python/model_utils.py prints it, and the Keras layer's variables."""
    tensors = {n: a.astype("f4") for n, a in draw_tensors(find(name), 1, 1).items()}
    weights = [tensors[n].tolist() for n in ("kernel", "recurrent_kernel", "bias")]
    layers = [
        {"type": kind, "activation": "", "shape": [None, None, 4], "weights": weights} | more,
        {"type": "dense", "activation": "tanh", "shape": [None, None, 1],
         "weights": [[[1.0], [0.5], [0.25], [0.125]], [0.5]]},
    ]  # fmt: skip
    return {"in_shape": [None, None, 3], "layers": layers}, tensors


@pytest.mark.parametrize(("kind", "name"), [("gru", "keras"), ("lstm", "keras_lstm")])
def test_rtneural_s_layers_are_keras_variables(kind: str, name: str, tmp_path: Path) -> None:
    given, tensors = rtneural(kind, name)
    contents = load(write(tmp_path, ".json", json.dumps(given).encode()))
    (layer,) = find_layers(contents)
    (reading,) = layer.readings
    assert (layer.path, reading.dialect.name) == (f"{kind}_0", name)
    assert all(np.array_equal(reading.tensors[n], tensors[n]) for n in tensors)
    assert {"dense_1.0", "dense_1.1"} == set(contents.tensors) - set(layer.names)
    out = tmp_path / "out.json"
    save(out, convert(reading.network, None, "keras"))
    written = json.loads(out.read_bytes())
    assert written["in_shape"] == given["in_shape"]
    assert written["layers"] == given["layers"][:1]


@pytest.mark.parametrize(("unit", "name"), [("GRU", "torch"), ("LSTM", "torch_lstm")])
def test_a_proteus_file_is_a_state_dict(unit: str, name: str, tmp_path: Path) -> None:
    tensors = {n: a.astype("f4") for n, a in draw_tensors(find(name), 1, 1).items()}
    given = {
        "model_data": {"model": "SimpleRNN", "input_size": 3, "skip": 1, "output_size": 1,
                       "unit_type": unit, "num_layers": 1, "hidden_size": 4, "bias_fl": True},
        "state_dict": {f"rec.{n}": a.tolist() for n, a in tensors.items()}
        | {"lin.weight": [[1.0, 2.0, 3.0, 4.0]], "lin.bias": [0.5]},
    }  # fmt: skip
    for encoding in ("utf-8", "utf-8-sig", "utf-16"):
        contents = load(write(tmp_path, ".json", json.dumps(given).encode(encoding)))
        (layer,) = find_layers(contents)
        (reading,) = layer.readings
        assert (layer.path, reading.dialect.name) == ("state_dict.rec", name)
        assert all(np.array_equal(reading.tensors[n], tensors[n]) for n in tensors)
        assert "skip: the model adds its input" in contents.notes[0]
    save(tmp_path / "out.json", convert(reading.network, None, "torch"))
    written = json.loads((tmp_path / "out.json").read_bytes())
    known = {k: given["model_data"][k] for k in written["model_data"]}
    assert written["model_data"] == known
    assert written["state_dict"] == {f"rec.{n}": a.tolist() for n, a in tensors.items()}
    (back,) = find_layers(load(tmp_path / "out.json"))
    assert same_network(back.readings[0].network, reading.network)


def test_numbers_that_float32_does_not_have_stay_float64(tmp_path: Path) -> None:
    found = load(write(tmp_path, ".json", b'{"a": [0.1, 1], "b": [[0.5], [2]], "c": [1, "x"]}'))
    assert {n: a.dtype.name for n, a in found.tensors.items()} == {"a": "float64", "b": "float32"}
    assert found.aside == ("c.0", "c.1")


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "not JSON"), (b"{", "not JSON"),
        (b"[" * 100_000, "not JSON"), (b"\xff\xfe\x00", "not JSON"),
        (b'{"a":' * 40 + b"1" + b"}" * 40, "nests too deep"),
        (b'{"a": ' + b"9" * 5000 + b"}", "not JSON"),
        (b'{"../a": [1]}', "cannot be called"), (b'{"a.b": [1], "a": {"b": [1]}}', "two arrays"),
        (json.dumps(rtneural("gru", "keras", activation="relu")[0]).encode(), "has tanh alone"),
        (json.dumps(rtneural("gru", "keras", weights=3)[0]).encode(), "no list of a kernel"),
        (b'{"%s": [%s]}' % (b"k" * 200_000, b"null," * 20_000 + b"null"), "cannot be called"),
        (b'{"a": ' + b"[" * 9 + b"1" + b"]" * 9 + b"}", "a shape that no tensor can have"),
    ],
    ids=range(12),
)  # fmt: skip
def test_what_cannot_be_is_one_sentence(content: bytes, told: str, tmp_path: Path) -> None:
    assert told in refused(write(tmp_path, ".json", content))


@pytest.mark.parametrize(
    "layer", [{}, {"weights": []}, {"weights": [1, 2, 3]}, {"weights": [[[1.0]], [["x"]], []]}]
)
def test_layers_of_no_weights_are_no_layers(layer: dict[str, Any], tmp_path: Path) -> None:
    given, _ = rtneural("gru", "keras")
    given["layers"][0] = {"type": "gru", "weights": []} | layer
    given["layers"] += [None, 3, {"type": ["gru"]}, {"type": None}]
    (found,) = find_layers(load(write(tmp_path, ".json", json.dumps(given).encode())))
    with pytest.raises(InputError, match=r"^the layer at gru_0: .* its tensors are not of one"):
        _ = found.readings


@pytest.mark.parametrize("target", ["haiku", "keras_reset_before", "keras_rnn"])
def test_rtneural_has_a_gru_and_an_lstm_alone(target: str, tmp_path: Path) -> None:
    record = find(target)
    network = record.read(draw_tensors(record, 1, 1))
    with pytest.raises(InputError, match="RTNeural has no "):
        save(tmp_path / "out.json", convert(network, None, target))
    both = find("keras").read(draw_tensors(find("keras"), 1, 2))
    with pytest.raises(InputError, match="run forward alone"):
        save(tmp_path / "out.json", convert(both, None, "keras"))
    assert list(tmp_path.iterdir()) == []
