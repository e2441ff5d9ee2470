"""The dialects that were read and not run: papers, and frameworks whose code or text was seen."""

from __future__ import annotations

from dataclasses import replace

from grus.dialects.dialect import Dialect, Runtime
from grus.dialects.records_run import AXIS, BY_LENGTH, CELL, KERAS, PACKED, torch
from grus.dialects.stored_network import Scheme

SEEN = "equations only"
HELD = Runtime("repeat", "tensor", "time", "initial")
LIST = Runtime("no lengths", "row", "time", "unknown", backward=False)


def paper(framework: str, title: str, cell: str, letter: str = "h~") -> Dialect:
    """A formula in print: no tensors."""
    return Dialect(framework, title, cell, letters={"n": letter}, evidence=SEEN)


def alike(
    framework: str,
    title: str,
    runtime: Runtime = PACKED,
    scheme: Scheme | None = None,
    evidence: str = SEEN,
) -> Dialect:
    """A framework that keeps PyTorch's tensors."""
    record = torch(title, "gru", "rzn", "a.rz d.n", runtime=runtime)
    return replace(record, framework=framework, scheme=scheme or record.scheme, evidence=evidence)


def columns(
    framework: str, title: str, cell: str, bias: str, names: str, name: str = ""
) -> Dialect:
    """A framework with the gates z, r, n in the columns; ``names`` of kernel, recurrent, bias."""
    kernel, recurrent, held = names.split()
    holds = {kernel: "W.zrn", recurrent: "U.zrn", held: bias}
    return Dialect(framework, title, cell, True, holds, CELL, named=name, evidence=SEEN)


def webnn(title: str, cell: str, gates: str, name: str) -> Dialect:
    """WebNN's gru in one of its layouts."""
    second = f"a.{gates}" if cell == "gru_reset_before" else f"a.{gates[:2]} d.n"
    holds = {
        "weight": f"W.{gates}",
        "recurrentWeight": f"U.{gates}",
        "bias": f"b.{gates}",
        "recurrentBias": second,
    }
    return Dialect(
        "webnn",
        title,
        cell,
        False,
        holds,
        AXIS,
        named=name,
        runtime=Runtime("no lengths", "tensor", "time", "no lengths"),
        evidence=f"{SEEN}: webnn-baseline src/gru_cell.js",
    )


def matlab(mode: str, cell: str, bias: str, name: str) -> Dialect:
    """MATLAB's gruLayer in one of its modes."""
    holds = {"InputWeights": "W.rzn", "RecurrentWeights": "U.rzn", "Bias": bias}
    return Dialect(
        "matlab", f"MATLAB gruLayer, {mode}", cell, False, holds, CELL, named=name, evidence=SEEN
    )


def gates_apart(pattern: dict[str, str], names: dict[str, str]) -> dict[str, str]:
    """A tensor for each gate: ``pattern`` family -> name with {}, ``names`` gate -> their name."""
    return {
        form.format(theirs): f"{family}.{gate}"
        for family, form in pattern.items()
        for gate, theirs in names.items()
    }


