"""`accelerate` and `restore`: the same module objects, parameters, hooks, numbers."""

from __future__ import annotations

import copy
import io
import pickle
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from torch import Tensor, nn  # noqa: E402
from torch.nn.utils import parametrizations, parametrize  # noqa: E402

import grus  # noqa: E402

pytestmark = [pytest.mark.torch, pytest.mark.filterwarnings("ignore:LSTM with projections")]
I, H = 4, 5  # noqa: E741

OWN: dict[str, Any] = {
    "gru": lambda: nn.GRU(I, H, 2, bidirectional=True),
    "lstm": lambda: nn.LSTM(I, H, 2, batch_first=True),
    "projected": lambda: nn.LSTM(I, H, proj_size=2),
    "rnn": lambda: nn.RNN(I, H, nonlinearity="relu", bias=False),
    "gru_cell": lambda: nn.GRUCell(I, H),
    "lstm_cell": lambda: nn.LSTMCell(I, H, bias=False),
    "rnn_cell": lambda: nn.RNNCell(I, H, nonlinearity="relu"),
}
every = pytest.mark.parametrize("kind", OWN)


def made(kind: str) -> nn.Module:
    torch.manual_seed(0)
    module = OWN[kind]()
    assert isinstance(module, nn.Module)
    return module


def data(kind: str) -> Tensor:
    torch.manual_seed(1)
    return torch.randn(3, I) if kind.endswith("cell") else torch.randn(6, 3, I)


def flat(value: Any) -> list[Tensor]:
    return [value] if isinstance(value, Tensor) else [t for each in value for t in flat(each)]


def near(one: Any, other: Any) -> None:
    """float32 over at most 6 steps of sums of 9 terms, each below 1: a few times 100 * 2**-24."""
    for a, b in zip(flat(one), flat(other), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-5)


class Model(nn.Module):
    """Two recurrent layers tied to each other, held in a list too, deep in the tree."""

    def __init__(self) -> None:
        super().__init__()
        self.deep = nn.ModuleDict({"inner": nn.Sequential(nn.Linear(I, I), nn.GRU(I, H))})
        self.tied = self.deep["inner"][1]
        self.head = nn.Linear(H, 1)
        self.held = [self.tied]

    def forward(self, x: Tensor) -> Any:
        y, _ = self.held[0](self.deep["inner"][0](x))
        return self.head(y)


@every
def test_numbers_parameters_and_keys_stay(kind: str) -> None:
    module, x = made(kind), data(kind)
    want, keys, was = module(x), list(module.state_dict()), list(module.parameters())
    said: list[str] = []
    assert grus.accelerate(module, say=said.append) is module
    assert type(module).__module__.startswith("grus.")
    assert not isinstance(module, (nn.RNNBase, nn.RNNCellBase))
    assert said == [f"the model itself: {type(module).__name__}: torch's -> grus'"]
    near(module(x), want)
    assert list(module.state_dict()) == keys
    assert all(p is q for p, q in zip(module.parameters(), was, strict=True))


@every
def test_restore_gives_back_torchs_module(kind: str) -> None:
    module, x = made(kind), data(kind)
    fresh, want = made(kind), module(x)
    grus.accelerate(module, say=None)
    module(x)
    assert grus.restore(module, say=None) is module
    assert type(module) is type(fresh)
    assert set(vars(module)) == set(vars(fresh))
    assert repr(module) == repr(fresh)
    assert all(map(torch.equal, flat(module(x)), flat(want)))
    module.double()
    assert flat(module(x.double()))[0].dtype == torch.float64


def test_optimizer_hooks_tied_modules_and_lists_stay_valid() -> None:
    torch.manual_seed(0)
    model, calls = Model(), []
    model.tied.register_forward_hook(lambda *_: calls.append("after"))
    model.tied.register_forward_pre_hook(lambda *_: calls.append("before"))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
    twin = copy.deepcopy(model)
    twin_optimizer = torch.optim.Adam(twin.parameters(), lr=0.1)
    grus.accelerate(model, say=None)
    assert model.held[0] is model.tied is model.deep["inner"][1]
    assert isinstance(model.tied, grus.GRU)
    x = torch.randn(6, 3, I)
    for one, steps in ((model, optimizer), (twin, twin_optimizer)):
        for _ in range(3):
            steps.zero_grad()
            one(x).square().mean().backward()
            steps.step()
    assert calls[:2] == ["before", "after"]
    # Adam divides by the gradient's size: a rounding of 1e-7 moves a step of 0.1 by some 1e-6.
    for one, other in zip(model.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-4)


class WithInit(nn.GRU):
    """Only a constructor of its own."""

    def __init__(self, size: int) -> None:
        super().__init__(size, size, batch_first=True)


class WithForward(nn.GRU):
    """A forward of its own, for torch's to be called by."""

    def forward(self, *args: Any) -> Any:
        return super().forward(*args)[0]


class Mixed(WithInit):
    """Inherits a method that torch's class has not."""

    def last(self, x: Tensor) -> Tensor:
        return self(x)[1]


