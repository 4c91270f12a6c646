"""What a user declares of a stage that works on several data at once; `batching` decides by it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from streamflow.core.batching import PATIENCE_NS, BatchRule, Fill, Timing
from streamflow.core.latency_profile import LatencyProfile, powers_of_two

SIZE_LIMIT: Final = 4096  # a batch of more is a job, not a reaction
QUEUE_SIZE_LIMIT: Final = 65_536
QUEUE_BATCHES: Final = 4  # of data that wait: in overload a batch is chosen from what came in some two services
EACH_SIZE_LIMIT: Final = 64  # up to here every size is known by itself; a decision looks at all that are told apart


@dataclass(frozen=True)
class Batch:
    """How a stage with `process_batch` is handed its data, as in `p.add("infer", Net(), batch=Batch(16))`.

    `size_max`: the largest batch there may be; 1 is no batch. `fill`: up to that many, or always exactly so many.
    `timing`: at once when the stage is free, or as late as it may, for a device that others share. `patience` (ns):
    for so long a datum without a deadline waits before it is given a place in every batch. `queue_size`: so many data
    wait here at most, out of reach of the edge's policy; by default four batches. `buckets`: the sizes that the model
    pads its batches to, ascending, the last `size_max`; by default it pads none. `known`: what a batch of a size takes
    (ns), where that was measured before; until it is known by the stage itself, batches grow as long as they are on
    time.
    """

    size_max: int = 32
    fill: Fill = Fill.UP_TO
    timing: Timing = Timing.EAGER
    patience: int = PATIENCE_NS
    queue_size: int | None = None
    buckets: tuple[int, ...] | None = None
    known: Mapping[int, int] | None = None

    @property
    def queue_limit(self) -> int:
        """How many data may wait."""
        return QUEUE_BATCHES * self.size_max if self.queue_size is None else self.queue_size

    def rule(self, margin_ns: int) -> BatchRule:
        return BatchRule(self.size_max, self.fill, self.timing, margin_ns, patience_ns=self.patience)

    def profile(self) -> LatencyProfile:
        return LatencyProfile(self._sizes(), self.known)

    def _sizes(self) -> tuple[int, ...]:
        if self.fill is Fill.FULL:
            return (self.size_max,)
        if self.buckets is not None:
            return self.buckets
        return tuple(range(1, self.size_max + 1)) if self.size_max <= EACH_SIZE_LIMIT else powers_of_two(self.size_max)

    def faults(self) -> Iterator[tuple[str, str, str]]:
        """What is wrong with the settings: found, expected, hint."""
        if not _is_count(self.size_max, SIZE_LIMIT):
            yield f"size_max {self.size_max!r}", f"a whole number, 1 to {SIZE_LIMIT:,}", ""
            return
        if not isinstance(self.fill, Fill):
            yield f"fill {self.fill!r}", ", ".join(f"Fill.{one.name}" for one in Fill), ""
            return
        if not isinstance(self.timing, Timing):
            yield f"timing {self.timing!r}", ", ".join(f"Timing.{one.name}" for one in Timing), ""
        if not _is_count(self.patience):
            yield f"patience {self.patience!r}", "whole nanoseconds, more than 0", "as in patience=100 * ms"
        if self.queue_size is not None and not self.size_max <= _count(self.queue_size) <= QUEUE_SIZE_LIMIT:
            expected = f"a whole number, {self.size_max:,} (size_max) to {QUEUE_SIZE_LIMIT:,}"
            yield f"queue_size {self.queue_size!r}", expected, "a batch is chosen from what waits"
        if self.buckets is not None and not self._has_buckets():
            yield f"buckets {self.buckets!r}", f"sizes of at least 1, ascending, the last {self.size_max}", ""
        elif self.known is not None and not self._knows():
            sizes = ", ".join(map(str, self._sizes()[:4])) + (", ..." if len(self._sizes()) > 4 else "")
            yield f"known {self.known!r}", f"nanoseconds by size, each one of {sizes}", "as in known={8: 4 * ms}"

    def _has_buckets(self) -> bool:
        buckets = self.buckets
        return (
            isinstance(buckets, tuple)
            and bool(buckets)
            and all(_is_count(size) for size in buckets)
            and list(buckets) == sorted(set(buckets))
            and buckets[-1] == self.size_max
        )

    def _knows(self) -> bool:
        sizes = set(self._sizes())
        return isinstance(self.known, Mapping) and all(
            size in sizes and _is_count(cost_ns) for size, cost_ns in self.known.items()
        )


def _count(value: object) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) else 0


def _is_count(value: object, limit: int | None = None) -> bool:
    return _count(value) >= 1 and (limit is None or _count(value) <= limit)
