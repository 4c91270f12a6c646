"""The ends of edges as an actor uses them."""

from __future__ import annotations

from dataclasses import dataclass

from streamflow.runtime.edge_traces import SentOn
from streamflow.transport.link import Receiver, Sender


@dataclass
class Inlet:
    """The receiving end of an edge, as its actor uses it. `sender` is the number of the stage that sends."""

    edge: str
    receiver: Receiver
    sender: int
    max_age_ns: int | None = None


@dataclass
class Outlet:
    """The sending end of an edge, as its actor uses it."""

    edge: str
    sender: Sender
    trace: SentOn
    mask: int
    waits: bool = True
    """Whether it blocks, so that its sender waits where there is no room."""
