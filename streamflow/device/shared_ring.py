"""Slots on a device that one process writes and others read in place: opened once, then a message is a slot's number.

    owner    takes a free slot, gives its queue the work that writes it, lends it: a mark says when it is written
    reader   is told (slot, generation), lets its queue wait for that mark, gives the slot back when its work is done

Who has which slot stands in the table of a segment of shared memory, as for tensors of the host (`memory.segment`):
each word has one writer, a slot is free when for each edge it came back as often as it was lent, and nobody sends a
message for that. What a dead reader had is nobody's when the owner hears of the death (`forget`), for its work on the
device died with it; a slot that is lent is not used again, and its generation tells a reader when it was all the same.

An owner's life is over with its process, and so is all that it had on the device: the next life makes another ring, by
another name, and tells it anew (`hello`). What was told of the old one does not fit the new, and is refused. What a GPU
has of a dead owner's memory nobody says: so who has read asks afterwards whether it was still lent, by one who lived.

The table has a row more than there are slots: lent to each reader until it has opened the ring, and again when it dies.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np

from streamflow.device.contract import Device, DeviceArray, Mark, Queue
from streamflow.device.owner_life import OwnerLife
from streamflow.errors import PoolError, WireError
from streamflow.memory.segment import Segment
from streamflow.wire.values import pack, unpack

UNUSED_SIZE: Final = 8  # of a segment's slots: they are on the device, and only the table is used
HELLO_LENGTH: Final = 7


class Lent(NamedTuple):
    """What a message says. `life`: of the ring, so that what another one lent is told apart."""

    life: int
    slot: int
    generation: int


class SharedSlot:
    """One that nobody else has, until it is lent."""

    __slots__ = ("array", "generation", "number", "written")

    def __init__(self, number: int, array: DeviceArray, written: Mark) -> None:
        self.number: Final = number
        self.array: Final = array
        self.written: Final = written
        self.generation = 0


class SharedRing:
    """The owner's end, of one life. Not thread-safe: it belongs to the loop."""

    def __init__(
        self,
        device: Device,
        folder: Path,
        name: str,
        life: int,
        shape: Sequence[int],
        dtype: Any,
        slot_count: int,
        edge_count: int = 1,
    ) -> None:
        """`folder`: in memory, where readers find the table. `edge_count`: of readers that there may be at once.

        Raises DeviceMemoryError, NoDeviceError where the device shares nothing, PoolError.
        """
        self._life = life
        self._sharing = device.sharing()
        self._shape = tuple(shape)
        self._dtype = np.dtype(dtype)
        for old in folder.glob(f"{name}.*.slots"):  # of a life that is over
            old.unlink()
        self._segment = Segment.create(folder / f"{name}.{life}.slots", slot_count + 1, UNUSED_SIZE, edge_count)
        for edge in range(edge_count):
            self._segment.lend(slot_count, edge)
        try:
            self._all = self._sharing.array((slot_count, *self._shape), self._dtype)
            marks = [self._sharing.mark() for _ in range(slot_count)]
        except BaseException:
            self._close()
            raise
        self.slots = [SharedSlot(number, self._all[number, ...], mark) for number, mark in enumerate(marks)]
        self._free = deque(self.slots)
        self._lent: list[SharedSlot] = []

    def hello(self) -> bytes:
        """All that a reader needs to open it."""
        marks = [self._sharing.handle(slot.written) for slot in self.slots]
        memory = self._sharing.handle(self._all)
        path, pid = str(self._segment.path), os.getpid()
        return pack([self._life, path, memory, list(self._shape), self._dtype.str, marks, pid])

    def take(self) -> SharedSlot | None:
        """One that nobody has; None while all are lent."""
        if not self._free:
            self._take_back()
            if not self._free:
                return None
        slot = self._free.popleft()
        slot.generation = self._segment.renew(slot.number)
        return slot

    def lend(self, slot: SharedSlot, queue: Queue, edges: Sequence[int] = (0,)) -> Lent:
        """To the readers of these edges, each of whom is to be told: it is written when `queue` comes to here."""
        queue.record(slot.written)
        for edge in edges:
            self.lend_on(slot, edge)
        self.let_go(slot)
        return Lent(self._life, slot.number, slot.generation)

    def lend_on(self, slot: SharedSlot, edge: int) -> Lent:
        """To one reader, and perhaps to others after it, of what a queue writes that its mark is recorded in."""
        self._segment.lend(slot.number, edge)
        return Lent(self._life, slot.number, slot.generation)

    def let_go(self, slot: SharedSlot) -> None:
        """It is lent to nobody else: free when all who have it gave it back."""
        self._lent.append(slot)

    def put_back(self, slot: SharedSlot) -> None:
        """What was to be written there has failed, and a ticket given after it is done."""
        self._free.append(slot)

    def forget(self, edge: int = 0) -> None:
        """The process of the edge's reader is dead, and so is the work on the device that it had given."""
        for slot in self.slots:
            self._segment.forget(slot.number, edge)
        self._segment.lend(len(self.slots), edge)

    @property
    def is_opened(self) -> bool:
        """By all of its readers."""
        return not self._segment.is_lent(len(self.slots))

    def withdraw(self) -> None:
        """What is lent is not to be relied on any more: its memory may be gone before who reads it knows."""
        for slot in self.slots:
            self._segment.renew(slot.number)

    @property
    def lent_count(self) -> int:
        self._take_back()
        return len(self._lent)

    def close(self) -> None:
        """Readers have closed it, or are dead, and no queue writes to it any more."""
        self._free.clear()
        self._lent.clear()
        self.slots.clear()
        del self._all
        self._close()

    def _close(self) -> None:
        self._segment.close()
        with suppress(FileNotFoundError):  # the next life has done it
            self._segment.path.unlink()
        self._sharing.close()

    def _take_back(self) -> None:
        still = [slot for slot in self._lent if self._segment.is_lent(slot.number)]
        if len(still) < len(self._lent):
            self._free += [slot for slot in self._lent if slot not in still]
            self._lent = still


