"""What a layer computed inside: the gates and states of every step, as arrays with named axes.

In: a layer, or a trained run, and a sequence. Out: a `Trace`. Imports all rooms below; torch inside
functions only, so that a trace that was saved is read and drawn without it.
"""

from grus.traces.layer import trace
from grus.traces.recorded import Trace

__all__ = ["Trace", "trace"]
