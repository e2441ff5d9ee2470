"""Products of bfloat16: rounded matrices give the very bits of float32; dot products stay within
what rounding both factors may cost."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import grus
from cells import ALL_CELLS, draw_states, draw_weights, sizes
from grus import InputError, kernels, runtime
from grus.kernels import bfloat16
from grus.kernels.jit import host_features
from grus.kernels.plan import UnsupportedCellError, make_plan
from grus.kernels.steps import Steps

Array = np.ndarray[Any, np.dtype[Any]]
SHAPES = [(3, 1, 7, 13), (4, 3, 16, 32), (5, 9, 1, 5), (2, 20, 33, 47), (0, 2, 3, 4), (9, 1, 2, 1)]


def _runs(name: str) -> bool:
    cell = ALL_CELLS[name]
    try:
        make_plan(cell)
    except UnsupportedCellError:
        return False
    return {i.name for i in cell.inputs} == {"x"}


NAMES = [name for name in ALL_CELLS if _runs(name)]
dotting = pytest.mark.skipif(
    not host_features().get("avx512bf16"), reason="this processor has no AVX512_BF16"
)


def rounded(array: Array) -> Array:
    """To bfloat16, to nearest, ties to even."""
    bits = array.view(np.uint32)
    upper = (bits + np.uint32(0x7FFF) + (bits >> 16 & 1)) & np.uint32(0xFFFF0000)
    return np.where(np.isnan(array), array, upper.view(np.float32)).astype(np.float32)


def case(name: str, shape: tuple[int, int, int, int]) -> tuple[Any, dict[str, Array], Array, Any]:
    """Cell, weights, x and states, for (time, batch, input, hidden)."""
    time, batch, inputs, hidden = shape
    cell, rng = ALL_CELLS[name], np.random.default_rng(sum(shape))
    size = sizes(cell, inputs, hidden, 3)
    weights = draw_weights(cell, size, rng)
    x = rng.normal(size=(time, batch, size["input"]))
    state = draw_states(cell, size, batch, rng)
    return (
        cell,
        {f: w.astype(np.float32) for f, w in weights.items()},
        x.astype(np.float32),
        tuple(s.astype(np.float32) for s in state),
    )


def matrices_rounded(weights: dict[str, Array]) -> dict[str, Array]:
    return {f: rounded(w) if w.ndim == 2 else w for f, w in weights.items()}


def same(found: Any, want: Any) -> None:
    assert found.output.tobytes() == want.output.tobytes()
    assert [s.tobytes() for s in found.state] == [s.tobytes() for s in want.state]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", NAMES)
def test_narrow_weights_give_the_bits_of_rounded_matrices(
    name: str, shape: tuple[int, int, int, int]
) -> None:
    cell, weights, x, state = case(name, shape)
    found = grus.run(cell, weights, x, state, narrow="weights")
    same(found, grus.run(cell, matrices_rounded(weights), x, state))


@pytest.mark.parametrize("options", [{"reverse": True}, {"lengths": True}, {"resets": True}])
def test_so_they_do_with_lengths_resets_and_backwards(options: dict[str, Any]) -> None:
    cell, weights, x, state = case("gru", (7, 5, 6, 19))
    rng = np.random.default_rng(0)
    if "lengths" in options:
        options = {"lengths": rng.integers(0, 8, 5)}
    if "resets" in options:
        options = {"resets": rng.random((7, 5)) < 0.3}
    found = grus.run(cell, weights, x, state, narrow="weights", **options)
    same(found, grus.run(cell, matrices_rounded(weights), x, state, **options))


@dotting
@pytest.mark.parametrize("shape", [s for s in SHAPES if s[0]])
@pytest.mark.parametrize("name", ["gru", "lstm", "rnn"])
def test_dot_products_of_what_is_bfloat16_already_differ_by_their_sums_alone(
    name: str, shape: tuple[int, int, int, int]
) -> None:
    cell, weights, x, state = case(name, (1, *shape[1:]))
    weights, x, state = matrices_rounded(weights), rounded(x), tuple(map(rounded, state))
    found = grus.run(cell, weights, x, state, narrow="products")
    want = grus.run(cell, weights, x, state)
    # Two sums of as many products, of about 0.5 and 1 each, rounded in another order; gates then
    # take part in the state.
    bound = 8 * (x.shape[2] + state[0].shape[1]) * 2.0**-24
    assert np.abs(found.output - want.output).max() <= bound


@dotting
def test_dot_products_round_the_state() -> None:
    """A sum of the state alone: with an identity matrix it is the rounded state itself."""
    cell = grus.Cell.parse("h_next = W.n @ x + U.n @ h", "sum")
    h = np.random.default_rng(1).normal(size=(3, 21)).astype(np.float32)
    weights = {"W": np.zeros((21, 4), np.float32), "U": np.eye(21, dtype=np.float32)}
    x = np.ones((1, 3, 4), np.float32)
    found = grus.run(cell, weights, x, h, narrow="products").output[0]
    assert np.array_equal(found, rounded(h))
    assert not np.array_equal(found, h)
    kept = grus.run(cell, weights, x, h, narrow="weights").output[0]
    assert np.array_equal(kept, h)


@pytest.mark.parametrize("kind", ["weights", pytest.param("products", marks=dotting)])
def test_bits_do_not_depend_on_where_a_sequence_is_cut_nor_on_other_rows(kind: Any) -> None:
    cell, weights, x, state = case("gru_reset_before", (6, 9, 11, 21))
    whole = grus.run(cell, weights, x, state, narrow=kind)
    for t in range(len(x)):
        one = grus.run(cell, weights, x[t : t + 1], state, narrow=kind)
        assert one.output[0].tobytes() == whole.output[t].tobytes()
        state = one.state
    row = grus.run(cell, weights, x[:, 4:5], case("gru_reset_before", (6, 9, 11, 21))[3][0][4:5],
                   narrow=kind)  # fmt: skip
    assert row.output[:, 0].tobytes() == whole.output[:, 4].tobytes()


def test_what_is_not_finite_stays_so() -> None:
    cell, weights, x, state = case("rnn_relu", (1, 2, 3, 4))
    weights["W"][0, 0] = np.uint32(0x7F800001).view(np.float32)  # a NaN in the lower half alone
    weights["W"][1, 1] = np.inf
    x[:] = 1
    found = grus.run(cell, weights, x, state, narrow="weights").output[0]
    assert np.isnan(found[:, 0]).all()
    assert np.isinf(found[:, 1]).all()


def test_a_pair_in_the_wrong_order_is_noticed(
    recompiled: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = bfloat16.widened
    monkeypatch.setattr(bfloat16, "widened", lambda f, both: right(f, both)[::-1])
    with pytest.raises(AssertionError):
        test_narrow_weights_give_the_bits_of_rounded_matrices("gru", SHAPES[0])


def test_what_cannot_be_narrow_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    cell, weights, x, state = case("gru", SHAPES[0])
    with pytest.raises(InputError, match='narrow must be "", "weights" or "products"'):
        grus.run(cell, weights, x, state, narrow="half")  # type: ignore[arg-type]
    wide = {f: w.astype(np.float64) for f, w in weights.items()}
    with pytest.raises(InputError, match="is for float32, got float64"):
        grus.run(cell, wide, x.astype(np.float64), narrow="weights")
    monkeypatch.setattr("grus.kernels.jit.host_features", dict)
    with pytest.raises(InputError, match="needs a processor with AVX512_BF16"):
        grus.run(cell, weights, x, state, narrow="products")
    monkeypatch.setenv("GRUS_BACKEND", "reference")
    with pytest.raises(InputError, match="needs the kernels"):
        grus.run(cell, weights, x, state, narrow="weights")


def test_nothing_that_is_kept_for_backward_is_narrow() -> None:
    cell, weights, x, (h,) = case("gru", SHAPES[0])
    axes = kernels.axis_sizes(cell, weights)
    saved = np.empty(kernels.saved_size(cell, x.shape, axes), np.float32)
    out = np.empty((*x.shape[:2], h.shape[1]), np.float32)
    with pytest.raises(InputError, match="is for inference"):
        runtime.forward(
            cell, weights, x, (h,), out, (h.copy(),), saved, steps=Steps(narrow="weights")
        )


@pytest.mark.parametrize("kind", ["weights", pytest.param("products", marks=dotting)])
def test_a_stepper_has_the_bits_of_the_sequence(kind: Any) -> None:
    torch = pytest.importorskip("torch")
    layer = grus.GRU(7, 13)
    x = torch.randn(5, 2, 7)
    weights = {f: w.detach().numpy() for f, w in layer.layer_weights(0).items()}
    whole = grus.run("gru", weights, x.numpy(), narrow=kind).output
    stepper, state = layer.stepper(kind), None
    for t in range(5):
        y, state = stepper(x[t], state)
        assert y.numpy().tobytes() == whole[t].tobytes()
