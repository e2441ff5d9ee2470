"""PyTorch's names and layout, for any cell. Needs no torch.

``weight_ih`` stacks family W, ``weight_hh`` family U, ``bias_ih`` family b, all in the order of
the equations (r, z, n for the GRU). ``bias_hh`` holds one block per gate that has a recurrent
product: the inner bias d where the cell has one, else a second bias that is added to b, as
``nn.GRU`` and ``nn.LSTM`` keep it. ``weight_hr`` is family V, a projection after the state, and
comes last. Other families keep their letter: ``weight_p``.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from grus.dialects.tensor_layout import ADDED, Tensor as Packed, TensorLayout, pair, second
from grus.equations import Cell, Weight
from grus.errors import InputError

Array = Any
NAMES = {"W": "weight_ih", "U": "weight_hh", "b": "bias_ih", "d": "bias_hh"}
# Beside these, which every torch layer has: the LSTM's projection, the gains and the shift of
# layer norms, the gate of a highway to the layer above.
_TENSORS = {
    **{**NAMES, "V": "weight_hr"},
    **{"gx": "gain_ih", "gh": "gain_hh", "ga": "gain", "gc": "gain_c", "sc": "shift_c"},
    **{"highway": "highway_weight", "highway_bias": "highway_bias"},
}
BIASES = ("bias_ih", "bias_hh")


@dataclass(frozen=True)
class TorchRecord:
    """The parameters of one layer of ``cell`` as PyTorch lays them out."""

    cell: Cell
    text: str = field(init=False, repr=False, compare=False)
    """The cell's name and equations, from which `cell_of` makes it again."""

    def __post_init__(self) -> None:
        """Work out everything that a call reads: torch's compiler traces neither the lock of a
        cached property nor its writing to a frozen object, and before 2.10 it takes no argument of
        `torch.compiler.assume_constant_result` but plain values, such as ``text``."""
        object.__setattr__(self, "text", f"{self.cell.name}\n{self.cell}")
        for value in (self.cell, self):
            for name, kept in vars(type(value)).items():
                if isinstance(kept, cached_property):
                    getattr(value, name)

    def __setstate__(self, state: dict[str, Any]) -> None:
        object.__setattr__(self, "cell", state["cell"])
        self.__post_init__()

    @staticmethod
    def cell_of(text: str) -> Cell:
        """The cell whose record has this ``text``."""
        name, _, equations = text.partition("\n")
        return Cell.parse(equations, name, unused=True)

    @cached_property
    def gates_hh(self) -> tuple[str, ...]:
        """The gates of ``bias_hh``, in order."""
        families = self.cell.families
        inner, outer = families.get("d", ()), families.get("b", ())
        wanted = dict.fromkeys((*families.get("U", ()), *inner))
        return tuple(g for g in wanted if g in inner or g in outer)

    @cached_property
    def tensors(self) -> tuple[Packed, ...]:
        """What each tensor holds, in torch's order."""
        families = self.cell.families
        order = sorted((f for f in families if f not in "bdV"), key=lambda f: "WU".find(f) % 9)
        stacks = {self.tensor(f): [Weight(f, g) for g in families[f]] for f in (*order, "b")
                  if f in families}  # fmt: skip
        stacks["bias_hh"] = [second(self.cell, gate) for gate in self.gates_hh]
        stacks[_TENSORS["V"]] = [Weight("V", gate) for gate in families.get("V", ())]
        return tuple(Packed(name, (tuple(blocks),)) for name, blocks in stacks.items() if blocks)

    @cached_property
    def _blocks(self) -> dict[str, tuple[Weight, ...]]:
        return {tensor.name: tensor.blocks for tensor in self.tensors}

    def shapes(self, sizes: Mapping[str, int], bias: bool = True) -> dict[str, tuple[int, ...]]:
        """Parameter name -> shape, in torch's order; ``sizes`` is the size of each axis.

        Raises InputError for a cell whose families this layout cannot hold.
        """
        self._check()
        found = {}
        for name, blocks in self._blocks.items():
            family = blocks[0].family
            if name == "bias_hh":
                family = "b" if "b" in self.cell.families else "d"
            rows, *columns = self.cell.weight_shape(family, sizes)
            if bias or name not in BIASES:
                found[name] = (len(blocks) * rows, *columns)
        return found

    def _check(self) -> None:
        cell, families = self.cell, self.cell.families
        if {"b", "d"} <= set(families) and cell.family_axes("b") != cell.family_axes("d"):
            axes = f"{cell.family_axes('b')[0]} and {cell.family_axes('d')[0]}"
            raise InputError(
                f"cell {cell.name}: b and d are stored as torch's two biases of one layer, which"
                f" have one size, but theirs are {axes}; name one of them by another letter"
            )
        if any(len(cell.family_axes(f)) != 1 for f in families if f in ("b", "d")):
            raise InputError(f"cell {cell.name}: b and d are biases, vectors, and no matrices")
        names: dict[str, str] = {}
        for family in families:
            other = names.setdefault(self.tensor(family), family)
            if other != family:
                raise InputError(
                    f"cell {cell.name}: the families {other} and {family} would both be stored as"
                    f" {self.tensor(family)}; name one of them by another letter"
                )

    def families(
        self,
        tensors: Mapping[str, Array],
        size: int,
        zeros: Callable[[int], Array],
        cat: Callable[[list[Array]], Array],
        add: Callable[[Array, Array], Array] = operator.add,
    ) -> dict[str, Array]:
        """Weights by family from a layer's tensors; ``size`` is the length of one gate's bias,
        absent biases are ``zeros``, two biases of one gate are one by ``add``."""
        every = self.cell.families
        found = {family: tensors[self.tensor(family)] for family in every if family not in "bd"}
        for family in (f for f in "bd" if f in every):
            if NAMES[family] not in tensors:
                found[family] = zeros(len(every[family]) * size)
                continue
            runs = [_read(run, tensors, size, add) for run in self._runs[family]]
            found[family] = runs[0] if len(runs) == 1 else cat(runs)
        return found

    def pair(self, tensors: Mapping[str, Array], size: int) -> tuple[Array, Array] | None:
        """The two biases of all gates whose sum is b; None where it has not both. Arrays alone."""
        if not set(BIASES) <= set(tensors):
            return None
        biases = {name: tensors[name] for name in BIASES}
        return pair(self.cell, TensorLayout(self.tensors).cut(biases, (size, 0)), size)

    @staticmethod
    def tensor(family: str) -> str:
        """The name of the tensor of a family."""
        return _TENSORS.get(family, f"weight_{family}")

    def gates(self, name: str) -> int:
        """How many gates are stacked in a tensor."""
        return len(self._blocks[name])

    def bias_size(self, tensors: Mapping[str, Array]) -> int:
        """The length of one gate's bias: of the biases, else of a weight that has their axis; 0 for
        a cell without biases. Raises InputError where no tensor tells it."""
        families = self.cell.families
        axes = [self.cell.family_axes(f)[0] for f in "bd" if f in families]
        for name in BIASES if axes else ():
            if name in tensors:
                return int(tensors[name].shape[0]) // self.gates(name)
        for family in families if axes else ():
            for k, axis in enumerate(self.cell.family_axes(family)):
                if family not in "bd" and axis == axes[0]:
                    size = int(tensors[self.tensor(family)].shape[k])
                    if k:
                        return self.cell.operand_size(family, size)
                    return size // len(families[family])
        if axes:
            raise InputError(f"cell {self.cell.name}: no weight tells how long a bias is")
        return 0

    @cached_property
    def _runs(self) -> dict[str, list[_Run]]:
        """For b and d: stretches of gates that are made in the same way."""
        places: dict[Weight, dict[str, int]] = {}
        for name in BIASES:
            for k, block in enumerate(self._blocks.get(name, ())):
                weight = Weight("b", block.gate) if block.family == ADDED else block
                places.setdefault(weight, {})[name] = k
        found: dict[str, list[_Run]] = {}
        for family in "bd":
            runs = found.setdefault(family, [])
            for gate in self.cell.families.get(family, ()):
                at = places[Weight(family, gate)]
                first, gates = runs[-1] if runs else ({}, 0)
                if runs and at == {name: k + gates for name, k in first.items()}:
                    runs[-1] = first, gates + 1
                else:
                    runs.append((at, 1))
        return found

    def gradients(
        self,
        families: Mapping[str, Array],
        names: list[str],
        cat: Callable[[list[Array]], Array],
    ) -> dict[str, Array]:
        """The gradient of each named tensor, from gradients by family: `families` turned round."""
        found = {}
        for name in names:
            blocks = self._blocks[name]
            if name == "bias_hh":
                found[name] = cat([self._part(families, block) for block in blocks])
            else:
                found[name] = families[blocks[0].family]
        return found

    def _part(self, families: Mapping[str, Array], block: Weight) -> Array:
        family = "b" if block.family == ADDED else block.family
        gates, stacked = self.cell.families[family], families[family]
        size, at = stacked.shape[0] // len(gates), gates.index(block.gate)
        return stacked[at * size : (at + 1) * size]


