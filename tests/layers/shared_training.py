"""What a worker process does to models in shared memory; it loads no more of torch than that."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import nn


def train(modules: Iterable[nn.Module]) -> None:
    """Two steps of gradient descent on each, as Hogwild's workers take them."""
    torch.set_num_threads(1)
    for module in modules:
        optimizer = torch.optim.SGD(module.parameters(), lr=0.1)
        torch.manual_seed(1)
        for _ in range(2):
            optimizer.zero_grad()
            module(torch.randn(6, 3, 3))[0].square().sum().backward()
            optimizer.step()
