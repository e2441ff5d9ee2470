"""Every published cell built: by gcc and clang, for a Cortex-M4 and AArch64 under QEMU, in node."""

from __future__ import annotations

import shutil
import subprocess
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
from cells_built import STRICT, compiled, model_of

from grus.builds import build
from grus.builds.ranges import operand_ranges
from grus.errors import InputError
from grus.kernels import UnsupportedCellError, make_plan
from grus.zoo import PUBLISHED

pytestmark = pytest.mark.peers
HERE = Path(__file__).parents[1] / "builds"
SAME = "model: 8 steps, the same bits\n"
CORTEX = ["-mcpu=cortex-m4", "-mthumb", "-mfpu=fpv4-sp-d16", "-mfloat-abi=hard"]
EVERY = [name for name, known in PUBLISHED.items() if not known.cell.gathers]


def needs(*programs: str) -> None:
    """Skip where one is missing."""
    for program in programs:
        if not shutil.which(program):
            pytest.skip(f"there is no {program}")


def printed(*command: str | Path, folder: Path | None = None) -> str:
    """What a command prints; it must succeed."""
    done = subprocess.run(
        [*map(str, command)], cwd=folder, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr + done.stdout
    return done.stdout


@lru_cache(maxsize=1)
def start_up() -> str:
    """The C library's own start for programs that a debugger serves."""
    place = "-print-file-name=rdimon-crt0.o"
    return printed("arm-none-eabi-gcc", *CORTEX, "--specs=rdimon.specs", place).strip()


def on_cortex(folder: Path, *sources: str) -> str:
    """What a test prints on QEMU's Cortex-M4."""
    options = ("-T", HERE / "cortex_m.ld", "--specs=rdimon.specs", "-nostartfiles", start_up())
    quiet = "-Wl,--no-warn-execstack"
    board = HERE / "cortex_m.c"
    command = ("arm-none-eabi-gcc", *CORTEX, "-O2", *sources, board, *options, quiet, "-o", "m4")
    printed(*command, folder=folder)
    machine = ("qemu-system-arm", "-M", "mps2-an386", "-nographic", "-semihosting")
    return printed(*machine, "-kernel", "m4", folder=folder)


def small(name: str, folder: Path, target: str = "c", **settings: str) -> bool:
    """Build a cell with int8 matrices; False where its operands are not bounded."""
    model = model_of(PUBLISHED[name].cell)
    try:
        operand_ranges(model.layers, 3.0)
    except InputError:
        return False
    build(model, folder, target, weights="int8", largest=3.0, **settings)  # type: ignore[arg-type]
    return True


@pytest.mark.parametrize("compiler", ["gcc", "clang"])
@pytest.mark.parametrize("name", EVERY)
def test_c_by_two_compilers(name: str, compiler: str, tmp_path: Path) -> None:
    """As it is written and optimised; int8, too."""
    needs(compiler)
    build(model_of(PUBLISHED[name].cell), tmp_path)
    assert compiled(tmp_path, compiler, *STRICT, "-O0") == SAME
    assert compiled(tmp_path, compiler, *STRICT, "-O3", "-march=native") == SAME
    if small(name, tmp_path):
        assert compiled(tmp_path, compiler, *STRICT, "-O3", "-march=native") == SAME


@pytest.mark.parametrize("name", EVERY)
def test_a_cortex_m4(name: str, tmp_path: Path) -> None:
    """The object, and int8 as C."""
    needs("arm-none-eabi-gcc", "qemu-system-arm")
    build(model_of(PUBLISHED[name].cell), tmp_path, "object", cpu="cortex-m4", bits="neon")
    assert on_cortex(tmp_path, "model_test.c", "model.o") == SAME
    if small(name, tmp_path):
        assert on_cortex(tmp_path, "model_test.c", "model.c") == SAME


@pytest.mark.parametrize("name", EVERY)
def test_aarch64(name: str, tmp_path: Path) -> None:
    """The object, and that of int8."""
    needs("aarch64-linux-gnu-gcc", "qemu-aarch64")
    link = ("aarch64-linux-gnu-gcc", "-static", "model_test.c", "model.o", "-o", "a64")
    build(model_of(PUBLISHED[name].cell), tmp_path, "object", cpu="aarch64", bits="neon")
    printed(*link, folder=tmp_path)
    assert printed("qemu-aarch64", "./a64", folder=tmp_path) == SAME
    if small(name, tmp_path, "object", cpu="aarch64"):
        printed(*link, folder=tmp_path)
        assert printed("qemu-aarch64", "./a64", folder=tmp_path) == SAME


@pytest.mark.parametrize("name", EVERY)
def test_node(name: str, tmp_path: Path) -> None:
    """WebAssembly, and that of int8."""
    needs("node")
    build(model_of(PUBLISHED[name].cell), tmp_path, "wasm")
    assert printed("node", tmp_path / "model_test.mjs") == SAME
    if small(name, tmp_path, "wasm"):
        assert printed("node", tmp_path / "model_test.mjs") == SAME


def test_a_stream_in_node_is_its_own(tmp_path: Path) -> None:
    """Two streams by turns, memory that grows under them, a wrong x."""
    needs("node")
    model = model_of(PUBLISHED["gru1"].cell)
    build(model, tmp_path, "wasm")
    x = np.random.default_rng(0).normal(size=(3, model.inputs)).astype(np.float32)
    (tmp_path / "streams.mjs").write_text(
        f"""import {{ readFileSync }} from "node:fs";
import {{ load }} from "./model.mjs";
const model = await load(readFileSync(new URL("./model.wasm", import.meta.url)));
const x = {x.tolist()};
const first = model.stream();
const all = [first.step(x[0])];
for (let k = 0; k < 2000; ++k) model.stream().step(x[1]);
all.push(first.step(x[1]), first.step(x[2]));
first.reset();
all.push(first.step(x[0]));
console.log(all.map((y) => [...new Uint32Array(y.buffer)].join(" ")).join("\\n"));
try {{ first.step([1]); }} catch (error) {{ console.log(error.message); }}
"""
    )
    *rows, again, error = printed("node", tmp_path / "streams.mjs").splitlines()
    bits = [[int(word) for word in row.split()] for row in rows]
    wanted = model.run(x)
    got = np.array(bits, np.uint32).view(np.float32)
    assert np.abs(got - wanted).max() < 1e-6  # sse2's bits beside this machine's
    assert again == rows[0]
    assert error == f"x must have {model.inputs} numbers, got 1"


def test_what_cannot_be_built_is_what_kernels_refuse() -> None:
    """Cells over images and graphs, no others."""
    for name, known in PUBLISHED.items():
        if name not in EVERY:
            with pytest.raises(UnsupportedCellError):
                make_plan(known.cell)
