"""Durations counted in a recorder's file, in the buckets of `core.statistics.Histogram`.

The extremes and the sum are kept beside as plain integers, so that recording mostly stores and seldom loads. Order of
stores: extremes, bucket, sum; wherever the owner is killed, a bucket's value lies between the extremes.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from streamflow.core.statistics import Histogram
from streamflow.memory.words import add, store
from streamflow.recorder.layout import (
    BUCKET_COUNT,
    HISTOGRAM_HEAD,
    HISTOGRAM_MAX,
    HISTOGRAM_MIN,
    HISTOGRAM_SUM,
    VALUE_LIMIT,
    WORD,
)

_SUM_LIMIT: Final = 1 << 63


class MappedHistogram:
    """The writer's side. `words` is the whole file."""

    __slots__ = ("_base", "_buckets", "_max", "_min", "_sum", "_top", "_words")

    def __init__(self, words: memoryview, offset: int) -> None:
        self._words = words
        self._base = offset // WORD
        self._buckets = self._base + HISTOGRAM_HEAD
        self._sum = words[self._base + HISTOGRAM_SUM]
        self._max = words[self._base + HISTOGRAM_MAX]
        self._top = min(self._max, VALUE_LIMIT - 1)
        min_and_one = words[self._base + HISTOGRAM_MIN]
        self._min = min_and_one - 1 if min_and_one else VALUE_LIMIT

    def record(self, value_ns: int) -> None:
        """Negative ones count as 0; what is beyond the last bucket is counted there."""
        if not self._min <= value_ns <= self._top:
            value_ns = self._extreme(value_ns)
        # `bucket_index`, written out: a call more would cost a fifth of this function.
        if value_ns < 128:
            add(self._words, self._buckets + value_ns, 1)
        else:
            shift = value_ns.bit_length() - 7
            add(self._words, self._buckets + (shift << 6) + (value_ns >> shift), 1)
        self._sum += value_ns
        store(self._words, self._base, self._sum)

    def _extreme(self, value_ns: int) -> int:
        """The value to be counted, after the extremes and what a clamped one adds to the sum were stored."""
        value_ns = min(max(value_ns, 0), _SUM_LIMIT - 1)
        if value_ns > self._max:
            self._max = value_ns
            store(self._words, self._base + HISTOGRAM_MAX, value_ns)
            self._top = min(value_ns, VALUE_LIMIT - 1)
        if value_ns < self._min or not self._words[self._base + HISTOGRAM_MIN]:
            self._min = value_ns
            store(self._words, self._base + HISTOGRAM_MIN, value_ns + 1)
        if value_ns < VALUE_LIMIT:
            return value_ns
        self._sum = min(self._sum + value_ns - (VALUE_LIMIT - 1), _SUM_LIMIT)
        return VALUE_LIMIT - 1


def read_histogram(words: npt.NDArray[np.uint64], offset: int) -> Histogram:
    """A copy, whole even while it is written: the count is that of its buckets; `sum` may lack the newest value."""
    base = offset // WORD
    buckets = words[base + HISTOGRAM_HEAD : base + HISTOGRAM_HEAD + BUCKET_COUNT].copy()
    total, value_max, min_and_one = (int(word) for word in words[base : base + HISTOGRAM_MIN + 1])
    used = np.flatnonzero(buckets)
    counts = dict(zip(used.tolist(), buckets[used].tolist(), strict=True))
    value_min = max(min_and_one - 1, 0)
    if not counts:
        total = value_max = value_min = 0
    return Histogram.of(counts, value_min, value_max, total)
