"""A cell on paper: its equations, gradient and cost as text; a sequence worked out by hand.

In: a cell, and numbers where there are some, stored or pasted. Out: text, Markdown, HTML or LaTeX.
Needs no torch. `worksheet` works a sequence out, `filling` puts the numbers in, `explained` chooses
what is shown, `notation` finds the letters of a dialect.
"""

from grus.worksheet.explained import Explained
from grus.worksheet.format import TextPage
from grus.worksheet.misreadings import readings
from grus.worksheet.notation import spoken
from grus.worksheet.pasted_numbers import read_numbers, read_steps, written_decimals
from grus.worksheet.preamble import ROLES, Context
from grus.worksheet.stages import cost_text, equations_text, gradient_text
from grus.worksheet.worksheet import Equation, Worksheet, worksheet

__all__ = [
    "ROLES",
    "Context",
    "Equation",
    "Explained",
    "TextPage",
    "Worksheet",
    "cost_text",
    "equations_text",
    "gradient_text",
    "read_numbers",
    "read_steps",
    "readings",
    "spoken",
    "worksheet",
    "written_decimals",
]
