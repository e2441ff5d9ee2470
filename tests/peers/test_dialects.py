"""Every record that says so is the framework's: its code and ours agree on random networks."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version

import numpy as np
import pytest
from frameworks import BOTH, FRAMEWORKS, IN_SINGLE, Case, Done, onnx_reference

from grus.dialects import DIALECTS, Activation, Dialect, Network, convert, find
from grus.dialects.conversion import rounding
from grus.equations import Weight
from house import ROOT

STEPS, BATCH, INPUTS, HIDDEN = 5, 3, 3, 4
PROVEN = [one for one in DIALECTS if one.proven]
TENSORFLOW = ("tf1", "keras_1", "keras_cudnn")
"""Run by test_tensorflow.py, in an environment of its own."""
RUN = [one for one in PROVEN if one.framework in FRAMEWORKS]
Array = np.ndarray


def draw(dialect: Dialect, layers: int, directions: int, rng: np.random.Generator) -> list:
    """[layer][direction] -> tensors by the dialect's own names; no bias is zero."""
    found = []
    for k in range(layers):
        width = INPUTS if k == 0 else directions * HIDDEN
        shapes = {t.name: t.shape(HIDDEN, width, dialect.columns) for t in dialect.tensors}
        found.append(
            [
                {name: single(rng.normal(0, 0.5, shape)) for name, shape in shapes.items()}
                for _ in range(directions)
            ]
        )
    return found


def single(value: Array) -> Array:
    """Numbers that float32 holds too, so that whoever computes in it is given the same."""
    return value.astype(np.float32).astype(np.float64)


def network_of(dialect: Dialect, tensors: list) -> Network:
    layers, directions = len(tensors), len(tensors[0])
    names: dict[str, Array] = {}
    for k, one in enumerate(tensors):
        for d, each in enumerate(one):
            for base, array in each.items():
                name = dialect.scheme.name(base, (k, d), layers, directions)
                if not dialect.scheme.axis:
                    names[name] = array
                elif d == 0:
                    names[name] = np.stack([other[base] for other in one])
    return dialect.read(names)


def run_framework(run: Callable[[Case], Done], dialect: Dialect, tensors: list, x, start) -> Done:
    """All layers, one after the other."""
    finals = []
    directions = len(tensors[0])
    for k, one in enumerate(tensors):
        places = range(k * directions, (k + 1) * directions)
        here = tuple(tuple(state[p] for state in start) for p in places)
        x, final = run(Case(dialect, tuple(one), x, here))
        finals += final
    return x, tuple(np.stack(state) for state in zip(*finals, strict=True))


def compare(
    dialect: Dialect,
    read_as: Dialect | None = None,
    layers: int = 1,
    directions: int = 1,
    seed: int = 0,
    run: Callable[[Case], Done] | None = None,
) -> None:
    """Run the framework and the reference on the same tensors, x and initial states."""
    rng = np.random.default_rng(seed)
    tensors = draw(dialect, layers, directions, rng)
    network = network_of(read_as or dialect, tensors)
    x = single(rng.normal(size=(STEPS, BATCH, INPUTS)))
    shape = (layers * directions, BATCH, HIDDEN)
    start = tuple(single(rng.normal(0, 0.5, shape)) for _ in network.cell.states)
    theirs = run_framework(run or FRAMEWORKS[dialect.framework], dialect, tensors, x, start)
    ours = network.run(x, start)
    unit = 2.0**-24 if dialect.framework in IN_SINGLE else 2.0**-53
    # A step sums I + H products and rounds a dozen times beside, at numbers of about 1; at these
    # sizes an error may at most double from step to step, and from layer to layer.
    size = max(1.0, float(np.abs(ours.output).max()))
    bound = 2 ** (STEPS + layers - 1) * (directions * HIDDEN + HIDDEN + 12) * unit * size
    for one, other in zip((theirs[0], *theirs[1]), (ours.output, *ours.state), strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=bound)


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("dialect", RUN, ids=lambda one: one.title)
def test_the_framework_computes_what_its_record_says(dialect: Dialect, layers: int) -> None:
    for seed in range(3):
        compare(dialect, layers=layers, seed=seed)


