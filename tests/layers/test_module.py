"""Layers as modules: states, steps and dtypes, copies, initialisation, and errors that say what."""

from __future__ import annotations

import copy
import io
import pickle
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from torch import Tensor  # noqa: E402

import grus  # noqa: E402
from cells import ALL_CELLS  # noqa: E402
from grus import InputError  # noqa: E402
from grus.equations import Cell, U, W, b, h, tanh, x  # noqa: E402

pytestmark = pytest.mark.torch
T, B, I, H = 6, 3, 4, 5  # noqa: E741

both = pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
some = pytest.mark.parametrize("name", ["gru", "gru_reset_before", "lstm", "rnn"])


def flat(states: Tensor | tuple[Tensor, ...]) -> list[Tensor]:
    return [states] if isinstance(states, Tensor) else list(states)


def states(module: grus.Recurrent, batch: int = B) -> Any:
    shape, dtype = (module.num_layers, batch, module.hidden_size), module.weight_ih_l0.dtype
    found = tuple(torch.randn(shape, dtype=dtype) for _ in module.cell.states)
    return found if len(found) > 1 else found[0]


@both
@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("batch_first", [False, True])
@some
def test_step_is_the_sequence_bit_for_bit(
    name: str, batch_first: bool, layers: int, dtype: Any
) -> None:
    module = grus.Recurrent(name, I, H, layers, batch_first=batch_first, dtype=dtype)
    given = torch.randn(B, T, I, dtype=dtype) if batch_first else torch.randn(T, B, I, dtype=dtype)
    time, now = int(batch_first), states(module)
    want, final = module(given, now)
    outputs = []
    for one in given.unbind(time):
        y, now = module.step(one, now)
        assert y.shape == (B, H)
        outputs.append(y)
    assert torch.equal(torch.stack(outputs, time), want)
    assert all(map(torch.equal, flat(now), flat(final)))


@both
@some
def test_no_initial_state_is_zeros_exactly(name: str, dtype: Any) -> None:
    module, given = grus.Recurrent(name, I, H, 2, dtype=dtype), torch.randn(T, B, I, dtype=dtype)
    zeros = [torch.zeros_like(s) for s in flat(states(module))]
    one, final = module(given)
    other, last = module(given, tuple(zeros) if len(zeros) > 1 else zeros[0])
    assert torch.equal(one, other)
    assert all(map(torch.equal, flat(final), flat(last)))


@both
@some
def test_batch_first_is_the_same_turned(name: str, dtype: Any) -> None:
    module = grus.Recurrent(name, I, H, 2, dtype=dtype)
    turned = grus.Recurrent(name, I, H, 2, batch_first=True, dtype=dtype)
    turned.load_state_dict(module.state_dict())
    given, hx = torch.randn(T, B, I, dtype=dtype), states(module)
    y, final = module(given, hx)
    for batch in (given.transpose(0, 1), given.transpose(0, 1).contiguous()):
        found, last = turned(batch, hx)
        assert torch.equal(found, y.transpose(0, 1))
        assert all(map(torch.equal, flat(last), flat(final)))


@some
def test_an_empty_sequence_gives_back_the_initial_state_and_its_gradient(name: str) -> None:
    module = grus.Recurrent(name, I, H, 2)
    hx = states(module)
    for first in flat(hx):
        first.requires_grad_()
    y, final = module(torch.randn(0, B, I), hx)
    assert y.shape == (0, B, H)
    assert all(map(torch.equal, flat(final), flat(hx)))
    torch.stack([s.sum() for s in flat(final)]).sum().backward()
    assert all(torch.equal(first.grad, torch.ones_like(first)) for first in flat(hx))
    assert all(p.grad is None or not p.grad.any() for p in module.parameters())


@some
def test_an_empty_batch_has_gradients_of_zero(name: str) -> None:
    module = grus.Recurrent(name, I, H)
    y, _ = module(torch.randn(T, 0, I))
    y.sum().backward()
    assert all(p.grad is not None and not p.grad.any() for p in module.parameters())


@some
def test_results_share_no_memory_with_each_other_or_the_arguments(name: str) -> None:
    module, given = grus.Recurrent(name, I, H), torch.randn(1, 1, I)
    hx = states(module, batch=1)
    tensors = [given, *flat(hx), *(t for r in module(given, hx) for t in flat(r))]
    tensors += [t for r in module(given[:0], hx) for t in flat(r) if t.numel()]
    addresses = [t.untyped_storage().data_ptr() for t in tensors]
    assert len(set(addresses)) == len(addresses)


def test_arguments_are_not_changed() -> None:
    module, given = grus.GRU(I, H), torch.randn(T, B, I, requires_grad=True)
    hx = torch.randn(1, B, H)
    before = [t.detach().clone() for t in (given, hx, *module.parameters())]
    y, _ = module(given, hx)
    y.sum().backward()
    assert all(map(torch.equal, before, [given, hx, *module.parameters()]))


