"""A file of recurrent states as anybody reads it: what each stream has as last committed, whoever has died.

    0     u64  magic
    8     u64  slots
    16    u64  bytes of the layout
    24    u64  bytes of the file
    64         the layout: JSON, names, dtypes, shapes and batch axes of the tensors
    ..    u64  for each slot its turn: which copy and which name count, whether it is anybody's, how often that changed
    ..         for each slot two names: a word with the length, and room for 120 bytes of UTF-8
    ..         for each slot two copies of its facts: seq, event time, four numbers of the caller's, signed words
    ..         each tensor: two copies for each slot side by side along its batch axis, 2 slot and 2 slot + 1

The owner (`memory.states`) writes the copy that does not count, and then its turn. Who reads meanwhile looks at the
turn again after the copy: if it is the same, at most the other copy has been written to. x86 keeps the order that this
needs, elsewhere `ring.fence` does.
"""

from __future__ import annotations

import mmap
import os
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from streamflow.errors import StateError
from streamflow.memory.ring import fence
from streamflow.memory.state_layout import (
    COPY_COUNT,
    FACT_COUNT,
    HEAD_SIZE,
    NAME_SIZE,
    SLOT_COUNT_LIMIT,
    Places,
    StateTensor,
    from_text,
    places,
)
from streamflow.memory.words import load
from streamflow.wire.arrays import Array

MAGIC: Final = 0x3154415453465301  # "\x01SFSTAT1"
RETRY_COUNT: Final = 64  # a copy takes microseconds, and is in vain where two steps were committed meanwhile
Notes = tuple[int, int, int, int]
HEAD: Final = struct.Struct("@4Q")
LENGTH: Final = struct.Struct("@Q")
FACTS: Final = struct.Struct(f"@{FACT_COUNT}q")
FACT_SIZE: Final = FACTS.size
WORD: Final = 8
# A turn: these, and a count of changes above them.
COPY: Final = 1
NAME: Final = 2
TAKEN: Final = 4
CHANGE: Final = 8


@dataclass(frozen=True, slots=True, eq=False)
class StreamState:
    """What one stream has, as committed: copies."""

    stream: str
    seq: int
    """Of the datum it was last stepped with; NO_SEQ before the first."""
    event_time_ns: int
    """Of the same datum; NO_TIME_NS before the first."""
    notes: Notes
    tensors: tuple[Array, ...]
    """In the order of the layout, without batch axes."""


class Stored:
    """One tensor of all slots."""

    __slots__ = ("_views", "all", "axis", "before", "initial", "tensor")

    def __init__(self, tensor: StateTensor, slot_count: int, file: memoryview, start: int) -> None:
        self.tensor = tensor
        self.axis = tensor.axis
        self.before: tuple[Any, ...] = (slice(None),) * tensor.axis
        """What indexes the axes before the one along which streams stand side by side."""
        self.all: Array = np.ndarray(tensor.shape_of(COPY_COUNT * slot_count), tensor.dtype, file, start)
        self.initial: Array = np.zeros(tensor.shape, tensor.dtype) if tensor.initial is None else tensor.initial
        self._views: dict[int, Array] = {}

    def one(self, row: int) -> Array:
        """A view of one stream's copy, in the shape of a batch of one; kept: to make it takes as long as to use it."""
        view = self._views.get(row)
        if view is None:
            view = self._views[row] = self.all[(*self.before, slice(row, row + 1))]
        return view