@pytest.mark.parametrize(
    "dialect", [one for one in RUN if one.framework in BOTH], ids=lambda one: one.title
)
def test_two_layers_of_both_directions_are_the_frameworks(dialect: Dialect) -> None:
    compare(dialect, layers=2, directions=2)


@pytest.mark.parametrize(
    "dialect",
    [one for one in RUN if one.framework == "onnx" and "relu" not in one.name],
    ids=lambda one: one.title,
)
def test_the_onnx_packages_own_evaluator_agrees(dialect: Dialect) -> None:
    compare(dialect, directions=2, run=onnx_reference)


def test_a_torch_module_of_two_layers_loads_the_names_that_are_written() -> None:
    torch = pytest.importorskip("torch")
    dialect, rng = find("torch"), np.random.default_rng(3)
    network = network_of(dialect, draw(dialect, 2, 2, rng))
    module = torch.nn.GRU(INPUTS, HIDDEN, 2, bidirectional=True, dtype=torch.float64)
    module.load_state_dict({n: torch.from_numpy(a) for n, a in dialect.write(network).items()})
    x, h0 = rng.normal(size=(STEPS, BATCH, INPUTS)), rng.normal(size=(4, BATCH, HIDDEN))
    with torch.no_grad():
        output, final = module(torch.from_numpy(x), torch.from_numpy(h0))
    ours = network.run(x, h0)
    assert np.abs(output.numpy() - ours.output).max() < rounding(network)
    assert np.abs(final.numpy() - ours.state[0]).max() < rounding(network)


# What users may choose: each word of Keras and of ONNX, with numbers of one's own and a clip.
KERAS_CHOICES = [
    find(name).activated(gates, candidate)
    for name in ("keras", "keras_reset_before", "keras_lstm")
    for gates, candidate in (("hard_sigmoid", "relu"), ("sigmoid", "softsign"), ("relu", "elu"),
                             ("hard_sigmoid", "linear"), ("sigmoid", "leaky_relu"),
                             ("hard_sigmoid", "exponential"), ("sigmoid", "silu"))
    if not (name == "keras_lstm" and candidate == "exponential")  # two of them overflow
]  # fmt: skip


def keras_output(dialect: Dialect) -> Dialect:
    """Keras' LSTM uses its activation twice: for the candidate and for the state's output."""
    chosen = dialect.activations
    if dialect.cell_name != "lstm":
        return dialect
    return replace(dialect, activations=replace(chosen, output=chosen.candidate))


@pytest.mark.parametrize("dialect", KERAS_CHOICES, ids=lambda one: f"{one.name} {one.activations}")
def test_keras_with_other_activations(dialect: Dialect) -> None:
    compare(keras_output(dialect), layers=2, directions=2)


ONNX_CHOICES = [
    find(name).activated(gates, candidate, clip=clip)
    for name in ("onnx_reset_after", "onnx_reset_before", "onnx_lstm", "onnx_rnn")
    for gates, candidate, clip in (
        (Activation("hard_sigmoid", 0.3, 0.4), Activation("scaled_tanh", 1.2, 0.7), None),
        (Activation("sigmoid"), Activation("softsign"), 0.8),
        (Activation("hard_sigmoid"), Activation("elu", 0.6), None),
        (Activation("sigmoid"), Activation("leaky_relu", 0.3), 0.5),
        (Activation("affine", 0.2, 0.5), Activation("relu"), 0.9),
        (Activation("sigmoid"), Activation("thresholded_relu", 0.25), None),
    )
]  # fmt: skip


@pytest.mark.parametrize("dialect", ONNX_CHOICES, ids=lambda one: f"{one.name} {one.activations}")
@pytest.mark.parametrize("directions", [1, 2])
def test_onnx_with_other_activations_numbers_of_its_own_and_a_clip(
    dialect: Dialect, directions: int
) -> None:
    compare(dialect, directions=directions)


