"""Layers over images, lines and graphs: layouts, states, torch's tools, and what is refused.

Numbers are compared with steps written by hand in tests/zoo/test_spatial.py.
"""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest

torch = pytest.importorskip("torch")

import grus  # noqa: E402
from grus.equations import Cell  # noqa: E402
from grus.errors import InputError  # noqa: E402
from grus.layers.held import hold_layer  # noqa: E402
from grus.layers.positions import Window, product  # noqa: E402
from grus.worksheet.pasted_weights import PastedWeights, explain_pasted  # noqa: E402

pytestmark = pytest.mark.torch
T, B, INPUT, H = 4, 2, 3, 4
LINE = Cell.parse("h_next = tanh(W.n @ patches(x, 3) + U.n @ patches(h, 5) + b.n)", "line")
GRAPH = Cell.parse(
    "n = W.n @ x\nc_next = 0.5 * c + n\nh_next = tanh(c_next + U.n @ neighbours(h))", "web"
)
EDGES = torch.tensor([[0.0, 1, 0], [0.5, 0, 0.5], [0, 0, 1]])
WHERE: dict[str, dict[str, Any]] = {
    "conv_gru": {"grid": (5, 6)}, "line": {"grid": (7,)}, "web": {"graph": EDGES},
}  # fmt: skip


def layer_of(name: str, **options: Any) -> Any:
    torch.manual_seed(3)
    cell = {"line": LINE, "web": GRAPH}.get(name, name)
    return grus.Recurrent(cell, INPUT, H, **WHERE[name], **options)


def draw(layer: Any, *lead: int, channels: int = INPUT) -> Any:
    return torch.randn(layer.positions.shape(*lead, channels=channels))


@pytest.mark.parametrize("name", WHERE)
def test_every_layout_gives_the_same_numbers(name: str) -> None:
    layer = layer_of(name)
    first = layer_of(name, batch_first=True)
    x = draw(layer, T, B)
    start = tuple(draw(layer, 1, B, channels=H) for _ in layer.cell.states)
    hx = start if len(start) > 1 else start[0]
    y, final = layer(x, hx)
    assert y.shape == layer.positions.shape(T, B, channels=H)
    turned, _ = first(x.transpose(0, 1), hx)
    torch.testing.assert_close(turned.transpose(0, 1), y)
    alone = tuple(state[:, 0] for state in start)
    single, last = layer(x[:, 0], alone if len(alone) > 1 else alone[0])
    torch.testing.assert_close(single, y[:, 0])
    for one, both in zip(
        *(f if isinstance(f, tuple) else (f,) for f in (last, final)), strict=True
    ):
        torch.testing.assert_close(one, both[:, 0])
    now, state = layer.step(x[0], hx)
    torch.testing.assert_close(now, y[0])
    torch.testing.assert_close(layer(x[1:], state)[0], y[1:])
    assert layer(x[:0])[0].shape == layer.positions.shape(0, B, channels=H)
    assert layer.path(x) == "composite"


def test_layers_stand_on_layers_and_directions_side_by_side() -> None:
    layer = layer_of("conv_gru", num_layers=2, bidirectional=True)
    lengths, x = [T, 2], draw(layer, T, B)
    whole, state = layer(x, lengths=lengths)
    for k in range(2):
        rows = []
        for end in ("", "_reverse"):
            row = grus.Recurrent("conv_gru", x.shape[2], H, grid=(5, 6))
            named = dict(layer.named_parameters())
            row.load_state_dict({f"{n}_l0": named[f"{n}_l{k}{end}"] for n in layer._names})
            rows.append(row)
        ahead, _ = rows[0](x, lengths=lengths)
        turned = torch.stack([x[:, 0].flip(0), torch.cat([x[:2, 1].flip(0), x[2:, 1]])], 1)
        back, _ = rows[1](turned, lengths=lengths)
        back = torch.stack([back[:, 0].flip(0), torch.cat([back[:2, 1].flip(0), back[2:, 1]])], 1)
        x = torch.cat([ahead, back], 2)
    torch.testing.assert_close(whole, x)
    (y, h), (y_back, h_back) = grus.layers.split_directions(layer, (whole, state))
    torch.testing.assert_close(y, whole[:, :, :H])
    torch.testing.assert_close(y_back, whole[:, :, H:])
    last = grus.layers.last_state(layer, state)
    torch.testing.assert_close(last, torch.cat([h[-1], h_back[-1]], 1))


