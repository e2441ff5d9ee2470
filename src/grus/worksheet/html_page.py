"""A worksheet as one self-contained HTML page, without JavaScript, that prints well on paper."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
from typing import TYPE_CHECKING

from grus.equations import Expr, text
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

if TYPE_CHECKING:
    from grus.worksheet.worksheet import Equation, Line, WorkedStep, Worksheet

STYLE = """
.grus { font: 15px/1.5 system-ui, sans-serif; color: #1a1a1a; background: #fff; max-width: 66em;
  margin: 0 auto; padding: 1em; }
.grus h1 { font-size: 1.5em; margin: 0 0 .5em; } .grus h2 { font-size: 1.1em; margin: 2em 0 .5em;
  padding-top: .6em; border-top: 2px solid #1a1a1a; overflow-wrap: anywhere; }
.grus ul { padding-left: 1.2em; margin: .5em 0 1em; }
.grus table { border-collapse: collapse; text-align: left; }
.grus .wide { overflow-x: auto; margin: 1em 0; }
.grus .data th, .grus .data td { padding: .15em 1.2em .15em 0; border-bottom: 1px solid #ccc;
  text-align: left; }
.grus .work { font: 14px/1.6 ui-monospace, monospace; margin: .9em 0; break-inside: avoid;
  width: 100%; }
.grus .work td { vertical-align: top; padding: 0 .5em 0 0; text-align: left; }
.grus .work td:first-child { white-space: pre; text-align: right; width: 1%; }
.grus .work td:nth-child(2) { width: 1%; }
.grus .work td:last-child { overflow-wrap: anywhere; }
.grus .symbols { font-weight: 600; } .grus .product { color: #555; }
.grus .value td:last-child { font-weight: 600; color: #00509d; }
.grus .last { font-weight: 600; margin-top: 2em; }
.grus nav a { margin-right: .8em; color: #00509d; }
@media print { .grus { max-width: none; padding: 0; font-size: 11pt; } .grus nav { display: none; }
  .grus .wide { overflow: visible; } .grus .data { font-size: 9pt; }
  .grus .data th, .grus .data td { padding-right: .6em; }
  .grus .work { font-size: 9.5pt; } .grus h2 { break-after: avoid; } }
""".strip()
POLICY = "default-src 'none'; style-src 'unsafe-inline'"


def fragment(sheet: Worksheet, digits: int = 5) -> str:
    """The steps without a head, for a notebook."""
    page = HtmlPage(digits)
    words = "".join(f"<li>{escape(note)}</li>" for note in page._numbers(sheet))
    steps = "\n".join(page._sheet(sheet))
    return f'<style>{STYLE}</style>\n<div class="grus"><ul>{words}</ul>\n{steps}\n</div>'


class HtmlPage:
    """A heading for each step, a table for each equation: name, equals sign, right side."""

    def __init__(self, digits: int) -> None:
        self.digits = digits

    def lines(
        self, head: Preamble, sheet: Worksheet, readings: Sequence[Misreading]
    ) -> Iterator[str]:
        """The whole page."""
        yield "<!DOCTYPE html>"
        yield '<html lang="en"><head><meta charset="utf-8">'
        yield f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        yield '<meta name="viewport" content="width=device-width, initial-scale=1">'
        yield f"<title>Worksheet of {escape(sheet.cell.name)}</title>"
        yield f'<style>{STYLE}</style></head><body class="grus">'
        yield f"<h1>Worksheet of {escape(sheet.cell.name)}</h1>"
        yield f"<p>{escape(head.first)}</p><ul>"
        for note in [*head.notes, *self._numbers(sheet)]:
            yield f"<li>{escape(note)}</li>"
        yield "</ul>"
        if head.rows:
            yield from self._table(head.columns, head.rows)
        yield from self._contents(sheet)
        yield from self._sheet(sheet)
        if readings:
            yield f"<h2>{escape(OTHERWISE)}</h2>"
            rows = [(vector(r.final, self.digits), str(r)) for r in readings]
            yield from self._table(MISREAD, rows)
        yield "</body></html>"

    def _numbers(self, sheet: Worksheet) -> tuple[str, str]:
        return COMPUTED.format(sheet.by), ROUNDED.format(self.digits)

    def _table(self, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
        yield '<div class="wide"><table class="data"><thead><tr>'
        yield "".join(f'<th scope="col">{escape(cell)}</th>' for cell in columns)
        yield "</tr></thead><tbody>"
        for row in rows:
            yield "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>"
        yield "</tbody></table></div>"

    def _contents(self, sheet: Worksheet) -> Iterator[str]:
        if len(sheet.steps) > 1:
            links = (f'<a href="#step-{s.number}">step {s.number}</a>' for s in sheet.steps)
            yield f"<nav>{' '.join(links)}</nav>"

    def _sheet(self, sheet: Worksheet) -> Iterator[str]:
        for step in sheet.steps:
            yield from self._step(step, sheet.total)
        for line in last(sheet, self.digits):
            yield f'<p class="last">{escape(line)}</p>'

    def _step(self, step: WorkedStep, total: int) -> Iterator[str]:
        yield f'<section id="step-{step.number}">'
        yield f"<h2>{escape(title(step, total, self.digits))}</h2>"
        for equation in step.equations:
            yield from self._equation(equation)
        yield "</section>"

    def _equation(self, equation: Equation) -> Iterator[str]:
        yield '<table class="work"><tbody>'
        yield _row("symbols", equation.name, text.show(equation.symbols))
        for line in equation.lines:
            yield from self._unit(equation.name, line)
        yield "</tbody></table>"

    def _unit(self, name: str, line: Line) -> Iterator[str]:
        unit = "" if line.unit is None else f"[{line.unit}]"
        for product in line.products:
            symbols = text.show(product.symbols)
            shown = f"{self._show(product.terms)} = {self._number(product.value)}"
            yield _row("product", f"({symbols}){unit}" if unit else symbols, shown)
        for k, stage in enumerate(line.stages):
            yield _row("stage", f"{name}{unit}" if k == 0 and unit else "", self._show(stage))
        left = f"{name}{unit}" if unit and not line.stages else ""
        yield _row("value", left, self._number(line.value))

    def _show(self, expr: Expr) -> str:
        return text.show(expr, self._number)

    def _number(self, value: float) -> str:
        return decimal(value, self.digits)


def _row(kind: str, left: str, right: str) -> str:
    """One line of a calculation."""
    return f'<tr class="{kind}"><td>{escape(left)}</td><td>=</td><td>{escape(right)}</td></tr>'