@some
def test_copies_and_pickles_are_equal_and_independent(name: str) -> None:
    gate = {"rnn": "h", "lstm": "f"}.get(name, "z")
    module = grus.Recurrent(name, I, H, 2, gate_bias={gate: 1.0})
    given, file = torch.randn(T, B, I), io.BytesIO()
    want = module(given)[0]
    torch.save(module, file)
    file.seek(0)
    for twin in (
        copy.deepcopy(module),
        pickle.loads(pickle.dumps(module)),
        torch.load(file, weights_only=False),
    ):
        assert twin.cell == module.cell
        assert repr(twin) == repr(module)
        assert torch.equal(twin(given)[0], want)
        twin.reset_parameters()
        assert not torch.equal(twin(given)[0], want)
    assert torch.equal(module(given)[0], want)


def test_a_cell_defined_in_a_function_pickles_with_its_layer() -> None:
    class Local(Cell):
        h_next = tanh(W.h @ x + U.h @ h + b.h)

    module = grus.Recurrent(Local, I, H)
    twin = pickle.loads(pickle.dumps(module))
    given = torch.randn(T, B, I)
    assert torch.equal(twin(given)[0], module(given)[0])


def test_a_layer_moves_to_another_dtype() -> None:
    module, given = grus.GRU(I, H), torch.randn(T, B, I)
    single = module(given)[0]
    double = module.double()(given.double())[0]
    assert double.dtype == torch.float64
    assert torch.allclose(double, single.double(), atol=1e-5)
    half = module.bfloat16()
    assert half.path(given.bfloat16()) == "kernels"
    assert half(given.bfloat16())[0].dtype == torch.bfloat16


@pytest.mark.parametrize(("name", "keeps"), [("gru", True), ("gru_admit", False)])
def test_gate_bias_means_the_whole_bias_of_a_gate_in_the_cells_own_sense(
    name: str, keeps: bool
) -> None:
    module = grus.GRU(I, H, 2, cell=name, gate_bias={"z": 3.0}, dtype=torch.float64)
    for k in range(2):
        biases = [getattr(module, f"bias_{part}_l{k}") for part in ("ih", "hh")]
        assert torch.equal(sum(bias[H : 2 * H] for bias in biases), 3 * torch.ones(H).double())
        assert all(bias[2 * H :].any() and bias[:H].any() for bias in biases)
        weights = [getattr(module, f"weight_{part}_l{k}") for part in ("ih", "hh")]
        for tensor in (*weights, *(bias[2 * H :] for bias in biases)):
            tensor.data.zero_()
    # With no weights n is 0, and z = sigmoid(3) is what is kept of the state, or let in instead.
    hx = torch.randn(2, B, H, dtype=torch.float64)
    final = module(torch.zeros(1, B, I).double(), hx)[1]
    kept = torch.sigmoid(torch.tensor(3.0 if keeps else -3.0).double())
    assert torch.allclose(final, kept * hx, rtol=1e-12, atol=0)


def test_gate_bias_leaves_everything_else_as_it_was_drawn() -> None:
    torch.manual_seed(0)
    plain = dict(grus.GRU(I, H).named_parameters())
    torch.manual_seed(0)
    biased = dict(grus.GRU(I, H, gate_bias={"z": 1.0, "n": -1.0}).named_parameters())
    assert torch.equal(plain["weight_hh_l0"], biased["weight_hh_l0"])
    assert torch.equal(plain["bias_ih_l0"][:H], biased["bias_ih_l0"][:H])
    assert torch.equal(biased["bias_ih_l0"][2 * H :], -torch.ones(H))
    # n's second bias is inside the product with r: another bias, so it stays.
    assert torch.equal(plain["bias_hh_l0"][2 * H :], biased["bias_hh_l0"][2 * H :])


def test_weights_changed_behind_torchs_back_are_used_at_once() -> None:
    """None of these tells torch that a parameter changed: nothing packed may be kept for later."""
    module, given = grus.GRU(I, H), torch.randn(T, B, I)
    parameters = list(module.parameters())
    changes = {
        "data": lambda: module.weight_hh_l0.data.mul_(0.5),
        "numpy": lambda: module.weight_ih_l0.detach().numpy().__imul__(2.0),
        "vector": lambda: torch.nn.utils.vector_to_parameters(
            torch.nn.utils.parameters_to_vector(parameters) * 0.9, parameters
        ),
        "set": lambda: setattr(module.bias_ih_l0, "data", torch.randn(3 * H)),
    }
    before = module(given)[0]
    for name, change in changes.items():
        change()
        after = module(given)[0]
        assert not torch.equal(before, after), name
        fresh = copy.deepcopy(module)
        assert torch.equal(fresh(given)[0], after), name
        before = after


