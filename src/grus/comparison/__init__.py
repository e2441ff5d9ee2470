"""Cells trained on the same data with the same budget and seeds, side by side.

In: the names of cells, a task or a text. Out: trials, a table, a verdict, a figure. Imports the
rooms below; torch and matplotlib inside functions only.
"""

from grus.comparison.contestants import (
    MATCHES,
    Contestant,
    Stack,
    contestants,
    nearest_size,
    remembering,
)
from grus.comparison.courses import Course, TaskCourse, TextCourse
from grus.comparison.trials import Trial, announcement, compare, expected_seconds, sized, spoken
from grus.comparison.verdict import FEWEST, as_json, check_figure, draw_curves, table, trial_line

__all__ = [
    "FEWEST", "MATCHES", "Contestant", "Course", "Stack", "TaskCourse", "TextCourse", "Trial",
    "announcement", "as_json", "check_figure", "compare", "contestants", "draw_curves",
    "expected_seconds", "nearest_size", "remembering", "sized", "spoken", "table", "trial_line",
]  # fmt: skip
