"""A cell as a picture. In: a cell. Out: an SVG in which every term of its equations stands once.

`cell_graph` holds the shapes, `placement` and `heights` their places, `routes` the lines; `svg`
writes the file.
"""

from grus.diagram.svg import svg

__all__ = ["svg"]
