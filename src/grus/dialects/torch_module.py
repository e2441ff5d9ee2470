"""A torch module's weights as its next forward pass sees them, without running it. Imports no
torch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any


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
