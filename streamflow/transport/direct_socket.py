"""Sockets between processes of one host whose messages go through shared memory: one wake a message, not three.

ZeroMQ wakes its own thread at either end before it wakes the reader. Here a dealer greets over ZeroMQ and names two
rings with its first message; from then on both ends use those, and ZeroMQ is for others who knock. Where the reader
sleeps, the writer rings after a message: it writes a byte to a pipe of the reader's that trio waits for.

Pipes with names stand where eventfds could: they need no third socket to hand descriptors over by, and cost the same.
As soon as both ends have opened rings and pipes their names are removed, so a kill leaves nothing of them. What one
leaves that came before that, the next connection sweeps.
"""

from __future__ import annotations

import os
import select
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from itertools import count
from pathlib import Path
from typing import Final

import trio

from streamflow.errors import ClosedLinkError, LinkError, PoolError
from streamflow.memory.ring import RingReader, RingWriter, make_ring
from streamflow.transport.napping import LONGEST_S, Napping
from streamflow.transport.zmq_socket import ZmqContext, ZmqSocket
from streamflow.wire.values import Frame

# Bytes of the ring for data: what is on its way at once should fit; more waits at the writer.
FORTH_SIZE: Final = 1 << 20
BACK_SIZE: Final = 1 << 16  # for credits
TRY_AGAIN_S: Final = 0.001  # how long what did not fit waits before it is tried again
KNOCKS_EVERY: Final = 64  # messages after which a busy reader looks whether somebody knocks
_serials = count()


class DirectContext:
    """The sockets of one process; `folder` is in memory and known to both ends."""

    def __init__(self, zmq: ZmqContext, folder: Path) -> None:
        self._zmq = zmq
        self._folder = folder
        self.now_ns = zmq.now_ns

    def dealer(self) -> DirectDealer:
        return DirectDealer(self._zmq.dealer(), self._folder)

    def router(self) -> DirectRouter:
        return DirectRouter(self._zmq.router(), self._folder)


class _Names:
    """The files of one connection, while they have names."""

    def __init__(self, folder: Path, name: str) -> None:
        self.forth, self.back = folder / f"{name}.forth.ring", folder / f"{name}.back.ring"
        self.forth_bell, self.back_bell = folder / f"{name}.forth.bell.ring", folder / f"{name}.back.bell.ring"

    def __iter__(self) -> Iterator[Path]:
        yield from (self.forth, self.back, self.forth_bell, self.back_bell)

    def make(self) -> None:
        """Raises PoolError where there is no room."""
        try:
            make_ring(self.forth, FORTH_SIZE)
            make_ring(self.back, BACK_SIZE)
            for bell in (self.forth_bell, self.back_bell):
                os.mkfifo(bell, 0o600)
        except (OSError, PoolError):
            self.remove()
            raise

    def remove(self) -> None:
        for path in self:
            path.unlink(missing_ok=True)


def _sweep(folder: Path) -> None:
    """Remove what those have left who were killed before the other end had opened it."""
    for path in folder.glob("*.ring"):
        pid = path.name.partition("-")[0]
        if pid.isdecimal() and not Path("/proc", pid).exists():
            path.unlink(missing_ok=True)


class Connection:
    """Two rings and two bells, as one end has them."""

    def __init__(self, names: _Names, *, is_dealer: bool) -> None:
        """Raises PoolError or OSError where they are not there."""
        forth, back = (names.forth, names.forth_bell), (names.back, names.back_bell)
        (out, out_bell), (incoming, own_bell) = (forth, back) if is_dealer else (back, forth)
        self.bell = self._other_bell = -1
        self.reader = RingReader(incoming)
        try:
            self.writer = RingWriter(out)
            self.bell = _open_bell(own_bell)
            self._other_bell = _open_bell(out_bell)
        except (OSError, PoolError):
            self.close()
            raise

    def send(self, frames: Sequence[Frame]) -> None:
        self.writer.write(frames)
        if self.writer.must_wake():
            self._ring()

    def flush(self) -> None:
        """Try again what did not fit."""
        if self.writer.has_waiting and self.writer.flush() and self.writer.must_wake():
            self._ring()

    def _ring(self) -> None:
        with suppress(BlockingIOError):  # full of rings that were not heard yet: it will wake
            os.write(self._other_bell, b"\1")

    def hears(self) -> bool:
        """Whether it was rung; what for is looked for after that."""
        try:
            return bool(os.read(self.bell, 4096))
        except BlockingIOError:
            return False

    def close(self) -> None:
        self.reader.close()
        if hasattr(self, "writer"):
            self.writer.close()
        for descriptor in (self.bell, self._other_bell):
            if descriptor >= 0:
                os.close(descriptor)


