"""Printing a program of the loop language as C99: what a program of one row needs, and no more.

Integers of 64 bits are ``ptrdiff_t``; all that stands where a pointer leads to is of one type; an
address is printed where it is used, as ``p[i + 3]``. Nothing is left to the compiler that a bit
depends on: a multiply-add is a call, exp and its kin are arithmetic of the program.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from grus.kernels.loops import (
    BYTE,
    INDEX,
    INT32,
    Argument,
    Block as LoopBlock,
    Do,
    For,
    Form,
    Function,
    Let,
    LoopError,
    Program,
    Type,
    Value,
    statements,
)

KINDS = {"index": "ptrdiff_t", "float32": "float", "int32": "uint32_t", "bit": "int"}
KINDS |= {"byte": "uint8_t", "int8": "int8_t"}
STORED = {"float32": "float", "int32": "int32_t", "byte": "uint8_t", "int8": "int8_t"}
"""What memory holds."""
ITEM = 4
INFIX = {
    **{"add": "+", "sub": "-", "mul": "*", "div": "/", "and": "&", "or": "|", "xor": "^"},
    **{"shl": "<<", "shr": ">>", "less": "<", "at_most": "<=", "more": ">", "at_least": ">="},
    **{"equal": "==", "differ": "!="},
}
SIGNED = {"div", "rem", "less", "at_most", "more", "at_least"}
"""What minds the sign of an integer; int32 is printed without one, so that it may overflow."""


BITS_OF = """static uint32_t bits_of(float value)
{
    union { float value; uint32_t bits; } both;
    both.value = value;
    return both.bits;
}"""
FLOAT_OF = """static float float_of(uint32_t bits)
{
    union { float value; uint32_t bits; } both;
    both.bits = bits;
    return both.value;
}"""
FUSED = """/* a * b + c, rounded once. */
#if defined(__FMA__) || defined(__ARM_FEATURE_FMA) || defined(__FP_FAST_FMAF) \\
    || defined(__aarch64__)
#define multiply_add(a, b, c) __builtin_fmaf(a, b, c)
#else
/* The product is exact as a double. The sum is rounded to odd there, so that rounding it once more
   gives what one rounding of the exact sum would. */
static float multiply_add(float a, float b, float c)
{
    union { double value; uint64_t bits; } sum;
    const double product = (double)a * (double)b, third = (double)c;
    sum.value = product + third;
    if (sum.value - sum.value == 0.0) {
        const double other = sum.value - product;
        const double rest = (product - (sum.value - other)) + (third - other);
        if (rest != 0.0 && (sum.bits & 1u) == 0u) {
            sum.bits += (rest > 0.0) == (sum.value > 0.0) ? 1u : (uint64_t)-1;
        }
    }
    return (float)sum.value;
}
#endif"""
ROOT = """/* Rounded to nearest, bit by bit. */
static float square_root(float value)
{
    uint32_t mantissa = bits_of(value) & 0x7fffffu;
    int32_t exponent = (int32_t)(bits_of(value) >> 23) - 127;
    uint64_t rest, root = 0u, bit;
    if (value == 0.0f || !(value > 0.0f) || exponent == 128) {
        return value < 0.0f ? float_of(0x7fc00000u) : value;
    }
    if (exponent == -127) {
        for (exponent = -126; mantissa < 0x800000u; --exponent) {
            mantissa <<= 1;
        }
    } else {
        mantissa |= 0x800000u;
    }
    if (exponent & 1) {
        mantissa <<= 1;
        --exponent;
    }
    rest = (uint64_t)mantissa << 25;
    for (bit = (uint64_t)1 << 48; bit != 0u; bit >>= 2) {
        if (rest >= root + bit) {
            rest -= root + bit;
            root = (root >> 1) + bit;
        } else {
            root >>= 1;
        }
    }
    return float_of(((uint32_t)(exponent / 2 + 126) << 23) + (uint32_t)((root + 1u) >> 1));
}"""
HELPERS = {"bits_of": BITS_OF, "float_of": FLOAT_OF, "multiply_add": FUSED, "square_root": ROOT}
"""What printed functions call, each behind those before it."""


