"""The slots that one stage writes its large tensors into; each is written once and read in place by all who get it.

Sizes are in classes, four to every doubling, so that slots are used again: the one that came back last goes first,
since it is still in the cache, and fresh memory costs ten times what copying into it does. A slot is free when no
array of this process looks at it and every loan has come back, which the segments' tables say.
"""

from __future__ import annotations

import os
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from streamflow.errors import PoolError
from streamflow.memory.segment import HUGE_PAGE, PAGE, Segment
from streamflow.wire.arrays import Array
from streamflow.wire.data import INLINE_SIZE_LIMIT

FIRST_COUNT: Final = 4  # slots of the first segment of a class; each further one has twice as many
SHARE_OF_FREE: Final = 4  # a segment is made only if that many times its size are free: others need room too


class Slot:
    """One of a pool's, as its owner's process knows it."""

    __slots__ = ("generation", "key", "number", "root", "segment", "segment_number")

    def __init__(self, segment: Segment, segment_number: int, number: int) -> None:
        self.segment = segment
        self.segment_number = segment_number
        self.number = number
        self.generation = segment.generation(number)
        self.root: weakref.ref[Array] | None = None
        """The array that all others over the slot are views of."""
        self.key = 0
        """Its id, which may be another's when it is gone."""

    @property
    def is_free(self) -> bool:
        return (self.root is None or self.root() is None) and not self.segment.is_lent(self.number)


class _Class:
    __slots__ = ("busy", "free", "segment_count")

    def __init__(self) -> None:
        self.free: list[Slot] = []
        self.busy: list[Slot] = []
        self.segment_count = 0

    def take_back(self) -> None:
        """Find out which have come back."""
        back = [slot for slot in self.busy if slot.is_free]
        if back:
            self.busy = [slot for slot in self.busy if slot not in back]
            self.free += back


class Pool:
    """Of one stage, over all its lives."""

    def __init__(self, folder: Path, stage: str, edge_count: int, limit: int | None = None) -> None:
        """`edge_count`: of those downstream of the stage. `limit`: bytes of slots, beyond which there are no more."""
        self._folder = folder
        self._stage = stage
        self._edge_count = edge_count
        self._limit = limit
        self._classes: dict[int, _Class] = {}
        self._segments: list[Segment] = []
        self._by_root: dict[int, Slot] = {}
        self.size = 0
        while (path := self._path(len(self._segments))).exists():
            self._add(Segment(path, is_owner=True))

    def _path(self, number: int) -> Path:
        return self._folder / f"{self._stage}.{number}.pool"

    def reserve(self, size: int, count: int) -> bool:
        """Make so many slots for tensors of that size now, if there are not as many; whether there was room."""
        size = class_of(size)
        own = self._classes.setdefault(size, _Class())
        missing = count - len(own.free) - len(own.busy)
        if self._limit is not None:
            missing = min(missing, (self._limit - self.size) // size)
        return missing <= 0 or self._make(size, missing)

    def allocate(self, shape: Sequence[int], dtype: Any) -> Array | None:
        """A writeable array in a slot of its own; None where it is too small for one, or no slot is free."""
        dtype = np.dtype(dtype)
        size = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
        if size <= INLINE_SIZE_LIMIT or dtype.hasobject:
            return None
        slot = self._free_slot(class_of(size))
        if slot is None:
            return None
        slot.generation = slot.segment.renew(slot.number)
        start = slot.number * slot.segment.slot_size
        array: Array = np.ndarray(tuple(shape), dtype, slot.segment.slots, start)
        if self._by_root.get(slot.key) is slot:
            del self._by_root[slot.key]
        slot.root = weakref.ref(array)
        slot.key = id(array)
        self._by_root[slot.key] = slot
        return array

    def where(self, root: Array) -> Slot | None:
        """The slot that an array which is no view was allocated in; None where it is in none of these."""
        slot = self._by_root.get(id(root))
        return slot if slot is not None and slot.root is not None and slot.root() is root else None

    def close(self) -> None:
        for segment in self._segments:
            segment.close()

    def _free_slot(self, size: int) -> Slot | None:
        own = self._classes.setdefault(size, _Class())
        own.take_back()
        if not own.free and self._grow(size, own):
            own.take_back()
        if not own.free:
            return None
        slot = own.free.pop()
        own.busy.append(slot)
        return slot

    def _grow(self, size: int, own: _Class) -> bool:
        count = FIRST_COUNT << own.segment_count
        while count and not self._has_room(count * size):
            count //= 2
        if not count:
            return False
        return self._make(size, count)

    def _make(self, size: int, count: int) -> bool:
        path = self._path(len(self._segments))
        try:
            self._add(Segment.create(path, count, size, self._edge_count))
        except PoolError:
            return False
        return True

    def _has_room(self, size: int) -> bool:
        stat = os.statvfs(self._folder)
        is_within = self._limit is None or self.size + size <= self._limit
        return is_within and size * SHARE_OF_FREE <= stat.f_bavail * stat.f_frsize

    def _add(self, segment: Segment) -> None:
        own = self._classes.setdefault(segment.slot_size, _Class())
        for number in range(segment.slot_count):
            own.busy.append(Slot(segment, len(self._segments), number))  # the next look finds out which are free
        own.segment_count += 1
        self._segments.append(segment)
        self.size += segment.slot_count * segment.slot_size


def class_of(size: int) -> int:
    """The size of the slots for so many bytes: at most a quarter more, in whole pages."""
    step = max(1 << max(size - 1, 1).bit_length() - 3, PAGE)
    rounded = -(-size // step) * step
    page = HUGE_PAGE if rounded >= 8 * HUGE_PAGE else PAGE
    return -(-rounded // page) * page


def root_of(array: Array) -> Array:
    """The array that it is a view of."""
    while isinstance(array.base, np.ndarray):
        array = array.base
    return array


def address_of(array: Array) -> int:
    """Of its first byte, in this process."""
    address: int = array.__array_interface__["data"][0]
    return address
