"""ONNX models of torch's exporters built from their files: ONNX Runtime's numbers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from frameworks import need

import grus
from grus.builds import read_model
from grus.errors import InputError

X = np.random.default_rng(7).standard_normal((6, 3)).astype("f4")
# float32 on both sides: 6 steps of 3 layers, each a sum of at most 16 products of numbers up to 2
# and weights up to 1 in half a unit of 2**-23, times 2 for the other side's exp and tanh.
BOUND = 6 * 3 * 16 * 2 * 2.0**-24 * 2


def network(make: Callable[[Any], Any], forward: Callable[..., Any]) -> Any:
    torch = need("torch")

    class Network(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rnn, self.linear = make(torch.nn), torch.nn.Linear(8, 4)
            self.norm, self.head = torch.nn.BatchNorm1d(4), torch.nn.Linear(4, 2)
            self.norm.running_var.fill_(2.0)

        def forward(self, x: Any) -> Any:
            return forward(self, x)

    torch.manual_seed(1)
    return Network().eval()


def each_step(net: Any, x: Any) -> Any:
    y = net.linear(net.rnn(x)[0])
    return net.head(need("torch").nn.functional.silu(y) * 0.5)


def last_step(net: Any, x: Any) -> Any:
    y = net.norm(net.linear(net.rnn(x)[0][:, -1]))
    return net.head(need("torch").nn.functional.leaky_relu(y, 0.2)).clamp(-0.5, 0.5)


def normed(net: Any, x: Any) -> Any:
    return need("torch").nn.functional.layer_norm(net.linear(net.rnn(x)[0]), (4,))


def last_state(net: Any, x: Any) -> Any:
    state = net.rnn(x)[1]
    return net.head(net.linear((state[0] if isinstance(state, tuple) else state)[-1]))


MAKE: dict[str, Callable[[Any], Any]] = {
    "gru": lambda nn: nn.GRU(3, 8, 2, batch_first=True),
    "lstm": lambda nn: nn.LSTM(3, 8, batch_first=True),
    "grus": lambda nn: grus.GRU(3, 8, 2, batch_first=True),
    "rnn": lambda nn: nn.RNN(3, 8, nonlinearity="relu", batch_first=True, bias=False),
}
FORWARD = {
    "each step": each_step,
    "last step": last_step,
    "last state": last_state,
    "normed": normed,
}


def export(net: Any, path: Path, dynamo: bool, fixed: bool = False) -> None:
    torch = need("torch")
    need("onnxscript") if dynamo else need("onnx")
    x, free = torch.randn(2, 5, 3), {"batch": 0, "time": 1}
    how: dict[str, Any] = {}
    if not fixed and dynamo:
        how["dynamic_shapes"] = ({0: "batch", 1: "time"},)
    elif not fixed:
        how["dynamic_axes"] = {"x": {place: name for name, place in free.items()}}
    torch.onnx.export(net, (x,), path, dynamo=dynamo, input_names=["x"], verbose=False, **how)


CASES = [
    *(("gru", False, forward) for forward in FORWARD),
    *(("lstm", False, "last state"), ("rnn", False, "each step"), ("grus", False, "last state")),
    # torch.export writes the steps of nn.RNN one by one.
    *(("gru", True, "last step"), ("lstm", True, "each step")),
    *(("grus", True, "each step"), ("grus", True, "last state")),
]


@pytest.mark.parametrize(("name", "dynamo", "forward"), CASES)
def test_a_model_is_read_from_its_file(
    name: str, forward: str, dynamo: bool, tmp_path: Path
) -> None:
    ort, path = need("onnxruntime"), tmp_path / "m.onnx"
    fixed = dynamo and name != "grus"
    export(network(MAKE[name], FORWARD[forward]), path, dynamo, fixed)
    built = read_model(path)
    session = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
    x = np.stack([X[:5], X[1:]]) if fixed else X[None]
    (expected,) = session.run(None, {"x": x})
    y = built.run(x[0])
    y = y[-1] if forward.startswith("last") else y
    assert np.abs(y - expected[0]).max() < BOUND
    assert any("last step" in note for note in built.notes) == forward.startswith("last")


REFUSED: dict[str, tuple[Any, Any, str]] = {
    "both ways": (
        lambda nn: nn.GRU(3, 4, bidirectional=True, batch_first=True),
        each_step,
        "streaming: the backward direction needs the end",
    ),
    "softmax": (MAKE["gru"], lambda n, x: n.rnn(x)[0].softmax(-1), "softmax .*read the logits"),
    "mean": (MAKE["gru"], lambda n, x: n.rnn(x)[0].mean(1), "ReduceMean cannot be built"),
    "residual": (
        lambda nn: nn.GRU(3, 3, batch_first=True),
        lambda n, x: n.rnn(x)[0] + x,
        "add cannot be built: it adds two branches",
    ),
    "part": (MAKE["gru"], lambda n, x: n.rnn(x)[0][:, 2], "takes a part that is not the last step"),
    "batch": (MAKE["gru"], lambda n, x: n.rnn(x)[0][-1], "takes a part that is not the last step"),
    "reshaped": (MAKE["gru"], lambda n, x: n.rnn(x)[0].reshape(-1, 2), "Reshape moves numbers"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_built_is_named(name: str, tmp_path: Path) -> None:
    make, forward, message = REFUSED[name]
    export(network(make, forward), tmp_path / "m.onnx", dynamo=False)
    with pytest.raises(InputError, match=message) as error:
        read_model(tmp_path / "m.onnx")
    assert str(error.value).startswith(str(tmp_path / "m.onnx"))
    assert "\n" not in str(error.value)
