"""The ends of edges as an actor uses them."""

from __future__ import annotations

from dataclasses import dataclass

from streamflow.core.watermark import NEVER
from streamflow.runtime.accounts.edge_traces import SentOn
from streamflow.transport.link import Receiver, Sender


@dataclass
class Inlet:
    """The receiving end of an edge, as its actor uses it. `sender` is the number of the stage that sends."""

    edge: str
    receiver: Receiver
    sender: int
    max_age_ns: int | None = None
    mailbox: int = 0
    """So many may wait before one is dropped; 0 where the sender waits."""


@dataclass
class Outlet:
    """The sending end of an edge, as its actor uses it."""

    edge: str
    sender: Sender
    trace: SentOn
    mask: int
    waits: bool = True
    """Whether it blocks, so that its sender waits where there is no room."""
    is_timed: bool = False
    """Whether it leads to a join, which wants to know how far event time has come."""
    newest_ns: int = NEVER
    """The event time that was sent or promised last."""
    keeps_order: bool = True
    """Whether nothing was sent that was older."""

    def sends(self, event_time_ns: int) -> None:
        """A datum of that time goes out."""
        if event_time_ns < self.newest_ns:
            self.keeps_order = False
        else:
            self.newest_ns = event_time_ns
