"""Regularised and normalised layers: the options of a layer, as equations and as masks.

In training each call of a layer draws one 64-bit seed from torch's generator, so that
``torch.manual_seed`` repeats it; all masks of the call are functions of that seed
(`reference.masks`), drawn inside the kernels, and backward draws the masks of its own steps again.
In ``eval()`` the means stand for the masks: nothing is dropped, zoneout runs its expectation.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypedDict

import torch
from torch import Tensor

from grus.equations import Cell, CellError, regularised as equations
from grus.errors import InputError
from grus.kernels import Steps
from grus.layers.dispatch import Path
from grus.layers.torch_state import jit_traced
from grus.reference import words

INPUT, WEIGHT = 2**31, 2**31 + 1
"""The streams of the masks that are drawn outside the cell."""
DROPOUTS = ("recurrent_dropout", "candidate_dropout", "input_dropout", "weight_dropout")


class Options(TypedDict, total=False):
    """What a layer takes as keywords; `Regularised` says what each does."""

    layer_norm: Literal["split", "joint"] | None
    zoneout: float | Mapping[str, float]
    recurrent_dropout: float
    candidate_dropout: float
    input_dropout: float
    weight_dropout: float


class LayerOptions(Options, total=False):
    """What torch's constructors take here beside torch's own arguments; `Recurrent` has them."""

    gate_bias: Mapping[str, float] | None
    initial: Literal["torch", "paper"]
    longest: int | None
    backend: Path | None
    recompute: bool
    connect: str | None
    grid: Sequence[int] | None
    graph: Any
    blocks: int | None


@dataclass(frozen=True)
class Regularised:
    """The options of a layer. Rates are probabilities in [0, 1), 0 by default.

    ``layer_norm``: "split" normalises the products with x and with the state by themselves (Ba et
    al. 2016), "joint" each gate's whole argument; see `grus.equations.regularised`. ``zoneout``:
    the probability that a unit keeps its old value, one for all states or one by the state's name
    (Krueger et al. 2017). ``recurrent_dropout``: of the state where products read it, one mask a
    sequence (Gal and Ghahramani 2016). ``candidate_dropout``: of the candidate, a mask each step
    (Semeniuta et al. 2016). ``input_dropout``: of each layer's input, one mask a sequence.
    ``weight_dropout``: of ``weight_hh``, one mask a call (Merity et al. 2018).
    """

    layer_norm: Literal["split", "joint"] | None = None
    zoneout: float | Mapping[str, float] = 0.0
    recurrent_dropout: float = 0.0
    candidate_dropout: float = 0.0
    input_dropout: float = 0.0
    weight_dropout: float = 0.0
    given: dict[str, Any] = field(default_factory=dict, compare=False, repr=False)

    @staticmethod
    def of(options: Options) -> Regularised:
        """Checked options. Raises InputError naming the one that cannot be."""
        unknown = set(options) - set(Options.__annotations__)
        if unknown:
            raise InputError(f"a layer has no option {', '.join(sorted(unknown))}")
        norm = options.get("layer_norm")
        if norm not in (None, "split", "joint"):
            raise InputError(f'layer_norm must be "split", "joint" or None, got {norm!r}')
        for name in DROPOUTS:
            _check_rate(name, options.get(name, 0.0))
        zoneout = options.get("zoneout", 0.0)
        for state, rate in zoneout.items() if isinstance(zoneout, Mapping) else [("", zoneout)]:
            _check_rate(f"zoneout of state {state}" if state else "zoneout", rate)
        return Regularised(**options, given={k: v for k, v in options.items() if v})

    def cell(self, cell: Cell) -> Cell:
        """The cell with the options' equations. Raises CellError where it cannot have one."""
        if self.layer_norm is not None:
            norm = equations.split_norm if self.layer_norm == "split" else equations.joint_norm
            cell = norm(cell)
        if self.recurrent_dropout:
            cell = equations.recurrent_dropout(cell, self.recurrent_dropout)
        if self.candidate_dropout:
            cell = equations.candidate_dropout(cell, self.candidate_dropout)
        zoneout = self.zoneout
        rates = zoneout if isinstance(zoneout, Mapping) else dict.fromkeys(cell.states, zoneout)
        if any(rates.values()):
            cell = equations.zoneout(cell, rates)
        return cell

    def check(self, cell: Cell) -> None:
        """Raises CellError where there is nothing to drop, or more than a mask has."""
        if self.input_dropout and cell.gathers:
            raise CellError(f"cell {cell.name}: input_dropout drops no input at many positions yet")
        if self.weight_dropout and "U" not in cell.families:
            raise CellError(f"cell {cell.name} has no weights U to drop")

    @property
    def draws(self) -> bool:
        """Whether masks are drawn outside the cell."""
        return bool(self.input_dropout or self.weight_dropout)

    def outside(
        self, x: Tensor, named: dict[str, Tensor], seed: int
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """x [time, batch, input] and the parameters, with what is dropped before the cell."""
        if self.input_dropout:
            x = x * mask(x[0], self.input_dropout, seed, INPUT)
        if self.weight_dropout:
            weight = named["weight_hh"]
            dropped = weight * mask(weight, self.weight_dropout, seed, WEIGHT)
            named = {**named, "weight_hh": dropped}
        return x, named


PLAIN_CELL = Regularised()


def mask(like: Tensor, rate: float, seed: int, stream: int) -> Tensor:
    """0 with probability ``rate``, else 1 / (1 - rate), for each number of a matrix."""
    rows, units = like.shape
    kept = torch.from_numpy(words((1, rows, units), seed, stream, None)[0])
    value = 1 / (1 - rate)
    return torch.where(kept < round((1 - rate) * 2**32), value, 0.0).to(like)


@torch.compiler.disable  # type: ignore[untyped-decorator]
def drawn(steps: Steps) -> Steps:
    """The steps of one call with a seed from torch's generator; the same where torch compiles,
    which breaks the graph here, because a seed is a number that only the generator knows.

    Raises InputError where the call is traced or exported: the seed would be a constant."""
    # This is not compiled, so only torch.export is seen here; is_exporting() is not in torch 2.6.
    if jit_traced() or torch.compiler.is_compiling():
        raise InputError(
            "a layer that draws masks in training cannot be traced or exported, each call of the"
            " program would draw the same: call eval() before"
        )
    return replace(steps, seed=int(torch.randint(2**63 - 1, ())))


def _check_rate(name: str, rate: Any) -> None:
    if not isinstance(rate, int | float) or isinstance(rate, bool) or not 0 <= rate < 1:
        raise InputError(f"{name} must be a probability from 0 up and below 1, got {rate!r}")