@pytest.mark.parametrize("name", WHERE)
def test_joined_layers_add_at_every_position(name: str) -> None:
    joined = grus.Recurrent(layer_of(name).cell, H, H, 2, connect="residual", **WHERE[name])
    x = draw(joined, T, B, channels=H)
    named, read = dict(joined.named_parameters()), x
    for k in range(2):
        layer = grus.Recurrent(joined.cell, H, H, **WHERE[name])
        layer.load_state_dict({f"{n}_l0": named[f"{n}_l{k}"] for n in layer._names})
        y, _ = layer(read)
        read = y + read
    torch.testing.assert_close(joined(x)[0], read)
    for connect in ("highway", "dense"):
        layer = layer_of(name, num_layers=2, connect=connect)
        assert layer(draw(layer, T, B))[0].shape == layer.positions.shape(T, B, channels=H)


@pytest.mark.parametrize("name", WHERE)
def test_states_are_learned_carried_and_reset(name: str) -> None:
    layer = layer_of(name)
    x = draw(layer, T, B)
    begin = grus.layers.InitialState(layer)
    torch.testing.assert_close(layer(x, begin(B))[0], layer(x)[0])
    _, state = layer(x)
    carried = grus.layers.carry(state, torch.tensor([1, 0]))
    resets = torch.zeros(T, B)
    resets[0, 0] = 1
    torch.testing.assert_close(layer(x, state, resets=resets)[0], layer(x, carried)[0])


@pytest.mark.filterwarnings("ignore:Sparse CSR tensor support is in beta")
def test_a_graph_comes_dense_sparse_or_as_scipy_has_it() -> None:
    sparse = pytest.importorskip("scipy.sparse")
    forms = [EDGES.to_sparse(), EDGES.to_sparse_csr(), EDGES.numpy(), sparse.csr_array(EDGES)]
    dense = layer_of("web")
    x = draw(dense, T, B)
    for form in [[form] for form in forms]:
        layer = grus.Recurrent(GRAPH, INPUT, H, graph=form)
        layer.load_state_dict(dense.state_dict())
        torch.testing.assert_close(layer(x)[0], dense(x)[0])
        assert copy.deepcopy(layer).double()(x.double())[0].dtype is torch.float64


@pytest.mark.parametrize("name", ["line", "web"])
def test_torchs_tools_take_such_layers(name: str) -> None:
    layer = layer_of(name)
    x = draw(layer, 2, B)
    want = layer(x)[0]
    torch.testing.assert_close(torch.compile(layer, backend="eager")(x)[0], want)
    torch.testing.assert_close(pickle.loads(pickle.dumps(layer))(x)[0], want)
    torch.testing.assert_close(torch.export.export(layer, (x,)).module()(x)[0], want)
    assert not any(name.startswith("positions") for name in layer.state_dict())
    assert repr(layer.positions) in repr(layer)


def test_a_convolution_starts_with_torchs_bound() -> None:
    bound = (9 * H) ** -0.5
    largest = max(p.abs().max() for p in layer_of("conv_gru").parameters())
    assert 0.9 * bound < largest <= bound


def test_a_window_over_a_line_is_its_matrix_at_every_place() -> None:
    weight, values = torch.randn(H, 3 * INPUT), torch.randn(B, 6, INPUT)
    operand = Window(values, (3,))
    edge = torch.nn.functional.pad(values, (0, 0, 1, 1))
    under = torch.stack([edge[:, k : k + 6] for k in range(3)], -1).flatten(2)
    torch.testing.assert_close(product(weight, operand), under @ weight.T)


