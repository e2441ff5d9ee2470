"""What ``torch.func`` and derivatives of higher order ask of a layer.

Derivatives of any order are the composite's, made of ``torch.func.vjp``, which nests in every
transform and in ordinary autograd: the gradient as a function, its transpose, tangents.

`vmap` makes samples rows of one batch where they share their weights: a row's result does not
depend on the other rows, so folding changes no bit. Where each sample has weights of its own, or
wants a gradient of the weights for itself, the kernels run once per sample.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd import forward_ad

from grus.kernels import Steps
from grus.layers.parameters import Binding

Function = Callable[..., tuple[Tensor, ...]]

# torch's own annotations: one leaves out that vjp may have two results, one has none.
_vjp: Callable[..., tuple[Any, Callable[..., Any]]] = torch.func.vjp  # type: ignore[assignment]
_unpack: Callable[..., Any] = forward_ad.unpack_dual


def gradients(
    bound: Binding, steps: Steps, needs: tuple[bool, ...], *rest: Tensor
) -> tuple[Tensor, ...]:
    """The gradients of the tensors that ``needs`` names; ``rest`` is (dy, *d(final states),
    *tensors)."""
    grads, tensors = rest[: 1 + bound.states], rest[1 + bound.states :]
    every = pullback(bound.composite, (steps,), tensors, grads)
    return tuple(g for g, need in zip(every, needs, strict=True) if need)


def pullback(
    f: Function, fixed: tuple[Any, ...], at: Sequence[Tensor], grads: Sequence[Tensor]
) -> tuple[Tensor, ...]:
    """The gradient of ``f(*fixed, *at)`` by ``at``, given that of its results."""
    _, pull = _vjp(lambda *tensors: f(*fixed, *tensors), *at)
    pulled: tuple[Tensor, ...] = pull(tuple(grads))
    return pulled


def replayed(
    f: Function, fixed: tuple[Any, ...], at: Sequence[Tensor], grads: Sequence[Tensor]
) -> list[Tensor | None]:
    """The same by ordinary autograd, outside of every transform: None where no gradient is due."""
    again = torch.is_grad_enabled()
    with torch.enable_grad():
        # Views, because one of ``at`` may itself have been computed from another one.
        at = [t.view_as(t) if t.requires_grad else t for t in at]
        results = f(*fixed, *at)
    wanted = [t for t in at if t.requires_grad]
    due = iter(torch.autograd.grad(results, wanted, grads, create_graph=again, allow_unused=True))
    return [next(due) if t.requires_grad else None for t in at]


def replayed_gradients(
    bound: Binding, steps: Steps, needs: tuple[bool, ...], *rest: Tensor
) -> tuple[Tensor, ...]:
    """`gradients` by ordinary autograd, to be differentiated by it once more."""
    grads, tensors = rest[: 1 + bound.states], rest[1 + bound.states :]
    every = replayed(bound.composite, (steps,), tensors, grads)
    pairs = zip(every, tensors, needs, strict=True)
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
            moved_results: tuple[Tensor, ...] = torch.func.jvp(
                lambda *t: f(*fixed, *t), at, tangents
            )[1]
            return moved_results
        results, pull = _vjp(lambda *tensors: f(*fixed, *tensors), *at)
        _, transpose = _vjp(pull, tuple(torch.zeros_like(r) for r in results))
        (transposed,) = transpose(tangents)
    return tuple(transposed)


Apply = Callable[..., tuple[Tensor, ...]]
Dims = Sequence[int | None]


def vmapped(
    apply: Apply,
    samples: int,
    dims: Dims,
    bound: Binding,
    steps: Steps,
    tensors: tuple[Tensor, ...],
) -> tuple[tuple[Tensor, ...], tuple[int | None, ...]]:
    """Results of all samples, and where their axis of samples is: (output, what backward
    reads of it, saved, *final).

    What is saved by a folded call stays folded, without an axis of samples.
    """
    if not shares_weights(bound, steps, dims):
        each = [apply(bound, steps, *picked(tensors, dims, k)) for k in range(samples)]
        stacked = tuple(torch.stack(results) for results in zip(*each, strict=True))
        return stacked, (0,) * len(stacked)
    results = apply(bound, fold_steps(steps, samples), *fold_all(bound, samples, dims, tensors))
    output, read, saved, *final = results
    states = [unfold(state, 0, samples) for state in final]
    return (unfold(output, 1, samples), read, saved, *states), (1, None, None, *(0 for _ in states))


def vmapped_gradients(
    run: Apply,
    apply: Apply,
    samples: int,
    dims: Dims,
    bound: Binding,
    steps: Steps,
    needs: tuple[bool, ...],
    *rest: Tensor,
) -> tuple[tuple[Tensor, ...], tuple[int, ...]]:
    """The same for the gradients; ``rest`` is (output, saved, dy, *d(final), *tensors)."""
    places = dims[3:]
    count = 3 + bound.states
    grads, tensors = rest[2:count], rest[count:]
    folded = is_folded(bound, steps, places[count:])
    if folded and not any(needs[1 + bound.states :]):
        results = apply(
            bound,
            fold_steps(steps, samples),
            needs,
            *rest[:2],
            *_fold_rows(grads, places[2:count], samples),
            *fold_all(bound, samples, places[count:], tensors),
        )
        axes = [1 if k == 0 else 0 for k, need in enumerate(needs) if need]
        return tuple(
            unfold(g, axis, samples) for g, axis in zip(results, axes, strict=True)
        ), tuple(axes)
    each = []
    for k in range(samples):
        sample = picked(rest, places, k)
        if folded:
            _, read, saved, *_ = run(bound, steps, *sample[count:])
            sample = (read, saved, *sample[2:])
        each.append(apply(bound, steps, needs, *sample))
    stacked = tuple(torch.stack(results) for results in zip(*each, strict=True))
    return stacked, (0,) * len(stacked)


def _fold_rows(tensors: tuple[Tensor, ...], dims: Dims, samples: int) -> tuple[Tensor, ...]:
    """dy has time before batch, states have not."""
    places = zip(tensors, dims, (1, *(0 for _ in tensors[1:])), strict=True)
    return tuple(fold(t, dim, axis, samples) for t, dim, axis in places)


def shares_weights(bound: Binding, steps: Steps, dims: Dims) -> bool:
    """True where no weight has an axis of samples; masks that are drawn would differ by row."""
    return steps.seed is None and all(dim is None for dim in dims[1 + bound.states :])


def is_folded(bound: Binding, steps: Steps, dims: Dims) -> bool:
    """True where `vmapped` folded: samples differ in x or in the initial states alone."""
    return shares_weights(bound, steps, dims) and any(dim is not None for dim in dims)


def picked(tensors: tuple[Tensor, ...], dims: Dims, k: int) -> tuple[Tensor, ...]:
    """One sample of each."""
    return tuple(
        t if dim is None else t.select(dim, k) for t, dim in zip(tensors, dims, strict=True)
    )


def fold_all(
    bound: Binding, samples: int, dims: Dims, tensors: tuple[Tensor, ...]
) -> tuple[Tensor, ...]:
    """x and the initial states with their samples as rows; the weights as they are."""
    first = 1 + bound.states
    return *_fold_rows(tensors[:first], dims[:first], samples), *tensors[first:]


def fold(tensor: Tensor, dim: int | None, axis: int, samples: int) -> Tensor:
    """Samples become part of ``axis``, sample by sample; without samples, copies do."""
    if dim is None:
        wide = tensor.unsqueeze(axis)
        sizes = [*tensor.shape]
        sizes.insert(axis, samples)
        return wide.expand(sizes).flatten(axis, axis + 1)
    return tensor.movedim(dim, axis).flatten(axis, axis + 1)


def unfold(tensor: Tensor, axis: int, samples: int) -> Tensor:
    """Back to an axis of samples before ``axis``."""
    shape = tensor.shape
    return tensor.reshape(*shape[:axis], samples, shape[axis] // samples, *shape[axis + 1 :])


def fold_steps(steps: Steps, samples: int) -> Steps:
    """Every sample has the same lengths and resets."""
    lengths, resets = steps.lengths, steps.resets
    return replace(
        steps,
        lengths=None if lengths is None else np.tile(lengths, samples),
        resets=None if resets is None else np.tile(resets, (1, samples)),
    )
