"""What a Python file imports, read from its syntax tree, imports inside functions included."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src"
PACKAGE = "grus"
BENCHMARKS = "grus_benchmarks"
FOLDERS = {PACKAGE: ROOT / "src" / PACKAGE, BENCHMARKS: ROOT / "benchmarks" / BENCHMARKS}


@dataclass(frozen=True)
class Import:
    """One module that is imported. ``late``: inside a function; ``typing``: for annotations."""

    module: str
    line: int
    late: bool
    typing: bool

    @property
    def top(self) -> str:
        """The installed package that the module belongs to."""
        return self.module.split(".")[0]


def room(module: str) -> str:
    """The room of a module of the package: ``grus.kernels.plan`` is in kernels."""
    top, *below = module.split(".")
    return top if top == BENCHMARKS else [*below, ""][0]


def files() -> list[Path]:
    """All Python files of the package and of its benchmarks."""
    return [path for folder in FOLDERS.values() for path in sorted(folder.rglob("*.py"))]


def room_of(path: Path) -> str:
    """The room of a file; for a file beside the rooms, its own name."""
    if path.is_relative_to(FOLDERS[BENCHMARKS]):
        return BENCHMARKS
    return path.relative_to(FOLDERS[PACKAGE]).with_suffix("").parts[0]


def imports(source: str) -> list[Import]:
    """All imports of a source text, ``import_module("name")`` among them.

    Raises ValueError for a relative import: this project writes whole names.
    """
    return list(_walk(ast.parse(source), late=False, typing=False))


def _walk(node: ast.AST, late: bool, typing: bool) -> Iterator[Import]:
    if isinstance(node, (ast.Import, ast.ImportFrom, ast.Call)):
        for module in _modules(node):
            yield Import(module, node.lineno, late, typing)
    late = late or isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
    typing = typing or (isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test))
    for child in ast.iter_child_nodes(node):
        yield from _walk(child, late, typing)


def _modules(node: ast.Import | ast.ImportFrom | ast.Call) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        if node.level:
            raise ValueError(f"line {node.lineno}: a relative import")
        # `from grus import kernels` names a room, `from grus.kernels import run` perhaps a module.
        deep = node.module == PACKAGE
        return [f"{node.module}.{a.name}" if deep else str(node.module) for a in node.names]
    called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", 0)
    first = node.args[0] if node.args else None
    if called in ("import_module", "__import__") and isinstance(first, ast.Constant):
        return [str(first.value)]
    return []
