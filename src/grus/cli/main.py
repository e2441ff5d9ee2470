"""The `grus` command: one file per subcommand, one place for errors."""

from __future__ import annotations

import sys

import typer

from grus.cli import (
    bench,
    check,
    compare,
    convert,
    curves,
    dialects,
    explain,
    identify,
    measure,
    sample,
    serve,
    show,
    trace,
    train,
)
from grus.errors import InputError

app = typer.Typer(
    name="grus",
    help="Gated recurrent networks from their equations.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command("show")(show.show)
app.command("train")(train.train)
app.command("explain")(explain.explain)
app.command("identify")(identify.identify)
app.command("sample")(sample.sample)
app.command("measure")(measure.measure)
app.command("flow")(measure.flow)
app.command("convert")(convert.convert)
app.command("dialects")(dialects.dialects)
app.command("bench")(bench.bench)
app.command("check")(check.check)
app.command("compare")(compare.compare)
app.command("trace")(trace.trace)
app.command("curves")(curves.curves)
app.command("serve")(serve.serve)


def run() -> None:
    """Run the command; what the user got wrong is one line on stderr and exit code 2."""
    try:
        app()
    except InputError as error:
        print(f"grus: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        print("grus: this command needs PyTorch: pip install 'grus[torch]'", file=sys.stderr)
        raise SystemExit(2) from None
