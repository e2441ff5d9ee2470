"""Published cells give the numbers that torchrecurrent's cells of the same name give."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from grus.reference import run
from grus.zoo import PUBLISHED

Array = Any
TIME, BATCH, INPUT, HIDDEN = 4, 3, 5, 6

# Our cell: their class, its settings, and where each tensor goes: a family, the tensor, the gates
# that it stacks ("_": not into this family). What several tensors give to a weight is added up.
GATED = "W weight_ih {0}; U weight_hh {0}; b bias_ih {0}; b bias_hh {0}"
THEIRS: dict[str, tuple[str, dict[str, Any], str]] = {
    "antisymmetric_rnn": (
        "AntisymmetricRNNCell", {"epsilon": 0.1, "gamma": 0.01}, GATED.format("h"),
    ),
    "antisymmetric_rnn_gated": (
        "GatedAntisymmetricRNNCell",
        {"epsilon": 0.1, "gamma": 0.01},
        "W weight_ih z h; U weight_hh h; b bias_ih z h; b bias_hh h",
    ),
    "atr": ("ATRCell", {}, "W weight_ih p; U weight_hh q; b bias_ih p; d bias_hh q"),
    "brc": (
        "BRCell", {}, "W weight_ih g q n; p weight_hh g q; b bias_ih g q n; b bias_hh g q",
    ),
    "nbrc": (
        "NBRCell", {}, "W weight_ih g q n; U weight_hh g q; b bias_ih g q n; b bias_hh g q",
    ),
    "cfn": (
        "CFNCell", {}, "W weight_ih q e h; U weight_hh q e; b bias_ih q e h; b bias_hh q e",
    ),
    "co_rnn": (
        "coRNNCell",
        {"dt": 0.1, "gamma": 1.0, "epsilon": 1.0},
        f"{GATED.format('h')}; V weight_ch h; b bias_ch h",
    ),
    "fast_rnn": ("FastRNNCell", {}, f"{GATED.format('n')}; p alpha alpha; p beta beta"),
    "fast_grnn": (
        "FastGRNNCell",
        {"nonlinearity": "sigmoid"},
        "W weight_ih q; U weight_hh q; b bias_ih z n; b bias_hh z n; p zeta zeta; p nu nu",
    ),
    "ind_rnn": (
        "IndRNNCell",
        {"nonlinearity": "relu"},
        "W weight_ih h; p vector_u h; b bias_ih h; b bias_hh h",
    ),
    "intersection_rnn": ("IntersectionRNNCell", {}, GATED.format("u n y h")),
    "janet": ("JANETCell", {}, GATED.format("f g")),
    "lem": (
        "LEMCell",
        {},
        "W weight_ih th tz z h; U weight_hh th tz z; V weight_ch h; b bias_ih th tz z h;"
        " b bias_hh th tz z; b bias_ch h",
    ),
    "light_ru": ("LightRUCell", {}, "W weight_ih n f; U weight_hh f; b bias_ih n f; b bias_hh f"),
    "ligru": ("LiGRUCell", {}, GATED.format("z n")),
    "lstm_controller": ("MCLSTMCell", {}, GATED.format("f i o q g")),
    "lstm_multiplicative": (
        "MultiplicativeLSTMCell",
        {},
        "W weight_ih m i f g o; U weight_hh m; U weight_mh i f g o; b bias_ih m i f g o;"
        " d bias_hh m; b bias_mh i f g o",
    ),
    "lstm_original": ("OriginalLSTMCell", {}, GATED.format("i g o")),
    "lstm_peephole": (
        "PeepholeLSTMCell", {}, f"{GATED.format('i f g o')}; p weight_ph i f o",
    ),
    "lstm_residual": (
        "ResLSTMCell",
        {},
        f"{GATED.format('i f g o')}; p weight_ph i f o; V weight_proj h; R weight_res h",
    ),
    "lstm_working_memory": (
        "WMCLSTMCell", {}, f"{GATED.format('i f g o')}; V weight_mh i f o; d bias_mh i f o",
    ),
    "mgu": ("MGUCell", {}, GATED.format("f n")),
    "minimal_rnn": (
        "MinimalRNNCell",
        {},
        "W weight_ih n; U weight_hh u; V weight_mm u; b bias_ih n; b bias_hh u",
    ),
    "miru1": ("MiRU1Cell", {}, GATED.format("r n")),
    "miru2": ("MiRU2Cell", {}, GATED.format("n")),
    "mut1": (
        "MUT1Cell",
        {},
        "W weight_ih z r n; U weight_hh r n; b bias_ih z r n; b bias_hh r _; d bias_hh _ n",
    ),
    "mut2": ("MUT2Cell", {}, GATED.format("z r n")),
    "mut3": ("MUT3Cell", {}, GATED.format("z r n")),
    "nas": ("NASCell", {}, GATED.format("q0 q1 q2 q3 q4 q5 q6 q7")),
    "ran": ("RANCell", {}, "W weight_ih c i f; U weight_hh i f; b bias_ih i f; b bias_hh i f"),
    "sgrn": ("SGRNCell", {"recurrent_bias": False}, "W weight_ih f; U weight_hh f; b bias_ih f"),
    "sgu": (
        "SGUCell",
        {},
        "W weight_ih g z; U weight_hh g z; b bias_ih g z; b bias_hh _ z; d bias_hh g _",
    ),
    "dsgu": (
        "DSGUCell",
        {},
        "W weight_ih g z; U weight_hh g z; V weight_ho o; b bias_ih g z; b bias_hh _ z;"
        " d bias_hh g _",
    ),
    "star": ("STARCell", {}, "W weight_ih n k; U weight_hh k; b bias_ih n k; b bias_hh k"),
    "trnn": ("TRNNCell", {}, "W weight_ih h f; d bias_ih h _; b bias_ih _ f"),
    "ugrnn": ("UGRNNCell", {}, GATED.format("n g")),
    "unicornn": (
        "UnICORNNCell",
        {"dt": 0.1, "alpha": 1.0},
        "W weight_ih h; p weight_hh h; p weight_ch c; b bias_ih h; b bias_hh h",
    ),
}  # fmt: skip


def weights(name: str, layer: Any) -> dict[str, Array]:
    """Our stacked families from their tensors."""
    cell, parts = PUBLISHED[name].cell, dict[tuple[str, str], Array]()
    for piece in THEIRS[name][2].split(";"):
        family, tensor, *gates = piece.split()
        array = getattr(layer, tensor).detach().numpy()
        if array.size == 1:  # a number for all units
            array = np.full(HIDDEN, array.item())
        for gate, block in zip(gates, np.split(array, len(gates)), strict=True):
            if gate != "_":
                parts[family, gate] = parts.get((family, gate), 0) + block
    return {
        family: np.concatenate([parts[family, gate] for gate in gates])
        for family, gates in cell.families.items()
    }


def sequence(layer: Any, states: list[Any], x: Any) -> Array:
    """Their outputs, a step at a time; a cell gives its states, and some an output before them."""
    import torch

    outputs = []
    for step in x:
        given = layer(step, tuple(states) if len(states) > 1 else states[0])
        flat = [given] if isinstance(given, torch.Tensor) else [*given]
        flat = [*flat[:-1], *flat[-1]] if isinstance(flat[-1], tuple) else flat
        states = flat[-len(states) :]
        outputs.append(flat[0])
    return torch.stack(outputs).detach().numpy()


def layer_of(name: str) -> Any:
    """Their cell in float64, its vectors and matrices drawn; single numbers are the paper's."""
    import torch

    theirs = pytest.importorskip("torchrecurrent")
    kind, settings, _ = THEIRS[name]
    inputs = HIDDEN if PUBLISHED[name].cell.shapes.equal else INPUT
    layer = getattr(theirs, kind)(inputs, HIDDEN, dtype=torch.float64, **settings)
    torch.manual_seed(0)
    for tensor in layer.parameters():
        if tensor.numel() > 1:
            torch.nn.init.uniform_(tensor, -0.7, 0.7)
    return layer


@pytest.mark.parametrize("name", THEIRS)
def test_a_published_cell_gives_the_same_numbers(name: str) -> None:
    import torch

    layer, cell = layer_of(name), PUBLISHED[name].cell
    rng = np.random.default_rng(0)
    x = rng.normal(size=(TIME, BATCH, HIDDEN if cell.shapes.equal else INPUT))
    starts = tuple(rng.uniform(-0.9, 0.9, (BATCH, HIDDEN)) for _ in cell.states)
    theirs = [torch.from_numpy(start) for start in starts]
    if name == "janet":  # there the state is carried twice
        theirs *= 2
    want = sequence(layer, theirs, torch.from_numpy(x))
    result = run(cell, weights(name, layer), x, starts if len(starts) > 1 else starts[0])
    np.testing.assert_allclose(result.output, want, rtol=1e-12, atol=1e-13)