def test_subclasses_with_behaviour_of_their_own_are_left_and_it_says_why() -> None:
    replaced = nn.GRU(I, H)
    replaced.forward = lambda x: x  # type: ignore[method-assign]
    parts = [WithInit(I), WithForward(I, H), Mixed(I), replaced, nn.Linear(I, H)]
    model, said = nn.Sequential(*parts), []
    grus.accelerate(model, say=said.append)
    assert said == [
        "0: GRU: torch's -> grus'",
        "1: GRU: left: WithForward defines forward",
        "2: GRU: left: Mixed defines last",
        "3: GRU: left: its forward was replaced",
    ]
    assert [type(m) for m in model] == [grus.GRU, WithForward, Mixed, nn.GRU, nn.Linear]
    assert model[0].batch_first
    grus.restore(model, say=None)
    assert isinstance(model[0], WithInit)
    assert model[0](torch.zeros(1, 2, I))[0].shape == (1, 2, I)


class CellWithInit(nn.GRUCell):
    """Only a constructor of its own."""

    def __init__(self, size: int) -> None:
        super().__init__(size, size)


def test_a_copied_modules_class_counts_as_it_did_before() -> None:
    module = CellWithInit(I)
    parametrizations.weight_norm(module, "weight_hh")
    copy.deepcopy(module)
    parametrize.remove_parametrizations(module, "weight_hh")
    CellWithInit.__slotnames__ = []  # type: ignore[attr-defined]  # as copyreg notes it
    grus.accelerate(module, say=None)
    assert isinstance(module, grus.GRUCell)


@pytest.mark.parametrize("wrap", [parametrizations.weight_norm, parametrizations.spectral_norm])
def test_parametrizations_stay(wrap: Any) -> None:
    module, x = made("gru"), data("gru")
    wrap(module, "weight_hh_l0")
    wrap(module, "weight_ih_l1_reverse")
    module.eval()  # spectral_norm moves its estimate in training
    want, parameters = module(x), dict(module.named_parameters())
    grus.accelerate(module, say=None)
    assert isinstance(module, grus.GRU)
    assert parametrize.is_parametrized(module, "weight_hh_l0")
    near(module(x), want)
    module(x)[0].sum().backward()
    for name, parameter in module.named_parameters():
        assert parameter is parameters[name]
        assert parameter.grad is not None, name
    twin = copy.deepcopy(module)
    assert torch.equal(twin(x)[0], module(x)[0])
    grus.restore(module, say=None)
    assert isinstance(module, nn.GRU)
    near(module(x), want)
    grus.accelerate(module, say=None)
    parametrize.remove_parametrizations(module, "weight_hh_l0")
    parametrize.remove_parametrizations(module, "weight_ih_l1_reverse")
    assert type(module) is grus.GRU
    near(module(x), want)


@pytest.mark.filterwarnings("ignore:.*weight_norm.* is deprecated")
def test_weight_norm_of_the_older_kind_stays() -> None:
    module, x = made("gru"), data("gru")
    nn.utils.weight_norm(module, "weight_hh_l0")
    want = module(x)
    grus.accelerate(module, say=None)
    near(module(x), want)
    with torch.no_grad():
        module.weight_hh_l0_g.mul_(2)
    assert (module(x)[0] - want[0]).abs().max() > 1e-3


@every
def test_copies_pickles_and_files_of_an_accelerated_module(kind: str) -> None:
    module, x = grus.accelerate(made(kind), say=None), data(kind)
    file = io.BytesIO()
    torch.save(module, file)
    file.seek(0)
    copies = [copy.deepcopy(module), pickle.loads(pickle.dumps(module))]
    for twin in (*copies, torch.load(file, weights_only=False)):
        assert all(map(torch.equal, flat(twin(x)), flat(module(x))))
        assert type(grus.restore(twin, say=None)) is type(made(kind))
        near(twin(x), module(x))


def test_it_is_idempotent_and_leaves_ours_alone() -> None:
    model = nn.Sequential(nn.GRU(I, H), grus.GRU(H, H))
    said: list[str] = []
    grus.accelerate(model, say=None)
    grus.accelerate(model, say=said.append)
    assert said == []
    grus.restore(model, say=said.append)
    assert said == ["0: GRU: grus' -> torch's"]
    assert [type(m) for m in model] == [nn.GRU, grus.GRU]


def test_what_packages_read_of_torchs_modules_is_there() -> None:
    torchs, ours = made("gru"), grus.accelerate(made("gru"), say=None)
    assert ours.mode == torchs.mode == "GRU"
    assert ours._flat_weights_names == torchs._flat_weights_names
    assert ours._all_weights == torchs._all_weights
    for one, other in zip(ours._flat_weights, torchs._flat_weights, strict=True):
        assert torch.equal(one, other)
    assert [len(row) for row in ours.all_weights] == [4] * 4
    ours.flatten_parameters()


def test_it_prints_what_it_did_by_itself(capsys: pytest.CaptureFixture[str]) -> None:
    grus.restore(grus.accelerate(nn.Sequential(nn.LSTM(I, H))))
    assert capsys.readouterr().out == "0: LSTM: torch's -> grus'\n0: LSTM: grus' -> torch's\n"


@pytest.mark.parametrize("kind", [nn.GRU, nn.LSTM, nn.RNN, nn.GRUCell, nn.LSTMCell, nn.RNNCell])
def test_restore_leaves_none_of_our_attributes(kind: type[nn.Module]) -> None:
    """Called and trained in between; torch's module has what it has when it is made, no more."""
    module = kind(2, 3)  # type: ignore[call-arg]
    before = set(vars(module))
    grus.accelerate(module, say=None)
    out = module(torch.zeros(1, 2))
    (out[0] if isinstance(out, tuple) else out).sum().backward()
    if hasattr(module, "recompute"):
        module.recompute = True
    grus.restore(module, say=None)
    assert set(vars(module)) == before
