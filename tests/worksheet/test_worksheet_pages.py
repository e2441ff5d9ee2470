"""A worksheet in print: numbers, the three forms, the head, and the misreadings at the end."""

from __future__ import annotations

import re

import numpy as np
import pytest

import cells
from grus.dialects import Layout, find, unpack
from grus.dialects.dialect import TWO
from grus.equations import CELLS, Cell, latex
from grus.reference import run
from grus.worksheet.format import Format, render
from grus.worksheet.latex_page import plain
from grus.worksheet.misreadings import Misreading, readings
from grus.worksheet.preamble import Context, Preamble, head
from grus.worksheet.wording import decimal, vector
from grus.worksheet.worksheet import worksheet

DECIMALS = [
    (0.0, "0"),
    (-0.0, "0"),
    (2.0, "2"),
    (-3.0, "-3"),
    (0.5, "0.5"),
    (0.1 + 0.2, "0.3"),
    (1 / 3, "0.33333"),
    (-0.46279538, "-0.46280"),
    (1 - 1e-9, "1.00000"),
    (0.00123456, "0.00123"),
    (0.000272571, "2.7257e-04"),
    (-4e-300, "-4.0000e-300"),
    (123456.789012, "123456.78901"),
    (1.5e10 + 0.25, "1.5000e+10"),
    (1e300, "1e+300"),
    (float("inf"), "inf"),
]


@pytest.mark.parametrize(("value", "shown"), DECIMALS, ids=[s for _, s in DECIMALS])
def test_numbers_are_rounded_and_only_whole_ones_look_whole(value: float, shown: str) -> None:
    assert decimal(value, 5) == shown


@pytest.mark.parametrize("digits", [1, 2, 5, 12, 17])
def test_what_is_printed_is_the_number_to_its_last_digit(digits: int) -> None:
    rng = np.random.default_rng(0)
    for value in [*rng.normal(size=50), *10.0 ** rng.uniform(-12, 12, 50)]:
        shown = float(decimal(float(value), digits))
        fixed = 0.5 * 10.0**-digits
        power = 0.5 * abs(value) * 10.0 ** (1 - digits)
        assert abs(shown - value) <= max(fixed, power) * (1 + 1e-9)


def test_one_number_stands_alone_and_several_in_brackets() -> None:
    assert vector([0.5], 5) == "0.5"
    assert vector([0.5, 1 / 3], 3) == "[0.5, 0.333]"


KERNEL, RECURRENT = np.array([[-0.9, 1.0, -0.04]]), np.array([[0.2, 0.9, 0.4]])
X = np.array([[1.0], [2.0]])


def posted(form: Format, digits: int = 5) -> str:
    cell = CELLS["gru"]
    record = find("keras", cell)
    layout = Layout.of(record)
    tensors = {"W": KERNEL, "U": RECURRENT}
    read = unpack(cell, layout, tensors)
    return render(
        head(cell, Context("", record, layout, None), read, X),
        worksheet(cell, read.weights, X),
        readings(cell, layout, tensors, read, X, None),
        form,
        digits,
    )


@pytest.mark.parametrize("form", ["text", "markdown", "latex"])
def test_the_first_line_says_how_x_was_read_and_the_page_ends_with_a_line(form: Format) -> None:
    page = posted(form)
    assert page.splitlines()[0].rstrip(".") == "x: 2 steps of 1 feature"
    assert page.endswith("\n")
    assert not page.endswith("\n\n")
    assert all(line == line.rstrip() for line in page.splitlines())
    assert "\n\n\n" not in page


def test_text_keeps_to_its_width() -> None:
    assert max(map(len, posted("text").splitlines())) <= 100


def test_text_shows_symbols_numbers_terms_argument_and_value() -> None:
    lines = posted("text").splitlines()
    at = lines.index("step 2 of 2: x = 2, h = -0.02842")
    assert lines[at + 8 : at + 13] == [
        "  z = sigmoid(W.z @ x + U.z @ h + b.z)",
        "    = sigmoid(-0.9 * 2 + 0.2 * (-0.02842) + 0)",
        "    = sigmoid(-1.8 + (-0.00568) + 0)",
        "    = sigmoid(-1.80568)",
        "    = 0.14116",
    ]


def test_markdown_fences_each_step_and_escapes_what_it_would_eat() -> None:
    page = posted("markdown")
    assert page.count("```text\n") == 2
    assert page.count("```") == 4
    outside = "".join(page.split("```")[::2])
    assert not re.search(r"(?<!\\)(\*(?!\*)|_|`)", outside.replace("**", ""))
    tables = [line for line in outside.splitlines() if line.startswith("|")]
    widths = {len(re.findall(r"(?<!\\)\|", line)) for line in tables[:5]}
    assert len(widths) == 1


