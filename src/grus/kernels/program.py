"""A plan as a whole program of the loop language: drivers, which cover a range of rows and hidden
tiles with tile functions, the time loop over its stages, and the threads around it."""

from __future__ import annotations

from functools import partial

from grus.equations import Name, State
from grus.kernels import lengths_resets, masks, row_means
from grus.kernels.argument_block import DENSE, Variant
from grus.kernels.builder import SPAN, Module, Range, SlotBuilder
from grus.kernels.loops import Argument, Program, Reference, Value
from grus.kernels.machine import Target
from grus.kernels.packing import pack
from grus.kernels.plan import ONE, Plan
from grus.kernels.tile import EquationsTile, StageTile, hoisted_name, hoisted_tiles

ELEMENTWISE_TILES = ((1, (2, 1)),)
"""A stage without products has nothing to share between rows: going along them took 8 % off the
backward loop at 32 rows of 128 units; three vectors were no faster than two."""
SHAPED = "r0, r1, rows, j0, j1, width"
"""A range, and the shape of the tiles that cover it."""


def cell_program(
    plan: Plan,
    target: Target,
    stores: tuple[str, ...],
    sums: tuple[str, ...] = (),
    variant: Variant = DENSE,
) -> Program:
    """The program of a plan that writes out ``stores`` at each step and adds ``sums`` up over time
    and batch."""
    module = Module(plan, target, stores, sums, variant)
    pack(module)
    if plan.hoisted:
        (lengths_resets.hoisted if variant.ragged else _hoisted)(module)
    _stage_tiles(module)
    for at in range(len(plan.stages)):
        _stage(module, at)
        lengths_resets.clear(module, at)
    for per in dict.fromkeys(mask.per for mask in plan.masks):
        masks.draw(module, per)
    _copy_states(module, final=False)
    _copy_states(module, final=True)
    _work(module)
    _member(module)
    entry = module.function("run", "", once=True)
    entry.do("parallel", entry.ctx, entry.slot("threads"), detail="member")
    return module.program()


def _hoisted(module: Module) -> None:
    """``hoisted(ctx, x, p, n, g, j0, j1)``: n rows along one axis, g along the other.

    The hidden tile is the outer loop, so that its panel stays in the cache.
    """
    shapes = {axis: hoisted_tiles(module, axis) for axis in module.plan.hoisted_axes}
    f = module.function("hoisted.tiles", f"tile: function, x: pointer, p: pointer, g, {SHAPED}")
    tile, x, p, count, r0, r1, rows, j0, j1, width = f.rest
    gx, gp, nx, np = (f.slot(name) for name in ("gx", "gp", "nx", "np"))
    with f.each(j0, j1, width) as j, f.each(0, count, 1) as g:
        xg, pg = f.at(x, f.mul(g, gx)), f.at(p, f.mul(g, gp))
        with f.each(r0, r1, rows) as r:
            f.call(tile, f.ctx, f.at(xg, f.mul(r, nx)), f.at(pg, f.mul(r, np)), j)
    f = module.function("hoisted", "x: pointer, p: pointer, n, g, j0, j1", once=True)
    x, p, n, g, *_ = f.rest

    def tiles(axis: str, rows: int, width: int, lines: Range, columns: Range) -> None:
        name = Reference(hoisted_name(axis, rows, width))
        f.call("hoisted.tiles", f.ctx, name, x, p, g, *lines, rows, *columns, width)

    for axis, of_axis in shapes.items():
        f.tiled(0, n, f.span(axis), of_axis, partial(tiles, axis))


def _stage(module: Module, at: int) -> None:
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


def _stage_tiles(module: Module) -> None:
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
    for rows in row_means.ROWS:
        row_means.NumbersTile(module, at, rows)
    f = module.function(f"stage{at}", SPAN)
    first: Argument
    first, end, *_ = f.rest
    for rows in row_means.ROWS:
        last = f.cover(first, end, rows)
        with f.each(first, last, rows) as r:
            f.call(f"stage{at}.{rows}x1", f.ctx, r)
        first = last


def _copy_states(module: Module, *, final: bool) -> None:
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
        outside, inside = f.at(outer, f.mul(r, stride)), f.at(buffer, f.mul(r, ld))
        with f.each(first, last, 1) as j:
            column = f.mul(j, f.target.machine.vector_bytes)
            mask = f.real_units(axis, j)
            a, b = f.at(outside, column), f.at(inside, column)
            if final:
                f.store_masked(f.load(b), a, mask)
            else:
                f.store(f.load_masked(a, mask), b)


def _work(module: Module) -> None:
    """``work(ctx, s, r0, r1, j0, j1, parties)``: slice s over all steps, in chunks."""
    f = module.function("work", f"s, {SPAN}, parties")
    s, r0, r1, j0, j1, parties = f.rest
    plan, variant = module.plan, module.variant
    half = f.mul(f.slot("B"), f.slot("ld"))
    f.set("cur", 0)
    f.set("nxt", half)
    f.set("sums.now", f.add(f.slot("sums"), f.mul(s, f.slot("sums.slice"))))
    f.call("begin", f.ctx, r0, r1, j0, j1)
    if any(mask.per == "sequence" for mask in plan.masks):
        f.call("masks.sequence", f.ctx, r0, r1, j0, j1)
    f.barrier(parties)
    if variant.ragged:
        lengths_resets.begin(f)
    steps, chunk = f.slot("T"), f.slot("chunk")
    # Means may read whole rows of products with x.
    averaged = {Name(chain.name) for chain in plan.hoisted} & {*plan.averaged}
    if plan.masks:
        f.set("mask.now", 0)
    with f.each(0, steps, chunk) as t0:
        count = f.smaller(f.sub(steps, t0), chunk)
        if plan.hoisted:
            if averaged:
                f.barrier(parties)
            (_hoist_ragged if variant.ragged else _hoist)(f, t0, count)
            if averaged:
                f.barrier(parties)
        with f.each(0, count, 1):
            _step(module, f, half)
    f.call("finish", f.ctx, r0, f.slot("end") if variant.ragged else r1, j0, j1)