OPENVINO_CHOICES = [
    find(name).activated(gates, candidate, clip=clip)
    for name in ("openvino_reset_after", "openvino_reset_before", "openvino_lstm", "openvino_rnn")
    for gates, candidate, clip in (("relu", "tanh", None), ("sigmoid", "relu", 0.6))
]


@pytest.mark.parametrize(
    "dialect", OPENVINO_CHOICES, ids=lambda one: f"{one.name} {one.activations}"
)
def test_openvino_with_other_activations_and_a_clip(dialect: Dialect) -> None:
    compare(dialect, directions=2)


@pytest.mark.parametrize("framework", ["keras", "onnx", "openvino"])
def test_the_other_place_of_the_reset_is_another_function(framework: str) -> None:
    """A break: tensors of one family read as the other's give other numbers."""
    before, after = (find(framework, cell) for cell in ("gru_reset_before", "gru"))
    inner = next(name for name, text in after.holds.items() if text.startswith("b."))
    as_before = replace(before, holds=before.holds | {inner: after.holds[inner]})
    with pytest.raises(AssertionError, match="Not equal to tolerance"):
        compare(after, read_as=as_before)


SWAPS = [one for one in RUN if len(one.order) > 1]


@pytest.mark.parametrize("dialect", SWAPS, ids=lambda one: one.title)
def test_another_order_of_the_gates_is_another_function(dialect: Dialect) -> None:
    """A break: in one tensor two gates change places."""
    name, text = next(iter(dialect.holds.items()))
    one, other = dialect.order[:2]
    swapped = text.translate(str.maketrans(one + other, other + one))
    assert swapped != text
    with pytest.raises(AssertionError, match="Not equal to tolerance"):
        compare(dialect, read_as=replace(dialect, holds={**dialect.holds, name: swapped}))


def test_every_record_that_says_it_is_run_is_run_here_in_that_version() -> None:
    pinned = dict(re.findall(r"^(\S+?)==(\S+)$", (ROOT / "constraints.txt").read_text(), re.M))
    for one in PROVEN:
        assert one.framework in {*FRAMEWORKS, *TENSORFLOW}
        package, run = one.evidence.split()
        assert pinned.get(package, run) == run
        if one.framework not in TENSORFLOW:
            assert installed(package) in (run, "")


def installed(package: str) -> str:
    try:
        return version(package).partition("+")[0]
    except PackageNotFoundError:
        return ""


HELD = [one for one in RUN if one.cell_name == "gru" and one.name not in ("torch", "flax_nnx")]


@pytest.mark.parametrize("target", HELD, ids=lambda one: one.title)
def test_there_and_back_each_framework_gives_torchs_outputs(target: Dialect) -> None:
    """torch -> X -> torch, each time run by whoever's weights they are."""
    rng, torch = np.random.default_rng(5), find("torch")
    tensors = network_of(torch, draw(torch, 1, 1, rng))
    x = single(rng.normal(size=(STEPS, BATCH, INPUTS)))
    start = (single(rng.normal(0, 0.5, (1, BATCH, HIDDEN))),)

    def output(dialect: Dialect, named: dict[str, Array]) -> Array:
        own = {base: named[dialect.scheme.name(base, (0, 0), 1, 1)] for base in dialect.holds}
        own = {base: a[0] for base, a in own.items()} if dialect.scheme.axis else own
        return run_framework(FRAMEWORKS[dialect.framework], dialect, [[own]], x, start)[0]

    given = torch.write(tensors)
    there = convert(given, torch, target)
    back = convert(there.tensors, there.target, torch)
    before, between = output(torch, given), output(there.target, there.tensors)
    after = output(torch, back.tensors)
    exact = Weight("a", "r") in target.blocks
    assert np.array_equal(before, after) if exact else np.abs(before - after).max() < 2.0**-50
    unit = 2.0**-24 if target.framework in IN_SINGLE else 2.0**-53
    assert np.abs(before - between).max() <= 2**STEPS * (INPUTS + HIDDEN + 12) * unit
