"""Each record against the framework's own arithmetic, written out here in its own letters."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

import cells
import grus
from grus.dialects import DIALECTS, Dialect, Layout, TorchRecord, dialects, find, sense, unpack
from grus.dialects.conversion import candidates
from grus.dialects.dialect import Side
from grus.equations import CELLS, KNOWN_AS, Cell, explain_name
from grus.errors import InputError
from grus.reference import run

Array = np.ndarray
Tensors = dict[str, Array]
INPUT, HIDDEN = 2, 3
# One step: sums of seven products of numbers near 1, in two orders: 7 * 2^-53 and some for tanh.
NEAR = 2e-15


def sigmoid(v: Array) -> Array:
    return np.asarray(1 / (1 + np.exp(-v)))


def keras_gru(w: Tensors, x: Array, h: Array) -> Array:
    matrix_x = x @ w["W"] + w["b"][0]
    x_z, x_r, x_h = np.split(matrix_x, 3, axis=-1)
    matrix_inner = h @ w["U"] + w["b"][1]
    recurrent_z, recurrent_r, recurrent_h = np.split(matrix_inner, 3, axis=-1)
    z = sigmoid(x_z + recurrent_z)
    r = sigmoid(x_r + recurrent_r)
    hh = np.tanh(x_h + r * recurrent_h)
    return z * h + (1 - z) * hh


def keras_gru_before(w: Tensors, x: Array, h: Array) -> Array:
    x_z, x_r, x_h = np.split(x @ w["W"] + w["b"], 3, axis=-1)
    recurrent = w["U"]
    z = sigmoid(x_z + h @ recurrent[:, :HIDDEN])
    r = sigmoid(x_r + h @ recurrent[:, HIDDEN : 2 * HIDDEN])
    hh = np.tanh(x_h + (r * h) @ recurrent[:, 2 * HIDDEN :])
    return z * h + (1 - z) * hh


def keras_lstm(w: Tensors, x: Array, h: Array, c: Array) -> Array:
    z0, z1, z2, z3 = np.split(x @ w["W"] + h @ w["U"] + w["b"], 4, axis=-1)
    i, f = sigmoid(z0), sigmoid(z1)
    c = f * c + i * np.tanh(z2)
    return sigmoid(z3) * np.tanh(c)


def torch_gru(w: Tensors, x: Array, h: Array) -> Array:
    i_r, i_z, i_n = np.split(w["W"] @ x + w["b"], 3)
    h_r, h_z, h_n = np.split(w["U"] @ h + w["second bias"], 3)
    r, z = sigmoid(i_r + h_r), sigmoid(i_z + h_z)
    n = np.tanh(i_n + r * h_n)
    return (1 - z) * n + z * h


def torch_lstm(w: Tensors, x: Array, h: Array, c: Array) -> Array:
    i, f, g, o = np.split(w["W"] @ x + w["b"] + w["U"] @ h + w["second bias"], 4)
    return sigmoid(o) * np.tanh(sigmoid(f) * c + sigmoid(i) * np.tanh(g))


def onnx_gru(linear_before_reset: bool) -> Callable[[Tensors, Array, Array], Array]:
    def step(w: Tensors, x: Array, h: Array) -> Array:
        (wz, wr, wh), (rz, rr, rh) = np.split(w["W"][0], 3), np.split(w["U"][0], 3)
        wbz, wbr, wbh, rbz, rbr, rbh = np.split(w["b"][0], 6)
        z = sigmoid(wz @ x + rz @ h + wbz + rbz)
        r = sigmoid(wr @ x + rr @ h + wbr + rbr)
        if linear_before_reset:
            ht = np.tanh(wh @ x + (r * (rh @ h + rbh)) + wbh)
        else:
            ht = np.tanh(wh @ x + rh @ (r * h) + rbh + wbh)
        return (1 - z) * ht + z * h

    return step


def onnx_lstm(w: Tensors, x: Array, h: Array, c: Array) -> Array:
    i, o, f, ct = np.split(w["W"][0] @ x + w["U"][0] @ h + sum(np.split(w["b"][0], 2)), 4)
    return sigmoid(o) * np.tanh(sigmoid(f) * c + sigmoid(i) * np.tanh(ct))


def flax_nnx_gru(w: Tensors, x: Array, h: Array) -> Array:
    xi_r, xi_z, xi_n = np.split(x @ w["W"] + w["b"], 3, axis=-1)
    hh_r, hh_z, hh_n = np.split(h @ w["U"], 3, axis=-1)
    r, z = sigmoid(xi_r + hh_r), sigmoid(xi_z + hh_z)
    n = np.tanh(xi_n + r * hh_n)
    return (1 - z) * n + z * h


def haiku_gru(w: Tensors, x: Array, h: Array) -> Array:
    gates_x = x @ w["W"]
    zr_x, a_x = gates_x[: 2 * HIDDEN], gates_x[2 * HIDDEN :]
    zr_h = h @ w["U"][:, : 2 * HIDDEN]
    z, r = np.split(sigmoid(zr_x + zr_h + w["b"][: 2 * HIDDEN]), 2)
    a = np.tanh(a_x + (r * h) @ w["U"][:, 2 * HIDDEN :] + w["b"][2 * HIDDEN :])
    return (1 - z) * h + z * a


def equinox_gru(w: Tensors, x: Array, h: Array) -> Array:
    igates = np.split(w["W"] @ x + w["b"], 3)
    hgates = np.split(w["U"] @ h, 3)
    reset = sigmoid(igates[0] + hgates[0])
    inp = sigmoid(igates[1] + hgates[1])
    new = np.tanh(igates[2] + reset * (hgates[2] + w["second bias"]))
    return new + inp * (h - new)


def plain(f: Callable[[Array], Array], two: bool) -> Callable[..., Array]:
    def step(w: Tensors, x: Array, h: Array) -> Array:
        return f(w["W"] @ x + w["U"] @ h + w["b"] + (w["second bias"] if two else 0))

    return step


def relu(v: Array) -> Array:
    return np.maximum(v, 0)


def keras_rnn(f: Callable[[Array], Array]) -> Callable[..., Array]:
    return lambda w, x, h: f(x @ w["W"] + h @ w["U"] + w["b"])


def onnx_rnn(f: Callable[[Array], Array]) -> Callable[..., Array]:
    return lambda w, x, h: f(w["W"][0] @ x + w["U"][0] @ h + sum(np.split(w["b"][0], 2)))


# (dialect, cell) -> the framework's step, and the shapes of its tensors.
G = 3 * HIDDEN
THEIRS: dict[tuple[str, str], tuple[Callable[..., Array], dict[str, tuple[int, ...]]]] = {
    ("keras", "gru"): (keras_gru, {"W": (INPUT, G), "U": (HIDDEN, G), "b": (2, G)}),
    ("keras", "gru_reset_before"): (
        keras_gru_before,
        {"W": (INPUT, G), "U": (HIDDEN, G), "b": (G,)},
    ),
    ("keras", "lstm"): (keras_lstm, {"W": (INPUT, 12), "U": (HIDDEN, 12), "b": (12,)}),
    ("keras", "rnn"): (keras_rnn(np.tanh), {"W": (INPUT, 3), "U": (3, 3), "b": (3,)}),
    ("keras", "rnn_relu"): (keras_rnn(relu), {"W": (INPUT, 3), "U": (3, 3), "b": (3,)}),
    ("torch", "gru"): (
        torch_gru,
        {"W": (G, INPUT), "U": (G, HIDDEN), "b": (G,), "second bias": (G,)},
    ),
    ("torch", "lstm"): (
        torch_lstm,
        {"W": (12, INPUT), "U": (12, HIDDEN), "b": (12,), "second bias": (12,)},
    ),
    ("torch", "rnn"): (
        plain(np.tanh, two=True),
        {"W": (3, INPUT), "U": (3, 3), "b": (3,), "second bias": (3,)},
    ),
    ("torch", "rnn_relu"): (
        plain(relu, two=True),
        {"W": (3, INPUT), "U": (3, 3), "b": (3,), "second bias": (3,)},
    ),
    ("onnx", "gru_reset_before"): (
        onnx_gru(linear_before_reset=False),
        {"W": (1, G, INPUT), "U": (1, G, HIDDEN), "b": (1, 2 * G)},
    ),
    ("onnx", "gru"): (
        onnx_gru(linear_before_reset=True),
        {"W": (1, G, INPUT), "U": (1, G, HIDDEN), "b": (1, 2 * G)},
    ),
    ("onnx", "lstm"): (
        onnx_lstm,
        {"W": (1, 12, INPUT), "U": (1, 12, HIDDEN), "b": (1, 24)},
    ),
    ("onnx", "rnn"): (onnx_rnn(np.tanh), {"W": (1, 3, INPUT), "U": (1, 3, 3), "b": (1, 6)}),
    ("onnx", "rnn_relu"): (onnx_rnn(relu), {"W": (1, 3, INPUT), "U": (1, 3, 3), "b": (1, 6)}),
    ("flax_nnx", "gru"): (flax_nnx_gru, {"W": (INPUT, G), "U": (HIDDEN, G), "b": (G,)}),
    ("haiku", "gru_reset_before_admit"): (
        haiku_gru,
        {"W": (INPUT, G), "U": (HIDDEN, G), "b": (G,)},
    ),
    ("equinox", "gru"): (
        equinox_gru,
        {"W": (G, INPUT), "U": (G, HIDDEN), "b": (G,), "second bias": (HIDDEN,)},
    ),
}
PACKED = [s for s in DIALECTS if (s.framework, s.cell_name) in THEIRS and s.order]


def test_every_frameworks_step_here_has_its_record() -> None:
    assert {(s.framework, s.cell_name) for s in PACKED} == set(THEIRS)


def name_of(record: Dialect) -> str:
    return f"{record.framework}-{record.cell_name}"


def disagreement(record: Dialect, cell: Cell, layout: Layout) -> float:
    """The largest difference between the framework's step and ours, on random tensors."""
    step, shapes = THEIRS[record.framework, record.cell_name]
    rng = np.random.default_rng(5)
    tensors = {key: rng.normal(size=shape) for key, shape in shapes.items()}
    x = rng.normal(size=INPUT)
    start = tuple(rng.normal(size=HIDDEN) for _ in cell.states)
    read = unpack(cell, layout, tensors)
    assert read.sizes == {"input": INPUT, "hidden": HIDDEN}
    ours = run(cell, read.weights, x[None, None], tuple(s[None] for s in start)).output[0, 0]
    theirs = step(tensors, x, *start)
    return float(np.abs(ours - theirs).max() / max(1, np.abs(theirs).max()))


