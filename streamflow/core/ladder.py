"""Latency buckets as monitoring systems want them: few, cumulative, and the same from look to look and run to run.

The edges are 2^n and 1.5 * 2^n ns. They are edges of the recorders' histograms too (64 buckets to a power of two) and
of those that a run's state tells (8), so that no value is counted in the wrong bucket.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping
from itertools import accumulate
from typing import Final

from streamflow.core.statistics import upper_edge

LEAST_BIT: Final = 14  # 16.4 µs; a stage's handling takes longer, or so little that nobody asks how long
GREATEST_BIT: Final = 34  # 17.2 s; what is slower is told by the sum
EDGES_NS: Final = (
    *(edge for bit in range(LEAST_BIT, GREATEST_BIT) for edge in (1 << bit, 3 << bit - 1)),
    1 << GREATEST_BIT,
)


def cumulative(buckets: Iterable[tuple[int, int]]) -> list[int]:
    """How many values are below each of `EDGES_NS`, and at last how many there are.

    `buckets`: (edge, count) of any histogram that has our edges among its own, counting values below the edge.
    """
    counts = [0] * (len(EDGES_NS) + 1)
    for edge, count in buckets:
        counts[bisect_left(EDGES_NS, edge)] += count
    return list(accumulate(counts))


def recorded(counts: Mapping[int, int]) -> Iterable[tuple[int, int]]:
    """The buckets of a `Histogram`'s counts."""
    return ((upper_edge(bucket) + 1, count) for bucket, count in counts.items())
