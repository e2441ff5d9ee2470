"""Built steps have the bits of sequences: C by the compiler that is here, objects, refusals."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from cells_built import HIDDEN, INPUTS, STRICT, compiled, model_of, weights_of

import grus
from grus.builds import build
from grus.builds.model import Model, layer
from grus.builds.object_file import PROCESSORS
from grus.builds.step_program import StepProgram
from grus.equations import (
    Cell,
    U,
    V,
    W,
    b,
    blocks,
    c,
    h,
    mean,
    number,
    sequence,
    sigmoid,
    sqrt,
    step,
    tanh,
    x,
)
from grus.errors import InputError
from grus.kernels import jit
from grus.kernels.to_c import to_c

SAME = "model: 8 steps, the same bits\n"


class TwoProducts(Cell):
    """Two products with one operand add to one chain: at each k one after the other."""

    r = sigmoid(W.r @ x + U.r @ h + V.r @ h + b.r)
    h_next = tanh(U.n @ (r * h) + V.n @ (r * h) + W.n @ x + b.n)


class Normed(Cell):
    """Means, a square root, a number for each row; the next state waits for all who read it."""

    a = W.a @ x + U.a @ h
    spread = sqrt(mean(a * a) + 1e-3)
    c_next = c + a / spread
    g = sigmoid(V.g @ c_next + U.g @ h)
    h_next = g * h + (1 - g) * tanh(c_next)


class Timed(Cell):
    """A vector and a number more each step, and a mask's mean."""

    g = sigmoid(V.g @ step.delta + U.g @ h + b.g)
    h_next = number.pace * g * h + (1 - g) * tanh(W.n @ x + U.n @ (sequence.drop(0.8) * h))


class Blocked(Cell):
    """Block-diagonal products beside dense ones."""

    z = sigmoid(W.z @ x + U.z @ blocks(h, 3) + V.z @ h + b.z)
    h_next = z * h + (1 - z) * tanh(W.n @ x + U.n @ blocks(z * h, 3))


CELLS: dict[str, Cell] = {
    **{
        name: grus.cell(name) for name in ("torch", "cho2014", "lstm", "lstm_projected", "rnn_relu")
    },
    **{name: grus.cell(name) for name in ("slstm", "lem", "gru_d", "mogrifier", "min_lstm")},
    **{cell.name: cell for cell in (TwoProducts, Normed, Timed, Blocked)},
}


@pytest.mark.parametrize("name", CELLS)
def test_a_step_has_the_bits_of_a_sequence(name: str, tmp_path: Path) -> None:
    """A build compares itself: RuntimeError where a step and `grus.run` differ in a bit."""
    build(model_of(CELLS[name]), tmp_path)


