"""Plans: what is hoisted, the stages, what passes between them; and what kernels refuse."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from agreement import check_backward, check_forward, draw, train
from bits import forward
from bounds import UNITS
from cells import ALL_CELLS
from grus import reference
from grus.equations import OPERATORS, Apply, Cell, Input, Name, walk
from grus.gradients import backward
from grus.kernels import Plan, UnsupportedCellError, jit, make_plan
from grus.kernels.functions import SPELLINGS
from grus.kernels.plan import CHAIN
from grus.kernels.show import plan_text

GOLDEN = Path(__file__).parent / "golden"
PRINTED = {
    "gru": ALL_CELLS["gru"],
    "gru_reset_before": ALL_CELLS["gru_reset_before"],
    "lstm": ALL_CELLS["lstm"],
    "gru_backward": backward(ALL_CELLS["gru"]).cell,
}


@pytest.mark.parametrize("name", PRINTED)
def test_the_printed_plan_is_the_golden_text(name: str, request: pytest.FixtureRequest) -> None:
    file, text = GOLDEN / f"{name}.txt", f"{plan_text(PRINTED[name])}\n"
    if request.config.getoption("--update-golden"):
        file.write_text(text, encoding="utf-8")
    assert file.exists(), f"{file.name} is missing; --update-golden writes it"
    assert text == file.read_text(encoding="utf-8")


def test_every_golden_file_belongs_to_a_cell() -> None:
    assert {file.stem for file in GOLDEN.iterdir()} == set(PRINTED)


def supported() -> dict[str, Plan]:
    """The plans of all cells and backward cells that kernels run."""
    found = {}
    for name, cell in ALL_CELLS.items():
        try:
            found[name] = make_plan(cell)
        except UnsupportedCellError:
            continue
        found[f"{name} backward"] = make_plan(backward(cell).cell)
    return found


PLANS = supported()
every = pytest.mark.parametrize("name", PLANS)


@every
def test_every_value_is_made_before_it_is_read(name: str) -> None:
    plan = PLANS[name]
    known = {chain.name for chain in plan.hoisted}
    for stage in plan.stages:
        # A product reads whole rows: all of its operand was made in an earlier stage.
        operands = {g.operand.name for g in stage.groups if isinstance(g.operand, Name)}
        assert operands <= known
        assert operands <= set(plan.rows)
        known |= {chain.name for chain in stage.chains}
        for equation, expr in stage.equations:
            read = {node.name for node in walk(expr) if isinstance(node, Name)}
            assert read <= known, f"{equation} reads {read - known} too early"
            known.add(equation)
    assert {f"{s}_next" for s in plan.cell.states} <= known


@every
def test_every_accumulator_is_read_in_its_own_stage(name: str) -> None:
    plan = PLANS[name]
    hoisted = {chain.name for chain in plan.hoisted}
    for stage in plan.stages:
        own = {chain.name for chain in stage.chains}
        nodes = [node for _, expr in stage.equations for node in walk(expr)]
        read = {n.name for n in nodes if isinstance(n, Name) and n.name.startswith(CHAIN)}
        assert own <= read <= own | hoisted


@every
def test_all_products_with_x_and_no_others_leave_the_time_loop(name: str) -> None:
    plan = PLANS[name]
    inside = [p for s in plan.stages for c in s.chains for p in c.products]
    assert all(p.operand != Input("x") for p in inside)
    linear = {op for op, o in OPERATORS.items() if o.kind == "linear"}
    nodes = [n for n in plan.cell.nodes if isinstance(n, Apply) and n.op in linear]
    with_x = [n for n in nodes if n.args[1] == Input("x")]
    assert sorted(p.weight.name for c in plan.hoisted for p in c.hoisted) == sorted(
        n.args[0].name
        for n in with_x  # type: ignore[attr-defined]
    )
    assert len(inside) == len(nodes) - len(with_x)


STAGES = {"gru": 1, "lstm": 1, "rnn": 1, "peephole_lstm": 1, "sru": 1} | dict.fromkeys(
    ("gru_reset_before", "mgu", "clipped_gru"), 2
)


@pytest.mark.parametrize("name", STAGES)
def test_a_stage_ends_only_where_a_whole_row_is_needed(name: str) -> None:
    assert len(PLANS[name].stages) == STAGES[name]


REFUSED = {
    "zoneout": r"the kernels take no mask per sequence yet \(drop\)",
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_kernels_cannot_do_is_named(name: str) -> None:
    with pytest.raises(UnsupportedCellError, match=f"^cell {name}: {REFUSED[name]}"):
        make_plan(ALL_CELLS[name])


@pytest.mark.parametrize(
    ("text", "missing"),
    [
        ("h_next = tanh(W.a @ x + U.a @ step.keep(0.5) + h)", r"no product U.a @ step.keep\(0.5\)"),
        ("h_next = tanh(W.a.T @ x + U.a @ h)", "no product W.a.T @ x yet"),
        ("h_next = tanh(W.a @ x) * sequence.keep + h", "no mask per sequence yet"),
    ],
)
def test_what_text_can_say_and_kernels_cannot_do_is_named(text: str, missing: str) -> None:
    with pytest.raises(UnsupportedCellError, match=missing):
        make_plan(Cell.parse(text))


def test_every_elementwise_operator_has_a_spelling_and_no_other() -> None:
    assert set(SPELLINGS) == {n for n, op in OPERATORS.items() if op.kind == "elementwise"}


# Shapes of cells on which a plan can go wrong.
ODD_CELLS = {
    "a sum that is complete only two stages later": """
        r = sigmoid(W.r @ x + U.r @ h)
        q = U.q @ (r * h)
        h_next = tanh(U.n @ h + q * q)""",
    "one operand twice in one sum": """
        h_next = tanh(U.a @ h + U.b @ h + U.a @ h + b.a + b.a + W.a @ x + V.a @ x)""",
    "products in both arms of a maximum": """
        h_next = tanh(maximum(W.a @ x + U.a @ h, U.b @ h - b.a))""",
    "a product divided by a product": """
        h_next = (W.a @ x + U.b @ h) / (2 + sigmoid(U.a @ h))""",
    "a product times a product": """
        h_next = tanh((W.a @ x) * (U.a @ h) - (U.b @ h) * h)""",
    "states that swap": """
        c_next = h
        h_next = tanh(W.a @ x + U.a @ c)""",
    "a state that is only copied": """
        c_next = h + W.a @ x
        h_next = c""",
    "no product with x": """
        h_next = tanh(U.a @ h + b.a)""",
    "no product but with x": """
        h_next = W.a @ x + b.a""",
    "a chain of products": """
        a = tanh(U.a @ h + W.a @ x + h)
        q = tanh(U.b @ a + h)
        h_next = tanh(U.c @ q + U.d @ a + p.a * h)""",
    "a product of the next state": """
        c_next = tanh(W.a @ x + U.a @ h + c)
        h_next = tanh(U.b @ c_next + U.c @ c + c)""",
    "an output beside the states": """
        c_next = tanh(W.a @ x + U.a @ c)
        y = sigmoid(U.y @ c_next + b.y) - c""",
    "a number that is no mean": """
        k = 2
        h_next = tanh(W.a @ x + k * (U.a @ h))""",
    "means of x, of a state, of a weight, of a number and of each other": """
        k = mean(W.a @ x) + mean(h) * mean(b.a)
        e = sqrt(1 + mean(k) * mean(k))
        q = mean((h - k) * (h - k)) / e
        h_next = tanh(W.a @ x + U.a @ h + q * h - b.a)""",
    "a mean of a value of the same step": """
        n = tanh(W.a @ x + U.a @ h)
        h_next = n - mean(n * h) * mean(n)""",
    "means over the projection and over the hidden axis": """
        c_next = tanh(W.a @ x + U.a @ h) / sqrt(1 + mean(c * c))
        h_next = V.a @ c_next - mean(h)""",
    "names that kernels use themselves": """
        row = tanh(W.row @ x + U.cur @ P)
        P_next = row
        nxt_next = P * nxt + U.time @ row""",
    "more gates than registers": "\n".join(
        f"g{k} = sigmoid(W.g{k} @ x + U.g{k} @ h + b.g{k})" for k in range(28)
    )
    + "\nh_next = "
    + " - ".join(f"0.1 * g{k}" for k in range(28)),
}


@pytest.mark.parametrize("name", ODD_CELLS)
def test_cells_on_which_a_plan_can_go_wrong(name: str) -> None:
    cell = Cell.parse("\n".join(map(str.strip, ODD_CELLS[name].splitlines())))
    for dtype in ("float32", "float64"):
        check_forward(train(draw(cell, (3, 9, 4, 19), dtype)))
        check_backward(train(draw(cell, (2, 9, 4, 19), dtype)))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_transposed_product_runs_forward(dtype: str) -> None:
    """The backward step is made of these; a cell of one's own may have them too."""
    p = draw(Cell.parse("h_next = tanh(W.a @ x + U.a.T @ h)"), (3, 9, 4, 19), dtype)
    found, want = forward(p), reference.run(p.cell, p.weights, p.x, p.start)
    # Three steps, each with the rounding of a chain of 25 and of tanh, and slopes of about one.
    bound = 3 * UNITS[dtype].g(40) * 19
    assert np.abs(found.output - want.output).max() <= bound


def test_code_is_compiled_once_for_all_sizes(
    recompiled: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    count, right = [], jit.Compiled

    def compiled(*args: object) -> object:
        count.append(args)
        return right(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(jit, "Compiled", compiled)
    for sizes in ((1, 1, 1, 1), (3, 2, 5, 7), (0, 1, 2, 3), (2, 20, 33, 130)):
        forward(draw(ALL_CELLS["gru"], sizes))
        forward(draw(ALL_CELLS["gru"], sizes), reverse=True, threads=None)
    assert len(count) == 1
    forward(draw(ALL_CELLS["gru"], (2, 2, 2, 2), "float64"))
    assert len(count) == 2
    twin = Cell("another_name", ALL_CELLS["gru"].equations, "and another doc")
    forward(draw(twin, (2, 2, 2, 2)))
    assert len(count) == 2, "a cell is its equations"
