"""A worksheet in every dialect's notation: the kernels' values, and the same last state."""

from __future__ import annotations

import numpy as np
import pytest

import cells
from grus import runtime
from grus.dialects import DIALECTS, Dialect
from grus.worksheet.notation import Spoken, spoken
from grus.worksheet.wording import decimal
from grus.worksheet.worksheet import Worksheet, worksheet

STEPS, DIGITS = 4, 5
every_dialect = pytest.mark.parametrize("dialect", DIALECTS, ids=lambda one: one.name)


def drawn(dialect: Dialect) -> tuple[dict[str, np.ndarray], np.ndarray, tuple[np.ndarray, ...]]:
    rng = np.random.default_rng(11)
    size = cells.sizes(dialect.cell, 2, 3)
    weights = cells.draw_weights(dialect.cell, size, rng)
    start = tuple(s[0] for s in cells.draw_states(dialect.cell, size, 1, rng))
    return weights, rng.normal(size=(STEPS, 2)), start


def sheet_of(said: Spoken, x: np.ndarray, start: tuple[np.ndarray, ...], own: Dialect) -> Worksheet:
    return worksheet(said.cell, said.weights, x, said.state(start, own.cell))


def printed(values: object) -> list[str]:
    return [decimal(float(value), DIGITS) for value in np.ravel(np.asarray(values))]


@every_dialect
def test_every_dialects_sheet_has_the_kernels_numbers_in_its_own_names(dialect: Dialect) -> None:
    weights, x, start = drawn(dialect)
    said = spoken((dialect.cell, weights), dialect)
    sheet = sheet_of(said, x, start, dialect)
    values, _ = runtime.values(said.cell, said.weights, x[:, None], tuple(
        s[None] for s in said.state(start, dialect.cell)
    ))  # fmt: skip
    for step in sheet.steps:
        for equation in step.equations:
            shown = [line.value for line in equation.lines]
            assert np.array_equal(shown, values[equation.name][step.number - 1, 0])


@every_dialect
def test_every_dialects_sheet_prints_what_the_kernels_gave_under_the_house_names(
    dialect: Dialect,
) -> None:
    weights, x, start = drawn(dialect)
    house, _ = runtime.values(dialect.cell, weights, x[:, None], tuple(s[None] for s in start))
    said = spoken((dialect.cell, weights), dialect)
    sheet = sheet_of(said, x, start, dialect)
    names = said.notation.values
    for step in sheet.steps:
        shown = {e.name: [line.value for line in e.lines] for e in step.equations}
        for name, value in house.items():
            assert printed(shown[names.get(name, name)]) == printed(value[step.number - 1, 0])


@every_dialect
def test_a_swapped_gate_prints_otherwise(dialect: Dialect) -> None:
    weights, x, start = drawn(dialect)
    said = spoken((dialect.cell, weights), dialect)
    right = sheet_of(said, x, start, dialect)
    # The rows of one gate where those of the next belong; with one gate, its units.
    shift = 3 if len(dialect.cell.families["W"]) > 1 else 1
    swapped = said.weights | {"W": np.roll(said.weights["W"], shift, axis=0)}
    wrong = worksheet(said.cell, swapped, x, said.state(start, dialect.cell))
    assert printed(right.final["h"]) != printed(wrong.final["h"])


def test_the_other_sense_prints_the_complement_of_z() -> None:
    own = next(one for one in DIALECTS if one.name == "cho2014")
    weights, x, start = drawn(own)
    keeps = sheet_of(spoken((own.cell, weights), own), x, start, own)
    admits = sheet_of(spoken((own.cell, weights), "chung2014"), x, start, own)
    pairs = [
        (one.value, other.value)
        for step, turned in zip(keeps.steps, admits.steps, strict=True)
        for one, other in zip(step.equations[1].lines, turned.equations[1].lines, strict=True)
    ]
    assert printed([a for a, _ in pairs]) == printed([1 - b for _, b in pairs])
    assert printed(keeps.final["h"]) == printed(admits.final["h"])
