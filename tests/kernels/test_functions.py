"""exp, log, sigmoid, softplus and tanh as the kernels compute them: errors, ends, what is exact.

A cell whose next state is a function of a bias puts one value into each lane of a long state. The
errors are those that `bounds` derives, in units of the unit roundoff u, against long doubles (u of
which is 2^-64 on x86; where a long double is a double, twice the errors are allowed in float64).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

import bounds
from grus import runtime
from grus.equations import Cell
from grus.kernels import functions, jit
from grus.kernels.builder import Builder
from grus.kernels.functions import DOUBLE, SINGLE, SPELLINGS
from grus.kernels.loops import Value
from grus.kernels.machine import MACHINES, Machine

Array = np.ndarray
U = {"float32": 2.0**-24, "float64": 2.0**-53}
PRECISION = {"float32": SINGLE, "float64": DOUBLE}
EXTENDED = np.finfo(np.longdouble).eps < np.finfo(np.float64).eps

both = pytest.mark.parametrize("dtype", ["float32", "float64"])
X86 = [m for m in MACHINES.values() if m.x86]


def apply(text: str, *values: Array) -> Array:
    """The kernel's value of an expression of b.h (and p.h), for each element."""
    cell = Cell.parse(f"h_next = {text}")
    weights = dict(zip("bp", values, strict=False))
    x = np.zeros((1, 1, 1), values[0].dtype)
    return runtime.run(cell, weights, x).output[0, 0]


def everywhere(dtype: str) -> Array:
    """Finite numbers of both signs, each power of two as often as any other; and the ends of all
    ranges, with their neighbours."""
    bits = np.uint32 if dtype == "float32" else np.uint64
    top = int(np.array(np.inf, dtype).view(bits))
    rng = np.random.default_rng(0)
    found = rng.integers(0, top, 200_000, dtype=bits).view(dtype)
    ends = [
        0.0,
        0.5,
        1.0,
        9.0,
        17.3,
        19.1,
        37.4,
        43.5,
        87,
        87.4,
        88,
        88.5,
        88.7,
        88.8,
        354,
        708,
        709,
        709.5,
        745,
    ]
    ends += [k * np.log(2) / 2 for k in range(-40, 40)]
    near = np.array(ends, dtype)
    near = np.concatenate(
        [near, np.nextafter(near, dtype_max(dtype)), np.nextafter(near, near * 0)]
    )
    moderate = rng.uniform(0, 100, 100_000).astype(dtype)
    found = np.concatenate([found, near, moderate, rng.uniform(0, 1, 50_000).astype(dtype)])
    return np.concatenate([found, -found])


def dtype_max(dtype: str) -> float:
    return np.finfo(dtype).max


def true(name: str, v: Array) -> Array:
    """The function in long doubles."""
    wide = v.astype(np.longdouble)
    with np.errstate(over="ignore", under="ignore"):
        if name == "sigmoid":
            e = np.exp(-np.abs(wide))
            return np.where(wide >= 0, 1 / (1 + e), e / (1 + e))
        if name == "softplus":
            return np.maximum(wide, 0) + np.log1p(np.exp(-np.abs(wide)))
        return {"exp": np.exp, "log": np.log, "tanh": np.tanh}[name](wide)


def check_errors(dtype: str) -> None:
    """Raise AssertionError where a function is off by more than its bound says."""
    v, u, k = everywhere(dtype), U[dtype], PRECISION[dtype]
    u *= 1 if EXTENDED or dtype == "float32" else 2
    tiny = float(np.finfo(dtype).smallest_subnormal)
    off = np.abs(apply("tanh(b.h)", v) - true("tanh", v))
    assert (off <= bounds.TANH * u * np.abs(true("tanh", v)) + tiny).all()
    off = np.abs(apply("sigmoid(b.h)", v) - true("sigmoid", v))
    assert (off <= bounds.SIGMOID * u + bounds.UNITS[dtype].lowest).all()
    inside = v[(v >= k.lowest) & (v <= k.highest)]
    off = np.abs(apply("exp(b.h)", inside) - true("exp", inside))
    assert (off <= bounds.EXP * u * true("exp", inside)).all()
    off = np.abs(apply("softplus(b.h)", v) - true("softplus", v))
    assert (off <= bounds.SOFTPLUS * u * true("softplus", v) + bounds.UNITS[dtype].lowest).all()
    above = v[v > 0]
    off = np.abs(apply("log(b.h)", above) - true("log", above))
    assert (off <= bounds.LOG * u * np.abs(true("log", above))).all()


