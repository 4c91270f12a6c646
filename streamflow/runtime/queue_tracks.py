"""Counter tracks of a trace: how many data waited for each stage, from when they were sent until they were begun.

That is both sides of an edge and what lies between, as its capacity counts. A record says when its datum was sent and
when it was begun, or dropped, so the number is known from when the oldest record in the ring was written: whatever
waited after that has its own in it. Of a stage that has closed it is known to the end; else until the last datum that
was served had been sent: those that still wait came later, first in first out.

Where that does not hold the track is called `at least`: after a restart (what waited may have gone without a record),
for a stage that joins its inputs (a row has the times of one of them), for an edge that does not serve in order, and
where the sender dropped some of those for several edges, which its records do not tell apart.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from streamflow.core.depth import depths
from streamflow.core.verdict import WORK, Kind
from streamflow.recorder import layout
from streamflow.recorder.reader import Recording
from streamflow.recorder.records import Record

ENDS = WORK | {Kind.SHED, Kind.DROPPED}
"""Kinds of records that have when their datum was sent."""
BY_EDGE = frozenset({*layout.OVERFLOWS, layout.TOO_OLD_REASON})
"""Why an edge drops; for other reasons a join does."""


@dataclass(frozen=True, slots=True)
class Ring:
    """All that a stage's recorder still holds."""

    recording: Recording
    records: Sequence[Record]
    serving: Record | None

    @property
    def stage(self) -> int:
        return self.recording.shape.stage_index

    @property
    def since_ns(self) -> int:
        """From then on it is whole; 0: from the begin."""
        return self.records[0].ended_ns if self.records and self.records[0].serial > 1 else 0


@dataclass(frozen=True, slots=True)
class QueueTrack:
    """`samples`: (instant, how many wait from then on)."""

    stage: int
    name: str
    samples: list[tuple[int, int]]


@dataclass(slots=True)
class _Queue:
    """Of one sender's data for one stage: when each was sent and left; when the last that was served was sent."""

    waits: set[tuple[int, int, int]] = field(default_factory=set)
    last_served_ns: int = 0
    is_in_order: bool = True

    def add(self, record: Record) -> None:
        one = record.sent_ns, record.started_ns, record.enqueued_ns
        self.waits.add(one)  # once, of a message that was made from several data and has a record for each
        if record.kind != Kind.DROPPED:
            self.is_in_order &= record.sent_ns >= self.last_served_ns
            self.last_served_ns = max(self.last_served_ns, record.sent_ns)


def queue_tracks(rings: Sequence[Ring], begin_ns: int, end_ns: int) -> Iterator[QueueTrack]:
    """Of every stage, one for each sender whose data waited."""
    by_stage = {ring.stage: ring for ring in rings}
    for ring in rings:
        for sender, queue in sorted(_queues(ring).items()):
            track = _track(ring, by_stage.get(sender), sender, queue, begin_ns, end_ns)
            if track is not None:
                yield track


def _queues(ring: Ring) -> dict[int, _Queue]:
    queues: dict[int, _Queue] = {}
    for record in [*ring.records, *([ring.serving] if ring.serving is not None else [])]:
        if record.kind in ENDS and record.sent_ns > 0 and record.sender not in (-1, ring.stage):
            queues.setdefault(record.sender, _Queue()).add(record)
    return queues


def _track(
    ring: Ring, sending: Ring | None, sender: int, queue: _Queue, begin_ns: int, end_ns: int
) -> QueueTrack | None:
    since_ns = max(ring.since_ns, begin_ns)
    is_known = _is_whole(ring)
    if sending is None:
        is_known = False
    elif any(one.dropped for one in sending.recording.outputs()):
        since_ns = max(since_ns, sending.since_ns)
        if len(sending.recording.outputs()) > 1:
            is_known = False
        else:
            for record in sending.records:
                if record.kind == Kind.DROPPED and record.sender == sender:
                    queue.add(record)
    is_closed = ring.recording.word(layout.PHASE) == layout.CLOSED
    is_known &= is_closed or queue.is_in_order
    until_ns = end_ns if is_closed else queue.last_served_ns
    if until_ns < since_ns:
        return None
    name = f"waiting from {ring.recording.shape.streams[sender]}{'' if is_known else ', at least'}"
    return QueueTrack(ring.stage, name, depths(((sent, begun) for sent, begun, _ in queue.waits), since_ns, until_ns))


def _is_whole(ring: Ring) -> bool:
    """Whether each datum that waited for the stage has a record that says since when."""
    inputs = ring.recording.inputs()
    return (
        all(record.kind != Kind.RESTARTED for record in ring.records)
        and not (len(inputs) > 1 and ring.recording.counter("row_data"))
        and all(reason in BY_EDGE for one in inputs for reason in one.dropped)
    )
