"""The `grus` command: one file per subcommand, one place for errors."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from grus import __version__
from grus.cli import (
    building,
    compare,
    convert,
    dialects,
    explain,
    fitting,
    inside,
    judge,
    published_cells,
    search,
    show_cell,
    training,
)
from grus.errors import InputError, missing_package

PANELS = {
    "See a cell or a model at work": (
        show_cell.show, published_cells.cells, explain.explain,
        inside.trace, inside.measure, inside.flow, inside.serve,
    ),
    "Use weights": (
        dialects.identify, convert.convert, building.build, building.quantize,
        dialects.dialects,
    ),
    "Train a character model": (training.train, training.sample, training.curves),
    "From data to answers": (fitting.predict,),
    "Judge": (compare.compare, search.search, judge.check, judge.bench),
}  # fmt: skip
PIPE_CLOSED = 141  # the code that a shell gives a program ended by SIGPIPE


class Commands(TyperGroup):
    """The commands; their errors are reported in one place."""

    def make_context(self, *args: Any, **settings: Any) -> Any:
        """Parse the arguments; `--help` and `--version` print here."""
        with answered(), printed():
            return super().make_context(*args, **settings)

    def invoke(self, ctx: Any) -> Any:
        """Run the command."""
        with answered(), printed():
            return super().invoke(ctx)


@contextmanager
def printed() -> Iterator[None]:
    """Flush at the end what is printed inside; OSError where that fails."""
    try:
        yield
    finally:
        sys.stdout.flush()


@contextmanager
def answered() -> Iterator[None]:
    """Report mistakes of the user and refusals of the system as one line on stderr, exit code 2.

    A reader that has seen enough (`| head`) is no error: nothing is printed, the code is 141.
    """
    try:
        yield
    except InputError as error:
        message = str(error)
    except ModuleNotFoundError as error:
        missing = missing_package(error, "this command")
        if missing is None:
            raise
        message = str(missing)
    except BrokenPipeError:
        _let_go()
        raise SystemExit(PIPE_CLOSED) from None
    except OSError as error:
        where = error.filename or "the output cannot be written"
        message = f"{where}: {error.strerror or error}"
        if error.filename is None:
            _let_go()
    else:
        return
    print(f"grus: {' '.join(message.split())}", file=sys.stderr)
    raise SystemExit(2) from None


def _let_go() -> None:
    """Send stdout to the null device: Python flushes it once more while it exits."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)


def _version(asked: bool) -> None:
    if asked:
        print(f"grus {__version__}")
        raise typer.Exit


def grus(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Gated recurrent networks from their equations."""


app = typer.Typer(
    name="grus", cls=Commands, no_args_is_help=True, pretty_exceptions_enable=False, callback=grus
)
for panel, commands in PANELS.items():
    for command in commands:
        app.command(command.__name__, rich_help_panel=panel)(command)
app.add_typer(fitting.fit, name="fit", rich_help_panel="From data to answers")


def open_streams() -> None:
    """Open the streams that the caller closed, in order, so that no file takes their numbers.

    Printing to a closed stdout is an error, as it is for other programs: its stand-in cannot be
    written. Output to a closed stderr is lost.
    """
    if sys.stdin is None:
        sys.stdin = open(os.devnull, encoding="utf-8")  # noqa: SIM115 - to the end
    if sys.stdout is None:
        sys.stdout = open(os.open(os.devnull, os.O_RDONLY), "w", encoding="utf-8")  # noqa: SIM115
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115


def run() -> None:
    """Run the command in `sys.argv`, and exit."""
    open_streams()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a letter outside the encoding
    app(prog_name="grus")
