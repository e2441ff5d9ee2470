"""Every published cell through every stage: kernels, a layer, its gradients, trace, worksheet."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch import Tensor  # noqa: E402
from torch.autograd import grad, gradcheck  # noqa: E402
from torch.func import functional_call  # noqa: E402

import grus  # noqa: E402
from agreement import Problem, check_backward, check_forward, draw, train  # noqa: E402
from grus.equations import Cell  # noqa: E402
from grus.layers.arguments import has_projection  # noqa: E402
from grus.reference import split  # noqa: E402
from grus.worksheet import Explanation, PastedWeights, explain_pasted, worksheet  # noqa: E402
from grus.worksheet.wording import decimal  # noqa: E402
from grus.zoo import PUBLISHED  # noqa: E402

pytestmark = pytest.mark.torch
TIME, BATCH, INPUT, HIDDEN, PROJECTION = 3, 2, 2, 3, 2
NEAR = 1e-10
TIES = ("slstm", "float32")
"""Its larger exponential gate is compared with 1, which it is: rounding may choose either branch,
and where a branch is uncertain there is no bound. So its gradients are compared with float64's."""
EVERY = [name for name, known in PUBLISHED.items() if not known.cell.gathers]
"""Those over images and graphs have stages of their own: test_spatial."""


@pytest.fixture(scope="module", params=EVERY)
def name(request: pytest.FixtureRequest) -> str:
    """A cell; its tests follow each other, so that its kernels are compiled once."""
    return str(request.param)


@lru_cache(maxsize=1)
def layer_of(name: str, backend: Any = None) -> grus.Recurrent:
    """A layer of the cell in float64, weights spread as trained ones are."""
    cell = PUBLISHED[name].cell
    hidden = HIDDEN if name != "dreamer_block_gru" else 8
    layer = grus.Recurrent(
        cell,
        HIDDEN if cell.shapes.equal else INPUT,
        hidden,
        proj_size=PROJECTION if has_projection(cell) else 0,
        further_sizes={"action": 2} if name == "dreamer_block_gru" else None,
        backend=backend,
        dtype=torch.float64,
    )
    torch.manual_seed(0)
    for parameter in layer.parameters():
        torch.nn.init.normal_(parameter, std=0.6)
    return layer


def leaves(layer: grus.Recurrent) -> list[Tensor]:
    """x, the further inputs (between 0 and 1), the initial states (above 0, as a count is) and the
    parameters."""
    torch.manual_seed(1)
    x = torch.randn(TIME, BATCH, layer.input_size, dtype=torch.float64)
    axes = {"hidden": layer.hidden_size, "projection": PROJECTION, "input": layer.input_size}
    axes["step.action"] = 2
    sizes = [axes.get(layer.cell.shapes.inputs.get(n, ""), 1) for n in layer.cell.further]
    further = [torch.rand(TIME, BATCH, size, dtype=torch.float64) for size in sizes]
    sizes = [axes[axis] for axis in layer.cell.shapes.states.values()]
    starts = [torch.rand(1, BATCH, size, dtype=torch.float64) + 0.1 for size in sizes]
    every = (x, *further, *starts, *layer.parameters())
    return [t.detach().clone().requires_grad_() for t in every]


def call(layer: grus.Recurrent) -> Callable[..., tuple[Tensor, ...]]:
    """The layer as a function of its leaves."""
    names, states = [name for name, _ in layer.named_parameters()], len(layer.cell.states)
    further = [node.name for node in layer.cell.further]

    def run(x: Tensor, *rest: Tensor) -> tuple[Tensor, ...]:
        beside = dict(zip(further, rest, strict=False))
        rest = rest[len(further) :]
        named = dict(zip(names, rest[states:], strict=True))
        start = rest[:states] if states > 1 else rest[0]
        y, final = functional_call(layer, named, (x, start), beside)
        return y, *(final if states > 1 else (final,))

    return run


