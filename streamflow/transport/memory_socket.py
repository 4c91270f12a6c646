"""Sockets in process, in place of ZeroMQ's: for runs of a whole pipeline in virtual time.

ZeroMQ has a thread of its own, which a virtual clock does not see: trio finds every task blocked while a message is
under way, and jumps. Here a message is in the other's queue when `send` returns, with the instant at which it
arrives, so there is no thread and no task between, and a run is the same every time. Kept as with ZeroMQ: what one
socket sends another stays in order, however long some of it is delayed; what has been sent stays readable when its
sender closes; what was not read is lost with its reader; a dealer whose router has gone keeps what it sends for
whoever binds next, who knows it by another name. Not kept: high-water marks, which links do not use.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Sequence
from itertools import count
from types import TracebackType
from typing import Protocol

import trio

from streamflow.errors import ClosedLinkError, LinkError
from streamflow.transport.napping import Napping
from streamflow.wire.values import Frame

Plan = Callable[[str, Sequence[Frame], int], Sequence[int]]
"""(endpoint, frames, now_ns) of a message for whoever is bound there: when it arrives, or nothing when it never does;
two instants make it arrive twice. Answers come back at once."""


class Timeline(Protocol):
    """The clock of a run that takes place in one process; `TrioClock` is one."""

    def now_ns(self) -> int: ...

    async def sleep_until(self, instant_ns: int) -> None:
        """For any number of tasks at once."""


def at_once(endpoint: str, frames: Sequence[Frame], now_ns: int) -> Sequence[int]:
    """The plan under which everything arrives, and takes no time."""
    return (now_ns,)


class MemoryNetwork:
    """Stands in for the contexts of all processes of a run: whatever connects is connected within it."""

    def __init__(self, timeline: Timeline, plan: Plan = at_once) -> None:
        self.now_ns = timeline.now_ns
        self.sleep_until = timeline.sleep_until
        self.plan = plan
        self.bound: dict[str, MemoryRouter] = {}
        self.dealers: dict[MemoryDealer, str] = {}  # where each is connected or waits to be, the first one first
        self.serials = count(1)

    def dealer(self) -> MemoryDealer:
        return MemoryDealer(self)

    def router(self) -> MemoryRouter:
        return MemoryRouter(self)

    def close(self) -> None:
        """Close every socket that has an endpoint."""
        for dealer in list(self.dealers):
            dealer.close()
        for router in list(self.bound.values()):
            router.close()

    def __enter__(self) -> MemoryNetwork:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class MemorySocket:
    """What has been sent here, by the instant at which it arrives; made by `MemoryNetwork`."""

    def __init__(self, network: MemoryNetwork) -> None:
        self._network = network
        self._arrivals: list[tuple[int, int, list[bytes]]] = []  # a heap: instant, serial, frames
        self._waiting: trio.CancelScope | None = None
        self._is_woken = False
        self.is_closed = False

    def receive(self) -> list[Frame] | None:
        """The next message that has arrived, in the form ZeroMQ's come: tensor frames are views."""
        self._require_open()
        if not self.has_arrival():
            return None
        _, _, frames = heapq.heappop(self._arrivals)
        return [*frames[:2], *(memoryview(frame) for frame in frames[2:])]

    def nudge(self) -> None:
        if self._waiting is not None and self.has_arrival():
            self._waiting.cancel()

    def nudge_later(self) -> None:
        self.nudge()

    def wake(self) -> None:
        self._is_woken = True
        if self._waiting is not None:
            self._waiting.cancel()

    def napper(self, napping: Napping) -> None:
        """What is in memory wakes by trio's loop alone."""

    async def wait_arrival(self) -> None:
        await trio.lowlevel.checkpoint()
        while not self._is_woken and not self.has_arrival():
            with trio.CancelScope() as self._waiting:
                if self._arrivals:
                    await self._network.sleep_until(self._arrivals[0][0])
                else:
                    await trio.sleep_forever()
            self._waiting = None
        self._is_woken = False

    def arrive(self, frames: list[bytes], instant_ns: int) -> None:
        """Called by the socket that sends."""
        heapq.heappush(self._arrivals, (instant_ns, next(self._network.serials), frames))
        if self._waiting is not None:
            self._waiting.cancel()  # to read, or to sleep until another instant

    def has_arrival(self) -> bool:
        return bool(self._arrivals) and self._arrivals[0][0] <= self._network.now_ns()

    def _require_open(self) -> None:
        if self.is_closed:
            raise ClosedLinkError("socket", "closed")


