"""A bounded queue with a named overflow policy; every datum is taken, dropped with a reason, or held.

Law: offered = taken + held + sum(dropped), order is kept (or is by deadline), and depth never exceeds the
capacity. `BLOCK` refuses what does not fit: the sender keeps it and asks again, so it is not counted here.
It is an outbox whose receiver takes straight from it.
"""

from __future__ import annotations

from collections import Counter
from typing import Generic, TypeVar

from streamflow.core.outbox import Outbox, Transmit
from streamflow.core.overflow import Overflow
from streamflow.core.trace import Preference, SenderTrace

T = TypeVar("T")


class Mailbox(Generic[T]):
    """The queue of an edge whose two ends are in one process."""

    def __init__(
        self,
        overflow: Overflow,
        capacity: int,
        preference: Preference[T] | None = None,
        trace: SenderTrace[T] | None = None,
    ) -> None:
        self._outbox: Outbox[T] = Outbox(overflow, capacity, preference, trace)

    def __len__(self) -> int:
        return self._outbox.held_count

    @property
    def offered_count(self) -> int:
        return self._outbox.offered_count

    @property
    def taken_count(self) -> int:
        return self._outbox.transmitted_count

    @property
    def dropped(self) -> Counter[str]:
        return self._outbox.dropped

    @property
    def depth_peak(self) -> int:
        return self._outbox.depth_peak

    @property
    def has_room(self) -> bool:
        """Whether the next offer is accepted; only `BLOCK` ever has no room."""
        return self._outbox.has_room

    def offer(self, item: T) -> bool:
        """Put `item` under the policy; False when a full `BLOCK` mailbox refuses it."""
        return self._outbox.offer(item)

    def peek(self) -> T | None:
        """The item that would be served next, or None."""
        return self._outbox.next_item()

    def last(self) -> T | None:
        """The item that would be served last; None also where that is not the newest."""
        return self._outbox.last_item()

    def take(self) -> T | None:
        """The item that is served next, or None."""
        if not self._outbox.held_count:
            return None
        self._outbox.credit(1)  # what is served leaves at once, and is done with
        (transmit,) = self._outbox.actions()
        assert isinstance(transmit, Transmit)
        self._outbox.credit(0, frozenset((transmit.number,)))
        item: T = transmit.item
        return item
