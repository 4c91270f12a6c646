"""A link between processes over sockets: a dealer that sends, a router that receives, thin around the sessions.

The router knows every peer by its own identity, so that a stranger who speaks garbage, an old protocol or
another pipeline's schema is refused by name and counted, and the edge's own sender is not disturbed.

Each life of the receiver has a socket of its own at the sender: what it still has for a dead one goes with
the socket, and is never sent to its successor by a reconnection. A sender's next life greets with a higher
generation, and is answered once the receiver has been told to expect it and has read what came before.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import trio

from streamflow.core.deadline import Order
from streamflow.core.message import Message
from streamflow.core.overflow import Overflow
from streamflow.core.timebase import ms
from streamflow.core.trace import ReceiverTrace
from streamflow.errors import BrokenLinkError, WireError
from streamflow.transport.link import Backlog, Bell, Borrower, ReceiverStatistics
from streamflow.transport.napping import Napping
from streamflow.transport.sockets import SocketContext
from streamflow.wire.data import decode_datum, is_datum
from streamflow.wire.packets import Hello, Packet, Refuse, decode, encode
from streamflow.wire.session import EdgeTerms, ReceiverSession, State
from streamflow.wire.values import Frame

EARLY_LIMIT: Final = 4  # lives of a sender that greet before this end has heard of them; more are strangers
LOOK_AGAIN_NS: Final = 16 * ms
READ_BURST: Final = 64  # packets read at once before others have their turn: a flooded socket must not starve the rest


class SocketReceiver:
    """The receiving end; binds, and serves the one sender that greets as agreed."""

    def __init__(
        self,
        context: SocketContext,
        endpoint: str,
        terms: EdgeTerms,
        bell: Bell,
        trace: ReceiverTrace[Message] | None = None,
        borrower: Borrower | None = None,
    ) -> None:
        self._borrower = borrower
        self._borrow = None if borrower is None else borrower.array
        self._trace: ReceiverTrace[Message] = trace or ReceiverTrace()
        self._session = ReceiverSession(terms, self._trace)
        self._socket = context.router()
        self.endpoint = self._socket.bind(endpoint)
        self._now_ns = context.now_ns
        self._bell = bell
        is_ordered = terms.overflow is Overflow.BLOCK and terms.preference.order is not Order.EDF
        self._reads_first = terms.is_lossless or not is_ordered
        self.is_lossless = terms.is_lossless
        self._owes = False  # to the sender, for what was picked
        self._peer: Frame | None = None
        self._former_peers: set[Frame] = set()
        self._early: list[tuple[Frame, Hello]] = []  # greeted before `expect` was heard, while user code ran here
        self._is_taken_over = False
        self._read_ns = 0
        self._has_run = trio.Event()
        self.stranger_count = 0

    @property
    def is_exhausted(self) -> bool:
        return self._session.is_exhausted

    @property
    def watermark_ns(self) -> int:
        return self._session.watermark_ns

    def has_arrival(self) -> bool:
        return self._socket.has_arrival()

    def peek(self) -> Message | None:
        self._read_what_matters()
        return self._session.inbox.peek()

    def backlog(self) -> Backlog:
        """Without what came in the last few milliseconds: to look for it costs as much as to handle a datum."""
        if self._now_ns() - self._read_ns > LOOK_AGAIN_NS:
            self._trace.settle()
            self._read()
            self._bell.ring()  # what was read wakes nobody any more
        inbox = self._session.inbox
        return Backlog(len(inbox), inbox.last())

    def take(self) -> Message | None:
        """Where data may be revoked or overtaken, reads first, so that the next is the next of all that was sent."""
        self._read_what_matters()
        session = self._session
        message = session.take()
        if message is not None and session.has_due():
            self._answer(session.due())
        self._ring_if_closed()
        return message

    def pick(self) -> Message | None:
        session = self._session
        if self._reads_first or not session.inbox.passes():
            return self.take()
        self._read_ns = 0  # nothing is read ahead
        for _ in range(READ_BURST):
            frames = self._socket.receive()
            if frames is None:
                break
            peer = frames.pop(0)
            if peer != self._peer or not is_datum(frames):
                self._handle(peer, frames)
                continue
            try:
                number, message = decode_datum(frames, self._now_ns(), self._borrow)
            except WireError as error:
                raise self._no_packet(error) from None
            session.pass_on(number, message)
            self._owes = session.has_due()
            return message
        self._ring_if_closed()
        return None

    def picked(self) -> None:
        if self._owes:
            self._owes = False
            self._answer(self._session.due())
            self._ring_if_closed()

    def done(self) -> None:
        if not self._session.inbox.undone_count:
            return
        self._session.inbox.done()
        early, self._early = self._early, []
        for peer, hello in early:
            self._greet(peer, hello)
        if self._session.has_due():
            self._answer(self._session.due())
        self._ring_if_closed()

    def _ring_if_closed(self) -> None:
        if self._session.state is State.CLOSED:
            self._bell.ring()
            self._socket.wake()

    def _no_packet(self, error: WireError) -> BrokenLinkError:
        return BrokenLinkError(f"edge {self._session.terms.edge}", f"its sender sent no packet: {error}")

    def _read_what_matters(self) -> None:
        if self._reads_first or not len(self._session.inbox):
            self._read()

    async def run(self) -> None:
        while not self._is_taken_over:
            await self._socket.wait_arrival()
            self._read()
            self._bell.ring()
        self._has_run.set()

    async def take_over(self) -> None:
        self._is_taken_over = True
        self._socket.wake()
        await self._has_run.wait()

    async def wait(self) -> None:
        await self._socket.wait_arrival()

    def napper(self, napping: Napping) -> Callable[[], bool] | None:
        return self._socket.napper(napping)

    def expect(self, generation: int) -> int:
        """The sender's process is gone: read what it sent, and wait for its next life, which may have greeted.

        Returns how many data of the life that is over have been received.
        """
        self._read_all()
        received_count = self._session.inbox.arrived_count
        self._forget_peer()
        if self._borrower is not None:
            # All that was sent is read: what was lent and never sent need not wait for a restart.
            self._borrower.settle()
        self._session.reattach(generation)
        early, self._early = self._early, []
        for peer, hello in early:
            if hello.generation < generation:
                self._former_peers.add(peer)  # a life that greeted, and died before we heard of it
                self._socket.forget(peer)
            else:
                self._greet(peer, hello)
        self._bell.ring()  # what was just read is for a task that waits for it to arrive
        self._socket.wake()
        return received_count

    def abandon(self) -> int:
        """The sender is gone for good: its stream ends with what has arrived. Returns as `expect` does."""
        self._read_all()
        received_count = self._session.inbox.arrived_count
        self._forget_peer()
        if self._borrower is not None:
            self._borrower.settle()  # nobody comes who would greet
        self._session.abandon()
        self._bell.ring()
        self._socket.wake()
        return received_count

    def _forget_peer(self) -> None:
        if self._peer is not None:
            self._socket.forget(self._peer)
            self._former_peers.add(self._peer)
            self._peer = None

    def _read_all(self) -> None:
        """Everything that has come, for its sender comes no more: no more than its window, and its end."""
        while (frames := self._socket.receive()) is not None:
            self._handle(frames[0], frames[1:])

    def _read(self) -> None:
        self._read_ns = self._now_ns()
        for _ in range(READ_BURST):
            frames = self._socket.receive()
            if frames is None:
                return
            self._handle(frames[0], frames[1:])
        self._socket.nudge()

    def _handle(self, peer: Frame, frames: list[Frame]) -> None:
        if peer == self._peer:
            self._hear(peer, frames)
        elif peer not in self._former_peers:  # too late from a life that is over: it is counted as lost there
            self._hear_stranger(peer, frames)

    def _hear(self, peer: Frame, frames: list[Frame]) -> None:
        """What the edge's own sender sent."""
        try:
            if is_datum(frames):
                self._session.arrive(*decode_datum(frames, self._now_ns(), self._borrow))
                return
            packet = decode(frames)
        except WireError as error:
            raise self._no_packet(error) from None
        if isinstance(packet, Hello):
            self._greet(peer, packet)
        else:
            self._answer(self._session.receive(packet))

    def _hear_stranger(self, peer: Frame, frames: list[Frame]) -> None:
        try:
            packet = decode(frames)
        except WireError as error:
            self._refuse(peer, f"bytes that are no packet: {error}")
            return
        if isinstance(packet, Hello):
            self._greet(peer, packet)
        else:
            self._refuse(peer, f"a {type(packet).__name__} without a hello")

    def _greet(self, peer: Frame, hello: Hello) -> None:
        is_early = self._session.is_successor(hello) or self._session.inbox.undone_count > 0
        if is_early and len(self._early) < EARLY_LIMIT:  # what is done is settled with each greeting
            self._early.append((peer, hello))
            return
        answers = self._session.receive(hello)
        if any(isinstance(answer, Refuse) for answer in answers):
            self._count_stranger()
            self._send(peer, answers)
            self._socket.forget(peer)
            return
        self._peer = peer
        if self._borrower is not None:
            self._borrower.settle()  # before the welcome, without which nothing is lent
        self._answer(answers)

    def _count_stranger(self) -> None:
        self.stranger_count += 1
        self._trace.refused()

    def _refuse(self, peer: Frame, reason: str) -> None:
        self._count_stranger()
        self._send(peer, [Refuse(reason[:200])])
        self._socket.forget(peer)

    def _answer(self, packets: list[Packet]) -> None:
        if self._peer is not None:
            self._send(self._peer, packets)

    def _send(self, peer: Frame, packets: list[Packet]) -> None:
        for packet in packets:
            self._socket.send([peer, *encode(packet)])

    def statistics(self) -> ReceiverStatistics:
        box = self._session.inbox
        return ReceiverStatistics(
            box.received_count, box.taken_count, len(box), dict(box.dropped), box.depth_peak, self.stranger_count
        )

    def close(self) -> None:
        self._socket.close()
        if self._borrower is not None:
            self._borrower.close()
