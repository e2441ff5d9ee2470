"""Looking into a cell: worksheets, diagrams, costs, timings.

In: a cell, and numbers where there are some. Out: text, pictures, tables. Imports all rooms below;
torch late, so that what needs no torch runs without it.
"""
