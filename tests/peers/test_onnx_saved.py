"""`grus.onnx.save`: ONNX Runtime computes with the file what the module computes."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import grus
from grus.dialects import Network
from grus.dialects.activation import Activation, activated
from grus.dialects.network import Unrepresentable
from grus.onnx import export, save
from grus.onnx.export import build
from grus.onnx.forms import written
from grus.onnx.network_graph import module_network

onnx = pytest.importorskip("onnx", reason="onnx is not installed: make test-peers")
runtime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
torch = pytest.importorskip("torch", reason="torch is not installed")
SIZE, HIDDEN = 3, 4


def session(path: Path) -> Any:
    options = runtime.SessionOptions()
    options.log_severity_level = 3  # it remarks on every input that has a default
    return runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def module(kind: str, layers: int, both: bool, first: bool, bias: bool) -> Any:
    torch.manual_seed(layers + 10 * both)
    return getattr(torch.nn, kind)(
        SIZE, HIDDEN, layers, bias=bias, batch_first=first, bidirectional=both
    )


def close(found: Any, want: Any, steps: int) -> None:
    # float32 twice, weights within 1 / sqrt(H): a step's sums of I + H products and a dozen
    # operations round once each on both sides, and an error at most doubles from step to step.
    bound = 2 * 2.0**steps * (2 * HIDDEN + HIDDEN + 12) * 2.0**-24
    for ours, theirs in zip(found, want, strict=True):
        expected = theirs.detach().numpy() if hasattr(theirs, "detach") else theirs
        np.testing.assert_allclose(ours, expected, rtol=0, atol=bound)


def states(hn: Any) -> list[Any]:
    return list(hn) if isinstance(hn, tuple) else [hn]


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("both", [False, True])
@pytest.mark.parametrize("first", [False, True])
@pytest.mark.parametrize("kind", ["GRU", "LSTM", "RNN"])
def test_time_and_batch_are_free_and_states_may_be_left_out(
    kind: str, first: bool, both: bool, layers: int, tmp_path: Path
) -> None:
    rows = layers * (2 if both else 1)
    for bias in (True, False):
        one = module(kind, layers, both, first, bias)
        grus.onnx.save(one, tmp_path / "m.onnx")
        run = session(tmp_path / "m.onnx").run
        for steps, batch in ((5, 3), (1, 1), (6, 2)):
            x = torch.randn(*((batch, steps) if first else (steps, batch)), SIZE)
            start = [torch.randn(rows, batch, HIDDEN) for _ in range(1 + (kind == "LSTM"))]
            output, hn = one(x)
            close(run(None, {"x": x.numpy()}), [output, *states(hn)], steps)
            output, hn = one(x, tuple(start) if len(start) > 1 else start[0])
            feeds = {name: s.numpy() for name, s in zip(("h0", "c0"), start, strict=False)}
            close(run(None, {"x": x.numpy(), **feeds}), [output, *states(hn)], steps)


@pytest.mark.parametrize(("kind", "both"), [*product(["GRU", "LSTM"], [False, True])])
def test_lengths_are_an_input_that_may_be_left_out(kind: str, both: bool, tmp_path: Path) -> None:
    one = module(kind, 2, both, False, True)
    grus.onnx.save(one, tmp_path / "m.onnx", lengths=True)
    run = session(tmp_path / "m.onnx").run
    x, lengths = torch.randn(5, 3, SIZE), np.array([2, 5, 1], np.int32)
    output, hn = one(x)
    close(run(None, {"x": x.numpy()}), [output, *states(hn)], 5)
    pack = torch.nn.utils.rnn.pack_padded_sequence
    packed, hn = one(pack(x, torch.from_numpy(lengths), enforce_sorted=False))
    output, _ = torch.nn.utils.rnn.pad_packed_sequence(packed, total_length=5)
    close(run(None, {"x": x.numpy(), "lengths": lengths}), [output, *states(hn)], 5)


OPERATORS = ["gru", "gru_admit", "gru_reset_before", "gru_reset_before_admit", "lstm", "rnn"]


@pytest.mark.parametrize("cell", [*OPERATORS, "rnn_relu"])
def test_every_cell_that_onnx_has_is_written(cell: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    one = grus.Recurrent(cell, SIZE, HIDDEN, 2, bidirectional=True)
    grus.onnx.save(one, tmp_path / "m.onnx")
    x = torch.randn(4, 3, SIZE)
    output, hn = one(x)
    close(session(tmp_path / "m.onnx").run(None, {"x": x.numpy()}), [output, *states(hn)], 4)


def test_the_reset_s_place_is_said() -> None:
    for cell, after in (("gru", 1), ("gru_reset_before", 0)):
        model = grus.onnx.to_model(grus.Recurrent(cell, SIZE, HIDDEN))
        node = next(n for n in model.graph.node if n.op_type == "GRU")
        found = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
        assert found["linear_before_reset"] == after


@pytest.mark.parametrize("name", ["gru", "gru_admit", "gru_reset_before", "lstm", "rnn"])
@pytest.mark.parametrize("clip", [None, 0.3])
def test_other_activations_and_clip_are_written(
    name: str, clip: float | None, tmp_path: Path
) -> None:
    """Keras' hard sigmoid and softsign, and clipping, each with the numbers of their own."""
    hard = Activation("hard_sigmoid", 1 / 6, 0.5)
    cell = activated(grus.CELLS[name], hard, "softsign", "softsign", clip=clip)
    torch.manual_seed(0)
    one = grus.Recurrent(cell, SIZE, HIDDEN, bidirectional=True)
    grus.onnx.save(one, tmp_path / "m.onnx")
    x = 3 * torch.randn(4, 3, SIZE)
    output, hn = one(x)
    close(session(tmp_path / "m.onnx").run(None, {"x": x.numpy()}), [output, *states(hn)], 4)


