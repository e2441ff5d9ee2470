"""A model saved as a page, in a browser from its file: it reads, shows its gates, writes.

Every test sees to it that the console stays silent and that nothing but the file is asked for.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("playwright.sync_api")

from grus import runtime
from grus.builds import Model, build, read_model
from small_run import finish, start

TEXT = "the quick brown fox"
SIZES = [(1366, 768), (1366, 650), (900, 700), (400, 800)]
DRAWN = "new Promise((then) => requestAnimationFrame(() => requestAnimationFrame(then)))"
"""Fulfilled once the page has drawn itself anew: a frame begins with the event of a new size."""
CLOSE = 1e-6
"""Scores have the bits; a sum of 29 exponentials in float64 and its shortest text are exact to
1e-14."""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    if not (shutil.which("wasm-ld") or find_spec("ziglang")):
        pytest.skip("there is no wasm-ld")
    folder = tmp_path_factory.mktemp("run")
    finish(start(folder, layers=2))
    return read_model(folder / "run")


class Visit:
    """The page in a tab of a context of its own, with all that it says and asks for."""

    def __init__(self, browser: Any, path: Path, **settings: Any) -> None:
        self.context = browser.new_context(**{"reduced_motion": "reduce", **settings})
        self.page, self.address = self.context.new_page(), path.as_uri()
        self.said: list[str] = []
        self.asked: list[str] = []
        self.page.on("console", lambda message: self.said.append(message.text))
        self.page.on("pageerror", lambda error: self.said.append(str(error)))
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.goto(self.address)
        self.page.wait_for_selector("body[data-ready]")

    def close(self) -> None:
        self.context.close()
        assert self.said == []
        assert set(self.asked) == {self.address}

    def text(self, selector: str) -> str:
        return str(self.page.inner_text(selector))

    def next(self) -> dict[str, float]:
        """The likeliest symbols, as they are shown, and their probabilities."""
        script = """[...document.querySelectorAll("#next li")].map((item) => [
            item.querySelector(".symbol").textContent, Number(item.querySelector("data").value)])"""
        return dict(self.page.evaluate(script))

    def written(self, **settings: float) -> str:
        """What it writes with these numbers in its form."""
        for name, number in settings.items():
            self.page.fill(f"#{name}", str(number))
        self.page.click("#go")
        self.page.wait_for_selector("#go:enabled")
        return str(self.page.text_content("#written"))


def shares(model: Model, text: str, temperature: float = 1.0) -> np.ndarray:
    """The probabilities after each symbol, [time, symbols], by `Model.run` and softmax."""
    assert model.embedding is not None
    scores = model.run(model.embedding[[model.symbols.index(one) for one in text]])
    above = np.exp((scores - scores.max(1, keepdims=True)).astype(np.float64) / temperature)
    return above / above.sum(1, keepdims=True)


@pytest.fixture(scope="module")
def path(model: Model, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("page")
    build(model, folder, "page", name="fox")
    return folder / "fox.html"


@pytest.fixture
def visit(browser: Any, path: Path) -> Iterator[Visit]:
    made = Visit(browser, path, viewport={"width": 1366, "height": 768})
    yield made
    made.close()


def test_probabilities_and_gates_are_those_of_python(visit: Visit, model: Model) -> None:
    """After every character, gone through by keys; in both layers."""
    visit.page.fill("#text", TEXT)
    assert visit.text("#message") == f"{len(TEXT)} characters read."
    visit.page.focus("#strips")
    visit.page.keyboard.press("Home")
    for row in shares(model, TEXT):
        shown = visit.next()
        wanted = {model.symbols[k].replace(" ", "␣"): row[k] for k in np.argsort(-row)[:5]}
        assert shown.keys() == wanted.keys()
        assert max(abs(shown[one] - wanted[one]) for one in shown) <= CLOSE
        visit.page.keyboard.press("ArrowRight")
    assert model.embedding is not None
    x = model.embedding[[model.symbols.index(one) for one in TEXT]][:, None]
    for number, layer in enumerate(model.layers[:2], 1):
        zero = (np.zeros((1, layer.outputs), np.float32),)
        values, _ = runtime.values(layer.cell, layer.weights, x, zero, threads=1)
        x = values["h_next"]
        for name, value in {"z": values["z"], "r": values["r"], "h": x}.items():
            visit.page.select_option("#value", name)
            for key, unit in (("ArrowDown", 2), ("ArrowUp", 1)):
                visit.page.keyboard.press(key)
                shown, _, printed = visit.text("#here").rpartition(" = ")
                assert shown == f"Step {len(TEXT)} “x”, layer {number}, unit {unit}: {name}"
                assert abs(float(printed) - value[-1, 0, unit - 1]) <= 5.1e-5
                visit.page.focus("#strips")
        visit.page.keyboard.press("PageDown")


def test_what_it_writes_is_drawn_from_the_seed(browser: Any, path: Path, model: Model) -> None:
    """The same twice, in another tab of its own, and by hand in Python."""
    texts = []
    for _ in range(2):
        visit = Visit(browser, path)
        visit.page.fill("#text", TEXT)
        settings = {"temperature": 0.9, "length": 60, "seed": 5}
        texts += [visit.written(**settings), visit.written(**settings)]
        assert visit.text("#message") == f"{len(TEXT)} characters read, 60 characters written."
        assert visit.written(seed=6) not in texts
        likeliest = visit.written(temperature=0, length=3)
        visit.close()
    assert len(set(texts)) == 1
    text, bits = TEXT, (5 + 1) * 0x9E3779B1 % 2**32
    for _ in range(60):
        for shift in (13, -17, 5):
            bits ^= (bits << shift if shift > 0 else bits >> -shift) % 2**32
        row = shares(model, text, 0.9)[-1]
        text += model.symbols[int(np.searchsorted(np.cumsum(row), bits / 2**32, side="right"))]
    assert texts[0] == text[len(TEXT) :]
    for count in range(3):
        row = shares(model, TEXT + likeliest[:count])[-1]
        assert likeliest[count] == model.symbols[row.argmax()]


def test_writing_is_watched_and_stopped(browser: Any, path: Path) -> None:
    visit = Visit(browser, path, reduced_motion="no-preference")
    visit.page.fill("#length", "1000")
    visit.page.click("#go")
    while len(visit.page.text_content("#written")) <= 3:  # the page's policy lets no text be code
        visit.page.wait_for_timeout(20)
    visit.page.click("#stop")
    count = len(visit.page.text_content("#written"))
    assert 3 < count < 1000
    assert visit.text("#message").endswith(f", {count} characters written.")
    visit.page.click("#go")
    visit.page.fill("#text", "a")  # typing ends it, too
    visit.page.wait_for_timeout(100)
    assert (visit.text("#message"), visit.text("#written")) == ("1 character read.", "")
    visit.page.fill("#text", "")
    assert (visit.text("#message"), visit.next()) == ("0 characters read.", {})
    visit.page.click("#go")
    assert "Type a character first" in visit.text("#message")
    visit.close()


def test_unknown_characters_are_said(visit: Visit) -> None:
    visit.page.fill("#text", "thΩe<")
    assert visit.text("#message") == (
        "The model does not know Ω <, which it left out. 3 characters read."
    )
    known = visit.next()
    visit.page.fill("#text", "the")
    assert (visit.text("#message"), visit.next()) == ("3 characters read.", known)


@pytest.mark.parametrize("weights", ["float32", "int8"])
def test_bytes_and_int8(browser: Any, model: Model, weights: str, tmp_path: Path) -> None:
    """The page has compared the bits of recorded steps before it is ready."""
    symbols = (*model.symbols[:-2], "\xa9", "\xc3")
    several = replace(model, symbols=symbols, unit="byte")
    build(several, tmp_path, "page", weights=weights)  # type: ignore[arg-type]
    visit = Visit(browser, tmp_path / "model.html")
    visit.page.fill("#text", "é")
    assert visit.text("#message") == "2 bytes read."
    assert weights in visit.text("#about")
    assert "the bits of grus on sse2, compared at 8 steps" in visit.text("#about")
    if weights == "float32":
        row = shares(several, "\xc3\xa9")[-1]
        assert abs(max(visit.next().values()) - row.max()) <= CLOSE
    visit.close()


def test_other_bits_are_said(browser: Any, path: Path, tmp_path: Path) -> None:
    """A recorded step that is another one keeps the page from running."""
    text, rest = path.read_text("utf-8").split('"bits":[[')
    number, after = rest.split(",", 1)
    wrong = tmp_path / "wrong.html"
    wrong.write_text(f'{text}"bits":[[{int(number) ^ 1},{after}', "utf-8")
    page = browser.new_page()
    page.goto(wrong.as_uri())
    page.wait_for_selector("#message.wrong")
    assert "other numbers at step 1 than sse2" in page.inner_text("#message")
    page.close()


def test_the_keyboard_reaches_everything_and_all_has_a_name(visit: Visit) -> None:
    reached = []
    for _ in range(8):
        reached.append(visit.page.evaluate("document.activeElement.id"))
        assert (
            visit.page.evaluate("getComputedStyle(document.activeElement).outlineStyle") != "none"
        ), reached
        visit.page.keyboard.press("Tab")
    order = ["text", "value", "strips", "temperature", "length", "seed", "go", "written"]
    assert [name for name in reached if name in order] == order
    tree = visit.page.locator("body").aria_snapshot()
    for line in (
        'textbox "Type something"',
        'combobox "Show"',
        'application "Values of each unit',
        'spinbutton "Temperature',
        'spinbutton "Characters"',
        'spinbutton "Seed',
        'button "Write"',
        'button "Stop" [disabled]',
        'region "What it wrote"',
    ):
        assert line in tree, line


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_the_screen(browser: Any, path: Path, scheme: str) -> None:
    visit = Visit(browser, path, color_scheme=scheme)
    ground = visit.page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (ground == "rgb(21, 24, 28)") == (scheme == "dark")
    visit.written(length=300)
    for width, height in SIZES:
        visit.page.set_viewport_size({"width": width, "height": height})
        visit.page.evaluate(DRAWN)
        size = visit.page.evaluate(
            "[document.documentElement.scrollWidth, document.documentElement.scrollHeight]"
        )
        assert size[0] <= width
        assert width < 700 or size[1] <= height
        assert visit.page.evaluate("document.querySelector('.cells').clientHeight") >= 60
    left, bottom = visit.page.evaluate(
        """[...document.querySelectorAll(".cells")].map((cells) => cells.getBoundingClientRect())
        .map((box) => [box.left, box.bottom]).at(-1)"""
    )
    visit.page.mouse.click(left + 2, bottom - 2)
    assert ", layer 2, unit 12: z = " in visit.text("#here")
    visit.close()
