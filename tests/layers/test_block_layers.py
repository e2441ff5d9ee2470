"""Layers of block-diagonal weights: one kernel that gives what as many small layers give."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from torch import Tensor  # noqa: E402
from torch.autograd import grad, gradcheck  # noqa: E402

import grus  # noqa: E402
from grus.equations import Cell  # noqa: E402
from grus.errors import InputError  # noqa: E402
from grus.layers.held import hold_layer  # noqa: E402

pytestmark = pytest.mark.torch
TIME, BATCH = 6, 5
NEAR = 1e-10
CLASSES = (grus.GRU, grus.LSTM, grus.RNN)
SIZES = [(24, 16, 8), (12, 9, 3), (64, 64, 8), (80, 6, 2)]
"""Hidden, input, blocks: some of fewer units than a vector, and none a multiple of one."""
every_size = pytest.mark.parametrize("sizes", SIZES, ids=str)


def layer(kind: Any, sizes: tuple[int, int, int], **options: Any) -> Any:
    torch.manual_seed(3)
    hidden, inputs, blocks = sizes
    options.setdefault("dtype", torch.float64)
    return kind(inputs, hidden, blocks=blocks, **options)


def sequence(net: Any, batch: int = BATCH) -> Tensor:
    torch.manual_seed(4)
    dtype = next(net.parameters()).dtype
    return torch.randn(TIME, batch, net.input_size, dtype=dtype, requires_grad=True)


def results(net: Any, x: Tensor, **options: Any) -> list[Tensor]:
    """The output, the final states, and the gradients of x and of the parameters."""
    y, states = net(x, **options)
    states = states if isinstance(states, tuple) else (states,)
    loss = (y * y).sum() + sum((s * s).sum() for s in states)
    return [y, *states, *grad(loss, [x, *net.parameters()])]


def close(found: list[Tensor], wanted: list[Tensor]) -> None:
    for a, b in zip(found, wanted, strict=True):
        torch.testing.assert_close(a, b, rtol=NEAR, atol=NEAR)


def gates(net: Any, tensor: Tensor) -> Tensor:
    """A parameter as [gates, blocks, units of a block, ...]."""
    count, blocks = tensor.shape[0] // net.hidden_size, max(net.cell.shapes.blocks.values())
    return tensor.reshape(count, blocks, -1, *tensor.shape[1:])


@every_size
def test_it_is_the_composite_and_as_many_small_layers_side_by_side(
    sizes: tuple[int, int, int],
) -> None:
    hidden, inputs, blocks = sizes
    for kind in CLASSES:
        net, slow = layer(kind, sizes), layer(kind, sizes, backend="composite")
        x = sequence(net)
        assert net.path(x) == "kernels"
        found = results(net, x)
        close(found, results(slow, x))
        small = [
            kind(inputs // blocks, hidden // blocks, dtype=torch.float64) for _ in range(blocks)
        ]
        parts = []
        for k, one in enumerate(small):
            for ours, theirs in zip(one.parameters(), net.parameters(), strict=True):
                ours.data = gates(net, theirs)[:, k].reshape(ours.shape).detach()
            part = x.detach()[..., k * one.input_size : (k + 1) * one.input_size]
            parts.append(results(one, part.clone().requires_grad_()))
        ends = len(parts[0]) - len(list(net.parameters()))
        joined = [torch.cat([part[k] for part in parts], dim=-1) for k in range(ends)]
        for k, parameter in enumerate(net.parameters(), ends):
            each = [part[k].reshape(gates(net, parameter)[:, 0].shape) for part in parts]
            joined.append(torch.stack(each, dim=1).reshape(parameter.shape))
        close(found, joined)


@every_size
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_its_bits_are_those_of_a_dense_layer_with_the_zeros(
    sizes: tuple[int, int, int], dtype: torch.dtype
) -> None:
    hidden, inputs, _ = sizes
    net, dense = layer(grus.GRU, sizes, dtype=dtype), grus.GRU(inputs, hidden, dtype=dtype)
    for ours, theirs in zip(dense.parameters(), net.parameters(), strict=True):
        each = gates(net, theirs) if theirs.dim() == 2 else theirs
        ours.data = torch.cat([torch.block_diag(*g) for g in each]) if theirs.dim() == 2 else each
    for batch in (1, 3, 17):
        x = sequence(net, batch).detach()
        assert torch.equal(net(x)[0], dense(x)[0])


def test_one_block_is_the_dense_layer() -> None:
    net, plain = layer(grus.GRU, (64, 8, 1)), layer(grus.GRU, (64, 8, None))
    for a, b in zip(results(net, sequence(net)), results(plain, sequence(net)), strict=True):
        assert torch.equal(a, b)
    assert str(net) == str(plain)


@every_size
def test_the_bits_depend_on_no_batch_and_no_thread(sizes: tuple[int, int, int]) -> None:
    net, threads = layer(grus.LSTM, sizes, dtype=torch.float32), torch.get_num_threads()
    x = sequence(net, 19)
    try:
        torch.set_num_threads(1)
        alone = results(net, x)
        torch.set_num_threads(2)
        for a, b in zip(results(net, x), alone, strict=True):
            # Biases' gradients are sums of each thread's rows, in any layer.
            assert a.dim() == 1 or torch.equal(a, b)
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(net(x[:, 7:8])[0], alone[0][:, 7:8])


@every_size
def test_an_infinite_number_stays_in_its_block(sizes: tuple[int, int, int]) -> None:
    """Relu keeps it infinite; the units of other blocks share vectors of registers with it."""
    hidden, inputs, blocks = sizes
    net = layer(grus.RNN, sizes, nonlinearity="relu")
    x = sequence(net).detach()
    y, _ = net(x)
    x[2, :, : inputs // blocks] = torch.inf
    spoiled, _ = net(x)
    first = hidden // blocks
    assert torch.equal(spoiled[..., first:], y[..., first:])
    assert not torch.isfinite(spoiled[3:, :, :first]).all()


STACKS: list[dict[str, Any]] = [
    {"num_layers": 2, "bidirectional": True},
    {"num_layers": 3, "connect": "highway"},
    {"num_layers": 2, "connect": "dense"},
    {"recompute": True},
    {"layer_norm": "split", "zoneout": 0.2, "recurrent_dropout": 0.3},
]


@pytest.mark.parametrize("options", STACKS, ids=str)
def test_the_other_options_go_with_it(options: dict[str, Any]) -> None:
    slow = {k: v for k, v in options.items() if k != "recompute"} | {"backend": "composite"}
    nets = layer(grus.GRU, (12, 12, 3), **options), layer(grus.GRU, (12, 12, 3), **slow)
    x, found = sequence(nets[0]), []
    lengths, resets = torch.tensor([6, 0, 3, 6, 1]), torch.rand(TIME, BATCH) < 0.3
    for net in nets:
        torch.manual_seed(5)
        found.append([*results(net, x), *results(net, x, lengths=lengths, resets=resets)])
    close(*found)


def test_derivatives_of_any_order_compilers_and_copies_have_it() -> None:
    net = layer(grus.GRU, (6, 4, 2))
    x = sequence(net, 2)[:3].detach().requires_grad_()
    leaves = tuple(p.detach().clone().requires_grad_() for p in net.parameters())
    names = [name for name, _ in net.named_parameters()]

    def run(x: Tensor, *rest: Tensor) -> Tensor:
        named = dict(zip(names, rest, strict=True))
        return torch.func.functional_call(net, named, (x,))[0]  # type: ignore[no-any-return]

    assert gradcheck(run, (x, *leaves), fast_mode=True)
    assert torch.autograd.gradgradcheck(run, (x, *leaves), fast_mode=True)
    with torch.no_grad():
        y = net(x)[0]
        assert torch.equal(torch.compile(net, backend="aot_eager", fullgraph=True)(x)[0], y)
        assert torch.equal(torch.export.export(net, (x,)).module()(x)[0], y)
        for other in (copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
            assert torch.equal(other(x)[0], y)
        step, stepper = net.step(x[0]), net.stepper()
        assert torch.equal(step[0], y[0])
        assert torch.equal(stepper(x[0])[0], y[0])
        assert torch.equal(torch.func.vmap(lambda v: net(v)[0])(x[None])[0], y)
    assert grus.trace(net, x.detach())["h"].shape[-1] == 6
    fresh = layer(grus.GRU, (6, 4, 2))
    fresh.load_state_dict(net.state_dict())
    with pytest.raises(RuntimeError, match="size mismatch"):
        grus.GRU(4, 6, dtype=torch.float64).load_state_dict(net.state_dict())
    assert "blocks=2" in str(hold_layer(net, {"z": 0.5}))


def test_steps_with_narrow_weights_read_rows_of_an_odd_length() -> None:
    """Weights of bfloat16 stand in pairs: the last of a block's is alone."""
    net = layer(grus.GRU, (15, 9, 3), dtype=torch.float32)
    x = sequence(net).detach()
    rounded = copy.deepcopy(net)
    for name, parameter in rounded.named_parameters():
        if name.startswith("weight"):
            parameter.data = parameter.data.bfloat16().float()
    with torch.no_grad():
        ours, theirs = net.stepper("weights")(x[0])[0], rounded.stepper()(x[0])[0]
    assert torch.equal(ours, theirs)


