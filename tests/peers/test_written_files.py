"""Files of each framework, read here; files written here, loaded by each framework's own code.

Outputs are compared, not only weights. float32 throughout: each step sums at most 20 products and
the sequences have 6 steps, so 6 * 20 units of 6e-8, times 2 for values up to 2, bound the rounding
of either side.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from frameworks import need

from grus.cli.main import run
from grus.files.formats import load
from grus.files.layers import find_layers, stacked

Array = np.ndarray
T, B, I, H = 6, 3, 3, 4  # noqa: E741  the field's names
TOLERANCE = 2 * 2 * 6 * 20 * 6e-8
RNG = np.random.default_rng(11)
X = RNG.normal(size=(T, B, I)).astype("f4")


def convert(*words: object) -> None:
    """`grus convert`, which must succeed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", ["grus", "convert", *map(str, words)])
        with pytest.raises(SystemExit) as end:
            run()
    assert not end.value.code


def torch_layer(kind: str, layers: int, both: bool) -> Any:
    torch = need("torch")
    torch.manual_seed(3)
    extra = {"nonlinearity": "relu"} if kind == "relu" else {}
    made = torch.nn.RNN if kind in ("RNN", "relu") else getattr(torch.nn, kind)
    return made(I, H, layers, bidirectional=both, **extra)


def torch_output(layer: Any, start: tuple[Array, ...] | None = None) -> Array:
    torch = need("torch")
    states = None if start is None else tuple(map(torch.from_numpy, start))
    states = states[0] if states and len(states) == 1 else states
    return np.asarray(layer(torch.from_numpy(X), states)[0].detach())


def starts(kind: str, layers: int, both: bool) -> tuple[Array, ...]:
    shape = (layers * (1 + both), B, H)
    return tuple(RNG.normal(0, 0.5, shape).astype("f4") for _ in range(1 + (kind == "LSTM")))