class SharedRingReader:
    """The end of one reader, of one life of its owner."""

    def __init__(self, device: Device, hello: bytes, edge: int = 0) -> None:
        """Raises DeviceError or PoolError where the owner is gone, WireError for what is no hello."""
        told = unpack(hello)
        if not isinstance(told, list) or len(told) != HELLO_LENGTH:
            raise WireError(
                "shared ring", "a malformed hello", "its life, table, memory, shape, dtype, marks and owner"
            )
        self.life, path, memory, shape, dtype, marks, pid = told
        self._slot_count = len(marks)
        self._edge = edge
        self._owner = OwnerLife(pid)
        self._segment = Segment(Path(path), is_owner=False)
        self._sharing = device.sharing()
        try:
            if self._segment.slot_count != len(marks) + 1 or edge >= self._segment.edge_count:
                found = f"{self._segment.slot_count - 1} slots for {self._segment.edge_count} edges"
                raise PoolError(path, found, f"{len(marks)}, and edge {edge}")
            self._all = self._sharing.array_of(memory, (len(marks), *shape), np.dtype(dtype))
            self._written = [self._sharing.mark_of(mark) for mark in marks]
        except BaseException:
            self._segment.close()
            self._sharing.close()
            self._owner.close()
            raise

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self._all.shape[1:])

    @property
    def dtype(self) -> np.dtype[Any]:
        dtype: np.dtype[Any] = np.dtype(self._all.dtype)
        return dtype

    def settle(self) -> None:
        """Before the owner lends anything to this reader: what a former one had is nobody's."""
        for slot in range(self._slot_count):
            self._segment.settle(slot, self._edge, 0)

    def tell_opened(self) -> None:
        """The owner may lend to this reader. Told again it does no harm: an owner that hears of the death of a former
        reader only now has forgotten it."""
        self._segment.settle(self._slot_count, self._edge, 0)

    @property
    def owner_lives(self) -> bool:
        return self._owner.goes_on

    def borrow(self, lent: Lent, queue: Queue) -> DeviceArray:
        """What is there, for what the queue is given from now on; not to be written to.

        Raises WireError where it is none of this life, or is used again.
        """
        if lent.life != self.life:
            raise WireError("shared ring", f"a slot of life {lent.life}", f"one of life {self.life}")
        if not 0 <= lent.slot < self._slot_count:
            raise WireError("shared ring", f"slot {lent.slot}", f"one of {self._slot_count}")
        self.require_still(lent)
        queue.wait_for(self._written[lent.slot])
        return self._all[lent.slot, ...]

    def require_still(self, lent: Lent) -> None:
        """Raises WireError where the slot is used again, as it can be only by a fault of the protocol."""
        generation = self._segment.generation(lent.slot)
        if generation != lent.generation:
            raise WireError("shared ring", f"slot {lent.slot} is used again ({generation})", f"{lent.generation}")

    def was_whole(self, lent: Lent) -> bool:
        """Of what was read there until now: it was still lent, and its owner's memory is there."""
        return self._segment.generation(lent.slot) == lent.generation and self.owner_lives

    def give_back(self, lent: Lent) -> None:
        """A ticket that was given after all work on it is done."""
        self._segment.give_back(lent.slot, self._edge)

    def close(self) -> None:
        """No queue reads from it any more."""
        self._segment.close()
        del self._all
        self._written.clear()
        self._sharing.close()
        self._owner.close()