def check_saturation(dtype: str) -> None:
    """Raise AssertionError where a function leaves its range or does not reach its ends."""
    v, k = everywhere(dtype), PRECISION[dtype]
    # e^-v, and 2 e^-2v, are lost in a sum with 1 once they are below u/2.
    ones = {name: -np.log(U[dtype] / 2) / d for name, d in (("sigmoid", 1), ("tanh", 2))}
    s, t = apply("sigmoid(b.h)", v), apply("tanh(b.h)", v)
    assert ((s >= 0) & (s <= 1)).all()
    assert (s[v < k.lowest] == 0).all()
    assert (s[v > ones["sigmoid"] + 0.01] == 1).all()
    assert (np.abs(t) <= 1).all()
    assert (t[v > ones["tanh"] + 0.4] == 1).all()
    assert apply("sigmoid(b.h)", np.array([-100, -1000], dtype))[-1] == 0
    ends = np.array([np.inf, -np.inf], dtype)
    assert apply("tanh(b.h)", ends).tolist() == [1, -1]
    assert apply("sigmoid(b.h)", ends).tolist() == [1, 0]
    assert apply("exp(b.h)", ends).tolist() == [np.inf, 0]
    assert apply("softplus(b.h)", ends).tolist() == [np.inf, 0]
    assert apply("log(b.h)", np.array([np.inf, 0, -0.0, 1], dtype)).tolist() == [
        np.inf,
        -np.inf,
        -np.inf,
        0,
    ]
    assert np.isnan(apply("log(b.h)", np.array([-1, -np.inf, -1e-30], dtype))).all()
    # The last number whose exponential the type holds, and the next one.
    last = np.array([k.highest], dtype)
    beyond = np.nextafter(last, np.array(np.inf, dtype))
    assert np.isfinite(apply("exp(b.h)", last)).all()
    assert np.isinf(apply("exp(b.h)", beyond)).all()
    with np.errstate(over="ignore"):
        assert np.isfinite(np.exp(last)).all()
        assert np.isinf(np.exp(beyond)).all()


def check_nan(dtype: str) -> None:
    """Raise AssertionError where a function swallows NaN, in any lane."""
    for text in (
        "softplus(b.h)",
        "tanh(b.h)",
        "sigmoid(b.h)",
        "exp(b.h)",
        "relu(b.h)",
        "sqrt(b.h)",
        "log(b.h)",
    ):
        found = apply(text, np.where(np.arange(67) % 3 == 1, np.nan, 0.25).astype(dtype))
        assert (np.isnan(found) == (np.arange(67) % 3 == 1)).all(), text
    one, two = np.array([[np.nan, 1, np.nan, 1], [1, np.nan, np.nan, 2]], dtype)
    for text in ("minimum(b.h, p.h)", "maximum(b.h, p.h)"):
        assert np.isnan(apply(text, one, two)).tolist() == [True, True, True, False], text


