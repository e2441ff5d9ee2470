"""`grus curves`: the learning curves of training runs as a picture."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from grus.cli.output import PICTURE
from grus.equations.text import counted
from grus.errors import InputError

if TYPE_CHECKING:
    from grus.pictures.curves import Seed

UNITS = {
    "bits": "bits per character",
    "loss": "loss, nats per character",
    "perplexity": "perplexity",
}
# Training losses are taken while dropout is drawn, those held out without it.
ENDS = {"train": ", training\nwith the run's dropout", "validation": ""}


def curves(
    runs: Annotated[
        list[str], typer.Argument(help="Runs' folders, or LABEL=DIR; one label: its seeds.")
    ],
    out: Annotated[Path, PICTURE.option("The picture")],
    value: Annotated[str, typer.Option(help=f"One of {', '.join(UNITS)}.")] = "bits",
    training: Annotated[
        bool, typer.Option("--training", help="Draw the training figures, too.")
    ] = False,
) -> None:
    """Draw the losses that runs reported; runs of one label as their median and spread."""
    from grus.pictures import learning_curves, save

    if value not in UNITS:
        raise InputError(f"--value must be one of {', '.join(UNITS)}, got {value!r}")
    found: dict[str, list[Seed]] = {}
    for run in runs:
        label, folder = _labelled(run)
        reports = _reports(folder)
        held_out = reports[0]["validation_loss"] is not None
        kinds = ["validation"] * held_out + ["train"] * (training or not held_out)
        for kind in kinds:
            losses = [float(report[f"{kind}_{value}"]) for report in reports]
            steps = [float(report["step"]) for report in reports]
            found.setdefault(label + ENDS[kind], []).append((steps, losses))
    save(learning_curves(found, y=UNITS[value]), out)
    print(f"{counted(sum(map(len, found.values())), 'curve')} in {out}")


def _labelled(run: str) -> tuple[str, Path]:
    """``("gru", DIR)`` of ``gru=DIR``; a folder that is there is its own label."""
    label, mark, folder = run.partition("=")
    if mark and not Path(run).exists():
        return label, Path(folder)
    return Path(run).name or run, Path(run)


def _reports(folder: Path) -> list[dict[str, float]]:
    from grus.models.metrics import read

    reports = read(folder)
    if not reports:
        raise InputError(f"{folder} has reported nothing yet")
    return reports