def _open_bell(path: Path) -> int:
    """For reading and writing: so an end that is alone does not see the end of a file, and is not refused."""
    return os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)


class _DirectSocket:
    """What dealer and router have in common: waiting for bells and for ZeroMQ together."""

    def __init__(self, zmq: ZmqSocket, folder: Path) -> None:
        self._zmq = zmq
        self._folder = folder
        self._connections: dict[Frame, Connection] = {}
        self._epoll = select.epoll()
        self._descriptor = self._epoll.fileno()
        self._epoll.register(zmq.fileno(), select.EPOLLIN)
        self._may_be_knocked = True  # ZeroMQ's descriptor tells of an arrival once; any use of the socket may eat that
        self._since_knock = 0
        self._is_waiting = False
        self._is_woken = False
        self._has_rung = False  # a ring, or a knock, that ended the last nap and was not taken yet
        self._is_closed = False

    def _add(self, peer: Frame, connection: Connection) -> None:
        self._connections[peer] = connection
        self._epoll.register(connection.bell, select.EPOLLIN)
        if self._is_waiting:
            self.wake()  # and fall asleep again with this one too, which else would not be rung

    def _remove(self, peer: Frame) -> None:
        connection = self._connections.pop(peer, None)
        if connection is not None:
            self._epoll.unregister(connection.bell)
            connection.close()

    def has_arrival(self) -> bool:
        """Whether a message is there; without a look at ZeroMQ, which costs more."""
        return any(connection.reader.has_arrival() for connection in self._connections.values())

    def nudge(self) -> None:
        """Nothing is eaten: who waits is woken by its bell. What did not fit may fit now."""
        for connection in self._connections.values():
            connection.flush()

    def nudge_later(self) -> None:
        """Who waits is woken by its bell."""

    def wake(self) -> None:
        self._is_woken = True
        if self._is_waiting:
            trio.lowlevel.notify_closing(self._epoll.fileno())

    def napper(self, napping: Napping) -> Callable[[], bool]:
        return partial(self._naps, napping)

    def _naps(self, napping: Napping) -> bool:
        """The rings that woke it are taken before it sleeps again: that is not in the way of what they were for."""
        if self._is_woken:
            self._is_woken = False
            return False
        if self._has_rung:
            self._has_rung = False
            self._hear()
        if self._may_be_knocked:
            return True
        connections = self._connections.values()
        longest_s = LONGEST_S
        is_quiet = True
        for connection in connections:
            is_quiet = connection.reader.falls_asleep() and is_quiet
            if connection.writer.has_waiting:
                connection.flush()
                longest_s = TRY_AGAIN_S
        self._has_rung = is_quiet and napping.sleeps(self._descriptor, longest_s)
        for connection in connections:
            connection.reader.wakes_up()
        return self._has_rung or not is_quiet

    async def wait_arrival(self) -> None:
        if self._is_woken or self._may_be_knocked or self.has_arrival():
            await trio.lowlevel.checkpoint()
        else:
            self._is_waiting = True
            try:
                await self._fall_asleep()
            except trio.ClosedResourceError:
                pass  # somebody says so
            finally:
                self._is_waiting = False
                for connection in self._connections.values():
                    connection.reader.wakes_up()
        self._is_woken = False

    async def _fall_asleep(self) -> None:
        """Unless something comes before all writers know that they must ring."""
        is_quiet = True
        for connection in self._connections.values():
            is_quiet = connection.reader.falls_asleep() and is_quiet
        if is_quiet:
            await self._sleep()
            self._hear()
        else:
            await trio.lowlevel.checkpoint()

    async def _sleep(self) -> None:
        if any(connection.writer.has_waiting for connection in self._connections.values()):
            with trio.move_on_after(TRY_AGAIN_S):
                await trio.lowlevel.wait_readable(self._epoll.fileno())
            self.nudge()
        else:
            await trio.lowlevel.wait_readable(self._epoll.fileno())

    def _hear(self) -> None:
        """Take the rings. Where there were none, ZeroMQ may have something."""
        has_rung = False
        for connection in self._connections.values():
            has_rung = connection.hears() or has_rung
        if not has_rung:
            self._may_be_knocked = True

    def _knock(self) -> list[Frame] | None:
        """What has come over ZeroMQ: looked for where its descriptor says so, and now and then."""
        frames = self._zmq.receive()
        self._may_be_knocked = frames is not None
        self._since_knock = 0
        return frames

    def close(self, *, linger_ms: int = 0) -> None:
        if self._is_closed:
            return
        self.wake()
        self._is_closed = True
        for peer in list(self._connections):
            self._remove(peer)
        self._epoll.close()
        self._zmq.close(linger_ms=linger_ms)


