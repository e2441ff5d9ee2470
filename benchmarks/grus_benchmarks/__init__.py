"""grus against ``torch.nn.GRU``: right first, then fast.

In: shapes. Out: seconds and ratios, and no figure for a shape whose answers are wrong. `answers`
compares both layers with the reference on the very shape, `clock` times them in turns, `report`
writes the table and the JSON.

grus against every framework at hand, each in a process of its own: `run_peers` is the whole run.
`problem` is a row of its table, `peers` who takes part, `worker` and `process` the two ends of a
pipe, `right` the comparison, `turns` the clock, `roofline` and `machine_limits` what a machine
allows, `tables` and `figure` what is written.
"""

from grus_benchmarks.answers import WrongAnswerError, check
from grus_benchmarks.clock import Timing, measure
from grus_benchmarks.pair import SHAPES, Pair, Shape
from grus_benchmarks.report import Row, as_json, bench, head, lines

__all__ = [
    "SHAPES",
    "Pair",
    "Row",
    "Shape",
    "Timing",
    "WrongAnswerError",
    "as_json",
    "bench",
    "check",
    "head",
    "lines",
    "measure",
]