def test_latex_is_balanced_and_escaped() -> None:
    page = posted("latex")
    opened = re.findall(r"\\begin\{([a-z*]+)\}", page)
    assert opened == re.findall(r"\\end\{([a-z*]+)\}", page)
    assert page.count("\\left(") == page.count("\\right)")
    assert page.count("{") - page.count("\\{") == page.count("}") - page.count("\\}")
    assert page.count("$") % 2 == 0
    outside = re.sub(r"\\begin\{align\*\}.*?\\end\{align\*\}|\$[^$]*\$", "", page, flags=re.S)
    assert not re.search(r"(?<!\\)[_^#%]", outside)
    assert len(opened) == 2 + 2 * len(CELLS["gru"])
    assert not re.search(r"\\\\\s*\[", page), "a bracket after a line end is taken as a length"


def test_latex_text_is_escaped_sign_by_sign() -> None:
    assert plain(r"a_b & 50% {x} ~^\ #$") == (
        r"a\_b \& 50\% \{x\} \textasciitilde{}\textasciicircum{}\textbackslash{} \#\$"
    )


def head_of(
    cell: Cell, layout: Layout, tensors: dict[str, np.ndarray], **given: object
) -> Preamble:
    read = unpack(cell, layout, tensors)
    record = given.get("dialect")
    return head(cell, Context("", record, layout, None), read, np.zeros((1, read.sizes["input"])))  # type: ignore[arg-type]


def test_the_head_says_which_column_is_which_gate_in_whose_letters() -> None:
    record = find("keras", CELLS["gru"])
    found = head_of(CELLS["gru"], Layout.of(record), {"W": KERNEL, "U": RECURRENT}, dialect=record)
    assert found.columns[:4] == ("stands in", "gate", "what it is", "in keras")
    assert [row[:6] for row in found.rows] == [
        ("column 1", "z", "update gate", "z", "-0.9", "0.2"),
        ("column 2", "r", "reset gate", "r", "1", "0.9"),
        ("column 3", "n", "candidate", "h", "-0.04", "0.4"),
    ]
    assert any("z: near 1 it keeps the old state" in note for note in found.notes)


def test_the_head_tells_the_other_sense_when_the_equations_have_it() -> None:
    found = head_of(CELLS["gru_admit"], Layout(("z", "r", "n")), {"W": np.ones(3), "U": np.ones(3)})
    assert any("z: near 1 it takes the new state" in note for note in found.notes)


def test_the_head_tells_where_two_biases_went() -> None:
    given = {"W": np.ones(3), "U": np.ones(3), "b": np.ones(3), "second bias": np.ones(3)}
    notes = head_of(CELLS["gru"], Layout(("r", "z", "n"), "rows", TWO), given).notes
    assert any("d.n, which the reset multiplies" in note for note in notes)
    notes = head_of(CELLS["gru_reset_before"], Layout(("r", "z", "n"), "rows", TWO), given).notes
    assert any("only their sum b counts" in note for note in notes)


def test_larger_blocks_are_told_by_place_and_shape() -> None:
    rows = np.arange(18.0).reshape(9, 2) / 7
    found = head_of(
        CELLS["gru"], Layout(("r", "z", "n"), "rows"), {"W": rows, "U": np.ones((9, 3))}
    )
    assert [row[0] for row in found.rows] == ["rows 1-3", "rows 4-6", "rows 7-9"]
    assert found.rows[0][3] == "3 x 2"


def labels(found: tuple[Misreading, ...]) -> dict[str, Misreading]:
    return {reading.label.split(":")[0]: reading for reading in found}


def read_otherwise(hidden: int, features: int, name: str = "gru") -> dict[str, Misreading]:
    cell = CELLS[name]
    rng = np.random.default_rng(3)
    size = {"input": features, "hidden": hidden}
    weights = {f: rng.normal(size=cell.family_shape(f, size)) for f in cell.families}
    tensors = {"second bias" if f == "d" else f: w for f, w in weights.items()}
    layout = Layout(tuple(cell.families["W"]), "rows")
    x = rng.normal(size=(3, features))
    read = unpack(cell, layout, tensors)
    return labels(readings(cell, layout, tensors, read, x, None))


def test_misreadings_change_one_thing_each() -> None:
    found = read_otherwise(hidden=2, features=2)
    assert set(found) == {
        "gates read in the order z, r, n (keras, onnx, haiku)",
        "z the other way round",
        "the reset before the product",
        "the reset before the product, and z the other way round",
        "each block of U transposed (U.T @ h for U @ h)",
        "each block of W transposed (W.T @ x for W @ x)",
        "the last x alone",
    }
    assert not any(reading.same for reading in found.values())
    assert len({reading.final for reading in found.values()}) == len(found)


