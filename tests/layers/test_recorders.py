"""Layers in ``torch.jit.trace``, ``torch.jit.script`` and ``torch.fx``: what was recorded at one
number of steps is right at every other, as ``nn.GRU`` is."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from torch import Tensor, nn  # noqa: E402
from torch.nn.utils import parametrizations, prune  # noqa: E402
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence  # noqa: E402
from torch.utils._pytree import tree_leaves  # noqa: E402

import grus  # noqa: E402
from torch_version import since  # noqa: E402

pytestmark = [
    pytest.mark.torch,
    # What torch says of nn.GRU, too: trace is old, and the checks of shapes are constants.
    pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:Converting a tensor to a Python:torch.jit.TracerWarning"),
    pytest.mark.filterwarnings("ignore:LSTM with projections"),
]
I, H = 3, 4  # noqa: E741
SEQUENCES = {"aten::gru", "aten::lstm", "aten::rnn_relu"}
SIZES = [(5, 2), (9, 3), (2, 1), (40, 2)]

THEIRS: dict[str, Callable[[], nn.Module]] = {
    "gru": lambda: nn.GRU(I, H),
    "two layers, both directions": lambda: nn.GRU(I, H, 2, bidirectional=True),
    "lstm": lambda: nn.LSTM(I, H, 2, batch_first=True),
    "projected": lambda: nn.LSTM(I, H, proj_size=2),
    "rnn": lambda: nn.RNN(I, H, nonlinearity="relu"),
    "no bias": lambda: nn.GRU(I, H, bias=False),
    "weight norm": lambda: parametrizations.weight_norm(nn.GRU(I, H), "weight_hh_l0"),
    "pruned": lambda: prune.l1_unstructured(nn.GRU(I, H), "weight_hh_l0", 0.5),
}
every = pytest.mark.parametrize("kind", THEIRS)


def pair(kind: str) -> tuple[nn.Module, nn.Module]:
    """torch's module and ours, of the same numbers."""
    torch.manual_seed(0)
    theirs = THEIRS[kind]()
    torch.manual_seed(0)
    return theirs, grus.accelerate(THEIRS[kind](), say=None)


def data(kind: str, steps: int, batch: int) -> Tensor:
    torch.manual_seed(steps)
    return torch.randn(*((batch, steps) if kind == "lstm" else (steps, batch)), I)


def kinds(program: Any) -> list[str]:
    return [node.kind() for node in program.inlined_graph.nodes()]


def equal(found: Any, want: Any) -> None:
    for one, other in zip(tree_leaves(found), tree_leaves(want), strict=True):
        assert torch.equal(one, other)


def near(found: Any, want: Any, steps: int) -> None:
    """Two ways in float32, numbers of about 1: a step's sums of I + H products and a dozen
    operations round once each, and a gated state forgets more than it adds up."""
    for one, other in zip(tree_leaves(found), tree_leaves(want), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=steps * (I + H + 12) * 2.0**-24)


@every
def test_a_trace_is_torchs_at_every_number_of_steps_and_rows(kind: str) -> None:
    theirs, ours = pair(kind)
    x = data(kind, *SIZES[0])
    traced, want = torch.jit.trace(ours, (x,)), torch.jit.trace(theirs, (x,))
    (kind_of_node,) = SEQUENCES & set(kinds(want))
    assert kinds(traced).count(kind_of_node) == 1
    assert kinds(traced) == kinds(want) or kind == "weight norm"  # which is read twice
    file = io.BytesIO()
    torch.jit.save(traced, file)
    file.seek(0)
    again = torch.jit.load(file)
    for size in SIZES:
        equal(traced(data(kind, *size)), theirs(data(kind, *size)))
        equal(again(data(kind, *size)), theirs(data(kind, *size)))


def test_a_trace_takes_initial_states_and_trains() -> None:
    theirs, ours = pair("two layers, both directions")
    x, h = data("", *SIZES[0]), torch.randn(4, SIZES[0][1], H)
    with torch.no_grad():
        traced = torch.jit.trace(ours, (x, h))
    x, h = data("", 9, 3), torch.randn(4, 3, H)
    equal(traced(x, h), theirs(x, h))
    for module in (traced, theirs):
        module(x, h)[0].square().sum().backward()
    for one, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert one.grad is not None
        equal(one.grad, other.grad)


