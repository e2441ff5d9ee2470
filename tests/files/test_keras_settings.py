"""Every setting on the way to a Keras layer is read by its whole path, or the file is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from keras_files import INPUTS as I, H, gru, h5, keras, layer, model, named, numbered, write
from refusal import readings

from grus.dialects import find
from grus.dialects.conversion import candidates, convert
from grus.errors import InputError
from grus.files import keras_config, keras_proof
from grus.files.formats import load
from grus.files.layers import Layer, find_layers

RELU = {"activation": "relu", "recurrent_activation": "sigmoid", "reset_after": True}
USUAL = RELU | {"activation": "tanh"}
RNG = np.random.default_rng(5)
X = RNG.normal(size=(5, 2, I))


def layers(folder: Path, content: bytes, suffix: str, source: str = "") -> tuple[Layer, ...]:
    among = candidates(source) if source else None
    return find_layers(load(write(folder, content, suffix)), among)


def gru_output(arrays: list[np.ndarray], candidate: Callable[[Any], Any], x: Any = X) -> Any:
    """Keras' GRU(reset_after=True) on x from a state of zeros."""
    kernel, recurrent, bias = (a.astype("f8") for a in arrays)
    h, found = np.zeros((x.shape[1], H)), []
    for now in x:
        a, b = now @ kernel + bias[0], h @ recurrent + bias[1]
        z, r = (1 / (1 + np.exp(-(a + b)[:, k : k + H])) for k in (0, H))
        h = z * h + (1 - z) * candidate(a[:, 2 * H :] + r * b[:, 2 * H :])
        found.append(h)
    return np.stack(found)


def relu(v: Any) -> Any:
    return np.maximum(v, 0)


def rnn(cell: Any, name: str = "rnn", **config: Any) -> Any:
    return layer("RNN", name, cell=cell, **config)


CELL = layer("GRUCell", "gru_cell", **RELU)
ONE = {
    "RNN of a cell, .keras": (
        keras, "layers/rnn/cell", rnn(CELL), relu, False),
    "RNN of a cell that runs backward": (
        keras, "layers/rnn/cell", rnn(CELL, go_backwards=True), relu, True),
    "TimeDistributed, .keras": (
        keras, "layers/time_distributed/layer/cell",
        layer("TimeDistributed", "td", layer=layer("GRU", **RELU)), relu, False),
    "TimeDistributed, .h5": (
        h5, "td/td/gru_cell",
        layer("TimeDistributed", "td", layer=layer("GRU", **RELU)), relu, False),
    "RNN of a cell, .h5": (h5, "rnn/rnn/gru_cell", rnn(CELL), relu, False),
}  # fmt: skip


@pytest.mark.parametrize("name", ONE)
def test_settings_are_read_through_wrappers(name: str, tmp_path: Path) -> None:
    make, path, entry, function, backward = ONE[name]
    arrays = gru()
    if make is keras:
        content, suffix = keras(numbered(path, arrays), model(entry)), ".keras"
    else:
        content, suffix = h5(named(path, arrays), model(entry), "3.15.1"), ".h5"
    (found,) = layers(tmp_path, content, suffix)
    (reading,) = found.readings
    x = X[::-1] if backward else X
    theirs = gru_output(arrays, function, x)
    mine = reading.network.run(X).output
    assert np.abs(mine - (theirs[::-1] if backward else theirs)).max() < 1e-12


def test_two_models_that_each_have_a_layer_of_one_name(tmp_path: Path) -> None:
    inner = [
        model(layer("GRU", "gru", **settings), name=name)
        for name, settings in (("enc", USUAL), ("dec", RELU))
    ]
    arrays = [gru(1), gru(2, H)]
    new = [f"layers/sequential{k}/layers/gru/cell" for k in ("", "_1")]
    old = ["enc/gru/gru_cell", "dec/dec/gru/gru_cell"]
    files = (
        (keras(numbered(new[0], arrays[0]) | numbered(new[1], arrays[1]), model(*inner)), ".keras"),
        (h5(named(old[0], arrays[0]) | named(old[1], arrays[1]), model(*inner), "2.9.0"), ".h5"),
    )
    for content, suffix in files:
        found = layers(tmp_path, content, suffix)
        said = {
            one.readings[0].network.input_size: one.readings[0].dialect.activations for one in found
        }
        assert {n: a.candidate.name for n, a in said.items()} == {I: "tanh", H: "relu"}


