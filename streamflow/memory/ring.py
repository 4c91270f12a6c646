"""Messages from one process to another through memory that both have mapped: one writes, one reads, nobody waits.

    0     u64  magic
    8     u64  bytes of the stream's part, a power of two
    64    u64  written: bytes of the stream so far; its writer's own
    128   u64  read: bytes of it; its reader's own
    192   u64  how often the reader has gone to sleep and woken: odd while it sleeps, or is about to; its reader's own
    4096       the stream, over and over

In the stream each piece of a frame has a word before it, size and flags, and begins at a multiple of 8; one that
would go beyond the end of the memory goes to its start instead. What does not fit waits at the writer, so a message
may be larger than the memory. Python has no atomic operations: every word has one writer, who writes the content first
and says so afterwards. x86 keeps that order; elsewhere `fence` does.

A writer need not wake who is awake. It looks after it has written, and the reader looks once more after it has said
that it sleeps, so that one of them sees the other; for that each needs its store to be out before its look, which no
processor promises by itself: `words.settle`. Elsewhere than on x86 it has not been tried, and the writer always wakes.

Alternative not taken: records of a fixed size, as other rings have: a datum may be 100 bytes or many tensors.
"""

from __future__ import annotations

import mmap
import os
import platform
import threading
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from streamflow.errors import PoolError
from streamflow.memory.words import load, settle, store
from streamflow.wire.values import Frame

MAGIC = 0x31474E4952465301  # "\x01SFRING1"
HEAD_SIZE: Final = 4096
# Words of the head.
_MAGIC: Final = 0
_SIZE: Final = 1
_WRITTEN: Final = 8
_READ: Final = 16
_NAPS: Final = 24
# Flags of a piece.
_FRAME_ENDS: Final = 1
_MESSAGE_ENDS: Final = 2
_SKIPS: Final = 4
_WHOLE: Final = _FRAME_ENDS | _MESSAGE_ENDS
_FLAG_BITS: Final = 8


def _locked_fence() -> Callable[[], object]:
    """Orders what this process has stored and loaded before it with what comes after: a lock's own barriers, twice.

    The first release keeps what came before it, the second acquisition what comes after.
    """
    lock = threading.Lock()

    def fence() -> None:
        with lock:
            pass
        with lock:
            pass

    return fence


_IS_X86 = platform.machine() in ("x86_64", "AMD64", "i686", "i386")
fence: Callable[[], object] | None = None if _IS_X86 else _locked_fence()


def ring_size(content: int) -> int:
    """Bytes of the file of a ring with so much memory."""
    return HEAD_SIZE + content