Called = list[tuple[bool, str]]
"""Of each parameter of a function whether it is written through, and what it leads to."""


def to_c(program: Program) -> str:
    """The functions of a program, all of them static, behind what they call. Raises LoopError for
    an operation that no program of one row has."""
    known: dict[str, Called] = {}
    texts = []
    for function in program.functions:
        printer = _Printer(function, known)
        names = [p.name for p in function.parameters]
        known[function.name] = [(n in printer.written, printer.kinds.get(n, "")) for n in names]
        texts.append(printer.text())
    body = "\n\n".join(texts)
    for name, text in reversed(HELPERS.items()):
        if f"{name}(" in body:
            body = f"{text}\n\n{body}"
    return body + "\n"


def c_number(value: float) -> str:
    """A float32 as C reads it back, bit for bit."""
    single = np.float32(value)
    if not np.isfinite(single):
        return f"float_of(0x{int(single.view(np.uint32)):08x}u)"
    text = f"{single:.9g}"
    return f"{text if '.' in text or 'e' in text else text + '.0'}f"


def constant(value: Argument, of: Type) -> str:
    """An argument that is no value."""
    if of.kind == "float32":
        return c_number(value)  # type: ignore[arg-type]
    if of.kind == "int32":
        return f"0x{int(value) & 0xFFFFFFFF:x}u"  # type: ignore[arg-type]
    return str(int(value))  # type: ignore[arg-type]


def _infix(form: Form, names: list[str]) -> str:
    if form.of is INT32 and form.operation in SIGNED:
        names = [f"(int32_t){name}" for name in names]
    return f"{names[0]} {INFIX[form.operation]} {names[1]}"


def _bits(form: Form, names: list[str]) -> str:
    return f"{'bits_of' if form.type is INT32 else 'float_of'}({names[0]})"


def _convert(form: Form, names: list[str]) -> str:
    value = f"(int32_t){names[0]}" if form.of is INT32 and form.type is not BYTE else names[0]
    return f"({KINDS[form.type.kind]}){value}"


def _copysign(_: Form, names: list[str]) -> str:
    size, sign = f"bits_of({names[0]}) & 0x7fffffffu", f"bits_of({names[1]}) & 0x80000000u"
    return f"float_of(({size}) | ({sign}))"


OPERATIONS: dict[str, Callable[[Form, list[str]], str]] = {
    **dict.fromkeys(INFIX, _infix),
    "fma": lambda _, names: f"multiply_add({', '.join(names)})",
    "sqrt": lambda _, names: f"square_root({names[0]})",
    "abs": lambda _, names: f"float_of(bits_of({names[0]}) & 0x7fffffffu)",
    "copysign": _copysign,
    "neg": lambda _, names: f"-{names[0]}",
    "nan": lambda _, names: f"{names[0]} != {names[0]}",
    "select": lambda _, names: f"{names[0]} ? {names[1]} : {names[2]}",
    "splat": lambda _, names: names[0],
    "bits": _bits,
    "convert": _convert,
    # Signed, and without a sign as it is added up: so compilers know it for their dot products.
    "byte_product": lambda _, names: f"(uint32_t)((int32_t){names[0]} * (int32_t){names[1]})",
}


