"""What sinks write of a message beside its tensors: its attributes, and what names it."""

from __future__ import annotations

from streamflow import Message
from streamflow.core.message import Attribute

NAMING = ("event_time_ns", "stream", "seq")
"""What each message has; an attribute of the same name wins."""


def told_of(message: Message, name: str) -> Attribute | None:
    """None where it has no such attribute."""
    if name in message.attributes:
        return message.attributes[name]
    return getattr(message, name) if name in NAMING else None
