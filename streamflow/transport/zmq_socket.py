"""A ZeroMQ socket in trio: try first, wait on the descriptor only when nothing is there.

The descriptor is edge-triggered and says no more than "look at EVENTS": every operation on the socket may
consume its signal. So the waiter looks at EVENTS before it sleeps, and whoever sends or reads while another
task sleeps looks again afterwards and wakes it. One task at a time waits; one thread uses the socket.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from types import TracebackType
from typing import Final

import trio
import zmq

from streamflow.errors import ClosedLinkError, LinkError
from streamflow.transport.napping import Napping
from streamflow.wire.arrays import TENSOR_SIZE_LIMIT
from streamflow.wire.values import Frame

# Plain integers: pyzmq's flags are enum members, and `a | b` on those costs more than the call they are for.
_NOBLOCK: Final = int(zmq.NOBLOCK)
_MORE: Final = int(zmq.NOBLOCK | zmq.SNDMORE)
_EVENTS: Final = int(zmq.EVENTS)
_POLLIN: Final = int(zmq.POLLIN)
_HAS_MORE: Final = int(zmq.RCVMORE)
# The backend's own methods: what pyzmq puts before them costs as much as they do.
_send: Final = zmq.backend.Socket.send
_receive: Final = zmq.backend.Socket.recv
_get: Final = zmq.backend.Socket.get
STREAK: Final = 2  # after so many messages without a gap the next is taken to be there
_LOOPBACK: Final = re.compile(r"tcp://(127\.\d+\.\d+\.\d+|localhost|\[::1\]):(\d+|\*)")
IPC_PATH_LIMIT: Final = 107  # bytes; sockaddr_un.sun_path less its terminator


def capabilities() -> dict[str, str | bool]:
    """What the installed ZeroMQ is and can do: versions, `ipc` and `curve` (keys for links between hosts)."""
    return {
        "libzmq": zmq.zmq_version(),
        "pyzmq": zmq.pyzmq_version(),
        "ipc": bool(zmq.has("ipc")),
        "curve": bool(zmq.has("curve")),
    }


class ZmqContext:
    """The ZeroMQ context of one process; closing it never waits for unsent messages."""

    def __init__(self, now_ns: Callable[[], int] = time.monotonic_ns) -> None:
        self._context = zmq.Context()
        self.now_ns = now_ns

    def dealer(self) -> ZmqSocket:
        return ZmqSocket(self._context.socket(zmq.DEALER), names_peers=False)

    def router(self) -> ZmqSocket:
        return ZmqSocket(self._context.socket(zmq.ROUTER), names_peers=True)

    def close(self) -> None:
        self._context.destroy(linger=0)

    def __enter__(self) -> ZmqContext:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class ZmqSocket:
    """Made by `ZmqContext`. `send` and `receive` never wait; what bounds the queue is the session's credit."""

    def __init__(self, socket: zmq.Socket[bytes], *, names_peers: bool) -> None:
        """`names_peers`: a message begins with a frame that says whose it is."""
        self._socket = socket
        self._names_peers = names_peers
        self._streak = 0  # messages received since there was none
        self._fd = socket.fileno()
        self._is_waiting = False
        self._is_woken = False
        self._is_closed = False
        self._is_known_empty = False  # as of the last look, since when nothing was done that could eat a signal
        socket.setsockopt(zmq.LINGER, 0)
        socket.setsockopt(zmq.SNDHWM, 0)
        socket.setsockopt(zmq.RCVHWM, 0)
        socket.setsockopt(zmq.MAXMSGSIZE, TENSOR_SIZE_LIMIT)

    def fileno(self) -> int:
        """To wait for together with others: it says no more than "look with `receive`", and only once."""
        return self._fd

    def forget(self, peer: Frame) -> None:
        """Nothing is kept for a peer here."""

    def bind(self, endpoint: str) -> str:
        """Bind and return the endpoint to connect to; `tcp://127.0.0.1:*` picks a free port. Closed when it fails."""
        with self._closed_on_failure():
            _check_endpoint(endpoint)
            try:
                self._socket.bind(endpoint)
            except zmq.ZMQError as error:
                raise LinkError(endpoint, f"cannot be bound: {error.strerror}") from None
            if endpoint.startswith("ipc://"):
                os.chmod(endpoint.removeprefix("ipc://"), 0o600)
            bound = self._socket.getsockopt(zmq.LAST_ENDPOINT)
            assert isinstance(bound, bytes)
            return bound.rstrip(b"\0").decode()

    def connect(self, endpoint: str) -> None:
        """Connect, now or when somebody binds there. Closed when it fails."""
        with self._closed_on_failure():
            _check_endpoint(endpoint)
            try:
                self._socket.connect(endpoint)
            except zmq.ZMQError as error:
                raise LinkError(endpoint, f"cannot be connected to: {error.strerror}") from None

    @contextmanager
    def _closed_on_failure(self) -> Iterator[None]:
        try:
            yield
        except BaseException:
            self.close()
            raise

    def send(self, frames: Sequence[Frame], *, nudges: bool = True) -> None:
        """Hand over one message. To a router's unknown peer it is dropped: the peer has gone."""
        if self._is_closed:
            raise ClosedLinkError("socket", "closed")
        self._is_known_empty = False
        for frame in frames[:-1]:
            _send(self._socket, frame, _MORE)
        _send(self._socket, frames[-1], _NOBLOCK)
        if nudges:
            self.nudge()

    def receive(self) -> list[Frame] | None:
        """The next message, or None when there is none. Tensor frames are views, not copies."""
        socket = self._socket
        # A look at EVENTS costs a third of the exception that says the same, and half of a message.
        if self._streak < STREAK and not self.has_arrival():
            self._streak = 0
            return None
        # The peer and the head are copied, for pyzmq's own frame costs more than that; large tensors come after them.
        try:
            frames: list[Frame] = [_receive(socket, _NOBLOCK)]
        except zmq.Again:
            self._streak = 0
            self._is_known_empty = True
            return None
        self._streak += 1
        self._is_known_empty = False
        if self._names_peers or _get(socket, _HAS_MORE):
            frames.append(_receive(socket, _NOBLOCK))
            while _get(socket, _HAS_MORE):
                frames.append(_receive(socket, _NOBLOCK, False).buffer)
        return frames

    def nudge(self) -> None:
        """Wake the waiting task if there is something to read: for whoever used the socket while it sleeps."""
        if self._is_waiting and self.has_arrival():
            trio.lowlevel.notify_closing(self._fd)

    def has_arrival(self) -> bool:
        events = _get(self._socket, _EVENTS)
        assert isinstance(events, int)
        has_arrival = bool(events & _POLLIN)
        self._is_known_empty = not has_arrival
        return has_arrival

    def nudge_later(self) -> None:
        """Where a look now costs as much as one at its next turn."""
        if not self._is_woken:
            self.wake()

    def wake(self) -> None:
        """Make the waiting task look again; a wake before the wait is not lost."""
        self._is_woken = True
        if self._is_waiting:
            trio.lowlevel.notify_closing(self._fd)  # nothing is closed: it costs less than a cancel scope for each wait

    def napper(self, napping: Napping) -> Callable[[], bool]:
        return partial(self._naps, napping)

    def _naps(self, napping: Napping) -> bool:
        if self._is_woken:
            self._is_woken = False
            return False
        return (not self._is_known_empty and self.has_arrival()) or napping.sleeps(self._fd)

    async def wait_arrival(self) -> None:
        """Return when there may be something to read: at once, on arrival, or when somebody says so."""
        if self._is_woken or (not self._is_known_empty and self.has_arrival()):
            await trio.lowlevel.checkpoint()
        else:
            self._is_waiting = True
            try:
                await trio.lowlevel.wait_readable(self._fd)
            except trio.ClosedResourceError:
                pass  # somebody says so
            finally:
                self._is_waiting = False
        self._is_woken = False

    def close(self, *, linger_ms: int = 0) -> None:
        """Close; what was sent last has `linger_ms` to leave, and closing the context waits so long for it."""
        self.wake()
        self._is_closed = True
        self._socket.close(linger=linger_ms)


def _check_endpoint(endpoint: str) -> None:
    if endpoint.startswith("ipc://"):
        path = endpoint.removeprefix("ipc://")
        if len(os.fsencode(path)) > IPC_PATH_LIMIT:
            limit = f"at most {IPC_PATH_LIMIT} bytes"
            raise LinkError(endpoint, "a socket path that is too long", limit, "set TMPDIR to a shorter one")
    elif not _LOOPBACK.fullmatch(endpoint):
        hint = "links have no keys yet: use an ssh tunnel"
        raise LinkError(endpoint, "not on this host", "a loopback address", hint)
