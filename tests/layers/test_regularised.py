"""Regularised and normalised layers: what is drawn, when, and that gradients see the same masks."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch import Tensor, nn  # noqa: E402
from torch.nn import functional  # noqa: E402

import grus  # noqa: E402
from grus import InputError  # noqa: E402
from grus.reference.masks import draw, words  # noqa: E402

pytestmark = pytest.mark.torch
TIME, BATCH, INPUT, HIDDEN = 5, 3, 4, 7
LAYERS = {"gru": grus.GRU, "lstm": grus.LSTM}
RANDOM: dict[str, dict[str, Any]] = {
    "zoneout": {"zoneout": 0.3},
    "recurrent dropout": {"recurrent_dropout": 0.4},
    "candidate dropout": {"candidate_dropout": 0.3},
    "input dropout": {"input_dropout": 0.5},
    "weight dropout": {"weight_dropout": 0.4},
}
NORMS: dict[str, dict[str, Any]] = {
    "split norm": {"layer_norm": "split"},
    "joint norm": {"layer_norm": "joint"},
}
ALL = {
    "all with the split norm": {
        "layer_norm": "split",
        **{name: value for options in RANDOM.values() for name, value in options.items()},
    },
    "zoneout with the joint norm": {"layer_norm": "joint", "zoneout": 0.2},
}
OPTIONS = RANDOM | NORMS | ALL

each = pytest.mark.parametrize("name", LAYERS)
every = pytest.mark.parametrize("given", OPTIONS.values(), ids=list(OPTIONS))
random = pytest.mark.parametrize("given", RANDOM.values(), ids=list(RANDOM))


def layer(name: str, given: dict[str, Any], **more: Any) -> Any:
    torch.manual_seed(0)
    more.setdefault("dtype", torch.float64)
    return LAYERS[name](INPUT, HIDDEN, **given, **more)


def data(dtype: Any = torch.float64) -> Tensor:
    torch.manual_seed(1)
    return torch.randn(TIME, BATCH, INPUT, dtype=dtype, requires_grad=True)


def run(module: Any, x: Tensor, seed: int = 7, **more: Any) -> Tensor:
    torch.manual_seed(seed)
    y: Tensor = module(x, **more)[0]
    return y


@every
@each
def test_kernels_and_composite_agree_under_one_seed(name: str, given: dict[str, Any]) -> None:
    """float64: a mask that differed in one unit would be off by far more than 1e-11."""
    for more in ({}, {"num_layers": 2, "bidirectional": True}, {"bias": False}):
        one, two = layer(name, given, **more), layer(name, given, backend="composite", **more)
        two.load_state_dict(one.state_dict())
        for steps in ({}, {"lengths": [5, 0, 3]}, {"resets": np.eye(TIME, BATCH, dtype=bool)}):
            x = data()
            found, want = (run(m, x, **steps) for m in (one, two))
            assert (found - want).abs().max() < 1e-11
            grads = (torch.autograd.grad(y.cos().sum(), [x, *m.parameters()])
                     for y, m in ((found, one), (want, two)))  # fmt: skip
            for a, b in zip(*grads, strict=True):
                assert (a - b).abs().max() < 1e-9


@every
@each
def test_torchs_own_gradient_check_passes(name: str, given: dict[str, Any]) -> None:
    module, x = layer(name, given), data()

    def sequence(x: Tensor, *parameters: Tensor) -> Tensor:
        named = dict(zip((n for n, _ in module.named_parameters()), parameters, strict=True))
        torch.manual_seed(3)
        y: Tensor = torch.func.functional_call(module, named, (x,))[0]
        return y

    assert torch.autograd.gradcheck(sequence, (x, *module.parameters()), fast_mode=True)


@random
@each
def test_masks_are_fresh_in_each_call_and_repeated_by_the_seed(
    name: str, given: dict[str, Any]
) -> None:
    module, x = layer(name, given), data()
    first, again = run(module, x), run(module, x)
    assert torch.equal(first, again)
    assert not torch.equal(first, module(x)[0])
    assert not torch.equal(first, run(module, x, seed=8))


@random
@each
def test_nothing_is_drawn_in_eval(name: str, given: dict[str, Any]) -> None:
    module, x = layer(name, given).eval(), data()
    state = torch.get_rng_state()
    found = module(x)[0]
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(found, module(x)[0])
    plain = layer(name, {}, bias=True)
    plain.load_state_dict(module.state_dict())
    # Dropout leaves nothing behind; zoneout runs its expectation, another function.
    assert torch.equal(found, plain(x)[0]) == ("zoneout" not in given)


def test_zoneout_keeps_the_old_values_of_the_units_that_are_drawn() -> None:
    module, x = layer("lstm", {"zoneout": {"c": 0.5, "h": 0.25}}), data()
    plain = layer("lstm", {})
    plain.load_state_dict(module.state_dict())
    start = tuple(torch.randn(1, BATCH, HIDDEN, dtype=torch.float64) for _ in "hc")
    torch.manual_seed(5)
    seed = int(torch.randint(2**63 - 1, ()))
    torch.manual_seed(5)
    _, (h, c) = module(x[:1], start)
    _, (new_h, new_c) = plain(x[:1], start)
    masks = draw(module._drawn[0].cell, {"hidden": HIDDEN}, 1, BATCH, seed)
    for now, new, old, mask in ((h, new_h, start[0], "zone_h"), (c, new_c, start[1], "zone_c")):
        kept = torch.from_numpy(masks[mask]).bool()
        assert kept.any()
        assert not kept.all()
        assert (now - torch.where(kept, old, new)).abs().max() < 1e-14


def test_weight_dropout_is_a_layer_with_dropped_weights() -> None:
    module, x = layer("gru", {"weight_dropout": 0.3}), data()
    torch.manual_seed(5)
    seed = int(torch.randint(2**63 - 1, ()))
    kept = words((1, 3 * HIDDEN, HIDDEN), seed, 2**31 + 1, None)[0] < round(0.7 * 2**32)
    plain = layer("gru", {})
    plain.load_state_dict(module.state_dict())
    with torch.no_grad():
        plain.weight_hh_l0 *= torch.from_numpy(kept) / 0.7
    assert (run(module, x, seed=5) - plain(x)[0]).abs().max() < 1e-14


def gains(module: Any) -> dict[str, Tensor]:
    """Learned numbers away from where they begin."""
    torch.manual_seed(2)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return {name.removesuffix("_l0"): p for name, p in module.named_parameters()}


def test_the_split_norm_of_the_gru_is_hastes() -> None:
    """LN over all 3H products with x, over all 3H with h, each with a gain; biases after them."""
    module, x = layer("gru", {"layer_norm": "split"}), data()
    p, h, found = gains(module), torch.zeros(BATCH, HIDDEN, dtype=torch.float64), []
    for now in x:
        wide = (3 * HIDDEN,)
        a = functional.layer_norm(now @ p["weight_ih"].T, wide, p["gain_ih"]) + p["bias_ih"]
        b = functional.layer_norm(h @ p["weight_hh"].T, wide, p["gain_hh"]) + p["bias_hh"]
        (ar, az, an), (br, bz, bn) = a.chunk(3, 1), b.chunk(3, 1)
        r, z = torch.sigmoid(ar + br), torch.sigmoid(az + bz)
        h = z * h + (1 - z) * torch.tanh(an + r * bn)
        found.append(h)
    assert (module(x)[0] - torch.stack(found)).abs().max() < 1e-12


@pytest.mark.parametrize("form", ["split", "joint"])
def test_the_norms_of_the_lstm_are_the_papers(form: str) -> None:
    """split: Ba et al.; joint: TensorFlow 1's, gate by gate. Both normalise the cell state."""
    module, x = layer("lstm", {"layer_norm": form}), data()
    p, one = gains(module), (HIDDEN,)
    h = c = torch.zeros(BATCH, HIDDEN, dtype=torch.float64)
    found = []
    for now in x:
        a, b = now @ p["weight_ih"].T, h @ p["weight_hh"].T
        if form == "split":
            wide = (4 * HIDDEN,)
            both = functional.layer_norm(a, wide, p["gain_ih"])
            both = both + functional.layer_norm(b, wide, p["gain_hh"])
        else:
            parts = zip((a + b).chunk(4, 1), p["gain"].chunk(4), strict=True)
            both = torch.cat([functional.layer_norm(v, one, g) for v, g in parts], 1)
        i, f, g, o = (both + p["bias_ih"] + p["bias_hh"]).chunk(4, 1)
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        h = torch.sigmoid(o) * torch.tanh(functional.layer_norm(c, one, p["gain_c"], p["shift_c"]))
        found.append(h)
    assert (module(x)[0] - torch.stack(found)).abs().max() < 1e-12


