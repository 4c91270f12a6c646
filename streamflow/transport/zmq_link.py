"""A link between processes over ZeroMQ: a dealer that sends, a router that receives, thin around the sessions.

The router knows every peer by its own identity, so that a stranger who speaks garbage, an old protocol or
another pipeline's schema is refused by name and counted, and the edge's own sender is not disturbed.
"""

from __future__ import annotations

import trio

from streamflow.core.message import Message
from streamflow.core.overflow import Overflow
from streamflow.errors import BrokenLinkError, WireError
from streamflow.transport.link import Bell, ReceiverStatistics, SenderStatistics, frozen
from streamflow.transport.zmq_socket import ZmqContext
from streamflow.wire.packets import Frame, Hello, Packet, Refuse, decode, encode
from streamflow.wire.session import EdgeTerms, ReceiverSession, SenderSession, State

READ_BURST = 64  # packets read at once before others have their turn: a flooded socket must not starve the rest


class ZmqSender:
    """The sending end; connects to the receiver's endpoint and greets."""

    def __init__(self, context: ZmqContext, endpoint: str, terms: EdgeTerms) -> None:
        self._session = SenderSession(terms)
        self._socket = context.dealer()
        self._socket.connect(endpoint)
        self._room = Bell()
        self._open = trio.Event()
        self._closed = trio.Event()
        self._flush()

    def offer(self, message: Message) -> bool:
        accepted = self._session.offer(message if self._session.sends_at_once else frozen(message))
        if accepted:
            self._flush()
        return accepted

    async def wait_for_room(self) -> None:
        await trio.lowlevel.checkpoint()
        while not self._session.has_room:
            await self._room.wait()

    def end(self) -> None:
        self._session.end()
        self._flush()

    async def wait_open(self) -> None:
        await self._open.wait()

    async def wait_closed(self) -> None:
        await self._closed.wait()

    async def run(self) -> None:
        while not self._session.is_closed:
            await self._socket.wait_arrival()
            for _ in range(READ_BURST):
                frames = self._socket.receive()
                if frames is None:
                    break
                self._session.receive(self._packet(frames))
            if self._session.state is not State.GREETING:
                self._open.set()
            self._flush()
            if self._session.has_room:
                self._room.ring()
        self._closed.set()

    def _packet(self, frames: list[Frame]) -> Packet:
        try:
            return decode(frames)
        except WireError as error:
            edge = self._session.terms.edge
            raise BrokenLinkError(f"edge {edge}", f"its receiver sent no packet: {error}") from None

    def _flush(self) -> None:
        for packet in self._session.packets():
            self._socket.send(encode(packet))

    def statistics(self) -> SenderStatistics:
        box = self._session.outbox
        return SenderStatistics(
            box.offered_count, box.transmitted_count, box.held_count, dict(box.dropped), box.depth_peak
        )

    def close(self) -> None:
        self._socket.close()


class ZmqReceiver:
    """The receiving end; binds, and serves the one sender that greets as agreed."""

    def __init__(self, context: ZmqContext, endpoint: str, terms: EdgeTerms, bell: Bell) -> None:
        self._session = ReceiverSession(terms)
        self._socket = context.router()
        self.endpoint = self._socket.bind(endpoint)
        self._bell = bell
        self._is_revocable = terms.overflow is not Overflow.BLOCK
        self._peer: Frame | None = None
        self._is_taken_over = False
        self._has_run = trio.Event()
        self.stranger_count = 0

    @property
    def is_exhausted(self) -> bool:
        return self._session.is_exhausted

    def take(self) -> Message | None:
        """Where data may be revoked, reads first, so that what is served next is by the policy of both sides."""
        if self._is_revocable or not len(self._session.inbox):
            self._read()
        message = self._session.take()
        if message is not None:
            self._answer(self._session.due())
        if self._session.state is State.CLOSED:
            self._bell.ring()
            self._socket.wake()
        return message

    async def run(self) -> None:
        while self._session.state is not State.CLOSED and not self._is_taken_over:
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

    def _read(self) -> None:
        for _ in range(READ_BURST):
            frames = self._socket.receive()
            if frames is None:
                return
            self._handle(frames[0], frames[1:])
        self._socket.nudge()

    def _handle(self, peer: Frame, frames: list[Frame]) -> None:
        try:
            packet = decode(frames)
        except WireError as error:
            if peer == self._peer:
                edge = self._session.terms.edge
                raise BrokenLinkError(f"edge {edge}", f"its sender sent no packet: {error}") from None
            self._refuse(peer, f"bytes that are no packet: {error}")
            return
        if peer != self._peer and not isinstance(packet, Hello):
            self._refuse(peer, f"a {type(packet).__name__} without a hello")
            return
        answers = self._session.receive(packet)
        if isinstance(packet, Hello) and not any(isinstance(answer, Refuse) for answer in answers):
            self._peer = peer
        elif isinstance(packet, Hello):
            self.stranger_count += 1
            self._send(peer, answers)
            return
        self._answer(answers)

    def _refuse(self, peer: Frame, reason: str) -> None:
        self.stranger_count += 1
        self._send(peer, [Refuse(reason[:200])])

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
