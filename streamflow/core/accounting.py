"""Where every datum of an edge went: sent = delivered + dropped + in flight + lost, checked from both ends' counts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class EdgeCounts:
    """What the two ends of an edge counted, each by itself."""

    offered: int
    transmitted: int
    sender_held: int
    sender_dropped: Mapping[str, int]
    received: int
    delivered: int
    receiver_held: int
    receiver_dropped: Mapping[str, int]

    @property
    def dropped(self) -> dict[str, int]:
        return dict(Counter(self.sender_dropped) + Counter(self.receiver_dropped))

    @property
    def on_wire(self) -> int:
        return self.transmitted - self.received

    @property
    def in_flight(self) -> int:
        """Sent and not yet served or dropped, wherever it waits."""
        return self.sender_held + self.on_wire + self.receiver_held


def broken_sums(edge: str, counts: EdgeCounts, *, ended: bool, lost: int = 0) -> list[str]:
    """The sums that do not hold, as sentences; `ended`: the edge has carried its end of stream."""
    broken = []
    sent = counts.transmitted + counts.sender_held + sum(counts.sender_dropped.values())
    if counts.offered != sent:
        broken.append(f"{edge}: {counts.offered} sent is not {sent} transmitted, held or dropped by the sender")
    got = counts.delivered + counts.receiver_held + sum(counts.receiver_dropped.values())
    if counts.received != got:
        broken.append(f"{edge}: {counts.received} received is not {got} delivered, held or dropped by the receiver")
    if counts.on_wire < 0:
        broken.append(f"{edge}: {counts.received} received, but only {counts.transmitted} transmitted")
    if ended and counts.in_flight != lost:
        broken.append(f"{edge}: {counts.in_flight} in flight after the end of the stream, {lost} known to be lost")
    return broken
