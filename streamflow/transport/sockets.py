"""What links and control need of a socket: ZeroMQ's, one in this process (`memory_socket`), or `direct_socket`.

`send` and `receive` never wait. One task at a time waits for a socket; what bounds its queue is the session's credit.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from streamflow.transport.napping import Napping
from streamflow.wire.values import Frame


class Socket(Protocol):
    """What both kinds have in common."""

    def send(self, frames: Sequence[Frame], *, nudges: bool = True) -> None:
        """Hand over one message. A router's first frame is the peer; to a peer that has gone it is dropped.

        Without `nudges` the task that waits may sleep on although something has arrived, until the next `nudge`.
        """

    def receive(self) -> list[Frame] | None:
        """The next message, at a router with its peer before it, or None when there is none."""

    def nudge(self) -> None:
        """Wake the waiting task if there is something to read: for whoever used the socket while it sleeps."""

    def nudge_later(self) -> None:
        """The same, for who does so again and again: at its next turn, where a look for each time would cost more."""

    def has_arrival(self) -> bool:
        """Whether there may be something to read: for one who waits awake."""

    def wake(self) -> None:
        """Make the waiting task look again; a wake before the wait is not lost."""

    async def wait_arrival(self) -> None:
        """Return when there may be something to read: at once, on arrival, or when somebody says so."""

    def napper(self, napping: Napping) -> Callable[[], bool] | None:
        """What sleeps until there may be something to read, and is False where a checkpoint is due first.

        In place of `wait_arrival`, for the one task that works on data. None: there is no such thing here.
        """

    def close(self, *, linger_ms: int = 0) -> None: ...


class DealerSocket(Socket, Protocol):
    """Talks to the one router that it is connected to."""

    def connect(self, endpoint: str) -> None:
        """Connect, now or when somebody binds there."""


class RouterSocket(Socket, Protocol):
    """Talks to every dealer that connects, and knows each by a name of its own."""

    def bind(self, endpoint: str) -> str:
        """Bind and return the endpoint to connect to."""

    def forget(self, peer: Frame) -> None:
        """Nothing more is wanted from it, or will be told to it: what is kept for it may go."""


class SocketContext(Protocol):
    """Where the sockets of a process come from."""

    def now_ns(self) -> int:
        """The instant that arrivals are stamped with."""

    def dealer(self) -> DealerSocket: ...
    def router(self) -> RouterSocket: ...
