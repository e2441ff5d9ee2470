"""The optimisers of a run, and what they keep, by the weights' names."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from grus.models.settings import MOMENTS, LoopSettings


def make_optimizer(parameters: list[nn.Parameter], settings: LoopSettings) -> torch.optim.Optimizer:
    """torch's optimiser of that name with one call for all parameters."""
    kinds: dict[str, Any] = {
        "adam": torch.optim.Adam,
        "sgd": torch.optim.SGD,
        "adagrad": torch.optim.Adagrad,
    }
    if settings.optimizer == "rmsprop":  # torch has no fused one
        return torch.optim.RMSprop(parameters, lr=settings.lr, foreach=True)
    kind = kinds[settings.optimizer]
    optimizer: torch.optim.Optimizer = kind(parameters, settings.lr, fused=True)
    return optimizer


def moment_names(name: str, weights: Iterable[str]) -> dict[str, tuple[str, str]]:
    """The tensors that a checkpoint holds of an optimiser: their names -> (moment, weight)."""
    return {f"{name}.{m}.{n}": (m, n) for m in MOMENTS[name] for n in weights}


def moments(
    name: str, optimizer: torch.optim.Optimizer, weights: Mapping[str, nn.Parameter]
) -> dict[str, Tensor]:
    """What the optimiser keeps, by `moment_names`; zero before the first step."""
    kept = optimizer.state
    return {
        key: kept[weights[n]][m] if m in kept.get(weights[n], ()) else torch.zeros_like(weights[n])
        for key, (m, n) in moment_names(name, weights).items()
    }


def restore_moments(
    name: str,
    optimizer: torch.optim.Optimizer,
    weights: Iterable[str],
    tensors: Mapping[str, Tensor],
    step: int,
) -> None:
    """Put `moments` back after ``step`` steps; ``weights`` in the optimiser's order."""
    if not MOMENTS[name] or not step:
        return
    at = torch.tensor(float(step))
    state = {
        k: {
            "step": at.clone(),
            **{m: tensors[f"{name}.{m}.{n}"].clone() for m in MOMENTS[name]},
        }
        for k, n in enumerate(weights)
    }
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": state, "param_groups": groups})
