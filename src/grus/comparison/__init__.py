"""Cells trained on the same data with the same budget and seeds, side by side.

In: the names of cells, a task or a text. Out: trials, a table, a verdict, a figure. Imports the
rooms below; torch and matplotlib inside functions only.
"""