def test_cells_on_one_another_are_two_layers_each_with_its_own_settings(tmp_path: Path) -> None:
    cells = [layer("GRUCell", "a", **USUAL), layer("GRUCell", "b", **RELU)]
    entry = rnn(layer("StackedRNNCells", "stack", cells=cells))
    path = "layers/rnn/cell/cells/gru_cell"
    tensors = numbered(path, gru(1)) | numbered(f"{path}_1", gru(2, H))
    found = layers(tmp_path, keras(tensors, model(entry)), ".keras")
    assert [one.readings[0].dialect.activations.candidate.name for one in found] == ["tanh", "relu"]
    old = "rnn/rnn/stack"
    tensors = named(f"{old}/a", gru(1)) | named(f"{old}/b", gru(2, H))
    found = layers(tmp_path, h5(tensors, model(entry), "2.9.0"), ".h5")
    assert [one.readings[0].dialect.activations.candidate.name for one in found] == ["tanh", "relu"]


def bidirectional(**backward: Any) -> Any:
    forward = layer("GRU", "forward_gru", **USUAL, go_backwards=False)
    back = layer("GRU", "backward_gru", **USUAL | {"go_backwards": True} | backward)
    return layer("Bidirectional", "bi", layer=forward, backward_layer=back, merge_mode="sum")


def test_two_directions_of_one_kind_are_one_layer(tmp_path: Path) -> None:
    path = "layers/bidirectional"
    tensors = numbered(f"{path}/forward_layer/cell", gru(1))
    tensors |= numbered(f"{path}/backward_layer/cell", gru(2))
    (found,) = layers(tmp_path, keras(tensors, model(bidirectional())), ".keras")
    assert found.readings[0].network.directions == 2
    assert "merge_mode='sum'" in found.notes[0]
    for other in ({"activation": "relu"}, {"go_backwards": False}):
        with pytest.raises(InputError, match="two layers have different settings"):
            readings(layers(tmp_path, keras(tensors, model(bidirectional(**other))), ".keras"))


@pytest.mark.parametrize("tail", ["", "/gru_cell_3"])
def test_a_bidirectional_of_keras_2_with_and_without_cells(tail: str, tmp_path: Path) -> None:
    """Keras 2.0 to 2.3 name no cell: bidirectional_1/forward_gru_1/kernel."""
    forward = layer("GRU", "gru_1", **USUAL)
    entry = layer("Bidirectional", "bi", layer=forward, merge_mode="concat")
    tensors = named(f"bi/bi/forward_gru_1{tail}", gru(1))
    tensors |= named(f"bi/bi/backward_gru_1{tail}", gru(2))
    (found,) = layers(tmp_path, h5(tensors, model(entry), "2.3.1"), ".h5")
    assert found.readings[0].network.directions == 2
    (found,) = layers(tmp_path, h5(tensors, None, "2.3.1"), ".h5")
    assert found.readings[0].network.directions == 2


OWN = {
    "a subclass": layer("MyGRU", "gru", "mine", **RELU),
    "a class of one's own called GRU": layer("GRU", "gru", None, **RELU),
    "of somebody's module": layer("GRU", "gru", "keras_more.layers", **RELU),
    "registered": layer("GRU", "gru", **RELU) | {"registered_name": "mine>GRU"},
    "a cell of one's own": rnn(layer("GRUCell", "gru", None, **RELU), "gru"),
}


@pytest.mark.parametrize("name", OWN)
def test_a_class_that_is_not_keras_own_is_refused_and_from_decides(
    name: str, tmp_path: Path
) -> None:
    path = "layers/rnn" if OWN[name]["class_name"] == "RNN" else "layers/gru"
    path = "layers/my_gru" if name == "a subclass" else path
    content = keras(numbered(f"{path}/cell", gru()), model(OWN[name]))
    with pytest.raises(InputError, match="does not say what this layer is"):
        readings(layers(tmp_path, content, ".keras"))
    (found,) = layers(tmp_path, content, ".keras", "keras:activation=relu")
    mine = found.readings[0].network.run(X).output
    assert np.abs(mine - gru_output(gru(), relu)).max() < 1e-12
    assert found.notes == ("its settings are what --from says",)


