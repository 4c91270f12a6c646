"""What a lossless edge has to send again: each datum in memory that survives its sender, until its receiver is done.

A file for each place in the sender's table of live data, which says what is in it: a datum is written first, and then
has its place, so no reader ever sees half of one. The files grow to the largest datum there was, and stay.

*Not taken*: one file, sized for the largest datum, of which nothing is known beforehand; the pool of large tensors,
whose memory is lent by counts that begin anew with each life of either end.
"""

from __future__ import annotations

import mmap
import os
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from streamflow.errors import PoolError
from streamflow.wire.values import Frame

SUFFIX: Final = ".kept"
_COUNT: Final = struct.Struct("<Q")
_PAGE: Final = 4096


class Kept:
    """The data of one edge; `name` is that of its files in `folder`."""

    def __init__(self, folder: Path, name: str) -> None:
        self._folder = folder
        self._name = name
        self._files: dict[int, mmap.mmap] = {}

    def write(self, place: int, frames: Sequence[Frame]) -> None:
        """Raises PoolError where there is no room."""
        sizes = [len(memoryview(frame).cast("B")) for frame in frames]
        head = _COUNT.pack(len(frames)) + b"".join(_COUNT.pack(size) for size in sizes)
        file = self._file(place, len(head) + sum(sizes))
        file[: len(head)] = head
        at = len(head)
        for frame, size in zip(frames, sizes, strict=True):
            file[at : at + size] = memoryview(frame).cast("B")
            at += size

    def read(self, place: int) -> list[Frame]:
        """What was written there last: copies. Raises PoolError where nothing is."""
        file = self._file(place, 0)
        (count,) = _COUNT.unpack_from(file)
        sizes = [_COUNT.unpack_from(file, _COUNT.size * (1 + nth))[0] for nth in range(count)]
        at = _COUNT.size * (1 + count)
        frames: list[Frame] = []
        for size in sizes:
            frames.append(bytes(file[at : at + size]))
            at += size
        return frames

    def close(self) -> None:
        for file in self._files.values():
            file.close()
        self._files.clear()

    def _file(self, place: int, size: int) -> mmap.mmap:
        """Mapped, with room for so much; for 0 as it is."""
        file = self._files.get(place)
        if file is not None and len(file) >= size:
            return file
        path = self._folder / f"{self._name}.{place}{SUFFIX}"
        try:
            descriptor = os.open(path, os.O_RDWR | (os.O_CREAT if size else 0) | os.O_CLOEXEC, 0o600)
            try:
                if size > os.fstat(descriptor).st_size:
                    # On tmpfs a page that is not there later would be a SIGBUS.
                    os.posix_fallocate(descriptor, 0, -(-size // _PAGE) * _PAGE)
                mapped = mmap.mmap(descriptor, 0)
            finally:
                os.close(descriptor)
        except OSError as error:
            raise PoolError(str(path), f"cannot be kept ({error.strerror})", f"room for {size:,} bytes") from None
        if file is not None:
            file.close()
        self._files[place] = mapped
        return mapped