@pytest.mark.parametrize("record", PACKED, ids=name_of)
def test_a_spelling_computes_what_its_framework_does(record: Dialect) -> None:
    assert disagreement(record, CELLS[record.cell_name], Layout.of(record)) < NEAR


@pytest.mark.parametrize("record", [s for s in PACKED if len(s.order) > 1], ids=name_of)
def test_a_record_with_two_gates_swapped_would_be_seen(record: Dialect) -> None:
    one, other, *rest = record.order
    layout = replace(Layout.of(record), order=(other, one, *rest))
    assert disagreement(record, CELLS[record.cell_name], layout) > 1e-3


SISTERS = [
    (s, CELLS[other])
    for s in PACKED
    for other in CELLS
    if other != s.cell_name and CELLS[other].families == CELLS[s.cell_name].families
]


@pytest.mark.parametrize(("record", "cell"), SISTERS, ids=lambda v: getattr(v, "name", ""))
def test_a_record_of_another_cell_would_be_seen(record: Dialect, cell: Cell) -> None:
    assert disagreement(record, cell, Layout.of(record)) > 1e-3


@pytest.mark.parametrize("record", [s for s in PACKED if len(s.order) > 1], ids=name_of)
def test_a_record_of_the_other_side_would_be_refused(record: Dialect) -> None:
    other: Side = "rows" if record.gates_in == "columns" else "columns"
    with pytest.raises(InputError, match=f"gates of one size in its {other}"):
        disagreement(record, CELLS[record.cell_name], replace(Layout.of(record), gates_in=other))


