"""Hypotheses, with those that are one function by construction taken together."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from grus.dialects.records import DIALECTS
from grus.equations import Cell, Weight
from grus.identification.fit import Fit, is_dialect, is_option
from grus.identification.variants import Variant, variants

Array = Any


@dataclass(frozen=True, eq=False)
class Hypothesis:
    """One set of equations, and one way to read the weights for them."""

    variant: Variant
    fit: Fit

    @cached_property
    def dialects(self) -> tuple[str, ...]:
        """The dialects that are just this, by name; those whose names the tensors have first."""
        found = [d.name for d in DIALECTS if is_dialect(d, self.fit, self.variant)]
        return tuple(sorted(found, key=lambda name: name not in self.fit.own))

    @cached_property
    def options(self) -> tuple[str, ...]:
        """The dialects that are this with activations that their users can choose."""
        return tuple(d.name for d in DIALECTS if is_option(d, self.fit, self.variant))

    @property
    def said(self) -> str:
        """The equations and the reading in words."""
        side = "columns" if self.fit.columns else "rows"
        order = " ".join(self.fit.order)
        gates = f"; gates {order} in the {side}" if len(self.fit.gates) > 1 else f"; in {side}"
        turned = ", blocks as CuDNN has them" if self.fit.turned else ""
        shift = "".join(f"; {more:g} added to b.{gate}" for gate, more in self.fit.shift)
        return f"{self.variant.said}{gates}{turned}{self._biases}{shift}"

    @property
    def _biases(self) -> str:
        cell = self.variant.cell
        held = [
            " / ".join(" ".join(w.name for w in part) for part in parts)
            for parts in self.fit.held(cell)
            if parts[0][0].family not in "WU"
        ]
        return f"; biases {' | '.join(held)}" if held else ""


@dataclass(eq=False)
class Function:
    """Hypotheses whose results are the same whatever x and h0 are."""

    cell: Cell
    weights: dict[Weight, Array]
    hidden: int
    inputs: int
    hypotheses: list[Hypothesis] = field(default_factory=list)

    @property
    def dialects(self) -> tuple[str, ...]:
        """Every dialect that is this function with these weights, in the order of the records;
        those whose names the tensors have come first."""
        found = {name for one in self.hypotheses for name in one.dialects}
        own = self.hypotheses[0].fit.own
        listed = [d.name for d in DIALECTS if d.name in found]
        return tuple(sorted(listed, key=lambda name: name not in own))

    @property
    def options(self) -> tuple[str, ...]:
        """The dialects that are this function with activations that their users can choose."""
        found = {name for one in self.hypotheses for name in one.options}
        return tuple(d.name for d in DIALECTS if d.name in found)

    @property
    def papers(self) -> tuple[str, ...]:
        """Dialects that print these equations and have no tensors."""
        cells = {one.variant.cell for one in self.hypotheses}
        return tuple(d.name for d in DIALECTS if not d.tensors and d.cell in cells)

    @property
    def first(self) -> Hypothesis:
        """The hypothesis that names it: one that is a dialect, where there is one."""
        by_name = (one for one in self.hypotheses if one.dialects)
        by_option = (one for one in self.hypotheses if one.options)
        return next(by_name, None) or next(by_option, self.hypotheses[0])

    @property
    def said(self) -> str:
        """The equations and the reading in words."""
        return self.first.said


def functions(found: Iterable[Fit]) -> list[Function]:
    """Every hypothesis over these readings, merged into functions.

    Two are one function when their equations and all their weights are equal. Reset after and
    before the product are one where U.n is diagonal (one unit, say) and the inner bias is 0:
    r * (U h) and U (r * h) are then the same products.
    """
    merged: dict[tuple[object, ...], Function] = {}
    for fit in found:
        made: dict[tuple[object, ...], tuple[dict[Weight, Array], bytes]] = {}
        for variant in variants(fit.gates):
            cell, weights, mark = _read(fit, variant.cell, made)
            if variant.twin is not None and _commutes(weights):
                cell, weights, mark = _read(fit, variant.twin, made)
            function = merged.setdefault(
                (cell, mark, fit.hidden), Function(cell, weights, fit.hidden, fit.inputs)
            )
            function.hypotheses.append(Hypothesis(variant, fit))
    return list(merged.values())


def _read(
    fit: Fit, cell: Cell, made: dict[tuple[object, ...], tuple[dict[Weight, Array], bytes]]
) -> tuple[Cell, dict[Weight, Array], bytes]:
    if cell.weights not in made:
        weights = fit.weights(cell)
        made[cell.weights] = weights, _mark(weights)
    return cell, *made[cell.weights]


def _mark(weights: Mapping[Weight, Array]) -> bytes:
    """Equal for equal weights; -0 counts as 0. Whatever the order in which a cell reads them."""
    digest = hashlib.blake2b(digest_size=16)
    for weight in sorted(weights, key=lambda w: w.name):
        digest.update(f"{weight.name} {weights[weight].shape}".encode())
        digest.update(np.ascontiguousarray(weights[weight] + 0.0).tobytes())
    return digest.digest()


def _commutes(weights: Mapping[Weight, Array]) -> bool:
    matrix, inner = weights[Weight("U", "n")], weights[Weight("d", "n")]
    return not inner.any() and not (matrix - np.diag(np.diag(matrix))).any()
