"""Derivatives of any order by the composite: the gradient as a function, its transpose, tangents.

All are made of ``torch.func.vjp``, which nests in every transform and in ordinary autograd.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad

from grus.kernels.steps import Steps
from grus.layers.binding import Binding

Function = Callable[..., tuple[Tensor, ...]]

# torch's own annotations: one leaves out that vjp may have two results, one has none.
_vjp: Callable[..., tuple[Any, Callable[..., Any]]] = torch.func.vjp  # type: ignore[assignment]
_unpack: Callable[..., Any] = forward_ad.unpack_dual


def gradients(
    bound: Binding, steps: Steps, needs: tuple[bool, ...], *rest: Tensor
) -> tuple[Tensor, ...]:
    """The gradients of the tensors that ``needs`` names; ``rest`` is (dy, *d(final states),
    *tensors)."""
    given, tensors = rest[: 1 + bound.states], rest[1 + bound.states :]
    found = pullback(bound.composite, (steps,), tensors, given)
    return tuple(g for g, need in zip(found, needs, strict=True) if need)


def pullback(
    f: Function, fixed: tuple[Any, ...], at: Sequence[Tensor], given: Sequence[Tensor]
) -> tuple[Tensor, ...]:
    """The gradient of ``f(*fixed, *at)`` by ``at``, given that of its results."""
    _, pull = _vjp(lambda *tensors: f(*fixed, *tensors), *at)
    found: tuple[Tensor, ...] = pull(tuple(given))
    return found


def replayed(
    f: Function,
    steps: Steps,
    needs: Sequence[bool],
    tensors: Sequence[Tensor],
    given: Sequence[Tensor],
) -> list[Tensor | None]:
    """The gradients that ``needs`` names by ordinary autograd, through ``f(steps, *tensors)`` run
    anew."""
    with torch.enable_grad():
        results = f(steps, *tensors)
    wanted = [t for t, need in zip(tensors, needs, strict=True) if need]
    again = torch.is_grad_enabled()
    found = iter(torch.autograd.grad(results, wanted, given, create_graph=again, allow_unused=True))
    return [next(found) if need else None for need in needs]


def pushed(
    f: Function, fixed: tuple[Any, ...], at: Sequence[Tensor], moved: Sequence[Tensor | None]
) -> tuple[Tensor, ...]:
    """The tangent of ``f(*fixed, *at)`` where ``at`` moves by ``moved`` (None: it stands still).

    A gradient is linear in what it is given, and the transpose of that linear map is the tangent;
    forward mode would not nest where torch has only one level of it.
    """
    tangents = tuple(
        torch.zeros_like(t) if m is None else m.contiguous() for t, m in zip(at, moved, strict=True)
    )
    # torch turns forward mode off here, which would silently end an outer jvp of this one.
    # torch turns forward mode off here, which would silently end an outer jvp of this one.
    with forward_ad._set_fwd_grad_enabled(True):
        at = [_unpack(t, level=0).primal for t in at]
        results, pull = _vjp(lambda *tensors: f(*fixed, *tensors), *at)
        _, transpose = _vjp(pull, tuple(torch.zeros_like(r) for r in results))
        (found,) = transpose(tangents)
    return tuple(found)