@pytest.mark.parametrize("name", [s.cell_name for s in DIALECTS if s.framework == "torch"])
def test_the_torch_spelling_says_what_the_layers_record_says(name: str) -> None:
    cell = CELLS[name]
    gates = len(cell.families["W"])
    rng = np.random.default_rng(0)
    tensors = {
        "weight_ih": rng.normal(size=(gates * HIDDEN, INPUT)),
        "weight_hh": rng.normal(size=(gates * HIDDEN, HIDDEN)),
        "bias_ih": rng.normal(size=gates * HIDDEN),
        "bias_hh": rng.normal(size=gates * HIDDEN),
    }
    theirs = TorchRecord(cell).families(tensors, HIDDEN, np.zeros, np.concatenate)
    keys = dict(zip(("W", "U", "b", "second bias"), tensors.values(), strict=True))
    ours = unpack(cell, Layout.of(find("torch", cell)), keys).weights
    assert ours.keys() == theirs.keys()
    assert all(np.array_equal(ours[family], theirs[family]) for family in ours)


@pytest.mark.parametrize("record", DIALECTS, ids=name_of)
def test_a_record_speaks_of_the_gates_of_its_cell(record: Dialect) -> None:
    cell = CELLS[record.cell_name]
    gates = set(cell.families["W"])
    assert set(record.order) in (gates, set())
    assert set(record.letters) <= gates
    assert set(record.names) <= {"W", "U", "b", "d"}