def make_ring(path: Path, content: int) -> None:
    """A new file, all of it there: later no page has to be found. Raises PoolError where there is no room."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            os.posix_fallocate(descriptor, 0, ring_size(content))
            with mmap.mmap(descriptor, HEAD_SIZE) as head, memoryview(head).cast("Q") as words:
                words[_SIZE] = content
                words[_MAGIC] = MAGIC
        finally:
            os.close(descriptor)
    except OSError as error:
        raise PoolError(str(path), f"cannot be made ({error.strerror})", f"{content:,} bytes") from None


class _Mapped:
    """The file of a ring, mapped."""

    def __init__(self, path: Path) -> None:
        """Raises PoolError where it is none."""
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except OSError as error:
            raise PoolError(str(path), f"cannot be opened ({error.strerror})", "a ring") from None
        try:
            size = os.fstat(descriptor).st_size
            if size <= HEAD_SIZE:
                raise PoolError(str(path), f"{size} bytes", "a ring")
            self._map = mmap.mmap(descriptor, size, flags=mmap.MAP_SHARED | mmap.MAP_POPULATE)
        finally:
            os.close(descriptor)
        self._bytes = memoryview(self._map)
        self._words = self._bytes.cast("Q")
        self._content = self._words[_SIZE]
        if self._words[_MAGIC] != MAGIC or ring_size(self._content) != size or self._content & (self._content - 1):
            self.close()
            raise PoolError(str(path), "no ring, or one of another version", "a ring")
        self._mask = self._content - 1

    def close(self) -> None:
        self._words.release()
        self._bytes.release()
        self._map.close()


class RingWriter(_Mapped):
    """The writing end."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._written = load(self._words, _WRITTEN)
        self._woken_nap = 0
        self._piece_limit = self._content // 4
        self._waiting: deque[tuple[memoryview, int]] = deque()

    @property
    def has_waiting(self) -> bool:
        """Whether something did not fit yet: to be tried again with `flush`."""
        return bool(self._waiting)

    def must_wake(self) -> bool:
        """Whether the reader sleeps, or may, and has not been woken since: to be asked after each message."""
        if not _IS_X86:
            return True
        settle()
        nap = load(self._words, _NAPS)
        if nap & 1 and nap != self._woken_nap:
            self._woken_nap = nap
            return True
        return False

    def write(self, frames: Sequence[Frame]) -> None:
        """One message. What does not fit is kept as it is: its memory must not change."""
        if len(frames) == 1 and not self._waiting:
            frame = frames[0]
            size = frame.nbytes if isinstance(frame, memoryview) else len(frame)
            if size <= self._piece_limit and self._put(frame, size, _WHOLE):
                return
        self._cut(frames)
        self.flush()

    def _cut(self, frames: Sequence[Frame]) -> None:
        last = len(frames) - 1
        for index, frame in enumerate(frames):
            view = memoryview(frame).cast("B")
            flags = _FRAME_ENDS | (_MESSAGE_ENDS if index == last else 0)
            while view.nbytes > self._piece_limit:
                self._waiting.append((view[: self._piece_limit], 0))
                view = view[self._piece_limit :]
            self._waiting.append((view, flags))

    def flush(self) -> bool:
        """Write what waits as far as it fits; whether any of it did."""
        has_written = False
        while self._waiting:
            piece, flags = self._waiting[0]
            if not self._put(piece, piece.nbytes, flags):
                break
            self._waiting.popleft()
            has_written = True
        return has_written

    def _put(self, piece: Frame, size: int, flags: int) -> bool:
        words = self._words
        written = self._written
        need = 8 + (size + 7 & ~7)
        start = written & self._mask
        to_the_end = self._content - start
        skipped = to_the_end if need > to_the_end else 0
        if self._content - (written - load(words, _READ)) < skipped + need:
            return False
        if skipped:
            store(words, HEAD_SIZE + start >> 3, _SKIPS)
            start = 0
        store(words, HEAD_SIZE + start >> 3, size << _FLAG_BITS | flags)
        start += HEAD_SIZE + 8
        self._bytes[start : start + size] = piece
        if fence is not None:
            fence()
        self._written = written + skipped + need
        store(words, _WRITTEN, self._written)
        return True


class RingReader(_Mapped):
    """The reading end."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._read = load(self._words, _READ)
        self._naps = load(self._words, _NAPS) & ~1
        self._frames: list[Frame] = []
        self._partial = bytearray()

    def has_arrival(self) -> bool:
        """Whether there is something to read."""
        return load(self._words, _WRITTEN) != self._read

    def falls_asleep(self) -> bool:
        """From now on the writer wakes this end; False where something has come, and it had better stay awake."""
        self._naps += 1
        store(self._words, _NAPS, self._naps)
        settle()
        return load(self._words, _WRITTEN) == self._read

    def wakes_up(self) -> None:
        """It looks by itself again."""
        self._naps = self._naps + 1 & ~1
        store(self._words, _NAPS, self._naps)

    def read(self) -> list[Frame] | None:
        """The next message, copied out; None where none is there as a whole.

        Raises PoolError where what is there cannot have been written by a writer.
        """
        words = self._words
        while load(words, _WRITTEN) != self._read:
            if fence is not None:
                fence()
            start = self._read & self._mask
            head = load(words, HEAD_SIZE + start >> 3)
            if head == _SKIPS:
                self._has_read(self._content - start)
                continue
            size = head >> _FLAG_BITS
            if start + 8 + size > self._content:
                raise PoolError("ring", f"a piece of {size:,} bytes at {start:,}", f"one within {self._content:,}")
            start += HEAD_SIZE + 8
            piece = self._map[start : start + size]
            if fence is not None:
                fence()
            self._has_read(8 + (size + 7 & ~7))
            flags = head & 0xFF
            if flags == _WHOLE and not self._frames and not self._partial:
                return [piece]
            if (message := self._join(piece, flags)) is not None:
                return message
        return None

    def _has_read(self, size: int) -> None:
        self._read += size
        store(self._words, _READ, self._read)

    def _join(self, piece: bytes, flags: int) -> list[Frame] | None:
        if not flags & _FRAME_ENDS:
            self._partial += piece
            return None
        if self._partial:
            self._partial += piece
            self._frames.append(memoryview(self._partial).toreadonly())
            self._partial = bytearray()
        else:
            self._frames.append(piece)
        if not flags & _MESSAGE_ENDS:
            return None
        message, self._frames = self._frames, []
        return message
