"""A plan as a whole LLVM module: the time loop over its stages, and the threads around it."""

from __future__ import annotations

from dataclasses import dataclass

from grus.equations import Name, State
from grus.kernels import barrier, clear, drivers, masks, ragged
from grus.kernels.code import Code
from grus.kernels.drivers import Module
from grus.kernels.ir import ATTRIBUTES, Target
from grus.kernels.plan import Plan
from grus.kernels.slots import DENSE, Slots, Variant
from grus.kernels.team import share

SPAN = "i64 %r0, i64 %r1, i64 %j0, i64 %j1"


@dataclass(frozen=True)
class Program:
    """What to compile: a plan, what it stores per step, what it sums over time and batch."""

    plan: Plan
    target: Target
    stores: tuple[str, ...]
    sums: tuple[str, ...] = ()
    openmp: bool = False
    variant: Variant = DENSE

    @property
    def slots(self) -> Slots:
        """The layout of the argument block."""
        return Slots(self.plan, self.stores, bool(self.plan.hoisted), self.variant)

    def text(self) -> str:
        """The module as LLVM text."""
        module = Module(self.target, self.plan, self.slots)
        drivers.pack(module)
        if self.plan.hoisted:
            (ragged if self.variant.ragged else drivers).hoisted(module)
        drivers.stage_tiles(module)
        for at in range(len(self.plan.stages)):
            drivers.stage(module, at, self.stores, self.sums)
            if self.variant.clear and clear.made(module, at):
                clear.clear(module, at)
        for per in dict.fromkeys(mask.per for mask in self.plan.masks):
            masks.draw(module, per)
        drivers.copy_states(module, final=False)
        drivers.copy_states(module, final=True)
        module.functions.append(barrier.barrier_function(self.target, threads=self.openmp))
        _work(module)
        _member(module)
        _entry(module, self.openmp)
        declared = sorted(
            {*module.externals, *barrier.declarations(self.target, threads=self.openmp)}
        )
        return "\n\n".join([*declared, *module.functions, ATTRIBUTES]) + "\n"


def _work(module: Module) -> None:
    """``work(ctx, s, r0, r1, j0, j1, parties)``: slice s over all steps, in chunks."""
    f = module.code("work", "i64 %s", *SPAN.split(", "), "i64 %parties")
    half = f.mul(f.slot("B"), f.slot("ld"))
    f.set("cur", "0")
    f.set("nxt", half)
    f.set("sums.now", f.add(f.slot("sums"), f.mul("%s", f.slot("sums.slice"))))
    f.emit(f"call void @begin(ptr %ctx, {SPAN})")
    if any(mask.per == "sequence" for mask in module.plan.masks):
        f.emit(f"call void @masks.sequence(ptr %ctx, {SPAN})")
    f.barrier("%parties")
    variant = module.slots.variant
    if variant.ragged:
        ragged.begin(f)
    steps, chunk = f.slot("T"), f.slot("chunk")
    # Means may read whole rows of products with x.
    averaged = {Name(chain.name) for chain in module.plan.hoisted} & {*module.plan.averaged}

    def chunks(t0: str, _: list[str]) -> list[str]:
        count = f.smaller(f.sub(steps, t0), chunk)
        if module.plan.hoisted:
            if averaged:
                f.barrier("%parties")
            (_hoist_ragged if variant.ragged else _hoist)(f, t0, count)
            if averaged:
                f.barrier("%parties")
        f.loop(0, count, 1, step)
        return []

    if module.plan.masks:
        f.set("mask.now", "0")

    def step(_: str, __: list[str]) -> list[str]:
        end = ragged.shrink(f) if variant.ragged else "%r1"
        span = f"i64 %r0, i64 {end}, i64 %j0, i64 %j1"
        _step_masks(module, f, span)
        for at in range(len(module.plan.stages)):
            f.emit(f"call void @stage{at}(ptr %ctx, {span})")
            if variant.clear and clear.made(module, at):
                f.emit(f"call void @clear{at}(ptr %ctx, {span})")
            if guarded(module.plan, at):
                f.barrier("%parties")
        _advance(module, f, half)
        return []

    f.loop(0, steps, chunk, chunks)
    rest = f.slot("end") if variant.ragged else "%r1"
    f.emit(f"call void @finish(ptr %ctx, i64 %r0, i64 {rest}, i64 %j0, i64 %j1)")
    module.add(f)


def _advance(module: Module, f: Code, half: str) -> None:
    """Go on to the next step."""
    for array in module.slots.arrays:
        if array != "x":
            f.advance(array, f"{array}.time")
    if module.plan.hoisted:
        f.advance("P.now", "P.time")
    if module.slots.variant.clear:
        f.advance("clear", "B")
    now = f.read("cur")
    f.set("nxt", now)
    f.set("cur", f.sub(half, now))


