"""The check kit: vectors that real GRUs have got wrong, and what is wrong with an answer.

In: a function over NumPy arrays, or a file of answers. Out: what fails, by how much, and
which mistake gives exactly these numbers. Imports equations, reference,
gradients, dialects and mistakes.
"""

from grus.check.answers import Backend, load, read_answers, write_vectors
from grus.check.cases import cases
from grus.check.causes import Judge, check, failed, from_answers, report
from grus.mistakes import Answer, Case, answer

__all__ = [
    "Answer", "Backend", "Case", "Judge", "answer", "cases", "check", "failed", "from_answers",
    "load", "read_answers", "report", "write_vectors",
]  # fmt: skip
