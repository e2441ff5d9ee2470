"""A text that is being read: every value of every step, and the state to go on from."""

from __future__ import annotations

from typing import Any

import numpy as np

from grus import kernels
from grus.page.network import CharacterNetwork

Array = np.ndarray[Any, np.dtype[Any]]


class Reading:
    """What a network computed for a text so far.

    When the text changes, only what comes after its unchanged beginning is computed: the state is
    carried. The kernels run one step after another, so the bits are those of reading it whole.
    """

    def __init__(self, network: CharacterNetwork) -> None:
        self.network = network
        self.ids = np.zeros(0, np.int64)
        count = len(network.layers)
        self.inputs: list[Array] = [np.zeros((0, 0))] * count
        self.values: list[dict[str, Array]] = [{} for _ in range(count)]
        self.computed = 0
        """Steps that the last `read` computed; the others were kept."""

    def read(self, ids: Array) -> None:
        """Make the text ``ids``, int64 [time]."""
        shared = min(len(ids), len(self.ids))
        differ = np.flatnonzero(ids[:shared] != self.ids[:shared])
        kept = int(differ[0]) if len(differ) else shared
        self._cut(kept)
        self.computed = len(ids) - kept
        if self.computed:
            self._extend(ids[kept:])
        self.ids = ids.copy()

    def state(self, layer: int, step: int) -> tuple[Array, ...]:
        """The states that ``step`` of a layer found, each [hidden]."""
        if step == 0:
            return self.network.zeros
        states = self.network.cell.states
        return tuple(self.values[layer][f"{name}_next"][step - 1] for name in states)

    def output(self, layer: int = -1) -> Array:
        """What a layer gives, [time, hidden]; the last layer's by default."""
        return self.values[layer][self.network.cell.output]

    def _cut(self, steps: int) -> None:
        self.inputs = [one[:steps] for one in self.inputs]
        self.values = [{n: v[:steps] for n, v in values.items()} for values in self.values]

    def _extend(self, ids: Array) -> None:
        network = self.network
        x = network.features[ids]
        for k, weights in enumerate(network.layers):
            found = self.values[k]
            start = tuple(state[None] for state in self.state(k, len(self.inputs[k])))
            new, _ = kernels.values(network.cell, weights, x[:, None], start, threads=1)
            rows = {name: value[:, 0] for name, value in new.items()}
            had = len(self.inputs[k]) > 0
            self.inputs[k] = np.concatenate([self.inputs[k], x]) if had else x
            self.values[k] = {
                name: np.concatenate([found[name], value]) if had else value
                for name, value in rows.items()
            }
            x = rows[network.cell.output]
