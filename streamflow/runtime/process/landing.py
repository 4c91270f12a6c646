"""The receiving end of an edge by which tensors come from another process without leaving their device.

A message says where on the device a tensor is. Here it is copied to a tensor of this process's own, and the message
has arrived when that is done: the slot goes back, and what becomes of its owner is all the same. A message whose copy
was not whole when its owner died, or withdrew it, never arrives, nor what follows it: to the accounts it is what a
socket lost. On a GPU nobody says what a dead process's memory has in it. *Not taken*: to work in the owner's slot
itself, which saves a copy within the device (a microsecond a MB), and makes a doubtful result of each of its deaths.

It stands between a `SocketReceiver` and its socket, so links and accounts know nothing of it, nor do other edges.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from enum import Enum
from pathlib import Path
from typing import Any, Final

import numpy as np
import trio

from streamflow.core.timebase import ms
from streamflow.device.contract import Device, DeviceArray, DeviceError, DeviceLostError, DeviceMemoryError, Ticket
from streamflow.device.resident import DeviceTensor, TensorRing
from streamflow.device.shared_ring import Lent, SharedRingReader
from streamflow.device.shared_tensors import SUFFIX, hello_in
from streamflow.errors import PoolError, WireError
from streamflow.memory.lending import Borrowing
from streamflow.runtime.process.staying_lending import ON_DEVICE
from streamflow.transport.link import Bell
from streamflow.transport.napping import Napping
from streamflow.transport.sockets import DealerSocket, RouterSocket, SocketContext
from streamflow.wire.arrays import Array, Form
from streamflow.wire.data import Place, decode_datum, is_datum
from streamflow.wire.values import Frame

SLOT_MASK: Final = slice(64, 72)  # of a datum's head: which of its tensors are not in the message
LOOK_AGAIN_NS: Final = 100 * ms  # for a ring to open: a look costs as much as a datum
READ_BURST: Final = 64  # messages whose copies are begun before those that have landed are handed over


class _State(Enum):
    COPIED = "it is being copied"
    LANDED = "all of it is here"
    DOUBTFUL = "its owner died, or withdrew it, before it was"


class _Copy:
    """Of one tensor of a message."""

    __slots__ = ("key", "lent", "reader", "tensor")

    def __init__(self, key: Place, reader: SharedRingReader, lent: Lent, tensor: DeviceTensor | Array | None) -> None:
        self.key = key
        self.reader = reader
        self.lent = lent
        self.tensor = tensor


class _Arrival:
    """One message, in its place among the others. `failure`: of this process's own device."""

    __slots__ = ("_state", "copies", "failure", "frames", "ticket")

    def __init__(self, frames: list[Frame], copies: Sequence[_Copy] = (), ticket: Ticket | None = None) -> None:
        self.frames = frames
        self.copies = copies
        self.ticket = ticket
        self.failure: BaseException | None = None
        self._state = _State.LANDED if ticket is None else _State.COPIED

    def settled(self) -> _State:
        """As it is now; when the copies are done it is known for good. Only then their slots go back."""
        if self._state is _State.COPIED and self.ticket is not None and self.ticket.is_done:
            failure = self.ticket.failure
            is_whole = all(copy.reader.was_whole(copy.lent) for copy in self.copies)
            for copy in self.copies:
                copy.reader.give_back(copy.lent)
            if is_whole or isinstance(failure, DeviceLostError):
                self.failure = failure
                self._state = _State.LANDED
            else:
                self._state = _State.DOUBTFUL
        return self._state


class _Owner:
    """One life of the sender: its rings, by number, and a queue that copies from them."""

    def __init__(self, device: Device, priority: int, readers: dict[int, SharedRingReader]) -> None:
        self.readers = readers
        self.queue = device.queue(priority)
        self.copied: deque[_Arrival] = deque()
        self.bell = Bell()
        self.is_over = False

    @property
    def lives(self) -> bool:
        return all(reader.owner_lives for reader in self.readers.values())

    def has(self, place: Place) -> bool:
        reader = self.readers.get(place.segment)
        return reader is not None and reader.life == place.offset

    def close(self) -> None:
        self.queue.close()
        for reader in self.readers.values():
            with suppress(DeviceError):  # a driver may not like to close what a dead process shared
                reader.close()
        self.readers.clear()


