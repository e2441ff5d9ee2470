"""The page in a browser: type, click a step, switch the dialect, hold a gate, by mouse and keys.

Every test sees to it that the console stays silent and that no other host is asked for anything.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

pytest.importorskip("torch")
pytest.importorskip("starlette")
pytest.importorskip("uvicorn")
pytest.importorskip("plotly")
pytest.importorskip("playwright.sync_api")

LASAGNE = "Lasagne GRULayer"
TEXT = "the quick brown fox"
DIMMED = """[...document.querySelectorAll("#plot, #next, #sheet, #equations")].map((part) => {
  while (part.parentElement.tagName !== "SECTION") part = part.parentElement;
  return getComputedStyle(part).opacity;
})"""
SIZES = [(1366, 768), (1366, 650), (1024, 768), (400, 800)]


class Visit:
    """The page in one tab, with all that it says and asks for."""

    def __init__(self, page: Any, address: str) -> None:
        self.page, self.address = page, address
        self.said: list[str] = []
        self.hosts: set[str] = set()
        page.on("console", lambda message: self.said.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: self.said.append(str(error)))
        page.on("request", lambda request: self.hosts.add(urlsplit(request.url).netloc))
        page.goto(address)
        page.wait_for_selector("body[data-ready]")

    def settled(self) -> None:
        """Wait until what was asked last is shown."""
        self.until("!busy && !again")

    def until(self, what: str) -> None:
        """Wait until an expression of the page is true. The page's policy allows no text as code,
        so it is asked from outside, again and again."""
        for _ in range(600):
            if self.page.evaluate(what):
                return
            self.page.wait_for_timeout(50)
        raise AssertionError(f"never came true: {what}")

    def type(self, text: str) -> None:
        self.page.fill("#text", text)
        self.settled()

    def text(self, selector: str) -> str:
        return str(self.page.inner_text(selector))

    def predictions(self) -> str:
        return self.text("#next")

    def click_cell(self, step: int, unit: int) -> None:
        """Click a cell of the picture, both counted from 1."""
        x, y = self.page.evaluate(
            """([step, unit]) => {
              const plot = document.getElementById("plot"), size = plot._fullLayout;
              const box = plot.getBoundingClientRect();
              return [box.x + size.xaxis._offset + size.xaxis.d2p(step),
                      box.y + size.yaxis._offset + size.yaxis.d2p(unit)];
            }""",
            [step, unit],
        )
        self.page.mouse.move(x - 3, y)
        self.page.mouse.move(x, y)
        self.page.mouse.click(x, y)
        self.until(f"asked.step === {step - 1} && asked.unit === {unit - 1}")
        self.settled()


@pytest.fixture
def visit(browser: Any, address: str) -> Iterator[Visit]:
    context = browser.new_context(viewport={"width": 1366, "height": 768})
    made = Visit(context.new_page(), address)
    yield made
    assert made.said == []
    assert made.hosts <= {urlsplit(address).netloc, ""}  # "" is data: of the page itself
    context.close()


def test_it_begins_with_a_text_that_is_read(visit: Visit) -> None:
    assert "characters read" in visit.text("#message")
    assert visit.page.locator("#plot .heatmaplayer image").count() == 1
    assert visit.page.locator("#next li").count() == 8
    assert "h_next" in visit.text("#equations")
    assert visit.page.evaluate("document.activeElement.id") == "text"


def test_each_character_typed_changes_picture_and_predictions(visit: Visit) -> None:
    visit.type("")
    assert visit.page.locator("#next li").count() == 0
    seen = []
    for k in range(1, 6):
        visit.page.focus("#text")
        visit.page.keyboard.type(TEXT[k - 1])
        visit.until(f"answer.steps === {k}")
        visit.settled()
        assert visit.page.evaluate("document.getElementById('plot').data[0].z[0].length") == k
        seen.append(visit.predictions())
    assert len(set(seen)) == len(seen)


def test_an_unknown_character_is_said_and_then_forgotten(browser: Any, address: str) -> None:
    context = browser.new_context()
    visit = Visit(context.new_page(), address)
    visit.type("the Ω")
    assert "'Ω' is not in the model's vocabulary" in visit.text("#message")
    assert visit.text("#message").endswith("Dimmed below: the answer before.")
    assert set(visit.page.evaluate(DIMMED)) == {"0.35"}
    visit.type("the")
    assert visit.text("#message") == "3 characters read"
    assert set(visit.page.evaluate(DIMMED)) == {"1"}
    # The browser itself notes the refused request; the page adds nothing.
    assert [line for line in visit.said if "400" not in line] == []
    context.close()


def test_it_says_that_it_loads_until_it_can_be_used(browser: Any, address: str) -> None:
    context = browser.new_context()
    page = context.new_page()
    held: list[Any] = []

    def hold(route: Any) -> None:
        held.append(route)

    page.route("**/look", hold)
    page.goto(address, wait_until="commit")
    assert "Loading" in page.inner_text("#message")
    while not held:
        page.wait_for_timeout(50)
    before = "getComputedStyle(document.getElementById('hold'), '::before').content"
    assert page.evaluate(before) == '"loading …"'
    held.pop().continue_()
    page.wait_for_selector("body[data-ready]")
    assert page.evaluate(before) == "none"
    assert "characters read" in page.inner_text("#message")
    context.close()


@pytest.mark.parametrize("width", [1280, 390])
def test_no_message_moves_the_picture(browser: Any, address: str, width: int) -> None:
    context = browser.new_context(viewport={"width": width, "height": 800})
    visit = Visit(context.new_page(), address)
    visit.type("the")
    before = visit.page.locator("#plot").bounding_box()
    visit.type("the Ω")
    assert visit.page.locator("#plot").bounding_box() == before
    message = "[message.scrollHeight, message.clientHeight]"
    needed, kept = visit.page.evaluate(message)
    assert needed <= kept
    context.close()


def test_the_picture_keeps_to_its_box(visit: Visit) -> None:
    visit.type(TEXT)
    visit.page.evaluate("document.getElementById('text').style.height = '130px'")
    visit.until("plot.querySelector('svg').clientHeight === plot.clientHeight")


def test_a_click_shows_the_worksheet_of_that_step_and_unit(visit: Visit) -> None:
    visit.type(TEXT)
    visit.click_cell(5, 3)
    assert visit.text("#work-title") == "Worksheet: step 5 “q”"
    assert "Unit 3 of layer 1" in visit.text("#sheet")
    assert "z[3] = sigmoid(" in visit.text("#sheet")
    shown = visit.text("#here").split("=")[-1].strip()
    (line,) = visit.page.locator("#sheet h3:has-text('z = ') ~ .value").all_inner_texts()[:1]
    assert line.split("=")[-1].strip() == shown


def test_a_click_is_heard_after_the_text_was_emptied(visit: Visit) -> None:
    for _ in range(2):
        visit.type("")
        visit.type(TEXT)
        visit.click_cell(5, 3)
        assert visit.text("#work-title") == "Worksheet: step 5 “q”"


def test_the_keyboard_goes_through_steps_and_units(visit: Visit) -> None:
    visit.type(TEXT)
    visit.page.focus("#plot")
    for key in ("Home", "ArrowRight", "ArrowRight", "ArrowDown", "ArrowLeft", "ArrowDown"):
        visit.page.keyboard.press(key)
    visit.settled()
    assert visit.text("#here").startswith("Step 2 “h”, unit 3: z = ")
    visit.page.keyboard.press("End")
    visit.settled()
    assert visit.text("#here").startswith(f"Step {len(TEXT)} ")
    visit.page.keyboard.press("ArrowLeft")
    visit.page.keyboard.press("Escape")
    visit.settled()
    assert visit.page.evaluate("document.activeElement.id") == "text"
    assert visit.text("#here").startswith(f"Step {len(TEXT)} ")


def test_tab_reaches_everything_and_focus_is_seen(visit: Visit) -> None:
    here = (
        "[document.activeElement.id || document.activeElement.type, document.activeElement.tagName]"
    )
    outline = "getComputedStyle(document.activeElement).outlineStyle"
    reached, tag = visit.page.evaluate(here)
    order = []
    while tag != "BODY" and len(order) < 40:  # after the last the browser's own bar is next
        assert visit.page.evaluate(outline) != "none", reached
        order.append(reached)
        visit.page.keyboard.press("Tab")
        reached, tag = visit.page.evaluate(here)
    wanted = ["text", "value", "layer", "plot", "checkbox", "range", "dialect", "unit", "sheet"]
    found = [order.index(name) for name in wanted]
    assert found == sorted(found)


def test_every_control_has_a_name(visit: Visit) -> None:
    tree = visit.page.locator("body").aria_snapshot()
    for line in (
        'textbox "Type something"',
        'combobox "Show"',
        'combobox "Said as in"',
        'checkbox "hold z"',
        'slider "z is held at"',
        'spinbutton "Unit"',
    ):
        assert line in tree, line


def test_another_dialect_says_the_same_function(visit: Visit) -> None:
    visit.type(TEXT)
    before, equations = visit.predictions(), visit.text("#equations")
    visit.page.select_option("#dialect", LASAGNE)
    visit.settled()
    assert visit.predictions() == before
    assert visit.text("#equations") != equations
    assert "hidden_update" in visit.text("#equations")
    assert "(1 - z) * h + z * hidden_update" in visit.text("#equations")
    assert "hidden_update" in visit.text("#sheet")
    assert "the same function" in visit.text("#same")
    assert visit.page.locator("#dialect option:disabled").count() > 5
    visit.page.click("#cannot summary")
    assert "resets before the product" in visit.text("#cannot")


def test_a_held_gate_shows_both_predictions_until_it_is_released(visit: Visit) -> None:
    visit.type(TEXT)
    before = visit.predictions()
    visit.page.check(".gate:has-text('hold z') input[type=checkbox]")
    visit.settled()
    assert visit.page.locator("#next.two li").count() == 8
    assert visit.page.locator("#next .held").count() == 8
    assert "held" in visit.text("#bits")
    halves = visit.predictions()
    visit.page.focus(".gate:has-text('hold z') input[type=range]")
    visit.page.keyboard.press("Home")
    visit.settled()
    assert visit.text(".gate:has-text('hold z') output") == "0.00"
    assert "z" not in visit.text("#equations").split("h_next")[0]
    assert visit.predictions() != halves
    visit.page.select_option("#dialect", LASAGNE)
    visit.settled()
    assert visit.text(".gate:has-text('hold z') output") == "1.00"
    visit.page.select_option("#dialect", "")
    visit.page.click("#release")
    visit.settled()
    assert visit.predictions() == before


def test_a_state_that_never_changes_has_a_worksheet(visit: Visit) -> None:
    visit.type(TEXT)
    visit.page.focus(".gate:has-text('hold z') input[type=range]")
    visit.page.keyboard.press("End")
    visit.settled()
    visit.click_cell(4, 2)
    assert "h_next = h" in visit.text("#sheet")


def test_the_other_layer_is_looked_at(visit: Visit) -> None:
    visit.type(TEXT)
    first = visit.text("#sheet")
    visit.page.select_option("#layer", index=1)
    visit.settled()
    assert "of layer 2" in visit.text("#sheet")
    assert visit.text("#sheet") != first


def test_it_is_saved_as_a_page_that_runs_alone(browser: Any, address: str, tmp_path: Path) -> None:
    """And where the server refuses, its sentence is shown."""
    context = browser.new_context()
    visit = Visit(context.new_page(), address)
    visit.page.route(
        "**/save", lambda route: route.fulfill(status=400, json={"error": "install lld"})
    )
    visit.page.click("#save")
    visit.until("at('message').textContent === 'install lld'")
    visit.page.unroute("**/save")
    if not (shutil.which("wasm-ld") or find_spec("ziglang")):
        pytest.skip("there is no wasm-ld")
    visit.type(TEXT)
    with visit.page.expect_download() as download:
        visit.page.click("#save")
    assert download.value.suggested_filename == "model.html"
    download.value.save_as(tmp_path / "model.html")
    visit.until("at('message').textContent.startsWith('Saved as model.html')")
    likeliest = visit.page.locator("#next .symbol").all_inner_texts()[:5]
    page = context.new_page()
    page.goto((tmp_path / "model.html").as_uri())
    page.wait_for_selector("body[data-ready]")
    page.fill("#text", TEXT)
    assert page.locator("#next .symbol").all_inner_texts() == likeliest
    context.close()


def test_markup_that_is_typed_stays_text(visit: Visit, monkeypatch: pytest.MonkeyPatch) -> None:
    label = visit.page.evaluate(
        "label('<') + label('&') + label('\\n') + label('\\u0007') + label('$')"
    )
    assert label == "&lt;&amp;⏎\\x07&#36;"


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", SIZES, ids=lambda s: f"{s[0]}x{s[1]}")
def test_it_fits_the_screen(
    browser: Any, address: str, size: tuple[int, int], scheme: str, tmp_path: Path
) -> None:
    width, height = size
    context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme)
    visit = Visit(context.new_page(), address)
    visit.type(TEXT)
    page = visit.page.evaluate(
        "[document.documentElement.scrollWidth, document.documentElement.scrollHeight]"
    )
    assert page[0] <= width
    if width > 1180:
        assert page[1] <= height
    assert visit.page.locator("#plot").bounding_box()["height"] > 200
    assert visit.said == []
    context.close()


def test_a_page_elsewhere_cannot_ask_it(browser: Any, address: str) -> None:
    context = browser.new_context()
    page = context.new_page()
    page.route("http://elsewhere.example/", lambda route: route.fulfill(body="<p>"))
    page.goto("http://elsewhere.example/")
    got = page.evaluate(
        """async (address) => {
          const body = JSON.stringify({text: "a"}), headers = {"content-type": "application/json"};
          const post = {method: "POST", body};
          const tries = [{...post, headers}, {...post, mode: "no-cors"}, {}];
          const found = [];
          for (const how of tries) {
            try { found.push(await (await fetch(address + "look", how)).text()); }
            catch (error) { found.push("refused"); }
          }
          return found;
        }""",
        address,
    )
    assert got == ["refused"] * 3
    context.close()


def test_console_errors_and_foreign_requests_would_be_seen(browser: Any, address: str) -> None:
    context = browser.new_context()
    visit = Visit(context.new_page(), address)
    visit.page.evaluate(
        """() => {
          const script = document.createElement("script");
          script.src = "http://elsewhere.example/x.js";
          document.head.append(script);
          return new Promise((done) => { script.onerror = () => done(1); });
        }"""
    )
    assert any("Content Security Policy" in line for line in visit.said)
    context.close()
