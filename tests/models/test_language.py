"""The model: layers, names, dropout, and the same numbers as torch's own layer."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from grus.equations import CELLS, Cell, U, W, b, h, sequence, sigmoid, tanh, x
from grus.errors import InputError
from grus.models.corpus import Architecture, Vocabulary
from grus.models.language import LanguageModel, detached
from grus.models.settings import Settings
from grus.models.train import learn, make_optimizer

LETTERS = Vocabulary("abcdefgh")


class Masked(Cell):
    """A cell that needs a mask."""

    h_next = tanh(W.h @ x + U.h @ h + b.h) * sequence.k


class Highway(Cell):
    """A cell that carries x itself."""

    t = sigmoid(W.t @ x + U.t @ h + b.t)
    h_next = t * h + (1 - t) * x


def model(cell: str = "gru", **changes: object) -> LanguageModel:
    sizes = {"hidden": 9, "embedding": 5, "dtype": "float64", **changes}
    return LanguageModel(Architecture(CELLS[cell], LETTERS, **sizes))  # type: ignore[arg-type]


def ids(time: int = 7, batch: int = 3) -> torch.Tensor:
    return torch.randint(len(LETTERS), (time, batch), generator=torch.Generator().manual_seed(1))


def torch_gru(inputs: int, hidden: int) -> nn.Module:
    return nn.GRU(inputs, hidden, dtype=torch.float64)


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_training_follows_the_same_path_as_with_torchs_gru(optimizer: str) -> None:
    """Same seed, same weights; after 20 steps the weights still agree to rounding.

    float64: one step's gradients differ by about 1e-15 relative. Adam divides by the root of the
    mean square, which turns that into at most 1e-15 / (g / lr) per step; 20 steps of lr 0.01 on
    gradients above 1e-6 stay below 1e-9.
    """
    settings = Settings(steps=1, optimizer=optimizer, lr=0.01)
    found = []
    for make in (None, torch_gru):
        torch.manual_seed(0)
        shape = Architecture(CELLS["gru"], LETTERS, hidden=9, embedding=5, dtype="float64")
        trained = LanguageModel(shape, make_layer=make)
        optimizing = make_optimizer(list(trained.parameters()), settings)
        state = None
        for _ in range(20):
            text = ids()
            _, state = learn(trained, optimizing, text[:-1], text[1:], state, 1.0, None)
        found.append(trained.named_weights())
    assert list(found[0]) == list(found[1])
    for name, weight in found[0].items():
        torch.testing.assert_close(weight, found[1][name], rtol=0, atol=1e-9)


def test_the_weights_load_into_one_torch_stack() -> None:
    """`named_weights` are nn.GRU's own names and layout, for several layers too."""
    ours = model(layers=3)
    stack = nn.GRU(5, 9, num_layers=3, dtype=torch.float64)
    weights = {n.removeprefix("recurrent."): w for n, w in ours.named_weights().items()}
    stack.load_state_dict({name: weights[name] for name in stack.state_dict()})
    expected, last = stack(ours.embedding(ids()))
    scores, state = ours(ids())
    # float64, 7 steps of sums of 9 products: 1e-13 is a thousand roundings of a number below 1
    torch.testing.assert_close(scores, ours.linear(expected), rtol=0, atol=1e-13)
    torch.testing.assert_close(torch.cat(state), last, rtol=0, atol=1e-13)


@pytest.mark.parametrize(
    "cell", [n for n, c in CELLS.items() if set(c.shapes.states.values()) == {"hidden"}]
)
def test_steps_and_pieces_give_what_the_whole_gives(cell: str) -> None:
    """The state that is handed on is the state: whole, in two pieces, and step by step."""
    with torch.no_grad():
        layered = model(cell, layers=2)
        whole, _ = layered(ids())
        first, state = layered(ids()[:4])
        second, _ = layered(ids()[4:], detached(state))
        torch.testing.assert_close(torch.cat([first, second]), whole, rtol=0, atol=1e-13)
        state = None
        for k, symbols in enumerate(ids()):
            scores, state = layered.step(symbols, state)
            torch.testing.assert_close(scores, whole[k], rtol=0, atol=1e-13)


