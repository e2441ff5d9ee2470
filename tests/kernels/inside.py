"""Values of every step against the reference's, each step from the state that it found itself."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from agreement import Problem, compare, step_bounds
from grus import runtime

Array = np.ndarray


@dataclass(frozen=True)
class Inside:
    """Values of every step, with the states that the steps found."""

    problem: Problem
    found: dict[str, Array]
    reverse: bool = False

    def read(self, state: str) -> Array:
        """The state before each step: what the step before it left, in the order of the run."""
        p = self.problem
        begin, after = p.start[p.cell.states.index(state)][None], self.found[f"{state}_next"]
        if self.reverse:
            return np.concatenate([after[1:], begin])
        return np.concatenate([begin, after[:-1]])


def inside(problem: Problem, *, reverse: bool = False) -> Inside:
    p = problem
    return Inside(p, runtime.values(p.cell, p.weights, p.x, p.start, reverse=reverse)[0], reverse)


def check(run: Inside) -> None:
    """Raise WrongKernelError where a value is not that of the reference's step."""
    want = step_bounds(run)  # type: ignore[arg-type]
    for name, found in run.found.items():
        compare(f"{name} at (time, batch, unit)", found, want[name], run.problem.dtype)
