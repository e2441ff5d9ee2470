"""Pictures of what a network does: figures by matplotlib, an interactive page by plotly.

In: traces, measures, losses. Out: matplotlib Axes, or an HTML page as text. Each function draws on
the ``ax`` it is given, or on a new Figure of its own; none touches pyplot or a global setting.
Colours differ for deuteranopes and, by lightness, dashes and markers, in grey.
"""

from grus.pictures.curves import learning_curves
from grus.pictures.flow import gradient_flow
from grus.pictures.gates import gate, gates
from grus.pictures.half_life import half_lives
from grus.pictures.norms import state_norms
from grus.pictures.saturation import saturation
from grus.pictures.style import save

__all__ = [
    "gate",
    "gates",
    "gradient_flow",
    "half_lives",
    "learning_curves",
    "saturation",
    "save",
    "state_norms",
]
