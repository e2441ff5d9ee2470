"""Cells that read more than x at each step: every door gives what torch's operations give."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence  # noqa: E402

import grus  # noqa: E402
from cells import FURTHER_CELLS  # noqa: E402
from grus import reference  # noqa: E402
from grus.equations import Cell  # noqa: E402
from grus.errors import InputError, KindError, ShapeError  # noqa: E402
from grus.layers.held import hold_layer  # noqa: E402

pytestmark = pytest.mark.torch
TIME, BATCH, INPUT, HIDDEN = 6, 3, 4, 5
LENGTHS = [6, 2, 0]
ROUNDING = 1e-12
"""Float64: some tens of steps' roundings, of numbers around 1."""

every_cell = pytest.mark.parametrize("name", FURTHER_CELLS)


def layer(name: str, layers: int = 1, **options: Any) -> Any:
    torch.manual_seed(3)
    sizes = {"when": 2} if name == "clocked" else None
    dtype = options.pop("dtype", torch.float64)
    return grus.Recurrent(
        FURTHER_CELLS[name], INPUT, HIDDEN, layers, further_sizes=sizes, dtype=dtype, **options
    )


def inputs(name: str, dtype: torch.dtype = torch.float64) -> tuple[Any, dict[str, Any]]:
    """x, and the further inputs: a mask is bool, a number has no axis of its own."""
    torch.manual_seed(4)
    x = torch.randn(TIME, BATCH, INPUT, dtype=dtype, requires_grad=True)
    further = {}
    for node in FURTHER_CELLS[name].further:
        size = {"when": 2}.get(node.name, INPUT)
        shape = (TIME, BATCH) if node.per == "number" else (TIME, BATCH, size)
        value = torch.rand(shape, dtype=dtype)
        further[node.name] = value > 0.4 if node.name == "mask" else value.requires_grad_()
    return x, further


def results(net: Any, x: Any, further: dict[str, Any], **options: Any) -> list[Any]:
    """The output, the final states, and the gradient of everything that has one."""
    y, states = net(x, **further, **options)
    states = states if isinstance(states, tuple) else (states,)
    loss = (y * y).sum() + sum((s * s).sum() for s in states)
    leaves = [t for t in (x, *further.values()) if t.requires_grad] + list(net.parameters())
    return [y, *states, *torch.autograd.grad(loss, leaves)]


def close(found: list[Any], wanted: list[Any]) -> None:
    for a, b in zip(found, wanted, strict=True):
        torch.testing.assert_close(a, b, rtol=ROUNDING, atol=ROUNDING)


def stacks(name: str) -> list[dict[str, Any]]:
    """Where a state is as long as x, layers above the first would read another size."""
    return [{}] if name == "gru_d" else [{}, {"layers": 2, "bidirectional": True}]


@every_cell
def test_kernels_are_the_composite_with_gradients_lengths_and_resets(name: str) -> None:
    resets = torch.rand(TIME, BATCH) < 0.3
    for stack in stacks(name):
        fast, slow = layer(name, **stack), layer(name, backend="composite", **stack)
        assert fast.path(torch.randn(2, 3, 4)) == "kernels"
        x, further = inputs(name)
        for steps in ({}, {"lengths": LENGTHS}, {"resets": resets, "lengths": LENGTHS}):
            close(results(fast, x, further, **steps), results(slow, x, further, **steps))
        fast.recompute = True
        close(results(fast, x, further), results(slow, x, further))


@every_cell
def test_padding_of_any_input_reaches_nothing(name: str) -> None:
    net, (x, further) = layer(name), inputs(name)
    y, _ = net(x, **further, lengths=LENGTHS)
    past = torch.arange(TIME)[:, None] >= torch.tensor(LENGTHS)

    def spoiled(value: Any) -> Any:
        marked = past if value.dim() == 2 else past[..., None]
        return value if value.dtype is torch.bool else value.masked_fill(marked, torch.nan)

    other = {n: spoiled(value) for n, value in further.items()}
    assert torch.equal(net(spoiled(x), **other, lengths=LENGTHS)[0], y)


