"""What a full mailbox does."""

from __future__ import annotations

from enum import Enum


class Overflow(Enum):
    """The policy of an edge: what happens to a datum for which there is no room."""

    BLOCK = "block"
    """The sender waits: nothing is lost, and the delay goes upstream."""
    DROP_OLDEST = "drop_oldest"
    """The datum that has waited longest makes room: what is served is fresh and in order."""
    DROP_NEWEST = "drop_newest"
    """The datum that just came is turned away: what waits is served first."""
    LATEST = "latest"
    """Only the newest datum waits, whatever the capacity."""