def test_a_wrong_step_is_not_built(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The comparison fails where one constant of tanh is another."""
    from grus.kernels import functions

    model = model_of(CELLS["two_products"])
    model.run(np.zeros((8, INPUTS), np.float32))  # compiled before the break
    real = functions.SPELLINGS["tanh"]
    monkeypatch.setitem(
        functions.SPELLINGS, "tanh", lambda f, v: f.let("mul", real(f, v), 1.0000001)
    )
    with pytest.raises(RuntimeError, match="differ"):
        build(model, tmp_path)
    assert not any(tmp_path.iterdir())


WITHOUT_FUSED = """
import sys, numpy as np, grus
sys.path[:0] = sys.argv[1:2]
from test_steps import CELLS, build, model_of
for cell in CELLS.values():
    build(model_of(cell), sys.argv[2])
print(build(model_of(CELLS["torch"]), sys.argv[2]).bits)
"""


def test_so_it_has_where_nothing_fuses(tmp_path: Path) -> None:
    """The same in a process whose kernels are those of SSE2."""
    if not jit.host().x86:
        pytest.skip("SSE2 is not of this processor")
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_FUSED, str(Path(__file__).parent), str(tmp_path)],
        env=os.environ | {"GRUS_MACHINE": "sse2"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == "sse2\n", done.stderr


def test_a_layers_function_meets_no_name_of_c(tmp_path: Path) -> None:
    """A cell may be called like a function of C or of the build, or in other letters."""
    cells = [Cell(name, (("h_next", W.h @ x),)) for name in ("tanh", "step", "int", "größe")]
    sizes_of = zip(cells, (5, 4, 3, 2), (4, 3, 2, 1), strict=True)
    layers = tuple(model_of(cell, i, o).layers[0] for cell, i, o in sizes_of)
    build(Model(layers), tmp_path)
    assert compiled(tmp_path, "gcc", *STRICT) == SAME


def test_c_has_the_bits_whatever_compiles_it(tmp_path: Path) -> None:
    """With fused multiply-adds in the processor and worked out, optimised and not, as C++, and
    under sanitizers; every warning is an error."""
    layers = [
        model_of(CELLS[n], i, o).layers[0] for n, i, o in (("normed", 5, 12), ("torch", 12, 4))
    ]
    linear = Cell.parse("h_next = W.h @ x + b.h", "linear")
    last = layer("dense", linear, weights_of(linear, 4, 2), 4)
    build(Model((*layers, last)), tmp_path)
    fused = "-mfma" if jit.host().x86 and jit.host().fma else "-O1"
    assert compiled(tmp_path, "cc", *STRICT, "-O0") == SAME
    assert compiled(tmp_path, "cc", *STRICT, "-O3", fused) == SAME
    assert compiled(tmp_path, "cc", "-std=gnu11", "-O3", fused, "-ffp-contract=fast") == SAME
    assert compiled(tmp_path, "c++ -x c++", *STRICT[1:], "-std=c++11", "-O2", fused) == SAME
    checked = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all")
    assert compiled(tmp_path, "cc", *STRICT, "-O1", *checked) == SAME


def test_c_for_processors_that_fuse_nothing(tmp_path: Path) -> None:
    """It stays so where the compiler may fuse."""
    build(model_of(CELLS["lstm"]), tmp_path, bits="sse2")
    fused = "-mfma" if jit.host().x86 and jit.host().fma else "-O1"
    assert compiled(tmp_path, "cc", "-std=gnu11", "-O3", fused, "-ffp-contract=fast") == SAME


def test_its_test_sees_another_weight(tmp_path: Path) -> None:
    """One whose fourth digit is another."""
    files = build(model_of(CELLS["torch"]), tmp_path).files
    text = files["model.c"].decode()
    at = text.index("model_weights = {{")
    weight = re.search(r"-?\d\.\d+f", text[at:])
    assert weight
    near = np.float32(weight[0][:-1]) * np.float32(1.001)
    other = text[:at] + text[at:].replace(weight[0], f"{near:.9g}f", 1)
    (tmp_path / "model.c").write_text(other)
    assert "not 0x" in compiled(tmp_path, "cc", "-O1")


def test_streams_are_apart_and_symbols_are_looked_up(tmp_path: Path) -> None:
    """Two states of one model, by turns, give what each gives alone; a symbol is its row."""
    plain = model_of(CELLS["torch"])
    table = np.random.default_rng(1).normal(size=(7, INPUTS)).astype(np.float32)
    built = build(Model(plain.layers, table), tmp_path)
    assert compiled(tmp_path, "cc", *STRICT, "-O1") == SAME
    read = np.array([3, 0, 6])
    assert built.run(read).tobytes() == plain.run(table[read]).tobytes()
    for wrong in (np.array([7]), np.array([-1]), np.array([0.0]), table):
        with pytest.raises(InputError, match="whole numbers"):
            built.run(wrong)
    main = """#include "model.h"
#include <string.h>
#include <stdio.h>
int main(void) {
    static const size_t read[2][6] = {{0, 1, 2, 3, 4, 5}, {6, 6, 1, 0, 3, 2}};
    static float apart[2][6][MODEL_OUTPUTS], mixed[2][6][MODEL_OUTPUTS];
    model_state states[2];
    for (int s = 0; s < 2; ++s) {
        model_reset(&states[s]);
        for (int t = 0; t < 6; ++t) model_step(&model_weights, &states[s], read[s][t], apart[s][t]);
    }
    for (int s = 0; s < 2; ++s) model_reset(&states[s]);
    for (int t = 0; t < 6; ++t)
        for (int s = 0; s < 2; ++s)
            model_step(&model_weights, &states[s], read[s][t], mixed[s][t]);
    printf("%d", memcmp(apart, mixed, sizeof apart));
    return 0;
}
"""
    (tmp_path / "main.c").write_text(main)
    assert compiled(tmp_path, "cc", "-O1", sources="model.c main.c") == "0"


def test_a_sequence_is_its_steps(tmp_path: Path) -> None:
    """`NAME_run` over an array of steps, bit by bit the rows that `Model.run` gives."""
    model = model_of(CELLS["torch"])
    build(model, tmp_path)
    x_ = np.random.default_rng(2).normal(size=(9, INPUTS)).astype(np.float32)
    x_[4:6] *= 1e-41  # denormal
    listed = ", ".join(f"{value:.9g}f" for value in x_.ravel())
    main = f"""#include "model.h"
#include <stdio.h>
int main(void) {{
    static const float x[] = {{{listed}}};
    static union {{ float value; unsigned bits; }} y[9 * MODEL_OUTPUTS];
    model_state state;
    model_reset(&state);
    model_run(&model_weights, &state, 9, x, &y[0].value);
    for (int k = 0; k < 9 * MODEL_OUTPUTS; ++k) printf("%u ", y[k].bits);
    return 0;
}}
"""
    (tmp_path / "main.c").write_text(main)
    printed = compiled(tmp_path, "cc", "-O1", sources="model.c main.c")
    assert [*map(int, printed.split())] == model.run(x_).ravel().view(np.uint32).tolist()


def test_running_here_keeps_denormals(tmp_path: Path) -> None:
    """The bits are the files' where torch has set the thread to flush them; then it still does."""
    torch = pytest.importorskip("torch")
    built = build(model_of(Cell.parse("h_next = W.h @ x", "linear")), tmp_path)
    read = np.full((1, INPUTS), 1e-39, np.float32)
    wanted = built.run(read)
    assert 0 < np.abs(wanted).max() < 1e-38
    assert torch.set_flush_denormal(True)
    try:
        assert built.run(read).tobytes() == wanted.tobytes()
        assert not (torch.tensor([1e-39]) * 2).any()
    finally:
        torch.set_flush_denormal(False)


def test_an_object_of_this_machine_is_linked_and_runs(tmp_path: Path) -> None:
    """Steps, and a sequence as the header declares it."""
    if not jit.host().x86:
        pytest.skip("it is built for x86")
    model = model_of(CELLS["torch"])
    build(model, tmp_path, "object", cpu=f"x86_64-unknown-linux-gnu:{jit.host().processor}")
    assert compiled(tmp_path, "cc", *STRICT, "-O1", sources="model_test.c model.o") == SAME
    main = """#include "model.h"
#include <stdio.h>
int main(void) {
    static float x[9 * MODEL_INPUTS], y[9 * MODEL_OUTPUTS], z[9 * MODEL_OUTPUTS];
    model_state state;
    for (int k = 0; k < 9 * MODEL_INPUTS; ++k) x[k] = 0.125f * (float)(k % 17 - 8);
    model_reset(&state);
    model_run(&model_weights, &state, 9, x, y);
    model_reset(&state);
    for (int t = 0; t < 9; ++t)
        model_step(&model_weights, &state, x + t * MODEL_INPUTS, z + t * MODEL_OUTPUTS);
    for (int k = 0; k < 9 * MODEL_OUTPUTS; ++k) if (y[k] != z[k]) return 1;
    printf("alike, and %s", y[0] != 0.0f ? "not zero" : "zero");
    return 0;
}
"""
    (tmp_path / "main.c").write_text(main)
    assert compiled(tmp_path, "cc", "-O1", sources="main.c model.o") == "alike, and not zero"


def test_c_asks_for_nothing_but_memory(tmp_path: Path) -> None:
    """No libm and no allocation: what a compiled source leaves to others."""
    build(model_of(CELLS["normed"]), tmp_path)
    compiled(tmp_path, "cc", "-O2", "-c", sources="model.c", program="model.o", run=False)
    asked = subprocess.run(
        ["nm", "-u", "model.o"], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert {*asked.stdout.split()} - {"U"} <= {"memcpy", "memset"}


@pytest.mark.parametrize("cpu", PROCESSORS)
def test_objects_ask_for_nothing_but_memory(cpu: str, tmp_path: Path) -> None:
    """No libm, whatever the processor; the same bytes each time."""
    bits = "sse2" if cpu == "wasm32" else "neon"
    one, again = (
        build(model_of(CELLS["normed"]), tmp_path, "object", cpu=cpu, bits=bits).files["model.o"]
        for _ in range(2)
    )
    assert one == again
    for name in (b"model_reset", b"model_step", b"model_run", b"model_weights"):
        assert name in one
    for name in (b"fmaf\0", b"sqrtf\0", b"expf\0", b"malloc\0", b"__aeabi_f"):
        assert name not in one


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"name": "2nd"}, "must be a letter"),
        ({"name": "a-b"}, "must be a letter"),
        ({"target": "rust"}, "must be one of c, object, wasm, page"),
        ({"cpu": "cortex-m4"}, "no other target takes one"),
        ({"target": "object"}, "name it"),
        ({"target": "object", "cpu": "m4"}, "cpu must be one of cortex-m4"),
        ({"target": "object", "cpu": "no-such-thing"}, "no code generator"),
        (
            {"target": "object", "cpu": "riscv32-unknown-elf:generic-rv32:+m"},
            "no fused multiply-add",
        ),
        ({"target": "object", "cpu": "wasm32", "bits": "avx2"}, "no fused multiply-add"),
        ({"bits": "mmx"}, "must be those of"),
    ],
)
def test_what_cannot_be_built_is_a_sentence(
    settings: dict[str, str], words: str, tmp_path: Path
) -> None:
    """And nothing is written."""
    folder = tmp_path / "out"
    with pytest.raises(InputError, match=re.escape(words)):
        build(model_of(CELLS["torch"]), folder, **settings)  # type: ignore[arg-type]
    assert not folder.exists()


def test_the_program_of_a_step_is_c_that_a_person_can_read() -> None:
    """Loops over units, arrays by name: no pointer arithmetic in bytes, no vectors."""
    text = to_c(StepProgram(model_of(CELLS["torch"]), jit.host()).program())
    assert f"for (ptrdiff_t i1 = 0; i1 < {4 * HIDDEN}; ++i1) {{" in text
    assert "const float *RESTRICT weights" in text
    assert "float *RESTRICT state" in text
    assert json.dumps(text).isascii()
