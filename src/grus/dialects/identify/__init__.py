"""Which dialects explain an example: every hypothesis tried, or none called a match.

In: weights, x and y. Out: an `Answer`. `variants` are the equations that are tried, `fit` the
ways to read the weights, `functions` merges what is the same, `search` runs them, `tolerance`
says what a right answer may be off by.
"""

from grus.dialects.identify.answer import Answer, Found
from grus.dialects.identify.find import identify

__all__ = ["Answer", "Found", "identify"]
