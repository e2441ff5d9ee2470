"""Traces of a trained character model: text in, a trace whose tokens are its characters out."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

from grus.traces.layer import follow
from grus.traces.recorded import Trace
from grus.traces.request import Asked, Chosen
from grus.traces.runs import open_run


def trace_text(
    path: str | os.PathLike[str],
    text: str | None,
    *,
    values: Sequence[str] | None = None,
    layers: Chosen = None,
    steps: Chosen = None,
    units: Chosen = None,
    held: Mapping[str, float] | None = None,
) -> Trace:
    """Let the model of a run read ``text`` from zero states, and record what its layers compute.

    ``path`` is a folder of ``grus train`` (its best model, or its last where nothing was held out)
    or a checkpoint file. One step is one character, or one byte for a model of bytes, and these are
    the trace's tokens. The rest is asked for as in `grus.trace`. Values ``held`` at numbers ({"z":
    1.0}) are so in every layer (`grus.hold`); they are no part of the cell and of its trace.

    A ``text`` None is the run's own: the beginning of what was held out of its training.

    Raises InputError for a path without a model, an empty text, a character that the model does not
    know, or what the layers have not or cannot hold.
    """
    reading = open_run(path, text, held or {})
    asked = Asked(values, layers, None, steps, units)
    return follow(reading.source, reading.x, None, asked, tokens=reading.symbols)