def drawn(name: str, dtype: str) -> Problem:
    """A problem of odd sizes, of one size where the equations ask for it; a count is above 0."""
    cell = PUBLISHED[name].cell
    problem = draw(cell, (4, 3, 3, 5), dtype)
    counts = (np.abs(s) + s.dtype.type(0.5) for s in problem.start)
    return replace(problem, start=tuple(counts)) if name == "slstm" else problem


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_each_step_of_its_kernels_is_the_references_forward_and_backward(
    name: str, dtype: str
) -> None:
    """The classic cells are compared at many sizes elsewhere."""
    done = train(drawn(name, dtype))
    check_forward(done)
    if (name, dtype) != TIES:
        check_backward(done)


def test_kernels_and_composite_are_one_function_whose_gradient_is_right(name: str) -> None:
    kernels = layer_of(name)
    given, found = leaves(kernels), []
    assert kernels.path(given[0]) == "kernels"
    for layer in (kernels, layer_of(name, "composite")):
        results = call(layer)(*given)
        loss = sum((k + 1) * r.square().sum() for k, r in enumerate(results))
        found.append([*results, *grad(loss, given)])
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=NEAR, atol=NEAR)
    assert gradcheck(call(kernels), given, fast_mode=True)


def test_where_branches_tie_float32_has_float64s_gradients() -> None:
    name, found = TIES[0], []
    for dtype in (torch.float32, torch.float64):
        layer = layer_of(name).to(dtype)
        given = [t.detach().float().to(dtype).requires_grad_() for t in leaves(layer)]
        loss = sum((k + 1) * r.sum() for k, r in enumerate(call(layer)(*given)))
        found.append(grad(loss, given))
    # Each step a chain of one product's terms and fewer than thirty operations.
    chain = TIME * (INPUT + HIDDEN + 30) * 2.0**-24
    for ours, theirs in zip(*found, strict=True):
        assert (ours - theirs).abs().max() <= chain * theirs.abs().max()


def pasted(cell: Cell, arrays: dict[str, Any], x: Any, further: dict[str, Any]) -> Explanation:
    """`grus explain` of those weights, each pasted by its name."""

    def text(array: Any) -> str:
        rows = array if array.ndim == 2 else array[None]
        return "; ".join(" ".join(repr(float(v)) for v in row) for row in rows)

    options = tuple(f"{weight.name}={text(array)}" for weight, array in split(cell, arrays).items())
    beside = [f"{name}={text(array)}" for name, array in further.items()]
    weights = PastedWeights(weight=options, gates_in="rows")
    return explain_pasted(cell.name, weights, text(x), further=beside)


def test_its_trace_and_its_worksheet_have_the_numbers_of_the_layer(name: str) -> None:
    layer = layer_of(name)
    cell, (x, *rest) = layer.cell, [leaf.detach() for leaf in leaves(layer)]
    names = [node.name for node in cell.further]
    x, beside = x[:, :1], {n: value[:, :1] for n, value in zip(names, rest, strict=False)}
    with torch.no_grad():
        output = layer(x, **beside)[0].numpy()[:, 0]
    names = [name for name, _ in cell]
    trace = grus.trace(layer, x, values=names, **beside)
    values = {name: trace[name].reshape(TIME, -1) for name in names}
    assert np.array_equal(values[cell.output], output)
    weights = {f: w.detach().numpy() for f, w in layer.layer_weights(0).items()}
    further = {name: value[:, 0].numpy() for name, value in beside.items()}
    explained = pasted(cell, weights, x[:, 0].numpy(), further)
    sheet = worksheet(cell, explained.unpacked.weights, explained.x, further=explained.further)
    assert sheet.by == "the compiled kernels in float64"
    for step in sheet.steps:
        for equation in step.equations:
            shown = [line.value for line in equation.lines]
            assert shown == list(values[equation.name][step.number - 1])
    assert np.array_equal(sheet.output, output[-1])
    printed = explained.page("text", digits=5)
    assert all(decimal(value, 5).lstrip("-") in printed for value in sheet.output)