def test_a_norm_begins_as_nothing_but_a_norm() -> None:
    for name in LAYERS:
        for parameter, value in layer(name, {"layer_norm": "split"}).named_parameters():
            if parameter.startswith(("gain", "shift")):
                assert (value == parameter.startswith("gain")).all()


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("bidirectional", [True, False])
def test_the_projected_lstm_runs_on_the_kernels_as_torchs(bias: bool, bidirectional: bool) -> None:
    options = {"num_layers": 2, "proj_size": 3, "bias": bias, "bidirectional": bidirectional}
    theirs = nn.LSTM(INPUT, HIDDEN, dtype=torch.float64, **options)
    ours = grus.LSTM(INPUT, HIDDEN, dtype=torch.float64, backend="kernels", **options)
    ours.load_state_dict(theirs.state_dict())
    x = data()
    outcomes = []
    for module in (theirs, ours):
        y, (h, c) = module(x)
        loss = y.cos().sum() + h.sin().sum() + c.cos().sum()
        outcomes.append([y, h, c, *torch.autograd.grad(loss, [x, *module.parameters()])])
    for found, want in zip(*outcomes, strict=True):
        assert (found - want).abs().max() < 1e-12


@every
def test_a_projected_lstm_takes_every_option(given: dict[str, Any]) -> None:
    one, two = (layer("lstm", given, proj_size=3, backend=b) for b in ("kernels", "composite"))
    two.load_state_dict(one.state_dict())
    x, outcomes = data(), []
    for module in (one, two):
        y = run(module, x)
        outcomes.append([y, *torch.autograd.grad(y.cos().sum(), [x, *module.parameters()])])
    for found, want in zip(*outcomes, strict=True):
        assert (found - want).abs().max() < 1e-11


WRONG = [
    ({"zoneout": 1.0}, "zoneout must be a probability from 0 up and below 1, got 1.0"),
    ({"zoneout": {"q": 0.1}}, "cell gru has no state q, it has h"),
    ({"zoneout": {"h": -0.1}}, "zoneout of state h must be a probability"),
    ({"input_dropout": "0.1"}, "input_dropout must be a probability"),
    ({"layer_norm": True}, 'layer_norm must be "split", "joint" or None, got True'),
    ({"dropuot": 0.1}, "a layer has no option dropuot"),
]


@pytest.mark.parametrize(("given", "message"), WRONG)
def test_what_cannot_be_is_one_sentence(given: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        grus.GRU(INPUT, HIDDEN, **given)


def test_a_cell_without_a_candidate_cannot_drop_it() -> None:
    with pytest.raises(InputError, match="no candidate"):
        grus.RNN(INPUT, HIDDEN, candidate_dropout=0.1)


def test_options_are_shown() -> None:
    shown = repr(grus.GRU(INPUT, HIDDEN, zoneout=0.1, layer_norm="joint"))
    assert "zoneout=0.1" in shown
    assert "layer_norm='joint'" in shown