def test_an_activation_that_onnx_has_not_is_refused(tmp_path: Path) -> None:
    one = grus.Recurrent(activated(grus.CELLS["gru"], candidate="silu"), SIZE, HIDDEN)
    with pytest.raises(Unrepresentable, match="no operator computes n"):
        grus.onnx.save(one, tmp_path / "m.onnx")


def test_a_network_that_runs_backward_is_written(tmp_path: Path) -> None:
    one = module_network(module("GRU", 1, False, False, True)).network
    back = Network(one.cell, one.layers, reverse=True, pairs=one.pairs)
    grus.onnx.save(back, tmp_path / "m.onnx")
    x = np.random.default_rng(0).normal(size=(4, 2, SIZE)).astype(np.float32)
    want = back.run(x)
    close(session(tmp_path / "m.onnx").run(None, {"x": x}), [want.output, *want.state], 4)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_what_is_saved_is_loaded_again(dtype: str, tmp_path: Path) -> None:
    one = module("LSTM", 2, True, True, True).to(getattr(torch, dtype))
    grus.onnx.save(one, tmp_path / "m.onnx")
    model = grus.onnx.load(tmp_path / "m.onnx")
    assert (model.inputs, model.optional) == (("x",), ("h0", "c0"))
    x = torch.randn(3, 5, SIZE, dtype=getattr(torch, dtype))
    found = model.run({"x": x.numpy()})
    output, hn = one(x)
    close(found.values(), [output, *states(hn)], 5)
    assert str(found["output"].dtype) == dtype


def test_both_biases_are_kept_bit_for_bit(tmp_path: Path) -> None:
    one = module("GRU", 1, False, False, True)
    grus.onnx.save(one, tmp_path / "m.onnx")
    model = grus.onnx.load(tmp_path / "m.onnx")
    (bias,) = (node.constants["B"][0] for node in model.nodes.values())
    r, z, n = np.split(np.arange(3 * HIDDEN), 3)
    order = np.concatenate([z, r, n])
    assert np.array_equal(bias[: 3 * HIDDEN], one.bias_ih_l0.detach().numpy()[order])
    assert np.array_equal(bias[3 * HIDDEN :], one.bias_hh_l0.detach().numpy()[order])


