"""One layer on the kernels as an operator of torch's dispatcher: what ``torch.compile`` and
``torch.export`` put into their graphs, and what ``FlopCounterMode`` counts of it.

``grus::sequence`` names its cell by the text of its equations, so that an exported program means
the same in another process that has imported `grus.layers`. Its gradient is
``grus::sequence_backward``, which has none of its own: torch raises there. The operator refuses to
run in forward mode, where torch would take its tangent for zero without a word.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.utils.flop_counter import register_flop_formula

from grus import kernels
from grus.dialects import TorchRecord
from grus.equations import Apply, Expr, Input, State, Weight, linear, without_blocks
from grus.kernels import Steps
from grus.layers import composite, function, kernel_calls
from grus.layers.parameters import Binding, bind
from grus.layers.torch_state import constant, jit_traced
from grus.runtime import Adjoint, check_steps


@constant
def planned(text: str) -> str:
    """A record's ``text``, where the kernels can run its cell: else it raises while compiling."""
    kernels.make_plan(TorchRecord.cell_of(text))
    return text


@lru_cache(maxsize=256)
def bound_to(cell: str, names: str) -> Binding:
    """The binding that the operator's first two arguments name."""
    return bind(TorchRecord(TorchRecord.cell_of(cell)), tuple(names.split()))