def test_a_layer_starts_as_its_blocks_would() -> None:
    net = layer(grus.GRU, (64, 64, 16))
    assert 0.49 < max(float(p.detach().abs().max()) for p in net.parameters()) <= 0.5
    assert net.weight_hh_l0.shape == (192, 4)
    cell = grus.LSTMCell(64, 64, blocks=16)
    assert cell.weight_ih.shape == (256, 4)
    assert 0.49 < float(cell.weight_hh.detach().abs().max()) <= 0.5
    x = torch.randn(3, 64)
    again = grus.LSTM(64, 64, blocks=16)
    for ours, theirs in zip(again.parameters(), cell.parameters(), strict=True):
        ours.data = theirs.data
    torch.testing.assert_close(cell(x)[0], again(x[None])[1][0][0])
    assert grus.RNNCell(4, 6, blocks=2)(torch.randn(4)).shape == (6,)


def test_what_has_no_blocks_is_refused_in_a_sentence() -> None:
    for make, message in (
        (lambda: grus.GRU(16, 20, blocks=8), "W has 8 blocks, so that hidden must be a multiple"),
        (lambda: grus.GRU(15, 24, blocks=8), "so that input must be a multiple of 8, got 15"),
        (lambda: grus.LSTM(8, 24, proj_size=6, blocks=8), "projection must be a multiple of 8"),
        (lambda: grus.GRU(8, 8, blocks=0), "blocks must be a whole number from 1 up, got 0"),
        (lambda: grus.Recurrent("conv_gru", 8, 8, blocks=2, grid=(3, 3)), "in blocks yet"),
        (lambda: grus.onnx.save(grus.GRU(8, 8, blocks=2), "no.onnx"), "block-diagonal weights"),
        (lambda: grus.equivalent("gru", grus.cell("gru").in_blocks(2)), "no map is tried for"),
    ):
        with pytest.raises(InputError, match=message):
            make()


def test_dense_products_and_products_of_blocks_share_an_operand() -> None:
    text = """q = tanh(V.q @ blocks(h, 3) + U.q @ h + b.q)
    p = q * (V.p @ blocks(x, 3) + W.p @ x)
    h_next = V.h.T @ blocks(q + p, 3) + 0 * h"""
    cell = Cell.parse(text.replace("V.p", "Q.p"), "mixed")
    nets = [
        grus.Recurrent(cell, 6, 12, proj_size=9, dtype=torch.float64, backend=backend)
        for backend in ("kernels", "composite")
    ]
    nets[1].load_state_dict(nets[0].state_dict())
    x = sequence(nets[0])
    close(*(results(net, x) for net in nets))
