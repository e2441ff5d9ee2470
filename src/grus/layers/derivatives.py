"""Derivatives of any order by the composite: the gradient as a function, its transpose, tangents.

All are made of ``torch.func.vjp``, which nests in every transform and in ordinary autograd.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad

from grus.kernels import Steps
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
    f: Function, fixed: tuple[Any, ...], at: Sequence[Tensor], given: Sequence[Tensor]
) -> list[Tensor | None]:
    """The same by ordinary autograd, outside of every transform: None where no gradient is due."""
    again = torch.is_grad_enabled()
    with torch.enable_grad():
        # Views, because one of ``at`` may itself have been computed from another one.
        at = [t.view_as(t) if t.requires_grad else t for t in at]
        results = f(*fixed, *at)
    wanted = [t for t in at if t.requires_grad]
    found = iter(torch.autograd.grad(results, wanted, given, create_graph=again, allow_unused=True))
    return [next(found) if t.requires_grad else None for t in at]


def replayed_gradients(
    bound: Binding, steps: Steps, needs: tuple[bool, ...], *rest: Tensor
) -> tuple[Tensor, ...]:
    """`gradients` by ordinary autograd, to be differentiated by it once more."""
    given, tensors = rest[: 1 + bound.states], rest[1 + bound.states :]
    found = replayed(bound.composite, (steps,), tensors, given)
    pairs = zip(found, tensors, needs, strict=True)
    return tuple(torch.zeros_like(t) if g is None else g for g, t, need in pairs if need)


def pushed(
    f: Function, fixed: tuple[Any, ...], at: Sequence[Tensor], moved: Sequence[Tensor | None]
) -> tuple[Tensor, ...]:
    """The tangent of ``f(*fixed, *at)`` where ``at`` moves by ``moved`` (None: it stands still).

    Under functorch, forward mode nests. Outside of it torch has one level of it, which is taken
    here; but a gradient is linear in what it is given, and the transpose of that map is the
    tangent.
    """
    tangents = tuple(
        torch.zeros_like(t) if m is None else m.contiguous() for t, m in zip(at, moved, strict=True)
    )
    # torch turns forward mode off here, which would silently end an outer jvp of this one.
    with forward_ad._set_fwd_grad_enabled(True):
        at = tuple(_unpack(t, level=0).primal for t in at)
        if torch._C._are_functorch_transforms_active():
            found: tuple[Tensor, ...] = torch.func.jvp(lambda *t: f(*fixed, *t), at, tangents)[1]
            return found
        results, pull = _vjp(lambda *tensors: f(*fixed, *tensors), *at)
        _, transpose = _vjp(pull, tuple(torch.zeros_like(r) for r in results))
        (transposed,) = transpose(tangents)
    return tuple(transposed)
