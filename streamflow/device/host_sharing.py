"""What processes share of the host as a device: arrays and marks in memory that a file descriptor stands for.

Such memory has no name: it is gone when nobody has it open or mapped, however they ended. Others open it by the
descriptor of who made it, so as long as that one lives; as on a GPU, where a handle is nothing without its process.
"""

from __future__ import annotations

import mmap
import os
import secrets
from collections.abc import Callable, Sequence
from contextlib import suppress
from math import prod
from typing import Any, Final

import numpy as np

from streamflow.device.contract import DeviceArray, DeviceError, DeviceMemoryError, Mark
from streamflow.device.host_marks import WORD_COUNT, ImportedMark, SharedMark
from streamflow.memory.pool import address_of
from streamflow.wire.arrays import Array

NAME: Final = "streamflow-"


class HostSharing:
    """As one end uses it. `counted`: called with the bytes of each array that is made; it may refuse."""

    def __init__(self, name: str, counted: Callable[[int], None]) -> None:
        self._name = name
        self._counted = counted
        self._descriptors: list[int] = []
        self._lives: dict[int, int] = {}
        self._handles: dict[int, bytes] = {}  # by the address of an array, the id of a mark
        self._marks: list[Mark] = []

    def array(self, shape: Sequence[int], dtype: Any) -> DeviceArray:
        size = prod(shape) * np.dtype(dtype).itemsize
        self._counted(size)
        memory, handle = self._made(size)
        array: Array = np.ndarray(tuple(shape), dtype, memory)
        self._handles[address_of(array)] = handle
        return array

    def mark(self) -> Mark:
        memory, handle = self._made(8 * WORD_COUNT)
        mark = SharedMark(self._words_of(memory))
        self._marks.append(mark)
        self._handles[id(mark)] = handle
        return mark

    def handle(self, shared: DeviceArray | Mark) -> bytes:
        key = address_of(shared) if isinstance(shared, np.ndarray) else id(shared)
        if key not in self._handles:
            raise DeviceError(
                self._name, "a handle is asked for of what was not made to be shared", "what `sharing` made"
            )
        return self._handles[key]

    def array_of(self, handle: bytes, shape: Sequence[int], dtype: Any) -> DeviceArray:
        memory, _ = self._opened(handle, prod(shape) * np.dtype(dtype).itemsize)
        array: Array = np.ndarray(tuple(shape), dtype, memory)
        return array

    def mark_of(self, handle: bytes) -> Mark:
        memory, pid = self._opened(handle, 8 * WORD_COUNT)
        return ImportedMark(self._words_of(memory), self._life_of(pid))

    def close(self) -> None:
        """The memory stays mapped as long as an array looks at it."""
        for descriptor in (*self._descriptors, *self._lives.values()):
            os.close(descriptor)
        self._descriptors.clear()
        self._lives.clear()
        self._handles.clear()
        self._marks.clear()

    def _made(self, size: int) -> tuple[mmap.mmap, bytes]:
        token = secrets.token_hex(8)
        descriptor = os.memfd_create(NAME + token, os.MFD_CLOEXEC)
        self._descriptors.append(descriptor)
        try:
            os.posix_fallocate(descriptor, 0, max(size, 1))
        except OSError as error:
            raise DeviceMemoryError(self._name, f"{size:,} bytes were asked for ({error.strerror})") from None
        return mmap.mmap(descriptor, max(size, 1)), f"{os.getpid()}.{descriptor}.{token}".encode()

    def _opened(self, handle: bytes, size: int) -> tuple[mmap.mmap, int]:
        """To be read alone."""
        pid, number, token = handle.decode().split(".")
        if int(pid) == os.getpid():
            raise DeviceError(self._name, "what this process shares is opened in it", "another process", "it has it")
        try:
            descriptor = os.open(f"/proc/{pid}/fd/{number}", os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise DeviceError(self._name, f"what process {pid} shares is gone ({error.strerror})") from None
        try:
            if not os.readlink(f"/proc/self/fd/{descriptor}").startswith(f"/memfd:{NAME}{token} "):
                raise DeviceError(self._name, f"what process {pid} shared is gone, and another in its place")
            return mmap.mmap(descriptor, max(size, 1), prot=mmap.PROT_READ), int(pid)
        except ValueError:
            raise DeviceError(self._name, f"what process {pid} shares is smaller", f"{size:,} bytes") from None
        finally:
            os.close(descriptor)

    def _life_of(self, pid: int) -> int:
        if pid not in self._lives:
            with suppress(ProcessLookupError):
                self._lives[pid] = os.pidfd_open(pid)
        if pid not in self._lives:
            raise DeviceError(self._name, f"process {pid}, which shares a mark, is gone")
        return self._lives[pid]

    def _words_of(self, memory: mmap.mmap) -> memoryview:
        return memoryview(memory)[: 8 * WORD_COUNT].cast("Q")
