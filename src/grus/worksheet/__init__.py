"""A cell on paper: its equations, gradient and cost as text; a sequence worked out by hand.

In: a cell, and numbers where there are some, stored or pasted. Out: text, Markdown, HTML or LaTeX.
Needs no torch. `worksheet` works a sequence out, `filling` puts the numbers in, `explained` chooses
what is shown, `network_layer` and `pasted_weights` what is explained, `notation` finds the letters
of a dialect.
"""

from grus.worksheet.explained import Explanation
from grus.worksheet.format import TextPage
from grus.worksheet.misreadings import readings
from grus.worksheet.network_layer import NetworkLayer, stack
from grus.worksheet.notation import spoken
from grus.worksheet.pasted_numbers import read_numbers, read_steps, written_decimals
from grus.worksheet.pasted_weights import PastedWeights, explain_pasted
from grus.worksheet.preamble import ROLES, Context
from grus.worksheet.stages import cost_text, equations_text, gradient_text
from grus.worksheet.worksheet import Equation, Worksheet, worksheet

__all__ = [
    "ROLES", "Context", "Equation", "Explanation", "NetworkLayer", "PastedWeights", "TextPage",
    "Worksheet", "cost_text", "equations_text", "explain_pasted", "gradient_text", "read_numbers",
    "read_steps", "readings", "spoken", "stack", "worksheet", "written_decimals",
]  # fmt: skip
