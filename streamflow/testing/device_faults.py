"""A device on which something goes wrong as planned, whichever it is: for tests of what is to survive that."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import trio

from streamflow.device.contract import (
    Capabilities,
    Device,
    DeviceArray,
    DeviceLostError,
    DeviceMemoryError,
    Graph,
    Kernel,
    Mark,
    NoDeviceError,
    Queue,
    Refusal,
    Sharing,
    Ticket,
    Work,
    WorkError,
)
from streamflow.wire.arrays import Array

LOST = "an illegal memory access, as planned"


@dataclass(frozen=True, slots=True)
class DeviceFaults:
    """Tickets are counted from 0, over all queues of the device, allocations on it too."""

    raises: frozenset[int] = frozenset()
    """Tickets whose work fails."""
    never_done: frozenset[int] = frozenset()
    lost_at: int | None = None
    """This ticket and all that come after it tell that the device is lost."""
    no_room_at: int | None = None
    """This allocation and all later ones find no room."""
    is_absent: bool = False
    """It cannot be opened."""
    captures_nothing: bool = False
    registers_nothing: bool = False


@dataclass(slots=True)
class _Counts:
    tickets: int = 0
    allocations: int = 0


class FaultyDevice:
    """`device` with `faults`; a node cannot tell it from one that really fails."""

    def __init__(self, device: Device, faults: DeviceFaults) -> None:
        self.name = device.name
        self.xp: Any = device.xp
        self.place = device.place
        self._device = device
        self._faults = faults
        self._counts = _Counts()

    @property
    def capabilities(self) -> Capabilities:
        return self._device.capabilities

    @property
    def description(self) -> str:
        return self._device.description

    def open(self) -> None:
        if self._faults.is_absent:
            raise NoDeviceError(self.name, "it is not there, as planned")
        self._device.open()
        self.xp = self._device.xp

    def array(self, shape: Sequence[int], dtype: Any) -> DeviceArray:
        nth, self._counts.allocations = self._counts.allocations, self._counts.allocations + 1
        if self._faults.no_room_at is not None and nth >= self._faults.no_room_at:
            raise DeviceMemoryError(self.name, "there is no room, as planned")
        return self._device.array(shape, dtype)

    def pointer(self, array: DeviceArray) -> int:
        return self._device.pointer(array)

    def host_array(self, shape: Sequence[int], dtype: Any) -> Array:
        return self._device.host_array(shape, dtype)

    def mark(self) -> Mark:
        return self._device.mark()

    def queue(self, priority: int = 0) -> FaultyQueue:
        return FaultyQueue(self._device.queue(priority), self.name, self._faults, self._counts)

    def sharing(self) -> Sharing:
        return self._device.sharing()

    def capture(self, queue: Queue, work: Work, *arrays: DeviceArray) -> Graph | Refusal:
        assert isinstance(queue, FaultyQueue)
        if self._faults.captures_nothing:
            return Refusal("nothing can be captured, as planned")
        return self._device.capture(queue.queue, work, *arrays)

    def register(self, memory: Array) -> bool:
        return not self._faults.registers_nothing and self._device.register(memory)

    def kernel(self, source: str, name: str, constants: Mapping[str, int]) -> Kernel:
        return self._device.kernel(source, name, constants)

    def allocation_count(self) -> int:
        return self._device.allocation_count()

    def close(self) -> None:
        self._device.close()


class FaultyQueue:
    def __init__(self, queue: Queue, name: str, faults: DeviceFaults, counts: _Counts) -> None:
        self.queue = queue
        self.handle = queue.handle
        self._name = name
        self._faults = faults
        self._counts = counts
        self.copy_in = queue.copy_in
        self.copy_out = queue.copy_out
        self.launch = queue.launch
        self.replay = queue.replay
        self.record = queue.record
        self.wait_for = queue.wait_for
        self.close = queue.close

    def ticket(self) -> Ticket:
        nth, self._counts.tickets = self._counts.tickets, self._counts.tickets + 1
        ticket, faults = self.queue.ticket(), self._faults
        if faults.lost_at is not None and nth >= faults.lost_at:
            return _Failing(ticket, DeviceLostError(self._name, LOST))
        if nth in faults.raises:
            return _Failing(ticket, WorkError(self._name, "the work failed, as planned"))
        return _Never() if nth in faults.never_done else ticket


class _Failing:
    def __init__(self, ticket: Ticket, failure: Exception) -> None:
        self._ticket = ticket
        self.failure = failure
        self.device_ns = 0

    @property
    def is_done(self) -> bool:
        return self._ticket.is_done

    @property
    def done_ns(self) -> int:
        return self._ticket.done_ns

    async def wait(self) -> None:
        await self._ticket.wait()
        raise self.failure


@dataclass(slots=True)
class _Never:
    is_done: bool = False
    device_ns: int = 0
    done_ns: int = 0
    failure: BaseException | None = None

    async def wait(self) -> None:
        await trio.sleep_forever()
