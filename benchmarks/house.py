"""Figures of the house: lines, files, cycles, imports past a room's face, long functions.

    python benchmarks/house.py

Read from the syntax trees of `grus` and `grus_benchmarks`; nothing is imported. A test holds the
figures to a budget that may only fall (`tests/test_rooms.py`).
"""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGE, BENCHMARKS = "grus", "grus_benchmarks"
FOLDERS = {PACKAGE: ROOT / "src" / PACKAGE, BENCHMARKS: ROOT / "benchmarks" / BENCHMARKS}


@dataclass(frozen=True)
class Import:
    """One module that is imported. ``late``: inside a function; ``typing``: for annotations."""

    module: str
    line: int
    late: bool
    typing: bool
    names: tuple[str, ...] = ()

    @property
    def top(self) -> str:
        """The installed package that the module belongs to."""
        return self.module.split(".")[0]


@dataclass(frozen=True)
class LongFunction:
    """A function, and the lines below its signature and docstring."""

    lines: int
    where: str


def files() -> list[Path]:
    """All Python files of the package and of its benchmarks."""
    return [path for folder in FOLDERS.values() for path in sorted(folder.rglob("*.py"))]


def of_package() -> list[Path]:
    """All Python files of the package itself."""
    return [path for path in files() if path.is_relative_to(FOLDERS[PACKAGE])]


def room(module: str) -> str:
    """The room of a module of the package: ``grus.kernels.plan`` is in kernels."""
    top, *below = module.split(".")
    return top if top == BENCHMARKS else [*below, ""][0]


def room_of(path: Path) -> str:
    """The room of a file; for a file beside the rooms, its own name."""
    if path.is_relative_to(FOLDERS[BENCHMARKS]):
        return BENCHMARKS
    return path.relative_to(FOLDERS[PACKAGE]).with_suffix("").parts[0]


def module_of(path: Path) -> str:
    """The dotted name that a file is imported by."""
    top = next(name for name, folder in FOLDERS.items() if path.is_relative_to(folder))
    parts = path.relative_to(FOLDERS[top].parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@cache
def imports(source: str) -> list[Import]:
    """All imports of a source text, ``import_module("name")`` among them.

    Raises ValueError for a relative import: this project writes whole names.
    """
    return list(_walk(ast.parse(source), late=False, typing=False))


def _walk(node: ast.AST, late: bool, typing: bool) -> Iterator[Import]:
    if isinstance(node, (ast.Import, ast.ImportFrom, ast.Call)):
        for module, names in _modules(node):
            yield Import(module, node.lineno, late, typing, names)
    late = late or isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
    typing = typing or (isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test))
    for child in ast.iter_child_nodes(node):
        yield from _walk(child, late, typing)


