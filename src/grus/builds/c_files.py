"""A model as C99: a header, a source and a test of its bits.

No libm, no memory of its own, no globals that change. The program is that of `step_program`, the
public functions stand around it.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator

import numpy as np

from grus.builds.model import Array
from grus.builds.step_program import StepProgram
from grus.kernels.to_c import number, to_c

ACROSS = 6
"""Numbers in a line of an array."""


FUSED = (
    ", which fuses multiply-adds: compile for a processor that does (-mfma, -march=native), or a"
    " step takes a hundred times as long"
)


def header(built: StepProgram, name: str) -> str:
    """The header: sizes, types, functions."""
    upper = name.upper()
    read = f"x has {upper}_INPUTS numbers, y gets {upper}_OUTPUTS; y may not be x"
    if built.symbols:
        read = f"symbol is less than {upper}_INPUTS, y gets {upper}_OUTPUTS numbers"
    several = (
        ""
        if built.symbols
        else f"""
/* Steps one after the other, x and y [steps][...]. */
void {name}_run(
    const {name}_model *model, {name}_state *state, size_t steps, const float *x, float *y);
"""
    )
    about = textwrap.fill(
        f"{name}: {_described(built)} Each stream has a state of its own, {4 * built.state} bytes;"
        f" one model serves them all. A step takes {built.multiply_adds} multiply-adds and"
        f" {4 * built.work} bytes of stack; the weights are {built.size} bytes. Bits are"
        f" those of grus on {built.machine.name}{FUSED if built.machine.fma else ''}.",
        ACROSS * 16,
        subsequent_indent="   ",
    )
    arrays = "\n".join(f"    {kind} {array}[{a.size}];" for kind, array, a in _arrays(built))
    return f"""/* {about} */
#ifndef {upper}_H
#define {upper}_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {{
#endif

#define {upper}_INPUTS {built.symbols or built.inputs}
#define {upper}_OUTPUTS {built.outputs}
#define {upper}_STATE {max(built.state, 1)}

typedef struct {{
{arrays}
}} {name}_model;

typedef struct {{
    float values[{upper}_STATE];
}} {name}_state;

extern const {name}_model {name}_weights;

/* Begin a sequence. */
void {name}_reset({name}_state *state);

/* One step: {read}. */
void {name}_step(const {name}_model *model, {name}_state *state, {_typed(built)}, float *y);
{several}
#ifdef __cplusplus
}}
#endif

#endif
"""


def source(built: StepProgram, name: str) -> str:
    """The source."""
    equations = [str(layer.cell) for layer in built.model.layers]
    comment = "\n\n".join(dict.fromkeys(equations))
    weights = "\n}, {\n".join(
        "\n".join(_listed(map(number if kind == "float" else str, array)))
        for kind, _, array in _arrays(built)
    )
    read = ", ".join(f"model->{array}" for _, array, _ in _arrays(built))
    passed = "(ptrdiff_t)symbol" if built.symbols else "x"
    several = (
        ""
        if built.symbols
        else f"""
void {name}_run(
    const {name}_model *model, {name}_state *state, size_t steps, const float *x, float *y)
{{
    run({read}, state->values, x, y, (ptrdiff_t)steps);
}}
"""
    )
    return f"""/*
{textwrap.indent(comment.rstrip(), "    ")}
*/
#include "{name}.h"

#include <float.h>
#include <stdint.h>

#if FLT_EVAL_METHOD != 0
#error "{name}: float arithmetic must not be wider than float"
#endif
#if defined(__clang__)
#pragma STDC FP_CONTRACT OFF
#elif defined(__GNUC__)
#pragma GCC optimize("fp-contract=off")
#endif
#if defined(__cplusplus) || defined(_MSC_VER)
#define RESTRICT __restrict
#else
#define RESTRICT restrict
#endif

{to_c(built.program())}
void {name}_reset({name}_state *state)
{{
    reset(state->values);
}}

void {name}_step(const {name}_model *model, {name}_state *state, {_typed(built)}, float *y)
{{
    step({read}, state->values, {passed}, y);
}}
{several}
const {name}_model {name}_weights = {{{{
{weights}
}}}};
"""


def self_test(built: StepProgram, name: str, x: Array, y: Array) -> str:
    """A program that runs recorded steps and compares every bit."""
    upper, steps = name.upper(), len(x)
    if built.symbols:
        read, kind, at, each = ", ".join(map(str, x)), "size_t", "x[t]", str(steps)
    else:
        read, kind, at = (
            "\n".join(_listed(map(number, x.ravel()))),
            "float",
            f"x + t * {upper}_INPUTS",
        )
        each = f"{steps} * {upper}_INPUTS"
    bits = (f"0x{int(b):08x}u" for b in np.ascontiguousarray(y, np.float32).ravel().view(np.uint32))
    wanted = "\n".join(_listed(bits))
    return f"""#include "{name}.h"

#include <stdint.h>
#include <stdio.h>

static const {kind} x[{each}] = {{
{read}
}};
static const uint32_t wanted[{steps} * {upper}_OUTPUTS] = {{
{wanted}
}};

int main(void)
{{
    {name}_state state;
    union {{ float value; uint32_t bits; }} y[{upper}_OUTPUTS];
    {name}_reset(&state);
    for (int t = 0; t < {steps}; ++t) {{
        {name}_step(&{name}_weights, &state, {at}, &y[0].value);
        for (int k = 0; k < {upper}_OUTPUTS; ++k) {{
            const uint32_t bits = wanted[t * {upper}_OUTPUTS + k];
            if (y[k].bits != bits) {{
                printf("{name}: step %d, output %d is %.9g, not 0x%08lx\\n", t, k,
                    (double)y[k].value, (unsigned long)bits);
                return 1;
            }}
        }}
    }}
    printf("{name}: {steps} steps, the same bits\\n");
    return 0;
}}
"""


def _arrays(built: StepProgram) -> Iterator[tuple[str, str, Array]]:
    """The arrays of a model: what each holds, its name, its numbers."""
    kinds = ("float", "weights"), ("int32_t", "offsets"), ("int8_t", "bytes")
    for (kind, name), array in zip(kinds, built.packed, strict=True):
        if array.size:
            yield kind, name, array


def _typed(built: StepProgram) -> str:
    """The parameter that a step reads."""
    return "size_t symbol" if built.symbols else "const float *x"


def _described(built: StepProgram) -> str:
    rows = [f"{s.cell.name} {s.inputs} -> {s.outputs}" for s in built.steps]
    return ", ".join(rows) + "."


def _listed(numbers: Iterator[str]) -> Iterator[str]:
    """Lines of an array."""
    every = list(numbers)
    for k in range(0, len(every), ACROSS):
        yield "    " + ", ".join(every[k : k + ACROSS]) + ","
