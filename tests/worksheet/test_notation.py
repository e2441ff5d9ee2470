"""A network said in a dialect's notation is the same function in other letters."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from cells import ALL_CELLS
from grus.dialects import DIALECTS, Dialect, Network, Unrepresentable, sense
from grus.dialects.conversion import distance, rounding
from grus.equations import CELLS, Cell, sizes
from grus.errors import InputError
from grus.worksheet.notation import Spoken, notation, spoken

every_dialect = pytest.mark.parametrize("dialect", DIALECTS, ids=lambda one: one.name)
SIZES = {"input": 3, "hidden": 4, "projection": 2}


def network(cell: Cell, dtype: str = "float64", layers: int = 1) -> Network:
    rng = np.random.default_rng(5)

    def layer(wide: int) -> dict[str, np.ndarray]:
        axes = SIZES | {"input": wide}
        shapes = {f: cell.family_shape(f, axes) for f in cell.families}
        return {f: rng.normal(size=shape).astype(dtype) for f, shape in shapes.items()}

    return Network(cell, tuple((layer(3 if k == 0 else 4),) for k in range(layers)))


def said_or_refused(
    given: Network | tuple[Cell, dict[str, np.ndarray]], dialect: str | Dialect
) -> Spoken | str:
    try:
        return spoken(given, dialect)
    except Unrepresentable as error:
        return str(error)


@every_dialect
def test_every_dialect_says_its_own_cell_and_the_function_stays(dialect: Dialect) -> None:
    given = network(dialect.cell, layers=2)
    said = spoken(given, dialect)
    assert said.dialect == dialect
    assert said.notes == ()
    assert distance(given, said.network) <= rounding(given)


@every_dialect
@pytest.mark.parametrize("name", ["gru", "gru_admit", "gru_reset_before", "lstm", "rnn_relu"])
def test_a_cell_is_said_elsewhere_exactly_or_refused(dialect: Dialect, name: str) -> None:
    given = network(CELLS[name])
    said = said_or_refused(given, dialect)
    if isinstance(said, str):
        assert dialect.title in said
        return
    assert distance(given, said.network) <= rounding(given)
    assert sense(said.cell) is None or sense(said.cell)[1] == sense(dialect.cell)[1]


def test_a_swapped_gate_is_another_function() -> None:
    given = network(CELLS["gru"])
    said = spoken(given, "keras").network
    broken = {f: np.roll(w, 4, axis=0) for f, w in said.layers[0][0].items()}
    assert distance(given, replace(said, layers=((broken,),))) > 1e3 * rounding(given)


def test_keras_letters_and_order() -> None:
    assert str(spoken(network(CELLS["gru"]), "keras").cell).splitlines() == [
        "z = sigmoid(W.z @ x + U.z @ h + b.z)",
        "r = sigmoid(W.r @ x + U.r @ h + b.r)",
        "m = U.h @ h + d.h",
        "h_tilde = tanh(W.h @ x + b.h + r * m)",
        "h_next = z * h + (1 - z) * h_tilde",
    ]


def test_an_admitting_dialect_turns_the_sense_of_z() -> None:
    given = network(CELLS["gru_reset_before"])
    said = spoken(given, "haiku")
    assert str(said.cell).splitlines()[-2:] == [
        "a = tanh(W.a @ x + U.a @ (r * h) + b.a)",
        "h_next = (1 - z) * h + z * a",
    ]
    assert said.notes == ("z admits instead of keeps: the weights of z negated",)
    assert (said.weights["W"][:4] == -given.layers[0][0]["W"][4:8]).all()  # z is first here


@pytest.mark.parametrize(
    ("dialect", "order"),
    [
        ("keras", "z r m h_tilde"),
        ("onnx_lstm", "i o f c_tilde"),
        ("openvino_lstm", "f i c_tilde o"),
        ("coreml", "r o z"),
        ("ncnn", "r u m n"),
        ("d2l", "R Z H_tilde"),
        ("wikipedia", "r z h_hat"),
        ("lasagne", "r z m hidden_update"),
        ("burn", "z r m n"),
    ],
)
def test_equations_stand_in_the_dialects_order(dialect: str, order: str) -> None:
    (record,) = (one for one in DIALECTS if one.name == dialect)
    cell = notation(record).cell
    assert [name for name, _ in cell if not name.endswith("_next")] == order.split()


@every_dialect
def test_weights_are_stacked_as_the_dialect_packs_them(dialect: Dialect) -> None:
    own = notation(dialect)
    packed = tuple(own.gates[gate] for gate in dialect.order)
    assert own.cell.families["W"] == packed or not dialect.order


def test_states_keep_their_numbers_where_their_order_changes() -> None:
    given = network(CELLS["lstm"])
    said = spoken(given, "openvino")
    state = tuple(np.full((1, 4), k) for k in range(2))
    assert [s[0, 0] for s in said.state(state, given.cell)] == [
        given.cell.states.index(name) for name in said.cell.states
    ]


@pytest.mark.parametrize("name", [n for n in ALL_CELLS if n not in CELLS or n == "lstm_projected"])
def test_a_cell_of_another_kind_is_refused_or_the_same(name: str) -> None:
    cell = ALL_CELLS[name]
    axes = SIZES | {one: SIZES[other] for one, other in cell.shapes.equal}
    rng = np.random.default_rng(7)
    weights = {f: rng.normal(size=cell.family_shape(f, axes)) for f in cell.families}
    said = said_or_refused((cell, weights), "torch")
    if isinstance(said, str):
        assert "torch" in said.lower()
        return
    given = Network(cell, ((weights,),))
    assert distance(given, said.network) <= rounding(given)


def test_the_reason_is_that_of_the_nearest_record() -> None:
    with pytest.raises(Unrepresentable, match="reset"):
        spoken(network(CELLS["gru_reset_before"]), "torch")


def test_float32_weights_stay_float32() -> None:
    said = spoken(network(CELLS["gru"], "float32"), "keras")
    assert {w.dtype.name for w in said.weights.values()} == {"float32"}
    assert sizes(said.cell, said.weights, 3)["hidden"] == 4


def test_what_no_dialect_is_called_is_refused() -> None:
    with pytest.raises(InputError, match="no dialect is called 'nosuch'"):
        spoken(network(CELLS["gru"]), "nosuch")
