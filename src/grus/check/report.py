"""What the kit found, as a table for people."""

from __future__ import annotations

import textwrap

from grus.check.judge import Judge, Part, Row, count
from grus.equations.text import counted

HEAD = ("case", "forward", "gradients")
WIDTH = 100


def report(judge: Judge) -> str:
    """A row for each case, then each failure with its cause."""
    rows = judge.rows()
    table = [HEAD, *((row.case.name, _short(row.forward), _short(row.gradients)) for row in rows)]
    widths = [max(len(line[k]) for line in table) for k in range(3)]
    lines = ["  ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)).rstrip()
             for line in table]  # fmt: skip
    lines += ["", *_causes(rows)]
    wrong = sum(1 for row in rows if "fails" in (row.forward.status, row.gradients.status))
    asked = sum(1 for row in rows if row.forward.status != "not offered")
    lines.append(
        f"{asked} of {counted(len(rows), 'case')} answered, {wrong} wrong; cell {judge.cell.name},"
        f" {judge.dtype}; {count()} mistakes known"
    )
    return "\n".join(lines) + "\n"


def failed(judge: Judge) -> bool:
    """Whether anything that was answered is wrong."""
    return any("fails" in (row.forward.status, row.gradients.status) for row in judge.rows())


def _short(part: Part) -> str:
    if part.status == "fails" and not part.cause and part.said:
        return "fails"
    if part.status == "fails":
        return f"off by {part.off:.2g}"
    return part.status if part.status == "not offered" else f"ok, {part.off:.0e}"


def _causes(rows: tuple[Row, ...]) -> list[str]:
    """Each cause once, with the cases that have it."""
    found: dict[str, list[str]] = {}
    for row in rows:
        for part, what in ((row.forward, ""), (row.gradients, " (gradients)")):
            if part.status == "fails":
                said = part.cause or part.said
                if what and part.cause and part.said:
                    said = f"{part.cause} [{part.said}]" if part.cause == "unknown" else part.cause
                found.setdefault(said, []).append(row.case.name + what)
    lines = []
    for cause, names in found.items():
        whole = f"Likely cause: {cause}. Seen in: {', '.join(names)}."
        lines += [*textwrap.wrap(whole, WIDTH, subsequent_indent="  "), ""]
    return lines
