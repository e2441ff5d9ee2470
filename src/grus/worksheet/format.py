"""A worksheet as plain text or Markdown; `latex_page` and `html_page` have the other forms."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from typing import Literal

from grus.equations import text
from grus.worksheet.html_page import HtmlPage
from grus.worksheet.latex_page import LatexPage
from grus.worksheet.misreadings import Misreading
from grus.worksheet.preamble import Preamble
from grus.worksheet.wording import (
    COMPUTED,
    MISREAD,
    OTHERWISE,
    ROUNDED,
    decimal,
    last,
    title,
    vector,
)
from grus.worksheet.worksheet import Equation, Line, WorkedStep, Worksheet

Format = Literal["text", "markdown", "latex", "html"]
WIDTH = 100


def render(
    head: Preamble,
    sheet: Worksheet,
    readings: Sequence[Misreading] = (),
    form: Format = "text",
    digits: int = 5,
) -> str:
    """The whole worksheet; its first line says how x was read."""
    pages: dict[Format, type[TextPage | LatexPage | HtmlPage]]
    pages = {"text": TextPage, "markdown": MarkdownPage, "latex": LatexPage, "html": HtmlPage}
    return "\n".join(pages[form](digits).lines(head, sheet, readings)) + "\n"


class TextPage:
    """Plain text, at most 100 columns where the numbers allow it."""

    def __init__(self, digits: int) -> None:
        self.digits = digits

    def lines(
        self, head: Preamble, sheet: Worksheet, readings: Sequence[Misreading]
    ) -> Iterator[str]:
        """The whole page, line by line."""
        yield head.first
        for note in [*head.notes, COMPUTED.format(sheet.by), ROUNDED.format(self.digits)]:
            yield from self._note(note)
        if head.rows:
            yield from self._table(head.columns, head.rows)
        for step in sheet.steps:
            yield ""
            yield from self._step(step, sheet.total)
        yield ""
        yield from self._last(sheet)
        if readings:
            yield from ["", OTHERWISE]
            yield from self._table(
                MISREAD, [(vector(r.final, self.digits), str(r)) for r in readings]
            )

    def _note(self, note: str) -> Iterator[str]:
        yield from textwrap.wrap(note, WIDTH, subsequent_indent="  ")

    def _table(self, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
        yield ""
        for line in text.columns([columns, *rows]):
            yield f"  {line}".rstrip()

    def _step(self, step: WorkedStep, total: int) -> Iterator[str]:
        yield from textwrap.wrap(title(step, total, self.digits), WIDTH, subsequent_indent="  ")
        for equation in step.equations:
            yield ""
            yield from self.equation(equation)

    def equation(self, equation: Equation) -> Iterator[str]:
        """The line in symbols, then each unit with numbers."""
        yield f"  {equation.name} = {text.show(equation.symbols)}"
        for line in equation.lines:
            yield from self._unit(equation.name, line)

    def _unit(self, name: str, line: Line) -> Iterator[str]:
        unit = "" if line.unit is None else f"[{line.unit}]"
        left = f"{name}{unit}"
        for product in line.products:
            symbols = text.show(product.symbols)
            shown = f"{text.show(product.terms, self.number)} = {self.number(product.value)}"
            yield from self.wrapped(f"    {f'({symbols}){unit}' if unit else symbols} = ", shown)
        for k, stage in enumerate([*line.stages, None]):
            # One unit stands under the line in symbols; several begin with their own name.
            lead = left if k == 0 and line.unit is not None else " " * len(left)
            shown = self.number(line.value) if stage is None else text.show(stage, self.number)
            yield from self.wrapped(f"  {lead} = ", shown)

    def number(self, value: float) -> str:
        """A number as this page prints it."""
        return decimal(value, self.digits)

    def wrapped(self, lead: str, shown: str) -> Iterator[str]:
        """A long line broken before a plus sign."""
        joined = shown.replace(" * ", "\0*\0").replace("+ ", "+\0")
        for line in textwrap.wrap(
            joined,
            WIDTH,
            initial_indent=lead,
            subsequent_indent=" " * (len(lead) + 2),
            break_long_words=False,
            break_on_hyphens=False,
        ):
            yield line.replace("\0", " ")

    def _last(self, sheet: Worksheet) -> Iterator[str]:
        yield from last(sheet, self.digits)


class MarkdownPage(TextPage):
    """Markdown: tables for the head, a fenced block for each step, so that it shows anywhere."""

    def _note(self, note: str) -> Iterator[str]:
        yield f"- {self._plain(note)}"

    def _plain(self, note: str) -> str:
        for mark in "\\`*_[]<>|":
            note = note.replace(mark, f"\\{mark}")
        return note

    def _table(self, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
        yield ""
        for row in (columns, ["---"] * len(columns), *rows):
            yield f"| {' | '.join(map(self._plain, row))} |"

    def _step(self, step: WorkedStep, total: int) -> Iterator[str]:
        yield f"## {self._plain(title(step, total, self.digits))}"
        yield ""
        yield "```text"
        for k, equation in enumerate(step.equations):
            yield from [""] * (k > 0)
            yield from self.equation(equation)
        yield "```"

    def _last(self, sheet: Worksheet) -> Iterator[str]:
        for k, line in enumerate(super()._last(sheet)):
            yield from [""] * (k > 0)
            yield f"**{self._plain(line)}**"