def test_a_model_of_ones_own_is_refused(tmp_path: Path) -> None:
    own = {"module": None, "class_name": "MyModel", "config": {}, "registered_name": "me>MyModel"}
    with pytest.raises(InputError, match="does not say what this layer is"):
        readings(layers(tmp_path, keras(numbered("gru/cell", gru()), own), ".keras"))
    with pytest.raises(InputError, match="does not say what this layer is"):
        readings(layers(tmp_path, h5(named("gru/my/gru/gru_cell", gru()), own, "3.1.0"), ".h5"))


def test_a_layer_of_another_name_than_its_weights_is_refused(tmp_path: Path) -> None:
    """The place is right and the name is not: the configuration is another model's."""
    h5py = pytest.importorskip("h5py", reason="h5py is not installed")
    content = h5(numbered("layers/gru/cell", gru()))
    path = write(tmp_path, content, ".h5")
    with h5py.File(path, "a") as file:
        file.attrs["model_config"] = __import__("json").dumps(model(layer("GRU", "mine", **RELU)))
        file.create_group("layers/gru/vars").attrs["name"] = "another"
    with pytest.raises(InputError, match="does not say what this layer is"):
        readings(find_layers(load(path)))


def test_settings_that_are_not_the_weights_own_are_refused(tmp_path: Path) -> None:
    content = keras(numbered("layers/gru/cell", gru()), model(layer("GRU", **RELU, units=9)))
    with pytest.raises(InputError, match="says 9 units, its weights have 4"):
        readings(layers(tmp_path, content, ".keras"))


