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
            yield from self.table(head.columns, head.rows)
        for step in sheet.steps:
            yield from self.step(step, sheet.total)
        yield ""
        yield f"Last state: ${self.named(sheet.final, 't')}$."
        if sheet.cell.output == "y":
            yield f"Last output: ${self.named({'y': sheet.output}, 't')}$."
        if readings:
            yield ""
            yield OTHERWISE
            rows = [(f"${self.vector(r.final)}$", plain(str(r))) for r in readings]
            yield from self.table(MISREAD, rows, escape=False)

    def table(
        self, columns: Sequence[str], rows: Sequence[Sequence[str]], escape: bool = True
    ) -> Iterator[str]:
        """A ``tabular``."""
        yield ""
        yield f"\\begin{{tabular}}{{{'l' * len(columns)}}}"
        for k, row in enumerate([columns, *rows]):
            cells = map(plain, row) if escape else iter(row)
            yield " & ".join(cells) + (r" \\ \hline" if k == 0 else r" \\")
        yield "\\end{tabular}"

    def step(self, step: WorkedStep, total: int) -> Iterator[str]:
        """One step: what it reads, then an ``align*`` for its equations."""
        reads = f"{self.named({'x': step.x}, 't')},\\; {self.named(step.before, 't-1')}"
        yield ""
        token = "" if step.token is None else f" ({plain(repr(step.token))})"
        yield f"\\subsection*{{Step {step.number} of {total}{token}: ${reads}$}}"
        for equation in step.equations:
            yield "\\begin{align*}"
            yield " \\\\\n".join(self.equation(equation))
            yield "\\end{align*}"

    def equation(self, equation: Equation) -> Iterator[str]:
        """The line in symbols, then each unit with numbers."""
        left = latex.value(equation.name, self.states)
        yield f"{left} &= {latex.show(equation.symbols, self.states)}"
        for line in equation.lines:
            yield from self.unit(left, line)

    def unit(self, left: str, line: Line) -> Iterator[str]:
        """One unit: its long products, the line with numbers, its value."""
        name = left.removesuffix("}") + f",{line.unit}}}" if line.unit else ""
        for product in line.products:
            shown = self.show(product.terms)
            symbols = latex.show(product.symbols, self.states)
            symbols = rf"\left({symbols}\right)_{{{line.unit}}}" if line.unit else symbols
            yield f"{symbols} &= {shown} = {self.number(product.value)}"
        shown_stages = [self.show(stage) for stage in line.stages]
        for k, shown in enumerate([*shown_stages, self.number(line.value)]):
            yield f"{name if k == 0 else ''} &= {shown}".lstrip()

    def show(self, expr: Expr) -> str:
        """An expression of numbers."""
        shown = latex.show(expr, self.states, self.number)
        return shown.replace(latex.value(ELIDED.name, ()), r"\cdots")

    def number(self, value: float) -> str:
        """A number as this page prints it."""
        return latex.power(decimal(value, self.digits))

    def vector(self, values: Sequence[float]) -> str:
        """One number as it is, several as a row."""
        shown = short([self.number(value) for value in values], r"\ldots")
        return shown[0] if len(shown) == 1 else "[" + ",\\, ".join(shown) + "]"

    def named(self, values: Mapping[str, Sequence[float]], time: str) -> str:
        """``h_{t-1} = 0.1``."""
        pairs = (
            (latex.value(name, ()).removesuffix("{t}"), self.vector(v))
            for name, v in values.items()
        )
        return ",\\; ".join(f"{name}{{{time}}} = {shown}" for name, shown in pairs)