class MemoryDealer(MemorySocket):
    """Connects to one endpoint, once."""

    def __init__(self, network: MemoryNetwork) -> None:
        super().__init__(network)
        self._router: MemoryRouter | None = None
        self._name = b""
        self._unsent: list[list[bytes]] = []
        self._last_arrival_ns = 0

    def connect(self, endpoint: str) -> None:
        self._require_open()
        if self in self._network.dealers:
            raise LinkError(endpoint, f"connected to {self._network.dealers[self]} already", "one endpoint")
        self._network.dealers[self] = endpoint
        router = self._network.bound.get(endpoint)
        if router is not None:
            self.joined(router)

    def joined(self, router: MemoryRouter) -> None:
        """Called when somebody is bound where this is connected: what waited is sent."""
        self._router = router
        self._name = router.named(self)
        waiting, self._unsent = self._unsent, []
        for frames in waiting:
            self._send_now(router, frames)

    def left(self) -> None:
        """Called when the router has closed."""
        self._router = None

    def send(self, frames: Sequence[Frame], *, nudges: bool = True) -> None:
        self._require_open()
        kept = [bytes(frame) for frame in frames]  # the sender may write to its arrays again
        if self._router is None:
            self._unsent.append(kept)
        else:
            self._send_now(self._router, kept)

    def _send_now(self, router: MemoryRouter, frames: list[bytes]) -> None:
        network = self._network
        for instant_ns in network.plan(network.dealers[self], frames, network.now_ns()):
            self._last_arrival_ns = max(self._last_arrival_ns, instant_ns)
            router.arrive([self._name, *frames], self._last_arrival_ns)

    def close(self, *, linger_ms: int = 0) -> None:
        """What was sent to a router arrives, however long it lingers."""
        self.wake()
        self.is_closed = True
        self._network.dealers.pop(self, None)
        if self._router is not None:
            self._router.peers.pop(self._name, None)
            self._router = None


class MemoryRouter(MemorySocket):
    """Binds to one endpoint, once."""

    def __init__(self, network: MemoryNetwork) -> None:
        super().__init__(network)
        self.peers: dict[bytes, MemoryDealer] = {}
        self._endpoint = ""

    def bind(self, endpoint: str) -> str:
        """`*` at the end stands for a number that is free. Closed when it fails."""
        self._require_open()
        if endpoint.endswith("*"):
            endpoint = f"{endpoint[:-1]}{next(self._network.serials)}"
        if endpoint in self._network.bound or self._endpoint:
            self.close()
            raise LinkError(endpoint, "cannot be bound: Address already in use")
        self._endpoint = endpoint
        self._network.bound[endpoint] = self
        for dealer, sought in list(self._network.dealers.items()):
            if sought == endpoint:
                dealer.joined(self)
        return endpoint

    def forget(self, peer: Frame) -> None:
        """It is kept as long as it is there."""

    def named(self, dealer: MemoryDealer) -> bytes:
        name = b"\0" + next(self._network.serials).to_bytes(4, "big")
        self.peers[name] = dealer
        return name

    def send(self, frames: Sequence[Frame], *, nudges: bool = True) -> None:
        self._require_open()
        dealer = self.peers.get(bytes(frames[0]))
        if dealer is not None:
            dealer.arrive([bytes(frame) for frame in frames[1:]], self._network.now_ns())

    def close(self, *, linger_ms: int = 0) -> None:
        self.wake()
        self.is_closed = True
        if self._network.bound.get(self._endpoint) is self:
            del self._network.bound[self._endpoint]
        for dealer in self.peers.values():
            dealer.left()
        self.peers = {}
