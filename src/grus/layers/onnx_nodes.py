"""One layer while ``torch.onnx.export`` records a model: an ONNX node for the whole sequence.

A cell for which ONNX has an operator is one GRU, LSTM or RNN node, with both directions in it and
with its lengths as ``sequence_lens``; every other cell, and any with resets, is an ONNX Scan over
its equations. Time and batch stay free in both.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from grus.dialects import TorchRecord
from grus.dialects.network import Unrepresentable
from grus.equations import Cell
from grus.kernels import Steps
from grus.layers import composite
from grus.onnx.forms import PEEPHOLES, Written, attributes, written
from grus.onnx.node import ORDER
from grus.reference import advance, split

Row = tuple[Tensor, ...]
Weights = Mapping[str, Tensor]


def sequence(
    record: TorchRecord, x: Tensor, start: Row, named: Weights, steps: Steps
) -> tuple[Tensor, Row]:
    """As `function.sequence`. At length 0 ONNX Runtime ends with zeros, not with ``start``."""
    weights = composite.families(record, named)
    form = None if steps.resets is not None else operator(record.cell, named)
    if form is None:
        return _scanned(record.cell, weights, x, start, steps)
    y, final = _node(record.cell, form, [weights], x, [start], steps)
    return y, final[0]


def both(
    record: TorchRecord, x: Tensor, start: tuple[Row, Row], named: Sequence[Weights], steps: Steps
) -> tuple[Tensor, tuple[Row, Row]] | None:
    """As `stack.both`; ``steps`` are those forward in time. None where ONNX has no
    operator for it."""
    form = None if steps.resets is not None else operator(record.cell, named[0])
    if form is None:
        return None
    weights = [composite.families(record, tensors) for tensors in named]
    y, (first, second) = _node(record.cell, form, weights, x, start, steps)
    return y, (first, second)


def operator(cell: Cell, named: Weights) -> Written | None:
    """The ONNX operator that computes ``cell`` with these parameters, if there is one."""
    if cell.masks or "weight_hr" in named:
        return None
    try:
        return written(cell)
    except Unrepresentable:
        return None


def _node(
    cell: Cell,
    form: Written,
    weights: Sequence[Weights],
    x: Tensor,
    start: Sequence[Row],
    steps: Steps,
) -> tuple[Tensor, list[Row]]:
    """The node of one layer over ``x`` [time, batch, input], ``weights`` and ``start`` for each of
    its directions."""
    (time, batch, _), count = x.shape, len(weights)
    hidden = start[0][0].shape[1]
    stacked = [_tensors(cell, form, tensors, hidden, x) for tensors in weights]
    w, r, b = (torch.stack([tensors[name] for tensors in stacked]) for name in "WRB")
    lengths = None if steps.lengths is None else torch.as_tensor(steps.lengths).to(torch.int32)
    initial = [torch.stack(states) for states in zip(*start, strict=True)]
    inputs: list[Tensor | None] = [x, w, r, b, lengths, *initial]
    if "P" in stacked[0]:
        inputs.append(torch.stack([tensors["P"] for tensors in stacked]))
    single = "reverse" if steps.reverse else "forward"
    y, *final = torch.onnx.ops.symbolic_multi_out(
        form.form.kind,
        inputs,
        {
            "hidden_size": hidden,
            "direction": single if count == 1 else "bidirectional",
            **attributes(form.form, count),
        },
        dtypes=[x.dtype] * (1 + len(initial)),
        shapes=[(time, count, batch, hidden), *[(count, batch, hidden)] * len(initial)],
    )
    rows = [tuple(state[k] for state in final) for k in range(count)]
    return y.transpose(1, 2).reshape(time, batch, count * hidden), rows


def _tensors(
    cell: Cell, form: Written, weights: Weights, size: int, like: Tensor
) -> dict[str, Tensor]:
    """W, R, B and P of one direction, their gates in ONNX's order."""
    order = ORDER[form.form.kind]
    gates = split(cell, weights)
    blocks = {(w.family, w.gate): -t if w.gate in form.mirrored else t for w, t in gates.items()}

    def stack(family: str, gates: str, *shape: int) -> Tensor:
        blank = like.new_zeros(shape)
        return torch.cat([blocks.get((family, gate), blank) for gate in gates])

    stacked = {
        "W": stack("W", order, size, like.shape[2]),
        "R": stack("U", order, size, size),
        "B": torch.cat([stack("b", order, size), stack("d", order, size)]),
    }
    return stacked | ({"P": stack("p", PEEPHOLES, size)} if "p" in cell.families else {})


def _scanned(
    cell: Cell, weights: Weights, x: Tensor, start: Row, steps: Steps
) -> tuple[Tensor, Row]:
    """The cell's equations step by step as one operator of torch, which ONNX has as Scan."""
    from torch._higher_order_ops.scan import scan

    # The operator takes no two tensors that share memory: hence the copies, of which ONNX has none.
    single = {name: weight.clone() for name, weight in split(cell, weights).items()}
    begin = torch.clone if steps.reset_to == "h0" else torch.zeros_like
    base, time = tuple(map(begin, start)), x.shape[0]
    # Scan takes no two inputs that share memory, and no axis of 1 that the equations spread.
    parts = composite.arriving(cell, weights, x, start)
    numbers = {node.name for node in cell.further if node.per == "number"}
    inputs: dict[str, Any] = {
        name: part if part is x else part[..., 0].clone() if name in numbers else part.clone()
        for name, part in parts.items()
    }
    if steps.lengths is not None:
        at = torch.arange(time, device=x.device).unsqueeze(1)
        inputs["valid"] = at < torch.as_tensor(steps.lengths, device=x.device)
    if steps.resets is not None:
        inputs["begins"] = torch.as_tensor(steps.resets, device=x.device).bool()

    def step(state: Row, now: dict[str, Tensor]) -> tuple[Row, Tensor]:
        following, output, _ = advance(
            cell, single,
            {n: now[n].unsqueeze(-1) if n in numbers else now[n] for n in parts}, state, base,
            now.get("valid"), now.get("begins"), composite.TORCH,
        )  # fmt: skip
        return tuple(s.clone() for s in following), output.clone()

    final, output = scan(step, tuple(s.clone() for s in start), inputs, reverse=steps.reverse)
    return output, final