READ = (
    Dialect("lasagne", "Lasagne GRULayer", "gru_admit", True,
            gates_apart({"W": "W_in_to_{}", "U": "W_hid_to_{}", "b": "b_{}"},
                        {"r": "resetgate", "z": "updategate", "n": "hidden_update"}),
            CELL, {"n": "hidden_update"}, runtime=HELD,
            evidence=f"{SEEN}: Lasagne 0.1 lasagne/layers/recurrent.py"),
    paper("cho2014", "Cho et al. 2014 (v3)", "gru_reset_before"),
    paper("cho2014_v1", "Cho et al. 2014 (v1, v2)", "gru"),
    paper("chung2014", "Chung et al. 2014", "gru_reset_before_admit"),
    paper("bahdanau2014", "Bahdanau et al. 2014, without its context", "gru_reset_before_admit"),
    paper("wikipedia", "Wikipedia, fully gated unit", "gru_reset_before_admit", "h^"),
    Dialect("d2l", "Dive into Deep Learning, from scratch", "gru_reset_before", True,
            gates_apart({"W": "W_x{}", "U": "W_h{}", "b": "b_{}"}, {"r": "r", "z": "z", "n": "h"}),
            CELL, {"r": "R", "z": "Z", "n": "H~"},
            evidence=f"{SEEN}: d2l-en chapter_recurrent-modern/gru.md"),
    alike("d2l_concise", "Dive into Deep Learning, concise (PyTorch's layer)"),
    Dialect("cudnn", "cuDNN CUDNN_GRU, a matrix for each linLayerID", "gru", False,
            {f"{side}{k}": f"{family}.{g}" for side, family, at in (("w", "W", 0), ("w", "U", 3))
             for k, g in enumerate("rzn", at)}
            | {f"b{k}": f"b.{g}" for k, g in enumerate("rzn")}
            | {"b3": "a.r", "b4": "a.z", "b5": "d.n"},
            CELL, runtime=Runtime("zero", "row", "time", "unknown"),
            evidence=f"{SEEN}: its header's comments"),
    webnn("WebNN gru, layout zrn, the default", "gru", "zrn", ""),
    webnn("WebNN gru, layout rzn", "gru", "rzn", "webnn_rzn"),
    webnn("WebNN gru, resetAfter=false", "gru_reset_before", "zrn", "webnn_reset_before"),
    Dialect("coreml", "CoreML MIL gru (iOS15, iOS17)", "gru_reset_before", False,
            {"weight_ih": "W.rnz", "weight_hh": "U.rnz", "bias": "b.rnz"}, CELL, {"n": "o"},
            runtime=Runtime("no lengths", "tensor", "processing", "no lengths"),
            evidence=f"{SEEN}: coremltools' own test_recurrent.py"),
    Dialect("coreml", "CoreML NeuralNetwork GRULayer", "gru_reset_before", False,
            gates_apart({"W": "{}WeightMatrix", "U": "{}RecursionMatrix", "b": "{}BiasVector"},
                        {"z": "updateGate", "r": "resetGate", "n": "outputGate"}),
            CELL, {"n": "o"}, "coreml_nn",
            runtime=Runtime("no lengths", "tensor", "processing", "no lengths"), evidence=SEEN),
    Dialect("mxnet", "MXNet gluon.rnn.GRU", "gru", False,
            {"i2h_weight": "W.rzn", "h2h_weight": "U.rzn", "i2h_bias": "b.rzn",
             "h2h_bias": "a.rz d.n"},
            Scheme("{}_", ("l", "r"), always=True, turned=True), runtime=PACKED,
            evidence=f"{SEEN}: mxnet 1.9.1 gluon/rnn/rnn_layer.py"),
    # bias_ih_attr=False makes a layer without that tensor; in newer versions one of zeros, and with
    # it wrong names: weight_hh_l1 may then be a bias. Those under 0.cell are right.
    replace(alike("paddle", "Paddle 2 and 3 nn.GRU", Runtime("raw", "tensor", "time", "unknown"),
                  evidence=f"{SEEN}: python/paddle/nn/layer/rnn.py"), either=True),
    Dialect("chainer", "Chainer links StatelessGRU, StatefulGRU", "gru_reset_before_admit", False,
            {f"W{s}/W": f"W.{g}" for g, s in (("r", "_r"), ("z", "_z"), ("n", ""))}
            | {f"U{s}/W": f"U.{g}" for g, s in (("r", "_r"), ("z", "_z"), ("n", ""))}
            | {f"W{s}/b": f"b.{g}" for g, s in (("r", "_r"), ("z", "_z"), ("n", ""))}
            | {f"U{s}/b": f"a.{g}" for g, s in (("r", "_r"), ("z", "_z"), ("n", ""))},
            CELL, {"n": "h_bar"}, evidence=f"{SEEN}: chainer/links/rnn/gru.py"),
    Dialect("chainer", "Chainer NStepGRU, NStepBiGRU", "gru", False,
            {f"w{k}": f"W.{g}" for k, g in enumerate("rzn")}
            | {f"w{k}": f"U.{g}" for k, g in enumerate("rzn", 3)}
            | {f"b{k}": f"b.{g}" for k, g in enumerate("rzn")}
            | {"b3": "a.r", "b4": "a.z", "b5": "d.n"},
            CELL, named="chainer_nstep", runtime=LIST,
            evidence=f"{SEEN}: chainer/functions/rnn/n_step_gru.py"),
    matlab("after-multiplication, the default", "gru", "b.rzn", ""),
    matlab("before-multiplication", "gru_reset_before", "b.rzn", "matlab_reset_before"),
    matlab("recurrent-bias-after-multiplication", "gru", "b.rzn a.rz d.n",
           "matlab_recurrent_bias"),
    columns("sonnet", "Sonnet 2 GRU", "gru_reset_before_admit", "b.zrn", "w_i w_h b"),
    columns("sonnet", "Sonnet 2 CuDNNGRU", "gru", "b.zrn", "w_i w_h b", "sonnet_cudnn"),
    Dialect("burn", "burn Gru(reset_after=true), the default", "gru", True,
            gates_apart({"W": "{}.input_transform.weight", "b": "{}.input_transform.bias",
                         "U": "{}.hidden_transform.weight"},
                        {"z": "update_gate", "r": "reset_gate", "n": "new_gate"})
            | {"update_gate.hidden_transform.bias": "a.z",
               "reset_gate.hidden_transform.bias": "a.r",
               "new_gate.hidden_transform.bias": "d.n"},
            CELL, evidence=f"{SEEN}: burn-nn/src/modules/rnn/gru.rs"),
    Dialect("ncnn", "ncnn GRU", "gru", False,
            {"weight_xc_data": "W.rzn", "weight_hc_data": "U.rzn",
             "bias_c_data": "b.r / b.z / b.n / d.n"}, CELL, {"z": "u"},
            evidence=f"{SEEN}: src/layer/gru.cpp"),
    columns("rtneural", "RTNeural GRULayer", "gru", "b.zrn / a.zr d.n", "wVals uVals bVals"),
    Dialect("haste", "haste GRU", "gru", True,
            {"kernel": "W.zrn", "recurrent_kernel": "U.zrn", "bias": "b.zrn",
             "recurrent_bias": "a.zr d.n"}, KERAS,
            runtime=Runtime("repeat", "caller", "caller", "initial"),
            evidence=f"{SEEN}: haste frameworks/pytorch/gru.py"),
    Dialect("dynet", "DyNet GRUBuilder", "gru_reset_before_admit", False,
            gates_apart({"W": "x2{}", "U": "h2{}", "b": "b{}"}, {"z": "z", "r": "r", "n": "h"}),
            CELL, {"n": "h"}, evidence=f"{SEEN}: dynet 2.1.2 dynet/gru.cc"),
    Dialect("onednn", "oneDNN vanilla_gru", "gru_reset_before", True,
            {"weights_layer": "W.zrn", "weights_iter": "U.zrn", "bias": "b.zrn"}, CELL,
            {"z": "u", "n": "o"}, runtime=BY_LENGTH,
            evidence=f"{SEEN}: doc/primitives/rnn.md"),
    Dialect("onednn", "oneDNN lbr_gru", "gru", True,
            {"weights_layer": "W.zrn", "weights_iter": "U.zrn", "bias": "b.zrn d.n"}, CELL,
            {"z": "u", "n": "o"}, "onednn_lbr", runtime=BY_LENGTH,
            evidence=f"{SEEN}: doc/primitives/rnn.md"),
)  # fmt: skip