@every_cell
def test_every_layout_has_the_same_bits(name: str) -> None:
    net, (x, further) = layer(name), inputs(name)
    y, _ = net(x, **further)
    each = {n: value[:, 0] for n, value in further.items()}
    assert torch.equal(net(x[:, 0], **each)[0], y[:, 0])
    net.batch_first = True
    turned = {n: value.transpose(0, 1) for n, value in further.items()}
    assert torch.equal(net(x.transpose(0, 1), **turned)[0], y.transpose(0, 1))
    net.batch_first = False
    counts = [2, 6, 3]

    def packed(value: Any) -> Any:
        return pack_padded_sequence(value, counts, enforce_sorted=False)

    rows, _ = net(packed(x), **{n: packed(value) for n, value in further.items()})
    assert torch.equal(pad_packed_sequence(rows)[0], net(x, **further, lengths=counts)[0])


@every_cell
def test_steps_packed_steps_and_copies_are_the_sequence(name: str) -> None:
    for stack in stacks(name):
        net = layer(name, stack.get("layers", 1), dtype=torch.float32)
        x, further = inputs(name, torch.float32)
        with torch.no_grad():
            y, _ = net(x, **further)
            assert torch.equal(pickle.loads(pickle.dumps(copy.deepcopy(net)))(x, **further)[0], y)
            state, packed_state, stepper = None, None, net.stepper()
            for t in range(TIME):
                now = {n: value[t] for n, value in further.items()}
                step, state = net.step(x[t], state, **now)
                packed, packed_state = stepper(x[t], packed_state, **now)
                assert torch.equal(step, y[t])
                assert torch.equal(packed, y[t])


@every_cell
def test_compiled_exported_and_mapped_layers_are_the_eager_one(name: str) -> None:
    net, (x, further) = layer(name), inputs(name)
    wanted = results(net, x, further)
    close(results(torch.compile(net, fullgraph=True, backend="aot_eager"), x, further), wanted)
    exported = torch.export.export(net, (x.detach(),), {n: v.detach() for n, v in further.items()})
    assert torch.equal(exported.module()(x, **further)[0], wanted[0])
    both = {n: torch.stack([value, value]) for n, value in further.items()}
    mapped = torch.func.vmap(lambda x, f: net(x, **f)[0])(torch.stack([x, 2 * x]), both)
    torch.testing.assert_close(mapped[0], wanted[0], rtol=ROUNDING, atol=ROUNDING)


@every_cell
def test_arrays_and_traces_have_the_layers_numbers(name: str) -> None:
    net, (x, further) = layer(name), inputs(name)
    arrays = {n: value.detach().numpy() for n, value in further.items()}
    weights = {f: w.detach().numpy() for f, w in net.layer_weights(0).items()}
    y = net(x, **further)[0].detach().numpy()
    run = grus.run(net.cell, weights, x.detach().numpy(), further=arrays)
    assert np.array_equal(run.output, y)
    masks = {n: (a if a.ndim == 3 else a[..., None]).astype(float) for n, a in arrays.items()}
    slow = reference.run(net.cell, weights, x.detach().numpy(), masks=masks)
    np.testing.assert_allclose(y, slow.output, rtol=ROUNDING, atol=ROUNDING)
    for stack in stacks(name):
        whole = layer(name, **stack)
        traced = grus.trace(whole, x, lengths=LENGTHS, **further)
        out, _ = whole(x, **further, lengths=LENGTHS)
        last = traced.values["h"][-1]  # [direction, time, batch, unit]
        together = np.concatenate([*np.nan_to_num(last)], axis=-1)
        assert np.array_equal(together, out.detach().numpy())


