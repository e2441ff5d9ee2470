"""Which dialects explain an example: every hypothesis tried, or none called a match.

In: weights, x and y. Out: an `Answer`. `variants` are the equations that are tried, `fit` the
ways to read the weights, `functions` merges what is the same, `search` runs them, `tolerance`
says what a right answer may be off by.
"""

from grus.identification.find import Answer, Found, identify
from grus.identification.page import page

__all__ = ["Answer", "Found", "identify", "page"]
