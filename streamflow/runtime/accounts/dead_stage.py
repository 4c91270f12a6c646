"""What the recorder of a dead stage says of the data it had: its tables, and the records of what it had done with them.

A process may end between any two stores, so each table says what was about to happen, and the records newer than it
how far that had come; of a datum that is made from several there may be a record for some of them only.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence, Set
from dataclasses import dataclass

from streamflow.core.graph import EdgeDef, Graph
from streamflow.core.losses import InService, Live, LiveState
from streamflow.core.message import Origin
from streamflow.core.paths import Paths
from streamflow.core.verdict import WORK, Kind
from streamflow.recorder import counts
from streamflow.recorder.edges import GIVING_UP_MARK
from streamflow.recorder.layout import (
    EDGE_SHIFT,
    HEAD_MASK,
    IN_HAND,
    IN_SERVICE,
    IN_SERVICE_OFFSET,
    IN_SERVICE_SIZE,
    NUMBER_BITS,
    REPLAYS,
    ROW_DATA,
    ROW_DATA_BEFORE,
    ROW_HEAD,
    SERVING,
    SHED_BITS,
    SHED_MASK,
    UNDONE_HEAD,
    UNDONE_SEQ,
)
from streamflow.recorder.reader import Recording
from streamflow.recorder.records import Record
from streamflow.runtime.accounts.tables import GIVING_UP, HELD_BACK

GENERATION_MASK = (1 << EDGE_SHIFT - NUMBER_BITS) - 1
LET_GO = frozenset({Kind.DROPPED, Kind.LOST})
ENDS = frozenset({*WORK, *LET_GO, Kind.SHED})

Ids = tuple[int, int]
"""A datum of a source: stream, seq."""


@dataclass(frozen=True, slots=True)
class Hand:
    """What a stage had taken, and was not done with. `taken_before`, `shed_before`, `head`: as counted before it."""

    edge: EdgeDef
    name: tuple[int, int]
    origins: tuple[Ids, ...]
    taken_before: int
    shed_before: int
    head: int


class Traces:
    """Of one stage, which stands still."""

    def __init__(self, stage: str, recording: Recording, graph: Graph, paths: Paths) -> None:
        self.recording = recording
        self._stage = stage
        self._graph = graph
        self._paths = paths
        self._names = [each.name for each in graph.stages]

    def hand(self) -> Hand | None:
        """What it had in hand, if it was counted as taken."""
        for live in self.table(IN_HAND):
            into = self._graph.edges_into(self._stage)
            index, generation = live.generation >> EDGE_SHIFT - NUMBER_BITS, live.generation & GENERATION_MASK
            if self.recording.inputs()[index].taken > live.serial:
                shed, head = live.nth & SHED_MASK, live.nth >> SHED_BITS
                return Hand(into[index], (generation, live.number), live.origins, live.serial, shed, head)
        return None

    def table(self, name: str, *, with_free: bool = False) -> list[counts.Live]:
        """One of those that are no edge."""
        for index, (each, _) in enumerate(self.recording.shape.out_edges):
            if each == name:
                return self.recording.live(index, with_free=with_free)
        return []

    def told(self, ids: Iterable[Ids], after: int, kinds: Set[Kind]) -> tuple[Record | None, tuple[Origin, ...]]:
        """The record, newer than `after`, by which one of these has ended; and the others that had none yet."""
        found = None
        untold = []
        for one_id in ids:
            ends = (one for one in self.recording.find(*one_id) if one.serial > after and one.kind in kinds)
            record = next(ends, None)
            found = found or record
            if record is None:
                untold.append(one_id)
        return found, self.origins(untold)

    def has_told(self, hand: Hand) -> bool:
        """Whether the end of what it had in hand is written down.

        While it was in service, what came of it may have been dropped, or lost, on its way on.
        """
        after = self.whole(hand.head)
        if not self.recording.word(SERVING):
            return self.told(hand.origins, after, ENDS)[0] is not None
        if self.told(hand.origins, after, WORK)[0] is not None:
            return True
        failed = next((one for one in self.table(GIVING_UP) if one.number < 0), None)
        return failed is not None and self.told(failed.origins, self.whole(failed.nth), LET_GO)[0] is not None

    def emission(self) -> tuple[Ids, int, int] | None:
        """What a source that emits it again had admitted and not handed over, in this life or a former one; on which
        paths, and the newest record before this life told of it."""
        edges = self._graph.edges_from(self._stage)
        words = self.recording.words
        turn, undone = words[SERVING], words[UNDONE_SEQ]
        will_again = words[REPLAYS] and any(edge.is_lossless for edge in edges)
        if not (turn or undone) or not will_again or not self._graph.stage(self._stage).is_source:
            return None
        if turn:
            stream, _, seq, *_ = IN_SERVICE.unpack_from(words, IN_SERVICE_OFFSET + (turn & 1) * IN_SERVICE_SIZE)
        else:
            stream, seq = self.recording.shape.stage_index, undone - 1
        told = self.recording.find(stream, seq)
        admitted = [one for one in told if one.kind == Kind.ADMITTED]
        if not admitted or any(one.kind in WORK for one in told):
            return None
        mask = 0
        for one in admitted:
            mask |= one.mask
        return (stream, seq), mask, max(min(one.serial for one in admitted), words[UNDONE_HEAD])

    def told_given_up(self, one: counts.Live) -> tuple[Record | None, tuple[Origin, ...]]:
        """The same of what the sender of an edge was giving up."""
        return self.told(one.origins, one.number + 1, LET_GO)

    def is_held_back(self, hand: Hand) -> bool:
        """Whether a join or a batch has it already."""
        into = self._graph.edges_into(hand.edge.target)
        return any(
            not one.is_out
            and into[one.generation >> EDGE_SHIFT - NUMBER_BITS] == hand.edge
            and (one.generation & GENERATION_MASK, one.number) == hand.name
            for one in self.table(HELD_BACK)
        )

    def uncounted(self, row: Sequence[counts.Live]) -> int:
        """Data of the row in hand that are not counted yet; `row`: those that are held back still."""
        is_counted = self.recording.word(ROW_DATA) > self.recording.word(ROW_DATA_BEFORE)
        return 0 if is_counted else len(row)

    def live(self, live: counts.Live) -> Live:
        if live.is_free:
            state = LiveState.FREE
        elif is_given_up(live):
            told, _ = self.told_given_up(live)
            state = LiveState.HELD if told is None else LiveState.FREE
        else:  # the word that says so is the last to be written
            state = LiveState.OUT if live.is_out or live.number >= 0 else LiveState.HELD
        return Live(state, live.number, live.generation, self.origins(live.origins), live.serial, live.nth)

    def origins(self, ids: Iterable[Ids]) -> tuple[Origin, ...]:
        return tuple(Origin(self._names[stream], seq, 0) for stream, seq in ids if stream >= 0)

    def through(self, ids: Iterable[Ids]) -> int:
        """The paths of these that go through the stage."""
        mask = 0
        for stream, _ in ids:
            mask |= self._paths.through(self._stage, self._names[stream])
        return mask

    def in_service(self, hand: Hand | None, giving_up: counts.Live | None) -> list[InService]:
        """What the stage was working on, each datum by itself: it may have recorded the end of some of them."""
        turn = self.recording.word(SERVING)
        slot = IN_SERVICE_OFFSET + (turn & 1) * IN_SERVICE_SIZE
        stream, _, seq, _, _, _, started_ns, _ = IN_SERVICE.unpack_from(self.recording.words, slot)
        if stream < 0:
            return []
        is_source = self._graph.stage(self._stage).is_source
        row = [one_id for one in self.table(HELD_BACK) if one.is_out for one_id in one.origins]
        ids = Counter(row or (hand.origins if hand is not None else [(stream, seq)]))
        taken_at = self.whole(hand.head) if hand is not None else None
        if row:
            taken_at = self.recording.word(ROW_HEAD)
        lost_after = self.whole(giving_up.nth) if giving_up is not None else self.recording.head
        found = []
        for one_id, count in ids.items():
            told = self.recording.find(*one_id)
            over = max(
                (one.serial for one in told if one.kind in WORK and _is_before(one, started_ns, taken_at)), default=0
            )
            since = [one for one in told if one.started_ns >= started_ns and one.serial > over]
            mask = self.through([one_id])
            if is_source:
                mask = 0
                for one in told:
                    mask |= one.mask if one.kind == Kind.ADMITTED else 0
            splits = [one.mask for one in since if one.kind == Kind.SPLIT]
            splits += [mask] * (count - 1)  # several pieces of one datum meet in a row
            settled = [
                one.mask
                for one in since
                if one.kind in WORK
                or one.kind == Kind.REJECTED  # it never had a place on an edge
                or (one.kind == Kind.LOST and one.serial > lost_after)
            ]
            if mask or not is_source:
                found.append(InService(self._stage, turn, self.origins([one_id]), mask, splits, settled))
        return found

    def whole(self, head: int) -> int:
        """The serial of the record that was the newest when its last bits were `head`."""
        newest = self.recording.head
        return newest - (newest - head & HEAD_MASK)


def is_given_up(live: counts.Live) -> bool:
    """Its place says so before its state does."""
    return not live.is_free and live.generation & GIVING_UP_MARK != 0


def _is_before(record: Record, started_ns: int, taken_at: int | None) -> bool:
    """Whether it is of an earlier handling of the same datum. `taken_at`: the newest record before this one."""
    return record.started_ns < started_ns if taken_at is None else record.serial <= taken_at
