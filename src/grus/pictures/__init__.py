"""Pictures of what a network does: figures by matplotlib, an interactive page by plotly.

In: traces, measures, losses. Out: matplotlib Axes, or an HTML page as text. Each function draws on
the ``ax`` it is given, or on a new Figure of its own; none touches pyplot or a global setting.
Colours differ for deuteranopes and, by lightness, dashes and markers, in grey.
"""

from grus.pictures import report, style
from grus.pictures.curves import Seed, gradient_flow, learning_curves
from grus.pictures.gates import gate, gates
from grus.pictures.style import save
from grus.pictures.unit_figures import half_lives, saturation, state_norms

__all__ = [
    "Seed", "gate", "gates", "gradient_flow", "half_lives", "learning_curves", "report",
    "saturation", "save", "state_norms", "style",
]  # fmt: skip