def _step(module: Module, f: SlotBuilder, half: Argument) -> None:
    """One step: its masks, its stages, and on to the next."""
    variant, r0, parties = module.variant, f.named["r0"], f.named["parties"]
    end = lengths_resets.shrink(f) if variant.ragged else f.named["r1"]
    span = r0, end, f.named["j0"], f.named["j1"]
    _step_masks(module, f, span)
    for at in range(len(module.plan.stages)):
        f.call(f"stage{at}", f.ctx, *span)
        if lengths_resets.put_back(module, at):
            f.call(f"clear{at}", f.ctx, *span)
        if guarded(module.plan, at):
            f.barrier(parties)
    for array in module.slots.arrays:
        if array != "x":
            f.advance(array, f"{array}.time")
    if module.plan.hoisted:
        f.advance("P.now", "P.time")
    if variant.clear:
        f.advance("clear", "B")
    now = f.slot("cur")
    f.set("nxt", now)
    f.set("cur", f.sub(half, now))


def _step_masks(module: Module, f: SlotBuilder, span: tuple[Argument, ...]) -> None:
    """Draw the masks of the present step."""
    if not any(mask.per == "step" for mask in module.plan.masks):
        return
    shared = bool({*module.plan.masks} & {*module.plan.averaged})
    if shared:
        f.barrier(f.named["parties"])
    f.call("masks.step", f.ctx, *span)
    f.advance("mask.now", "mask.sign")
    if shared:
        f.barrier(f.named["parties"])


def _hoist(f: SlotBuilder, t0: Value, count: Value) -> None:
    """Set up and compute a chunk of the products with x."""
    s, r0, r1, j0, j1, _ = f.rest
    rows = f.sub(r1, r0)
    start = f.add(f.mul(t0, f.slot("x.time")), f.mul(r0, f.slot("x.row")))
    x = f.at(f.pointer("x"), start)
    base = f.add(f.slot("P"), f.mul(s, f.slot("P.slice")))
    p = f.let("address", base)
    # Rows of the batch fill a tile where there are enough of them, else steps do.
    by_row = f.let("at_least", rows, 8)
    xt, xr, pt, pr = (f.slot(n) for n in ("x.time", "x.row", "P.time", "P.row"))
    for name, a, b in (("nx", xr, xt), ("np", pr, pt), ("gx", xt, xr), ("gp", pt, pr)):
        f.set(name, f.let("select", by_row, a, b))
    n, g = f.let("select", by_row, rows, count), f.let("select", by_row, count, rows)
    f.call("hoisted", f.ctx, x, p, n, g, j0, j1)
    # Stages address rows absolutely; the slice's buffer begins at its own first row.
    f.set("P.now", f.sub(base, f.mul(r0, f.slot("P.row"))))


def _hoist_ragged(f: SlotBuilder, t0: Value, count: Value) -> None:
    """The same where rows end one after the other."""
    base = f.add(f.slot("P"), f.mul(f.named["s"], f.slot("P.slice")))
    lengths_resets.hoist(f, t0, count, f.let("address", base))
    f.set("P.now", f.sub(base, f.mul(f.named["r0"], f.slot("P.row"))))


def guarded(plan: Plan, at: int) -> bool:
    """True when a barrier ends this stage: a product or a mean somewhere reads whole rows of what
    it writes.

    All threads write a row's numbers to one place, at the next step to another: nobody may be two
    steps ahead, so where no stage has a barrier the last one gets it.
    """
    read = {
        f"{o.name}_next" if isinstance(o, State) else getattr(o, "name", "") for o in plan.operands
    }
    whole = [any(name in read for name, _ in stage.equations) for stage in plan.stages]
    numbers = any(stage.axis == ONE for stage in plan.stages) and not any(whole)
    return whole[at] or (numbers and at == len(whole) - 1)


def _member(module: Module) -> None:
    """``member(ctx, tid, team)``: one thread's part. The team's size is what OpenMP gave, and
    slices are dealt out over it, so that a smaller team than asked for still does all."""
    f = module.function("member", "tid, team", once=True, nearest=True)
    tid, team = f.rest
    slots = f.local(8 * len(module.slots), 64)
    tiles, rows, slices = f.slot("tiles"), f.slot("B"), f.slot("slices")
    j0 = f.let("div", f.mul(tid, tiles), team)
    j1 = f.let("div", f.mul(f.add(tid, 1), tiles), team)
    with f.when(f.let("equal", f.slot("packed"), 0)):  # a stepper's panels are packed already
        f.call("pack", f.ctx, j0, j1)
    f.barrier(team)
    hidden = f.let("differ", f.slot("by_hidden"), 0)
    whole = f.let("xor", hidden, True)

    def work(s: Argument, r0: Argument, r1: Argument, *rest: Argument) -> None:
        f.do("copy", slots, f.ctx, 8 * len(module.slots.names))
        f.call("work", slots, s, r0, r1, *rest)

    with f.when(hidden):
        work(0, 0, rows, j0, j1, team)
    with f.when(whole), f.each(tid, slices, team) as s:
        if module.variant.ragged:
            starts = f.pointer("starts")
            r0, r1 = f.entry(starts, s), f.entry(starts, f.add(s, 1))
        else:
            r0 = f.let("div", f.mul(s, rows), slices)
            r1 = f.let("div", f.mul(f.add(s, 1), rows), slices)
        work(s, r0, r1, 0, tiles, 1)