class Packed(nn.Module):
    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor, lengths: Tensor) -> Any:
        packed = pack_padded_sequence(x, lengths, enforce_sorted=False)
        y, state = self.layer(packed)
        return pad_packed_sequence(y, total_length=x.shape[0])[0], state


@pytest.mark.parametrize("kind", ["gru", "two layers, both directions", "rnn"])
def test_a_trace_with_packed_sequences_is_right_for_other_lengths(kind: str) -> None:
    theirs, ours = map(Packed, pair(kind))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the padding's sizes
        traced = torch.jit.trace(ours, (data(kind, 6, 3), torch.tensor([6, 4, 2])))
    for lengths in ([6, 5, 1], [2, 6, 6]):
        x = data(kind, 6, 3)
        equal(traced(x, torch.tensor(lengths)), theirs(x, torch.tensor(lengths)))


@pytest.mark.parametrize("kind", ["GRUCell", "LSTMCell", "RNNCell"])
def test_traced_and_scripted_cells_are_torchs(kind: str) -> None:
    theirs, ours = getattr(nn, kind)(I, H), getattr(grus, kind)(I, H)
    ours.load_state_dict(theirs.state_dict())
    example = torch.randn(2, I)
    for made in (torch.jit.trace(ours, (example,)), torch.jit.script(ours)):
        for batch in (2, 5):
            x = torch.randn(batch, I)
            near(made(x), theirs(x), 1)


# Cells that torch has not.


def own(**options: Any) -> Any:
    torch.manual_seed(0)
    return grus.GRU(I, H, 2, bidirectional=True, cell="gru_reset_before", **options)


class Whole(nn.Module):
    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor, lengths: Tensor, resets: Tensor) -> Any:
        return self.layer(x, lengths=lengths, resets=resets)


@pytest.mark.parametrize("grads", [True, False])
def test_a_cell_of_ones_own_is_traced_as_one_operator(grads: bool) -> None:
    layer = own()
    with torch.set_grad_enabled(grads):
        traced = torch.jit.trace(layer, (data("", *SIZES[0]),))
    assert kinds(traced).count("grus::sequence") == 4
    for size in SIZES:
        equal(traced(data("", *size)), layer(data("", *size)))
    want = torch.autograd.grad(layer(data("", 9, 3))[0].square().sum(), list(layer.parameters()))
    found = torch.autograd.grad(traced(data("", 9, 3))[0].square().sum(), list(layer.parameters()))
    equal(found, want)


def test_traced_lengths_and_resets_are_inputs() -> None:
    whole = Whole(own())
    example = (data("", 5, 2), torch.tensor([5, 2]), torch.zeros(5, 2, dtype=torch.bool))
    traced = torch.jit.trace(whole, example)
    given = (data("", 9, 3), torch.tensor([1, 9, 4]), torch.rand(9, 3) < 0.3)
    equal(traced(*given), whole(*given))
    with pytest.raises(RuntimeError, match=r"lengths must lie in 0\.\.5"):
        traced(data("", 5, 2), torch.tensor([5, 6]), example[2])


def test_what_a_trace_could_only_unroll_is_refused() -> None:
    with pytest.raises(grus.InputError, match="number of steps as a constant"):
        torch.jit.trace(own().to("meta"), (data("", 5, 2).to("meta"),), check_trace=False)
    with pytest.raises(grus.InputError, match="lengths="):
        torch.jit.trace(Packed(own()), (data("", 6, 3), torch.tensor([6, 4, 2])))
    with pytest.raises(grus.InputError, match=r"eval\(\)"):
        torch.jit.trace(own(zoneout=0.5), (data("", 5, 2),))
    slow = own(backend="composite")
    with pytest.warns(torch.jit.TracerWarning, match="constant of this trace"):
        torch.jit.trace(slow, (data("", 5, 2),), check_trace=False)


