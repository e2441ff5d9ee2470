"""JAX: `lax.scan` over the projected input, jitted; forward and `value_and_grad`.

Written as its users write it: weights as [input, gates], the projection of all steps in one
product before the scan, biases that can be added there added there.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from grus_benchmarks.problem import BOTH, BOTH_DX, FORWARD, Problem
from grus_benchmarks.wire import Array, Arrays
from grus_benchmarks.worker import Loaded

Tree = list[dict[str, Any]]
"""For each layer and direction: W [I, 3H], U [H, 3H], b [3H], and the GRU's inner bias d [H]."""


class JaxScan:
    """XLA on the CPU."""

    def __init__(self, threads: int) -> None:
        os.environ["JAX_PLATFORMS"] = "cpu"
        os.environ["NPROC"] = str(threads)
        import jax

        said = f"NPROC={threads}, which XLA reads for its pool, and the affinity mask"
        self.about = {"version": f"jax {jax.__version__}", "threads": said}

    def load(self, problem: Problem, given: Arrays) -> Loaded:
        """The weights as XLA's arrays, the functions jitted."""
        import jax
        import jax.numpy as jnp

        tree = jax.tree.map(jnp.asarray, to_tree(problem, given))
        x = jnp.asarray(given["x"])
        states = [jnp.asarray(given[k]) for k in problem.states if k in given]
        output = partial(network, problem)

        def loss(tree: Tree, x: Any, dy: Any) -> tuple[Any, Any]:
            y = output(tree, x, [])
            return jnp.vdot(y, dy), y

        forward = jax.jit(output)
        calls: dict[str, Callable[[Any], Any]] = {
            FORWARD: lambda dy: jax.block_until_ready(forward(tree, x, states))
        }
        for kind, wanted in ((BOTH, 0), (BOTH_DX, (0, 1))):
            both = jax.jit(jax.value_and_grad(loss, argnums=wanted, has_aux=True))
            calls[kind] = partial(_both, both, tree, x)
        calls = {kind: calls[kind] for kind in problem.kinds}
        return Loaded(calls, jnp.asarray, partial(_read, problem))


def _both(function: Callable[..., Any], tree: Tree, x: Any, dy: Any) -> Any:
    import jax

    return jax.block_until_ready(function(tree, x, dy))


def to_tree(problem: Problem, given: Arrays) -> Tree:
    """The weights, with those biases merged that enter as a sum."""
    tree, hidden = [], problem.shape.hidden
    for end, _ in problem.parts:
        b, d = given["bias_ih" + end], given["bias_hh" + end]
        one = {"W": given["weight_ih" + end].T, "U": given["weight_hh" + end].T, "b": b + d}
        if problem.cell == "gru":
            merged = np.concatenate([(b + d)[: 2 * hidden], b[2 * hidden :]])
            one |= {"b": merged, "d": d[2 * hidden :]}
        tree.append(one)
    return tree


def network(problem: Problem, tree: Tree, x: Any, states: list[Any]) -> Any:
    """The output [time, batch, directions * hidden] of the last layer."""
    import jax.numpy as jnp

    for layer in range(problem.layers):
        begin = layer * problem.directions
        start = tuple(state[layer] for state in states)
        each = [
            one_layer(problem, part, x, start, reverse=k == 1)
            for k, part in enumerate(tree[begin : begin + problem.directions])
        ]
        x = jnp.concatenate(each, axis=-1) if len(each) > 1 else each[0]
    return x


def one_layer(
    problem: Problem, part: dict[str, Any], x: Any, start: tuple[Any, ...], *, reverse: bool
) -> Any:
    """One scan: its input products for all steps stand before it."""
    import jax
    import jax.numpy as jnp

    projected = x @ part["W"] + part["b"]
    zero = jnp.zeros((x.shape[1], problem.shape.hidden), x.dtype)
    step = {"gru": _gru, "lstm": _lstm}[problem.cell]
    start = start or (zero,) * len(problem.states)
    return jax.lax.scan(partial(step, part), start, projected, reverse=reverse)[1]


def _gru(part: dict[str, Any], states: Any, projected: Any) -> Any:
    import jax
    import jax.numpy as jnp

    (h,) = states
    xr, xz, xn = jnp.split(projected, 3, axis=-1)
    hr, hz, hn = jnp.split(h @ part["U"], 3, axis=-1)
    r, z = jax.nn.sigmoid(xr + hr), jax.nn.sigmoid(xz + hz)
    n = jnp.tanh(xn + r * (hn + part["d"]))
    h = n + z * (h - n)
    return (h,), h


def _lstm(part: dict[str, Any], states: Any, projected: Any) -> Any:
    import jax
    import jax.numpy as jnp

    h, c = states
    i, f, g, o = jnp.split(projected + h @ part["U"], 4, axis=-1)
    c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
    h = jax.nn.sigmoid(o) * jnp.tanh(c)
    return (h, c), h


def _read(problem: Problem, kind: str, raw: Any) -> dict[str, Array]:
    if kind == FORWARD:
        return {"output": np.asarray(raw)}
    (_, output), found = raw
    tree, found_x = (found[0], {"x": found[1]}) if kind == BOTH_DX else (found, {})
    done = {"output": output, **found_x}
    for (end, _), one in zip(problem.parts, tree, strict=True):
        done |= {"weight_ih" + end: one["W"].T, "weight_hh" + end: one["U"].T}
        done |= {"bias_ih" + end: one["b"], "bias_hh" + end: one["b"]}
        if "d" in one:
            shared = one["b"][: 2 * problem.shape.hidden]
            done["bias_hh" + end] = np.concatenate([shared, one["d"]])
    return {name: np.asarray(value) for name, value in done.items()}
