"""The work people do: from a file to an answer. In: tables, sequences. Out: fitted networks, their
numbers beside baselines, predictions. Imports torch; tables are read by polars.

`task` says what a task is, `registry` which there are, one file each; `fit_run` is a fit in
progress, `fit_checkpoint` its file, `fitting` goes from options to results. Each name is loaded
when it is first asked for.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from grus.tasks.fit_run import FitReport, FitRun, spelled
    from grus.tasks.fitting import (
        Fitted,
        Results,
        begin,
        fit,
        go_on,
        plan,
        read,
        read_results,
    )
    from grus.tasks.registry import TASKS
    from grus.tasks.tables import WRITTEN, write_table
    from grus.tasks.task import FitSettings, Network, Sizes, Splits, Task

_NAMES = {
    "fit_run": "FitReport FitRun spelled",
    "fitting": "Fitted Results begin fit go_on plan read read_results",
    "registry": "TASKS",
    "tables": "WRITTEN write_table",
    "task": "FitSettings Network Sizes Splits Task",
}
_FILES = {name: file for file, names in _NAMES.items() for name in names.split()}
__all__ = [
    "TASKS", "WRITTEN", "FitReport", "FitRun", "FitSettings", "Fitted", "Network", "Results",
    "Sizes", "Splits", "Task", "begin", "fit", "go_on", "plan", "read", "read_results",
    "spelled", "write_table",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name in _FILES:
        return getattr(import_module(f"grus.tasks.{_FILES[name]}"), name)
    raise AttributeError(f"module 'grus.tasks' has no attribute {name!r}")