def test_the_proof_runs_the_configuration_and_not_the_reading(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A reader that takes relu for tanh is found out."""
    content = keras(numbered("layers/gru/cell", gru()), model(layer("GRU", **RELU)))
    (found,) = layers(tmp_path, content, ".keras")
    usual = find("keras").read(
        dict(zip(("kernel", "recurrent_kernel", "bias"), gru(), strict=True))
    )
    contents = load(write(tmp_path, content, ".keras"))
    keras_proof.check(contents, "layers/gru", found.readings[0].network, found.readings[0].tensors)
    with pytest.raises(InputError, match="computes something else than what was read, off by"):
        keras_proof.check(contents, "layers/gru", usual, found.readings[0].tensors)


ERAS = {
    "1.2.2": "1", "2.0.8": "2", "2.1.6-tf": "2", "2.2.4": "2", "2.3.1": "2", "2.2.4-tf": "",
    "2.3.0-tf": "tf2", "2.4.0": "tf2", "2.15.0": "tf2", "2.16.0": "tf2", "3.0.0": "3", "": "",
}  # fmt: skip


@pytest.mark.parametrize("version", ERAS)
def test_which_keras_a_version_is(version: str) -> None:
    assert keras_config.era(version) == ERAS[version]


@pytest.mark.parametrize(
    ("version", "names"),
    [
        ("2.3.1", ["keras_2_reset_after"]),
        ("2.4.0", ["keras"]),
        ("2.15.0", ["keras"]),
        ("2.3.0-tf", ["keras"]),
        ("2.2.4-tf", ["keras", "keras_2_reset_after"]),
        ("", ["keras", "keras_2_reset_after"]),
    ],
)
def test_weights_alone_have_the_defaults_of_their_keras_and_from_decides(
    version: str, names: list[str], tmp_path: Path
) -> None:
    content = h5(named("gru/gru/gru_cell", gru()), None, version)
    (found,) = layers(tmp_path, content, ".h5")
    assert [one.dialect.name for one in found.readings] == names
    for source in ("keras", "keras_2"):
        (told,) = layers(tmp_path, content, ".h5", source)
        assert [one.dialect.framework for one in told.readings] == [source]


def test_tensorflow_2_does_not_tell_its_v1_layer_by_weights_alone(tmp_path: Path) -> None:
    content = h5(named("gru/gru/gru_cell", gru(bias=(3 * H,))), None, "2.9.0")
    (found,) = layers(tmp_path, content, ".h5")
    assert [one.dialect.name for one in found.readings] == ["keras_reset_before", "keras_2"]


@pytest.mark.parametrize(
    ("version", "word", "name", "slope"),
    [
        ("2.9.0", "sigmoid", "keras", None),
        ("2.3.1", "sigmoid", "keras", None),
        ("2.9.0", "hard_sigmoid", "keras_2_reset_after", 0.2),
        ("3.1.0", "hard_sigmoid", "keras", 1 / 6),
    ],
)
def test_a_hard_sigmoid_is_its_kerases_and_is_named_where_it_is(
    version: str, word: str, name: str, slope: float | None, tmp_path: Path
) -> None:
    entry = model(layer("GRU", "gru", **RELU | {"recurrent_activation": word}))
    content = h5(named("gru/gru/gru_cell", gru()), entry, version)
    (found,) = layers(tmp_path, content, ".h5")
    (reading,) = found.readings
    assert reading.dialect.name == name
    assert (reading.dialect.activations.gates.name, reading.dialect.activations.gates.alpha) == (
        word,
        slope,
    )
    assert "sigmoid" not in reading.dialect.title


def test_a_hard_sigmoid_of_an_unknown_keras_is_asked_for(tmp_path: Path) -> None:
    entry = model(layer("GRU", "gru", **RELU | {"recurrent_activation": "hard_sigmoid"}))
    content = h5(named("gru/gru/gru_cell", gru()), entry, "2.2.4-tf")
    with pytest.raises(InputError, match="does not tell which: say --from keras"):
        readings(layers(tmp_path, content, ".h5"))


@pytest.mark.parametrize("kind", ["GRU", "LSTM"])
@pytest.mark.parametrize("told", [True, False], ids=["configured", "weights alone"])
def test_cudnn_layers_are_their_own_dialect(kind: str, told: bool, tmp_path: Path) -> None:
    """By the rule with which Keras loads them into GRU(reset_after=True) and LSTM: each block
    transposed, the kernel's from Fortran's order too, the biases side by side."""
    count = {"GRU": 3, "LSTM": 4}[kind]
    arrays = gru(3, gates=count, bias=(2 * count * H,))
    name = f"cu_dnn{kind.lower()}"
    config = model(layer(f"CuDNN{kind}", name, units=H)) if told else None
    (found,) = layers(tmp_path, h5(named(f"{name}/{name}", arrays), config, "2.3.1"), ".h5")
    (reading,) = found.readings
    assert reading.dialect.name == ("keras_cudnn" if kind == "GRU" else "keras_cudnn_lstm")
    kernel, recurrent, bias = arrays
    plain = [
        np.hstack([k.T.reshape(k.shape, order="F") for k in np.hsplit(kernel, count)]),
        np.hstack([k.T for k in np.hsplit(recurrent, count)]),
        bias.reshape(2, -1) if kind == "GRU" else bias.reshape(2, -1).sum(0),
    ]
    target = "keras" if kind == "GRU" else "keras_lstm"
    done = convert(reading.tensors, reading.dialect, target)
    for mine, theirs in zip(done.tensors.values(), plain, strict=True):
        assert np.array_equal(mine, theirs)
    back = convert(done.tensors, target, reading.dialect.name)
    assert np.array_equal(back.tensors["kernel"], kernel)
    assert np.array_equal(back.tensors["recurrent_kernel"], recurrent)


@pytest.mark.parametrize("kind", ["GRU", "LSTM"])
@pytest.mark.parametrize("both", [False, True])
def test_keras_1_has_a_tensor_for_each_gate(kind: str, both: bool, tmp_path: Path) -> None:
    order, stored = {"GRU": ("zrh", "zrh"), "LSTM": ("ifco", "icfo")}[kind]
    rng = np.random.default_rng(4)
    shapes = {"W": (I, H), "U": (H, H), "b": (H,)}
    sides = ("forward_", "backward_") if both else ("",)
    tensors = {
        f"rnn/{side}{kind.lower()}_1_{w}_{g}": rng.normal(size=s).astype("f4")
        for side in sides for g in stored for w, s in shapes.items()
    }  # fmt: skip
    settings = {"activation": "tanh", "inner_activation": "hard_sigmoid", "output_dim": H}
    inner = layer(kind, f"{kind.lower()}_1" if both else "rnn", **settings)
    entry = layer("Bidirectional", "rnn", layer=inner, merge_mode="concat") if both else inner
    config = {"class_name": "Sequential", "config": [entry]}
    (found,) = layers(tmp_path, h5(tensors, config, "1.2.2"), ".h5")
    (reading,) = found.readings
    assert (reading.dialect.framework, reading.network.directions) == ("keras_1", len(sides))
    kernel = np.hstack([tensors[f"rnn/{sides[0]}{kind.lower()}_1_W_{g}"] for g in order])
    target = "keras_2" if kind == "GRU" else "keras_2_lstm"
    name = "forward_layer/kernel" if both else "kernel"
    assert np.array_equal(convert(reading.network, None, target).tensors[name], kernel)


def test_tensorflow_1_lstm_adds_one_to_the_forget_gate() -> None:
    rng = np.random.default_rng(6)
    kernel, bias = rng.normal(size=(I + H, 4 * H)), rng.normal(size=4 * H)
    tensors = {"rnn/basic_lstm_cell/kernel": kernel, "rnn/basic_lstm_cell/bias": bias}
    own = {name.replace("rnn/basic_", ""): a for name, a in tensors.items()}
    network = find("tf1_lstm").read(own)
    h, c, theirs = np.zeros((2, H)), np.zeros((2, H)), []
    for now in X:
        i, j, f, o = np.hsplit(np.hstack([now, h]) @ kernel + bias, 4)
        i, f, o = (1 / (1 + np.exp(-v)) for v in (i, f + 1, o))
        c = c * f + i * np.tanh(j)
        h = np.tanh(c) * o
        theirs.append(h)
    assert np.abs(network.run(X).output - np.stack(theirs)).max() < 1e-12
    written = find("tf1_lstm").write(network)
    assert np.array_equal(written["lstm_cell/bias"], bias)
    torch = convert(network, None, "torch").tensors
    assert torch["bias_hh_l0"].tolist() == [0.0] * H + [1.0] * H + [0.0] * 2 * H


def test_what_weights_do_not_say_is_said_in_words(tmp_path: Path) -> None:
    entry = layer("GRU", **USUAL, go_backwards=True, stateful=True, return_sequences=False)
    content = keras(numbered("layers/gru/cell", gru()), model(entry))
    (found,) = layers(tmp_path, content, ".keras")
    assert [note.split(":")[0] for note in found.notes] == [
        "stateful=True", "return_sequences=False",
    ]  # fmt: skip
    (reading,) = found.readings
    done = convert(reading.tensors, reading.dialect, "onnx", reverse=reading.network.reverse)
    assert any("reverse them along time" in note for note in done.notes)


def test_another_layer_is_read_where_one_is_refused(tmp_path: Path) -> None:
    """A layer of which the configuration says nothing, one whose weights are of another, one with
    an infinite weight, and one that is whole."""
    own = numbered("layers/mine/cell", gru(1))
    short = numbered("layers/gru_1/cell", gru(2)[:1] + gru(2, gates=4)[1:])
    infinite = numbered("layers/gru_2/cell", [a * np.float32(np.inf) for a in gru(3)])
    tensors = numbered("layers/gru/cell", gru()) | own | short | infinite
    kinds = [layer("GRU", name) for name in ("gru", "gru_1", "gru_2")]
    given = keras(tensors, model(*kinds, layer("Mine", "mine", "my.layers")))
    found = {one.path: one for one in layers(tmp_path, given, ".keras")}
    assert found["layers/gru"].readings
    told = {"mine": "does not say what", "gru_1": "its tensors are not of one", "gru_2": "infinity"}
    for name, text in told.items():
        with pytest.raises(InputError, match=f"^the layer at layers/{name}: .*{text}"):
            _ = found[f"layers/{name}"].readings
