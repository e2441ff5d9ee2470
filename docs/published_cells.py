"""Write the page of published cells, and their diagrams, from the records.

python docs/published_cells.py
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from grus.diagram import svg
from grus.equations import structure
from grus.zoo import PUBLISHED, Published

FOLDER = Path(__file__).parent
HEAD = """# Published cells

{count} gated cells as their authors published them, each its equations and nothing else. Every
one has a reference, a PyTorch layer and a diagram; a derived gradient, kernels, worksheets and
traces as well, unless it works over images or graphs. Each goes by its name wherever a cell is
named: `grus.Recurrent("janet", 3, 4)`, `grus train --cell janet`, `grus show janet`.

```console
$ grus cells --property scan
cell      year  states  products  structure  what sets it apart
...
gilr      2018  h       0         scan       The gated impulse linear recurrent layer.
...
$ grus cells --search bistable
cell  year  states  products  structure  what sets it apart
...
$ grus cells janet
janet: An LSTM with the forget gate alone; beta = 1 lets it take in more than it forgets.

  q = W.f @ x + U.f @ h + b.f
  h_next = sigmoid(q) * h + (1 - sigmoid(q - 1)) * tanh(W.g @ x + U.g @ h + b.g)
...
```

`products` counts those with a matrix that stay inside the loop over time. `structure` is found
from the equations: `dense` where a unit's next state depends on other units' states, `diagonal`
where it does not, `scan` where it is affine in them as well (`grus show CELL --stage structure`
says why not).

Layers draw weights as torch does. Where a paper or its authors' code starts otherwise the record
says so, and `grus.Recurrent("brc", 3, 4, initial="paper")` starts that way; `grus.zoo.KINDS` has
the distributions. A start that is drawn by the longest lag that matters takes it in steps:
`grus.Recurrent("janet", 3, 4, initial="paper", longest=784)`.

Same names need not mean same cells: torchrecurrent's SCRN feeds its output back where the paper
feeds the hidden state, its FastGRNN has a tanh for a gate unless told otherwise. So each record
says where its definition was read; the tests compare {compared} of them with torchrecurrent's
numbers, the classic ones with PyTorch, Keras and others, and the rest with steps written out from
the papers by other means.

This page is made of the records: `python docs/published_cells.py`."""


def section(known: Published) -> str:
    """One cell: what sets it apart, where it comes from, its equations, its diagram."""
    of = structure(known.cell)
    kind = "a scan" if of.scan else of.jacobian
    facts = [
        f"{known.paper}, {known.year}",
        f"read in: {known.read_in}",
        f"structure: {kind}",
        *([f"starts at {known.start}"] if known.initial else []),
        *(f"needs {what}" for what in known.needs),
    ]
    return "\n".join(
        [
            f"## {known.name}",
            "",
            known.special,
            "",
            "```text",
            str(known.cell),
            "```",
            "",
            *(f"- {fact}" for fact in facts),
            "",
            f"![One step of {known.name}](cells/{known.name}.svg)",
        ]
    )


def page() -> str:
    """The whole page."""
    cells = sorted(PUBLISHED.values(), key=lambda known: known.year)
    compared = sum(known.read_in.startswith("torchrecurrent") for known in cells)
    head = HEAD.format(count=len(cells), compared=compared)
    return "\n\n".join([head.rstrip(), *map(section, cells)]) + "\n"


def files() -> Iterator[tuple[Path, str]]:
    """Every file that is made, and its text."""
    yield FOLDER / "cells.md", page()
    for name, known in PUBLISHED.items():
        yield FOLDER / "cells" / f"{name}.svg", svg(known.cell)


def main() -> None:
    """Write them."""
    (FOLDER / "cells").mkdir(exist_ok=True)
    for path, text in files():
        path.write_text(text, "utf-8")


if __name__ == "__main__":
    main()