class Tagger(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding = torch.nn.Embedding(10, SIZE)
        self.rnn = torch.nn.GRU(SIZE, HIDDEN, 2, batch_first=True, bidirectional=True)
        self.head = torch.nn.Linear(2 * HIDDEN, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.rnn(self.embedding(x))[0])


@pytest.mark.parametrize("fast", [False, True])
@pytest.mark.filterwarnings("ignore")  # torch's own, of its exporter
def test_a_whole_model_is_torch_s_to_write_and_runs_here(fast: bool, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = Tagger().eval()
    model = grus.accelerate(model) if fast else model
    with pytest.raises(grus.InputError, match=r"Tagger is a whole model.*\(rnn\).*onnx\.export"):
        grus.onnx.save(model, tmp_path / "m.onnx")
    axes = {"x": {0: "batch", 1: "time"}}
    torch.onnx.export(
        model, (torch.zeros(2, 4, dtype=torch.long),), tmp_path / "m.onnx", dynamo=False,
        input_names=["x"], output_names=["y"], dynamic_axes=axes,
    )  # fmt: skip
    x = torch.randint(10, (2, 7))
    loaded = grus.onnx.load(tmp_path / "m.onnx")
    assert len(loaded.nodes) == 2
    close(loaded.run({"x": x.numpy()}).values(), [model(x)], 7)


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (lambda: torch.nn.LSTM(3, 4, proj_size=2), "proj_size must be 0"),
        (lambda: torch.nn.Linear(3, 4), "not Linear"),
        (lambda: torch.nn.GRU(3, 4).bfloat16(), "must be float32 or float64"),
    ],
)
def test_what_cannot_be_written_is_refused(made: Any, said: str, tmp_path: Path) -> None:
    with pytest.raises(grus.InputError, match=said):
        grus.onnx.save(made(), tmp_path / "m.onnx")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", [n for n in grus.CELLS if n not in (*OPERATORS, "rnn_relu")])
def test_every_other_cell_of_the_house_is_refused(name: str) -> None:
    with pytest.raises(Unrepresentable, match="ONNX has no operator"):
        written(grus.CELLS[name])


def test_a_cell_that_onnx_has_not_is_refused_by_its_equation(tmp_path: Path) -> None:
    cell = grus.Cell.parse("n = tanh(W.n @ x + U.n @ h + b.n)\nh_next = 0.5 * h + 0.5 * n")
    with pytest.raises(Unrepresentable, match=r"no operator computes n = tanh"):
        grus.onnx.save(grus.Recurrent(cell, SIZE, HIDDEN), tmp_path / "m.onnx")


@pytest.mark.parametrize("broken", ["linear_before_reset", "perm", "order", "bias"])
def test_a_wrong_model_is_not_written(
    broken: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Breaks: a lost attribute, axes that are not swapped, gates in another order, half a bias."""

    def sabotaged(one: Any, *, lengths: bool = False) -> Any:
        model = build(one, lengths=lengths)
        for node in model.graph.node:
            for attribute in node.attribute:
                if attribute.name == "linear_before_reset" == broken:
                    attribute.i = 0
                if attribute.name == "perm" == broken and len(attribute.ints) == 4:
                    attribute.ints[:] = [0, 1, 2, 3]
        for tensor in model.graph.initializer:
            array = onnx.numpy_helper.to_array(tensor).copy()
            if tensor.name == "W_l0" and broken == "order":
                array = np.roll(array, HIDDEN, axis=1)
            if tensor.name == "B_l0" and broken == "bias":
                array[:, 3 * HIDDEN :] = 0
            tensor.raw_data = array.tobytes()
        return model

    one = module("GRU", 1, True, False, True)
    export.prove(module_network(one), build(module_network(one)))
    monkeypatch.setattr("grus.onnx.export.build", sabotaged)
    with pytest.raises(ArithmeticError, match="the model"):
        save(one, tmp_path / "m.onnx")
    assert list(tmp_path.iterdir()) == []
