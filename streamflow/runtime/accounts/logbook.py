"""What a stage writes into its flight recorder, in the stage's own words: the one door from runtime to the writer.

A datum is one piece on each path that it is on. Whatever ends a piece here, or begins another, is written when it
happens: a split before the second piece is sent, the end of a handling after everything is sent, so that whoever
reads sinks first and sources last never counts a datum as done while a piece of it is under way.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from streamflow.core.graph import EdgeDef, Resolved
from streamflow.core.joins.contract import ABSORBED, Reason
from streamflow.core.message import Flag, Message, Origin
from streamflow.core.paths import Paths
from streamflow.core.timebase import ms
from streamflow.core.verdict import Kind
from streamflow.recorder import layout
from streamflow.recorder.layout import EDGE_SHIFT, HEAD_MASK, IN_HAND, SHED_BITS, SHED_MASK
from streamflow.recorder.writer import Recorder
from streamflow.runtime.accounts.edge_traces import (
    LEFT_OUT,
    LOST_HELD_BACK,
    LOST_HERE,
    NO_STREAM,
    TOO_OLD,
    InputTrace,
    SentOn,
)
from streamflow.runtime.accounts.tables import FORMER, GIVING_UP
from streamflow.runtime.clock import Clock

NOWHERE: Final = NO_STREAM  # no stream, no sender
_RUN: Final = int(Kind.RUN)  # members of an enum are slower than numbers by more than a record costs
_MISSED: Final = int(Flag.MISSED)

_KIND_COUNTERS: Final = {
    Kind.DEGRADED: layout.DEGRADED,
    Kind.HELD: layout.HELD_RESULTS,
    Kind.CALLED: layout.CALLED,
    Kind.SHED: layout.SHED,
}


class Logbook:
    """One stage's view of its recorder; everything is called from the stage's own task or its links."""

    def __init__(self, stage: str, resolved: Resolved, paths: Paths, recorder: Recorder, clock: Clock) -> None:
        graph = resolved.graph
        self.recorder = recorder
        self.index = recorder.shape.stage_index
        self._paths = paths
        self._now_ns = clock.now_ns
        self.edge_mask = paths.masks_by_edge
        self.streams = {name: index for index, name in enumerate(recorder.shape.streams)}
        self._of_stream = {
            source: sum(spec.bit for spec in paths.specs if spec.stream == index)
            for source, index in self.streams.items()
        }
        self._through = {source: paths.through(stage, source) for source in self.streams}
        self._ending = {source: paths.ending_at(stage, source) for source in self.streams}
        self._edges = {edge.name: edge for edge in (*graph.edges_into(stage), *graph.edges_from(stage))}
        self._inputs = {name: index for index, (name, _) in enumerate(recorder.shape.in_edges)}
        self._outputs = {name: index for index, (name, _) in enumerate(recorder.shape.out_edges)}
        self._traces: dict[str, InputTrace] = {}
        self._covered = 0  # paths on which something was sent in this handling
        self._admitted = 0
        self._keeps = False  # a piece on each of these is still here
        self._pending: tuple[InputTrace, int] | None = None  # taken, and not yet in service: its place
        self._pending_slot = -1  # where it stands among those of former senders
        tables = dict(zip((name for name, _ in recorder.shape.out_edges), recorder.outputs, strict=True))
        self._hand = tables.get(IN_HAND)
        self.former = tables.get(FORMER)
        self.giving_up = tables.get(GIVING_UP)
        self._in_hand = -1
        self._passing: tuple[InputTrace, Message, int] | None = None  # picked, and for the accounts still its sender's
        self._has_entered = False  # what is in hand went straight into service

    # ------------------------------------------------------------------------------------ the edges

    def sender_trace(self, edge: EdgeDef) -> SentOn:
        return SentOn(self, edge, self._outputs[edge.name])

    def receiver_trace(self, edge: EdgeDef) -> InputTrace:
        trace = InputTrace(self, edge, self._inputs[edge.name])
        self._traces[edge.name] = trace
        return trace

    def renumber(self, edge: EdgeDef, generation: int) -> None:
        """The sender's next life numbers its data anew."""
        self._traces[edge.name].set_generation(generation)

    def ids(self, message: Message) -> list[tuple[int, int]]:
        """(stream, seq) of each datum it is made from."""
        if not message.origins:
            return [(self.streams.get(message.stream, NOWHERE), message.seq)]
        return [(self.streams.get(origin.stream, NOWHERE), origin.seq) for origin in message.origins]

    def note(self, kind: Kind, message: Message, paths: int, *, at_ns: int = 0, sender: int = NOWHERE) -> None:
        """A piece of each datum that `message` is made from ends, on those of `paths` that are its own.

        `sender`: of one that an edge has dropped, whose record then says since when it waited.
        """
        at_ns = at_ns or self._now_ns()
        sent_ns, enqueued_ns = (message.sent_ns, message.enqueued_ns) if sender != NOWHERE else (0, 0)
        for origin in message.origins or (message,):
            stream = origin.stream
            self.recorder.record(
                kind, message.flags, self.streams.get(stream, NOWHERE), origin.seq, origin.event_time_ns, sent_ns,
                enqueued_ns, at_ns, at_ns, 0, message.deadline_ns, 0, sender, 1,
                paths & self._of_stream.get(stream, 0),
            )  # fmt: skip

    # --------------------------------------------------------------------------------- the handling

    def begin(self, message: Message, sender: int, started_ns: int) -> None:
        """The stage works on `message` from now on; what was taken for it has left the mailbox."""
        self._covered = 0
        self._keeps = False
        if self._passing is not None and self._enters(message, sender, started_ns):
            return
        origin = message.origins[0] if message.origins else message
        self.recorder.begin(
            self.streams.get(origin.stream, NOWHERE),
            origin.seq,
            origin.event_time_ns,
            message.sent_ns,
            message.enqueued_ns or message.sent_ns,
            started_ns,
            message.deadline_ns,
            sender,
        )
        self.commit()

    def pass_by(self, trace: InputTrace, message: Message, number: int) -> None:
        """It was picked: nothing is written before it is in service, for until then it is lost with this process."""
        self.settle()
        self._passing = trace, message, number

    def settle(self) -> None:
        """What was picked is in hand: something else than `begin` will be said of it."""
        if self._passing is not None:
            trace, message, number = self._passing
            self._passing = None
            trace.arrived(message, 1)
            trace.taken(message, number, 0)

    def _enters(self, message: Message, sender: int, started_ns: int) -> bool:
        """Whether what was picked has gone straight into service."""
        if message.origins:
            self.settle()
            return False
        assert self._passing is not None
        trace, _, number = self._passing
        self._passing = None
        self._has_entered = True
        self.recorder.enter(
            trace.index,
            number,
            self.streams.get(message.stream, NOWHERE),
            message.seq,
            message.event_time_ns,
            message.sent_ns,
            message.enqueued_ns,
            started_ns,
            message.deadline_ns,
            sender,
        )
        return True

    def commit(self) -> None:
        """What was taken last has its record, or is in service: it is no longer the mailbox's."""
        if self._pending is not None:
            trace, place = self._pending
            self._pending = None
            trace.removed(place)
            if self._pending_slot >= 0 and self.former is not None:
                self.former.release(self._pending_slot)
                self._pending_slot = -1

    def hold_back(self, trace: InputTrace, place: int, slot: int = -1) -> None:
        """Taken: it leaves the mailbox, to the accounts, once it has another place."""
        self._pending = (trace, place)
        self._pending_slot = slot

    def take(self, message: Message, taken_count: int, place: int) -> None:
        """The stage has `message` in hand from now on, until `put_down`; it is counted as taken after this."""
        assert self._hand is not None
        recorder = self.recorder
        since = (recorder.head & HEAD_MASK) << SHED_BITS | recorder.get(layout.SHED) & SHED_MASK
        self._in_hand = self._hand.accept(self.ids(message), taken_count, since, place)

    @property
    def place_in_hand(self) -> int:
        return self._hand.place_of(self._in_hand) if self._hand is not None and self._in_hand >= 0 else 0

    def put_down(self) -> None:
        """What was in hand is done with, or held back, and counted."""
        if self._has_entered:
            self._has_entered = False
            self.recorder.put_down()
        elif self._hand is not None and self._in_hand >= 0:
            self._hand.release(self._in_hand)
            self._in_hand = -1

    def keep(self) -> None:
        """Several may be sent with time between them: what the first leads to may be over before the last is sent.

        So the stage keeps a piece of the datum until it has done with it, and what it sends are pieces more.
        """
        self._keeps = True

    def sending(self, message: Message, edge_mask: int) -> None:
        """The next piece goes out: where there was one already on the same path, it is one more."""
        again = edge_mask if self._keeps else edge_mask & self._covered
        if again:
            self.note(Kind.SPLIT, message, again)
        self._covered |= edge_mask

    def admitting(self, message: Message, edge_masks: int) -> None:
        """A source sends a datum on edges: a piece begins on each path of theirs that it had not yet sent it on.

        On all of them at once: were it killed between two edges, the datum would be lost on the second.
        """
        new = edge_masks & ~(self._covered | self._admitted)
        if new:
            self.note(Kind.ADMITTED, message, new)

    def admit_again(self, paths: int) -> None:
        """On these a former life has admitted the datum at hand, and had not handed it over."""
        self._admitted = paths

    def emitted(self, message: Message) -> None:
        """A source has sent all of a datum, or will not send the rest."""
        if self._keeps:
            (stream, seq), event_time_ns = self.ids(message)[0], message.event_time_ns
            now_ns = self._now_ns()
            self.recorder.record(
                Kind.RUN, 0, stream, seq, event_time_ns, message.sent_ns, 0, message.sent_ns, now_ns, 0,
                message.deadline_ns, 0, NOWHERE, 1, self._covered,
            )  # fmt: skip
            self._keeps = False
        self._admitted = 0
        self.recorder.idle()

    def forget_sent(self) -> None:
        """What follows is sent in nobody's name: a remainder that is flushed."""
        self._covered = 0
        self._keeps = False

    def ended(
        self,
        kind: Kind,
        message: Message,
        sender: int,
        started_ns: int,
        ended_ns: int,
        blocked_ns: int,
        flags: int,
        repeated: Sequence[Origin] = (),
        batch: int = 1,
        device_done_ns: int = 0,
    ) -> bool:
        """The handling is over. Returns whether anything went on; `repeated`: origins of merged pieces beyond one.

        `batch`: how many data were handled at once. `device_done_ns`: when a device was done with what the stage had
        given it by `ended_ns`; 0: none had to be waited for.
        """
        recorder = self.recorder
        covered = self._covered
        goes_on = covered != 0
        if self._keeps and goes_on:  # the piece that was kept ends here; whether it was on time, the others say
            self._keeps, covered, flags = False, 0, flags & ~_MISSED
        for origin in message.origins or (message,):
            stream = self.streams.get(origin.stream, NOWHERE)
            mask = self._through.get(origin.stream, 0) & ~covered
            recorder.record(
                kind, flags, stream, origin.seq, origin.event_time_ns, message.sent_ns,
                message.enqueued_ns or message.sent_ns, started_ns, ended_ns, device_done_ns, message.deadline_ns,
                blocked_ns, sender, batch, mask,
            )  # fmt: skip
            if mask & self._ending.get(origin.stream, 0):
                for path, histogram in recorder.latency.items():
                    if mask >> path & 1:
                        histogram.record((device_done_ns or ended_ns) - origin.event_time_ns)
        for origin in repeated:
            merged = self._through.get(origin.stream, 0)
            stream = self.streams.get(origin.stream, NOWHERE)
            recorder.note(Kind.RUN, 0, stream, origin.seq, origin.event_time_ns, ended_ns, 0, sender, merged)
        counter = _KIND_COUNTERS.get(kind)
        if counter is not None:
            recorder.add(counter)
        return goes_on

    def finished(self, message: Message, ended_ns: int, blocked_ns: int, flags: int) -> bool:
        """`ended`, `service` and `idle` in one, for a datum of one origin that was worked on in full."""
        covered = self._covered
        goes_on = covered != 0
        if self._keeps and goes_on:
            self._keeps, covered, flags = False, 0, flags & ~_MISSED
        recorder, stream = self.recorder, message.stream
        mask = self._through.get(stream, 0) & ~covered
        recorder.finish(_RUN, flags, ended_ns, 0, blocked_ns, 1, mask)
        if mask & self._ending.get(stream, 0):
            for path, histogram in recorder.latency.items():
                if mask >> path & 1:
                    histogram.record(ended_ns - message.event_time_ns)
        self.put_down()
        return goes_on

    def service(self, service_ns: int, row_count: int = 0, busy_ns: int | None = None) -> None:
        """It is counted; `idle` follows, so that whoever was killed has counted it or shows it.

        `row_count`: data of its row, counted first. `busy_ns`: what no other of its batch had.
        """
        recorder = self.recorder
        if row_count:
            recorder.add(layout.ROW_DATA, row_count)
        recorder.add(layout.PROCESSED)
        recorder.add(layout.BUSY_NS, max(service_ns if busy_ns is None else busy_ns, 0))
        recorder.service.record(service_ns)

    def idle(self) -> None:
        """The stage has nothing to work on."""
        self.recorder.idle()
        self.put_down()

    def shed(
        self,
        message: Message,
        sender: int,
        started_ns: int,
        repeated: Sequence[Origin] = (),
        row_count: int = 0,
    ) -> None:
        """Given up before any work, on every path through here; for `repeated` and `row_count` see above."""
        self._covered = 0
        recorder = self.recorder
        for origin in (*(message.origins or (message,)), *repeated):
            stream, through = self.streams.get(origin.stream, NOWHERE), self._through.get(origin.stream, 0)
            recorder.record(
                Kind.SHED, message.flags, stream, origin.seq, origin.event_time_ns, message.sent_ns,
                message.enqueued_ns or message.sent_ns, started_ns, started_ns, 0, message.deadline_ns, 0,
                sender, 1, through,
            )  # fmt: skip
        if row_count:
            recorder.add(layout.ROW_DATA, row_count)
        recorder.add(layout.SHED)
        self.commit()
        self.put_down()

    def too_old(self, message: Message, edge: str) -> None:
        """It was taken, and is still in hand."""
        index = self._inputs[edge]
        own = self.recorder.inputs[index]
        slot = self._give_up(message, own.dropped(layout.TOO_OLD_REASON), index << EDGE_SHIFT | TOO_OLD)
        sender = self.streams.get(edge.partition(".")[0], NOWHERE)
        self.note(Kind.DROPPED, message, self._paths.masks_by_edge(edge), sender=sender)
        own.drop(layout.TOO_OLD_REASON)
        self.recorder.add(layout.TOO_OLD)
        self._given_up(slot)

    def left_out(self, message: Message, reason: Reason | None, edge: str, let_go: Callable[[Message], None]) -> None:
        """By a join, which then is to `let_go`; None: a row had it, in which another of its input goes on."""
        index = self._inputs[edge]
        slot = self._give_up(message, self.recorder.get(layout.LEFT_OUT), index << EDGE_SHIFT | LEFT_OUT)
        is_absorbed = reason is None or reason in ABSORBED
        self.note(Kind.RUN if is_absorbed else Kind.DROPPED, message, self._paths.masks_by_edge(edge))
        self.recorder.inputs[index].drop(layout.ABSORBED_REASON if reason is None else reason.value)
        self.recorder.add(layout.LEFT_OUT)
        let_go(message)
        self._given_up(slot)

    def _give_up(self, message: Message, count: int, place: int) -> int:
        """What follows is a record for each datum it is made from, and their count, which was `count`; the slot."""
        assert self.giving_up is not None
        return self.giving_up.accept(self.ids(message), count, self.recorder.head & HEAD_MASK, place)

    def _given_up(self, slot: int) -> None:
        assert self.giving_up is not None
        self.giving_up.release(slot)

    def lost(self, message: Message, edge: str) -> None:
        """Taken by a stage that has failed."""
        self.note(Kind.LOST, message, self._paths.masks_by_edge(edge))
        self.recorder.add(layout.LOST)
        self.commit()
        self.put_down()

    def lost_in_service(
        self,
        message: Message,
        repeated: Sequence[Origin] = (),
        count: int = 1,
        let_go: Callable[[], None] | None = None,
    ) -> None:
        """The stage failed while it worked on it: what had not been sent on is lost.

        Of a row of `count` data, which are to be `let_go` then; `repeated` as in `ended`.
        """
        slot = self._give_up(message, self.recorder.get(layout.LOST), LOST_HERE)
        for origin in (*(message.origins or (message,)), *repeated):
            mask = self._through.get(origin.stream, 0) & ~(0 if self._keeps else self._covered)
            stream = self.streams.get(origin.stream, NOWHERE)
            at_ns = self._now_ns()
            self.recorder.note(
                Kind.LOST, message.flags, stream, origin.seq, origin.event_time_ns, at_ns, message.deadline_ns,
                NOWHERE, mask,
            )  # fmt: skip
        self.recorder.add(layout.LOST, count)
        if let_go is not None:
            let_go()
        self.idle()
        self._given_up(slot)

    def lost_held_back(self, message: Message, edge: str, let_go: Callable[[Message], None]) -> None:
        """The stage failed while it was held back; it is to be `let_go` then."""
        slot = self._give_up(message, self.recorder.get(layout.LOST), self._inputs[edge] << EDGE_SHIFT | LOST_HELD_BACK)
        self.note(Kind.LOST, message, self._paths.masks_by_edge(edge))
        self.recorder.add(layout.LOST)
        let_go(message)
        self._given_up(slot)

    def rejected(self, message: Message, edge: str) -> None:
        """A source, or a stage that was stopped while it waited, could not pass it on."""
        self.note(Kind.REJECTED, message, self._paths.masks_by_edge(edge))
        self.recorder.add(layout.REJECTED)

    def stalled(self, started_ns: int, ended_ns: int, *, by_collector: bool) -> None:
        """The loop stood still."""
        self._paused(Kind.STALL, int(by_collector), started_ns, ended_ns)
        self.recorder.add(layout.STALL_COUNT)
        self.recorder.add(layout.GC_NS if by_collector else layout.STALL_NS, ended_ns - started_ns)

    def blocked(self, edge: str, started_ns: int, ended_ns: int) -> None:
        """The stage waited for room on that edge."""
        if ended_ns - started_ns >= ms:  # less is not worth a record
            self._paused(Kind.BLOCKED, 0, started_ns, ended_ns, self._outputs[edge])

    def revived(self, down_since_ns: int, now_ns: int) -> None:
        """This life goes to work; the former one ended at `down_since_ns`."""
        self._paused(Kind.RESTARTED, 0, down_since_ns, now_ns)

    def _paused(self, kind: Kind, flags: int, started_ns: int, ended_ns: int, sender: int = NOWHERE) -> None:
        self.recorder.record(kind, flags, NOWHERE, 0, 0, 0, 0, started_ns, ended_ns, 0, 0, 0, sender, 0, 0)

    def now_ns(self) -> int:
        return self._now_ns()