class DirectDealer(_DirectSocket):
    """Connects to a `DirectRouter`; its first message names the rings."""

    _PEER = b""

    def __init__(self, zmq: ZmqSocket, folder: Path) -> None:
        super().__init__(zmq, folder)
        self._name = f"{os.getpid()}-{next(_serials)}"
        self._names = _Names(folder, self._name)
        self._has_greeted = False

    def connect(self, endpoint: str) -> None:
        """Raises LinkError, and is closed then."""
        self._zmq.connect(endpoint)
        _sweep(self._folder)
        try:
            self._names.make()
            self._add(self._PEER, Connection(self._names, is_dealer=True))
        except (OSError, PoolError) as error:
            self.close()
            hint = "make room in /dev/shm, or run without --link direct"
            raise LinkError(endpoint, f"a direct link cannot be made: {error}", hint=hint) from None

    def send(self, frames: Sequence[Frame], *, nudges: bool = True) -> None:
        if self._is_closed:
            raise ClosedLinkError("socket", "closed")
        if self._has_greeted:
            self._connections[self._PEER].send(frames)
            return
        self._has_greeted = True
        self._zmq.send([*frames, self._name.encode()])
        self._may_be_knocked = True

    def receive(self) -> list[Frame] | None:
        frames = self._connections[self._PEER].reader.read()
        if frames is not None:
            return frames
        return self._knock() if self._may_be_knocked else None

    def close(self, *, linger_ms: int = 0) -> None:
        super().close(linger_ms=linger_ms)
        self._names.remove()


class DirectRouter(_DirectSocket):
    """Binds; knows each dealer by the name that ZeroMQ gave it."""

    def bind(self, endpoint: str) -> str:
        return self._zmq.bind(endpoint)

    def send(self, frames: Sequence[Frame], *, nudges: bool = True) -> None:
        if self._is_closed:
            raise ClosedLinkError("socket", "closed")
        connection = self._connections.get(frames[0])
        if connection is not None:
            connection.send(frames[1:])
        else:
            self._zmq.send(frames)
            self._may_be_knocked = True

    def receive(self) -> list[Frame] | None:
        if self._since_knock < KNOCKS_EVERY:
            self._since_knock += 1
            for peer, connection in self._connections.items():
                frames = connection.reader.read()
                if frames is not None:
                    return [peer, *frames]
            if not self._may_be_knocked:
                return None
        return self._introduced(self._knock())

    def _introduced(self, frames: list[Frame] | None) -> list[Frame] | None:
        """A knock as what it says, once the rings that it names are open. Who names none talks over ZeroMQ."""
        if frames is None or len(frames) != 3:
            return frames
        peer, greeting, name = frames
        names = _Names(self._folder, Path(bytes(name).decode(errors="replace")).name)
        try:
            connection = Connection(names, is_dealer=False)
        except (OSError, PoolError, ValueError):
            return frames
        names.remove()
        _sweep(self._folder)
        self._add(peer, connection)
        return [peer, greeting]

    def forget(self, peer: Frame) -> None:
        """What it was told last is in its ring."""
        self._remove(peer)
