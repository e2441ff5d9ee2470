"""One layer of a network, stored in a file or trained: its weights and input, to be worked out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from grus.dialects import Dialect, Layout, Network, Unpacked
from grus.equations import expected, text
from grus.equations.axes import sizes
from grus.kernels import UnsupportedCellError
from grus.kernels.backend import backend
from grus.worksheet.explained import Explanation, initial_states
from grus.worksheet.preamble import Context

Array = Any


@dataclass(frozen=True, eq=False)
class NetworkLayer:
    """One layer of a network."""

    name: str
    """The network's path in the file, followed by the number of the layer where it is a stack."""
    network: Network
    layer: int
    dialect: Dialect | None
    """In which the file stores it; None for a model of this project."""

    def __str__(self) -> str:
        both = ", forward and backward" if self.network.directions == 2 else ""
        cell, hidden = self.network.cell.name, self.network.hidden_size
        return f"{self.name} ({cell}, {text.counted(hidden, 'unit')}{both})"

    def explained(
        self,
        x: Array,
        file: str,
        h0: str = "",
        direction: str = "forward",
        tokens: Sequence[str] | None = None,
    ) -> Explanation:
        """The layer over the network's input ``x`` [time, input], in the network's dtype.

        ``file`` is named in the sheet's head; ``h0`` is text, default zeros. Raises InputError.
        """
        network, at = self.network, int(direction == "backward")
        x = np.asarray(x, network.dtype if network.dtype in (np.float32, np.float64) else "f4")
        notes = [f"direction: {direction}"] if network.directions == 2 else []
        if self.layer:
            x = self.below(x)
            notes.append(f"x: the output of layer {self.layer} of the stack")
        backward = network.reverse or bool(at)
        if backward:
            notes.append("the steps are taken from the last to the first")
        weights = {f: np.asarray(w, x.dtype) for f, w in network.layers[self.layer][at].items()}
        axes = sizes(network.cell, weights, x.shape[1])
        dialect = self.dialect
        side = dialect.gates_in if dialect else "rows"
        unpacked = Unpacked(weights, axes, side, 2)  # b may be the sum of two of the file's
        layout = Layout.of(dialect) if dialect and dialect.plain else Layout()
        start = initial_states(network.cell, unpacked, h0)
        source = f"{file}, layer {self.name}"
        context = Context("", dialect, layout, start, source, None, tuple(notes))
        return Explanation(network.cell, unpacked, x, context, tokens, backward)

    def below(self, x: Array) -> Array:
        """The output of the layers below, by the kernels if they can run them."""
        network, layer = self.network, self.layer
        below = replace(
            network,
            cell=expected(network.cell),
            layers=network.layers[:layer],
            pairs=network.pairs[:layer],
        )
        if backend() == "kernels":
            try:
                return below.run(x[:, None], kernels=True).output[:, 0]
            except UnsupportedCellError:  # the sheet's head says the same of the layer itself
                pass
        return below.run(x[:, None]).output[:, 0].astype(x.dtype)


def stack(name: str, network: Network, dialect: Dialect | None = None) -> list[NetworkLayer]:
    """Every layer of a network; the only one of a single layer has the network's name."""
    count = len(network.layers)
    return [
        NetworkLayer(name if count == 1 else f"{name}:{k + 1}", network, k, dialect)
        for k in range(count)
    ]
