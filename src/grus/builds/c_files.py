"""A model as C99: a header, a source and a test of its bits.

No libm, no memory of its own, no globals that change. The program is that of `step_program`, the
public functions stand around it.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator
from string import Template

import numpy as np

from grus.builds.model import Array
from grus.builds.step_program import StepProgram
from grus.kernels import c_number, to_c

ACROSS = 6
"""Numbers in a line of an array."""


FUSED = (
    ", which fuses multiply-adds: compile for a processor that does (-mfma, -march=native), or a"
    " step takes a hundred times as long"
)


HEADER = Template("""/* $about */
#ifndef ${UPPER}_H
#define ${UPPER}_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define ${UPPER}_INPUTS $inputs
#define ${UPPER}_OUTPUTS $outputs
#define ${UPPER}_STATE $state

typedef struct {
$arrays
} ${name}_model;

typedef struct {
    float values[${UPPER}_STATE];
} ${name}_state;

extern const ${name}_model ${name}_weights;

/* Begin a sequence. */
void ${name}_reset(${name}_state *state);

/* One step: $read. */
void ${name}_step(const ${name}_model *model, ${name}_state *state, $typed, float *y);
$several
#ifdef __cplusplus
}
#endif

#endif
""")
SEVERAL = Template("""
/* Steps one after the other, x and y [steps][...]. */
void ${name}_run(
    const ${name}_model *model, ${name}_state *state, size_t steps, const float *x, float *y)""")
SOURCE = Template("""/*
$equations
*/
#include "$name.h"

#include <float.h>

#if FLT_EVAL_METHOD != 0
#error "$name: float arithmetic must not be wider than float"
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

$program
void ${name}_reset(${name}_state *state)
{
    reset(state->values);
}

void ${name}_step(const ${name}_model *model, ${name}_state *state, $typed, float *y)
{
    step($weights, state->values, $passed, y);
}
$several
const ${name}_model ${name}_weights = {{
$numbers
}};
""")
TEST = Template("""#include "$name.h"

#include <stdio.h>

static const $kind x[$steps$each] = {
$read
};
static const uint32_t wanted[$steps * ${UPPER}_OUTPUTS] = {
$wanted
};

int main(void)
{
    ${name}_state state;
    union { float value; uint32_t bits; } y[${UPPER}_OUTPUTS];
    ${name}_reset(&state);
    for (int t = 0; t < $steps; ++t) {
        ${name}_step(&${name}_weights, &state, $at, &y[0].value);
        for (int k = 0; k < ${UPPER}_OUTPUTS; ++k) {
            const uint32_t bits = wanted[t * ${UPPER}_OUTPUTS + k];
            if (y[k].bits != bits) {
                printf("$name: step %d, output %d is %.9g, not 0x%08lx\\n", t, k,
                    (double)y[k].value, (unsigned long)bits);
                return 1;
            }
        }
    }
    printf("$name: $steps steps, the same bits\\n");
    return 0;
}
""")


def header(built: StepProgram, name: str) -> str:
    """The header: sizes, types, functions."""
    upper = name.upper()
    read = f"x has {upper}_INPUTS numbers, y gets {upper}_OUTPUTS; y may not be x"
    if built.symbols:
        read = f"symbol is less than {upper}_INPUTS, y gets {upper}_OUTPUTS numbers"
    about = textwrap.fill(
        f"{name}: {_described(built)} Each stream has a state of its own, {4 * built.state} bytes;"
        f" one model serves them all. A step takes {built.multiply_adds} multiply-adds and"
        f" {4 * built.work} bytes of stack; the weights are {built.size} bytes. Bits are"
        f" those of grus on {built.machine.name}{FUSED if built.machine.fma else ''}.",
        ACROSS * 16,
        subsequent_indent="   ",
    )
    return HEADER.substitute(
        name=name,
        UPPER=upper,
        about=about,
        inputs=built.symbols or built.inputs,
        outputs=built.outputs,
        state=max(built.state, 1),
        arrays="\n".join(f"    {kind} {array}[{a.size}];" for kind, array, a in _arrays(built)),
        read=read,
        typed=_typed(built),
        several="" if built.symbols else f"{SEVERAL.substitute(name=name)};\n",
    )


def source(built: StepProgram, name: str) -> str:
    """The source."""
    equations = dict.fromkeys(str(layer.cell) for layer in built.model.layers)
    weights = ", ".join(f"model->{array}" for _, array, _ in _arrays(built))
    several = ""
    if not built.symbols:
        body = f"    run({weights}, state->values, x, y, (ptrdiff_t)steps);"
        several = f"{SEVERAL.substitute(name=name)}\n{{\n{body}\n}}\n"
    numbers = (
        "\n".join(_listed(map(c_number if kind == "float" else str, array)))
        for kind, _, array in _arrays(built)
    )
    return SOURCE.substitute(
        name=name,
        equations=textwrap.indent("\n\n".join(equations).rstrip(), "    "),
        program=to_c(built.program()),
        typed=_typed(built),
        weights=weights,
        passed="(ptrdiff_t)symbol" if built.symbols else "x",
        several=several,
        numbers="\n}, {\n".join(numbers),
    )


def self_test(built: StepProgram, name: str, x: Array, y: Array) -> str:
    """A program that runs recorded steps and compares every bit."""
    bits = np.ascontiguousarray(y, np.float32).ravel().view(np.uint32)
    inputs = f"{name.upper()}_INPUTS"
    return TEST.substitute(
        name=name,
        UPPER=name.upper(),
        kind="size_t" if built.symbols else "float",
        steps=len(x),
        each="" if built.symbols else f" * {inputs}",
        read="\n".join(_listed(map(str if built.symbols else c_number, x.ravel()))),
        at="x[t]" if built.symbols else f"x + t * {inputs}",
        wanted="\n".join(_listed(f"0x{int(b):08x}u" for b in bits)),
    )


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


def _listed(numbers: Iterable[str]) -> Iterator[str]:
    """Lines of an array."""
    every = list(numbers)
    for k in range(0, len(every), ACROSS):
        yield "    " + ", ".join(every[k : k + ACROSS]) + ","
