"""Pipelines of independent actor nodes: sensor signals at different rates into inference results on time."""

from streamflow.core.deadline import Criticality, Escalation, OnMiss, Order
from streamflow.core.message import Flag, Message
from streamflow.core.overflow import Overflow
from streamflow.core.realtime import RealTime
from streamflow.core.supervision import Restart, RestartStrategy
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
    "Criticality",
    "Escalation",
    "Flag",
    "In",
    "InputError",
    "Message",
    "MissingExtraError",
    "Node",
    "OnMiss",
    "Order",
    "Out",
    "Output",
    "Overflow",
    "Pipeline",
    "PipelineError",
    "RealTime",
    "Restart",
    "RestartStrategy",
    "StreamflowError",
    "UsageError",
    "WireError",
    "ms",
    "ns",
    "s",
    "us",
]
