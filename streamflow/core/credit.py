"""Both ends of an edge between processes, as one bounded queue: who may send, what is dropped, and where.

While user code runs, its process reads nothing, so what was sent waits on the wire and the receiver cannot
apply a policy. The sender therefore decides for both sides. It holds what has no credit; it may have at most
`window` data out; and when the policy wants a datum gone that is already out, it *revokes* it: the receiver
reads everything that arrived before it serves the next, so a revoked datum is dropped there, counted there,
and its credit comes back. If the receiver had already served it, the revocation changes nothing.

Laws: data out without credit ≤ window; data out and not revoked + held ≤ capacity;
offered = transmitted + held + dropped here; transmitted = served + dropped there + on the wire.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

from streamflow.core.overflow import Overflow

T = TypeVar("T")

# A dropping edge keeps the rest where it can still be dropped without sending it. Two: one served, one ready.
DROPPING_WINDOW = 2


def window_of(overflow: Overflow, capacity: int) -> int:
    """How many data may be out without credit. A blocking edge loses nothing by sending all it may."""
    return capacity if overflow is Overflow.BLOCK else min(capacity, DROPPING_WINDOW)


@dataclass(frozen=True, slots=True)
class Transmit(Generic[T]):
    """Send this datum now; `number` counts the edge's transmitted data from 0."""

    number: int
    item: T


@dataclass(frozen=True, slots=True)
class Revoke:
    """Tell the receiver to drop every datum up to and including `number` that it has not served."""

    number: int


class Outbox(Generic[T]):
    """The sending end: holds, transmits, revokes, drops."""

    def __init__(self, overflow: Overflow, capacity: int) -> None:
        self.overflow = overflow
        self.capacity = capacity
        self.window = window_of(overflow, capacity)
        self.offered_count = 0
        self.transmitted_count = 0
        self.dropped: Counter[str] = Counter()
        self.depth_peak = 0
        self._held: deque[T] = deque()
        self._credit_count = 0
        self._out_count = 0
        self._revoked_count = 0  # of those out; always the oldest
        self._revocation_due = False

    @property
    def held_count(self) -> int:
        return len(self._held)

    @property
    def out_count(self) -> int:
        return self._out_count

    @property
    def depth(self) -> int:
        """Data on both sides that may still be served, as far as the sender knows."""
        return self._out_count - self._revoked_count + len(self._held)

    @property
    def has_room(self) -> bool:
        return self.overflow is not Overflow.BLOCK or self.depth < self.capacity

    @property
    def transmits_at_once(self) -> bool:
        return self._credit_count > 0 and not self._held

    def offer(self, item: T) -> bool:
        """Put `item` under the policy; False when a full `BLOCK` edge refuses it."""
        if not self.has_room:
            return False
        self.offered_count += 1
        if self.overflow is Overflow.LATEST:
            self._make_room(self.depth)
        elif self.depth >= self.capacity:
            if self.overflow is Overflow.DROP_NEWEST:
                self.dropped[self.overflow.value] += 1
                return True
            self._make_room(1)
        self._held.append(item)
        # Only what has no credit waits here: what is out may long be served, its credit still to come.
        self.depth_peak = max(self.depth_peak, len(self._held) - self._credit_count)
        return True

    def _make_room(self, count: int) -> None:
        """Drop the `count` oldest of both sides."""
        revocable = min(count, self._out_count - self._revoked_count)
        if revocable:
            self._revoked_count += revocable
            self._revocation_due = True
        for _ in range(count - revocable):
            self._held.popleft()
            self.dropped[self.overflow.value] += 1

    def credit(self, count: int) -> None:
        """The receiver has done with `count` more data (or welcomes us with its window)."""
        returned = min(count, self._out_count)
        self._out_count -= returned
        self._revoked_count = max(0, self._revoked_count - returned)
        self._credit_count += count

    def actions(self) -> Iterator[Transmit[T] | Revoke]:
        """What to send now, in order; a revocation precedes what made it necessary."""
        if self._revocation_due:
            self._revocation_due = False
            if self._revoked_count:
                yield Revoke(self.transmitted_count - self._out_count + self._revoked_count - 1)
        while self._held and self._credit_count:
            self._credit_count -= 1
            self._out_count += 1
            number = self.transmitted_count
            self.transmitted_count += 1
            yield Transmit(number, self._held.popleft())


class Inbox(Generic[T]):
    """The receiving end: serves in order, obeys revocations, returns credits."""

    def __init__(self, overflow: Overflow, capacity: int) -> None:
        self.window = window_of(overflow, capacity)
        self.received_count = 0
        self.taken_count = 0
        self.dropped: Counter[str] = Counter()
        self.depth_peak = 0
        self._reason = overflow.value
        self._items: deque[tuple[int, T]] = deque()
        self._credits_due = 0

    def __len__(self) -> int:
        return len(self._items)

    def arrive(self, number: int, item: T) -> bool:
        """Keep what arrived; False when the sender broke its promise (a gap, or more than its credits)."""
        if number != self.received_count or len(self._items) >= self.window:
            return False
        self.received_count += 1
        self._items.append((number, item))
        self.depth_peak = max(self.depth_peak, len(self._items))
        return True

    def revoke(self, number: int) -> None:
        """Drop everything up to `number` that was not served yet."""
        while self._items and self._items[0][0] <= number:
            self._items.popleft()
            self.dropped[self._reason] += 1
            self._credits_due += 1

    def take(self) -> T | None:
        """The datum that is served next, or None."""
        if not self._items:
            return None
        self.taken_count += 1
        self._credits_due += 1
        return self._items.popleft()[1]

    def credits_to_return(self) -> int:
        """Credits to send back now, half a window together: one packet for several. They count as sent."""
        if self._credits_due * 2 < self.window:
            return 0
        due, self._credits_due = self._credits_due, 0
        return due
