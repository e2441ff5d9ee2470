"""What tests of models to build share."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from grus.builds import Model
from grus.reference import run

FLOAT64 = 1e-11
"""Sums of up to 100 numbers of size 1 in float64 over up to 20 steps and 6 layers: 100 * 2**-53 *
120 = 1.4e-12. A gate in another place, or a bias left out, shows in the first digits."""
FLOAT32 = 2.0**-24


def numbers(*shape: int, seed: int = 0) -> np.ndarray:
    """Normal numbers in float32."""
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


@torch.no_grad()
def coarse(module: nn.Module) -> nn.Module:
    """The module with its parameters at multiples of 1/1024, so that float32 holds the sum of two
    biases exactly."""
    for parameter in module.parameters():
        parameter.copy_((parameter * 1024).round() / 1024)
    return module


def in_float64(model: Model, x: np.ndarray) -> np.ndarray:
    """The model over x [time, inputs] by the reference: what its equations mean."""
    x = x.astype(np.float64)[:, None]
    for layer in model.layers:
        weights = {family: w.astype(np.float64) for family, w in layer.weights.items()}
        start = x.shape[2] if not layer.weights else layer.outputs
        zero = tuple(np.zeros((1, start)) for _ in layer.cell.states)
        x = run(layer.cell, weights, x, None if layer.weights else zero).output
    return x[:, 0]


@torch.no_grad()
def by_torch(module: nn.Module, x: np.ndarray) -> np.ndarray:
    """What the module gives in evaluation, in float64, for one sequence as a batch of one."""
    doubled = module.double().eval()
    return doubled(torch.from_numpy(x).double()[None]).numpy()[0]
