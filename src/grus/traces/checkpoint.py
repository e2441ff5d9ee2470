"""Traces of a trained character model: text in, a trace whose tokens are its characters out."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from grus.errors import InputError
from grus.traces.layer import follow
from grus.traces.recorded import Trace
from grus.traces.request import Asked, Chosen
from grus.traces.source import joined, read


def trace_text(
    path: str | os.PathLike[str],
    text: str,
    *,
    values: Sequence[str] | None = None,
    layers: Chosen = None,
    steps: Chosen = None,
    units: Chosen = None,
) -> Trace:
    """Let the model of a run read ``text`` from zero states, and record what its layers compute.

    ``path`` is a folder of ``grus train`` (its best model, or its last where nothing was held out)
    or a checkpoint file. One step is one character, or one byte for a model of bytes, and these are
    the trace's tokens. The rest is asked for as in `grus.trace`.

    Raises InputError for a path without a model, an empty text, a character that the model does not
    know, or what the layers have not.
    """
    import torch

    from grus.models import checkpoint, run

    if not text:
        raise InputError("there is no text to trace")
    model = checkpoint.load(run.find(Path(path))).model()
    symbols = model.architecture.vocabulary.split(text)
    ids = torch.from_numpy(model.architecture.vocabulary.encode(symbols))
    with torch.no_grad():
        x = model.features(ids[:, None])
    source = joined([read(layer) for layer in model.layers])
    asked = Asked(values, layers, None, steps, units)
    return follow(source, x, None, asked, tokens=symbols)
