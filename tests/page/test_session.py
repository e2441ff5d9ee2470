"""What the page shows: windows, dialects, held gates, worksheets, and what it refuses."""

from __future__ import annotations

import shutil
import sys
from importlib.util import find_spec

import numpy as np
import pytest
from pages import HIDDEN, network, session

from grus.equations import CELLS, held_at, hold_weights
from grus.errors import InputError
from grus.page import notations
from grus.page.character_network import TextReading, to_build
from grus.page.session import MAX_TEXT, STEPS, Request, Session, parse
from grus.reference import run

KERAS = "Keras 3 and tf.keras, GRU(reset_after=True), the default"
LASAGNE = "Lasagne GRULayer"
CHUNG = "Chung et al. 2014"


@pytest.fixture(scope="module")
def page() -> Session:
    return session()


def test_the_picture_holds_the_values_of_the_kernels(page: Session) -> None:
    answer = page.look(Request(text="crane", value="z", layer=1))
    reading = TextReading(network())
    reading.read(reading.network.vocabulary.encode("crane"))
    assert answer["value"] == "z"
    assert answer["gate"]
    np.testing.assert_allclose(answer["rows"], reading.values[1]["z"].T, rtol=0, atol=5e-5)
    norms = np.linalg.norm(reading.values[1]["h_next"], axis=1)
    np.testing.assert_allclose(answer["norms"], norms, rtol=0, atol=5e-5)


def test_a_long_text_shows_the_window_around_the_step(page: Session) -> None:
    text = "the crane stands " * 10
    last = page.look(Request(text=text))
    assert (last["step"], last["first"]) == (len(text) - 1, len(text) - STEPS)
    assert "".join(last["symbols"]) == text[-STEPS:]
    middle = page.look(Request(text=text, step=80))
    assert middle["first"] <= 80 < middle["first"] + STEPS
    assert len(middle["rows"][0]) == STEPS


def test_no_text_has_no_steps(page: Session) -> None:
    answer = page.look(Request())
    assert answer["steps"] == 0
    with pytest.raises(InputError, match="before the first character"):
        page.worksheet(Request())


@pytest.mark.parametrize("title", [KERAS, LASAGNE])
@pytest.mark.parametrize("hold", [{}, {"z": 0.25}, {"r": 0.0, "z": 0.5}])
def test_another_dialect_gives_the_same_predictions(
    page: Session, title: str, hold: dict[str, float]
) -> None:
    asked = {"text": "the crane", "hold": hold}
    own, other = page.look(Request(**asked)), page.look(Request(**asked, dialect=title))
    assert own["apart"] == 0
    # Negated or renamed weights: the same products in float32, sums perhaps in another order.
    assert other["apart"] < 1e-5
    assert other["predictions"] == own["predictions"]
    assert other["notation"]["equations"] != own["notation"]["equations"]


def test_the_other_sense_of_z_is_shown_mirrored(page: Session) -> None:
    own = page.look(Request(text="crane", value="z"))
    other = page.look(Request(text="crane", value="z", dialect=LASAGNE))
    assert other["notation"]["mirrored"] == ["z"]
    np.testing.assert_allclose(np.add(own["rows"], other["rows"]), 1, rtol=0, atol=2e-4)


def test_letters_follow_the_dialect(page: Session) -> None:
    answer = page.look(Request(text="crane", value="n", dialect=KERAS))
    assert answer["value"] == "h_tilde"
    assert {"n", "h_tilde"} & {one["name"] for one in answer["values"]} == {"h_tilde"}
    assert answer["notation"]["equations"][0][0] == "z"


def test_a_forgotten_mirror_would_be_seen(page: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notations, "_mirrored", lambda own, other: frozenset())
    broken = session()
    answer = broken.look(Request(text="the crane", hold={"z": 0.2}, dialect=LASAGNE))
    assert answer["apart"] > 1e-3


def test_a_dialect_that_cannot_is_refused_with_its_reason(page: Session) -> None:
    told = page.model()
    assert "before" in told["refused"][CHUNG]
    assert CHUNG not in told["dialects"]
    assert KERAS in told["dialects"]
    assert not [title for title in told["refused"] if "LSTM" in title]
    with pytest.raises(InputError, match="resets before"):
        page.look(Request(text="a", dialect=CHUNG))
    with pytest.raises(InputError, match="no dialect 'esperanto'"):
        page.look(Request(text="a", dialect="esperanto"))


def test_held_gates_change_what_comes_next_as_the_reference_says(page: Session) -> None:
    values = {"r": 1.0, "z": 0.0}
    answer = page.look(Request(text="crane", hold=values))
    made = network()
    cell = held_at(made.cell, values)
    x = made.features[made.vocabulary.encode("crane")][:, None].astype(np.float64)
    for weights in made.layers:
        held = hold_weights(made.cell, cell, {f: w.astype(float) for f, w in weights.items()})
        x = run(cell, held, x).output
    chances = made.probabilities(x[:, 0])[-1]
    shown = {one["symbol"]: one for one in answer["predictions"]}
    for symbol, one in shown.items():
        want = chances[made.vocabulary.symbols.index(symbol)]
        assert one["held"] == pytest.approx(want, abs=1e-5)
    free = page.look(Request(text="crane"))["predictions"][0]
    assert shown.get(free["symbol"], free)["free"] == pytest.approx(free["free"], abs=1e-12)
    assert answer["bits"] != answer["free_bits"]


