"""What ``torch.utils.flop_counter.FlopCounterMode`` counts for a layer: as it does for ``nn.GRU``,
two operations for each number of a matrix that a row meets in a step, and nothing else."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch.utils.flop_counter import register_flop_formula

from grus.equations import Apply, Expr, Input, State, Weight, linear
from grus.layers.binding import Binding
from grus.layers.operator import bound_to

Shape = Sequence[int]


@register_flop_formula(torch.ops.grus.sequence)
def forward(cell: str, names: str, keep: bool, tensors: Sequence[Shape], *_: Any, **__: Any) -> int:
    """Of `operator`'s ``grus::sequence``, its tensors given as their shapes."""
    time, batch, _inputs = tensors[0]
    products = _products(bound_to(cell, names), tensors)
    return sum(2 * batch * time * size for _, _, size in products)


@register_flop_formula(torch.ops.grus.sequence_backward)
def backward(
    cell: str,
    names: str,
    needs: Sequence[bool],
    output: Shape,
    saved: Shape,
    given: Sequence[Shape],
    tensors: Sequence[Shape],
    *options: Any,
    **__: Any,
) -> int:
    """Of ``grus::sequence_backward``: the weights' gradients, and what goes to the state of each
    step but the first, which may be nobody's."""
    bound, recompute = bound_to(cell, names), options[-1]
    time, batch, _inputs = tensors[0]
    flops = forward(cell, names, True, tensors) if recompute else 0
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
            weight, operand = node.args
            assert isinstance(weight, Weight)
            at = 1 + bound.states + bound.names.index(bound.record.tensor(weight.family))
            rows, columns = tensors[at]
            yield at, operand, rows * columns // len(bound.cell.families[weight.family])
