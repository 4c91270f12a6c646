"""A segment of shared memory: slots of one size, and a table of who has them.

    0    u64  magic
    8    u64  slots
    16   u64  size of a slot, bytes
    24   u64  edges by which its content may travel: those downstream of the stage
    32   u64  where the first slot begins
    64        for each slot: its generation; then for each edge two words, how often it was lent there, and returned
    ..        the slots

There are no atomic operations in Python, so every word has one writer: the owner writes generations, whoever sends on
an edge its loans, whoever receives there its returns, and a slot is free when these are equal for all. Who passes on
what it was lent lends it on the next edge before it gives it back. Nobody tells anybody of a return, and what a dead
process had is what the table says. A store of eight aligned bytes is never seen half done.
"""

from __future__ import annotations

import mmap
import os
from contextlib import suppress
from pathlib import Path
from typing import Final

from streamflow.errors import PoolError
from streamflow.memory.words import add, load, store

MAGIC: Final = 0x324C4F4F50465301  # "\\x01SFPOOL2"
WORD: Final = 8
TABLE: Final = 64 // WORD  # the first word of the table
PAGE: Final = 4096
HUGE_PAGE: Final = 2 << 20
_POPULATE_WRITE: Final = 23  # MADV_POPULATE_WRITE, Linux 5.14; the mmap module does not name it
_SLOT_COUNT: Final = 1
_SLOT_SIZE: Final = 2
_EDGE_COUNT: Final = 3
_DATA: Final = 4


def _advise_huge(descriptor: int, size: int) -> None:
    """Let the kernel take huge pages for it, where the machine's administrator lets it (shmem_enabled: advise)."""
    with suppress(OSError), mmap.mmap(descriptor, size) as whole:
        whole.madvise(mmap.MADV_HUGEPAGE)
        whole.madvise(_POPULATE_WRITE)  # now: pages that are there already stay as they are


def row_words(edge_count: int) -> int:
    """Words of one slot's row."""
    return 1 + 2 * edge_count


class Segment:
    """One file, mapped: the table to be written, the slots as `is_owner` says."""

    def __init__(self, path: Path, *, is_owner: bool) -> None:
        """Raises PoolError where it is none."""
        self.path = path
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except OSError as error:
            raise PoolError(str(path), f"cannot be opened ({error.strerror})", "a segment") from None
        try:
            size = os.fstat(descriptor).st_size
            if size < PAGE:
                raise PoolError(str(path), f"{size} bytes", "a segment")
            with mmap.mmap(descriptor, PAGE, prot=mmap.PROT_READ) as first:
                head = memoryview(first).cast("Q")
                magic, self.slot_count, self.slot_size, self.edge_count, data = head[:5].tolist()
                head.release()
            if magic != MAGIC or data + self.slot_count * self.slot_size != size:
                raise PoolError(str(path), "no segment, or one of another version", "a segment")
            self._table = mmap.mmap(descriptor, data)
            access = mmap.PROT_READ | mmap.PROT_WRITE if is_owner else mmap.PROT_READ
            flags = mmap.MAP_SHARED | mmap.MAP_POPULATE  # later no page has to be found, by readers neither
            self._data = mmap.mmap(descriptor, size - data, flags=flags, prot=access, offset=data)
        finally:
            os.close(descriptor)
        self.words = memoryview(self._table).cast("Q")
        self.slots = memoryview(self._data)
        self._row = row_words(self.edge_count)

    @classmethod
    def create(cls, path: Path, slot_count: int, slot_size: int, edge_count: int) -> Segment:
        """A new one, all of it there: later no page has to be found. Raises PoolError where there is no room."""
        table = WORD * (TABLE + slot_count * row_words(edge_count))
        data = -(-table // PAGE) * PAGE
        size = data + slot_count * slot_size
        partial = path.with_name(path.name + ".partial")
        try:
            descriptor = os.open(partial, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            try:
                os.ftruncate(descriptor, size)
                if slot_size >= HUGE_PAGE:
                    _advise_huge(descriptor, size)
                os.posix_fallocate(descriptor, 0, size)  # on tmpfs a page that is not there later would be a SIGBUS
                with mmap.mmap(descriptor, PAGE) as first:
                    head = memoryview(first).cast("Q")
                    head[_SLOT_COUNT], head[_SLOT_SIZE] = slot_count, slot_size
                    head[_EDGE_COUNT], head[_DATA] = edge_count, data
                    head[0] = MAGIC
                    head.release()
            finally:
                os.close(descriptor)
            partial.rename(path)
        except OSError as error:
            partial.unlink(missing_ok=True)
            raise PoolError(str(path), f"cannot be made ({error.strerror})", f"{size:,} bytes") from None
        return cls(path, is_owner=True)

    def generation(self, slot: int) -> int:
        return load(self.words, TABLE + slot * self._row)

    def renew(self, slot: int) -> int:
        """The slot is used again; its new generation."""
        place = TABLE + slot * self._row
        generation = load(self.words, place) + 1
        store(self.words, place, generation)
        return generation

    def lend(self, slot: int, edge: int) -> None:
        add(self.words, TABLE + slot * self._row + 1 + 2 * edge, 1)

    def give_back(self, slot: int, edge: int) -> None:
        add(self.words, TABLE + slot * self._row + 2 + 2 * edge, 1)

    def forget(self, slot: int, edge: int) -> None:
        """By the sender on the edge: the receiver's process is dead, so what it had is nobody's."""
        place = TABLE + slot * self._row + 1 + 2 * edge
        store(self.words, place, load(self.words, place + 1))

    def settle(self, slot: int, edge: int, held_count: int) -> None:
        """By the receiver on the edge: of all that was lent it has these, and nothing is on its way."""
        place = TABLE + slot * self._row + 1 + 2 * edge
        store(self.words, place + 1, load(self.words, place) - held_count)

    def is_lent(self, slot: int) -> bool:
        words, place = self.words, TABLE + slot * self._row + 1
        for _ in range(self.edge_count):
            if load(words, place) != load(words, place + 1):
                return True
            place += 2
        return False

    def close(self) -> None:
        """Unmap the table; the slots stay mapped as long as an array looks at them."""
        self.words.release()
        self._table.close()
        self.slots.release()
        with suppress(BufferError):
            self._data.close()
