"""A worksheet as LaTeX: a fragment for a document that loads amsmath."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from grus.equations import Expr, latex
from grus.worksheet.filling import ELIDED
from grus.worksheet.misreadings import Misreading
from grus.worksheet.preamble import Preamble
from grus.worksheet.wording import MISREAD, OTHERWISE, decimal, short
from grus.worksheet.worksheet import Equation, Line, WorkedStep, Worksheet

_ESCAPES = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    **{mark: f"\\{mark}" for mark in "&%$#_{}"},
}


def plain(note: str) -> str:
    """Text that LaTeX prints as it is."""
    return "".join(_ESCAPES.get(mark, mark) for mark in note)


class LatexPage:
    """Sections and ``align*`` blocks."""

    def __init__(self, digits: int) -> None:
        self.digits = digits
        self.states: Sequence[str] = ()

    def lines(
        self, head: Preamble, sheet: Worksheet, readings: Sequence[Misreading]
    ) -> Iterator[str]:
        """The whole fragment, line by line."""
        self.states = sheet.cell.states
        yield f"{plain(head.first)}."
        for note in head.notes:
            yield ""
            yield plain(note)
        yield ""
        yield f"Values are those of {plain(sheet.by)}."
        yield f"Numbers are rounded to {self.digits} decimals in print only."
        if head.rows:
            yield from self._table(head.columns, head.rows)
        for step in sheet.steps:
            yield from self._step(step, sheet.total)
        yield ""
        yield f"Last state: ${self._named(sheet.final, 't')}$."
        if sheet.cell.output == "y":
            yield f"Last output: ${self._named({'y': sheet.output}, 't')}$."
        if readings:
            yield ""
            yield OTHERWISE
            rows = [(f"${self._vector(r.final)}$", plain(str(r))) for r in readings]
            yield from self._table(MISREAD, rows, escape=False)

    def _table(
        self, columns: Sequence[str], rows: Sequence[Sequence[str]], escape: bool = True
    ) -> Iterator[str]:
        yield ""
        yield f"\\begin{{tabular}}{{{'l' * len(columns)}}}"
        for k, row in enumerate([columns, *rows]):
            cells = map(plain, row) if escape else iter(row)
            yield " & ".join(cells) + (r" \\ \hline" if k == 0 else r" \\")
        yield "\\end{tabular}"

    def _step(self, step: WorkedStep, total: int) -> Iterator[str]:
        inputs = {"x": step.x, **step.further}
        reads = f"{self._named(inputs, 't')},\\; {self._named(step.before, 't-1')}"
        yield ""
        token = "" if step.token is None else f" ({plain(repr(step.token))})"
        yield f"\\subsection*{{Step {step.number} of {total}{token}: ${reads}$}}"
        for equation in step.equations:
            yield "\\begin{align*}"
            yield " \\\\\n".join(self._equation(equation))
            yield "\\end{align*}"

    def _equation(self, equation: Equation) -> Iterator[str]:
        left = latex.value(equation.name, self.states)
        yield f"{left} &= {latex.show(equation.symbols, self.states)}"
        for line in equation.lines:
            yield from self._unit(left, line)

    def _unit(self, left: str, line: Line) -> Iterator[str]:
        name = left.removesuffix("}") + f",{line.unit}}}" if line.unit else ""
        for product in line.products:
            shown = self._show(product.terms)
            symbols = latex.show(product.symbols, self.states)
            symbols = rf"\left({symbols}\right)_{{{line.unit}}}" if line.unit else symbols
            yield f"{symbols} &= {shown} = {self._number(product.value)}"
        shown_stages = [self._show(stage) for stage in line.stages]
        for k, shown in enumerate([*shown_stages, self._number(line.value)]):
            yield f"{name if k == 0 else ''} &= {shown}".lstrip()

    def _show(self, expr: Expr) -> str:
        shown = latex.show(expr, self.states, self._number)
        return shown.replace(latex.value(ELIDED.name, ()), r"\cdots")

    def _number(self, value: float) -> str:
        return latex.power(decimal(value, self.digits))

    def _vector(self, values: Sequence[float]) -> str:
        shown = short([self._number(value) for value in values], r"\ldots")
        return shown[0] if len(shown) == 1 else "[" + ",\\, ".join(shown) + "]"

    def _named(self, values: Mapping[str, Sequence[float]], time: str) -> str:
        pairs = (
            (latex.value(name, ()).removesuffix("{t}"), self._vector(v))
            for name, v in values.items()
        )
        return ",\\; ".join(f"{name}{{{time}}} = {shown}" for name, shown in pairs)
