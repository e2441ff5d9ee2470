"""Does the sense of z matter for training? From mirrored weights no, from equal weights yes.

sigmoid(-a) = 1 - sigmoid(a), so a GRU whose z admits the candidate is, with the weights and
biases of z negated, the GRU whose z keeps the state. The gradient of a negated weight is the
negated gradient, and SGD and Adam are odd functions of it: the mirrored run stays the mirror
image at every step, up to rounding.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

import grus

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.torch

TIME, BATCH, INPUT, HIDDEN, STEPS = 6, 4, 3, 5, 60
PAIRS = [("gru", "gru_admit"), ("gru_reset_before", "gru_reset_before_admit")]
OPTIMIZERS: dict[str, Callable[[Any], Any]] = {
    "sgd": lambda p: torch.optim.SGD(p, lr=0.5),
    "momentum": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9),
    "adam": lambda p: torch.optim.Adam(p, lr=0.02),
}
# A gradient is a sum over TIME * BATCH of terms that come through at most TIME steps of some
# ten roundings: relative to the largest weight it is wrong by at most this.
ROUNDING = (TIME * BATCH + 10 * TIME) * 2.0**-53


def layer(cell: str) -> Any:
    """A layer whose weights depend on the seed alone: equal for every cell."""
    torch.manual_seed(3)
    return grus.GRU(INPUT, HIDDEN, cell=cell, dtype=torch.float64)


def mirror(parameters: list[Any]) -> list[Any]:
    """The parameters with those of z negated; gates are stacked r, z, n."""
    signs = torch.ones(3 * HIDDEN, dtype=torch.float64)
    signs[HIDDEN : 2 * HIDDEN] = -1
    return [p.detach() * signs.reshape(-1, *[1] * (p.dim() - 1)) for p in parameters]


def start_from(model: Any, weights: list[Any]) -> Any:
    with torch.no_grad():
        for parameter, weight in zip(model.parameters(), weights, strict=True):
            parameter.copy_(weight)
    return model


def trajectory(model: Any, optimizer: Callable[[Any], Any]) -> Iterator[list[Any]]:
    """Train on one batch of random sequences; the parameters after every step."""
    draw = torch.Generator().manual_seed(1)
    x = torch.randn(TIME, BATCH, INPUT, generator=draw, dtype=torch.float64)
    target = torch.randn(TIME, BATCH, HIDDEN, generator=draw, dtype=torch.float64).tanh()
    updates = optimizer(model.parameters())
    for _ in range(STEPS):
        updates.zero_grad()
        ((model(x)[0] - target) ** 2).mean().backward()
        updates.step()
        yield [p.detach().clone() for p in model.parameters()]


def distance(one: list[Any], other: list[Any]) -> float:
    return max((a - b).abs().max().item() for a, b in zip(one, other, strict=True))


def amplification(cell: str, optimizer: Callable[[Any], Any]) -> float:
    """How much a small difference at the start has grown by the end, at most."""
    model, twin, small = layer(cell), layer(cell), 1e-7
    moved = [p + small * (2 * torch.rand_like(p) - 1) for p in twin.parameters()]
    start_from(twin, moved)
    runs = zip(trajectory(model, optimizer), trajectory(twin, optimizer), strict=True)
    return max(1.0, *(distance(one, other) / small for one, other in runs))


@pytest.mark.parametrize("optimizer", OPTIMIZERS.values(), ids=OPTIMIZERS)
@pytest.mark.parametrize(("keep", "admit"), PAIRS)
def test_mirrored_weights_give_the_same_trajectory(
    keep: str, admit: str, optimizer: Callable[[Any], Any]
) -> None:
    ours, theirs = layer(keep), layer(admit)
    begun = [p.detach().clone() for p in ours.parameters()]
    start_from(theirs, mirror(list(theirs.parameters())))
    # Each step's rounding is carried on and grows as any small difference does.
    near = STEPS * ROUNDING * amplification(keep, optimizer)
    assert near < 1e-8  # far below every difference that would mean something
    runs = zip(trajectory(ours, optimizer), trajectory(theirs, optimizer), strict=True)
    for after, mirrored in runs:
        assert distance(after, mirror(mirrored)) < near
    assert distance(after, begun) > 0.1  # it went somewhere


@pytest.mark.parametrize("optimizer", OPTIMIZERS.values(), ids=OPTIMIZERS)
@pytest.mark.parametrize(("keep", "admit"), PAIRS)
def test_equal_weights_do_not(keep: str, admit: str, optimizer: Callable[[Any], Any]) -> None:
    ours, theirs = layer(keep), layer(admit)
    assert distance(list(ours.parameters()), list(theirs.parameters())) == 0
    for after, other in zip(  # noqa: B007  the last pair is what counts
        trajectory(ours, optimizer), trajectory(theirs, optimizer), strict=True
    ):
        pass
    assert distance(after, other) > 0.01
    assert distance(after, mirror(other)) > 0.01


@pytest.mark.parametrize(("keep", "admit"), PAIRS)
def test_with_z_at_zero_weights_the_two_senses_are_one(keep: str, admit: str) -> None:
    # The one case in which equal weights are mirrored ones: those of z are zero.
    ours, theirs = layer(keep), layer(admit)
    for model in (ours, theirs):
        with torch.no_grad():
            for parameter in model.parameters():
                parameter[HIDDEN : 2 * HIDDEN] = 0
    x = torch.randn(TIME, BATCH, INPUT, dtype=torch.float64)
    # z = 1 - z = 1/2 exactly, so the outputs differ by nothing at all.
    assert torch.equal(ours(x)[0], theirs(x)[0])
