"""Colours are told apart by deuteranopes, and heat maps by their lightness alone."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import matplotlib
import numpy as np
import pytest
from matplotlib.colors import to_rgb

from grus.pictures.gates import GATE_MAP, SIGNED_MAP
from grus.pictures.style import COLOURS, DASHES, MARKERS, series

Array = np.ndarray[Any, Any]
# Machado, Oliveira and Fernandes 2009, deuteranomaly of severity 1, on linear RGB.
DEUTERANOPIA = np.array(
    [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ]
)
# sRGB to XYZ with white D65 (IEC 61966-2-1).
XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
# Two colours differ for anyone who looks twice at a distance of 2.3 in CIELAB; lines that are a
# few pixels wide need several times that.
TELLS_APART = 15.0


def linear(rgb: Array) -> Array:
    return np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)


def lab(colour: Array) -> Array:
    """CIELAB of linear RGB."""
    x = colour @ XYZ.T / XYZ.sum(axis=1)
    f = np.where(x > 216 / 24389, np.cbrt(x), (24389 / 27 * x + 16) / 116)
    return np.stack(
        [116 * f[..., 1] - 16, 500 * (f[..., 0] - f[..., 1]), 200 * (f[..., 1] - f[..., 2])], -1
    )


def deuteranope(rgb: Array) -> Array:
    return lab(np.clip(linear(rgb) @ DEUTERANOPIA.T, 0, 1))


def closest(colours: tuple[str, ...]) -> float:
    seen = [deuteranope(np.array(to_rgb(c))) for c in colours]
    return min(float(np.linalg.norm(a - b)) for a, b in combinations(seen, 2))


def test_lines_are_told_apart_by_deuteranopes() -> None:
    assert closest(COLOURS) > TELLS_APART


def test_a_palette_that_is_not_safe_is_seen() -> None:
    """Matplotlib's own red and green."""
    assert closest(("#d62728", "#2ca02c")) < TELLS_APART


@pytest.mark.parametrize("count", [6, 12, 36])
def test_lines_are_told_apart_without_colour_or_by_it(count: int) -> None:
    """Six by dash and marker alone; more by the pair of colour and marker."""
    looks = [series(k) for k in range(count)]
    assert len({(look["color"], look["marker"]) for look in looks}) == count
    assert len({(str(look["linestyle"]), look["marker"]) for look in looks[:6]}) == 6
    assert len(DASHES) == len(MARKERS) == len(COLOURS)


def lightness(name: str) -> tuple[Array, Array]:
    rgb = matplotlib.colormaps[name](np.linspace(0, 1, 32))[:, :3]
    return lab(linear(rgb))[:, 0], deuteranope(rgb)[:, 0]


def goes_one_way(values: Array) -> bool:
    steps = np.diff(values)
    return bool((steps > 0.5).all() or (steps < -0.5).all())


@pytest.mark.parametrize("name", [GATE_MAP, SIGNED_MAP])
def test_lightness_goes_one_way_in_grey_and_for_deuteranopes(name: str) -> None:
    assert all(goes_one_way(values) for values in lightness(name))


def test_a_map_whose_ends_are_alike_in_grey_is_seen() -> None:
    assert not goes_one_way(lightness("coolwarm")[0])
