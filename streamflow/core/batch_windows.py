"""The batches that could start at one instant, one for each time a batch may take, and what each leaves undone.

For a start and a size the items to take are the first `size`, by deadline, of those that are still on time when the
batch ends: an earlier one can change places with a later one, which can wait for longer and has arrived as well. So
a batch is a window of the queue in order of deadlines, whether or not the deadlines differ between streams, and what
is before the window is over when the batch ends: it is given up early. (Moore and Hodgson's rule, to drop what keeps
the others from growing, finds the same sets.)

Of a stream whose state goes from one item to the next only the first is in the queue; when it is given up, the next
takes its place. Costs O(n log n + sizes) for n items of equal value; values add a sum over each window.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Collection, Hashable, Iterator, Sequence
from itertools import islice
from typing import Final, NamedTuple

from streamflow.core.deadline import Criticality
from streamflow.core.latency_profile import Level

MIXED_RATIO: Final = 1.5  # below it heads are seldom worth saving (25 and 30 ms: 1 % fewer in time if they are)


class Waiting(NamedTuple):
    """One datum that waits. Items come in the order in which they came; those of a stream by their numbers.

    `deadline_ns` is when its batch must have ended, the tail already taken off; 0: it has none, like all of its
    stream. `stream`: no batch has two items of one; None: no state is carried between this and any other.
    """

    deadline_ns: int
    arrival_ns: int
    stream: Hashable = None
    criticality: Criticality = Criticality.NORMAL
    value: float = 1


class Window(NamedTuple):
    """A batch that could start: `indexes` of what is in it, by deadline, and when it ends, margin included."""

    indexes: tuple[int, ...]
    level: Level
    end_ns: int
    value: float
    over_count: int
    """Of those that are first of their streams, how many are over when it ends."""

    @property
    def gain(self) -> float:
        """Value per unit of service time."""
        return self.value / max(self.level.cost_ns, 1)


_Heads = list[tuple[int, int]]  # (deadline, index), in order


class Queue:
    """The items of `members` that have a deadline, as they wait for a batch that would start at `start_ns`.

    `full_with`: only full batches start, which this many others could help to fill; None: batches of any size.
    """

    def __init__(
        self,
        waiting: Sequence[Waiting],
        members: Sequence[int],
        start_ns: int,
        levels: Sequence[Level],
        full_with: int | None = None,
    ) -> None:
        self.waiting = waiting
        self.levels = levels
        self.in_order: _Heads = sorted([(waiting[index].deadline_ns, index) for index in members])
        self._start_ns = start_ns
        self._full_with = full_with
        self._has_values = any(waiting[index].value != 1 for index in members)
        self._behind: dict[int, int] = {}  # of the same stream, the one that is next
        self._heads = self.in_order
        if any(waiting[index].stream is not None for index in members):
            last: dict[Hashable, int] = {}
            for index in members:
                stream = waiting[index].stream
                if stream is not None:
                    if stream in last:
                        self._behind[last[stream]] = index
                    last[stream] = index
            followers = set(self._behind.values())
            self._heads = [head for head in self.in_order if head[1] not in followers]
        self._together_max = min(levels[-1].size, len(self._heads))

    def restricted(self, members: Collection[int]) -> Queue:
        """The same instant with these only; the others may help to fill a batch that must be full."""
        full_with = self._full_with
        if full_with is not None:
            full_with += len(self.in_order) - len(members)
        return Queue(self.waiting, sorted(members), self._start_ns, self.levels, full_with)

    def among(self, members: Collection[int]) -> list[tuple[int, int]]:
        """(deadline, index) of those of the items, in order."""
        return [head for head in self.in_order if head[1] in members]

    def windows(self, place_count: int = 0) -> list[Window]:
        """One for each level that lets more into a batch than the one before; `place_count` places stay free."""
        return [
            self._window(heads[first : first + level.size - place_count], level, end_ns, first)
            for level, end_ns, heads, first in self._at_each(place_count)
        ]

    def windows_preferring(self, preferred: Collection[int], place_count: int = 0) -> list[Window]:
        """The same, with as many of the `preferred` in each as there is room for."""
        windows = []
        for level, end_ns, heads, first in self._at_each(place_count):
            room, eligible = level.size - place_count, heads[first:]
            chosen = [head for head in eligible if head[1] in preferred][:room]
            chosen += islice((head for head in eligible if head[1] not in preferred), room - len(chosen))
            windows.append(self._window(sorted(chosen), level, end_ns, first))
        return windows

    def filled(self, window: Window, place_count: int = 0) -> Window | None:
        """A window of only some of the items, with what fits into the places that cost nothing; None: not full."""
        windows = self.windows_preferring(window.indexes, place_count)
        return next((filled for filled in windows if filled.level == window.level), None)

    @property
    def is_mixed(self) -> bool:
        """Some have much longer than others from their arrival to their deadline."""
        spans = [self.waiting[index].deadline_ns - self.waiting[index].arrival_ns for _, index in self.in_order]
        return max(spans) >= MIXED_RATIO * min(spans)

    def lost_after(self, window: Window, *, spare_ns: int = 0) -> float:
        """The value of the items that miss if the window is what runs next.

        Those that are left are taken to go in batches as large as there are, one right after the other, and miss
        if they do not end `spare_ns` before they must.
        """
        in_order, first = self.in_order, window.over_count
        past = first + len(window.indexes)
        is_in_a_row = not self._behind and in_order[past - 1 : past] == self._heads_of(window.indexes[-1:])
        if not is_in_a_row:
            chosen = set(window.indexes)
            in_order = [head for head in in_order if head[1] not in chosen]
            first = past = bisect_left(in_order, (window.end_ns,))
        lost, end_ns = self._value(in_order, 0, first), window.end_ns
        while past < len(in_order):
            behind = min(past + self._together_max, len(in_order))
            end_ns += self._cost_ns(behind - past)
            lost += self._value(in_order, past, bisect_left(in_order, (end_ns + spare_ns,), past, behind))
            past = behind
        return lost

    def lost_count_after(self, window: Window, heads: Sequence[tuple[int, int]]) -> tuple[int, int]:
        """How many of some items miss if they alone run after the window, and how many are over when it ends."""
        chosen, end_ns = set(window.indexes), window.end_ns
        left = [head for head in heads if head[1] not in chosen]
        over_count = lost = bisect_left(left, (end_ns,))
        left = left[lost:]
        while left:
            batch, left = self._next_batch(left)
            end_ns += self._cost_ns(len(batch))
            lost += bisect_left(batch, (end_ns,))
        return lost, over_count

    def _heads_of(self, indexes: Sequence[int]) -> _Heads:
        return [(self.waiting[index].deadline_ns, index) for index in indexes]

    def _value(self, heads: _Heads, first: int, past: int) -> float:
        return sum([self.waiting[index].value for _, index in heads[first:past]]) if self._has_values else past - first

    def _cost_ns(self, size: int) -> int:
        return self.levels[bisect_left(self.levels, (size,))].cost_ns

    def _next_batch(self, left: _Heads) -> tuple[_Heads, _Heads]:
        size_max = self.levels[-1].size
        if not self._behind:
            return left[:size_max], left[size_max:]
        batch: _Heads = []
        later: _Heads = []
        taken: set[Hashable] = set()
        for head in left:
            stream = self.waiting[head[1]].stream
            if len(batch) < size_max and stream not in taken:
                batch.append(head)
                if stream is not None:
                    taken.add(stream)
            else:
                later.append(head)
        return batch, later

    def _at_each(self, place_count: int) -> Iterator[tuple[Level, int, _Heads, int]]:
        """A level, when it ends, and the heads: as many as the last number says are over then."""
        heads, first, size_before = self._heads.copy(), 0, 0
        for level in self.levels:
            end_ns = self._start_ns + level.cost_ns
            if not self._behind:
                first = bisect_left(heads, (end_ns,), first)
            while first < len(heads) and heads[first][0] < end_ns:
                behind = self._behind.get(heads[first][1])
                while behind is not None and self.waiting[behind].deadline_ns < end_ns:
                    behind = self._behind.get(behind)
                first += 1
                if behind is not None:
                    insort(heads, (self.waiting[behind].deadline_ns, behind), first)
            if len(heads) - first <= size_before:
                return  # as many fitted into a batch that takes less
            size_before = level.size - place_count
            if self._full_with is None or len(heads) - first + self._full_with >= level.size:
                yield level, end_ns, heads, first

    def _window(self, heads: _Heads, level: Level, end_ns: int, over_count: int) -> Window:
        indexes = tuple([index for _, index in heads])
        return Window(indexes, level, end_ns, self._value(heads, 0, len(heads)), over_count)
