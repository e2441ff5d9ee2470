"""Output files of commands: folders and endings are checked before any work is done."""

from __future__ import annotations

import os
import sys
from collections.abc import Collection
from pathlib import Path
from typing import Any

import typer

from grus.errors import InputError


class OutputFile:
    """The files that an option can name, by their endings; none: the command judges the name."""

    def __init__(self, *endings: str) -> None:
        self.endings = endings

    def option(self, help: str, *names: str) -> Any:
        """The option's declaration; its help ends with the endings."""
        return typer.Option(*names, help=f"{help}: {listed(self.endings)}.", callback=self.check)

    def check(
        self, context: typer.Context, param: typer.CallbackParam, path: Path | None
    ) -> Path | None:
        """The path, or InputError where no such file can be written there."""
        if path is not None and not context.resilient_parsing:
            self.free(path, param.opts[0])
        return path

    def free(self, path: Path, name: str) -> None:
        """Raise InputError unless ``path``, given as ``name``, is a file that can be written."""
        if self.endings and path.suffix.lower() not in self.endings:
            raise InputError(f"{name} takes a file {listed(self.endings)}, got {path}")
        if (path.exists() and not path.is_file()) or not path.parent.is_dir():
            raise InputError(f"{name} must be a file in a folder that exists, got {path}")
        if not os.access(path.parent, os.W_OK):
            raise InputError(f"{path} cannot be written: nothing can be put into {path.parent}")


class OutputFiles(OutputFile):
    """The same of an option that is given any number of times."""

    def check(  # type: ignore[override]
        self, context: typer.Context, param: typer.CallbackParam, paths: list[Path] | None
    ) -> list[Path] | None:
        """The paths, each right."""
        for path in paths or ():
            super().check(context, param, path)
        return paths


class Folder(OutputFile):
    """A folder, existing or new."""

    def option(self, help: str, *names: str) -> Any:
        """The option's declaration."""
        return typer.Option(*names, help=help, callback=self.check)

    def free(self, path: Path, name: str) -> None:
        """Raise InputError unless ``path`` is a folder that files can be put into."""
        folder = next(each for each in (path, *path.absolute().parents) if each.exists())
        if not folder.is_dir():
            raise InputError(f"{name} must be a folder, got {path}: {folder} is a file")
        if not os.access(folder, os.W_OK):
            raise InputError(f"{path} cannot be written: nothing can be put into {folder}")


class Measured(Folder):
    """A file of numbers, or a folder."""

    def free(self, path: Path, name: str) -> None:
        """The ending tells which of them it is."""
        (NUMBERS if path.suffix.lower() in NUMBERS.endings else FOLDER).free(path, name)


PICTURE = OutputFile(".svg", ".png")
TRACE = OutputFile(".npz", ".html", ".svg", ".png")
VECTORS = OutputFile(".json", ".npz")
RESULTS = OutputFiles(".svg", ".png", ".json")
JUDGED = OutputFile()
"""A file whose endings the command knows best: a weight file, or that of a stage."""
NUMBERS = OutputFile(".json")
FOLDER, MEASURED = Folder(), Measured()
STAGES = {
    "equations": OutputFile(".txt"),
    "latex": OutputFile(".tex", ".txt"),
    "diagram": OutputFile(".svg"),
    "structure": OutputFile(".txt"),
    "gradient": OutputFile(".txt"),
    "plan": OutputFile(".txt"),
    "loops": OutputFile(".txt"),
    "llvm": OutputFile(".ll", ".txt"),
    "asm": OutputFile(".s", ".asm", ".txt"),
    "cost": OutputFile(".txt"),
}
"""Of `grus show`, by the stage that it is asked for."""


def check_choice(option: str, value: str, choices: Collection[str]) -> None:
    """Raise InputError unless an option's value is one of those it can have."""
    if value not in choices:
        raise InputError(f"{option} must be one of {', '.join(choices)}, got {value!r}")


def listed(endings: tuple[str, ...]) -> str:
    """``.svg or .png``."""
    return " or ".join(filter(None, (", ".join(endings[:-1]), endings[-1])))


def document(text: str) -> None:
    """Print SVG or HTML; a letter outside the terminal's encoding is a character reference."""
    encoding = sys.stdout.encoding or "utf-8"
    sys.stdout.write(text.encode(encoding, "xmlcharrefreplace").decode(encoding))