def test_a_name_and_a_cell_find_one_dialect() -> None:
    names = [s.named for s in DIALECTS if s.named]
    assert len(set(names)) == len(names)
    assert not set(names) & {s.framework for s in DIALECTS}
    assert all(find(s.name, s.cell) is s for s in DIALECTS)


def test_a_dialect_is_found_by_its_cell_or_a_spelling_by_its_name() -> None:
    after, before = CELLS["gru"], CELLS["gru_reset_before"]
    assert find("keras", after).biases.together
    assert find("keras", before) is find("keras_reset_before", before)
    assert find("onnx", after) is find("onnx_reset_after", after)
    same = Cell.parse(str(after), "mine")
    assert find("torch", same).title == "PyTorch nn.GRU"


def test_an_unknown_dialect_and_one_without_that_cell_say_what_there_is() -> None:
    with pytest.raises(
        InputError, match=r"called 'pytorc' .did you mean pytorch.*; there are keras, torch"
    ):
        find("pytorc", CELLS["gru"])
    with pytest.raises(InputError, match="no dialect is called ''"):
        find("")
    with pytest.raises(InputError, match=r"haiku does not spell the cell gru; .*before_admit"):
        find("haiku", CELLS["gru"])


@pytest.mark.parametrize("known", KNOWN_AS.values(), ids=KNOWN_AS)
def test_the_names_people_know_are_dialects_of_the_same_cell(known: object) -> None:
    name, cell = getattr(known, "name", ""), getattr(known, "cell", "")
    assert find(name, CELLS[cell]) in dialects(CELLS[cell])


SENSES = {
    "gru": ("z", "keep"),
    "gru_admit": ("z", "admit"),
    "gru_reset_before": ("z", "keep"),
    "gru_reset_before_admit": ("z", "admit"),
    "mgu": ("f", "admit"),
    "layer_norm_gru": ("z", "keep"),
    "sru": ("f", "keep"),
}


@pytest.mark.parametrize("name", cells.ALL_CELLS)
def test_the_sense_of_z_is_read_off_the_equations(name: str) -> None:
    assert sense(cells.ALL_CELLS[name]) == SENSES.get(name)


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("n * (1 - q) + h * q", ("q", "keep")),
        ("q * n + h * (1 - q)", ("q", "admit")),
        ("q * h + (2 - q) * n", None),
        ("q * h - (1 - q) * n", None),
        ("q * h + n", None),
        ("q * n + (1 - q) * n", None),
    ],
)
def test_the_sense_does_not_depend_on_how_the_sum_is_written(
    line: str, found: tuple[str, str] | None
) -> None:
    source = f"q = sigmoid(W.q @ x)\nn = tanh(W.n @ x + U.n @ h)\nh_next = {line}"
    assert sense(Cell.parse(source)) == found


@pytest.mark.parametrize("one", DIALECTS, ids=lambda one: one.name)
def test_a_dialect_s_name_is_a_cell_s_name(one: Dialect) -> None:
    """Without regard to case; a framework of several stands for its first, unless known as more."""
    known = KNOWN_AS.get(one.name)
    want = CELLS[known.cell] if known else find(one.name).cell
    for name in (one.name, one.name.upper(), f" {one.name.replace('_', '-')} "):
        assert grus.cell(name) == want
    assert explain_name(one.name.title()).startswith(f"{one.name} is the cell {want.name}")


@pytest.mark.parametrize(
    ("name", "cell"), [("PyTorch", "gru"), ("GRU", "gru"), ("cho", "gru_reset_before"),
                       ("LSTM", "lstm"), ("Haiku[z=0]", "gru_reset_before_admit")],
)  # fmt: skip
def test_names_that_people_use_are_cells(name: str, cell: str) -> None:
    assert grus.cell(name).name.startswith(cell)


def test_the_name_that_is_written_most_alike_is_asked_for() -> None:
    with pytest.raises(InputError, match=r"'equinoks' \(did you mean equinox\?\)"):
        grus.cell("equinoks")
    with pytest.raises(InputError, match=r"'equinoks' \(did you mean equinox\?\)"):
        find("equinoks")
    assert find("Equinox") is find("equinox")
    assert candidates("PyTorch") == candidates("torch")
