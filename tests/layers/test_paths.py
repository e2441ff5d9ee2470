"""Which code runs where, and in which arithmetic: dtypes, autocast, torch's own path on a GPU.

No GPU is needed: torch's functions are run on CPU tensors, the choice is made for fake ones.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from torch import Tensor, nn  # noqa: E402
from torch._subclasses.fake_tensor import FakeTensorMode  # noqa: E402
from torch.autograd import forward_ad  # noqa: E402
from torch.utils._pytree import tree_leaves, tree_map  # noqa: E402

import grus  # noqa: E402
from grus.equations import CELLS  # noqa: E402
from grus.kernels import Steps  # noqa: E402
from grus.kernels.steps import PLAIN  # noqa: E402
from grus.layers import dispatch, native  # noqa: E402
from grus.layers.torch_state import NARROW, WIDE  # noqa: E402

pytestmark = pytest.mark.torch
T, B, I, H = 5, 2, 3, 4  # noqa: E741

narrow = pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)


def data(*shape: int) -> Tensor:
    torch.manual_seed(1)
    return torch.randn(shape or (T, B, I))


# Arithmetic of narrow dtypes.


def run(module: nn.Module, x: Tensor, hx: Any) -> list[Tensor]:
    """Results, and the gradients of x and the parameters."""
    x = x.clone().requires_grad_()
    results = tree_leaves(module(x, hx))
    loss = sum(r.float().square().sum() for r in results)
    return [*results, *torch.autograd.grad(loss, [x, *module.parameters()])]


@narrow
@pytest.mark.parametrize("make", [grus.GRU, grus.LSTM])
def test_narrow_parameters_run_in_float32_and_each_result_is_rounded_once(
    make: Any, dtype: Any
) -> None:
    """The same numbers in float32 give the same results, then rounded: bit for bit."""
    torch.manual_seed(0)
    module = make(I, H, dtype=dtype)
    wide = make(I, H)
    wide.load_state_dict(module.state_dict())
    x, hx = data().to(dtype), data(1, B, H).to(dtype)
    hx = (hx, hx.cos()) if make is grus.LSTM else hx
    assert module.path(x) == "kernels"
    found = run(module, x, hx)
    # The loss reads the rounded results, so its gradient by them is made of those, in float32.
    results = tree_leaves(wide(x.float(), tree_map(Tensor.float, hx)))
    given = [r.to(dtype) for r in results]
    assert all(map(torch.equal, found[: len(given)], given))
    assert all(f.dtype == dtype for f in found)
    grads = [2 * g.float() for g in given]
    leaf = x.float().requires_grad_()
    results = tree_leaves(wide(leaf, tree_map(Tensor.float, hx)))
    grads = [g.to(dtype).float() for g in grads]
    want = torch.autograd.grad(results, [leaf, *wide.parameters()], grads)
    for one, other in zip(found[len(given) :], want, strict=True):
        assert torch.equal(one, other.to(dtype))


@narrow
def test_it_is_closer_to_float64_than_torch_is(dtype: Any) -> None:
    """Rounded once is off by half a unit; a narrow state is rounded again at every step."""
    torch.manual_seed(0)
    theirs = nn.GRU(I, 32, dtype=dtype)
    ours, exact = grus.GRU(I, 32, dtype=dtype), grus.GRU(I, 32, dtype=torch.float64)
    ours.load_state_dict(theirs.state_dict())
    exact.load_state_dict(theirs.state_dict())
    x = data(50, B, I).to(dtype)
    want = exact(x.double())[0]
    off = (ours(x)[0].double() - want).abs()
    # Half a unit in the last place, and the kernel's own float32 error, far below it.
    assert (off <= 0.501 * torch.finfo(dtype).eps * want.abs() + 1e-6).all()
    assert off.max() < (theirs(x)[0].double() - want).abs().max()


def test_a_narrow_layer_on_the_composite_runs_in_its_own_dtype() -> None:
    module = grus.GRU(I, H, dtype=torch.bfloat16, backend="composite")
    assert module(data().bfloat16())[0].dtype == torch.bfloat16


@pytest.mark.parametrize(
    ("own", "given"),
    [(torch.float32, torch.bfloat16), (torch.bfloat16, torch.float32)],
    ids=str,
)
def test_dtypes_mix_under_autocast_only(own: Any, given: Any) -> None:
    module, x = grus.GRU(I, H, dtype=own), data().to(given)
    with pytest.raises(grus.InputError, match="dtype"):
        module(x)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert module(x)[0].dtype == given
    with pytest.raises(grus.InputError, match="hx of state h must be"):
        module(data().to(own), data(1, B, H).to(given))


# Autocast.


def test_autocast_changes_no_bit_of_a_float32_layer() -> None:
    """The kernels are no slower in float32, so nothing is rounded for speed."""
    module = grus.GRU(I, H)
    want = run(module, data(), None)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = run(module, data(), None)
        inner = module(data().bfloat16())[0]
    assert all(map(torch.equal, found, want))
    assert torch.equal(inner, module(data().bfloat16().float())[0].bfloat16())


def test_autocast_gives_torchs_dtypes_for_a_gru() -> None:
    ours, theirs = grus.GRU(I, H), nn.GRU(I, H)
    for x in (data(), data().bfloat16()):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            found, want = ours(x), theirs(x)
        assert [t.dtype for t in found] == [t.dtype for t in want]


def test_a_model_trains_under_autocast() -> None:
    model = nn.Sequential(nn.Linear(I, I), grus.GRU(I, H))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y, state = model(data())
    assert y.dtype == state.dtype == torch.bfloat16
    y.float().square().sum().backward()
    assert all(p.grad is not None and p.grad.dtype == torch.float32 for p in model.parameters())


# The choice.


def fake(device: str, dtype: Any = torch.float32) -> Tensor:
    with FakeTensorMode(allow_non_fake_inputs=True):
        return torch.empty(T, B, I, device=device, dtype=dtype)


DROP = Steps(lengths=torch.tensor([5, 2]).numpy())
CHOICES: list[tuple[str, Any, str, Steps, str]] = [
    *(("cpu", d, c, Steps(), "kernels") for d, c in product(WIDE + NARROW, CELLS)),
    ("cpu", torch.float32, "gru", DROP, "kernels"),
    ("cuda", torch.float32, "gru", Steps(), "torch"),
    ("cuda", torch.float16, "lstm", Steps(reverse=True), "torch"),
    ("cuda", torch.float32, "rnn", Steps(), "torch"),
    ("cuda", torch.float32, "rnn_relu", Steps(), "torch"),
    ("cuda", torch.float32, "gru", DROP, "composite"),
    ("cuda", torch.float32, "gru_reset_before", Steps(), "composite"),
    ("cuda", torch.float32, "gru_admit", Steps(), "composite"),
    ("meta", torch.float32, "gru", Steps(), "composite"),
    ("mps", torch.float32, "gru", Steps(), "composite"),
    ("cpu", torch.complex64, "gru", Steps(), "composite"),
]


@pytest.mark.parametrize(("device", "dtype", "cell", "steps", "want"), CHOICES)
def test_the_path_follows_device_dtype_and_cell(
    device: str, dtype: Any, cell: str, steps: Steps, want: str
) -> None:
    x = fake(device, dtype)
    assert dispatch.choose(x, None, CELLS[cell], steps) == want
    assert dispatch.choose(x, "composite", CELLS[cell], steps) == "composite"


def test_a_layer_tells_its_path() -> None:
    layer = grus.GRU(I, H)
    assert [layer.path(fake(d)) for d in ("cpu", "cuda")] == ["kernels", "torch"]
    other = grus.GRU(I, H, cell="gru_reset_before")
    assert [other.path(fake(d)) for d in ("cpu", "cuda")] == ["kernels", "composite"]


def test_derivatives_that_cudnn_has_not_are_the_composites() -> None:
    x, layer = fake("cuda"), grus.GRU(I, H)
    chosen: list[str] = []

    def look(v: Tensor) -> Tensor:
        chosen.append(layer.path(x))
        return v

    torch.func.vmap(look)(data())
    with forward_ad.dual_level():
        look(data())
    assert chosen == ["composite", "composite"]


def test_the_switch_turns_the_kernels_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRUS_BACKEND", "reference")
    assert grus.GRU(I, H).path(data()) == "composite"


def test_a_layer_on_the_meta_device_has_shapes() -> None:
    layer = grus.LSTM(I, H, device="meta")
    y, (h, c) = layer(torch.empty(T, B, I, device="meta"))
    assert y.shape == (T, B, H)
    assert h.shape == c.shape == (1, B, H)


# torch's own functions, as a CUDA device runs them.

PEERS: dict[str, Callable[..., nn.Module]] = {
    "gru": nn.GRU,
    "lstm": nn.LSTM,
    "rnn": nn.RNN,
    "rnn_relu": lambda *a, **k: nn.RNN(*a, nonlinearity="relu", **k),
}


@pytest.fixture
def on_torchs_path(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every layer that torch could run on a GPU runs there by torch's functions."""
    from grus.layers import stack

    def choose(x: Tensor, asked: Any, cell: Any, steps: Steps = PLAIN) -> str:
        return "torch" if native.has(cell, steps) else "composite"

    for ways in (dispatch, stack):
        monkeypatch.setattr(ways, "choose", choose)
    monkeypatch.setattr(dispatch, "ready", lambda *_, **__: None)