def test_a_program_made_without_gradients_does_not_pretend_to_have_them() -> None:
    with torch.no_grad():
        program = torch.export.export(grus.GRU(I, H), (data("", 5, 2),)).module()
    with pytest.raises(RuntimeError, match="without gradients"):
        program(data("", 5, 2))[0].sum().backward()


@since("2.7", "before it nothing says that torch.export is under way")
def test_an_exported_packed_sequence_is_refused_with_what_to_do() -> None:
    with pytest.raises(grus.InputError, match="padded input with lengths="):
        torch.export.export(
            Packed(grus.GRU(I, H)), (data("", 6, 3), torch.tensor([6, 4, 2])), strict=False
        )


# torch.jit.script and torch.fx.


class Tagger(nn.Module):
    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.rnn = layer
        self.head = nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        y, _ = self.rnn(x)
        return self.head(y)


def taggers() -> tuple[nn.Module, nn.Module]:
    theirs, ours = map(Tagger, pair("two layers, both directions"))
    ours.head = theirs.head
    return theirs, ours


def test_a_scripted_model_is_torchs_and_shares_its_parameters() -> None:
    theirs, ours = taggers()
    weights = list(ours.rnn.parameters())
    scripted = torch.jit.script(ours)
    assert kinds(scripted).count("aten::gru") == 1
    for size in SIZES:
        equal(scripted(data("", *size)), theirs(data("", *size)))
    assert all(a is b for a, b in zip(weights, ours.rnn.parameters(), strict=True))
    # torch.jit.script puts what it compiled into the model; accelerate brings ours back.
    assert type(grus.accelerate(ours, say=None).rnn) is grus.GRU
    near(ours(data("", 9, 3)), theirs(data("", 9, 3)), 9)


def test_a_layer_alone_can_be_scripted_and_stays_itself() -> None:
    ours = grus.LSTM(I, H)
    assert str(torch.jit.script(ours)) == str(torch.jit.script(nn.LSTM(I, H)))
    assert type(ours) is grus.LSTM
    with pytest.raises(grus.InputError, match="trace a layer of gru_reset_before"):
        torch.jit.script(own())


def test_fx_has_a_layer_as_one_node() -> None:
    theirs, ours = taggers()
    graph, want = torch.fx.symbolic_trace(ours), torch.fx.symbolic_trace(theirs)
    assert str(graph.graph) == str(want.graph)
    for size in SIZES:
        equal(graph(data("", *size)), ours(data("", *size)))
    lengths = torch.fx.symbolic_trace(Whole(own()))
    given = (data("", 5, 2), torch.tensor([5, 2]), torch.rand(5, 2) < 0.3)
    equal(lengths(*given), lengths.layer(given[0], lengths=given[1], resets=given[2]))


def test_fx_says_what_it_cannot_have() -> None:
    with pytest.raises(grus.InputError, match="trace the model that holds it"):
        torch.fx.symbolic_trace(grus.GRU(I, H))
    _, ours = taggers()
    ours.rnn.register_forward_hook(lambda module, given, found: None)
    with pytest.raises(grus.InputError, match="hooks twice"):
        torch.fx.symbolic_trace(ours)


def test_a_list_is_no_input() -> None:
    for module in (grus.GRU(I, H), grus.GRUCell(I, H)):
        with pytest.raises((grus.InputError, TypeError), match="input must be a Tensor"):
            module([[0.0] * I])


def test_a_compiled_model_takes_packed_sequences() -> None:
    for theirs, ours in (pair("gru"), pair("two layers, both directions")):
        packed = pack_padded_sequence(data("", 6, 3), torch.tensor([6, 4, 2]))
        run = torch.compile(ours, backend="aot_eager")
        found, want = run(packed), ours(packed)
        equal((found[0].data, found[1]), (want[0].data, want[1]))
        near(found[0].data, theirs(packed)[0].data, 6)
        found[0].data.sum().backward()
        assert all(p.grad is not None for p in ours.parameters())
