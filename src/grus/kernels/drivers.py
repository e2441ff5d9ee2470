"""Drivers: functions that cover a range of rows and hidden tiles with tile functions."""

from __future__ import annotations

from grus.kernels import means
from grus.kernels.builder import SPAN, Module, Range, SlotBuilder
from grus.kernels.loops import Argument, Reference
from grus.kernels.plan import ONE
from grus.kernels.tile import EquationsTile, HoistedTile, StageTile

ELEMENTWISE_TILES = ((1, (2, 1)),)
"""A stage without products has nothing to share between rows."""
SHAPED = "r0, r1, rows, j0, j1, width"
"""A range, and the shape of the tiles that cover it."""


def hoisted(module: Module) -> None:
    """``hoisted(ctx, x, p, n, g, j0, j1)``: n rows along one axis, g along the other.

    The hidden tile is the outer loop, so that its panel stays in the cache.
    """
    shapes = hoisted_tiles(module)
    f = module.function("hoisted.tiles", f"tile: function, x: pointer, p: pointer, g, {SHAPED}")
    tile, x, p, count, r0, r1, rows, j0, j1, width = f.rest
    gx, gp, nx, np = (f.slot(name) for name in ("gx", "gp", "nx", "np"))
    with f.each(j0, j1, width) as j, f.each(0, count, 1) as g:
        xg, pg = f.at(x, f.mul(g, gx)), f.at(p, f.mul(g, gp))
        with f.each(r0, r1, rows) as r:
            f.call(tile, f.ctx, f.at(xg, f.mul(r, nx)), f.at(pg, f.mul(r, np)), j)
    f = module.function("hoisted", "x: pointer, p: pointer, n, g, j0, j1", once=True)
    x, p, n, g, *_ = f.rest

    def tiles(rows: int, width: int, lines: Range, columns: Range) -> None:
        name = Reference(f"hoisted.{rows}x{width}")
        f.call("hoisted.tiles", f.ctx, name, x, p, g, *lines, rows, *columns, width)

    f.tiled(0, n, f.span(module.plan.hoisted_axis), shapes, tiles)


def hoisted_tiles(module: Module) -> tuple[tuple[int, tuple[int, ...]], ...]:
    """The tiles of the products with x; gives their shapes."""
    shapes = module.target.machine.tiles(len(module.plan.hoisted))
    for rows, widths in shapes:
        for width in widths:
            HoistedTile(module, rows, width)
    return shapes


def stage(module: Module, at: int) -> None:
    """``stage<at>(ctx, r0, r1, j0, j1)``: one stage at the present step."""
    if module.plan.stages[at].axis == ONE:
        _numbers(module, at)
        return
    chains, axis = len(module.plan.stages[at].chains), module.plan.stages[at].axis
    shapes = module.target.machine.tiles(chains) if chains else ELEMENTWISE_TILES
    for rows, widths in shapes:
        for width in widths:
            StageTile(module, at, rows, width)
    if chains:
        EquationsTile(module, at, 1, 1)
    f = module.function(f"stage{at}", SPAN)

    def tiles(rows: int, width: int, lines: Range, columns: Range) -> None:
        tile = Reference(f"stage{at}.{rows}x{width}")
        f.call("tiles" if chains else "lines", f.ctx, tile, *lines, rows, *columns, width)

    f.tiled(f.named["r0"], f.named["r1"], f.span(axis), shapes, tiles)


def stage_tiles(module: Module) -> None:
    """``tiles(ctx, tile, r0, r1, rows, j0, j1, width)``: tiles of one shape of any stage with
    products; ``lines`` are for one without. The hidden tile is the outer loop, so that its panel
    stays in the cache; ``lines`` read no panel, and arrays in their order."""
    ways = {bool(stage.chains) for stage in module.plan.stages if stage.axis != ONE}
    for name in ("tiles", "lines"):
        if (name == "tiles") not in ways:
            continue
        f = module.function(name, f"tile: function, {SHAPED}")
        tile, r0, r1, rows, j0, j1, width = f.rest
        if name == "tiles":
            with f.each(j0, j1, width) as j, f.each(r0, r1, rows) as r:
                f.call(tile, f.ctx, r, j)
        else:
            with f.each(r0, r1, rows) as r, f.each(j0, j1, width) as j:
                f.call(tile, f.ctx, r, j)


def _numbers(module: Module, at: int) -> None:
    """The same for numbers: whole rows, whatever the tiles."""
    for rows in means.ROWS:
        means.NumbersTile(module, at, rows)
    f = module.function(f"stage{at}", SPAN)
    first: Argument
    first, end, *_ = f.rest
    for rows in means.ROWS:
        last = f.cover(first, end, rows)
        with f.each(first, last, rows) as r:
            f.call(f"stage{at}.{rows}x1", f.ctx, r)
        first = last


def copy_states(module: Module, *, final: bool) -> None:
    """``begin``: h0 into the state buffers; ``finish``: the state buffers into the results."""
    f = module.function("finish" if final else "begin", SPAN, once=True)
    for state, axis in module.plan.cell.shapes.states.items():
        _copy_state(f, state, axis, final=final)


def _copy_state(f: SlotBuilder, state: str, axis: str, *, final: bool) -> None:
    part = f"hn.{state}" if final else f"h0.{state}"
    outer, stride = f.pointer(part), f.slot(f"{part}.row")
    buffer, ld = f.at(f.pointer(f"state.{state}"), f.slot("cur")), f.slot("ld")
    first, last = f.span(axis)
    with f.each(f.named["r0"], f.named["r1"], 1) as r:
        theirs, ours = f.at(outer, f.mul(r, stride)), f.at(buffer, f.mul(r, ld))
        with f.each(first, last, 1) as j:
            column = f.mul(j, f.target.machine.vector_bytes)
            mask = f.real_units(axis, j)
            a, b = f.at(theirs, column), f.at(ours, column)
            if final:
                f.store_masked(f.load(b), a, mask)
            else:
                f.store(f.load_masked(a, mask), b)
