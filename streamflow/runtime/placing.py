"""Large tensors of what a stage sends, put where other processes read them in place."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from streamflow.core.message import Message, with_tensors
from streamflow.memory.pool import Pool
from streamflow.recorder import layout
from streamflow.recorder.writer import Recorder
from streamflow.wire.arrays import Array
from streamflow.wire.data import INLINE_SIZE_LIMIT


class Placing:
    """Of one stage whose data go to other processes; its recorder tells how much memory that takes."""

    def __init__(self, pool: Pool, recorder: Recorder) -> None:
        self._pool = pool
        self._recorder = recorder
        self._size = -1

    def allocate(self, shape: Sequence[int], dtype: Any) -> Array:
        """An array to write a result in: in a slot where it is large and one is free."""
        array = self._pool.allocate(shape, dtype)
        self._tell()
        return np.empty(tuple(shape), dtype) if array is None else array

    def placed(self, message: Message) -> Message:
        """The message with its large tensors in slots; as it was where none is large.

        A tensor for which no slot is free travels in a frame of its own, is copied twice, and is counted.
        """
        tensors = message.tensors
        if all(array.nbytes <= INLINE_SIZE_LIMIT for array in tensors.values()):
            return message
        found = {}
        for name, array in tensors.items():
            own = self._pool.placed(array) if array.nbytes > INLINE_SIZE_LIMIT else array
            if own is None:
                self._recorder.add(layout.POOL_EXHAUSTED)
            found[name] = array if own is None else own
        self._tell()
        return with_tensors(message, found)

    def _tell(self) -> None:
        if self._pool.size != self._size:
            self._size = self._pool.size
            self._recorder.set(layout.POOL_BYTES, self._size)
