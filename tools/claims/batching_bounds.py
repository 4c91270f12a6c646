"""What no rule for batches can beat: a dynamic programme over instants of 0.5 ms that knows all arrivals.

Arrivals and deadlines are moved to the instant before. A schedule of the real ones, its starts moved likewise, is a
schedule of these, because every batch takes a whole number of instants: the bound is at least the optimum, and
higher by what half a millisecond is worth.

With one deadline the items a batch of a given size should take are the earliest that are not over when it ends (the
argument of `streamflow.core.batch_windows`), so a state is an instant and how many items are over or done.

With three deadlines a state is such a number for the two tighter ones. Items of the longest may be served at any
time, each at a price, and the price of all of them is given back (Lagrange's relaxation, a bound at any price; the
least over some prices is taken). So it allows more than any schedule can do, and what is short of it need not be
the rule's fault.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from streamflow.core.timebase import us
from tools.claims.batching_simulation import COST_NS, SIZE_MAX, Arrival

GRID_NS = 500 * us
COSTS = np.array([cost_ns // GRID_NS for cost_ns in COST_NS])
COST_MAX = int(COSTS[-1])
PRICES = np.linspace(0.0, 1.0, 11)
NEVER = 1 << 40

_Indexes = npt.NDArray[np.int64]
_Values = npt.NDArray[np.float64]


def bound_of_one(arriving: Sequence[Arrival], within_ns: int) -> float:
    """No schedule has a larger share in time, where every deadline is `within_ns` after arrival."""
    at = np.array([item.at_ns // GRID_NS for item in arriving])
    end = int(at[-1]) + within_ns // GRID_NS + 1
    instants = np.arange(end + COST_MAX + 2)
    over = np.searchsorted(at + within_ns // GRID_NS, instants)  # at an instant, how many must have ended before
    arrived = np.searchsorted(at, instants, "right")
    width = int((arrived - over).max()) + 1
    # Of the instants ahead: the most that can be in time from there, by how many items beyond `over` are done.
    ahead = np.zeros((COST_MAX + 1, width), dtype=np.int64)
    sizes = np.arange(1, SIZE_MAX + 1)[:, None]
    for instant in range(end, -1, -1):
        done = np.arange(over[instant], arrived[instant] + 1)
        rest = instant + 1
        best = ahead[rest % len(ahead), np.maximum(done - over[rest], 0)]
        size = sizes[: len(done) - 1]
        ends = instant + COSTS[1 : len(size) + 1, None]
        after = np.maximum(done, over[ends]) + size
        places = np.minimum(after - over[ends], width - 1)
        most = np.where(after <= arrived[instant], size + ahead[ends % len(ahead), places], 0)
        ahead[instant % len(ahead), : len(done)] = np.maximum(best, most.max(axis=0, initial=0))
    return float(ahead[0, 0]) / len(arriving)


def bound_of_three(arriving: Sequence[Arrival], within_ns: Sequence[int]) -> float:
    """No schedule has a larger share in time, where deadlines are one of three times after arrival."""
    tight, middle, _ = sorted(span_ns // GRID_NS for span_ns in within_ns)
    shortest_ns, middle_ns, longest_ns = sorted(within_ns)
    first = _Class([item for item in arriving if item.deadline_ns - item.at_ns == shortest_ns], int(tight))
    second = _Class([item for item in arriving if item.deadline_ns - item.at_ns == middle_ns], int(middle))
    third_count = sum(item.deadline_ns - item.at_ns == longest_ns for item in arriving)
    ahead: dict[int, _Values] = {}
    worth = 1 - PRICES  # of one of the longest deadline

    def later(instant: int, done: _Indexes, done_too: _Indexes) -> _Values:
        known = ahead.get(instant)
        if known is None:
            return np.zeros((*done.shape, len(PRICES)))
        rows = np.clip(done - first.over(instant), 0, known.shape[0] - 1)
        columns = np.clip(done_too - second.over(instant), 0, known.shape[1] - 1)
        return known[rows, columns]

    for instant in range(arriving[-1].at_ns // GRID_NS + int(middle), -1, -1):
        done, done_too = np.meshgrid(first.waiting(instant), second.waiting(instant), indexing="ij")
        best = later(instant + 1, done, done_too)
        for size in range(1, SIZE_MAX + 1):
            ends = instant + int(COSTS[size])
            after, after_too = first.without_over(done, instant, ends), second.without_over(done_too, instant, ends)
            available = first.arrived(instant) - after + second.arrived(instant) - after_too
            after, after_too = _taken(first, second, after, after_too, instant, size)
            left = first.arrived(instant) - after + second.arrived(instant) - after_too
            taken = (available - left)[..., None]
            best = np.maximum(best, taken + (size - taken) * worth + later(ends, after, after_too))
        ahead[instant] = best
        ahead.pop(instant + COST_MAX + 2, None)
    return float((ahead[0][0, 0] + PRICES * third_count).min()) / len(arriving)


class _Class:
    """Arrivals with the same time to their deadlines, as numbers from 0 in order of arrival."""

    def __init__(self, arriving: Sequence[Arrival], within: int) -> None:
        at = np.array([item.at_ns // GRID_NS for item in arriving], dtype=np.int64)
        instants = np.arange((int(at[-1]) if len(at) else 0) + within + 2)
        self._over = np.searchsorted(at + within, instants)
        self._arrived = np.searchsorted(at, instants, "right")
        self.deadlines = np.append(at + within, NEVER)

    def over(self, instant: int) -> int:
        """How many must have ended before."""
        return int(self._over[min(instant, len(self._over) - 1)])

    def arrived(self, instant: int) -> int:
        return int(self._arrived[min(instant, len(self._arrived) - 1)])

    def waiting(self, instant: int) -> _Indexes:
        """How many may be over or done then: all that must, up to all that are there."""
        return np.arange(self.over(instant), self.arrived(instant) + 1)

    def without_over(self, done: _Indexes, instant: int, ends: int) -> _Indexes:
        return np.minimum(np.maximum(done, self.over(ends)), self.arrived(instant))


def _taken(
    first: _Class, second: _Class, done: _Indexes, done_too: _Indexes, instant: int, size: int
) -> tuple[_Indexes, _Indexes]:
    """After a batch of `size` by deadline, of what is there; fewer where there are fewer."""
    arrived, arrived_too = first.arrived(instant), second.arrived(instant)
    if size >= int((arrived - done + arrived_too - done_too).max()):
        return np.full_like(done, arrived), np.full_like(done_too, arrived_too)
    for _ in range(size):
        is_first = first.deadlines[done] <= second.deadlines[done_too]
        is_first = (is_first | (done_too == arrived_too)) & (done < arrived)
        is_second = ~is_first & (done_too < arrived_too)
        done, done_too = done + is_first, done_too + is_second
    return done, done_too
