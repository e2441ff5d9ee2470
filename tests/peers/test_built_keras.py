"""Models of Keras built from their files: Keras' own numbers, and what cannot be built by name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from frameworks import need

from grus.builds import read_model
from grus.errors import InputError

X = np.random.default_rng(5).standard_normal((7, 3)).astype("f4")
# float32 on both sides: 7 steps of 3 layers, each a sum of at most 16 products of numbers up to 2
# and weights up to 1 in half a unit of 2**-23, times 2 for the other side's exp and tanh.
BOUND = 7 * 3 * 16 * 2 * 2.0**-24 * 2


def layers() -> Any:
    return need("keras").layers


def sequential(*made: Any) -> Any:
    keras = need("keras")
    return keras.Sequential([keras.Input((None, 3)), *made])


def functional() -> Any:
    keras = need("keras")
    x = keras.Input((None, 3), name="x")
    y = layers().GRU(5, return_sequences=True, name="zeta")(x)
    y = layers().Dense(4, "leaky_relu", name="beta")(y)
    return keras.Model(x, layers().Dense(2, "tanh", name="alpha")(y))


MODELS: dict[str, Callable[[], Any]] = {
    "one gru and a dense": lambda: sequential(layers().GRU(8), layers().Dense(2)),
    "functional": functional,
    "nested": lambda: sequential(
        need("keras").Sequential([need("keras").Input((None, 3)), layers().Dense(6, "relu")]),
        layers().LSTM(4, return_sequences=True),
    ),
    "everything": lambda: sequential(
        layers().Dense(8, "silu", use_bias=False),
        layers().GRU(8, return_sequences=True, activation="softsign", reset_after=False),
        layers().BatchNormalization(),
        layers().TimeDistributed(layers().Dense(6)),
        layers().BatchNormalization(scale=False),
        layers().LayerNormalization(),
        layers().LeakyReLU(negative_slope=0.1),
        layers().Dropout(0.5),
        layers().SimpleRNN(5),
        layers().Flatten(),
        layers().Dense(4),
        layers().ReLU(max_value=1.0),
        layers().Activation("hard_sigmoid"),
    ),
}


@pytest.mark.parametrize("ending", [".keras", ".h5"])
@pytest.mark.parametrize("name", MODELS)
def test_a_model_is_read_from_its_file(name: str, ending: str, tmp_path: Path) -> None:
    need("keras").utils.set_random_seed(3)
    model = MODELS[name]()
    for layer in model.layers:  # the running mean and variance too
        layer.set_weights([w + 0.1 for w in layer.get_weights()])
    model.save(tmp_path / f"m{ending}")
    built = read_model(tmp_path / f"m{ending}")
    expected = np.asarray(model.predict(X[None], verbose=0))[0]
    y = built.run(X)
    y = y[-1] if expected.ndim == 1 else y
    assert np.abs(y - expected).max() < BOUND
    assert sum("step" in note for note in built.notes) == (expected.ndim == 1)


def test_weights_alone_are_chained_by_their_sizes(tmp_path: Path) -> None:
    model = sequential(layers().GRU(8, return_sequences=True), layers().Dense(2))
    model.save_weights(tmp_path / "m.weights.h5")
    built = read_model(tmp_path / "m.weights.h5")
    expected = np.asarray(model.predict(X[None], verbose=0))[0]
    assert np.abs(built.run(X) - expected).max() < BOUND
    assert "the file names no activations: none stands behind a linear layer" in built.notes


def two_branches() -> Any:
    keras = need("keras")
    x = keras.Input((None, 3))
    y = layers().GRU(3, return_sequences=True, name="zeta")(x)
    return keras.Model(x, layers().Add()([x, y]))


REFUSED: dict[str, tuple[Callable[[], Any], str]] = {
    "both ways": (
        lambda: sequential(layers().Bidirectional(layers().GRU(4), name="both")),
        "both runs backward .*streaming: the backward direction needs the end",
    ),
    "backward": (lambda: sequential(layers().GRU(4, go_backwards=True)), "runs backward"),
    "convolution": (
        lambda: sequential(layers().Conv1D(4, 3, name="conv"), layers().GRU(4)),
        "conv: Conv1D cannot be built",
    ),
    "softmax": (
        lambda: sequential(layers().GRU(4), layers().Dense(3, "softmax", name="head")),
        "head: softmax cannot be built: .*read the logits",
    ),
    "gelu": (lambda: sequential(layers().GRU(4), layers().Dense(3, "gelu")), "gelu .*error func"),
    "branches": (two_branches, "no chain of layers: .*(two branches|reads several layers)"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_built_is_named(name: str, tmp_path: Path) -> None:
    make, message = REFUSED[name]
    make().save(tmp_path / "m.keras")
    with pytest.raises(InputError, match=message) as error:
        read_model(tmp_path / "m.keras")
    assert str(error.value).startswith(str(tmp_path / "m.keras"))
    assert "\n" not in str(error.value)


def test_a_softmax_is_left_out_where_that_is_asked(tmp_path: Path) -> None:
    REFUSED["softmax"][0]().save(tmp_path / "m.keras")
    assert read_model(tmp_path / "m.keras", logits=True).outputs == 3
