"""The receiving end of an edge as a bounded queue: `core.credit` has its laws."""

from __future__ import annotations

from collections import Counter, deque
from typing import Generic, TypeVar

from streamflow.core.credit import FORMER_LIFE, window_of
from streamflow.core.deadline import Order
from streamflow.core.overflow import Overflow
from streamflow.core.trace import Preference, ReceiverTrace

T = TypeVar("T")


class Inbox(Generic[T]):
    """The receiving end: serves, obeys revocations, returns credits."""

    def __init__(
        self,
        overflow: Overflow,
        capacity: int,
        preference: Preference[T] | None = None,
        trace: ReceiverTrace[T] | None = None,
        *,
        keeps: bool = False,
    ) -> None:
        preference = preference or Preference()
        self.keeps = keeps
        self.window = window_of(overflow, capacity)
        self.received_count = 0
        self.taken_count = 0
        self.dropped: Counter[str] = Counter()
        self.depth_peak = 0
        self._reason = overflow.value
        self._deadline_of = preference.deadline_of if preference.order is Order.EDF else None
        self._trace: ReceiverTrace[T] = trace or ReceiverTrace()
        self._items: deque[tuple[int, T]] = deque()
        self._next_number = 0
        self._former_count = 0  # of the items, those of a former life of the edge; always in front
        self._granted_count = 0  # credits that are out, or were used, in this life
        self._credits_due = 0
        self._numbers_due: set[int] = set()
        self._undone: list[int] = []  # taken, and not done, where the sender keeps them until then

    def __len__(self) -> int:
        return len(self._items)

    @property
    def undone_count(self) -> int:
        """Data that were taken and are not done; 0 where the sender does not ask."""
        return len(self._undone)

    @property
    def arrived_count(self) -> int:
        """Data received in this life of the edge."""
        return self._next_number

    def arrive(self, number: int, item: T) -> bool:
        """Keep what arrived; False when the sender broke its promise (a gap, or more than its credits)."""
        if number != self._next_number or len(self._items) - self._former_count >= self.window:
            return False
        self._next_number += 1
        self.received_count += 1
        self._items.append((number, item))
        depth = len(self._items)
        if depth > self.depth_peak:
            self.depth_peak = depth
        self._trace.arrived(item, depth)
        return True

    def passes(self) -> bool:
        """Whether what comes next would be served at once: nothing waits here, of this life or of a former one."""
        return not self._items

    def pass_on(self, number: int, item: T) -> bool:
        """`arrive` and `take` in one, where it `passes`; False as `arrive` says it."""
        if number != self._next_number:
            return False
        self._next_number = number + 1
        self.received_count += 1
        self.taken_count += 1
        if not self.depth_peak:
            self.depth_peak = 1
        self._trace.passed(item, number)
        self._credits_due += 1
        return True

    def revoke(self, number: int) -> None:
        """Drop everything of this life up to `number` that was not served yet."""
        for entry in [entry for entry in self._items if 0 <= entry[0] <= number]:
            self._items.remove(entry)
            self.dropped[self._reason] += 1
            self._trace.dropped(entry[1], entry[0], len(self._items))
            self._return(entry[0])

    def peek(self) -> T | None:
        """The datum that would be served next, or None."""
        return self._items[self._next_index()][1] if self._items else None

    def last(self) -> T | None:
        """The datum that would be served last of those that wait; None also where that is not the newest."""
        return self._items[-1][1] if self._items and self._deadline_of is None else None

    def take(self) -> T | None:
        """The datum that is served next, or None."""
        if not self._items:
            return None
        if self._deadline_of is None:
            number, item = self._items.popleft()
        else:
            index = self._next_index()
            number, item = self._items[index]
            del self._items[index]
        self.taken_count += 1
        self._trace.taken(item, number, len(self._items))
        if self.keeps:
            self._undone.append(number)
            self._former_count -= number == FORMER_LIFE
        else:
            self._return(number)
        return item

    def done(self) -> None:
        """All that was taken is done: what its sender keeps of it may go."""
        for number in self._undone:
            if number != FORMER_LIFE:
                self._return(number)
        self._undone.clear()

    def discard_former(self) -> int:
        """What waits from a former life of the sender will be sent again: how many there were."""
        count = self._former_count
        for _ in range(count):
            _, item = self._items.popleft()
            self.received_count -= 1
            self._trace.discarded(item, len(self._items))
        self._former_count = 0
        return count

    def _next_index(self) -> int:
        if self._deadline_of is None or len(self._items) == 1:
            return 0
        deadline_of = self._deadline_of
        return min(range(len(self._items)), key=lambda index: deadline_of(self._items[index][1]))

    def _return(self, number: int) -> None:
        if number == FORMER_LIFE:
            self._former_count -= 1
            return
        self._credits_due += 1
        if self._deadline_of is not None or self.keeps:
            self._numbers_due.add(number)

    def owes_credits(self) -> bool:
        """Whether `grants_due` or `credits_to_return` would give any."""
        return self._credits_due * 2 >= self.window or self._granted_count != self.window - self._former_count

    def grants_due(self) -> int:
        """Credits to give beside those that are returned: a window at first, less what waits from a former life.

        So both lives together have no more than a window here, however often the sender is started again.
        """
        granted = max(self.window - self._former_count, 0)
        more, self._granted_count = granted - self._granted_count, granted
        return more

    def credits_to_return(self) -> int:
        """Credits to send back now, half a window together: one packet for several. They count as sent."""
        if self._credits_due * 2 < self.window:
            return 0
        due, self._credits_due = self._credits_due, 0
        return due

    def numbers_to_return(self) -> frozenset[int]:
        """For which data the credits are that were just returned, where they are not for the oldest."""
        numbers, self._numbers_due = frozenset(self._numbers_due), set()
        return numbers

    def reattach(self) -> None:
        """The sender is another from now on; what has arrived stays and is served first."""
        for number, item in self._items:
            if number != FORMER_LIFE:
                self._trace.kept(item, number)
        self._items = deque((FORMER_LIFE, item) for _, item in self._items)
        self._undone = [FORMER_LIFE] * len(self._undone)
        self._former_count = len(self._items)
        self._next_number = self._credits_due = self._granted_count = 0
        self._numbers_due.clear()
