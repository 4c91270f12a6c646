"""Shared memory that a device copies from by itself: told to it once, when data that lie in it are first seen.

A message's tensor is a view of a segment that others have written and that this process has mapped. A GPU copies
from there without the host's help once its driver knows the pages, which takes it a while for each segment: a thread
of its own tells it, and until then the data go by way of a slot. Where it refuses they do so for good.
"""

from __future__ import annotations

import mmap
from dataclasses import dataclass

import numpy as np

from streamflow.device.completions import Waiter
from streamflow.device.contract import Device
from streamflow.memory.pool import root_of
from streamflow.wire.arrays import Array


@dataclass(slots=True)
class _Segment:
    memory: mmap.mmap  # held, so that nothing else has its id
    is_registered: bool = False
    failure: BaseException | None = None


class Registered:
    """As one stage sees it."""

    def __init__(self, device: Device) -> None:
        self.refused_count = 0
        """Segments that the device does not copy from by itself."""
        self._device = device
        self._segments: dict[int, _Segment] = {}
        self._waiter: Waiter | None = None

    def has(self, array: Array) -> bool:
        """Whether the device copies from where it lies. Of a segment that is seen for the first time it is asked; what
        goes wrong in that is raised from then on."""
        memory = mapped_memory(array)
        if memory is None:
            return False
        segment = self._segments.get(id(memory))
        if segment is None:
            segment = self._segments[id(memory)] = _Segment(memory)
            self._ask(segment)
        if segment.failure is not None:
            raise segment.failure
        return segment.is_registered

    def close(self) -> None:
        if self._waiter is not None:
            self._waiter.close()

    def _ask(self, segment: _Segment) -> None:
        def register() -> int:
            try:
                segment.is_registered = self._device.register(np.frombuffer(segment.memory, np.uint8))
            except BaseException as error:
                segment.failure = error
            else:
                self.refused_count += not segment.is_registered
            return 0

        if self._waiter is None:
            self._waiter = Waiter(f"{self._device.name} registers memory")
        self._waiter.add(register)


def mapped_memory(array: Array) -> mmap.mmap | None:
    """All that is mapped of what the array is a view of; None where it lies elsewhere."""
    base = root_of(array).base
    if isinstance(base, memoryview):
        base = base.obj
    return base if isinstance(base, mmap.mmap) else None
