"""Cutting a stream of chunks, however it was chunked, into windows of one size at one hop."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class Cut:
    """One window: `first` is the index of its first sample; `gap`, where samples are missing just before it.

    A negative gap is a stream that jumped back. `valid` samples are real, the rest of `array` is zeros.
    """

    array: Array
    first: int
    valid: int
    gap: int = 0

    @property
    def newest(self) -> int:
        """The index of the newest real sample."""
        return self.first + self.valid - 1


class Cutter:
    """Chunks in, windows of `size` samples every `hop` samples out; where the chunks ended does not show.

    A hole in the samples' numbering starts afresh behind it: no window spans it, and what was too little for a
    window before it is given up. The next window says how many samples are missing.
    """

    def __init__(self, size: int, hop: int, axis: int) -> None:
        self.size = size
        self.hop = hop
        self.axis = axis
        self._held: Array | None = None  # samples from index `_first` on that a coming window needs
        self._first = 0  # index of the coming window's first sample
        self._expected: int | None = None  # index of the next sample, once there was one
        self._gap = 0

    def push(self, chunk: Array, sample: int | None = None) -> list[Cut]:
        """The windows that `chunk` completes. `sample`: its first index; None: it follows what was before.

        Raises ValueError when another dimension changed within the stream.
        """
        start = self._begin(sample)
        self._expected = start + chunk.shape[self.axis]
        held = chunk
        if self._held is not None and self._held.shape[self.axis]:
            held = np.concatenate((self._held, chunk), axis=self.axis)
            start = self._expected - held.shape[self.axis]
        cuts = []
        while self._first + self.size <= self._expected:
            window = self._between(held, self._first - start, self._first - start + self.size)
            cuts.append(Cut(np.ascontiguousarray(window), self._first, self.size, self._gap))
            self._gap = 0
            self._first += self.hop
        rest = self._between(held, max(self._first - start, 0), held.shape[self.axis])
        self._held = rest.copy()  # the received array is the sender's buffer
        return cuts

    def flush(self) -> Cut | None:
        """The last, unfinished window, filled up with zeros; None where no sample is left over."""
        if self._held is None or not self._held.shape[self.axis]:
            return None
        valid = self._held.shape[self.axis]
        padding = [(0, 0)] * self._held.ndim
        padding[self.axis] = (0, self.size - valid)
        cut = Cut(np.pad(self._held, padding), self._first, valid, self._gap)
        self._held = None
        return cut

    def _begin(self, sample: int | None) -> int:
        """The index of a chunk's first sample; a chunk that does not follow starts afresh."""
        if self._expected is None:
            self._first = sample or 0
            return self._first
        if sample is None or sample == self._expected:
            return self._expected
        self._gap += sample - self._expected
        self._held = None
        self._first = sample
        return sample

    def _between(self, array: Array, start: int, end: int) -> Array:
        index: list[slice] = [slice(None)] * array.ndim
        index[self.axis] = slice(start, end)
        return array[tuple(index)]
