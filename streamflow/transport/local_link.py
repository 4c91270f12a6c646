"""A link within one process: a mailbox between two actors, under the same contract as one between processes.

To the accounts a datum that waits is held by its sender until it is taken: both ends die together.
"""

from __future__ import annotations

import trio

from streamflow.core.mailbox import Mailbox
from streamflow.core.message import Message
from streamflow.core.trace import ReceiverTrace, SenderTrace
from streamflow.errors import ClosedLinkError
from streamflow.transport.link import Backlog, Bell, ReceiverStatistics, SenderStatistics, frozen
from streamflow.transport.napping import Napping
from streamflow.wire.session import EdgeTerms


class LocalLink:
    """Both ends of the edge. What a node may still write to is copied; what it received and passes on is not."""

    def __init__(
        self,
        terms: EdgeTerms,
        bell: Bell,
        sender_trace: SenderTrace[Message] | None = None,
        receiver_trace: ReceiverTrace[Message] | None = None,
    ) -> None:
        self._terms = terms
        kept = None if sender_trace is None else _KeepsServed(sender_trace)
        self._mailbox: Mailbox[Message] = Mailbox(terms.overflow, terms.capacity, terms.preference, kept)
        self._trace: ReceiverTrace[Message] = receiver_trace or ReceiverTrace()
        self._bell = bell
        self._room = Bell()
        self._has_ended = False
        self._watermark_ns = -1
        self._passed_ns = -1
        self._exhausted = trio.Event()

    def offer(self, message: Message) -> bool:
        if self._has_ended:
            raise ClosedLinkError(f"edge {self._terms.edge}", "a datum after the end of the stream")
        if not self._mailbox.has_room:
            return False
        accepted = self._mailbox.offer(frozen(message))
        self._bell.ring()
        return accepted

    async def wait_for_room(self) -> None:
        await trio.lowlevel.checkpoint()
        while not self._mailbox.has_room:
            await self._room.wait()

    def advance(self, watermark_ns: int) -> None:
        self._watermark_ns = max(self._watermark_ns, watermark_ns)
        self._bell.ring()

    @property
    def watermark_ns(self) -> int:
        if not len(self._mailbox):
            self._passed_ns = self._watermark_ns
        return self._passed_ns

    def end(self) -> None:
        self._has_ended = True
        self._settle()

    def take(self) -> Message | None:
        message = self._mailbox.take()
        if message is not None:
            self._trace.arrived(message, 1)
            self._trace.taken(message, self._mailbox.taken_count - 1, 0)
            self._room.ring()
            self._settle()
        return message

    def peek(self) -> Message | None:
        return self._mailbox.peek()

    def has_arrival(self) -> bool:
        return len(self._mailbox) > 0

    def backlog(self) -> Backlog:
        return Backlog(len(self._mailbox), self._mailbox.last())

    @property
    def is_exhausted(self) -> bool:
        return self._has_ended and not len(self._mailbox)

    def _settle(self) -> None:
        if self.is_exhausted:
            self._exhausted.set()
            self._bell.ring()

    async def run(self) -> None:
        await self._exhausted.wait()

    async def wait_data(self) -> None:
        await self._bell.wait()

    async def wait_open(self) -> None:
        await trio.lowlevel.checkpoint()

    def close(self) -> None:
        """Nothing outside the process is held."""

    def sender_statistics(self) -> SenderStatistics:
        box = self._mailbox
        dropped = dict(box.dropped)
        passed = box.offered_count - sum(dropped.values())
        return SenderStatistics(box.offered_count, passed, 0, dropped, 0)

    def receiver_statistics(self) -> ReceiverStatistics:
        box = self._mailbox
        return ReceiverStatistics(box.taken_count + len(box), box.taken_count, len(box), {}, box.depth_peak, 0)


class _KeepsServed(SenderTrace[Message]):
    """Lets go of a datum's place only when the next is taken: until it is in service, it is nowhere else."""

    def __init__(self, trace: SenderTrace[Message]) -> None:
        self._trace = trace
        self._served: int | None = None

    def accepted(self, item: Message) -> int:
        return self._trace.accepted(item)

    def transmitted(self, slot: int, number: int) -> None:
        self._trace.transmitted(slot, number)

    def released(self, slot: int) -> None:
        if self._served is not None:
            self._trace.released(self._served)
        self._served = slot

    def dropped(self, item: Message, slot: int | None) -> None:
        self._trace.dropped(item, slot)

    def peaked(self, depth: int) -> None:
        self._trace.peaked(depth)

    def lost(self, item: Message, slot: int | None) -> None:
        self._trace.lost(item, slot)


class LocalSender:
    """The sending end of a local link."""

    def __init__(self, link: LocalLink) -> None:
        self.offer = link.offer
        self.wait_for_room = link.wait_for_room
        self.advance = link.advance
        self.end = link.end
        self.run = link.run
        self.wait_open = link.wait_open
        self.wait_closed = link.run
        self.statistics = link.sender_statistics
        self.close = link.close

    is_jammed = False

    def close_gate(self) -> None:
        """Whoever takes what is offered goes down together with its sender."""

    def open_gate(self) -> None:
        """Nothing was held back."""


class LocalReceiver:
    """The receiving end of a local link."""

    def __init__(self, link: LocalLink) -> None:
        self._link = link
        self.take = self.pick = link.take
        self.peek = link.peek
        self.backlog = link.backlog
        self.has_arrival = link.has_arrival
        self.run = link.run
        self.take_over = link.wait_open
        self.wait = link.wait_data
        self.statistics = link.receiver_statistics
        self.close = link.close

    is_lossless = False
    """Both ends go down together, and nobody could send again."""

    def picked(self) -> None:
        """The sender knew at once."""

    def done(self) -> None:
        """The sender keeps nothing."""

    def napper(self, napping: Napping) -> None:
        """The sender is in the same loop."""

    @property
    def watermark_ns(self) -> int:
        return self._link.watermark_ns

    @property
    def is_exhausted(self) -> bool:
        return self._link.is_exhausted
