"""Large tensors of what a stage sends, put where other processes read them in place."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from streamflow.core.message import Message, with_tensors
from streamflow.core.timebase import s, us
from streamflow.device.resident import DeviceTensor
from streamflow.memory.pool import Pool
from streamflow.memory.shares import Shares
from streamflow.recorder import layout
from streamflow.recorder.writer import Recorder
from streamflow.runtime.clock import ClockTimer
from streamflow.wire.arrays import Array
from streamflow.wire.data import INLINE_SIZE_LIMIT

WAIT_NS = 1 * s  # for slots to come back, before large tensors travel in messages
LOOK_NS = 500 * us  # nobody tells when one does


class Placing:
    """Of one stage whose data go to other processes; its recorder tells how much memory that takes."""

    def __init__(self, shares: Shares, pool: Pool, recorder: Recorder) -> None:
        self._shares = shares
        self._pool = pool
        self._recorder = recorder
        self._size = -1

    def allocate(self, shape: Sequence[int], dtype: Any) -> Array:
        """An array to write a result in: in a slot where it is large and one is free."""
        array = self._pool.allocate(shape, dtype)
        self._tell()
        return np.empty(tuple(shape), dtype) if array is None else array

    def placed(self, message: Message) -> Message | None:
        """The message with its large tensors in slots; as it was where none is large. None: none is free."""
        tensors = message.tensors
        for array in tensors.values():
            if array.nbytes > INLINE_SIZE_LIMIT:
                break
        else:
            return message
        found = {}
        for name, array in tensors.items():
            is_there = array.nbytes <= INLINE_SIZE_LIMIT or type(array) is DeviceTensor
            own = array if is_there else self._shares.placed(array, self._pool)
            if own is None:
                return None
            found[name] = own
        self._tell()
        return with_tensors(message, found)

    async def placed_late(
        self, message: Message, timer: ClockTimer, now_ns: Callable[[], int], *, waits: bool
    ) -> Message:
        """For a message for which no slot is free: once some have come back, or as it is, and counted.

        As it is, a tensor travels in a frame of its own and is copied twice. With `waits` that is put off, as on a
        full edge that blocks; but where readers keep what they got, no slot may ever come back.
        """
        ends_ns = now_ns() + WAIT_NS if waits else 0
        while now_ns() < ends_ns:
            await timer.sleep_until(now_ns() + LOOK_NS)
            placed = self.placed(message)
            if placed is not None:
                return placed
        self._recorder.add(layout.POOL_EXHAUSTED)
        return message

    def _tell(self) -> None:
        if self._pool.size != self._size:
            self._size = self._pool.size
            self._recorder.set(layout.POOL_BYTES, self._size)
