"""A character model as one HTML page that runs it: WebAssembly, its script and its style inside."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator
from dataclasses import replace
from importlib import resources
from typing import Any

import numpy as np

from grus.builds import wasm_files
from grus.builds.model import Array, Layer, Model
from grus.builds.step_program import StepProgram
from grus.equations import Cell, Name, State
from grus.equations.flat import gates
from grus.equations.text import counted
from grus.errors import InputError

SEEN = "seen_"


def watched(model: Model) -> Model:
    """The model whose state holds the gates of the last step, too: as states that no value depends
    on, ``seen_z_next = z + 0 * seen_z``.

    Raises InputError for a model that is not one of characters.
    """
    if not model.symbols:
        raise InputError("a page is of a character model, a run of grus train; this reads numbers")
    return replace(model, layers=tuple(map(_watched, model.layers)))


def _watched(layer: Layer) -> Layer:
    names = gates(layer.cell)
    seen = tuple((f"{SEEN}{g}_next", Name(g) + 0.0 * State(f"{SEEN}{g}")) for g in names)
    return replace(layer, cell=Cell(layer.cell.name, layer.cell.equations + seen, layer.cell.doc))


def page(built: StepProgram, name: str, x: Array, y: Array) -> str:
    """The page, for a `watched` model; ``x`` and ``y`` are recorded steps, which it compares.

    Raises InputError where there is no linker.
    """
    model, bits = built.model, np.ascontiguousarray(y, np.float32).view(np.uint32)
    facts = {
        "about": f"{_about(built)}, {counted(len(model.symbols), 'symbol')}, {_weights(built)}",
        "symbols": model.symbols,
        "bytes": model.unit == "byte",
        "onehot": model.embedding is None,
        "state": built.state,
        "layers": [*_layers(built)],
        "machine": built.machine.name,
        "recorded": {"x": x.tolist(), "bits": bits.tolist()},
        "size": " " * 12,  # as wide as the number that takes its place
    }
    parts = {
        "NAME": name,
        "SHAREDSTYLE": resource("shared.css"),
        "SHAREDSCRIPT": resource("shared.js"),
        "STREAMS": wasm_files.module(built, name),
        "SCRIPT": resource("page.js"),
        "WASM": base64.b64encode(wasm_files.wasm_file(built, name)).decode(),
    }
    facts["size"] = f"{len(_filled(parts | {'FACTS': _json(facts)}).encode()):12}"
    return _filled(parts | {"FACTS": _json(facts)})


def resource(file: str) -> str:
    """A file of this room. shared.css and shared.js belong to the page of `grus serve`, too."""
    return resources.files("grus.builds").joinpath(file).read_text("utf-8")


def _filled(parts: dict[str, str]) -> str:
    return re.sub(r"@([A-Z]+)@", lambda match: parts[match[1]], resource("page.html"))


def _json(facts: dict[str, Any]) -> str:
    """JSON in which no HTML parser sees an end of the script."""
    return json.dumps(facts, separators=(",", ":")).replace("<", "\\u003c")


def _about(built: StepProgram) -> str:
    """``gru of 64 units, gru of 64 units, linear``."""
    steps = ((step.cell.name, step.outputs) for step in built.steps)
    return ", ".join(f"{cell} of {size}" for cell, size in steps)


def _weights(built: StepProgram) -> str:
    kind = "int8" if built.ranges else "float32"
    return f"{counted(built.size, 'byte')} of weights in {kind}"


def _layers(built: StepProgram) -> Iterator[dict[str, Any]]:
    """The layers with a state: where each of its values stands in the model's."""
    first = 0
    for number, step in enumerate(built.steps, 1):
        values = [
            {
                "name": str(state).removeprefix(SEEN),
                "gate": str(state).startswith(SEEN),
                "first": first + at,
                "count": count,
            }
            for state, (at, count) in step.states.of.items()
        ]
        if values:
            yield {"name": f"layer {number}", "values": values}
        first += step.state