REFUSED: dict[str, tuple[Any, dict[str, Any], str]] = {
    "no grid": ("conv_gru", {}, r"cell conv_gru reads windows of an image .*, got nothing"),
    "a line's grid": ("conv_gru", {"grid": (5,)}, r"give grid= of 2 whole numbers, got grid=\(5,"),
    "a number": (LINE, {"grid": 5}, "reads windows of a line .length,.: give grid= of 1 whole num"),
    "a grid for a gru": ("gru", {"grid": (5, 6)}, "cell gru reads no other positions, got grid="),
    "a graph for a gru": ("gru", {"graph": EDGES}, "cell gru reads no graph, got graph="),
    "no graph": ("dcgru", {}, "cell dcgru reads a graph: give graph=, .* or a list of 2"),
    "a grid, too": (GRAPH, {"graph": EDGES, "grid": (3,)}, "cell web reads a graph, not a grid"),
    "one of two": ("dcgru", {"graph": EDGES}, "reads 2 matrices of a graph, got 1"),
    "not square": (GRAPH, {"graph": EDGES[:2]}, "matrix 0 must have a row and a column for each"),
    "two sizes": ("dcgru", {"graph": [EDGES, torch.eye(4)]}, "matrix 1 must .* 3 positions, got 4"),
    "no matrix": (GRAPH, {"graph": "edges"}, "graph: matrix 0 must be a tensor or an array"),
    "one axis": (GRAPH, {"graph": torch.ones(3)}, "matrix 0 must have two axes, got shape .3,."),
    "kernels": (LINE, {"grid": (5,), "backend": "kernels"}, "operations, which have no backend="),
    "recompute": (LINE, {"grid": (5,), "recompute": True}, "which have no recompute=True"),
    "zoneout": (LINE, {"grid": (5,), "zoneout": 0.1}, "a cell over positions takes no mask"),
    "input dropout": (LINE, {"grid": (5,), "input_dropout": 0.1}, "input_dropout drops no input"),
}


@pytest.mark.parametrize(("cell", "options", "message"), REFUSED.values(), ids=REFUSED)
def test_a_layer_that_cannot_be_is_refused_in_a_sentence(
    cell: Any, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        grus.Recurrent(cell, INPUT, H, **options)


def test_a_call_that_cannot_be_is_refused_in_a_sentence() -> None:
    layer = layer_of("conv_gru")
    x = draw(layer, T, B)
    packed = torch.nn.utils.rnn.pack_padded_sequence(x, [T, 2])
    for call, message in (
        (lambda: layer(x[..., 1:]), r"input must be \[time, batch, 3, 5, 6\], got \(4, 2, 3, 5, 5"),
        (lambda: layer(x[:, :, 0, 0]), r"input must be \[time, batch, 3, 5, 6\]"),
        (lambda: layer(x, torch.zeros(1, B, H)), r"hx of state h must be \(1, 2, 4, 5, 6\)"),
        (lambda: layer(x.double()), "does not match weight dtype"),
        (lambda: layer(packed), "a PackedSequence has not: give the padded input with lengths="),
        (layer.stepper, "the kernels read no other positions"),
        (lambda: grus.trace(layer, x), "the kernels read no other positions"),
        (lambda: torch.jit.script(layer), "trace a layer of conv_gru"),
    ):
        with pytest.raises(InputError, match=message):
            call()


def test_held_values_and_other_rooms_know_of_positions() -> None:
    layer = layer_of("web")
    x = draw(layer, T, B)
    torch.testing.assert_close(hold_layer(layer, {"n": 0})(x)[0], run_without(layer, x))
    with pytest.raises(InputError, match="neighbours reads other positions: a layer with grid="):
        grus.equivalent(GRAPH, GRAPH)
    with pytest.raises(InputError, match=r"reads other positions .*; a worksheet has one"):
        explain_pasted("conv_gru", PastedWeights(), "1")


def run_without(layer: Any, x: Any) -> Any:
    """The output of GRAPH where c stays 0: the sum over neighbours, step by step."""
    weight, h = layer.weight_hh_l0, torch.zeros(B, 3, H)
    outputs = []
    for _ in x:
        h = torch.tanh(EDGES @ h @ weight.T)
        outputs.append(h)
    return torch.stack(outputs)
