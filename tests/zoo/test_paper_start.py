"""Layers that start as a cell's paper does: each distribution, the surface, and torch's start."""

from __future__ import annotations

import copy
import math
import pickle
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from torch import Tensor  # noqa: E402

import grus  # noqa: E402
from grus.equations import Cell  # noqa: E402
from grus.errors import InputError  # noqa: E402
from grus.layers.paper_start import FILL, starts  # noqa: E402
from grus.zoo import KINDS, PUBLISHED, Draw  # noqa: E402

pytestmark = pytest.mark.torch
SIZE = 40
LONGEST = 100
KNOWN = [name for name, known in PUBLISHED.items() if known.initial]
Range = tuple[float, float]


def layer_of(name: str, **options: Any) -> grus.Recurrent:
    torch.manual_seed(0)
    longest = LONGEST if name == "janet" else None
    if count := PUBLISHED[name].cell.matrices:
        options["graph"] = [torch.eye(2)] * count
    if name == "dreamer_block_gru":
        options |= {"proj_size": SIZE, "further_sizes": {"action": 2}}
    return grus.Recurrent(name, SIZE, SIZE, initial="paper", longest=longest, **options)


def gates_of(layer: grus.Recurrent, row: int) -> dict[str, Tensor]:
    """Each weight by itself, two biases of one gate added up."""
    families, stacked = layer.cell.families, layer.layer_weights(row)
    return {
        f"{family}.{gate}": part.detach()
        for family, gates in families.items()
        for gate, part in zip(gates, stacked[family].chunk(len(gates)), strict=True)
    }


def spread(start: Draw, shape: tuple[int, ...]) -> tuple[Range, Range]:
    """The least and the largest number, and mean and deviation, of a kind in a weight."""
    total = sum(float(number) for number in start.numbers)
    scale = {
        "normal": total,
        "normal_by_inputs": math.sqrt(total / shape[-1]),
        "uniform_by_inputs": math.sqrt(total / shape[-1]),
        "glorot_uniform": math.sqrt(2 / sum(shape[-2:])),
    }
    if start.kind == "uniform":
        low, high = map(float, start.numbers)
    elif start.kind.startswith("normal"):
        return (-math.inf, math.inf), (0.0, scale[start.kind])
    else:
        high = math.sqrt(3) * scale[start.kind]
        low = -high
    return (low, high), ((low + high) / 2, (high - low) / math.sqrt(12))


@pytest.mark.parametrize("name", KNOWN)
def test_every_weight_of_every_layer_starts_as_the_record_says(name: str) -> None:
    both = not PUBLISHED[name].cell.shapes.equal
    layer = layer_of(name, num_layers=2, bidirectional=both)
    for row in range(4 if both else 2):
        gates = gates_of(layer, row)
        for weight, start in PUBLISHED[name].starts.items():
            array = gates[weight.name]
            if isinstance(start, Draw):
                check(array, start)
            else:
                assert (array == start).all()


def check(array: Tensor, start: Draw) -> None:
    """Each kind by what it is known for; a mean and a deviation within five of their own."""
    if start.kind == "identity":
        assert torch.equal(array, torch.eye(SIZE))
    elif start.kind == "orthogonal":
        assert torch.allclose(array @ array.T, torch.eye(SIZE), atol=1e-5)
    elif start.kind == "ramp":
        assert (array[0], array[-1]) == start.numbers[:2]
        assert (array.diff() < 0).all()
        assert math.isclose(array[1], 5 - 12 * (1 / (SIZE - 1)) ** 0.3, rel_tol=1e-5)
    elif start.kind == "log_uniform":
        assert array.min() >= 0
        assert array.max() <= math.log(LONGEST)
        assert array.exp().mean() > LONGEST / 3
    elif start.kind == "decay":
        kept = torch.exp(-torch.nn.functional.softplus(array))
        assert kept.min() >= 0.9
        assert kept.max() <= 0.999
    else:
        (low, high), (mean, deviation) = spread(start, tuple(array.shape))
        assert low <= array.min()
        assert array.max() <= high
        near = 5 / math.sqrt(array.numel())
        assert abs(array.mean() - mean) <= near * deviation
        assert abs(array.std() - deviation) <= near * deviation


def test_without_it_a_layer_starts_as_torchs_and_one_seed_repeats_it() -> None:
    torch.manual_seed(3)
    theirs = torch.nn.GRU(3, 4)
    torch.manual_seed(3)
    ours = grus.Recurrent("gru", 3, 4, initial="torch")
    assert all(map(torch.equal, ours.parameters(), theirs.parameters()))
    once, again = layer_of("nbrc"), layer_of("nbrc")
    assert all(map(torch.equal, once.parameters(), again.parameters()))
    assert set(FILL) == {*KINDS, "constant"}


def test_it_is_kept_where_a_layer_is_copied_and_drawn_anew() -> None:
    layer = layer_of("rnn_relu", gate_bias={"h": 0.5})
    for one in (
        pickle.loads(pickle.dumps(layer)),
        copy.deepcopy(layer),
        grus.RNN(SIZE, SIZE, nonlinearity="relu", initial="paper", gate_bias={"h": 0.5}),
    ):
        with torch.no_grad():
            one.weight_hh_l0.zero_()
        one.reset_parameters()
        assert torch.equal(one.weight_hh_l0, torch.eye(SIZE))
        assert (gates_of(one, 0)["b.h"] == 0.5).all()


@pytest.mark.parametrize(
    ("cell", "options", "message"),
    [
        ("gru", {"initial": "paper"}, "no record says how cell gru starts"),
        ("gru", {"initial": "mine"}, 'initial must be "torch" or "paper"'),
        ("ugrnn", {"initial": "paper", "bias": False}, "sets b.g, which bias=False takes away"),
        ("janet", {"initial": "paper"}, "b.f of janet is drawn by it, got None"),
        ("janet", {"initial": "paper", "longest": 1}, "2 or more, got 1"),
        ("brc", {"initial": "paper", "longest": 9}, "nothing is drawn by it, got 9"),
        ("gru", {"longest": 9}, "nothing is drawn by it, got 9"),
    ],
)
def test_what_cannot_be_is_refused(cell: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        grus.Recurrent(cell, 3, 4, **options)


def test_another_cell_of_that_name_has_no_start() -> None:
    cell = Cell.parse("h_next = tanh(W.f @ x + U.f @ h + b.f)", "brc")
    with pytest.raises(InputError, match="no record says how cell brc starts"):
        starts(cell, "paper", None, True)
