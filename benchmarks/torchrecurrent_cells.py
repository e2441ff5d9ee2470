"""The cells that torchrecurrent has too: its class, its settings, our weights from its.

`tests/peers/test_torchrecurrent.py` compares the numbers, `benchmarks/zoo_speed.py` the speed.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from grus.zoo import PUBLISHED

Array = Any

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


def families(name: str, theirs: Any) -> dict[str, Array]:
    """Our stacked families from the tensors of their cell."""
    cell, parts = PUBLISHED[name].cell, dict[tuple[str, str], Array]()
    for piece in THEIRS[name][2].split(";"):
        family, tensor, *gates = piece.split()
        array = getattr(theirs, tensor).detach().numpy()
        if array.size == 1:  # a number for all units
            array = np.full(theirs.hidden_size, array.item(), array.dtype)
        for gate, block in zip(gates, np.split(array, len(gates)), strict=True):
            if gate != "_":
                parts[family, gate] = parts.get((family, gate), 0) + block
    return {
        family: np.concatenate([parts[family, gate] for gate in gates])
        for family, gates in cell.families.items()
    }