def test_a_state_of_another_size_is_refused() -> None:
    with pytest.raises(InputError, match="an axis \\['projection'\\]"):
        model("lstm_projected")


def test_one_hot_is_an_embedding_of_unit_vectors() -> None:
    hot, embedded = model(input="onehot"), model(embedding=len(LETTERS))
    embedded.load_state_dict({**hot.state_dict(), "embedding.weight": torch.eye(8).double()})
    assert not hasattr(hot, "embedding")
    torch.testing.assert_close(hot(ids())[0], embedded(ids())[0], rtol=0, atol=1e-13)


def test_dropout_comes_from_the_generator_and_only_in_training() -> None:
    dropping = model()
    dropping.dropout = 0.5
    twice = [dropping(ids(), None, torch.Generator().manual_seed(5))[0] for _ in range(2)]
    other = dropping(ids(), None, torch.Generator().manual_seed(6))[0]
    assert torch.equal(*twice)
    assert not torch.equal(twice[0], other)
    plain = model()
    plain.load_state_dict(dropping.state_dict())
    assert torch.equal(dropping.eval()(ids())[0], plain(ids())[0])


def test_dropout_keeps_the_mean_with_one_mask_for_all_steps() -> None:
    """A kept value is divided by the share kept."""
    dropping = model()
    dropping.dropout = 0.25
    dropped = dropping._drop(torch.ones(3, 400, 500), torch.Generator().manual_seed(0))
    assert set(dropped.unique().tolist()) == {0.0, torch.tensor(1 / 0.75).item()}
    assert torch.equal(dropped[0], dropped[1])
    assert torch.equal(dropped[0], dropped[2])
    assert not torch.equal(dropped[0, 0], dropped[0, 1])
    # 200,000 draws: the mean's standard deviation is sqrt(0.25 / 0.75 / 2e5) = 0.0013; six of it
    assert abs(dropped.mean().item() - 1) < 0.008


def test_neither_the_carried_state_nor_one_hot_input_is_dropped() -> None:
    dropping = model(input="onehot")
    dropping.dropout = 0.5
    with_dropout = dropping(ids(), None, torch.Generator().manual_seed(0))[1]
    assert torch.equal(with_dropout[0], dropping.eval()(ids())[1][0])


def test_dropout_stands_behind_the_embedding_and_every_layer() -> None:
    """With everything dropped, each layer reads zeros and what is left of the scores is a bias."""
    dropping = model(layers=2)
    dropping.dropout = 1 - 1e-12
    scores, state = dropping(ids(), None, torch.Generator().manual_seed(0))
    assert torch.equal(scores, dropping.linear.bias.expand_as(scores))
    for k, inputs in enumerate((5, 9)):
        silent = dropping.layers[k](torch.zeros(7, 3, inputs, dtype=torch.float64))[1]
        assert torch.equal(state[k], silent)


def test_gate_bias_reaches_every_layer() -> None:
    shape = Architecture(CELLS["gru"], LETTERS, hidden=4, embedding=3, layers=2)
    weights = LanguageModel(shape, gate_bias={"z": 1.5}).named_weights()
    for k in range(2):
        total = weights[f"recurrent.bias_ih_l{k}"] + weights[f"recurrent.bias_hh_l{k}"]
        assert total[4:8].tolist() == [1.5] * 4


@pytest.mark.parametrize(
    "bad",
    [{"hidden": 0}, {"layers": -1}, {"embedding": 10**9}, {"input": "words"}, {"dtype": "int8"}],
)
def test_a_model_that_cannot_be_is_refused(bad: dict[str, object]) -> None:
    with pytest.raises(InputError, match="--"):
        Architecture(CELLS["gru"], LETTERS, **bad)  # type: ignore[arg-type]


def test_a_cell_that_does_not_fit_text_is_refused() -> None:
    with pytest.raises(InputError, match=r"needs the masks \['k'\]"):
        Architecture(Masked, LETTERS)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="64 is not 256"):
        Architecture(Highway, LETTERS)  # type: ignore[arg-type]
    fits = Architecture(Highway, LETTERS, hidden=6, embedding=6, layers=2)  # type: ignore[arg-type]
    assert LanguageModel(fits)(ids())[0].shape == (7, 3, 8)