_Run = tuple[dict[str, int], int]
"""Consecutive gates: where their blocks begin in bias_ih and in bias_hh, and how many they are."""


def _read(
    run: _Run, tensors: Mapping[str, Array], size: int, add: Callable[[Array, Array], Array]
) -> Array:
    first, gates = run
    parts = [tensors[name][at * size : (at + gates) * size] for name, at in first.items()]
    return parts[0] if len(parts) == 1 else add(*parts)


def current(module: Any, names: Iterable[str]) -> dict[str, Any]:
    """The tensors of those names as the next call in evaluation reads them, ``module`` unchanged.

    What torch makes anew before each call is made here too: the old ``weight_norm`` and
    ``spectral_norm`` and ``prune`` are hooks that leave a tensor behind, which is old once an
    optimizer has stepped; parametrizations make it whenever it is asked for.
    """
    made = {}
    for hook in module._forward_pre_hooks.values():
        if hasattr(hook, "apply_mask"):  # torch.nn.utils.prune
            made[hook._tensor_name] = hook.apply_mask(module)
        elif hasattr(hook, "n_power_iterations"):  # torch.nn.utils.spectral_norm
            made[hook.name] = hook.compute_weight(module, do_power_iteration=False)
        elif hasattr(hook, "compute_weight"):  # torch.nn.utils.weight_norm
            made[hook.name] = hook.compute_weight(module)
    with _still(module):
        return {n: made[n] if n in made else getattr(module, n) for n in names}


@contextmanager
def _still(module: Any) -> Iterator[None]:
    """Parametrizations in evaluation: in training some change with each look at them."""
    inner = list(module.parametrizations.modules()) if hasattr(module, "parametrizations") else []
    before = [one.training for one in inner]
    try:
        for one in inner:
            one.training = False
        yield
    finally:
        for one, training in zip(inner, before, strict=True):
            one.training = training
