"""PyTorch's names and layout, for any cell. Needs no torch.

``weight_ih`` stacks family W, ``weight_hh`` family U, ``bias_ih`` family b, all in the order of
the equations (r, z, n for the GRU). ``bias_hh`` holds one block per gate that has a recurrent
product: the inner bias d where the cell has one, else a second bias that is added to b, as
``nn.GRU`` and ``nn.LSTM`` keep it. Other families keep their letter: ``weight_p``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from grus.equations import Cell

Array = Any
NAMES = {"W": "weight_ih", "U": "weight_hh", "b": "bias_ih", "d": "bias_hh"}
BIASES = ("bias_ih", "bias_hh")


@dataclass(frozen=True)
class TorchRecord:
    """The parameters of one layer of ``cell`` as PyTorch lays them out."""

    cell: Cell

    @cached_property
    def gates_hh(self) -> tuple[str, ...]:
        """The gates of ``bias_hh``, in order."""
        families = self.cell.families
        inner, outer = families.get("d", ()), families.get("b", ())
        wanted = dict.fromkeys((*families.get("U", ()), *inner))
        return tuple(g for g in wanted if g in inner or g in outer)

    def shapes(self, sizes: Mapping[str, int], bias: bool = True) -> dict[str, tuple[int, ...]]:
        """Parameter name -> shape, in torch's order; ``sizes`` is the size of each axis."""
        cell = self.cell
        found = {
            NAMES.get(f, f"weight_{f}"): cell.family_shape(f, dict(sizes))
            for f in sorted(cell.families, key=lambda f: "WU".find(f) % 9)
            if f not in "bd"
        }
        if bias and "b" in cell.families:
            found["bias_ih"] = cell.family_shape("b", dict(sizes))
        if bias and self.gates_hh:
            family = "b" if "b" in cell.families else "d"
            found["bias_hh"] = (len(self.gates_hh) * sizes[cell.family_axes(family)[0]],)
        return found

    def families(
        self,
        tensors: Mapping[str, Array],
        sizes: Mapping[str, int],
        zeros: Callable[[int], Array],
        cat: Callable[[list[Array]], Array],
    ) -> dict[str, Array]:
        """Weights by family from a layer's tensors; absent biases are ``zeros``."""
        found = {
            f: tensors[NAMES.get(f, f"weight_{f}")] for f in self.cell.families if f not in "bd"
        }
        for family in "bd":
            if family in self.cell.families:
                found[family] = self._bias(family, tensors, sizes, zeros, cat)
        return found

    def _bias(
        self,
        family: str,
        tensors: Mapping[str, Array],
        sizes: Mapping[str, int],
        zeros: Callable[[int], Array],
        cat: Callable[[list[Array]], Array],
    ) -> Array:
        gates = self.cell.families[family]
        size = sizes[self.cell.family_axes(family)[0]]
        if NAMES[family] not in tensors:
            return zeros(len(gates) * size)
        inner = self.cell.families.get("d", ())
        blocks = []
        for k, gate in enumerate(gates):
            at = self.gates_hh.index(gate) if gate in self.gates_hh else None
            second = None if at is None else tensors["bias_hh"][at * size : (at + 1) * size]
            if family == "d":
                blocks.append(second)
            else:
                block = tensors["bias_ih"][k * size : (k + 1) * size]
                blocks.append(block if second is None or gate in inner else block + second)
        return blocks[0] if len(blocks) == 1 else cat(blocks)

    def gradients(
        self,
        families: Mapping[str, Array],
        names: list[str],
        cat: Callable[[list[Array]], Array],
    ) -> dict[str, Array]:
        """The gradient of each named tensor, from gradients by family: `families` turned round."""
        found = {NAMES.get(f, f"weight_{f}"): g for f, g in families.items() if f != "d"}
        if "bias_hh" in names:
            inner = self.cell.families.get("d", ())
            blocks = []
            for gate in self.gates_hh:
                family = "d" if gate in inner else "b"
                gates, stacked = self.cell.families[family], families[family]
                size = stacked.shape[0] // len(gates)
                at = gates.index(gate)
                blocks.append(stacked[at * size : (at + 1) * size])
            found["bias_hh"] = cat(blocks)
        return {name: found[name] for name in names}
