"""A bounded queue with a named overflow policy; every datum is taken, dropped with a reason, or held.

Law: offered = taken + held + sum(dropped), order is kept, and depth never exceeds the capacity.
`BLOCK` refuses what does not fit: the sender keeps it and asks again, so it is not counted here.
"""

from __future__ import annotations

from collections import Counter, deque
from typing import Generic, TypeVar

from streamflow.core.overflow import Overflow

T = TypeVar("T")


class Mailbox(Generic[T]):
    """The queue of an edge whose two ends are in one process."""

    def __init__(self, overflow: Overflow, capacity: int) -> None:
        self.overflow = overflow
        self.capacity = capacity
        self.offered_count = 0
        self.taken_count = 0
        self.dropped: Counter[str] = Counter()
        self.depth_peak = 0
        self._items: deque[T] = deque()

    def __len__(self) -> int:
        return len(self._items)

    @property
    def has_room(self) -> bool:
        """Whether the next offer is accepted; only `BLOCK` ever has no room."""
        return self.overflow is not Overflow.BLOCK or len(self._items) < self.capacity

    def offer(self, item: T) -> bool:
        """Put `item` under the policy; False when a full `BLOCK` mailbox refuses it."""
        if not self.has_room:
            return False
        self.offered_count += 1
        if self.overflow is Overflow.LATEST:
            self._drop_held(len(self._items))
        elif len(self._items) == self.capacity:
            if self.overflow is Overflow.DROP_NEWEST:
                self.dropped[self.overflow.value] += 1
                return True
            self._drop_held(1)
        self._items.append(item)
        self.depth_peak = max(self.depth_peak, len(self._items))
        return True

    def take(self) -> T | None:
        """The item that is served next, or None."""
        if not self._items:
            return None
        self.taken_count += 1
        return self._items.popleft()

    def _drop_held(self, count: int) -> None:
        for _ in range(count):
            self._items.popleft()
            self.dropped[self.overflow.value] += 1
