"""What makes an edge lossless, at both of its ends: what its sender keeps, and what its receiver has done of it.

The tables in the recorders of the two stages say all of it. What is held or out in the sender's is in the files of
`memory.kept` too, so its next life goes on where it was. What has left the receiver's mailbox is done, but for the
datum that was in hand without a record of its end: that is *undone*, whatever work it had seen, and is sent again. The
record is where it is decided: until it is written nothing that came of the datum leaves the stage (its gates are
closed), and recurrent states are taken back (`memory.states`), as if it had never been taken.
"""

from __future__ import annotations

from collections.abc import Set
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from streamflow.core.graph import EdgeDef, Graph
from streamflow.core.message import Message
from streamflow.core.outbox import Former
from streamflow.core.paths import Paths
from streamflow.memory.kept import Kept
from streamflow.recorder import counts, layout
from streamflow.recorder.reader import Recording
from streamflow.recorder.writer import Recorder
from streamflow.runtime.accounts.dead_stage import Hand, Traces, is_given_up
from streamflow.runtime.rundir import recording_path
from streamflow.wire.data import decode_datum, encode_datum, lightened


class EdgeKeeper:
    """The data of one edge that its sender keeps."""

    def __init__(self, folder: Path, name: str) -> None:
        self._kept = Kept(folder, name)

    def write(self, place: int, message: Message) -> None:
        self._kept.write(place, encode_datum(0, message))

    def read(self, place: int) -> Message:
        _, message = decode_datum(self._kept.read(place), 0)
        return message

    def close(self) -> None:
        self._kept.close()


@dataclass(frozen=True, slots=True)
class Unfinished:
    """What a dead life of a stage was working on, and is to be done again."""

    edge: EdgeDef | None
    """Over which it came; None: a source made it, and will make it again."""
    name: tuple[int, int]
    """Generation and number of the datum on that edge."""
    tag: tuple[int, int]
    """Of the handling: its turn, which its results bear, and its start; zeros where it had not begun."""
    origins: tuple[tuple[int, int], ...]
    since: int
    """The newest record before it was taken in hand, or admitted."""
    admitted: int = 0
    """The paths on which a source had."""


def unfinished(traces: Traces) -> Unfinished | None:
    """Of a stage that stands still: the datum of a lossless edge that it had in hand and had not written off.

    Of a source with such edges, what it had not handed over, where its next life will.
    """
    tag = traces.recording.service_tag()
    emission = traces.emission()
    if emission is not None:
        one_id, admitted, since = emission
        return Unfinished(None, (0, 0), tag, (one_id,), since, admitted)
    hand = _hand(traces)
    if hand is None or traces.has_told(hand):
        return None
    return Unfinished(hand.edge, hand.name, tag, hand.origins, traces.whole(hand.head))


def _hand(traces: Traces) -> Hand | None:
    hand = traces.hand()
    return hand if hand is not None and hand.edge.is_lossless else None


def withdrawn(recording: Recording, out_edge_index: int, work: Unfinished | None) -> list[counts.Live]:
    """What of the unfinished work waits to be sent on that edge: it has not left, and comes again."""
    turn = 0 if work is None else work.tag[0]
    return [one for one in recording.live(out_edge_index) if turn and one.serial == turn and not is_given_up(one)]


class Keeping:
    """Of one life of a stage: what it does again, what it still has to send, and what its receivers have done.

    Made before anything of the former life is forgotten, which `reset` does.
    """

    def __init__(
        self, stage: str, graph: Graph, paths: Paths, recorder: Recorder, recordings: Path, gone: Set[str]
    ) -> None:
        """`gone`: edges whose other end stays dead, which nothing is kept for."""
        self._graph = graph
        self._paths = paths
        self._edges = graph.edges_from(stage)
        self._into = graph.edges_into(stage)
        self._recorder = recorder
        self._recordings = recordings
        self._keepers: list[EdgeKeeper] = []
        with closing(Recording.over(recorder.buffer)) as recording:
            traces = Traces(stage, recording, graph, paths)
            work, self._hand = unfinished(traces), _hand(traces)
            self.again = None if work is None or (work.edge is not None and work.edge.name in gone) else work
            self._left = {
                index: self._left_by(recording, index)
                for index, edge in enumerate(self._edges)
                if edge.is_lossless and edge.name not in gone
            }

    def _left_by(self, recording: Recording, index: int) -> list[counts.Live]:
        """What is to be sent on an edge, in the order in which it was accepted."""
        unsent = {one.place for one in withdrawn(recording, index, self.again)}
        live = [one for one in recording.live(index) if one.place not in unsent and not is_given_up(one)]
        return sorted(live, key=lambda one: one.turn)

    def reset(self) -> None:
        """The former life is over.

        What is undone is written down first: should this life die before it has done anything of it, the next one has
        no other trace of it.
        """
        if self.again is not None:
            if self.again.edge is None:
                ((_, seq),) = self.again.origins
                self._recorder.set(layout.UNDONE_HEAD, self._recorder.head)
                self._recorder.set(layout.UNDONE_SEQ, seq + 1)
            if self.again.tag[0]:
                self._recorder.set(layout.UNDONE_STARTED_NS, self.again.tag[1])
                self._recorder.set(layout.UNDONE_TURN, self.again.tag[0])
        if self._hand is not None:
            generation, number = self._hand.name
            name = (generation << layout.NUMBER_BITS) + number + 1
            self._recorder.inputs[self._into.index(self._hand.edge)].correct(name, is_removed=self.again is None)
        self._recorder.reset_live({index: {one.place for one in left} for index, left in self._left.items()})

    def keeper(self, edge: EdgeDef) -> EdgeKeeper:
        keeper = EdgeKeeper(self._recordings, f"{edge.source}.{self._edges.index(edge)}")
        self._keepers.append(keeper)
        return keeper

    def former(self, edge: EdgeDef, keeper: EdgeKeeper) -> list[Former[Message]]:
        """What a former life has left to be sent on an edge."""
        index = self._edges.index(edge)
        output = self._recorder.outputs[index]
        return [
            Former(one.generation, one.number, lightened(keeper.read(one.place)), output.slot(one.place))
            for one in self._left.get(index, ())
        ]

    def done(self, edge: EdgeDef) -> set[tuple[int, int]]:
        """Generation and number of what the lives of an edge's receiver have done: by its recorder, if none lives."""
        path = recording_path(self._recordings, edge.target)
        if not path.exists():
            return set()
        with closing(Recording.open(path)) as recording:
            return done_by(edge, Traces(edge.target, recording, self._graph, self._paths), self._graph)

    def close(self) -> None:
        for keeper in self._keepers:
            keeper.close()


def done_by(edge: EdgeDef, receiver: Traces, graph: Graph) -> set[tuple[int, int]]:
    """Generation and number of what has left the mailbox at the end of an edge, and is done."""
    index = [each.name for each in graph.edges_into(edge.target)].index(edge.name)
    done = receiver.recording.removed_names(index)
    hand = _hand(receiver)
    if hand is not None and hand.edge.name == edge.name:
        if receiver.has_told(hand):
            done.add(hand.name)
        else:
            done.discard(hand.name)
    return done
