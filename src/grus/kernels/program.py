"""A plan as a whole LLVM module: packing, the time loop, the stages, the threads."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from grus.equations import State
from grus.kernels import barrier
from grus.kernels.ir import Function, Target
from grus.kernels.packing import pack_function
from grus.kernels.plan import Plan
from grus.kernels.slots import MOVING, Slots, groups
from grus.kernels.tile import HoistedTile, StageTile

Columns = Callable[[str, int], None]
ELEMENTWISE_TILES = ((1, (2, 1)),)


@dataclass(frozen=True)
class Program:
    """What to compile: a plan, what it stores per step, what it sums over time and batch."""

    plan: Plan
    target: Target
    stores: tuple[str, ...]
    sums: tuple[str, ...] = ()
    openmp: bool = False

    @property
    def slots(self) -> Slots:
        """The layout of the argument block."""
        return Slots(self.plan, self.stores, bool(self.plan.hoisted))

    def text(self) -> str:
        """The module."""
        return _Printer(self).text()


class _Printer:
    def __init__(self, program: Program) -> None:
        self.program, self.plan, self.target = program, program.plan, program.target
        self.slots = program.slots
        self.functions: list[str] = []
        self.externals: set[str] = set()

    def text(self) -> str:
        for transposed in (False, True):
            self.add(pack_function(self.target, transposed=transposed))
        if self.plan.hoisted:
            self.hoisted_driver()
        for at in range(len(self.plan.stages)):
            self.stage_driver(at)
        for final in (False, True):
            self.copy_states(final=final)
        self.functions.append(barrier.barrier_function(self.target))
        self.pack()
        self.work()
        self.slice()
        self.entry()
        declared = sorted({*self.externals, *barrier.declarations(self.target)})
        return "\n\n".join([*declared, *self.functions, "attributes #0 = { nounwind }"]) + "\n"

    def add(self, f: Function) -> None:
        self.functions.append(f.text())
        self.externals |= f.externals

    def function(self, name: str, *parameters: str, private: bool = True) -> _Code:
        return _Code(self.target, name, ["ptr %ctx", *parameters], self.slots, private)

    # Drivers: which tiles cover a range of rows and hidden tiles.

    def hoisted_driver(self) -> None:
        """Rows n along one axis, g along the other; the panel of a tile stays in cache."""
        shapes = self.target.machine.tiles(len(self.plan.hoisted))
        for rows, widths in shapes:
            for width in widths:
                self.add(HoistedTile(self.target, self.plan, self.slots, rows, width).f)
        names = ["ptr %x", "ptr %p", "i64 %n", "i64 %g", "i64 %j0", "i64 %j1"]
        f = self.function("hoisted", *names)
        gx, gp, nx, np = (f.slot(name) for name in ("gx", "gp", "nx", "np"))
        first = "0"
        for rows, widths in shapes:
            last = f.cover(first, "%n", rows)

            def tiles(j: str, width: int, rows: int = rows, a: str = first, z: str = last) -> None:
                def outer(g: str, _: list[str]) -> list[str]:
                    xg, pg = f.at("%x", f.mul(g, gx)), f.at("%p", f.mul(g, gp))

                    def inner(r: str, _: list[str]) -> list[str]:
                        xr, pr = f.at(xg, f.mul(r, nx)), f.at(pg, f.mul(r, np))
                        call = f"ptr %ctx, ptr {xr}, ptr {pr}, i64 {j}"
                        f.emit(f"call void @hoisted.{rows}x{width}({call})")
                        return []

                    f.loop(a, z, rows, inner)
                    return []

                f.loop(0, "%g", 1, outer)

            f.columns("%j0", "%j1", widths, tiles)
            first = last
        self.add(f)

    def stage_driver(self, at: int) -> None:
        stage = self.plan.stages[at]
        chains = len(stage.chains)
        shapes = self.target.machine.tiles(chains) if chains else ELEMENTWISE_TILES
        for rows, widths in shapes:
            for width in widths:
                stores, sums = self.program.stores, self.program.sums
                tile = StageTile(self.target, self.plan, self.slots, at, rows, width, stores, sums)
                self.add(tile.f)
        f = self.function(f"stage{at}", "i64 %r0", "i64 %r1", "i64 %j0", "i64 %j1")
        first = "%r0"
        for rows, widths in shapes:
            last = f.cover(first, "%r1", rows)

            def tiles(j: str, width: int, rows: int = rows, a: str = first, z: str = last) -> None:
                def body(r: str, _: list[str]) -> list[str]:
                    call = f"ptr %ctx, i64 {r}, i64 {j}"
                    f.emit(f"call void @stage{at}.{rows}x{width}({call})")
                    return []

                f.loop(a, z, rows, body)

            f.columns("%j0", "%j1", widths, tiles)
            first = last
        self.add(f)

    # Before, inside and after the time loop.

    def copy_states(self, *, final: bool) -> None:
        """h0 into the state buffers, or the state buffers into the final states."""
        f = self.function(
            "finish" if final else "begin", "i64 %r0", "i64 %r1", "i64 %j0", "i64 %j1"
        )
        t = self.target
        for state in self.plan.cell.states:
            part = "hn" if final else "h0"
            outer = f.pointer(f"{part}.{state}")
            stride, ld = f.slot(f"{part}.{state}.row"), f.slot("ld")
            own = f.at(f.pointer(f"state.{state}"), f.slot("cur"))

            def body(
                r: str, _: list[str], o: str = outer, s: str = stride, w: str = own, q: str = ld
            ) -> list[str]:
                theirs, ours = f.at(o, f.mul(r, s)), f.at(w, f.mul(r, q))

                def tile(j: str, _: list[str]) -> list[str]:
                    column = f.mul(j, t.machine.vector_bytes)
                    mask = f.lanes_below(f.sub(f.slot("H"), f.mul(j, t.lanes)))
                    a, b = f.at(theirs, column), f.at(ours, column)
                    if final:
                        f.store_masked(f.load(b), a, mask)
                    else:
                        f.store(f.load_masked(a, mask), b)
                    return []

                f.loop("%j0", "%j1", 1, tile)
                return []

            f.loop("%r0", "%r1", 1, body)
        self.add(f)

    def pack(self) -> None:
        """The panels of hidden tiles j0 to j1, all groups."""
        f = self.function("pack", "i64 %j0", "i64 %j1")
        t = self.target
        size = f.slot("H")
        for k, (operand, members) in enumerate(groups(self.plan)):
            base, tile_bytes = f.pointer(f"panel.{k}"), f.slot(f"panel.{k}.tile")
            count = f.slot("I") if not isinstance(operand, State) and k == 0 and self.plan.hoisted \
                else size  # fmt: skip
            kbytes = len(members) * t.machine.vector_bytes
            for m, (_, weight, transposed) in enumerate(members):
                source, stride = f.pointer(f"w.{weight.name}"), f.slot(f"w.{weight.name}.row")

                def body(
                    j: str,
                    _: list[str],
                    source: str = source,
                    stride: str = stride,
                    panel: str = f.at(base, m * t.machine.vector_bytes),
                    transposed: bool = transposed,
                    tile_bytes: str = tile_bytes,
                    count: str = count,
                    kbytes: int = kbytes,
                ) -> list[str]:
                    first = f.mul(j, t.lanes)
                    left = f.smaller(f.sub(size, first), t.lanes)
                    to = f.at(panel, f.mul(j, tile_bytes))
                    if transposed:
                        start, shape = f.mul(first, t.item), f"i64 {count}, i64 {left}"
                    else:
                        start, shape = f.mul(first, stride), f"i64 {left}, i64 {count}"
                    name = "pack.transposed" if transposed else "pack.plain"
                    head = f"ptr {f.at(source, start)}, i64 {stride}, {shape}"
                    f.emit(f"call void @{name}({head}, ptr {to}, i64 {kbytes})")
                    return []

                f.loop("%j0", "%j1", 1, body)
        self.add(f)

    def work(self) -> None:
        """One slice over all steps: rows r0 to r1, hidden tiles j0 to j1, with its parties."""
        names = ["ptr %ctx", "i64 %s", "i64 %r0", "i64 %r1", "i64 %j0", "i64 %j1", "i64 %parties"]
        f = _Code(self.target, "work", names, self.slots)
        span = "i64 %r0, i64 %r1, i64 %j0, i64 %j1"
        half = f.mul(f.slot("B"), f.slot("ld"))
        f.set("cur", "0")
        f.set("nxt", half)
        f.set("sums.now", f.add(f.slot("sums"), f.mul("%s", f.slot("sums.slice"))))
        f.emit(f"call void @begin(ptr %ctx, {span})")
        f.barrier("%parties")
        steps, chunk = f.slot("T"), f.slot("chunk")

        def chunks(t0: str, _: list[str]) -> list[str]:
            count = f.smaller(f.sub(steps, t0), chunk)
            if self.plan.hoisted:
                self.hoist(f, t0, count)
            f.loop(0, count, 1, step)
            return []

        def step(_: str, __: list[str]) -> list[str]:
            for at in range(len(self.plan.stages)):
                f.emit(f"call void @stage{at}(ptr %ctx, {span})")
                if self.guarded(at):
                    f.barrier("%parties")
            for array in self.slots.arrays:
                if array != "x":
                    f.advance(array, f"{array}.time")
            if self.plan.hoisted:
                f.advance("P.now", "P.time")
            now = f.read("cur")
            f.set("nxt", now)
            f.set("cur", f.sub(half, now))
            return []

        f.loop(0, steps, chunk, chunks)
        f.emit(f"call void @finish(ptr %ctx, {span})")
        self.add(f)

    def hoist(self, f: _Code, t0: str, count: str) -> None:
        """Set up and compute a chunk of the products with x."""
        rows = f.sub("%r1", "%r0")
        x = f.at(f.pointer("x"), f.add(f.mul(t0, f.slot("x.time")), f.mul("%r0", f.slot("x.row"))))
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
        f.emit(
            f"call void @hoisted(ptr %ctx, ptr {x}, ptr {p}, i64 {n}, i64 {g}, i64 %j0, i64 %j1)"
        )
        # Stages address rows absolutely, the slice's buffer begins at its own first row.
        f.set("P.now", f.sub(base, f.mul("%r0", f.slot("P.row"))))

    def guarded(self, at: int) -> bool:
        """True when a product somewhere reads rows that this stage writes."""
        made = {name for name, _ in self.plan.stages[at].equations}
        read = {
            f"{o.name}_next" if isinstance(o, State) else getattr(o, "name", "")
            for o in self.plan.operands
        }
        return bool(made & read)

    # Threads.

    def slice(self) -> None:
        """What one thread of the team does; sizes of the team are read here, never baked in."""
        f = self.function("member", "i64 %tid", "i64 %team")
        count, words = len(self.slots), self.slots.given
        f.emit(f"%mine = alloca [{count} x i64], align 64")
        f.call(
            "void", "llvm.memcpy.p0.p0.i64", "ptr %mine", "ptr %ctx", f"i64 {8 * words}", "i1 false"
        )
        saved = f.enter_float_mode()
        tiles = f.slot("tiles")
        j0 = f.let(f"sdiv i64 {f.mul('%tid', tiles)}, %team")
        j1 = f.let(f"sdiv i64 {f.mul(f.add('%tid', 1), tiles)}, %team")
        f.emit(f"call void @pack(ptr %ctx, i64 {j0}, i64 {j1})")
        f.barrier("%team")
        rows, slices = f.slot("B"), f.slot("slices")
        hidden = f.let(f"icmp ne i64 {f.slot('by_hidden')}, 0")
        whole = f.let(f"xor i1 {hidden}, true")
        f.when(
            hidden,
            lambda: f.emit(
                f"call void @work(ptr %mine, i64 0, i64 0, i64 {rows}, i64 {j0}, i64 {j1},"
                " i64 %team)"
            ),
        )

        def by_rows() -> None:
            def body(s: str, _: list[str]) -> list[str]:
                r0 = f.let(f"sdiv i64 {f.mul(s, rows)}, {slices}")
                r1 = f.let(f"sdiv i64 {f.mul(f.add(s, 1), rows)}, {slices}")
                f.call(
                    "void",
                    "llvm.memcpy.p0.p0.i64",
                    "ptr %mine",
                    "ptr %ctx",
                    f"i64 {8 * words}",
                    "i1 false",
                )
                f.emit(
                    f"call void @work(ptr %mine, i64 {s}, i64 {r0}, i64 {r1}, i64 0, i64 {tiles},"
                    " i64 1)"
                )
                return []

            f.loop("%tid", slices, "%team", body)

        f.when(whole, by_rows)
        f.leave_float_mode(saved)
        self.add(f)

    def entry(self) -> None:
        openmp = self.program.openmp
        if openmp:
            f = self.function("region")
            tid = f.let(f"sext i32 {f.call('i32', 'omp_get_thread_num')} to i64")
            team = f.let(f"sext i32 {f.call('i32', 'omp_get_num_threads')} to i64")
            f.emit(f"call void @member(ptr %ctx, i64 {tid}, i64 {team})")
            self.add(f)
        f = self.function("run", private=False)
        if not openmp:
            f.emit("call void @member(ptr %ctx, i64 0, i64 1)")
        else:
            threads = f.slot("threads")
            several = f.let(f"icmp sgt i64 {threads}, 1")
            alone = f.let(f"xor i1 {several}, true")
            count = f.let(f"trunc i64 {threads} to i32")
            f.when(
                several,
                lambda: f.emit(
                    f"call void @GOMP_parallel(ptr @region, ptr %ctx, i32 {count}, i32 0)"
                ),
            )
            f.when(alone, lambda: f.emit("call void @member(ptr %ctx, i64 0, i64 1)"))
            f.externals.add("declare void @GOMP_parallel(ptr, ptr, i32, i32)")
        self.add(f)


class _Code(Function):
    """A function that knows the slots of its context."""

    def __init__(
        self,
        target: Target,
        name: str,
        parameters: list[str],
        slots: Slots,
        private: bool = True,
    ) -> None:
        super().__init__(target, name, parameters, private)
        self.slots = slots

    def address(self, name: str) -> str:
        return self.at("%ctx", 8 * self.slots.index[name])

    def read(self, name: str) -> str:
        """A slot's present value."""
        return self.let(f"load i64, ptr {self.address(name)}, align 8")

    slot = read

    def pointer(self, name: str) -> str:
        return self.let(f"inttoptr i64 {self.read(name)} to ptr")

    def set(self, name: str, value: str) -> None:
        assert name in MOVING or name.startswith(("in.", "out."))
        self.emit(f"store i64 {value}, ptr {self.address(name)}, align 8")

    def advance(self, name: str, stride: str) -> None:
        self.set(name, self.let(f"add i64 {self.read(name)}, {self.read(stride)}"))

    def cover(self, first: str, end: str, rows: int) -> str:
        """The end of the rows that whole tiles of ``rows`` cover."""
        if rows == 1:
            return end
        whole = self.let(f"sdiv i64 {self.sub(end, first)}, {rows}")
        return self.add(first, self.mul(whole, rows))

    def columns(self, start: str, end: str, widths: tuple[int, ...], body: Columns) -> None:
        """Cover the hidden tiles start to end with the widest tiles that fit."""
        for width in widths:
            stop = self.cover(start, end, width)

            def each(j: str, _: list[str], width: int = width) -> list[str]:
                body(j, width)
                return []

            self.loop(start, stop, width, each)
            start = stop

    def barrier(self, parties: str) -> None:
        self.emit(f"call void @barrier(ptr {self.pointer('barrier')}, i64 {parties})")

    def enter_float_mode(self) -> str:
        """Round to nearest, denormals kept, in this thread; gives what was there before."""
        if not self.target.machine.x86:
            return self.let('call i64 asm sideeffect "mrs $0, fpcr", "=r"()')
        self.emit("%mode.old = alloca i32, align 4")
        self.emit("%mode.new = alloca i32, align 4")
        self.call("void", "llvm.x86.sse.stmxcsr", "ptr %mode.old")
        self.emit("store i32 8064, ptr %mode.new, align 4")
        self.call("void", "llvm.x86.sse.ldmxcsr", "ptr %mode.new")
        return "%mode.old"

    def leave_float_mode(self, saved: str) -> None:
        if self.target.machine.x86:
            self.call("void", "llvm.x86.sse.ldmxcsr", f"ptr {saved}")
