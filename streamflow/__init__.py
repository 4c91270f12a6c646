"""Pipelines of independent actor nodes: sensor signals at different rates into inference results on time.

Each name is imported when it is first asked for, so that what needs few of them, such as `streamflow --help`, starts
without the rest.
"""

from typing import TYPE_CHECKING

from streamflow import compilation
from streamflow.on_demand import on_demand

compilation.choose()

if TYPE_CHECKING:
    from streamflow.core.batch import Batch
    from streamflow.core.batching import Fill, Timing
    from streamflow.core.deadline import Criticality, OnMiss, Order
    from streamflow.core.firm import Escalation
    from streamflow.core.gaps import OnGap
    from streamflow.core.joins.feedback import Reseed
    from streamflow.core.message import Flag, Message
    from streamflow.core.overflow import Overflow
    from streamflow.core.realtime import RealTime
    from streamflow.core.slots import Eviction
    from streamflow.core.state_rules import StateRules
    from streamflow.core.supervision import Restart, RestartStrategy
    from streamflow.core.timebase import ms, ns, s, us
    from streamflow.core.variants import VariantStates
    from streamflow.device.on_device import OnDevice
    from streamflow.device.resident import DeviceTensor
    from streamflow.errors import (
        InputError,
        MissingExtraError,
        PipelineError,
        StreamflowError,
        UsageError,
        WireError,
    )
    from streamflow.memory.state_layout import StateTensor
    from streamflow.pipeline import Pipeline
    from streamflow.runtime.node import In, Node, Out, Output
else:
    _NAMES = {
        "core.batch": ("Batch",),
        "core.batching": ("Fill", "Timing"),
        "core.deadline": ("Criticality", "OnMiss", "Order"),
        "core.firm": ("Escalation",),
        "core.gaps": ("OnGap",),
        "core.joins.feedback": ("Reseed",),
        "core.message": ("Flag", "Message"),
        "core.overflow": ("Overflow",),
        "core.realtime": ("RealTime",),
        "core.slots": ("Eviction",),
        "core.state_rules": ("StateRules",),
        "core.supervision": ("Restart", "RestartStrategy"),
        "core.timebase": ("ms", "ns", "s", "us"),
        "device.on_device": ("OnDevice",),
        "device.resident": ("DeviceTensor",),
        "errors": ("InputError", "MissingExtraError", "PipelineError", "StreamflowError", "UsageError", "WireError"),
        "core.variants": ("VariantStates",),
        "memory.state_layout": ("StateTensor",),
        "pipeline": ("Pipeline",),
        "runtime.node": ("In", "Node", "Out", "Output"),
    }
    __getattr__, __dir__ = on_demand(__name__, _NAMES)

__all__ = [
    "Batch",
    "Criticality",
    "DeviceTensor",
    "Escalation",
    "Eviction",
    "Fill",
    "Flag",
    "In",
    "InputError",
    "Message",
    "MissingExtraError",
    "Node",
    "OnDevice",
    "OnGap",
    "OnMiss",
    "Order",
    "Out",
    "Output",
    "Overflow",
    "Pipeline",
    "PipelineError",
    "RealTime",
    "Reseed",
    "Restart",
    "RestartStrategy",
    "StateRules",
    "StateTensor",
    "StreamflowError",
    "Timing",
    "UsageError",
    "VariantStates",
    "WireError",
    "ms",
    "ns",
    "s",
    "us",
]
