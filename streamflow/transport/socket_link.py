"""A link between processes over sockets: a dealer that sends, a router that receives, thin around the sessions.

The router knows every peer by its own identity, so that a stranger who speaks garbage, an old protocol or
another pipeline's schema is refused by name and counted, and the edge's own sender is not disturbed.

Each life of the receiver has a socket of its own at the sender: what it still has for a dead one goes with
the socket, and is never sent to its successor by a reconnection. A sender's next life greets with a higher
generation, and is answered once the receiver has been told to expect it and has read what came before.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence, Set
from typing import Final

import trio

from streamflow.core.credit import Former
from streamflow.core.deadline import Order
from streamflow.core.message import Message
from streamflow.core.overflow import Overflow
from streamflow.core.timebase import ms, us
from streamflow.core.trace import ReceiverTrace, SenderTrace
from streamflow.errors import BrokenLinkError, WireError
from streamflow.transport.link import Backlog, Bell, Borrower, Lender, ReceiverStatistics, SenderStatistics, frozen
from streamflow.transport.napping import Napping
from streamflow.transport.sockets import DealerSocket, SocketContext
from streamflow.wire.data import decode_datum, encode_datum, is_datum, lightened
from streamflow.wire.packets import Data, Hello, Packet, Refuse, decode, encode
from streamflow.wire.session import Done, EdgeTerms, ReceiverSession, SenderSession, State
from streamflow.wire.values import Frame

EARLY_LIMIT: Final = 4  # lives of a sender that greet before this end has heard of them; more are strangers
LOOK_AGAIN_NS: Final = 16 * ms
LOOK_AT_CREDIT_NS: Final = 200 * us  # a look costs ZeroMQ as much as a tenth of a datum
READ_BURST: Final = 64  # packets read at once before others have their turn: a flooded socket must not starve the rest


class SocketSender:
    """The sending end; connects to the receiver's endpoint and greets."""

    def __init__(
        self,
        context: SocketContext,
        endpoint: str,
        terms: EdgeTerms,
        trace: SenderTrace[Message] | None = None,
        lender: Lender | None = None,
        done: Done = frozenset,
        former: Sequence[Former[Message]] = (),
    ) -> None:
        """Without an endpoint there is no receiver yet: `attach` tells where it is.

        Of a lossless edge, `done` tells what its receiver has done, and `former` is what a former life had to send.
        """
        self._lender = lender
        self._lend = None if lender is None else lender.lend
        self._session = SenderSession(terms, trace, done)
        self._session.take_up(former)
        self._context = context
        self._socket: DealerSocket | None = None
        self._look_again_ns = 0  # no sooner, while one datum follows another
        self._attached = trio.Event()
        self._room = Bell()
        self._open = trio.Event()
        self._closed = trio.Event()
        if endpoint:
            self._connect(endpoint)

    def _connect(self, endpoint: str) -> None:
        self._socket = self._context.dealer()
        self._socket.connect(endpoint)
        self._attached.set()
        self._flush()

    def offer(self, message: Message) -> bool:
        session = self._session
        socket = self._socket
        if socket is not None and session.sends_at_once():
            number = session.send(message)
            nudges = False
            if session.expects_credit():
                nudges = message.sent_ns >= self._look_again_ns
                if nudges:
                    self._look_again_ns = message.sent_ns + LOOK_AT_CREDIT_NS
                else:
                    socket.nudge_later()
            socket.send(encode_datum(number, message, self._lend), nudges=nudges)
            self._lighten(number, message)
            return True
        if not session.has_room:
            return False
        accepted = session.offer(frozen(message))
        if accepted:
            self._flush()
        return accepted

    async def wait_for_room(self) -> None:
        await trio.lowlevel.checkpoint()
        while not self._session.has_room:
            await self._room.wait()

    @property
    def is_jammed(self) -> bool:
        return self._session.outbox.is_jammed

    def close_gate(self) -> None:
        self._session.outbox.close_gate()

    def open_gate(self) -> None:
        self._session.outbox.open_gate()
        self._flush()

    def advance(self, watermark_ns: int) -> None:
        self._session.advance(watermark_ns)
        self._flush()

    def end(self) -> None:
        self._session.end()
        self._flush()

    async def wait_open(self) -> None:
        await self._open.wait()

    async def wait_closed(self) -> None:
        await self._closed.wait()

    async def run(self) -> None:
        while True:
            await self._attached.wait()
            socket = self._socket
            if socket is not None:  # None: detached again before this task had its turn
                await socket.wait_arrival()
            if socket is None or socket is not self._socket:
                continue
            for _ in range(READ_BURST):
                frames = socket.receive()
                if frames is None:
                    break
                self._session.receive(self._packet(frames))
            if self._session.state is not State.GREETING:
                self._open.set()
            self._flush()
            if self._session.has_room:
                self._room.ring()
            if self._session.is_closed:
                self._closed.set()

    def detach(self, removed: Set[int]) -> None:
        """The receiver's process is gone; `removed`: the numbers it had taken or dropped of what was sent last.

        What it had not is lost, and counted; what is held, and what is offered from now on, waits by the policy.
        """
        self._disconnect()
        self._forget()
        self._session.reattach(self._session.terms.generation, removed)
        self._room.ring()

    def attach(self, endpoint: str, generation: int) -> None:
        """Another life of the receiver is there: go on with it."""
        self._disconnect()
        self._session.reattach(generation, frozenset())
        self._connect(endpoint)

    def abandon(self) -> None:
        """Nobody will receive any more: what is held and what is offered from now on is lost, and counted."""
        self._disconnect()
        self._forget()
        self._session.abandon(frozenset())
        self._open.set()
        self._closed.set()
        self._room.ring()

    def _forget(self) -> None:
        if self._lender is not None:
            self._lender.forget()

    def _disconnect(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None
            self._attached = trio.Event()

    def _packet(self, frames: list[Frame]) -> Packet:
        try:
            return decode(frames)
        except WireError as error:
            edge = self._session.terms.edge
            raise BrokenLinkError(f"edge {edge}", f"its receiver sent no packet: {error}") from None

    def _flush(self) -> None:
        if self._socket is not None:
            for packet in self._session.packets():
                self._socket.send(encode(packet, self._lend))
                if isinstance(packet, Data):
                    self._lighten(packet.number, packet.message)

    def _lighten(self, number: int, message: Message) -> None:
        """What was sent may be lost, and is then told by its name; its memory is free when the receiver is done.

        Credits come back later than that, half a window together.
        """
        is_kept = self._session.outbox.keeps  # elsewhere too
        if (self._lender is not None or is_kept) and (light := lightened(message)) is not message:
            self._session.outbox.replace(number, light)

    def statistics(self) -> SenderStatistics:
        box = self._session.outbox
        return SenderStatistics(
            box.offered_count, box.transmitted_count, box.held_count, dict(box.dropped), box.depth_peak
        )

    def close(self) -> None:
        self._disconnect()


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