@pytest.fixture(params=["GRU", "LSTM", "RNN", "relu"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.mark.parametrize(("layers", "both"), [(1, False), (2, False), (1, True), (2, True)])
@pytest.mark.parametrize("suffix", [".keras", ".weights.h5", ".onnx", ".safetensors", ".pt"])
def test_torch_to_a_file_its_framework_loads_and_back_bit_for_bit(
    kind: str, layers: int, both: bool, suffix: str, tmp_path: Path
) -> None:
    torch = need("torch")
    layer = torch_layer(kind, layers, both)
    given, there, back = (tmp_path / name for name in ("in.pt", f"there{suffix}", "back.pt"))
    torch.save({"encoder": layer.state_dict(), "epoch": 3}, given)
    source = {"RNN": "torch_rnn", "relu": "torch_rnn_relu"}.get(kind, "torch")
    plain = suffix in (".safetensors", ".pt")
    convert(given, there, "--from", source, *(["--to", source] if plain else []))
    start = starts(kind, layers, both)
    run_by = {".keras": by_keras, ".weights.h5": by_keras, ".onnx": by_onnxruntime}
    theirs = run_by.get(suffix, by_torch)(there, kind, layers, both, start)
    assert np.abs(theirs - torch_output(layer, start)).max() <= TOLERANCE
    told = {".weights.h5": {"RNN": ["--from", "keras_rnn"], "relu": ["--from", "keras_rnn_relu"]}}
    if suffix == ".pt":
        told = {".pt": {"RNN": ["--from", source], "relu": ["--from", source]}}
    paths = [p for one in find_layers(load(there)) for p in ("--layer", one.shown)]
    convert(there, back, *paths, *told.get(suffix, {}).get(kind, []))
    found = torch.load(back, weights_only=True)
    want = layer.state_dict()
    assert list(found) == list(want)
    if suffix in (".keras", ".weights.h5") and kind != "GRU":
        # Keras' LSTM and SimpleRNN have one bias: the sum of torch's two.
        merge = [name for name in want if "bias" in name]
        for name in merge:
            if "bias_ih" in name:
                want[name] = want[name] + want[name.replace("_ih", "_hh")]
        for name in merge:
            if "bias_hh" in name:
                want[name] = torch.zeros_like(want[name])
    for name, tensor in want.items():
        assert torch.equal(found[name], tensor), name
    again = torch_layer(kind, layers, both)
    again.load_state_dict(found)
    assert np.abs(torch_output(again, start) - torch_output(layer, start)).max() <= TOLERANCE


def by_torch(path: Path, kind: str, layers: int, both: bool, start: tuple[Array, ...]) -> Array:
    torch = need("torch")
    layer = torch_layer(kind, layers, both)
    for parameter in layer.parameters():
        torch.nn.init.zeros_(parameter)
    if path.suffix == ".pt":
        layer.load_state_dict(torch.load(path, weights_only=True))
    else:
        layer.load_state_dict(need("safetensors.torch").load_file(path))
    return torch_output(layer, start)


def by_onnxruntime(
    path: Path, kind: str, layers: int, both: bool, start: tuple[Array, ...]
) -> Array:
    session = need("onnxruntime").InferenceSession(path, providers=["CPUExecutionProvider"])
    feeds = {"x": X} | dict(zip(("h0", "c0"), start, strict=False))
    return session.run(["output"], feeds)[0]


def by_keras(path: Path, kind: str, layers: int, both: bool, start: tuple[Array, ...]) -> Array:
    """The layers one after another, each from its own states: a Sequential has no place for h0."""
    keras = need("keras")
    if path.suffix == ".keras":
        model = keras.saving.load_model(path)
    else:
        model = keras.Sequential([keras.layers.Input((None, I))])
        for _ in range(layers):
            model.add(keras_layer(kind, both))
        model.load_weights(path)
    rows = 1 + both
    x: Any = np.swapaxes(X, 0, 1)
    for k, layer in enumerate(model.layers):
        mine = [s[k * rows + d] for d in range(rows) for s in start]
        x = layer(x, initial_state=mine)
    return np.swapaxes(x.detach().cpu().numpy(), 0, 1)


def keras_layer(kind: str, both: bool, **extra: Any) -> Any:
    layers = need("keras").layers
    if kind == "relu":
        extra["activation"] = "relu"
    made = getattr(layers, {"RNN": "SimpleRNN", "relu": "SimpleRNN"}.get(kind, kind))
    layer = made(H, return_sequences=True, **extra)
    return layers.Bidirectional(layer) if both else layer


KERAS = {
    "the default": ("GRU", False, {}),
    "reset_after=False": ("GRU", False, {"reset_after": False}),
    "hard_sigmoid and relu": ("GRU", False, {
        "recurrent_activation": "hard_sigmoid", "activation": "relu"}),
    "no bias": ("GRU", False, {"use_bias": False}),
    "linear": ("GRU", False, {"activation": "linear"}),
    "LSTM of linear": ("LSTM", False, {"activation": "linear"}),
    "backwards": ("GRU", False, {"go_backwards": True}),
    "both directions": ("GRU", True, {}),
    "LSTM": ("LSTM", False, {}),
    "LSTM of softsign": ("LSTM", True, {"activation": "softsign"}),
    "SimpleRNN": ("RNN", True, {}),
    "SimpleRNN of relu": ("relu", False, {}),
}  # fmt: skip


@pytest.mark.parametrize("name", KERAS)
@pytest.mark.parametrize("suffix", [".keras", ".h5"])
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_what_keras_saves_is_read_as_what_keras_computes(
    name: str, suffix: str, tmp_path: Path
) -> None:
    """With the head of a model around it, in both of Keras' own formats; and on to ONNX."""
    keras = need("keras")
    need("h5py")
    kind, both, extra = KERAS[name]
    layer = keras_layer(kind, both, **extra)
    model = keras.Sequential(
        [keras.layers.Input((None, I)), layer, keras.layers.Dropout(0.1), keras.layers.Dense(2)]
    )
    for variable in model.variables:
        if "seed" not in variable.path:
            variable.assign(RNG.normal(0, 0.5, variable.shape))
    path = tmp_path / f"model{suffix}"
    model.save(path)
    theirs = np.swapaxes(layer(np.swapaxes(X, 0, 1)).detach().cpu().numpy(), 0, 1)
    in_time = theirs[::-1] if "go_backwards" in extra else theirs  # in the order of processing
    (found,) = find_layers(load(path))
    (reading,) = found.readings
    mine = reading.network.run(X.astype("f8")).output
    assert np.abs(mine - in_time).max() <= TOLERANCE
    out = tmp_path / "model.onnx"
    convert(path, out)
    session = need("onnxruntime").InferenceSession(out, providers=["CPUExecutionProvider"])
    assert np.abs(session.run(["output"], {"x": X})[0] - theirs).max() <= TOLERANCE


def test_weights_that_keras_2_saved_by_name_are_found(tmp_path: Path) -> None:
    """tf.keras' save_weights to .h5: LAYER/LAYER/gru_cell/kernel:0, and no configuration."""
    h5py = need("h5py")
    arrays = {"kernel:0": (I, 3 * H), "recurrent_kernel:0": (H, 3 * H), "bias:0": (2, 3 * H)}
    path = tmp_path / "weights.h5"
    with h5py.File(path, "w") as file:
        for side in ("forward", "backward"):
            for name, shape in arrays.items():
                file[f"bi/bi/{side}_gru/gru_cell_3/{name}"] = RNG.normal(size=shape).astype("f4")
        file["dense/dense/kernel:0"] = np.ones((8, 2), "f4")
    (layer,) = find_layers(load(path))
    assert layer.shown == "bi/bi"
    assert [one.dialect.name for one in layer.readings] == ["keras", "keras_2_reset_after"]
    assert layer.readings[0].network.directions == 2


def test_an_onnx_model_that_torch_exported_is_read(tmp_path: Path) -> None:
    torch, onnx = need("torch"), need("onnx")
    layer = torch_layer("GRU", 2, True)
    path = tmp_path / "model.onnx"
    names = {"input_names": ["x"], "output_names": ["y"], "dynamic_axes": {"x": {0: "T", 1: "B"}}}
    torch.onnx.export(layer, torch.from_numpy(X), path, dynamo=False, **names)
    assert any(node.op_type == "GRU" for node in onnx.load(path).graph.node)
    found = stacked([one.readings[0] for one in find_layers(load(path))])
    mine = found.run(X.astype("f8")).output
    assert np.abs(mine - torch_output(layer)).max() <= TOLERANCE
