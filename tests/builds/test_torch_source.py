"""A torch module is read as layers that compute the same, or refused by name."""

from __future__ import annotations

from copy import deepcopy

import numpy as np
import pytest
import torch
from built import FLOAT32, FLOAT64, by_torch, coarse, in_float64, numbers
from torch import nn
from torch.nn import functional
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

import grus
from grus.builds import Model, read_model
from grus.errors import InputError


class Stack(nn.Module):
    """Layers called one behind the other, the first of a tuple handed on."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for layer in self.layers:
            x = layer(x)
            x = x[0] if isinstance(layer, (nn.RNNBase, grus.Recurrent)) else x
        return x


class Classifier(nn.Module):
    """As tutorials write it: zeros of the batch's size, the last step alone."""

    def __init__(self) -> None:
        super().__init__()
        self.gru = nn.GRU(3, 6, 2, batch_first=True, dropout=0.2)
        self.lstm = nn.LSTM(6, 5, batch_first=True)
        self.head = nn.Sequential(nn.Dropout(0.5), nn.Linear(5, 7), nn.ReLU(), nn.Linear(7, 2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h0 = torch.zeros(2, x.size(0), 6, dtype=x.dtype).to(x.device)
        y, _ = self.gru(x, h0)
        y, (h, _) = self.lstm(functional.dropout(y, 0.3, self.training))
        return self.head(torch.tanh(h[-1]) * 0.5 + 1)


class Steps(nn.Module):
    """Every step's output; axes moved to and fro."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn, self.norm = nn.RNN(3, 4), nn.BatchNorm1d(4)
        self.linear = nn.Linear(4, 1)

    def forward(self, x: torch.Tensor, h: torch.Tensor | None = None) -> torch.Tensor:
        y, h = self.rnn(x.transpose(0, 1), h)
        y = self.norm(y.permute(1, 2, 0)).transpose(1, 2)
        return self.linear(y.reshape(-1, 4)).view(1, -1, 1).squeeze(-1)


RECURRENT = {
    "gru": lambda: nn.GRU(3, 6, 2, batch_first=True),
    "gru without bias": lambda: nn.GRU(3, 6, bias=False, batch_first=True),
    "lstm": lambda: nn.LSTM(3, 6, batch_first=True),
    "projected lstm": lambda: nn.LSTM(3, 6, 2, batch_first=True, proj_size=4),
    "relu rnn": lambda: nn.RNN(3, 6, nonlinearity="relu", batch_first=True),
    "own cell": lambda: grus.Recurrent("mgu", 3, 6, batch_first=True),
    "residual": lambda: grus.Recurrent("lstm", 3, 6, 3, batch_first=True, connect="residual"),
    "highway": lambda: grus.GRU(3, 6, 2, batch_first=True, connect="highway"),
    "normalised": lambda: grus.GRU(3, 6, batch_first=True, layer_norm="split"),
    "held": lambda: grus.GRU(3, 6, batch_first=True, zoneout=0.1),
}


@pytest.mark.parametrize("name", RECURRENT)
def test_a_recurrent_layer_is_its_rows(name: str) -> None:
    torch.manual_seed(0)
    module, x = coarse(RECURRENT[name]()), numbers(9, 3)
    model = read_model(module)
    assert np.abs(in_float64(model, x) - by_torch(Stack(module), x)).max() < FLOAT64
    assert model.inputs == 3
    assert model.outputs == model.run(x).shape[1]


@pytest.mark.parametrize("normed", [False, True])
def test_what_is_built_has_the_bits_of_the_layer(normed: bool) -> None:
    torch.manual_seed(1)
    module, x = grus.LSTM(5, 12, 2), numbers(20, 5)
    if normed:
        nn.utils.parametrizations.weight_norm(module, "weight_hh_l0")
    with torch.no_grad():
        assert np.array_equal(read_model(module).run(x), module(torch.from_numpy(x))[0].numpy())


def test_one_step_at_a_time_has_the_bits_of_the_sequence() -> None:
    model = read_model(nn.Sequential(nn.Linear(5, 33), nn.SiLU(), nn.Linear(33, 7), nn.Softplus()))
    x = numbers(21, 5)
    assert np.array_equal(model.run(x), np.concatenate([model.run(row[None]) for row in x]))


# The gain and the shift of the norm are rounded to float32: half an ulp of each of 4 products with
# weights of at most 1/2 and values of at most 4.
MODELS = {
    "classifier": (Classifier, -1, FLOAT64),
    "steps": (Steps, slice(None), FLOAT32 * 4 * 0.5 * 4),
}


@pytest.mark.parametrize("name", MODELS)
def test_a_forward_of_its_own_is_followed(name: str) -> None:
    torch.manual_seed(2)
    kind, steps, bound = MODELS[name]
    module, x = coarse(kind()), numbers(9, 3)
    if isinstance(module, Steps):
        module(torch.randn(4, 5, 3))  # the running mean and variance of the norm
    model = read_model(module)
    assert all(part.training for part in module.modules())
    found = in_float64(model, x)[steps]
    assert np.abs(found.squeeze() - by_torch(module, x)).max() < bound
    assert any("last step" in note for note in model.notes) == (name == "classifier")


ACTIVATIONS = [
    *(nn.ReLU(), nn.Tanh(), nn.Sigmoid(), nn.SiLU(), nn.Softsign(), nn.LeakyReLU(0.2), nn.ReLU6()),
    *(nn.ELU(0.5), nn.SELU(), nn.Hardtanh(-0.5, 2), nn.Hardsigmoid(), nn.Hardswish()),
    *(nn.Softplus(), nn.Softplus(2.0), nn.LogSigmoid(), nn.Mish(), nn.Tanhshrink()),
    nn.GELU(approximate="tanh"),
]


@pytest.mark.parametrize("activation", ACTIVATIONS, ids=str)
def test_an_activation_joins_the_linear_layer_before_it(activation: nn.Module) -> None:
    module = coarse(nn.Sequential(nn.Linear(3, 8), activation, deepcopy(activation)))
    model, x = read_model(module), numbers(9, 3) * 4
    # torch's softplus is the identity from 20 on: exp(-20) is missing there.
    apart = 2.1e-9 * 2 if isinstance(activation, nn.Softplus) else 0
    assert np.abs(in_float64(model, x) - by_torch(module, x)).max() < FLOAT64 + apart
    assert [layer.path for layer in model.layers] == ["0"]


def test_a_batch_norm_is_folded_into_the_linear_layer() -> None:
    torch.manual_seed(3)
    module = nn.Sequential(nn.Linear(3, 8, bias=False), nn.BatchNorm1d(8), nn.ReLU())
    module(torch.randn(50, 3))
    model, x = read_model(module), numbers(9, 3)
    (layer,) = model.layers
    # Each weight is rounded once more: half an ulp of each product and of the bias.
    bound = FLOAT32 * (np.abs(x).max() * np.abs(layer.weights["W"]).sum(1).max() + 4)
    assert np.abs(in_float64(model, x)[0] - by_torch(module, x[0])).max() < bound
    assert model.notes == ("1 is folded into the weights of 0",)


@pytest.mark.parametrize("affine", [False, True])
def test_a_layer_norm_is_a_cell(affine: bool) -> None:
    torch.manual_seed(6)
    module = nn.Sequential(nn.Linear(3, 8), nn.LayerNorm(8, elementwise_affine=affine), nn.Tanh())
    if affine:
        nn.init.normal_(module[1].weight)
    model, x = read_model(coarse(module)), numbers(9, 3)
    assert np.abs(in_float64(model, x) - by_torch(module, x)).max() < FLOAT64
    assert model.run(x).shape == (9, 8)


def test_a_further_input_stands_behind_x() -> None:
    torch.manual_seed(4)
    module, x = grus.Recurrent("gru_d", 3, 6), numbers(5, 9)
    model, (delta, mask) = read_model(module), torch.from_numpy(x)[:, 3:].split(3, 1)
    with torch.no_grad():
        y, _ = module(torch.from_numpy(x)[:, :3], delta=delta, mask=mask)
    assert model.inputs == 9
    assert np.array_equal(model.run(x), y.numpy())


class Agent(nn.Module):
    """One step a call: the caller keeps the state."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.cell = nn.Linear(3, 5), nn.GRUCell(5, 6)
        self.lstm, self.head = grus.LSTMCell(6, 4), nn.Linear(4, 2)

    def forward(self, x: torch.Tensor, h: torch.Tensor, hc: tuple[torch.Tensor, ...]) -> object:
        h = self.cell(torch.relu(self.encoder(x)), h)
        hc = self.lstm(h, hc)
        return self.head(hc[0]), h, hc


def test_cells_that_take_a_step_keep_their_states() -> None:
    torch.manual_seed(7)
    module, x = coarse(Agent()).double(), numbers(9, 3)
    h, hc, outputs = torch.zeros(1, 6).double(), (torch.zeros(1, 4).double(),) * 2, []
    with torch.no_grad():
        for row in torch.from_numpy(x).double():
            y, h, hc = module(row[None], h, hc)
            outputs.append(y[0].numpy())
    model = read_model(module.float())
    assert np.abs(in_float64(model, x) - np.stack(outputs)).max() < FLOAT64
    assert "of several outputs the last layer's is built" in model.notes


class Packed(nn.Module):
    """Padded rows, packed and unpacked."""

    def __init__(self) -> None:
        super().__init__()
        self.gru, self.out = nn.GRU(3, 5, batch_first=True), nn.Linear(5, 2)

    def forward(self, x: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        packed = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
        y, _ = pad_packed_sequence(self.gru(packed)[0], batch_first=True)
        return self.out(y)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of torch.compile's own imports
def test_rows_that_are_packed_are_read_as_rows() -> None:
    torch.manual_seed(8)
    module, x = coarse(Packed()), numbers(9, 3)
    model = read_model(torch.compile(module))
    module = module.double()
    with torch.no_grad():
        expected = module(torch.from_numpy(x).double()[None], torch.tensor([9]))[0].numpy()
    assert np.abs(in_float64(model, x) - expected).max() < FLOAT64


def test_an_embedding_stands_before_the_first_layer() -> None:
    module = coarse(Stack(nn.Embedding(11, 3), nn.GRU(3, 4, batch_first=True)))
    model, ids = read_model(module), np.array([3, 0, 10, 3])
    assert model.embedding is not None
    with torch.no_grad():
        expected = module.double()(torch.from_numpy(ids)[None]).numpy()[0]
    assert np.abs(in_float64(model, model.embedding[ids]) - expected).max() < FLOAT64


def test_a_softmax_that_stands_last_can_be_left_out() -> None:
    module = nn.Sequential(nn.Linear(3, 4), nn.Softmax(-1))
    with pytest.raises(InputError, match=r"^1: softmax cannot be built: .*read the logits"):
        read_model(module)
    assert read_model(module, logits=True).notes == ("1: softmax is left out; y is what it reads",)
    with pytest.raises(InputError, match="2 reads what softmax gives"):
        read_model(nn.Sequential(*module, nn.Linear(4, 2)), logits=True)


class Function(nn.Module):
    """A forward that is a function of x and of a layer."""

    def __init__(self, forward: object, layer: nn.Module | None = None) -> None:
        super().__init__()
        self.function, self.layer = forward, layer or nn.GRU(4, 4)

    def forward(self, x: torch.Tensor) -> object:
        return self.function(self.layer, x)  # type: ignore[operator]


def test_activations_of_one_output_are_one_layer() -> None:
    torch.manual_seed(5)
    layer, x = nn.Linear(4, 4), numbers(9, 4)
    scale = torch.tensor([2.0, 0.5, -1.0, 3.0])

    def forward(linear: nn.Module, x: torch.Tensor) -> torch.Tensor:
        y = linear(x)
        swish = y * torch.sigmoid(y) - 0.25
        return 1 / (swish.exp() + 3) + y

    module = coarse(Function(forward, layer))
    model = read_model(module)
    assert [layer.path for layer in model.layers] == ["layer"]
    assert np.abs(in_float64(model, x) - by_torch(module, x)).max() < FLOAT64
    module = coarse(Function(lambda linear, x: (linear(x) * scale - scale) / scale, layer))
    bound = FLOAT32 * 8 * 3 * np.abs(x).max()  # each weight is rounded thrice
    assert np.abs(in_float64(read_model(module), x) - by_torch(module, x)).max() < bound


REFUSED = {
    "backward direction": (nn.GRU(4, 4, bidirectional=True), "^gru has two directions: streaming"),
    "convolution": (nn.Sequential(nn.Conv1d(4, 4, 3)), "^0: Conv1d cannot be built"),
    "attention": (Function(lambda a, x: a(x, x, x), nn.MultiheadAttention(4, 1)), "^layer: Multi"),
    "sizes": (nn.Sequential(nn.Linear(3, 4), nn.Linear(5, 4)), "^1 reads 5 numbers, but 0 .* 4"),
    "residual": (Function(lambda gru, x: gru(x)[0] + x), "add cannot be built: it adds two"),
    "joined": (Function(lambda gru, x: torch.cat([gru(x)[0], x], -1)), "cat cannot be built"),
    "dense": (grus.GRU(4, 4, 2, connect="dense"), "connect='dense'"),
    "mean": (Function(lambda gru, x: gru(x)[0].mean(0)), "mean cannot be built"),
    "part": (Function(lambda gru, x: gru(x)[0][2]), r"a part of an output \(\[2\]\)"),
    "other axis": (Function(lambda gru, x: gru(x)[0][:, -1]), r"a part .*\[:, -1\]"),
    "state": (Function(lambda lstm, x: lstm(x)[1][1][-1], nn.LSTM(4, 4)), "not the output"),
    "start": (Function(lambda gru, x: gru(x, torch.randn(1, 2, 4))), "begin|given|no outputs"),
    "branch": (Function(lambda gru, x: gru(x)[0] if x.sum() > 0 else x), "cannot be followed"),
    "two outputs": (Function(lambda gru, x: (gru(x)[0], gru(x)[0].tanh())), "gives 2 outputs"),
    "no layer": (Function(lambda gru, x: torch.tanh(x)), "no layer with weights"),
    "reshaped": (Function(lambda gru, x: gru(x)[0].reshape(2, -1)), "reshape moves numbers"),
    "changed": (Function(lambda gru, x: gru(x.tanh_())[0] + x), "in place|two branches"),
    "nan": (nn.Linear(2, 2), "NaN"),
    "positions": (grus.Recurrent("conv_gru", 4, 4, grid=(5, 5)), "positions"),
    "gelu": (nn.Sequential(nn.Linear(4, 4), nn.GELU()), "^1: gelu .*approximate='tanh'"),
    "batch norm": (nn.BatchNorm1d(4, track_running_stats=False), "needs the batch"),
    "one step of all": (
        Function(lambda cell, x: cell(x.transpose(0, 1)), nn.GRUCell(4, 4)),
        "layer takes one step, and reads second, first, features",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_built_is_named(name: str) -> None:
    module, message = REFUSED[name]
    if name == "nan":
        nn.init.constant_(module.weight, float("nan"))  # type: ignore[union-attr]
    with pytest.raises(InputError, match=message) as error:
        read_model(module)
    assert "\n" not in str(error.value)


def test_a_run_reads_rows_of_its_own_size() -> None:
    model = read_model(nn.Linear(3, 2))
    assert isinstance(model, Model)
    with pytest.raises(InputError, match=r"x must be float32 \[time, 3\], got float64 \[1, 3\]"):
        model.run(np.zeros((1, 3)))
