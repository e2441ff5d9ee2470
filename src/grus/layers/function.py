"""One layer on the kernels as autograd functions: eager calls and every ``torch.func`` transform.

`_Ordinary` is what an ordinary call with gradients runs, as lean as torch allows. `_Sequence` does
the same under functorch, whose rules it keeps: what backward needs is an output, vmap folds or
loops (`transforms`). A gradient that may itself be differentiated is the result of `_Gradients`,
which runs the backward kernel and whose own derivatives are the composite's, at any depth.
Tangents are the composite's, too; the values beside them stay the kernel's.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad

from grus.dialects import TorchRecord
from grus.kernels import PLAIN, Steps
from grus.layers import kernel_calls
from grus.layers.parameters import Binding, bind
from grus.layers.torch_state import profiled, shown, traced
from grus.layers.transforms import (
    gradients,
    pullback,
    pushed,
    replayed,
    replayed_gradients,
    vmapped,
    vmapped_gradients,
)
from grus.runtime import Adjoint, Forward, Forwards

_transformed = torch._C._are_functorch_transforms_active
"""What autograd functions themselves ask to know whether vmap, grad, jvp ... are under way."""
_wrapped = torch._C._functorch.is_functorch_wrapped_tensor
"""True for a transform's own tensors, which a pullback of ``func.vjp`` still holds when the
transform is over."""
_batched = torch._C._functorch.is_legacy_batchedtensor
"""True for the gradients of ``torch.autograd.grad(..., is_grads_batched=True)``, which come from an
older vmap that asks no function for its rule."""
_hooked = getattr(torch._C._autograd, "_top_saved_tensors_default_hooks", bool)
"""The hooks that saved tensors go through, or None; torch before 2.8 cannot be asked: they are
assumed."""
_graph_stays = torch._C._autograd._get_current_graph_task_keep_graph
"""Whether the backward under way may be followed by another."""


def sequence(
    record: TorchRecord,
    x: Tensor,
    start: tuple[Tensor, ...],
    named: dict[str, Tensor],
    steps: Steps = PLAIN,
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """One layer over ``x`` [time, batch, input]: (output, final states).

    ``named`` holds the layer's parameters under torch's names; all are float32 or all float64,
    on the CPU. Any derivative, any ``torch.func`` transform: docs/derivatives.md.
    """
    tensors = (x, *start, *named.values())
    bound = bind(record, tuple(named))
    if _transformed():
        output, _, _, *final = _Sequence.apply(bound, steps, *tensors)  # type: ignore[no-untyped-call]
    elif _recorded(tensors):
        output, *final = ordinary(bound, steps, None, *tensors)
    else:
        output, state, _ = kernel_calls.forward(bound, steps, tensors, keep=False)
        return output, state
    return output, tuple(final)


def _recorded(tensors: tuple[Tensor, ...]) -> bool:
    """True where torch keeps a derivative of what is computed now, tangents included: those are
    kept under ``no_grad``, too."""
    if torch.is_grad_enabled():
        for tensor in tensors:
            if tensor.requires_grad:
                return True
    return tangents()


def tangents() -> bool:
    """True inside ``torch.autograd.forward_ad.dual_level``."""
    return forward_ad._current_level >= 0


class _Ordinary(torch.autograd.Function):
    """An ordinary call, no transform being under way. Inputs (binding, steps, a call that is known
    or None, *tensors), outputs (output, *final states)."""

    @staticmethod
    def forward(
        ctx: Any,
        bound: Binding,
        steps: Steps,
        known: tuple[Forwards, Forward] | None,
        *tensors: Tensor,
    ) -> tuple[Tensor, ...]:
        if known is None:
            output, final, saved = kernel_calls.forward(bound, steps, tensors, keep=True)
        else:
            calls, call = known
            output, final, saved = calls.again(call, tensors[: calls.count], steps, keep=True)
        ctx.bound, ctx.steps = bound, steps
        keep(ctx, output, saved, *tensors)
        if forward_ad._current_level >= 0:
            ctx.save_for_forward(*tensors)
        return output, *final

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Any, ...]:
        def again(_: Tensor, *tensors: Tensor) -> Tensor:
            return kernel_calls.forward(ctx.bound, ctx.steps, tensors, keep=False)[0]

        output, saved, *tensors = kept(ctx, grads[0], again)
        needs = ctx.needs_input_grad[3:]
        call = Adjoint(ctx.steps, needs, output, saved, grads, tuple(tensors))
        return None, None, None, *gradients_of(ctx.bound, call)

    @staticmethod
    def jvp(ctx: Any, *moved: Any) -> tuple[Tensor, ...]:
        return pushed(ctx.bound.composite, (ctx.steps,), ctx.saved_tensors, moved[3:])


ordinary: Callable[..., tuple[Tensor, ...]] = _Ordinary.apply


def keep(ctx: Any, output: Tensor, *rest: Tensor | None) -> None:
    """Keep for backward the rest, as ``saved_tensors``, and what it reads of the output.

    The caller may change the output in place, as he may torch's. So an output that is read lies
    beside the tensors whose changes are errors, and costs no copy; hooks get one, since a tensor on
    its way through them (offloaded, packed, made again by a checkpoint) counts no changes.
    """
    ctx.output, ctx.hooked = None, False
    if ctx.bound.reads_output:
        if _hooked(True) is None:
            ctx.output = output.detach()
        else:
            ctx.hooked, rest = True, (output.clone(), *rest)
    ctx.save_for_backward(*rest)


def kept(ctx: Any, dy: Tensor, again: Callable[..., Tensor]) -> tuple[Any, ...]:
    """(output, *rest) as they were kept: an output that was changed since is made once more by
    ``again(*rest)``, bit for bit, and in place of one that is not read stands ``dy``."""
    rest, output = ctx.saved_tensors, ctx.output
    if ctx.hooked:
        return tuple(rest)
    if output is None:
        return dy, *rest
    if not _graph_stays():
        ctx.output = None  # as torch lets go of what is saved
    if output._version and not traced():
        output = again(*rest)
    return output, *rest


def followed(grads: tuple[Tensor, ...]) -> bool:
    """Whether anything might differentiate the gradients, or replaces what computes them."""
    return (
        any(map(_batched, grads))
        or traced()
        or torch.is_grad_enabled()
        or _transformed()
        or forward_ad._current_level >= 0
    )


def gradients_of(bound: Binding, call: Adjoint) -> list[Tensor | None]:
    """The gradients of the tensors, as something to differentiate where anything might."""
    steps, needs, output, saved, grads, tensors = call
    if not followed(grads):
        if profiled():
            with shown("backward", bound.cell, tensors[0], tensors[1:]):
                return kernel_calls.backward(bound, call)
        return kernel_calls.backward(bound, call)
    if any(map(_batched, grads)):
        return replayed(bound.composite, (steps,), tensors, grads)
    if traced():
        every = pullback(bound.composite, (steps,), tensors, grads)
        return [g if need else None for g, need in zip(every, needs, strict=True)]
    due = _Gradients.apply(bound, steps, needs, output, saved, *grads, *tensors)  # type: ignore[no-untyped-call]
    each = iter(due)
    return [next(each) if need else None for need in needs]


def read_back(bound: Binding, output: Tensor) -> Tensor:
    """What backward reads of the output: a copy, or numbers without memory where it reads none."""
    return output.clone() if bound.reads_output else output.new_zeros(()).expand(output.shape)


class _Sequence(torch.autograd.Function):
    """The same for functorch. Outputs (output, what backward reads of it, saved, *final states)."""

    @staticmethod
    def forward(bound: Binding, steps: Steps, *tensors: Tensor) -> tuple[Tensor, ...]:
        output, final, saved = kernel_calls.forward(bound, steps, tensors, keep=True)
        assert saved is not None
        return output, read_back(bound, output), saved, *final

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], outputs: tuple[Tensor, ...]) -> None:
        ctx.bound, ctx.steps, *tensors = inputs
        ctx.mark_non_differentiable(*outputs[1:3])
        ctx.save_for_backward(*outputs[1:3], *tensors)
        ctx.save_for_forward(*tensors)

    @staticmethod
    def backward(ctx: Any, dy: Tensor, _: Any, __: Any, *dfinal: Tensor) -> tuple[Any, ...]:
        output, saved, *tensors = ctx.saved_tensors
        needs = ctx.needs_input_grad[2:]
        call = Adjoint(ctx.steps, needs, output, saved, (dy, *dfinal), tuple(tensors))
        return None, None, *gradients_of(ctx.bound, call)

    @staticmethod
    def jvp(ctx: Any, *moved: Any) -> tuple[Any, ...]:
        dy, *dfinal = pushed(ctx.bound.composite, (ctx.steps,), ctx.saved_tensors, moved[2:])
        return dy, None, None, *dfinal

    @staticmethod
    def vmap(
        info: Any, dims: tuple[Any, ...], bound: Binding, steps: Steps, *tensors: Tensor
    ) -> Any:
        return vmapped(_Sequence.apply, info.batch_size, dims[2:], bound, steps, tensors)


class _Gradients(torch.autograd.Function):
    """The gradients of those tensors that ``needs`` names, in order.

    Inputs (binding, steps, needs, output, saved, dy, *d(final states), *tensors). ``output`` and
    ``saved`` are functions of the tensors, so their own derivatives are counted there.
    """

    @staticmethod
    def forward(
        bound: Binding,
        steps: Steps,
        needs: tuple[bool, ...],
        output: Tensor,
        saved: Tensor,
        *rest: Tensor,
    ) -> tuple[Tensor, ...]:
        grads, tensors = rest[: 1 + bound.states], rest[1 + bound.states :]
        gradients = kernel_calls.backward(
            bound, Adjoint(steps, needs, output, saved, grads, tensors)
        )
        return tuple(g for g in gradients if g is not None)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], outputs: tuple[Tensor, ...]) -> None:
        del outputs
        ctx.bound, ctx.steps, ctx.needs = inputs[:3]
        ctx.save_for_backward(*inputs[5:])
        ctx.save_for_forward(*inputs[5:])

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Any, ...]:
        fixed, at = (ctx.bound, ctx.steps, ctx.needs), ctx.saved_tensors
        if _transformed() or tangents() or any(map(_wrapped, at)):
            return (None,) * 5 + pullback(gradients, fixed, at, grads)
        return (None,) * 5 + tuple(replayed(replayed_gradients, fixed, at, grads))

    @staticmethod
    def jvp(ctx: Any, *moved: Any) -> tuple[Tensor, ...]:
        return pushed(gradients, (ctx.bound, ctx.steps, ctx.needs), ctx.saved_tensors, moved[5:])

    @staticmethod
    def vmap(info: Any, dims: tuple[Any, ...], *inputs: Any) -> Any:
        return vmapped_gradients(_Sequence.apply, _Gradients.apply, info.batch_size, dims, *inputs)
