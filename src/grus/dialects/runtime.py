"""What weights cannot say: how a framework runs a padded batch, a reverse layer, an empty row."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Padded = Literal["zero", "repeat", "raw", "no lengths"]
Reverse = Literal["row", "tensor", "caller"]
Order = Literal["time", "processing", "caller"]
Empty = Literal["initial", "zero", "refused", "last", "unknown", "no lengths"]

SAID = {
    "zero": "0",
    "repeat": "the output before it again",
    "raw": "whatever the cell gives for padding",
    "row": "from each row's last valid step",
    "tensor": "from the end of the padded tensor",
    "time": "in time order",
    "processing": "in the order of processing",
    "initial": "the initial state",
    "refused": "refused",
    "last": "the state after all the padding",
    "unknown": "not known",
    "no lengths": "no lengths at all",
}


@dataclass(frozen=True, slots=True)
class Runtime:
    """A framework's switches that no conversion of weights can change."""

    padded: Padded = "no lengths"
    """The output past a row's length."""
    reverse: Reverse = "caller"
    """Where a reverse direction begins."""
    order: Order = "caller"
    """In which order a reverse direction's outputs come."""
    empty: Empty = "no lengths"
    """The final state of a row of length 0."""
    backward: bool = True
    """True where one direction alone can run backward."""

    def __str__(self) -> str:
        if self.padded == "no lengths":
            said = [SAID["no lengths"]]
        else:
            said = [f"padding: {SAID[self.padded]}", f"length 0: {SAID[self.empty]}"]
        if self.reverse == "caller":
            return "; ".join([*said, "a reverse direction is left to the caller"])
        return "; ".join([*said, f"reverse: {SAID[self.reverse]}, {SAID[self.order]}"])
