"""The sending end of a link over sockets; `socket_receiver` says how the two meet."""

from __future__ import annotations

from collections.abc import Sequence, Set
from typing import Final

import trio

from streamflow.core.message import Message
from streamflow.core.outbox import Former
from streamflow.core.timebase import us
from streamflow.core.trace import SenderTrace
from streamflow.errors import BrokenLinkError, WireError
from streamflow.transport.link import Bell, Lender, SenderStatistics, frozen
from streamflow.transport.sockets import DealerSocket, SocketContext
from streamflow.wire.data import encode_datum, lightened
from streamflow.wire.packets import Data, Packet, decode, encode
from streamflow.wire.session import Done, EdgeTerms, SenderSession, State
from streamflow.wire.values import Frame

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
        if socket is not None and session.lacks_credit():
            # A stage that always has work gives links their turn after some data only, and no more than a window
            # would leave between two turns: the rest would grow old here, and be dropped, with the way on free.
            self._read(socket)
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
            self._read(socket)

    def _read(self, socket: DealerSocket) -> None:
        """Take what has come, and send what that lets go."""
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