def test_each_misreading_is_what_the_reference_gives_for_it() -> None:
    cell, layout = CELLS["gru"], Layout(("r", "z", "n"), "rows")
    rng = np.random.default_rng(3)
    w, u, b, d, x = (rng.normal(size=s) for s in ((6, 1), (6, 2), 6, 2, (3, 1)))
    h0 = rng.normal(size=2)
    tensors = {"W": w, "U": u, "b": b, "second bias": d}
    read = unpack(cell, layout, tensors)
    found = labels(readings(cell, layout, tensors, read, x, (h0,)))

    def final(cell: Cell, steps: np.ndarray, **weights: np.ndarray) -> tuple[float, ...]:
        return tuple(run(cell, weights, steps[:, None], h0[None]).state[0][0])

    def swapped(v: np.ndarray) -> np.ndarray:
        return np.concatenate([v[2:4], v[:2], v[4:]])

    outer = b + np.concatenate([np.zeros(4), d])  # without a reset of its own d joins b.n
    turned = np.concatenate([u[k : k + 2].T for k in (0, 2, 4)])
    expected = {
        "gates read in the order z, r, n (keras, onnx, haiku)": final(
            cell, x, W=swapped(w), U=swapped(u), b=swapped(b), d=d
        ),
        "z the other way round": final(CELLS["gru_admit"], x, W=w, U=u, b=b, d=d),
        "the reset before the product": final(CELLS["gru_reset_before"], x, W=w, U=u, b=outer),
        "the reset before the product, and z the other way round": final(
            CELLS["gru_reset_before_admit"], x, W=w, U=u, b=outer
        ),
        "each block of U transposed (U.T @ h for U @ h)": final(cell, x, W=w, U=turned, b=b, d=d),
        "the last x alone": final(cell, x[2:], W=w, U=u, b=b, d=d),
        "all of x added up and taken as one step": final(
            cell, np.array([[x.sum()]]), W=w, U=u, b=b, d=d
        ),
    }
    assert {label: reading.final for label, reading in found.items()} == expected


def test_with_one_unit_and_no_inner_bias_the_place_of_the_reset_makes_no_difference() -> None:
    cell, layout = CELLS["gru"], Layout(("r", "z", "n"), "rows")
    tensors = {"W": KERNEL.T, "U": RECURRENT.T}
    read = unpack(cell, layout, tensors)
    found = labels(readings(cell, layout, tensors, read, X, None))
    assert found["the reset before the product"].same
    assert not found["z the other way round"].same
    assert not found["all of x added up and taken as one step"].same


def test_a_sister_is_run_on_the_same_numbers() -> None:
    found = read_otherwise(hidden=1, features=1, name="gru_reset_before")
    assert {
        "the reset after the product",
        "the reset after the product, and z the other way round",
        "z the other way round",
    } <= set(found)


def test_other_cells_have_the_readings_that_make_sense_for_them() -> None:
    lstm = read_otherwise(2, 3, "lstm")
    assert "gates read in the order i, o, f, g (onnx)" in lstm
    assert "the equations of rnn_relu" in read_otherwise(2, 3, "rnn")
    mgu = cells.ALL_CELLS["mgu"]
    size = cells.sizes(mgu, 1, 1)
    weights = cells.draw_weights(mgu, size, np.random.default_rng(0))
    layout = Layout(("f", "n"), "rows")
    read = unpack(mgu, layout, weights)
    assert set(labels(readings(mgu, layout, weights, read, X, None))) == {
        "the last x alone",
        "all of x added up and taken as one step",
    }


@pytest.mark.parametrize("form", ["text", "markdown", "latex"])
@pytest.mark.parametrize("name", ["lstm_projected", "layer_norm_gru", "sru", "odd", "clipped_gru"])
def test_every_cell_prints_in_every_form(form: Format, name: str) -> None:
    cell = cells.ALL_CELLS[name]
    rng = np.random.default_rng(0)
    size = cells.sizes(cell, 2, 3, 2)
    weights = cells.draw_weights(cell, size, rng)
    given = {"second bias" if f == "d" else f: w for f, w in weights.items()}
    layout = Layout(tuple(dict.fromkeys(w.gate for w in cell.weights)), "rows")
    read = unpack(cell, layout, given)
    x = rng.normal(size=(2, size["input"]))
    sheet = worksheet(cell, read.weights, x)
    page = render(head(cell, Context("", None, layout, None), read, x), sheet, (), form)
    assert page.splitlines()[0].startswith("x: 2 steps of ")
    for state in cell.states:
        shown = decimal(sheet.final[state][0], 5)
        assert (latex.power(shown) if form == "latex" else shown) in page.partition("ast state")[2]
    if cell.output == "y":
        assert "ast output" in page
