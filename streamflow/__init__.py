"""Pipelines of independent actor nodes: sensor signals at different rates into inference results on time."""

from streamflow.core.message import Message
from streamflow.core.overflow import Overflow
from streamflow.core.timebase import ms, ns, s, us
from streamflow.errors import (
    InputError,
    MissingExtraError,
    PipelineError,
    StreamflowError,
    UsageError,
    WireError,
)
from streamflow.pipeline import Pipeline
from streamflow.runtime.node import In, Node, Out, Output

__all__ = [
    "In",
    "InputError",
    "Message",
    "MissingExtraError",
    "Node",
    "Out",
    "Output",
    "Overflow",
    "Pipeline",
    "PipelineError",
    "StreamflowError",
    "UsageError",
    "WireError",
    "ms",
    "ns",
    "s",
    "us",
]
