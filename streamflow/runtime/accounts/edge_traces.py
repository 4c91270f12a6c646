"""The two ends of an edge as they are written into the recorders of the stages: the logbook's part at the links."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

from streamflow.core.credit import FORMER_LIFE
from streamflow.core.graph import EdgeDef
from streamflow.core.message import Message
from streamflow.core.trace import ReceiverTrace, SenderTrace
from streamflow.core.verdict import Kind
from streamflow.recorder import layout
from streamflow.recorder.layout import EDGE_SHIFT, HEAD_MASK, NUMBER_BITS

if TYPE_CHECKING:
    from streamflow.runtime.accounts.logbook import Logbook

NO_STREAM: Final = -1
TOO_OLD: Final = 1 << NUMBER_BITS
LEFT_OUT: Final = 2 << NUMBER_BITS
LOST_HERE: Final = 3 << NUMBER_BITS
LOST_HELD_BACK: Final = 4 << NUMBER_BITS
"""Places without a number: of a datum that was taken already, and why it is given up."""


class Keeper(Protocol):
    """Where a lossless edge keeps its data, each by the place of its slot in the table of live data."""

    def write(self, place: int, message: Message) -> None: ...

    def read(self, place: int) -> Message: ...


class SentOn(SenderTrace[Message]):
    """The sending end of an edge, in the sender's recorder. `keeper` of one that is lossless."""

    def __init__(self, logbook: Logbook, edge: EdgeDef, index: int) -> None:
        self.keeper: Keeper | None = None
        self._logbook = logbook
        self._edge = edge
        self._reason = edge.overflow.value
        self._recorder = logbook.recorder
        self._streams = logbook.streams
        self._output = logbook.recorder.outputs[index]
        self._mask = logbook.edge_mask(edge.name)
        self._own = logbook.streams.get(edge.source, NO_STREAM)
        self._turn = 0
        self._nth = 0  # pieces that this handling has got onto this edge
        self.generation = 0

    def accepted(self, item: Message) -> int:
        turn = self._recorder.turn
        if turn != self._turn:
            self._turn, self._nth = turn, 0
        nth = self._nth
        self._nth = nth + 1
        if self.keeper is not None:  # before it has the place that says so
            self.keeper.write(self._output.nth(self._output.next_slot), item)
        slot = self._output.accept(self._logbook.ids(item), turn, nth)
        self._output.offered(item.sent_ns)
        return slot

    def transmitted(self, slot: int, number: int) -> None:
        self._output.sent(slot, number, self.generation)

    def left(self, item: Message, number: int) -> int:
        if item.origins or self.keeper is not None:
            slot = self.accepted(item)
            self._output.sent(slot, number, self.generation)
            return slot
        turn = self._recorder.turn
        if turn != self._turn:
            self._turn, self._nth = turn, 0
        nth = self._nth
        self._nth = nth + 1
        stream = self._streams.get(item.stream, NO_STREAM)
        name = (self.generation << NUMBER_BITS) + number
        return self._output.leave(stream, item.seq, turn, nth, name, item.sent_ns)

    def released(self, slot: int) -> None:
        self._output.release(slot)

    def returned(self, item: Message, slot: int) -> Message:
        self._output.returned(slot)
        return item if self.keeper is None else self.keeper.read(self._output.nth(slot))

    def dropped(self, item: Message, slot: int | None) -> None:
        if slot is None:
            slot = self.accepted(item)  # turned away: for a moment it has a place, so that each step leaves a trace
        self._output.give_up(slot, self._output.dropped(self._reason), self._logbook.recorder.head)
        self._logbook.note(Kind.DROPPED, item, self._mask, sender=self._own)
        self._output.drop(self._reason)
        self._output.release(slot)

    def lost(self, item: Message, slot: int | None) -> None:
        if slot is not None:
            self._output.give_up(slot, self._output.get(layout.LOST_DATA), self._logbook.recorder.head)
        self._logbook.note(Kind.LOST, item, self._mask)
        self._output.add(layout.LOST_DATA)
        if slot is not None:
            self._output.release(slot)

    def peaked(self, depth: int) -> None:
        self._output.peak(depth)

    def blocked(self, is_blocked: bool) -> None:
        self._output.block(is_blocked)


class InputTrace(ReceiverTrace[Message]):
    """The receiving end of an edge, in the receiver's recorder."""

    def __init__(self, logbook: Logbook, edge: EdgeDef, index: int) -> None:
        self._logbook = logbook
        self.index = index
        self._reason = edge.overflow.value
        self._input = logbook.recorder.inputs[index]
        self._transport = logbook.recorder.transport[index]
        self._mask = logbook.edge_mask(edge.name)
        self._sender = logbook.streams.get(edge.source, NO_STREAM)
        self._edge_bits = index << EDGE_SHIFT
        self._former: dict[int, int] = {}  # slots of what waits from a former life of the sender, by identity

    def place(self, number: int) -> int:
        """Names the datum among those of all edges into the stage."""
        return self._edge_bits | self._input.place(number)

    def set_generation(self, generation: int) -> None:
        self._input.set_generation(generation)

    def refused(self) -> None:
        self._input.add(layout.STRANGER_COUNT)

    def arrived(self, item: Message, depth: int) -> None:
        self._input.arrived(item.enqueued_ns, depth)
        if item.enqueued_ns:
            self._transport.record(item.enqueued_ns - item.sent_ns)

    def taken(self, item: Message, number: int, depth: int) -> None:
        slot = -1 if number != FORMER_LIFE else self._former.pop(id(item))
        former = self._logbook.former
        place = former.place_of(slot) if slot >= 0 and former is not None else self.place(number)
        self._logbook.take(item, self._input.get(layout.TAKEN), place)
        self._input.taken(depth)
        self._logbook.hold_back(self, place, slot)

    def passed(self, item: Message, number: int) -> None:
        self._logbook.pass_by(self, item, number)

    def settle(self) -> None:
        self._logbook.settle()

    def kept(self, item: Message, number: int) -> None:
        former = self._logbook.former
        assert former is not None
        self._former[id(item)] = former.accept(self._logbook.ids(item), 0, 0, self.place(number))

    def discarded(self, item: Message, depth: int) -> None:
        former = self._logbook.former
        assert former is not None
        self._input.hold(depth)
        former.release(self._former.pop(id(item)))

    def removed(self, place: int) -> None:
        self._input.removed_place(place & (1 << EDGE_SHIFT) - 1)

    def dropped(self, item: Message, number: int, depth: int) -> None:
        giving_up = self._logbook.giving_up
        assert giving_up is not None
        before, head = self._input.dropped(self._reason), self._logbook.recorder.head & HEAD_MASK
        slot = giving_up.accept(self._logbook.ids(item), before, head, self.place(number))
        self._logbook.note(Kind.DROPPED, item, self._mask, sender=self._sender)
        self._input.drop(self._reason)
        self._input.hold(depth)
        if number != FORMER_LIFE:
            self._input.removed(number)
        giving_up.release(slot)