def test_a_held_gate_is_shown_as_held(page: Session) -> None:
    answer = page.look(Request(text="crane", hold={"r": 0.5}, value="r"))
    assert np.unique(answer["rows"]) == 0.5
    assert [one["name"] for one in answer["values"] if one["held"]] == ["r"]


@pytest.mark.parametrize("hold", [{"z": 1.0}, {"z": 0.0, "r": 0.0}, {"r": 0.3}])
def test_a_worksheet_follows_the_held_cell(page: Session, hold: dict[str, float]) -> None:
    found = page.worksheet(Request(text="crane", hold=hold, step=2, unit=HIDDEN - 1))
    assert found["symbol"] == "a"
    assert len(found["equations"]) == len(held_at(CELLS["gru"], hold))


def test_a_worksheet_ends_at_the_value_of_the_picture(page: Session) -> None:
    asked = Request(text="the crane", value="z", layer=1, step=6, unit=3, dialect=LASAGNE)
    found, answer = page.worksheet(asked), page.look(asked)
    (z,) = (one for one in found["equations"] if one["symbols"].startswith("z = "))
    last = float(z["lines"][-1].split("=")[-1])
    assert last == pytest.approx(answer["rows"][3][6], abs=1e-9 + 5e-5)
    assert "the compiled kernels in float32" in found["by"]


def test_other_cells_have_their_own_gates() -> None:
    page = session(CELLS["lstm"], layers=1)
    assert page.model()["gates"] == ("i", "f", "o")
    assert session(CELLS["rnn"], layers=1).model()["gates"] == ()
    answer = page.look(Request(text="crane", hold={"f": 0.0}))
    assert answer["bits"] != answer["free_bits"]


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ([], "must be a JSON object"),
        ({"path": "/etc"}, "no field 'path'"),
        ({"text": 5}, "text must be text"),
        ({"layer": "1"}, "layer must be a whole number"),
        ({"layer": True}, "layer must be a whole number"),
        ({"unit": -1}, "unit must be 0 or more"),
        ({"step": -2}, "step must be 0 or more"),
        ({"unit": 10**10}, "unit must be"),
        ({"hold": 1}, "hold must be an object"),
        ({"hold": {"z": "1"}}, "must give each gate a number"),
        ({"hold": {"z": True}}, "must give each gate a number"),
        ({"hold": {"z": 1.5}}, "between 0 and 1"),
        ({"hold": {"z": float("nan")}}, "between 0 and 1"),
        ({"hold": {str(k): 0 for k in range(21)}}, "at most 20"),
        ({"text": "a" * (MAX_TEXT + 1)}, "at most 2,000 characters, got 2,001"),
    ],
)
def test_a_request_that_cannot_be_is_refused(given: object, told: str) -> None:
    with pytest.raises(InputError, match=told):
        parse(given)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"text": "crâne"}, "'â' is not in the model's vocabulary"),
        ({"layer": 2}, "layer must lie in 0..1"),
        ({"units": HIDDEN}, "units must lie in"),
        ({"step": 5}, "step must lie in 0..4"),
        ({"hold": {"m": 0.5}}, "has no gate 'm'"),
        ({"hold": {"h_next": 0.5}}, "has no gate 'h_next'"),
    ],
)
def test_what_the_network_has_not_is_refused(
    page: Session, given: dict[str, object], told: str
) -> None:
    with pytest.raises(InputError, match=told):
        page.look(parse({"text": "crane", **given}))


def test_few_texts_are_kept(page: Session) -> None:
    for k in range(8):
        page.look(Request(text="crane", hold={"z": k / 8}))
    assert len(page._readings) <= 6


def test_a_network_is_saved_as_trained(page: Session) -> None:
    """The model that is built reads symbols and gives the scores that the page shows."""
    house = network()
    model = to_build(house)
    ids = house.vocabulary.encode("crane")
    assert model.embedding is not None
    reading = TextReading(house)
    reading.read(ids)
    scores = reading.output() @ house.linear.T + house.bias
    np.testing.assert_allclose(model.run(model.embedding[ids]), scores, rtol=0, atol=1e-5)
    assert "".join(model.symbols) == house.vocabulary.symbols
    if not (shutil.which("wasm-ld") or find_spec("ziglang")):
        pytest.skip("there is no wasm-ld")
    saved = page.save()
    assert saved["name"] == "model.html"
    assert saved["text"].startswith("<!doctype html>")


def test_without_a_linker_nothing_is_saved(page: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda _: None)
    monkeypatch.setitem(sys.modules, "ziglang", None)
    with pytest.raises(InputError, match="needs ziglang"):
        page.save()