def _modules(
    node: ast.Import | ast.ImportFrom | ast.Call,
) -> Iterator[tuple[str, tuple[str, ...]]]:
    if isinstance(node, ast.Import):
        yield from ((alias.name, ()) for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        if node.level:
            raise ValueError(f"line {node.lineno}: a relative import")
        names = tuple(alias.name for alias in node.names)
        # `from grus import kernels` names a room, `from grus.kernels import run` perhaps a module.
        if node.module == PACKAGE:
            yield from ((f"{node.module}.{name}", ()) for name in names)
        else:
            yield str(node.module), names
    else:
        called = node.func.attr if isinstance(node.func, ast.Attribute) else ""
        called = called or getattr(node.func, "id", "")
        first = node.args[0] if node.args else None
        if called in ("import_module", "__import__") and isinstance(first, ast.Constant):
            yield str(first.value), ()


def past_faces() -> Counter[str]:
    """Imports of a file of another room, not of what that room's ``__init__`` offers, by room."""
    counts: Counter[str] = Counter()
    modules = {module_of(path): path for path in files()}
    for path in of_package():
        for one in imports(path.read_text("utf-8")):
            inner = {name for name in one.names if f"{one.module}.{name}" in modules}
            inside = one.module.count(".") > 1 or bool(inner - offered(modules.get(one.module)))
            if one.top == PACKAGE and inside and room(one.module) != room_of(path):
                counts[f"{room_of(path)} -> {room(one.module)}"] += 1
    return counts


def offered(face: Path | None) -> set[str]:
    """The names in a file's ``__all__``."""
    for node in ast.parse(face.read_text("utf-8")).body if face else ():
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            return set(ast.literal_eval(node.value))
    return set()


def arrows() -> dict[str, set[str]]:
    """Which file imports which, by module name; imports for annotations alone are left out."""
    modules = {module_of(path): path for path in files()}
    graph: dict[str, set[str]] = {}
    for name, path in modules.items():
        below = graph.setdefault(name, set())
        for one in imports(path.read_text("utf-8")):
            if not one.typing and one.top in FOLDERS:
                inner = {f"{one.module}.{n}" for n in one.names} & set(modules)
                below |= inner or ({one.module} & set(modules))
        below.discard(name)
    return graph


def picture() -> str:
    """The rooms as a Mermaid graph, drawn from the imports: what is needed points at what needs it.
    An arrow that others make up is left out, and so are the files beside the rooms."""
    rooms = {path.parent.name for path in of_package()} - {PACKAGE}
    below: dict[str, set[str]] = {name: set() for name in rooms}
    for name, modules in arrows().items():
        if room(name) in rooms:
            below[room(name)] |= ({room(module) for module in modules} & rooms) - {room(name)}
    lines = ["graph LR"]
    for name in sorted(rooms):
        far = set[str]().union(*(_reached(below, near) for near in below[name]))
        lines += [f"    {near} --> {name}" for near in sorted(below[name] - far)]
    return "\n".join([*lines, ""])


def cycles(graph: Mapping[str, set[str]]) -> list[tuple[str, ...]]:
    """The largest sets of files each of which reaches every other, two files and more."""
    reached = {name: _reached(graph, name) for name in graph}
    groups = {
        tuple(sorted(n for n in reached[name] if name in reached[n]))
        for name in graph
        if name in reached[name]
    }
    return sorted(groups)


def _reached(graph: Mapping[str, set[str]], start: str) -> set[str]:
    done, waiting = set[str](), list(graph[start])
    while waiting:
        name = waiting.pop()
        if name not in done:
            done.add(name)
            waiting += graph[name]
    return done


def long_functions(source: str, limit: int = 0) -> list[LongFunction]:
    """The functions with more lines than ``limit``, each by its name and line, longest first."""
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    nodes = [node for node in ast.walk(ast.parse(source)) if isinstance(node, functions)]
    long = [LongFunction(body_lines(n), f"{n.name}, line {n.lineno}") for n in nodes]
    return sorted((one for one in long if one.lines > limit), key=lambda one: -one.lines)


def body_lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """The lines of a function below its signature and its docstring."""
    first = function.body[1:2] if ast.get_docstring(function) else function.body[:1]
    return (function.end_lineno or 0) - first[0].lineno + 1 if first else 0


def lines(paths: list[Path]) -> int:
    """Lines of these files, blank ones and comments included."""
    return sum(len(path.read_text("utf-8").splitlines()) for path in paths)


def main() -> None:
    """Print the figures, room by room where there are rooms."""
    package = of_package()
    print(f"{'room':12} {'files':>6} {'lines':>7}")
    for name in sorted({room_of(path) for path in package}):
        inside = [path for path in package if room_of(path) == name]
        print(f"{name:12} {len(inside):6} {lines(inside):7,}")
    print(f"{'all':12} {len(package):6} {lines(package):7,}")
    counts = past_faces()
    print(f"\nimports past a face: {sum(counts.values())}")
    for arrow, count in counts.most_common(12):
        print(f"{count:6}  {arrow}")
    found = cycles(arrows())
    print(f"\ncycles of files, imports inside functions included: {len(found)}")
    for cycle in found:
        print(f"        {', '.join(cycle)}")
    print("\nlongest functions")
    longest = [
        (one.lines, f"{module_of(path)}: {one.where}")
        for path in package
        for one in long_functions(path.read_text("utf-8"))
    ]
    for count, where in sorted(longest, reverse=True)[:10]:
        print(f"{count:6}  {where}")


if __name__ == "__main__":
    main()
