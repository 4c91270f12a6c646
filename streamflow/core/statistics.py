"""Durations as log-linear histograms: relative error ≤ 1/64, and merging two gives the histogram of the union.

The scheme is HdrHistogram's: below 128 every value has its own bucket; above, each power of two is cut into
64 equal buckets. A quantile is reported as the middle of its bucket, but never outside what was recorded.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping
from itertools import accumulate

_SUB_BITS = 6
_SUB_BITS_AND_ONE = _SUB_BITS + 1
_LINEAR = 1 << _SUB_BITS_AND_ONE


def bucket_index(value: int) -> int:
    """Which bucket counts a non-negative value."""
    if value < _LINEAR:
        return value
    shift = value.bit_length() - _SUB_BITS_AND_ONE
    return (shift << _SUB_BITS) + (value >> shift)


def _middle(index: int) -> int:
    if index < _LINEAR:
        return index
    shift = (index >> _SUB_BITS) - 1
    low = ((index & ((1 << _SUB_BITS) - 1)) + (1 << _SUB_BITS)) << shift
    return low + (1 << shift) // 2


def upper_edge(index: int) -> int:
    """The largest value that the bucket counts."""
    if index < _LINEAR:
        return index
    shift = (index >> _SUB_BITS) - 1
    return (((index & ((1 << _SUB_BITS) - 1)) + (1 << _SUB_BITS) + 1) << shift) - 1


class Histogram:
    """Non-negative integers (nanoseconds, here); negative ones count as 0."""

    def __init__(self) -> None:
        self.count = 0
        self.sum = 0
        self.max = 0
        self.min = 0
        self._counts: dict[int, int] = {}

    def record(self, value: int) -> None:
        """Plain comparisons and `bucket_index` written out: every datum pays for this, and a call costs as much."""
        if value < 0:
            value = 0
        if value > self.max:
            self.max = value
        if value < self.min or not self.count:
            self.min = value
        self.count += 1
        self.sum += value
        if value < _LINEAR:
            index = value
        else:
            shift = value.bit_length() - _SUB_BITS_AND_ONE
            index = (shift << _SUB_BITS) + (value >> shift)
        counts = self._counts
        if index in counts:
            counts[index] += 1
        else:
            counts[index] = 1

    def quantile(self, share: float) -> int:
        """The smallest bucket that has at least `share` of the values at or below it; 0 when empty."""
        return self.quantiles(share)[0]

    def quantiles(self, *shares: float) -> list[int]:
        """One for each of the shares."""
        if not self.count:
            return [0] * len(shares)
        found: list[int] = []
        indexes = sorted(self._counts)
        seen = list(accumulate(map(self._counts.__getitem__, indexes)))
        for share in shares:
            rank = min(max(1, -(-int(share * self.count * 1_000_000) // 1_000_000)), self.count)
            index = indexes[bisect_left(seen, rank)]
            found.append(min(max(_middle(index), self.min), self.max))
        return found

    def merge(self, other: Histogram) -> None:
        if not other.count:
            return
        self.min = other.min if self.count == 0 else min(self.min, other.min)
        self.max = max(self.max, other.max)
        self.count += other.count
        self.sum += other.sum
        for index, count in other._counts.items():
            self._counts[index] = self._counts.get(index, 0) + count

    @classmethod
    def of(cls, counts: dict[int, int], least: int, greatest: int, total: int) -> Histogram:
        """From its parts; `counts` by bucket, and kept."""
        histogram = cls()
        histogram._counts = counts
        histogram.count = sum(counts.values())
        histogram.min, histogram.max, histogram.sum = least, greatest, total
        return histogram

    def without(self, values: Iterable[int]) -> Histogram:
        """Those of them that are in it left out. What is left has the edge of its greatest bucket as its greatest."""
        counts, total = dict(self._counts), self.sum
        for value in values:
            index = bucket_index(value)
            if counts.get(index):
                counts[index] -= 1
                total -= value
        counts = {index: count for index, count in counts.items() if count}
        return Histogram.of(counts, self.min, min(self.max, upper_edge(max(counts))) if counts else 0, total)

    @property
    def counts(self) -> Mapping[int, int]:
        """How many values there are in each bucket; not a copy."""
        return self._counts

    def summary_ms(self) -> dict[str, float]:
        """The report's form: quantiles in milliseconds."""
        shares = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "p999": 0.999}
        found = zip(shares, self.quantiles(*shares.values()), strict=True)
        return {name: value_ns / 1e6 for name, value_ns in found} | {"max": self.max / 1e6}
