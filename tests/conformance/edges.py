"""An edge as the conformance tests have it, and what makes the ends of links over sockets."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import trio

from streamflow import Message, Overflow
from streamflow.core.accounting import EdgeCounts
from streamflow.runtime.clock import TrioClock
from streamflow.transport.direct_socket import DirectContext
from streamflow.transport.link import Bell, Receiver, Sender
from streamflow.transport.memory_socket import MemoryNetwork
from streamflow.transport.socket_receiver import SocketReceiver
from streamflow.transport.socket_sender import SocketSender
from streamflow.transport.sockets import Socket, SocketContext
from streamflow.transport.zmq_socket import ZmqContext
from streamflow.wire.session import EdgeTerms

TERMS = EdgeTerms("a.out->b.in", "5eed", Overflow.BLOCK, capacity=8, generation=1)
DIRECT = ".direct"  # at the end of an endpoint
HANG_LIMIT_S = 10  # a promise that is not kept shows as a failure, not as a test that never ends


@dataclass
class Edge:
    """Both ends of one edge."""

    sender: Sender
    receiver: Receiver
    bell: Bell
    picks: bool = False

    async def send(self, message: Message) -> int:
        """Offer until accepted; how often it was refused."""
        refusals = 0
        while not self.sender.offer(message):
            refusals += 1
            await self.sender.wait_for_room()
        return refusals

    async def receive(self) -> Message | None:
        """The next datum, or None at the end of the stream."""
        while True:
            message = self._take()
            if message is not None:
                return message
            if self.receiver.is_exhausted:
                return None
            await self.bell.wait()

    def _take(self) -> Message | None:
        """In one of the two ways, then in the other."""
        self.picks = not self.picks
        if not self.picks:
            return self.receiver.take()
        message = self.receiver.pick()
        self.receiver.picked()
        return message

    async def receive_all(self) -> list[int]:
        """The numbers of all data up to the end of the stream."""
        numbers = []
        while (message := await self.receive()) is not None:
            numbers.append(message.seq)
        return numbers

    async def wait_dropped(self, count: int) -> None:
        """Return when `count` data have been dropped, on both sides together; nothing is served."""
        while sum(self.counts().dropped.values()) < count:
            await self.bell.wait()

    def counts(self) -> EdgeCounts:
        sent, received = self.sender.statistics(), self.receiver.statistics()
        assert sent.offered_count == sent.transmitted_count + sent.held_count + sum(sent.dropped.values())
        assert received.received_count == (
            received.delivered_count + received.held_count + sum(received.dropped.values())
        )
        return EdgeCounts(
            offered=sent.offered_count,
            sender_dropped=sent.dropped,
            lost_told=0,
            taken=received.delivered_count,
            receiver_dropped=received.dropped,
        )

    @asynccontextmanager
    async def working(self) -> AsyncIterator[None]:
        """Both ends at work."""
        async with self.sending(), self.receiving():
            yield

    @asynccontextmanager
    async def receiving(self) -> AsyncIterator[None]:
        """The receiver at work."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.receiver.run)
            yield
            nursery.cancel_scope.cancel()

    @asynccontextmanager
    async def sending(self) -> AsyncIterator[None]:
        """The sender at work; the receiver's process is busy with something else."""
        with trio.fail_after(HANG_LIMIT_S):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self.sender.run)
                yield
                nursery.cancel_scope.cancel()

    async def agree(self) -> None:
        """While sending: let the receiver work until both ends have agreed, and then no longer."""
        async with self.receiving():
            await self.sender.wait_open()


Connect = Callable[..., Edge]


def datum(seq: int, **tensors: Any) -> Message:
    return Message(tensors or {"array": np.full(3, seq)}, "a", seq)


class Sockets:
    """Makes the ends of links over sockets, real ones or in memory, and closes them after the test."""

    def __init__(self, real: ZmqContext, folder: Path, closing: ExitStack) -> None:
        self._real = real
        self._direct = DirectContext(real, folder)
        self._memory = MemoryNetwork(TrioClock())
        self._closing = closing

    def _context(self, endpoint: str) -> SocketContext:
        if endpoint.endswith(DIRECT):
            return self._direct
        return self._memory if endpoint.startswith("memory://") else self._real

    def sender(self, endpoint: str, terms: EdgeTerms = TERMS) -> SocketSender:
        sender = SocketSender(self._context(endpoint), endpoint, terms)
        self._closing.callback(sender.close)
        return sender

    def receiver(self, endpoint: str, terms: EdgeTerms = TERMS, bell: Bell | None = None) -> SocketReceiver:
        receiver = SocketReceiver(self._context(endpoint), endpoint, terms, bell or Bell())
        self._closing.callback(receiver.close)
        return receiver

    def connected(self, endpoint: str) -> Socket:
        """Somebody who knows the endpoint, and of no rings."""
        dealer = (self._real if endpoint.endswith(DIRECT) else self._context(endpoint)).dealer()
        self._closing.callback(dealer.close)
        dealer.connect(endpoint)
        return dealer

    def bound(self, endpoint: str) -> tuple[Socket, str]:
        router = self._context(endpoint).router()
        self._closing.callback(router.close)
        return router, router.bind(endpoint)