class StateView:
    """A file of states, read by anybody, also while its owner commits, and whoever has died."""

    _IS_OWNER = False

    def __init__(self, path: Path) -> None:
        """Raises StateError where it is none."""
        self.path = path
        try:
            descriptor = os.open(path, (os.O_RDWR if self._IS_OWNER else os.O_RDONLY) | os.O_CLOEXEC)
        except OSError as error:
            raise StateError(str(path), f"cannot be opened ({error.strerror})", "a file of states") from None
        try:
            size = os.fstat(descriptor).st_size
            if size < HEAD_SIZE:
                raise StateError(str(path), f"{size} bytes", "a file of states")
            if self._IS_OWNER:
                self._map = mmap.mmap(descriptor, size, flags=mmap.MAP_SHARED | mmap.MAP_POPULATE)
            else:
                self._map = mmap.mmap(descriptor, size, prot=mmap.PROT_READ)
        finally:
            os.close(descriptor)
        self._bytes = memoryview(self._map)
        try:
            self.slot_count, self.tensors, self._places = _read_head(self._bytes, str(path))
        except BaseException:
            self._bytes.release()
            self._map.close()
            raise
        self._words = self._bytes.cast("Q")
        self._turns_at = self._places.turns // WORD
        starts = zip(self.tensors, self._places.tensors, strict=True)
        self._stored = [Stored(tensor, self.slot_count, self._bytes, start) for tensor, start in starts]

    def change_count(self) -> int:
        """How often anything was committed, assigned, reset or released here: what is the same was not changed."""
        return sum(load(self._words, self._turns_at + slot) // CHANGE for slot in range(self.slot_count))

    def read(self, slot: int) -> StreamState | None:
        """What the slot's stream has; None where it is nobody's.

        Raises StateError where it changes faster than it can be copied.
        """
        if not 0 <= slot < self.slot_count:
            raise StateError(str(self.path), f"slot {slot}", f"one of {self.slot_count}")
        words, at = self._words, self._turns_at + slot
        for _ in range(RETRY_COUNT):
            turn = load(words, at)
            if not turn & TAKEN:
                return None
            if fence is not None:
                fence()
            name = bytes(self._name(slot, turn))
            row = row_of(slot, turn)
            seq, event_time_ns, *notes = self._facts(row)
            tensors = tuple(stored.one(row).copy().reshape(stored.tensor.shape) for stored in self._stored)
            if fence is not None:
                fence()
            if load(words, at) == turn:
                return StreamState(decoded(name), seq, event_time_ns, to_notes(notes), tensors)
        raise StateError(str(self.path), f"slot {slot} changed in each of {RETRY_COUNT} looks", "time to copy it")

    def close(self) -> None:
        self._stored.clear()
        self._words.release()
        self._bytes.release()
        self._map.close()

    def _name(self, slot: int, turn: int) -> memoryview:
        """The place of the name that counts by that turn."""
        start = self._places.names + (COPY_COUNT * slot + (turn & NAME) // NAME) * NAME_SIZE
        return self._bytes[start : start + NAME_SIZE]

    def _facts(self, row: int) -> tuple[int, ...]:
        return FACTS.unpack_from(self._bytes, self._places.facts + FACT_SIZE * row)


def _read_head(file: memoryview, subject: str) -> tuple[int, tuple[StateTensor, ...], Places]:
    magic, slot_count, text_size, size = HEAD.unpack_from(file)
    if magic == MAGIC and 1 <= slot_count <= SLOT_COUNT_LIMIT and size == len(file) and text_size < size:
        try:
            tensors = from_text(bytes(file[HEAD_SIZE : HEAD_SIZE + text_size]))
        except ValueError as error:
            raise StateError(subject, str(error), "a file of states") from None
        found = places(tensors, text_size, slot_count)
        if found.size == size:
            return slot_count, tensors, found
    raise StateError(subject, "none, or one of another version", "a file of states")


def row_of(slot: int, turn: int) -> int:
    """The copy that counts by that turn."""
    return COPY_COUNT * slot + (turn & COPY)


def decoded(name: bytes) -> str:
    (size,) = LENGTH.unpack_from(name)
    return name[LENGTH.size : LENGTH.size + size].decode()


def to_notes(numbers: Sequence[int]) -> Notes:
    first, second, third, fourth = numbers
    return first, second, third, fourth