@pytest.mark.parametrize("name", ["gru", "lstm"])
def test_parameters_of_any_layout_and_replaced_ones_are_read(name: str) -> None:
    module, given = grus.Recurrent(name, I, H), torch.randn(T, B, I)
    want = torch.autograd.grad(module(given)[0].square().sum(), list(module.parameters()))
    moved = {
        n: torch.stack([v.detach(), v.detach()], -1)[..., 0].T.contiguous().T.requires_grad_()
        if v.dim() == 2
        else torch.stack([v.detach(), v.detach()], -1)[..., 1].requires_grad_()
        for n, v in module.named_parameters()
    }
    y, _ = torch.func.functional_call(module, moved, (given,))
    found = torch.autograd.grad(y.square().sum(), list(moved.values()))
    assert all(map(torch.equal, found, want))


def test_without_gradients_the_bits_are_the_same() -> None:
    module, given = grus.GRU(I, H, 2), torch.randn(T, B, I)
    want = module(given)[0]
    for mode in (torch.no_grad, torch.inference_mode):
        with mode():
            found = module(given)[0]
        assert torch.equal(found, want)
        assert not found.requires_grad


def test_a_bidirectional_layer_has_no_single_step() -> None:
    with pytest.raises(InputError, match="one step at a time"):
        grus.GRU(I, H, bidirectional=True).step(torch.zeros(B, I))


def constructor(**changes: Any) -> Any:
    given = {"cell": "gru", "input_size": I, "hidden_size": H} | changes
    return lambda: grus.Recurrent(**given)


def call(*args: Any, **options: Any) -> Any:
    return lambda: grus.Recurrent(options.pop("cell", "gru"), I, H, **options)(*args)


DOUBLE = torch.float64
WRONG: list[tuple[Any, str]] = [
    (constructor(input_size=0), "input_size must be greater than zero, got 0"),
    (constructor(hidden_size=-1), "hidden_size must be greater than zero, got -1"),
    (constructor(hidden_size=2.0), "hidden_size should be of type int, got: float"),
    (constructor(num_layers=0), "num_layers must be greater than zero, got 0"),
    (constructor(backend="kernel"), "backend must be kernels, composite or None, got 'kernel'"),
    (constructor(cell="grv"), "grv"),
    (constructor(gate_bias={"q": 1.0}), "gate_bias: no gate 'q' with a bias"),
    (constructor(gate_bias={"z": 1.0}, bias=False), "gate_bias: no gate 'z' with a bias"),
    (constructor(cell=ALL_CELLS["zoneout"]), "layers take no mask per sequence (drop)"),
    (
        constructor(cell=ALL_CELLS["lstm_projected"]),
        "cell lstm_projected has a projection, got proj_size=0",
    ),
    (constructor(cell=ALL_CELLS["sru"]), "input_size and hidden_size must be equal, got 4 and 5"),
    (call(torch.zeros(I)), "input must be 2-D or 3-D, got 1-D: (4,)"),
    (call(torch.zeros(T, I + 1)), f"input must be [time, {I}], got {(T, I + 1)}"),
    (call(torch.zeros(T, B, I + 1)), f"input must be [time, batch, {I}], got {(T, B, I + 1)}"),
    (call(torch.zeros(T, B, I, dtype=DOUBLE)), "Convert input: input.to(torch.float32)"),
    (call(torch.zeros(T, B, I), torch.zeros(1, B, H, dtype=DOUBLE)), "hx of state h must be"),
    (call(torch.zeros(T, B, I), torch.zeros(B, H)), f"must be {(1, B, H)}, got {(B, H)}"),
    (call(torch.zeros(T, B, I), torch.zeros(2, B, H)), f"must be {(1, B, H)}, got {(2, B, H)}"),
    (
        call(torch.zeros(T, B, I), (torch.zeros(1, B, H),) * 2),
        "hx must be one tensor, the state h; it held 2",
    ),
    (
        call(torch.zeros(T, B, I), torch.zeros(1, B, H), cell="lstm"),
        "hx must be a tuple of the 2 states h, c; it held 1",
    ),
    (call(torch.zeros(T, B, I, dtype=torch.float16), backend="kernels"), "torch.float16"),
]


@pytest.mark.parametrize(("wrong", "words"), WRONG)
def test_what_cannot_be_is_one_sentence(wrong: Any, words: str) -> None:
    with pytest.raises(InputError) as raised:
        wrong()
    assert words in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_cell_without_kernels_runs_on_the_composite_when_asked() -> None:
    module = grus.Recurrent(ALL_CELLS["layer_norm_gru"], I, H, backend="composite")
    module(torch.randn(T, B, I))[0].sum().backward()
    assert all(p.grad is not None for p in module.parameters())
