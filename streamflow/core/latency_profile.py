"""How long a batch of a given size takes on a device, as it was measured, and how large a batch may be until then.

Sizes fall into buckets: powers of two for a model that pads its batches, every size by itself for one that does
not. A bucket takes an upper quantile of its last `WINDOW` services: some slow ones (a page fault, a neighbour) do
not move it, a slower device does within a few batches. A larger batch is never said to take less than a smaller
one, so the figures are levelled upwards; a bucket that never ran is interpolated between its neighbours. Beyond the
largest that ran a batch is said to take no more than that: it is then worth a try, and one try tells. Alternative
not taken: more in proportion; no larger batch would ever promise more per unit of time, and none be tried.

Up to the largest size at which, or beyond which, `KNOWN_COUNT` batches ran, the size is free: a larger batch bounds
what a smaller one takes. Beyond it the limit grows by additive increase and multiplicative decrease (Clipper, NSDI
2017): one more for each good batch of the limit's size, a tenth less for each that was late.

An estimate that keeps its bucket from being run is never corrected by a service. So a bucket that has not run for
`STALE_COUNT` batches counts with the least it has taken, or as if it never ran; and while nothing at all is started,
every time halves each `STARVED_HALVING_NS`, as in `cost`. Alternative not taken: one straight line through all sizes;
real models are staircases, and one that switches kernels at a size is wrong everywhere by what it jumps there.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple

from streamflow.core.cost import STARVED_HALVING_NS

WINDOW: Final = 64
KNOWN_COUNT: Final = 50  # batches of a bucket until it is judged by them alone (GROUND §3.2)
QUANTILE: Final = 0.9  # six of the 64 may be slow by chance; the margin of the rule covers what is beyond
SOONEST_QUANTILE: Final = 0.1
STALE_COUNT: Final = 1000  # batches, some ten seconds of a busy device
DECREASE: Final = 0.9  # Clipper's
_JUDGED_EVERY: Final = 8  # services of a bucket between looks at its full window


class Level(NamedTuple):
    """The largest batch that takes `cost_ns`."""

    size: int
    cost_ns: int


class _Bucket:
    """One size of batches; `cost_ns` 0 until it ran."""

    __slots__ = ("_since_judged", "cost_ns", "count", "last_run", "least_ns", "recent", "soonest_ns")

    def __init__(self) -> None:
        self.recent: deque[int] = deque(maxlen=WINDOW)
        self.count = 0
        self.cost_ns = 0
        self.soonest_ns = 0
        self.least_ns = 0
        self.last_run = 0
        self._since_judged = 0

    def served(self, service_ns: int) -> bool:
        """Whether what the bucket is said to take may have changed."""
        self.recent.append(service_ns)
        self.count += 1
        self._since_judged += 1
        if len(self.recent) == WINDOW and self._since_judged < _JUDGED_EVERY:
            return False
        self._since_judged = 0
        ranked = sorted(self.recent)
        self.cost_ns = ranked[int(QUANTILE * (len(ranked) - 1))]
        self.soonest_ns = ranked[int(SOONEST_QUANTILE * (len(ranked) - 1))]
        if self.count >= KNOWN_COUNT:
            self.least_ns = min(self.least_ns or self.cost_ns, self.cost_ns)
        return True

    def forget(self) -> None:
        """What it took lately; the least it has taken stays."""
        self.recent.clear()
        self.cost_ns = self.least_ns


def powers_of_two(size_max: int) -> tuple[int, ...]:
    """1, 2, 4 and so on, and `size_max` itself."""
    return (*(1 << power for power in range((size_max - 1).bit_length())), size_max)


class LatencyProfile:
    """Of one model on one device.

    `buckets`: the sizes at which batches are told apart, ascending, the last the largest batch there is; a batch
    between two takes what the larger takes. `known_ns`: what a warm-up, or an earlier run, found for some of them.
    """

    def __init__(self, buckets: Sequence[int], known_ns: Mapping[int, int] | None = None) -> None:
        if not buckets or buckets[0] < 1 or list(buckets) != sorted(set(buckets)):
            raise ValueError(f"buckets {tuple(buckets)}: sizes of at least 1 expected, ascending, none twice")
        self.buckets = tuple(buckets)
        self._buckets = {size: _Bucket() for size in self.buckets}
        self._run_count = 0
        self._aimd_limit = 1.0
        self._starved_since_ns: int | None = None
        self._starved_ns = 0
        self.known_size = 0
        for size, cost_ns in (known_ns or {}).items():
            bucket = self._buckets[size]
            bucket.count, bucket.cost_ns, bucket.least_ns = KNOWN_COUNT, cost_ns, cost_ns
            bucket.soonest_ns = cost_ns
        self._judge()

    def served(self, size: int, service_ns: int, *, is_late: bool) -> None:
        """A batch of `size` ran; `is_late`: it took longer than its tightest item allowed."""
        if self._starved_ns >= STARVED_HALVING_NS // 2 and not is_late:
            for bucket in self._buckets.values():
                bucket.recent.clear()
        self._starved_since_ns, self._starved_ns = None, 0
        self._run_count += 1
        if is_late:
            self._aimd_limit = max(1.0, min(self._aimd_limit, self.size_limit) * DECREASE)
        elif size >= int(self._aimd_limit):
            self._aimd_limit = min(max(self._aimd_limit, size) + 1, self.buckets[-1])
        bucket = self._bucket_of(size)
        bucket.last_run = self._run_count
        if bucket.served(service_ns) or self._run_count % STALE_COUNT == 0:
            self._judge()

    def given_up(self, now_ns: int) -> None:
        """Something was not started because of these figures, and nothing else was."""
        if self._starved_since_ns is None:
            self._starved_since_ns = now_ns
        self._starved_ns = now_ns - self._starved_since_ns

    @property
    def is_known(self) -> bool:
        """Every size may be run: the largest ran often enough."""
        return self.known_size == self.buckets[-1]

    @property
    def size_limit(self) -> int:
        """The largest batch that may be run: what is known, or what AIMD allows beyond that."""
        return max(self.known_size, int(self._aimd_limit))

    def cost_ns(self, size: int, now_ns: int | None = None) -> int:
        """Of a batch of `size`, as it is known, or as it counts now; 0 while nothing is known. Raises ValueError."""
        if size > self.buckets[-1]:
            raise ValueError(
                f"a batch of {size}: the profile has none beyond {self.buckets[-1]}; add it to its buckets"
            )
        levels = self._levels if now_ns is None else self._eased(now_ns)
        return next(level.cost_ns for level in levels if size <= level.size)

    def soonest_ns(self, size: int) -> int:
        """As soon as a batch of `size` may be done, by what was seen of it or of a smaller one; 0 while nothing was."""
        seen = [bucket.soonest_ns for edge, bucket in self._buckets.items() if bucket.soonest_ns and edge <= size]
        own = self._bucket_of(size).soonest_ns
        return own or (seen[-1] if seen else 0)

    def levels(self, now_ns: int, size_max: int | None = None) -> tuple[Level, ...]:
        """Every different time a batch may take now, with the largest batch that takes it, ascending.

        No batch is larger than `size_max`, nor than `size_limit`.
        """
        limit = self.size_limit if size_max is None else min(self.size_limit, size_max)
        levels = self._eased(now_ns)
        if levels[-1].size <= limit:
            return levels
        first_beyond = next(index for index, level in enumerate(levels) if level.size >= limit)
        return (*levels[:first_beyond], Level(limit, levels[first_beyond].cost_ns))

    def _eased(self, now_ns: int) -> tuple[Level, ...]:
        if self._starved_since_ns is None:
            return self._levels
        halvings = min((now_ns - self._starved_since_ns) // STARVED_HALVING_NS, 40)
        return _distinct(Level(level.size, level.cost_ns >> halvings) for level in self._levels)

    def _bucket_of(self, size: int) -> _Bucket:
        return self._buckets[next((edge for edge in self.buckets if size <= edge), self.buckets[-1])]

    def _judge(self) -> None:
        """What is known of each bucket becomes what every size is said to take."""
        for bucket in self._buckets.values():
            if self._run_count - bucket.last_run >= STALE_COUNT and bucket.cost_ns > bucket.least_ns:
                bucket.forget()
        seen = [(size, bucket.cost_ns) for size, bucket in self._buckets.items() if bucket.cost_ns]
        levelled = _levelled(seen)
        self._levels = _distinct(Level(size, _interpolated(levelled, size)) for size in self.buckets)
        count, self.known_size = 0, 0
        for size in reversed(self.buckets):
            count += self._buckets[size].count
            if count >= KNOWN_COUNT:
                self.known_size = size
                break


def _levelled(costs: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """The same, never falling with the size."""
    highest, levelled = 0, []
    for size, cost_ns in costs:
        highest = max(highest, cost_ns)
        levelled.append((size, highest))
    return levelled


def _interpolated(costs: Sequence[tuple[int, int]], size: int) -> int:
    """At `size`, between what was seen on both sides of it; below the smallest, what that takes."""
    if not costs:
        return 0
    below = (0, 0)
    for edge, cost_ns in costs:
        if size <= edge:
            if below == (0, 0) or size == edge:
                return cost_ns
            share = (size - below[0]) / (edge - below[0])
            return below[1] + round(share * (cost_ns - below[1]))
        below = edge, cost_ns
    return below[1]


def _distinct(levels: Iterable[Level]) -> tuple[Level, ...]:
    """Of sizes that take the same, the largest."""
    kept: list[Level] = []
    for level in levels:
        if kept and kept[-1].cost_ns == level.cost_ns:
            kept.pop()
        kept.append(level)
    return tuple(kept)