def _step_masks(module: Module, f: Code, span: str) -> None:
    """Draw the masks of the present step."""
    if not any(mask.per == "step" for mask in module.plan.masks):
        return
    shared = bool({*module.plan.masks} & {*module.plan.averaged})
    if shared:
        f.barrier("%parties")
    f.emit(f"call void @masks.step(ptr %ctx, {span})")
    f.advance("mask.now", "mask.sign")
    if shared:
        f.barrier("%parties")


def _hoist(f: Code, t0: str, count: str) -> None:
    """Set up and compute a chunk of the products with x."""
    rows = f.sub("%r1", "%r0")
    start = f.add(f.mul(t0, f.slot("x.time")), f.mul("%r0", f.slot("x.row")))
    x = f.at(f.pointer("x"), start)
    base = f.add(f.slot("P"), f.mul("%s", f.slot("P.slice")))
    p = f.let(f"inttoptr i64 {base} to ptr")
    # Rows of the batch fill a tile where there are enough of them, else steps do.
    by_row = f.let(f"icmp sge i64 {rows}, 8")

    def pick(a: str, b: str) -> str:
        return f.let(f"select i1 {by_row}, i64 {a}, i64 {b}")

    xt, xr, pt, pr = (f.slot(n) for n in ("x.time", "x.row", "P.time", "P.row"))
    for name, a, b in (("nx", xr, xt), ("np", pr, pt), ("gx", xt, xr), ("gp", pt, pr)):
        f.set(name, pick(a, b))
    n, g = pick(rows, count), pick(count, rows)
    where = f"ptr {x}, ptr {p}, i64 {n}, i64 {g}, i64 %j0, i64 %j1"
    f.emit(f"call void @hoisted(ptr %ctx, {where})")
    # Stages address rows absolutely; the slice's buffer begins at its own first row.
    f.set("P.now", f.sub(base, f.mul("%r0", f.slot("P.row"))))


def _hoist_ragged(f: Code, t0: str, count: str) -> None:
    """The same where rows end one after the other."""
    base = f.add(f.slot("P"), f.mul("%s", f.slot("P.slice")))
    ragged.hoist(f, t0, count, f.let(f"inttoptr i64 {base} to ptr"))
    f.set("P.now", f.sub(base, f.mul("%r0", f.slot("P.row"))))


def guarded(plan: Plan, at: int) -> bool:
    """True when a product somewhere reads whole rows of what this stage writes."""
    made = {name for name, _ in plan.stages[at].equations}
    read = {
        f"{o.name}_next" if isinstance(o, State) else getattr(o, "name", "") for o in plan.operands
    }
    return bool(made & read)


def _member(module: Module) -> None:
    """``member(ctx, tid, team)``: one thread's part. The team's size is what OpenMP gave, and
    slices are dealt out over it, so that a smaller team than asked for still does all."""
    f = module.code("member", "i64 %tid", "i64 %team", quick=True)
    f.emit(f"%mine = alloca [{len(module.slots)} x i64], align 64")
    saved = f.enter_float_mode()
    tiles, rows, slices = f.slot("tiles"), f.slot("B"), f.slot("slices")
    j0 = f.let(f"sdiv i64 {f.mul('%tid', tiles)}, %team")
    j1 = f.let(f"sdiv i64 {f.mul(f.add('%tid', 1), tiles)}, %team")
    bare = f.let(f"icmp eq i64 {f.slot('packed')}, 0")  # a stepper's panels are packed already
    f.when(bare, lambda: f.emit(f"call void @pack(ptr %ctx, i64 {j0}, i64 {j1})"))
    f.barrier("%team")
    hidden = f.let(f"icmp ne i64 {f.slot('by_hidden')}, 0")
    whole = f.let(f"xor i1 {hidden}, true")

    def work(s: str, r0: str, r1: str, j0: str, j1: str, parties: str) -> None:
        size = f"i64 {8 * module.slots.given}"
        f.call("void", "llvm.memcpy.p0.p0.i64", "ptr %mine", "ptr %ctx", size, "i1 false")
        span = f"i64 {r0}, i64 {r1}, i64 {j0}, i64 {j1}"
        f.emit(f"call void @work(ptr %mine, i64 {s}, {span}, i64 {parties})")

    def by_rows() -> None:
        def body(s: str, _: list[str]) -> list[str]:
            if module.slots.variant.ragged:
                r0, r1 = (ragged.entry(f, f.pointer("starts"), k) for k in (s, f.add(s, 1)))
            else:
                r0 = f.let(f"sdiv i64 {f.mul(s, rows)}, {slices}")
                r1 = f.let(f"sdiv i64 {f.mul(f.add(s, 1), rows)}, {slices}")
            work(s, r0, r1, "0", tiles, "1")
            return []

        f.loop("%tid", slices, "%team", body)

    f.when(hidden, lambda: work("0", "0", rows, j0, j1, "%team"))
    f.when(whole, by_rows)
    f.leave_float_mode(saved)
    module.add(f)


def _entry(module: Module, openmp: bool) -> None:
    """``run(ctx)``: alone, or in a parallel region of the OpenMP runtime."""
    f = module.code("run", private=False, quick=True)
    for region in share(f, openmp):
        module.add(region)
    module.add(f)
