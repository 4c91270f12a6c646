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
from typing import NamedTuple

from streamflow.core.deadline import Criticality
from streamflow.core.latency_profile import Level


class Waiting(NamedTuple):
    """One datum that waits. Items come in the order in which they came; those of a stream by their numbers.

    `deadline_ns` is when its batch must have ended, the tail already taken off; 0: it has none, like all of its
    stream. `stream`: no batch has two items of one; None: no state is carried between this and any other.
    """

    deadline_ns: int
    arrival_ns: int = 0
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

    def restricted(self, members: Collection[int]) -> Queue:
        """The same instant with these only; the others may help to fill a batch that must be full."""
        full_with = self._full_with
        if full_with is not None:
            full_with += len(self.in_order) - len(members)
        return Queue(self.waiting, sorted(members), self._start_ns, self.levels, full_with)

    def over_count(self, window: Window, among: Collection[int]) -> int:
        """How many of the items `among` are over when the window ends, and not in it."""
        over = bisect_left(self.in_order, (window.end_ns,))
        return sum(index in among for _, index in self.in_order[:over])

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
            room = level.size - place_count
            chosen = [head for head in heads[first:] if head[1] in preferred][:room]
            others = [head for head in heads[first:] if head[1] not in preferred][: room - len(chosen)]
            windows.append(self._window(sorted(chosen + others), level, end_ns, first))
        return windows

    def filled(self, window: Window, place_count: int = 0) -> Window | None:
        """The window with what fits into the places that cost nothing; None where it is not full and should be."""
        chosen = set(window.indexes)
        taken = {self.waiting[index].stream for index in chosen} - {None}
        heads = [head for head in self.in_order if head[1] in chosen]
        for head in self.in_order:
            stream = self.waiting[head[1]].stream
            if len(heads) == window.level.size - place_count:
                break
            if head[0] >= window.end_ns and head[1] not in chosen and stream not in taken:
                heads.append(head)
                if stream is not None:
                    taken.add(stream)
        if self._full_with is not None and len(heads) + self._full_with < window.level.size:
            return None
        return self._window(sorted(heads), window.level, window.end_ns, window.over_count)

    def lost_after(self, window: Window, limit: int, *, among: Collection[int] | None = None, spare_ns: int = 0) -> int:
        """How many of the items `among` miss if the window is what runs next; counting ends beyond `limit`.

        Those that are left are taken to go in batches as large as there are, one right after the other, and miss
        if they do not end `spare_ns` before they must.
        """
        chosen, end_ns, lost = set(window.indexes), window.end_ns, 0
        left = [head for head in self.in_order if head[1] not in chosen and (among is None or head[1] in among)]
        while left and lost <= limit:
            batch, left = self._next_batch(left)
            end_ns += next(level.cost_ns for level in self.levels if len(batch) <= level.size)
            lost += bisect_left(batch, (end_ns + spare_ns,))
        return lost

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
        value = sum([self.waiting[index].value for index in indexes]) if self._has_values else len(indexes)
        return Window(indexes, level, end_ns, value, over_count)
