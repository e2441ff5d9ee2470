"""A model as a WebAssembly module, and a JavaScript module around it."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tempfile
from importlib import import_module
from pathlib import Path

import numpy as np

from grus.builds.model import Array
from grus.builds.object_file import PROCESSORS, object_file
from grus.builds.step_program import StepProgram
from grus.errors import InputError, needed_for

STREAMS = """// @NAME@: reads @READS@ a step and gives @OUTPUTS@ numbers.
// Bits are those of grus on @MACHINE@.

export const inputs = @INPUTS@;
export const outputs = @OUTPUTS@;

/**
 * A model from the bytes of @NAME@.wasm, or from what fetch gives.
 * @param {BufferSource | Response | Promise<Response>} source
 * @returns {Promise<Model>}
 */
export async function load(source) {
  const given = await source;
  const bytes = given instanceof Response ? await given.arrayBuffer() : given;
  const { instance } = await WebAssembly.instantiate(bytes, {});
  return new Model(instance.exports);
}

export class Model {
  constructor(exports) {
    this.exports = exports;
    this.free = exports.__heap_base.value;
  }

  /** A sequence with a state of its own; any number of them share the model. */
  stream() {
    return new Stream(this);
  }

  /** The place of so many floats, which are kept. */
  take(count) {
    const place = (this.free + 15) & ~15;
    this.free = place + 4 * count;
    const { memory } = this.exports;
    const more = this.free - memory.buffer.byteLength;
    if (more > 0) memory.grow(Math.ceil(more / 65536));
    return place;
  }

  floats(place, count) {
    return new Float32Array(this.exports.memory.buffer, place, count);
  }
}

export class Stream {
  constructor(model) {
    this.model = model;
    this.state = model.take(@STATE@);
    this.x = model.take(inputs);
    this.y = model.take(outputs);
    this.reset();
  }

  /** Begin a sequence. */
  reset() {
    this.model.exports.@NAME@_reset(this.state);
  }

  /**
   * One step.
   * @param {@TYPE@} x @READS@
   * @returns {Float32Array} `outputs` numbers, in memory of their own
   */
  step(x) {
    const { exports } = this.model;
@STEP@
    exports.@NAME@_step(exports.@NAME@_weights.value, this.state, read, this.y);
    return this.model.floats(this.y, outputs).slice();
  }
}
"""
NUMBERS = """
    if (x.length !== inputs) throw new RangeError(`x must have ${inputs} numbers, got ${x.length}`);
    this.model.floats(this.x, inputs).set(x);
    const read = this.x;
"""
SYMBOL = """
    if (!(Number.isInteger(x) && x >= 0 && x < inputs)) {
      throw new RangeError(`x must be a whole number below ${inputs}, got ${x}`);
    }
    const read = x;
"""

STACK = 64 * 1024
"""Bytes of stack beside what a step keeps there, which is rounded up to 16: the linker asks so."""
SECONDS = 60


def wasm_file(built: StepProgram, name: str) -> bytes:
    """The module: memory, ``NAME_reset``, ``NAME_step``, the weights, and where memory is free.

    Raises InputError where there is no linker.
    """
    code = object_file(built, name, PROCESSORS["wasm32"])
    exported = [f"{name}_{symbol}" for symbol in ("reset", "step", "weights")]
    options = [f"--export={symbol}" for symbol in (*exported, "__heap_base")]
    options += ["--no-entry", "--strip-all", "-z", f"stack-size={STACK + 16 * -(-built.work // 4)}"]
    with tempfile.TemporaryDirectory() as folder:
        read, written = Path(folder, "model.o"), Path(folder, "model.wasm")
        read.write_bytes(code)
        done = subprocess.run(
            [*_linker(), *options, str(read), "-o", str(written)],
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
        if done.returncode:
            raise InputError(f"wasm-ld failed: {done.stderr.strip().splitlines()[-1]}")
        return written.read_bytes()


def _linker() -> list[str]:
    """wasm-ld where it is installed, else the one that the package ziglang brings."""
    return ["wasm-ld"] if shutil.which("wasm-ld") else ziglang()


def ziglang() -> list[str]:
    """The linker of the package. Raises MissingPackageError where it is not installed."""
    with needed_for("WebAssembly, where LLVM's wasm-ld is not installed,"):
        import_module("ziglang")
    return [sys.executable, "-m", "ziglang", "wasm-ld"]


def module(built: StepProgram, name: str) -> str:
    """The JavaScript module: `STREAMS` with the model's own numbers."""
    read = SYMBOL if built.symbols else NUMBERS
    known = {
        "NAME": name,
        "READS": f"one of {built.symbols} symbols" if built.symbols else f"{built.inputs} numbers",
        "INPUTS": str(built.symbols or built.inputs),
        "OUTPUTS": str(built.outputs),
        "STATE": str(max(built.state, 1)),
        "MACHINE": built.machine.name,
        "TYPE": "number" if built.symbols else "ArrayLike<number>",
        "STEP": read.strip("\n"),
    }
    return re.sub(r"@([A-Z]+)@", lambda match: known[match[1]], STREAMS)


def self_test(built: StepProgram, name: str, x: Array, y: Array) -> str:
    """A program for node that runs recorded steps and compares every bit."""
    bits = np.ascontiguousarray(y, np.float32).view(np.uint32)
    return f"""import {{ readFileSync }} from "node:fs";
import {{ load }} from "./{name}.mjs";

const x = {json.dumps(x.tolist())};
const wanted = {json.dumps(bits.tolist())};

const model = await load(readFileSync(new URL("./{name}.wasm", import.meta.url)));
const stream = model.stream();
for (let t = 0; t < x.length; ++t) {{
  const bits = new Uint32Array(stream.step(x[t]).buffer);
  for (let k = 0; k < bits.length; ++k) {{
    if (bits[k] !== wanted[t][k]) {{
      console.log(`{name}: step ${{t}}, output ${{k}} is 0x${{bits[k].toString(16)}}`
        + `, not 0x${{wanted[t][k].toString(16)}}`);
      process.exit(1);
    }}
  }}
}}
console.log(`{name}: ${{x.length}} steps, the same bits`);
"""
