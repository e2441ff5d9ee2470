"""A cell as a picture. In: a cell. Out: an SVG in which every term of its equations stands once.

`graph` says what is drawn, `rows`, `order` and `heights` where it stands, `routes` how the lines
run, `svg` writes it down.
"""

from grus.diagram.svg import svg

__all__ = ["svg"]
