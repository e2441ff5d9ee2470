"""What people do to modules: files, dtypes, sharing, hooks, threads, forks, several processes."""

from __future__ import annotations

import copy
import io
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from safetensors.torch import load_file, save_file  # noqa: E402
from torch import Tensor, nn  # noqa: E402
from torch.nn.utils import parametrizations  # noqa: E402
from torch.utils.data import DataLoader, Dataset  # noqa: E402

import grus  # noqa: E402

pytestmark = [pytest.mark.torch, pytest.mark.filterwarnings("ignore:LSTM with projections")]
T, B, I, H = 6, 3, 4, 5  # noqa: E741

MAKE: dict[str, Any] = {
    "gru": lambda **k: grus.GRU(I, H, 2, bidirectional=True, **k),
    "lstm": lambda **k: grus.LSTM(I, H, 2, **k),
    "rnn": lambda **k: grus.RNN(I, H, **k),
    "gru_cell": lambda **k: grus.GRUCell(I, H, **k),
    "lstm_cell": lambda **k: grus.LSTMCell(I, H, **k),
    "rnn_cell": lambda **k: grus.RNNCell(I, H, nonlinearity="relu", **k),
}
every = pytest.mark.parametrize("kind", MAKE)


def made(kind: str, seed: int = 0, **options: Any) -> nn.Module:
    torch.manual_seed(seed)
    module = MAKE[kind](**options)
    assert isinstance(module, nn.Module)
    return module


def data(kind: str) -> Tensor:
    torch.manual_seed(1)
    return torch.randn(B, I) if kind.endswith("cell") else torch.randn(T, B, I)


def flat(value: Any) -> list[Tensor]:
    return [value] if isinstance(value, Tensor) else [t for each in value for t in flat(each)]


def same(one: nn.Module, other: nn.Module, x: Tensor) -> bool:
    return all(map(torch.equal, flat(one(x)), flat(other(x))))


@every
def test_weights_alone_move_through_files_and_torchs_class(kind: str, tmp_path: Path) -> None:
    module, other, x = made(kind), made(kind, seed=7), data(kind)
    assert not same(module, other, x)
    torch.save(module.state_dict(), tmp_path / "weights.pt")
    other.load_state_dict(torch.load(tmp_path / "weights.pt", weights_only=True))
    assert same(module, other, x)
    third = made(kind, seed=8)
    save_file(module.state_dict(), tmp_path / "weights.safetensors")  # no two share storage
    third.load_state_dict(load_file(tmp_path / "weights.safetensors"))
    assert same(module, third, x)
    theirs = copy.deepcopy(grus.restore(module, say=None))
    assert list(theirs.state_dict()) == list(other.state_dict())


@every
def test_dtypes_are_moved_and_stated(kind: str) -> None:
    module, x = made(kind), data(kind)
    want = flat(module(x))
    for one, other in zip(flat(copy.deepcopy(module).double()(x.double())), want, strict=True):
        assert one.dtype == torch.float64
        torch.testing.assert_close(one.float(), other, rtol=0, atol=1e-5)
    for dtype in (torch.float16, torch.bfloat16):
        given = x.to(dtype)
        for one, other in zip(flat(copy.deepcopy(module).to(dtype)(given)), want, strict=True):
            assert one.dtype == dtype
            # Weights, input and result rounded: sums of 9 terms below 1, over 6 steps, 2 layers.
            assert (one.float() - other).abs().max() < 9 * T * 2 * torch.finfo(dtype).eps
    for one in flat(made(kind, dtype=torch.float64, device="cpu")(x.double())):
        assert one.dtype == torch.float64


def test_on_the_meta_device_it_is_made_without_numbers() -> None:
    module = grus.LSTM(I, H, 2, device="meta")
    assert all(p.is_meta for p in module.parameters())
    moved = module.to_empty(device="cpu")
    moved.reset_parameters()
    torch.manual_seed(0)
    moved.reset_parameters()
    assert same(moved, made("lstm"), data("lstm"))


def test_shared_parameters_are_one_and_get_both_gradients() -> None:
    one, other, x = made("rnn"), made("rnn", seed=2), data("rnn")
    other.weight_hh_l0 = one.weight_hh_l0
    assert len(list(nn.ModuleList([one, other]).parameters())) == 7
    first = torch.autograd.grad(one(x)[0].sum(), one.weight_hh_l0)[0]
    second = torch.autograd.grad(other(x)[0].sum(), one.weight_hh_l0)[0]
    (one(x)[0].sum() + other(x)[0].sum()).backward()
    torch.testing.assert_close(one.weight_hh_l0.grad, first + second)


@pytest.mark.parametrize("wrap", [parametrizations.weight_norm, parametrizations.spectral_norm])
@pytest.mark.parametrize("name", ["GRU", "LSTM"])
def test_parametrized_weights_are_used_and_trained(name: str, wrap: Any) -> None:
    pair = []
    for place in (nn, grus):
        torch.manual_seed(0)
        module = wrap(getattr(place, name)(I, H), "weight_hh_l0").eval()
        y, _ = module(data("gru"))
        y.square().sum().backward()
        pair.append([y.detach(), *(p.grad for p in module.parameters())])
    for want, found in zip(*pair, strict=True):
        torch.testing.assert_close(found, want, rtol=1e-4, atol=1e-5)


