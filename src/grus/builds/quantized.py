"""What int8 costs a character model: bits per character before and after."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from grus.builds.model import Array, Model
from grus.builds.step_program import StepProgram
from grus.builds.targets import int8_program, simulated
from grus.errors import InputError
from grus.kernels import MACHINES


@dataclass(frozen=True)
class Quantized:
    """Mean bits of each next character, and bytes of the weights, of a model in float32 and with
    int8 matrices; the most that a sum of products can differ by; characters that were read."""

    bits: tuple[float, float]
    bytes: tuple[int, int]
    worst: float
    characters: int


def quantized(model: Model, text: str) -> Quantized:
    """Read a text with a character model as it is and with int8 matrices, both from the state 0.

    Raises InputError for a model without symbols, a character that it does not have, a text of
    fewer than two, and for a cell whose operands are not bounded.
    """
    if not model.symbols:
        raise InputError("only a character model has bits per character")
    index = {symbol: k for k, symbol in enumerate(model.symbols)}
    unknown = next((c for c in text if c not in index), None)
    if unknown is not None or len(text) < 2:
        what = f"has no {unknown!r}" if unknown else "needs a text of two characters and more"
        raise InputError(f"the model {what}")
    symbols = np.array([index[c] for c in text])
    plain = StepProgram(model, MACHINES["sse2"])
    small, (worst,) = int8_program(model, plain.machine, None, None)
    read: Array = symbols[:-1]
    if model.embedding is None:
        read = np.eye(len(model.symbols), dtype=np.float32)[read]
    bits = [_bits(simulated(program, read), symbols[1:]) for program in (plain, small)]
    return Quantized((bits[0], bits[1]), (plain.size, small.size), worst, len(text))


def _bits(logits: Array, following: Array) -> float:
    """The mean of -log2 of the probability of what follows."""
    shifted = logits.astype(np.float64) - logits.max(1, keepdims=True)
    total = np.log(np.exp(shifted).sum(1))
    return float((total - shifted[np.arange(len(following)), following]).mean() / np.log(2))
