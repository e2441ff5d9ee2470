"""Networks and sessions for the page's tests: small, with random weights."""

from __future__ import annotations

import numpy as np

from grus.equations import CELLS, Cell
from grus.models.corpus import Vocabulary
from grus.page.character_network import CharacterNetwork
from grus.page.session import Session

SYMBOLS = " abcdefghijklmnopqrstuvwxyz"
HIDDEN, INPUT = 5, 3


def network(cell: Cell = CELLS["gru"], layers: int = 2, seed: int = 0) -> CharacterNetwork:
    draw = np.random.default_rng(seed)

    def normal(*shape: int) -> np.ndarray:
        return draw.normal(size=shape).astype(np.float32)

    def weights(inputs: int) -> dict[str, np.ndarray]:
        sizes = {"input": inputs, "hidden": HIDDEN}
        return {f: normal(*cell.family_shape(f, sizes)) for f in cell.families}

    stack = tuple(weights(HIDDEN if k else INPUT) for k in range(layers))
    vocabulary = Vocabulary(SYMBOLS)
    count = len(SYMBOLS)
    return CharacterNetwork(
        cell, stack, HIDDEN, normal(count, INPUT), normal(count, HIDDEN), normal(count), vocabulary
    )


def session(cell: Cell = CELLS["gru"], **how: int) -> Session:
    return Session(network(cell, **how), "a network of the tests")