def sequence(
    record: TorchRecord,
    x: Tensor,
    start: tuple[Tensor, ...],
    named: dict[str, Tensor],
    steps: Steps,
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """As `function.sequence`, through the operator. ``steps`` may hold tensors, whose values are
    looked at when the operator runs."""
    tensors = [x, *start, *named.values()]
    # A trace serves calls with gradients and without, whichever it was made in.
    grads = torch.is_grad_enabled() and any(t.requires_grad for t in tensors)
    keep = grads or jit_traced()
    results = _sequence(
        planned(record.text), " ".join(named), keep, tensors, len(start), _tensor(steps.lengths),
        _tensor(steps.resets), steps.reset_to, steps.reverse, steps.seed, steps.recompute,
    )  # fmt: skip
    output, *final = results[: 1 + len(start)]
    return output, tuple(final)


def _tensor(value: Any) -> Tensor | None:
    return value if value is None or isinstance(value, Tensor) else torch.from_numpy(value)


def _steps(x: Tensor, *options: Any) -> Steps:
    """Of `STEPS`. Raises InputError for values that could not be seen while compiling."""
    lengths, resets, reset_to, reverse, seed, recompute = options
    counts = None if lengths is None else lengths.numpy()
    begins = None if resets is None else resets.numpy()
    steps = check_steps(
        tuple(x.shape[:2]), lengths=counts, resets=begins, reset_to=reset_to, reverse=reverse
    )
    return replace(steps, seed=seed, recompute=recompute)


def _families(bound: Binding, tensors: Sequence[Tensor]) -> Any:
    return composite.families(bound.record, bound.named(tuple(tensors)))


def _kept(bound: Binding, tensors: Sequence[Tensor], steps: Steps) -> int:
    """How many numbers a training call keeps, the most that it may where lengths are unknown."""
    axes = kernels.axis_sizes(bound.cell, _families(bound, tensors))
    return kernels.saved_size(bound.cell, tensors[0].shape, axes, steps)


def _refuse_tangents() -> None:
    if forward_ad._current_level >= 0:
        raise RuntimeError(
            "a compiled or exported layer has no forward-mode derivative: call the layer itself, or"
            ' make it with backend="composite"'
        )


# The schemas are written out: what torch reads of annotations depends on its version.
STEPS = "Tensor? lengths, Tensor? resets, str reset_to, bool reverse, SymInt? seed, bool recompute"
"""The last arguments of both operators."""


@torch.library.custom_op(
    "grus::sequence",
    mutates_args=(),
    schema=f"(str cell, str names, bool keep, Tensor[] tensors, SymInt states, {STEPS})"
    " -> Tensor[]",
)
def _sequence(
    cell: str, names: str, keep: bool, tensors: Sequence[Tensor], states: int, *options: Any
) -> list[Tensor]:
    """[output, *final states, saved if ``keep``]."""
    _refuse_tangents()
    steps = _steps(tensors[0], *options)
    bound = bound_to(cell, names)
    output, final, saved = kernel_calls.forward(bound, steps, tuple(tensors), keep=keep)
    if saved is None:
        return [output, *final]
    # What is kept depends on the lengths; a graph knows only the most that it can be.
    room = _kept(bound, tensors, Steps(recompute=options[-1])) - saved.numel()
    return [output, *final, torch.nn.functional.pad(saved, (0, room)) if room else saved]


@_sequence.register_fake
def _(
    cell: str, names: str, keep: bool, tensors: Sequence[Tensor], states: int, *options: Any
) -> list[Tensor]:
    bound, x = bound_to(cell, names), tensors[0]
    size = kernels.output_size(bound.cell, _families(bound, tensors))
    results = [x.new_empty((*x.shape[:2], size))]
    results += [t.new_empty(t.shape) for t in tensors[1 : 1 + states]]
    if keep:
        results.append(x.new_empty(_kept(bound, tensors, Steps(recompute=options[-1]))))
    return results


@torch.library.custom_op(
    "grus::sequence_backward",
    mutates_args=(),
    schema="(str cell, str names, bool[] needs, Tensor output, Tensor saved, Tensor[] given,"
    f" Tensor[] tensors, {STEPS}) -> Tensor[]",
)
def _backward(
    cell: str,
    names: str,
    needs: Sequence[bool],
    output: Tensor,
    saved: Tensor,
    grads: Sequence[Tensor],
    tensors: Sequence[Tensor],
    *options: Any,
) -> list[Tensor]:
    """The gradients of those tensors that ``needs`` names."""
    _refuse_tangents()
    steps = _steps(tensors[0], *options)
    bound = bound_to(cell, names)
    kept = saved[: _kept(bound, tensors, steps)]
    call = Adjoint(steps, tuple(needs), output, kept, tuple(grads), tuple(tensors))
    gradients = kernel_calls.backward(bound, call)
    return [g for g in gradients if g is not None]


@_backward.register_fake
def _(
    cell: str,
    names: str,
    needs: Sequence[bool],
    output: Tensor,
    saved: Tensor,
    grads: Sequence[Tensor],
    tensors: Sequence[Tensor],
    *options: Any,
) -> list[Tensor]:
    return [t.new_empty(t.shape) for t, need in zip(tensors, needs, strict=True) if need]


def _setup(ctx: Any, inputs: tuple[Any, ...], output: list[Tensor]) -> None:
    ctx.cell, ctx.names, ctx.keep, tensors, ctx.states, lengths, resets, *ctx.options = inputs
    ctx.masks = lengths, resets
    read = function.read_back(bound_to(ctx.cell, ctx.names), output[0])  # the caller may change it
    ctx.save_for_backward(read, output[-1], *tensors)


def _differentiate(ctx: Any, grads: list[Tensor | None]) -> tuple[Any, ...]:
    if not ctx.keep:
        raise RuntimeError("this layer was compiled or exported without gradients: do it with them")
    output, saved, *tensors = ctx.saved_tensors
    needs = [bool(n) for n in ctx.needs_input_grad[3]]
    dresults = [
        torch.zeros_like(like) if grad is None else grad
        for grad, like in zip(grads, [output, *tensors[1 : 1 + ctx.states]], strict=False)
    ]
    gradients = iter(
        _backward(
            ctx.cell, ctx.names, needs, output, saved, dresults, tensors, *ctx.masks, *ctx.options
        )
    )
    each = [next(gradients) if need else None for need in needs]
    return None, None, None, each, *(None,) * 7


_sequence.register_autograd(_differentiate, setup_context=_setup)


Shape = Sequence[int]


@register_flop_formula(torch.ops.grus.sequence)
def _flops(cell: str, names: str, keep: bool, tensors: Sequence[Shape], *_: Any, **__: Any) -> int:
    """As it counts for ``nn.GRU``: two operations for each number of a matrix that a row meets in a
    step, and nothing else. Tensors are given as their shapes."""
    time, batch, _inputs = tensors[0]
    products = _products(bound_to(cell, names), tensors)
    return sum(2 * batch * time * size for _, _, size in products)


@register_flop_formula(torch.ops.grus.sequence_backward)
def _backward_flops(
    cell: str,
    names: str,
    needs: Sequence[bool],
    output: Shape,
    saved: Shape,
    grads: Sequence[Shape],
    tensors: Sequence[Shape],
    *options: Any,
    **__: Any,
) -> int:
    """Of ``grus::sequence_backward``: the weights' gradients, and what goes to the state of each
    step but the first, which may be nobody's."""
    bound, recompute = bound_to(cell, names), options[-1]
    time, batch, _inputs = tensors[0]
    flops = _flops(cell, names, True, tensors) if recompute else 0
    for at, operand, size in _products(bound, tensors):
        steps = time * needs[at] + time
        if operand == Input("x"):
            steps -= time * (not needs[0])
        elif isinstance(operand, State):
            steps -= not needs[1 + bound.cell.states.index(operand.name)]
        flops += 2 * batch * size * steps
    return int(flops)


def _products(bound: Binding, tensors: Sequence[Shape]) -> Iterator[tuple[int, Expr, int]]:
    """For each product of a step: the matrix' place among the tensors, what it is multiplied by,
    and how many numbers of the matrix take part."""
    for node in bound.cell.nodes:
        if isinstance(node, Apply) and linear(node):
            weight, operand = node.args[0], without_blocks(node.args[1])[0]
            assert isinstance(weight, Weight)
            at = 1 + bound.states + bound.names.index(bound.record.tensor(weight.family))
            rows, columns = tensors[at]
            yield at, operand, rows * columns // len(bound.cell.families[weight.family])