@pytest.mark.usefixtures("on_torchs_path")
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("bidirectional", [True, False])
@pytest.mark.parametrize("cell", PEERS)
def test_torchs_functions_get_their_arguments_in_torchs_order(
    cell: str, bidirectional: bool, bias: bool
) -> None:
    """The same operations, one layer and direction at a time: some roundings of float64 apart."""
    options = {"num_layers": 2, "bidirectional": bidirectional, "bias": bias}
    theirs = PEERS[cell](I, H, dtype=torch.float64, **options)
    ours = grus.Recurrent(cell, I, H, dtype=torch.float64, **options)
    ours.load_state_dict(theirs.state_dict())
    hx = data(4 if bidirectional else 2, B, H).double()
    state = (hx, hx.cos()) if cell == "lstm" else hx
    found, want = run(ours, data().double(), state), run(theirs, data().double(), state)
    for one, other in zip(found, want, strict=True):
        off, size = (one - other).detach().abs().max(), float(other.detach().abs().max())
        assert off <= 1e-12 * max(1.0, size)


@pytest.mark.usefixtures("on_torchs_path")
def test_weights_in_another_order_would_be_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = {CELLS["gru"]: lambda x, h, w, *rest: torch._VF.gru(x, h, [*w[:2], w[3], w[2]], *rest)}
    monkeypatch.setattr(native, "NATIVE", wrong)
    theirs, ours = nn.GRU(I, H, dtype=torch.float64), grus.GRU(I, H, dtype=torch.float64)
    ours.load_state_dict(theirs.state_dict())
    x = data().double()
    assert (ours(x)[0] - theirs(x)[0]).abs().max() > 1e-3