class _Printer:
    """One function being printed. Offsets and addresses are kept as text until they are used."""

    def __init__(self, function: Function, known: Mapping[str, Called]) -> None:
        self.function, self.callees = function, known
        self.indices: dict[Value, str] = {}
        """Integers as expressions."""
        self.floats: dict[Argument, str] = {}
        """Offsets, in floats."""
        self.places = {p: (p.name, "", "") for p in function.parameters}
        """Addresses: an array, and an offset in floats if it is one, and in bytes."""
        self.kinds: dict[str, str] = {}
        """What arrays hold."""
        self.locals: dict[str, tuple[int, int]] = {}
        """The line of an array's declaration, and its bytes."""
        self.lines: list[str] = []
        self.used: set[str] = set()
        self.written: set[str] = set()
        """Parameters through which something is stored."""
        self.read = _read(function.body)
        self.block(function.body, "    ")
        for name, (line, size) in self.locals.items():
            kind = self.kinds.get(name, "float")
            count = size // (ITEM if kind in ("float", "int32_t") else 1)
            self.lines[line] = f"    {kind} {name}[{count}];"

    def text(self) -> str:
        """The function."""
        unused = [p.name for p in self.function.parameters if p.name not in self.used]
        listed = ",\n    ".join(map(self.parameter, self.function.parameters))
        ignored = [f"    (void){name};" for name in unused]
        head = f"static void {self.function.name}(\n    {listed})"
        return "\n".join([head, "{", *ignored, *self.lines, "}"])

    def parameter(self, value: Value) -> str:
        """A parameter with its type."""
        if value.type.kind != "pointer":
            return f"{KINDS[value.type.kind]} {value.name}"
        const = "" if value.name in self.written else "const "
        return f"{const}{self.kinds.get(value.name, 'float')} *RESTRICT {value.name}"

    def block(self, block: LoopBlock, indent: str) -> None:
        """Statements."""
        for s in block:
            if isinstance(s, Let):
                if s.value in self.read:
                    self.let(s, indent)
            elif isinstance(s, Do):
                self.effect(s, indent)
            elif isinstance(s, For):
                self.loop(s, indent)
            else:
                raise LoopError(f"no program of one row has {s!r}")

    def let(self, s: Let, indent: str) -> None:
        """A value: a line, or text for later."""
        form, value = s.form, s.value
        if form.operation == "at":
            self.place(value, *s.arguments)
        elif form.operation == "local":
            self.places[value] = value.name, "", ""
            self.locals[value.name] = len(self.lines), int(s.arguments[0])  # type: ignore[arg-type]
            self.lines.append("")
        elif form.type is INDEX:
            self.index(s)
        elif form.operation == "load" and len(s.arguments) == 1 and form.type.kind in STORED:
            kind, element = KINDS[form.type.kind], self.element(s.arguments[0], form.type)
            cast = f"({kind})" if kind != STORED[form.type.kind] else ""
            self.lines.append(f"{indent}const {kind} {value.name} = {cast}{element};")
        elif form.operation in OPERATIONS:
            types = [form.of] + [form.type] * 2 if form.operation == "select" else [form.of] * 3
            names = [self.shown(a, of) for a, of in zip(s.arguments, types, strict=False)]
            text = OPERATIONS[form.operation](form, names)
            self.lines.append(f"{indent}const {KINDS[form.type.kind]} {value.name} = {text};")
        else:
            raise LoopError(f"no program of one row has the operation {form.operation}")

    def shown(self, argument: Argument, of: Type) -> str:
        """An argument."""
        if not isinstance(argument, Value):
            return constant(argument, of)
        if argument.type is INDEX:
            return self.integer(argument)
        return argument.name.replace(".", "_")

    def integer(self, argument: Argument) -> str:
        """An integer, as part of an expression."""
        if not isinstance(argument, Value):
            return constant(argument, INDEX)
        self.used.add(argument.name)
        text = self.indices.get(argument, argument.name)
        return f"({text})" if " " in text else text

    def index(self, s: Let) -> None:
        """An integer, which may be an offset."""
        a, *rest = s.arguments
        if s.form.operation == "convert":
            self.indices[s.value] = f"(ptrdiff_t){self.shown(a, s.form.of)}"
            return
        if s.form.operation not in INFIX:
            raise LoopError(f"no program of one row has the operation {s.form.operation}")
        b = rest[0]
        self.indices[s.value] = _infix(s.form, [self.integer(a), self.integer(b)])
        offsets = [self.offset(a), self.offset(b)]
        if s.form.operation == "mul" and any(offsets):
            first, other = (offsets[0], b) if offsets[0] else (offsets[1], a)
            text = self.integer(other)
            self.floats[s.value] = text if first == "1" else f"{_tied(first)} * {text}"
        elif s.form.operation == "add" and all(offsets):
            self.floats[s.value] = _sum(*offsets)

    def offset(self, argument: Argument) -> str:
        """A number of bytes in floats; nothing if it is not a whole number of them."""
        if isinstance(argument, Value):
            return self.floats.get(argument, "")
        whole, rest = divmod(int(argument), ITEM)  # type: ignore[arg-type]
        return "" if rest else str(whole)

    def place(self, value: Value, pointer: Argument, by: Argument) -> None:
        """An address."""
        array, floats, bytes_ = self.places[pointer]  # type: ignore[index]
        offset = self.offset(by)
        floats = _sum(floats, offset) if offset else "?"
        self.places[value] = array, floats, _sum(bytes_, self.integer(by))

    def lead(self, pointer: Argument, kind: str) -> tuple[str, str]:
        """An array and the offset in it, for an address that leads to such numbers."""
        array, floats, bytes_ = self.places[pointer]  # type: ignore[index]
        offset = floats if kind in ("float", "int32_t") else bytes_
        if "?" in offset or self.kinds.setdefault(array, kind) != kind:
            raise LoopError(f"{array} does not hold {kind} alone")
        self.used.add(array)
        return array, offset

    def element(self, pointer: Argument, of: Type) -> str:
        """The number at an address."""
        array, offset = self.lead(pointer, STORED[of.kind])
        return f"{array}[{offset or 0}]"

    def effect(self, s: Do, indent: str) -> None:
        """A store or a call."""
        if s.effect == "store" and len(s.arguments) == 2:
            value, pointer = s.arguments
            self.written.add(self.places[pointer][0])  # type: ignore[index]
            cast = "(int32_t)" if s.of is INT32 else ""
            text = f"{self.element(pointer, s.of)} = {cast}{self.shown(value, s.of)}"
        elif s.effect == "call" and s.detail is not None:
            arguments = []
            for argument, (through, kind) in zip(
                s.arguments, self.callees[str(s.detail)], strict=True
            ):
                arguments.append(self.passed(argument, kind))
                if through:
                    self.written.add(self.places[argument][0])  # type: ignore[index]
            text = f"{s.detail}({', '.join(arguments)})"
        else:
            raise LoopError(f"no program of one row has the effect {s.effect}")
        self.lines.append(f"{indent}{text};")

    def passed(self, argument: Argument, kind: str) -> str:
        """An argument of a call."""
        if not isinstance(argument, Value) or argument.type is INDEX:
            return self.integer(argument)
        array, offset = self.lead(
            argument, kind or self.kinds.get(self.places[argument][0], "float")
        )
        return f"{array} + {offset}" if offset else array

    def loop(self, s: For, indent: str) -> None:
        """A loop; what it carries on are variables."""
        if len(s.carried) > 1:
            raise LoopError("no program of one row has a loop that carries several values")
        for value, first in zip(s.carried, s.first, strict=True):
            begin = f"{KINDS[value.type.kind]} {self.shown(value, value.type)}"
            self.lines.append(f"{indent}{begin} = {self.shown(first, value.type)};")
        i, step = s.index.name, constant(s.step, INDEX)
        start, stop = self.integer(s.start), self.integer(s.stop)
        on = f"++{i}" if step == "1" else f"{i} += {step}"
        self.lines.append(f"{indent}for (ptrdiff_t {i} = {start}; {i} < {stop}; {on}) {{")
        self.block(s.body, indent + "    ")
        for value, after in zip(s.carried, s.after, strict=True):
            name, next_ = (self.shown(a, value.type) for a in (value, after))
            self.lines.append(f"{indent}    {name} = {next_};")
        self.lines.append(f"{indent}}}")


def _read(block: LoopBlock) -> set[Argument]:
    """The values that something is made of which is stored in the end, or carried on by a loop."""
    every = [*statements(block)]
    read: set[Argument] = {a for s in every if isinstance(s, For) for a in (*s.first, *s.after)}
    for s in reversed(every):
        if isinstance(s, Do) or (isinstance(s, Let) and s.value in read):
            read.update(s.arguments)
        elif isinstance(s, For):
            read.update((s.start, s.stop, s.step))
    return read


def _tied(text: str) -> str:
    return f"({text})" if " " in text else text


def _sum(a: str, b: str) -> str:
    if "0" in (a, b) or not a:
        return b if a in ("", "0") else a
    return str(int(a) + int(b)) if a.isdigit() and b.isdigit() else f"{a} + {b}"
