"""Where every datum of an edge went: sent = delivered + dropped + lost + in flight, from both ends' counts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class EdgeCounts:
    """What the two ends of an edge counted, each by itself, over all lives of both.

    `taken` by the receiving stage; of those `taken_too_old` were then dropped for their age. `lost_told` was counted
    by the sender, whose receiver had died; `lost_found` went with a dead sender, as its recorder tells.
    """

    offered: int
    sender_dropped: Mapping[str, int]
    lost_told: int
    taken: int
    receiver_dropped: Mapping[str, int]
    lost_found: int = 0
    taken_too_old: int = 0
    depth_peak: int = 0
    stranger_count: int = 0
    returned: int = 0
    """Taken by lives that died at it, and sent again; not among those that were taken."""

    @property
    def delivered(self) -> int:
        return self.taken - self.taken_too_old

    @property
    def dropped(self) -> dict[str, int]:
        dropped = dict(self.sender_dropped)
        for reason, count in self.receiver_dropped.items():
            dropped[reason] = dropped.get(reason, 0) + count
        if self.taken_too_old:
            dropped["too_old"] = dropped.get("too_old", 0) + self.taken_too_old
        return dropped

    @property
    def lost(self) -> int:
        return self.lost_told + self.lost_found

    @property
    def in_flight(self) -> int:
        """Sent and not yet served, dropped or lost, wherever it waits."""
        return self.offered - self.delivered - sum(self.dropped.values()) - self.lost


def broken_sums(edge: str, counts: EdgeCounts, *, ended: bool) -> list[str]:
    """The sums that do not hold, as sentences; `ended`: the edge has carried its end of stream.

    While it runs the two ends are read one after the other, the receiver first: what is in flight is never negative.
    """
    parts = f"{counts.delivered} delivered, {sum(counts.dropped.values())} dropped, {counts.lost} lost"
    if counts.in_flight < 0:
        return [f"edge {edge}: {counts.offered} sent is less than {parts}"]
    if ended and counts.in_flight:
        return [f"edge {edge}: {counts.offered} sent is not {parts}: {counts.in_flight} in flight after the end"]
    return []


@dataclass(frozen=True, slots=True)
class StageCounts:
    """What a stage did with what was delivered to it, over all its lives.

    `done`: data that were handled or shed, by themselves or in rows. `left_out` by its join, which `by_input` tells by
    input and reason. `lost_found` is what dead processes had in service or held back; `lost_told` what a failed stage
    let go.
    """

    delivered: int
    done: int
    left_out: int
    lost_told: int
    lost_found: int = 0
    by_input: Mapping[str, Mapping[str, int]] = field(default_factory=dict)

    @property
    def lost(self) -> int:
        return self.lost_told + self.lost_found

    @property
    def open(self) -> int:
        """Taken, and nothing is known of it: in service, or held back by a join."""
        return self.delivered - self.done - self.left_out - self.lost


def broken_stage_sums(stage: str, counts: StageCounts, *, ended: bool) -> list[str]:
    """As `broken_sums`."""
    if counts.open < 0 or (ended and counts.open):
        parts = f"{counts.done} handled or shed, {counts.left_out} left out by its join, {counts.lost} lost"
        return [f"stage {stage}: {counts.delivered} delivered to it is not {parts}"]
    return []
