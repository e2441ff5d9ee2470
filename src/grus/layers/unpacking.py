"""``out, (h, c) = gru(x)``: with two rows in h_n Python would unpack it without a word."""

from __future__ import annotations

import ast
import linecache
import sys
from types import FrameType

from grus.errors import InputError

# Between the caller and a module's forward stand torch's frames, of these files.
_BETWEEN = ("torch/nn/modules/module.py", "grus/layers/")


def check(layer: str, state: str) -> None:
    """Look at the line that called a layer of one state; looked at once for each layer.

    Raises InputError where it unpacks the state into two names of which the second begins with
    c, as one does for an LSTM's cell state. A line whose source is not at hand passes.
    """
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and _is_between(frame.f_code.co_filename):
        frame = frame.f_back
    if frame is None:
        return
    line = linecache.getline(frame.f_code.co_filename, frame.f_lineno, frame.f_globals).strip()
    if "(" in line and "=" in line and _unpacks_a_cell_state(line):
        raise InputError(
            f"a {layer} has one state, {state}: write `output, {state} = layer(x)`; this line"
            f" unpacks a cell state, which an LSTM has: {line}"
        )


def _is_between(file: str) -> bool:
    name = file.replace("\\", "/")
    return any(part in name for part in _BETWEEN)


def _unpacks_a_cell_state(line: str) -> bool:
    """True for ``anything, (name, c...) = call``."""
    try:
        (statement,) = ast.parse(line).body
    except (SyntaxError, ValueError):
        return False
    if not isinstance(statement, ast.Assign) or not isinstance(statement.targets[0], ast.Tuple):
        return False
    pair = statement.targets[0].elts[-1]
    if not isinstance(pair, ast.Tuple) or len(pair.elts) != 2:
        return False
    second = pair.elts[1]
    return isinstance(second, ast.Name) and second.id.lower().startswith("c")