def test_a_plain_tensor_in_a_parameters_place_is_used() -> None:
    """As weight-drop does it: the parameter goes elsewhere, a masked copy takes its name."""
    module, x = made("rnn"), data("rnn")
    raw = module.weight_hh_l0
    del module.weight_hh_l0
    module.register_parameter("raw", raw)
    module.weight_hh_l0 = raw * 0
    y = module(x)[0]
    y.sum().backward()
    assert not raw.grad.any()
    module.weight_hh_l0 = raw * 1
    assert same(module, made("rnn"), x)


@every
def test_hooks_run_in_torchs_order_and_may_change_what_passes(kind: str) -> None:
    module, x, seen = made(kind), data(kind), []
    module.register_forward_pre_hook(lambda m, a: (seen.append("before"), (a[0] * 2,))[1])
    module.register_forward_hook(lambda m, a, r: seen.append("after"))
    module.register_full_backward_hook(lambda m, gi, go: seen.append("backward"))
    result = flat(module(x.requires_grad_()))
    result[0].sum().backward()
    assert seen == ["before", "after", "backward"]
    assert torch.equal(result[0], flat(made(kind)(x * 2))[0])


@every
def test_frozen_parameters_stay_and_the_others_train(kind: str) -> None:
    module, x = made(kind), data(kind)
    frozen = next(module.parameters()).requires_grad_(False)
    before = [p.detach().clone() for p in module.parameters()]
    optimizer = torch.optim.SGD([p for p in module.parameters() if p.requires_grad], lr=0.1)
    first = module(x)  # a state that is not zero, so that the recurrent weights matter
    state = first if kind.endswith("cell") else first[1]
    flat(module(x, state))[0].square().sum().backward()
    optimizer.step()
    assert frozen.grad is None
    moved = [not torch.equal(p, q) for p, q in zip(module.parameters(), before, strict=True)]
    assert moved == [False] + [True] * (len(before) - 1)


def test_threads_may_call_one_module_at_once() -> None:
    module, wrong = made("gru"), []
    given = [torch.randn(50, 8, I, generator=torch.Generator().manual_seed(k)) for k in range(8)]
    want = [module(x)[0].detach() for x in given]

    def call(k: int) -> None:
        for _ in range(20):
            y, _ = module(given[k])
            (gradient,) = torch.autograd.grad(y.sum(), module.weight_ih_l0)
            if not torch.equal(y, want[k]) or not gradient.isfinite().all():
                wrong.append(k)

    threads = [threading.Thread(target=call, args=(k,)) for k in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
        assert not thread.is_alive()
    assert wrong == []


class Features(Dataset[Tensor]):
    """Each item is a layer's output: the layer runs in the worker."""

    def __init__(self, module: nn.Module) -> None:
        self.module = module

    def __len__(self) -> int:
        return 6

    def __getitem__(self, k: int) -> Tensor:
        torch.manual_seed(k)
        with torch.no_grad():
            return self.module(torch.randn(T, B, I))[0]  # type: ignore[no-any-return]


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_dataloader_workers_that_fork_run_the_layer() -> None:
    torch.set_num_threads(2)
    items = Features(made("gru"))
    want = [items[k] for k in range(6)]  # compiled, and its threads used, before the fork
    loader = DataLoader(
        items, batch_size=None, num_workers=2, multiprocessing_context="fork", timeout=60
    )
    assert all(map(torch.equal, loader, want))


TWO_PROCESSES = """
import sys, torch, grus
import torch.distributed as dist, torch.multiprocessing as mp
from torch.nn.parallel import DistributedDataParallel

def work(rank, file):
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method="file://" + file, rank=rank, world_size=2)
    torch.manual_seed(0)
    model = DistributedDataParallel(grus.GRU(4, 5, 2, bidirectional=True))
    torch.manual_seed(1)
    x = torch.randn(6, 4, 4)
    model(x[:, rank::2])[0].square().sum().backward()
    torch.manual_seed(0)
    alone = grus.GRU(4, 5, 2, bidirectional=True)
    alone(x)[0].square().sum().backward()
    for one, other in zip(model.parameters(), alone.parameters()):
        # DDP takes the mean over two processes; float32, sums over 24 rows and steps.
        torch.testing.assert_close(one.grad * 2, other.grad, rtol=1e-4, atol=1e-5)
    print(f"rank {rank} agrees\\n", end="", flush=True)
    dist.destroy_process_group()

if __name__ == "__main__":
    mp.spawn(work, args=(sys.argv[1],), nprocs=2)
"""


def run_python(script: Path, *arguments: str, timeout: float = 120.0) -> str:
    """What a script printed; it and its children are ended where it takes longer."""
    pipe = subprocess.PIPE
    with subprocess.Popen(
        [sys.executable, str(script), *arguments],
        stdout=pipe,
        stderr=pipe,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            printed, said = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            pytest.fail(f"hung for {timeout} seconds")
    assert process.returncode == 0, said[-3000:]
    return printed


@pytest.mark.skipif(not torch.distributed.is_available(), reason="torch without distributed")
def test_two_processes_share_gradients_over_gloo(tmp_path: Path) -> None:
    script = tmp_path / "two.py"
    script.write_text(TWO_PROCESSES, "utf-8")
    out = run_python(script, str(tmp_path / "rendezvous"))
    assert sorted(line for line in out.splitlines() if line.startswith("rank")) == [
        "rank 0 agrees",
        "rank 1 agrees",
    ]


def test_a_module_in_a_saved_file_comes_back_whole() -> None:
    module, file = made("lstm"), io.BytesIO()
    torch.save(module, file)
    file.seek(0)
    twin = torch.load(file, weights_only=False)
    assert repr(twin) == repr(module)
    assert same(twin, module, data("lstm"))