def test_dropout_of_the_input_is_of_x_alone() -> None:
    cell = Cell.parse("h_next = step.k + 0 * tanh(W.h @ x + U.h @ h)")
    net = grus.Recurrent(cell, INPUT, HIDDEN, input_dropout=0.9)
    k = torch.rand(TIME, BATCH, HIDDEN)
    assert net.training
    assert torch.equal(net(torch.randn(TIME, BATCH, INPUT), k=k)[0], k)


def test_a_layer_with_a_held_gate_reads_what_its_cell_still_reads() -> None:
    net, x = layer("clocked"), inputs("clocked")[0]
    held = hold_layer(net, {"g": 1.0})  # the candidate alone: nothing reads the time
    assert held.further_sizes == {}
    assert held(x)[0].shape == (TIME, BATCH, HIDDEN)
    assert repr(net) == "Recurrent(clocked, 4, 5, further_sizes={'when': 2})"
    x, further = inputs("augru")
    kept = hold_layer(layer("augru"), {"r": 1.0})
    assert kept(x, **further)[0].shape == (TIME, BATCH, HIDDEN)


def test_a_highway_of_outputs_that_are_as_long_as_x_has_gates_as_long() -> None:
    cell = Cell.parse("h_next = tanh(W.h @ x + U.h @ h)\ny = tanh(V.y @ h_next) * x")
    net = grus.Recurrent(cell, INPUT, HIDDEN, 2, connect="highway")
    assert net.highway_weight_l1.shape == (INPUT, INPUT)
    assert net(torch.randn(TIME, BATCH, INPUT))[0].shape == (TIME, BATCH, INPUT)


def test_what_cannot_be_is_said_in_a_sentence() -> None:
    net, (x, further) = layer("clocked"), inputs("clocked")
    when = further["when"]
    wrong: list[tuple[Any, type[Exception], str]] = [
        ({}, KindError, "cell clocked reads when at each step beside x, got none"),
        ({"when": when, "then": when}, KindError, "got when, then"),
        ({"when": when[..., :1]}, ShapeError, r"when must be \(6, 3, 2\) beside this input"),
        ({"when": when.float()}, InputError, "when must be torch.float64 like the input, or bool"),
        ({"when": [1.0]}, KindError, "when must be a Tensor, got list"),
    ]
    for given, kind, message in wrong:
        with pytest.raises(kind, match=message):
            net(x, **given)
    packed = pack_padded_sequence(x, [6, 2, 1])
    with pytest.raises(InputError, match="when must be packed like x"):
        grus.trace(net, packed, when=when)
    with pytest.raises(KindError, match="cell gru reads x alone at each step beside x, got when"):
        grus.GRU(INPUT, HIDDEN, dtype=torch.float64)(x, when=when)
    with pytest.raises(InputError, match=r"needs the sizes of when \(further_sizes\), got none"):
        grus.Recurrent(FURTHER_CELLS["clocked"], INPUT, HIDDEN)
    with pytest.raises(InputError, match="last, delta, mask has the size of x in every layer"):
        grus.Recurrent("gru_d", INPUT, HIDDEN, 2)
    averaged = Cell.parse("h_next = tanh(W.h @ x + U.h @ h) * mean(step.when)")
    with pytest.raises(InputError, match=r"a mean over step.when has no derivative rule"):
        grus.Recurrent(averaged, INPUT, HIDDEN, further_sizes={"when": 2}).double()(x, when=when)
    taken = Cell.parse("h_next = tanh(W.h @ x + U.h @ h) * step.lengths")
    with pytest.raises(InputError, match="calls of a layer have an argument lengths already"):
        grus.Recurrent(taken, INPUT, HIDDEN)
    once = Cell.parse("h_next = tanh(W.h @ x + U.h @ h) * sequence.drop")
    with pytest.raises(InputError, match=r"layers take no mask per sequence \(drop\)"):
        grus.Recurrent(once, INPUT, HIDDEN)
    with pytest.raises(InputError, match="clocked reads when at each step beside x, got none"):
        grus.run(net.cell, {}, x.detach().numpy())