class Landing:
    """Of one edge; made of the context that its socket is from, and a context for it."""

    def __init__(
        self, context: SocketContext, folder: Path, output: str, nth: int, count: int, exhausted: Callable[[int], None]
    ) -> None:
        """`output`: of its sender, as rings are named in `folder`; `nth` of its readers elsewhere. `count`: tensors of
        its own; where none is free, what `exhausted` is told, a copy on the host arrives."""
        self.now_ns = context.now_ns
        self._context = context
        self._router = context.router()
        self._folder = folder
        self._output = output
        self._nth = nth
        self._count = count
        self._exhausted = exhausted
        self._device: Device | None = None
        self._priority = 0
        self._own: dict[int, TensorRing] = {}
        self._look_again_ns = 0
        self._owner: _Owner | None = None
        self._former: list[_Owner] = []
        self._peer: Frame | None = None
        self._arrivals: deque[_Arrival] = deque()
        self._landed: dict[Place, DeviceTensor | Array | None] = {}
        self._nursery: trio.Nursery | None = None

    # ------------------------------------------------------------------------------ as a context

    def router(self) -> RouterSocket:
        return self

    def dealer(self) -> DealerSocket:
        return self._context.dealer()

    # -------------------------------------------------------------------------------- by its stage

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Until it is cancelled: wait for copies, which are the only thing that is waited for here."""
        async with trio.open_nursery() as self._nursery:
            task_status.started()
            await trio.sleep_forever()

    def begin(self, device: Device, priority: int) -> None:
        """The stage works on this device in this life."""
        if device.capabilities.has_ipc:
            self._device, self._priority = device, priority
            self._look()

    def landed(self, place: Place, form: Form) -> Any:
        """What a message that was received says is there. Raises WireError."""
        tensor = self._landed.pop(place, None)
        if tensor is None or (tensor.dtype, tuple(tensor.shape)) != (form.dtype, form.shape):
            raise WireError("Data", f"a tensor on a device at {place}", "one that was copied from there")
        return tensor

    # --------------------------------------------------------------------------------- as a socket

    def bind(self, endpoint: str) -> str:
        return self._router.bind(endpoint)

    def send(self, frames: Sequence[Frame], *, nudges: bool = True) -> None:
        self._router.send(frames, nudges=nudges)

    def receive(self) -> list[Frame] | None:
        """The next that has landed; nothing overtakes one that has not. Raises DeviceError of this process's device."""
        for _ in range(READ_BURST):
            frames = self._router.receive()
            if frames is None:
                break
            arrival = self._arrival(frames)
            if arrival.ticket is None and not self._arrivals:
                return frames
            self._arrivals.append(arrival)
        if not self._has_landed():
            return None
        arrival = self._arrivals.popleft()
        if arrival.failure is not None:
            raise arrival.failure
        for copy in arrival.copies:
            self._landed[copy.key] = copy.tensor
        return arrival.frames

    def _has_landed(self) -> bool:
        return bool(self._arrivals) and self._arrivals[0].settled() is _State.LANDED

    def nudge(self) -> None:
        self._router.nudge()
        if self._arrivals:
            self._router.wake()

    def nudge_later(self) -> None:
        self._router.nudge_later()

    def has_arrival(self) -> bool:
        return self._has_landed() or self._router.has_arrival()

    def wake(self) -> None:
        self._router.wake()

    async def wait_arrival(self) -> None:
        if self._has_landed():
            await trio.lowlevel.checkpoint()
        else:
            await self._router.wait_arrival()

    def napper(self, napping: Napping) -> None:
        """Who waits for a device waits in the loop."""

    def forget(self, peer: Frame) -> None:
        """It is over with that peer; if it is the owner, also with what of it has not landed."""
        self._router.forget(peer)
        self._arrivals = deque(arrival for arrival in self._arrivals if arrival.frames[0] != peer)
        if peer == self._peer:
            self._peer = None
            self._leave()

    def close(self, *, linger_ms: int = 0) -> None:
        self._leave()
        for owner in self._former:
            owner.close()
        self._former.clear()
        self._router.close(linger_ms=linger_ms)

    # ------------------------------------------------------------------------------------- copies

    def _arrival(self, frames: list[Frame]) -> _Arrival:
        """What has come, its copies begun. What names a ring that is not open here is refused where it is decoded."""
        datum = frames[1:]
        if self._device is None or not is_datum(datum):
            return _Arrival(frames)
        places = _places_in(datum)
        if not places:
            self._look()
            return _Arrival(frames)
        owner = self._owner
        if owner is None or not all(owner.has(place) for place in places):
            return _Arrival(frames)
        self._peer = frames[0]
        arrival = _Arrival(frames, [self._copy(owner, place) for place in places], owner.queue.ticket())
        owner.copied.append(arrival)
        owner.bell.ring()
        return arrival

    def _copy(self, owner: _Owner, place: Place) -> _Copy:
        reader, lent = owner.readers[place.segment], _lent(place)
        try:
            source = reader.borrow(lent, owner.queue)
        except WireError:  # withdrawn already: it will not have been whole
            return _Copy(place, reader, lent, None)
        tensor = self._own[place.segment].take()
        if tensor is None:
            host = np.empty(reader.shape, reader.dtype)
            owner.queue.copy_out(host, source)
            return _Copy(place, reader, lent, host)
        owner.queue.launch(_copy_to, tensor.array, source)
        owner.queue.record(tensor.ready)
        return _Copy(place, reader, lent, tensor)

    async def _land(self, owner: _Owner) -> None:
        """Until its life is over and all that was begun is done. Where a driver leaves that undone for ever, it is left
        behind: the next life has a queue of its own."""
        while owner.copied or not owner.is_over:
            if owner.copied:
                arrival = owner.copied.popleft()
                assert arrival.ticket is not None
                with suppress(DeviceError):  # it is told when the message is received
                    await arrival.ticket.wait()
                arrival.settled()
                self._router.wake()
            else:
                await owner.bell.wait()
        self._former.remove(owner)
        owner.close()

    def _look(self) -> None:
        """Open what the sender has there, where that is not done; and say that it is."""
        if self._owner is not None and not self._owner.lives:
            self._leave()
        if self._owner is None:
            self._open()
        if self._owner is not None:
            for reader in self._owner.readers.values():
                reader.tell_opened()

    def _open(self) -> None:
        now_ns = self.now_ns()
        if now_ns < self._look_again_ns:
            return
        self._look_again_ns = now_ns + LOOK_AGAIN_NS
        assert self._device is not None
        assert self._nursery is not None
        readers: dict[int, SharedRingReader] = {}
        for path in self._folder.glob(f"{self._output}.*{SUFFIX}"):
            number = int(path.name.split(".")[-2])
            reader = self._reader(self._device, number, path)
            if reader is not None:
                readers[number] = reader
        if readers:
            self._owner = _Owner(self._device, self._priority, readers)
            self._nursery.start_soon(self._land, self._owner)

    def _reader(self, device: Device, number: int, path: Path) -> SharedRingReader | None:
        """None where it is of a dead owner, on another device, or the driver does not open it: it is copied then."""
        try:
            name, hello = hello_in(path)
            if name != device.name:
                return None
            reader = SharedRingReader(device, hello, self._nth)
        except DeviceLostError:
            raise
        except (OSError, DeviceError, PoolError, WireError):
            return None
        own = self._own.get(number)
        if own is not None and own.is_like(reader.shape, reader.dtype):
            return reader
        try:
            self._own[number] = TensorRing(device, reader.shape, reader.dtype, self._count, self._exhausted)
        except DeviceMemoryError:
            reader.close()
            return None
        return reader

    def _leave(self) -> None:
        if self._owner is not None:
            owner, self._owner = self._owner, None
            self._former.append(owner)
            owner.is_over = True
            owner.bell.ring()


class LandedBorrowing:
    """A `Borrower` of what has landed, and of what came by way of the host."""

    def __init__(self, landing: Landing, borrowing: Borrowing) -> None:
        self._landing = landing
        self._borrowing = borrowing

    def array(self, place: Place, form: Form) -> Any:
        return self._landing.landed(place, form) if place.owner == ON_DEVICE else self._borrowing.array(place, form)

    def settle(self) -> None:
        self._borrowing.settle()

    def close(self) -> None:
        self._borrowing.close()


def _places_in(datum: Sequence[Frame]) -> list[Place]:
    """Of its tensors on a device. What is no datum has none, and is refused where it is decoded."""
    if not any(datum[0][SLOT_MASK]):
        return []
    found: list[Place] = []

    def seen(place: Place, form: Form) -> Any:
        if place.owner == ON_DEVICE:
            found.append(place)

    with suppress(WireError):
        decode_datum(datum, 0, seen)
    return found


def _lent(place: Place) -> Lent:
    return Lent(place.offset, place.slot, place.generation)


def _copy_to(to: DeviceArray, source: DeviceArray) -> None:
    to[...] = source
