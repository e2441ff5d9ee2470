"""Traces: the gates and states of every step inside a layer, as arrays with named axes.

In: a layer, or a trained run, and a sequence. Out: a `Trace`. Imports all rooms below; torch inside
functions only, so that a trace that was saved is read and drawn without it.
"""

from grus.traces.flow import Flow, gradient_flow, share, table
from grus.traces.layer import trace
from grus.traces.measures import HEAD, Measures, measures
from grus.traces.parts import keeps
from grus.traces.recorded import Trace
from grus.traces.recording import state_name
from grus.traces.runs import flow_run, open_run, trace_text
from grus.traces.summary import summaries

__all__ = [
    "HEAD", "Flow", "Measures", "Trace", "flow_run", "gradient_flow", "keeps", "measures",
    "open_run", "share", "state_name", "summaries", "table", "trace", "trace_text",
]  # fmt: skip
