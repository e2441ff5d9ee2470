"""Cells searched for: drawn and mutated from the gated ones, trained, the bad ones stopped early.

In: a course that cells are trained on. Out: a leaderboard, which a kill does not lose. Imports
equations, kernels and comparison; optuna and torch inside functions only.
"""

from grus.search.mutations import SEEDS, mutate, mutated, sound
from grus.search.study import Candidate, Search, as_class

__all__ = ["SEEDS", "Candidate", "Search", "as_class", "mutate", "mutated", "sound"]
