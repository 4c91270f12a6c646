"""What the ends of an edge tell whoever keeps its account: the flight recorder, or nobody.

The account must be right at every instant, since a process may die between any two steps: `accepted` comes
before the datum can leave, `released` after it is gone for good.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from streamflow.core.deadline import Order

T = TypeVar("T")


class SenderTrace(Generic[T]):
    """Told by the sending end; by itself it forgets everything."""

    def accepted(self, item: T) -> int:
        """The datum waits to be sent; returns the slot by which it is known from now on."""
        return 0

    def transmitted(self, slot: int, number: int) -> None:
        """It was sent as `number` of this life of the edge."""

    def left(self, item: T, number: int) -> int:
        """`accepted` and `transmitted` in one."""
        slot = self.accepted(item)
        self.transmitted(slot, number)
        return slot

    def released(self, slot: int) -> None:
        """The receiver is done with it."""

    def returned(self, item: T, slot: int) -> T:
        """It was sent, and its receiver died before it was done with it: it waits again. What to send then."""
        return item

    def dropped(self, item: T, slot: int | None) -> None:
        """The policy gave it up; without a slot it was never accepted."""

    def peaked(self, depth: int) -> None:
        """More wait here than ever before."""

    def lost(self, item: T, slot: int | None) -> None:
        """It was on its way to a receiver that died, or there is nobody to send it to."""


class ReceiverTrace(Generic[T]):
    """Told by the receiving end; by itself it forgets everything."""

    def refused(self) -> None:
        """A stranger was turned away."""

    def arrived(self, item: T, depth: int) -> None: ...

    def taken(self, item: T, number: int, depth: int) -> None:
        """It is served next; `number` is -1 where it came in a former life of the edge."""

    def passed(self, item: T, number: int) -> None:
        """It came and is served next, with nothing before it: `arrived` and `taken` in one.

        Until it is in service, or `settle` is called, the account may leave it to its sender.
        """
        self.arrived(item, 1)
        self.taken(item, number, 0)

    def settle(self) -> None:
        """Nothing may be left to the sender any more."""

    def dropped(self, item: T, number: int, depth: int) -> None: ...

    def kept(self, item: T, number: int) -> None:
        """Its sender's life is over, and it still waits to be served: from now on it is known here alone."""

    def discarded(self, item: T, depth: int) -> None:
        """Of such: it was not served, and its sender's next life will send it again."""


@dataclass(frozen=True, slots=True)
class Preference(Generic[T]):
    """Which datum comes first, and which may be given up for which.

    `deadline_of` orders an EDF mailbox. `rank_of`, where data of several classes share an edge: none is dropped
    for one of a lower rank. None where all are alike.
    """

    order: Order = Order.FIFO
    deadline_of: Callable[[T], int] | None = None
    rank_of: Callable[[T], int] | None = None