@both
@pytest.mark.parametrize("machine", X86, ids=lambda m: m.name)
def test_functions_are_within_their_errors_saturate_and_keep_nan(
    machine: Machine, dtype: str, recompiled: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    if machine.vector_bytes > jit.host().vector_bytes or not jit.host().x86:
        pytest.skip(f"this processor has no {machine.name}")
    monkeypatch.setattr(jit, "host", lambda: machine)
    check_errors(dtype)
    check_saturation(dtype)
    check_nan(dtype)


@both
def test_tanh_is_odd_bit_for_bit(dtype: str) -> None:
    v = everywhere(dtype)
    assert (-apply("tanh(b.h)", v)).tobytes() == apply("tanh(b.h)", -v).tobytes()


@both
def test_denormals_and_signed_zeros_are_kept(dtype: str) -> None:
    tiny = np.finfo(dtype).smallest_subnormal * np.array([1, 3, 12345], dtype)
    small = np.concatenate([tiny, -tiny, np.array([0.0, -0.0], dtype)])
    assert apply("tanh(b.h)", small).tobytes() == small.tobytes()
    assert apply("relu(b.h)", tiny).tobytes() == tiny.tobytes()
    assert apply("b.h * 3", tiny).tobytes() == (3 * tiny).tobytes()
    assert (apply("sigmoid(b.h)", small) == 0.5).all()
    assert (apply("exp(b.h)", small) == 1).all()


@both
def test_roots_quotients_and_choices_are_numpys(dtype: str) -> None:
    v = everywhere(dtype)
    w = np.random.default_rng(1).permutation(v)
    w[w == 0] = 1
    size = np.abs(v)
    with np.errstate(over="ignore", under="ignore"):
        assert apply("sqrt(b.h)", size).tobytes() == np.sqrt(size).tobytes()
        assert apply("b.h / p.h", v, w).tobytes() == (v / w).tobytes()
    assert (apply("minimum(b.h, p.h)", v, w) == np.minimum(v, w)).all()
    assert (apply("maximum(b.h, p.h)", v, w) == np.maximum(v, w)).all()
    assert (apply("relu(b.h)", v) == np.maximum(v, 0)).all()
    assert (apply("positive(b.h)", v) == (v > 0)).all()
    zero = np.zeros(2, dtype)
    assert np.isinf(apply("b.h / p.h", np.array([1, -1], dtype), zero)).all()


def _through(name: str, text: Callable[[Builder, Value], Value]) -> Callable[..., None]:
    return lambda patch: patch.setitem(SPELLINGS, name, text)


def _textbook_tanh(f: Builder, v: Value) -> Value:
    # (e^2v - 1) / (e^2v + 1) cancels near 0.
    e = functions.exp(f, f.let("mul", v, 2.0))
    return f.let("div", f.let("add", e, -1.0), f.let("add", e, 1.0))


def _clamped_sigmoid(f: Builder, v: Value) -> Value:
    # A range that ends before sigmoid does: it never gets to 0.
    return functions.sigmoid(f, functions.choose(f, "less", v, -16.0, -16.0, v))


def _relu_that_swallows_nan(f: Builder, v: Value) -> Value:
    return functions.choose(f, "more", v, 0.0, v, 0.0)


def _one_term_less(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(functions, "SINGLE", replace(SINGLE, terms=SINGLE.terms - 1))


def _coarse_ln2(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(functions, "SINGLE", replace(SINGLE, ln2_low=0.0))


@pytest.mark.parametrize(
    ("broken", "check"),
    [
        pytest.param(_through("tanh", _textbook_tanh), check_errors, id="textbook tanh"),
        pytest.param(_one_term_less, check_errors, id="one term less"),
        pytest.param(_coarse_ln2, check_errors, id="ln 2 in one piece"),
        pytest.param(_through("sigmoid", _clamped_sigmoid), check_saturation, id="clamped"),
        pytest.param(
            _through("relu", _relu_that_swallows_nan), check_nan, id="maxnum swallows NaN"
        ),
    ],
)
def test_a_break_of_a_function_is_caught(
    broken: Callable[[pytest.MonkeyPatch], None],
    check: Callable[[str], None],
    recompiled: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    broken(monkeypatch)
    with pytest.raises(AssertionError):
        check("float32")
