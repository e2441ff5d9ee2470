"""Text that changes is read from where it changed, to the same bits as read anew."""

from __future__ import annotations

import numpy as np
import pytest
from pages import network

from grus.equations import CELLS
from grus.page.character_network import TextReading
from grus.reference import run


def whole(text: str, cell: str = "gru") -> TextReading:
    reading = TextReading(network(CELLS[cell]))
    reading.read(reading.network.vocabulary.encode(text))
    return reading


@pytest.mark.parametrize("cell", ["gru", "lstm", "gru_reset_before"])
def test_values_are_the_references(cell: str) -> None:
    reading = whole("the crane", cell)
    made = reading.network
    x = made.features[reading.ids].astype(np.float64)
    for k, weights in enumerate(made.layers):
        slow = run(made.cell, {f: w.astype(np.float64) for f, w in weights.items()}, x[:, None])
        for name, _ in made.cell:
            want = np.stack([step[name][0] for step in slow.values])
            # float32 over 9 steps and two layers, sums of 8 terms of size 1 to 10.
            np.testing.assert_allclose(reading.values[k][name], want, rtol=0, atol=2e-5)
        x = slow.output[:, 0]


def test_every_change_of_a_text_gives_the_bits_of_reading_it_anew() -> None:
    reading = TextReading(network())
    for text in ["", "a", "ab", "abc", "abd", "abd", "zabd", "za", "", "the crane stands"]:
        reading.read(reading.network.vocabulary.encode(text))
        again = whole(text)
        for mine, other in zip(reading.values, again.values, strict=True):
            assert set(mine) == set(other) or not text
            for name in other:
                np.testing.assert_array_equal(mine[name], other[name])


def test_one_more_character_computes_one_step() -> None:
    reading = whole("the cran")
    reading.read(reading.network.vocabulary.encode("the crane"))
    assert reading.computed == 1
    reading.read(reading.network.vocabulary.encode("the crate"))
    assert reading.computed == 2


def test_a_state_that_is_not_carried_is_seen() -> None:
    reading = whole("the cran")
    for values in reading.values:
        values["h_next"] = values["h_next"] * 0
    reading.read(reading.network.vocabulary.encode("the crane"))
    assert np.abs(reading.output()[-1] - whole("the crane").output()[-1]).max() > 1e-3


def test_probabilities_are_those_of_the_linear_map() -> None:
    reading = whole("crane")
    chances = reading.network.probabilities(reading.output())
    np.testing.assert_allclose(chances.sum(axis=1), 1, rtol=1e-12)
    scores = reading.output() @ reading.network.linear.T + reading.network.bias
    assert (chances.argmax(axis=1) == scores.argmax(axis=1)).all()
