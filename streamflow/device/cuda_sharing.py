"""What processes share of a GPU: memory and events by handles of the driver (CUDA IPC).

Only what `cudaMalloc` gave can be shared, and its handle stands for the whole allocation, with whatever else lies in
it: so each array has one of its own, outside of CuPy's pools, in whole pieces of what the driver hands out. Nobody
tells that the process which opened a handle is dead: who made it must know by himself, and frees nothing before.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from math import prod
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from streamflow.device.contract import DeviceArray, DeviceError, Mark

if TYPE_CHECKING:
    from streamflow.device.cuda import CudaDevice

GRANULE: Final = 2 << 20  # bytes that cudaMalloc hands out at once; smaller pieces share one


class OpenedEvent:
    """As CuPy's own, of which it has only what a stream needs to wait for it."""

    def __init__(self, pointer: int) -> None:
        self.ptr: Final = pointer


class CudaSharing:
    """As one end uses it."""

    def __init__(self, device: CudaDevice) -> None:
        self._device = device
        self._runtime: Any = device.cupy.cuda.runtime
        self._memory: list[Any] = []
        self._opened_memory: list[int] = []
        self._opened_events: list[int] = []

    def array(self, shape: Sequence[int], dtype: Any) -> DeviceArray:
        cupy = self._device.cupy
        size = prod(shape) * np.dtype(dtype).itemsize
        with self._device.working():
            memory = cupy.cuda.Memory(-(-max(size, 1) // GRANULE) * GRANULE)
        self._memory.append(memory)
        return self._over(memory, shape, dtype)

    def mark(self) -> Mark:
        with self._device.working():
            event = self._device.cupy.cuda.Event(disable_timing=True, interprocess=True)
        return self._device.mark_of(event)

    def handle(self, shared: Any) -> bytes:
        with self._device.working():
            if hasattr(shared, "event"):
                return bytes(self._runtime.ipcGetEventHandle(shared.event.ptr))
            return bytes(self._runtime.ipcGetMemHandle(shared.data.ptr))

    def array_of(self, handle: bytes, shape: Sequence[int], dtype: Any) -> DeviceArray:
        size = prod(shape) * np.dtype(dtype).itemsize
        with self._device.working():
            pointer = int(self._runtime.ipcOpenMemHandle(handle))
            self._opened_memory.append(pointer)
            memory = self._device.cupy.cuda.UnownedMemory(pointer, size, self)
        return self._over(memory, shape, dtype)

    def mark_of(self, handle: bytes) -> Mark:
        with self._device.working():
            pointer = int(self._runtime.ipcOpenEventHandle(handle))
        self._opened_events.append(pointer)
        return self._device.mark_of(OpenedEvent(pointer), is_recorded=True)  # whether it is, its process knows

    def close(self) -> None:
        """What was made here is freed when nothing looks at it any more."""
        closings = [(self._runtime.eventDestroy, pointer) for pointer in self._opened_events]
        closings += [(self._runtime.ipcCloseMemHandle, pointer) for pointer in self._opened_memory]
        for close, pointer in closings:
            with (
                suppress(DeviceError),
                self._device.working(),
            ):  # whose it was may be dead; the rest is closed all the same
                close(pointer)
        self._opened_events.clear()
        self._opened_memory.clear()
        self._memory.clear()

    def _over(self, memory: Any, shape: Sequence[int], dtype: Any) -> DeviceArray:
        cupy = self._device.cupy
        return cupy.ndarray(tuple(shape), dtype, memptr=cupy.cuda.MemoryPointer(memory, 0))
