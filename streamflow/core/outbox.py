"""The sending end of an edge as a bounded queue: `core.credit` has its laws."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Set
from typing import Generic, NamedTuple, TypeVar

from streamflow.core.credit import window_of
from streamflow.core.deadline import Order
from streamflow.core.overflow import Overflow
from streamflow.core.trace import Preference, SenderTrace

T = TypeVar("T")


class Transmit(NamedTuple, Generic[T]):
    """Send this datum now; `number` counts the data of this life of the edge from 0."""

    number: int
    item: T


class Revoke(NamedTuple):
    """Tell the receiver to drop every datum up to and including `number` that it has not served."""

    number: int


class _Out(Generic[T]):
    __slots__ = ("is_gated", "item", "slot")

    def __init__(self, item: T, slot: int, is_gated: bool = False) -> None:
        self.item = item
        self.slot = slot
        self.is_gated = is_gated


class Former(NamedTuple, Generic[T]):
    """A datum that a former life has sent: as `number` of that generation of the edge, -1: it was held."""

    generation: int
    number: int
    item: T
    slot: int


class Outbox(Generic[T]):
    """The sending end: holds, transmits, revokes, drops."""

    def __init__(
        self,
        overflow: Overflow,
        capacity: int,
        preference: Preference[T] | None = None,
        trace: SenderTrace[T] | None = None,
        *,
        keeps: bool = False,
    ) -> None:
        preference = preference or Preference()
        self.keeps = keeps
        self.overflow = overflow
        self.capacity = capacity
        self.window = window_of(overflow, capacity)
        self.offered_count = 0
        self.transmitted_count = 0
        self.lost_count = 0
        self.dropped: Counter[str] = Counter()
        self.depth_peak = 0
        self._deadline_of = preference.deadline_of if preference.order is Order.EDF else None
        self._rank_of = preference.rank_of
        self._trace: SenderTrace[T] = trace or SenderTrace()
        self._held: deque[_Out[T]] = deque()
        self._out: dict[int, _Out[T]] = {}
        self._next_number = 0
        self._credit_count = 0
        self._revoked_to = -1
        self._revoked_count = 0  # of those out; always the oldest
        self._revocation_due = False
        self._former: list[Former[T]] = []  # whether these are done is not known yet
        self._is_gated = False

    @property
    def held_count(self) -> int:
        return len(self._held) + len(self._former)

    @property
    def out_count(self) -> int:
        return len(self._out)

    def has_out(self, numbers: Set[int]) -> bool:
        """Whether all of these were sent in this life, and no credit has come back for them."""
        return self._out.keys() >= numbers

    @property
    def sent_count(self) -> int:
        """Data sent in this life of the edge."""
        return self._next_number

    @property
    def depth(self) -> int:
        """Data on both sides that may still be served, as far as the sender knows."""
        return len(self._out) - self._revoked_count + len(self._held) + len(self._former)

    @property
    def has_room(self) -> bool:
        return self.overflow is not Overflow.BLOCK or self.depth < self.capacity

    @property
    def is_jammed(self) -> bool:
        """Whether there is no room because of what the closed gate holds back, which nothing but opening it changes."""
        return not self.has_room and sum(held.is_gated for held in self._held) >= self.capacity

    def close_gate(self) -> None:
        """What is offered from now on waits until the gate is opened."""
        self._is_gated = True

    def open_gate(self) -> None:
        self._is_gated = False
        for held in self._held:
            held.is_gated = False

    def sends_at_once(self) -> bool:
        """Whether the next datum would be sent at once, and nothing before it: `send` may take it."""
        return (
            self._credit_count > 0
            and not self._held
            and not self._is_gated
            and not self._former
            and not self._revocation_due
            and (self.overflow is not Overflow.LATEST or len(self._out) == self._revoked_count)
        )

    def lacks_credit(self) -> bool:
        """Whether the next datum would wait here, and may be dropped here, for want of credit that may have come."""
        return not self._credit_count and self.overflow is not Overflow.BLOCK

    def expects_credit(self) -> bool:
        """Whether so much is out that the other end may have returned some of it: `Inbox.credits_to_return`."""
        return self._credit_count * 2 <= self.window

    def send(self, item: T) -> int:
        """`offer`, and the one action that follows, where it `sends_at_once`; the number to transmit it by."""
        self.offered_count += 1
        self._credit_count -= 1
        number = self._next_number
        self._next_number = number + 1
        self.transmitted_count += 1
        self._out[number] = _Out(item, self._trace.left(item, number))
        return number

    def offer(self, item: T) -> bool:
        """Put `item` under the policy; False when a full `BLOCK` edge refuses it."""
        if not self.has_room:
            return False
        self.offered_count += 1
        if self.overflow is Overflow.LATEST:
            excess = self.depth
        else:
            excess = 1 if self.depth >= self.capacity else 0
        if excess and not self._make_room(item, excess):
            self._drop(item, None)
            return True
        self._held.append(_Out(item, self._trace.accepted(item), self._is_gated))
        # Only what has no credit waits here: what is out may long be served, its credit still to come.
        waiting = len(self._held) - self._credit_count
        if waiting > self.depth_peak:
            self.depth_peak = waiting
            self._trace.peaked(waiting)
        return True

    def _drop(self, item: T, slot: int | None) -> None:
        self.dropped[self.overflow.value] += 1
        self._trace.dropped(item, slot)

    def _make_room(self, item: T, count: int) -> bool:
        """Drop `count` data for `item`; False when it is `item` that must go."""
        if self._rank_of is not None:
            return self._make_room_by_rank(self._rank_of(item), count)
        if self.overflow is Overflow.DROP_NEWEST:
            return False
        revocable = min(count, len(self._out) - self._revoked_count)
        self._revoke(revocable)
        for _ in range(count - revocable):
            oldest = self._held.popleft()
            self._drop(oldest.item, oldest.slot)
        return True

    def _make_room_by_rank(self, rank: int, count: int) -> bool:
        """The lowest class goes first, and nothing for what is lower than itself."""
        rank_of = self._rank_of
        assert rank_of is not None
        keeps_equals = self.overflow is Overflow.DROP_NEWEST
        made = 0
        while made < count:
            victims = [held for held in self._held if rank_of(held.item) < rank + (not keeps_equals)]
            if victims:
                victim = min(victims, key=lambda held: rank_of(held.item))  # of equals the oldest
                self._held.remove(victim)
                self._drop(victim.item, victim.slot)
            else:
                waiting = [out for number, out in self._out.items() if number > self._revoked_to]
                if keeps_equals or not waiting or rank_of(waiting[0].item) > rank:
                    break
                self._revoke(1)
            made += 1
        return made >= count or (self.overflow is Overflow.LATEST and self.depth < self.capacity)

    def _revoke(self, count: int) -> None:
        """Take back the `count` oldest that are out and not yet taken back."""
        if count:
            numbers = (number for number in self._out if number > self._revoked_to)
            for _ in range(count):
                self._revoked_to = next(numbers)
            self._revoked_count += count
            self._revocation_due = True

    def replace(self, number: int, item: T) -> None:
        """Keep this in place of the datum that is out as `number`: as much of it as an account needs."""
        self._out[number].item = item

    def credit(self, count: int, numbers: Set[int] = frozenset()) -> None:
        """The receiver has done with `count` more data.

        `numbers` says with which where it does not serve in order; else they are the oldest.
        """
        done = numbers or [number for number, _ in zip(self._out, range(count), strict=False)]
        for number in done:
            out = self._out.pop(number, None)
            if out is not None:
                self._trace.released(out.slot)
                self._revoked_count -= number <= self._revoked_to
        self._credit_count += count

    def grant(self, count: int) -> None:
        """The receiver has room for `count` more data: a window when it greets, less what a former life left there."""
        self._credit_count += count

    def actions(self) -> Iterator[Transmit[T] | Revoke]:
        """What to send now, in order; a revocation precedes what made it necessary."""
        if self._revocation_due:
            self._revocation_due = False
            if self._revoked_count:
                yield Revoke(self._revoked_to)
        while self._credit_count and (held := self._next_held()) is not None:
            self._credit_count -= 1
            number = self._next_number
            self._next_number += 1
            self.transmitted_count += 1
            self._out[number] = held
            self._trace.transmitted(held.slot, number)
            yield Transmit(number, held.item)

    def _next_held(self) -> _Out[T] | None:
        """What is sent next; None where nothing may go."""
        held = self._held
        if not held:
            return None
        if self._deadline_of is None or len(held) == 1:
            return None if held[0].is_gated else held.popleft()
        if held[-1].is_gated:  # the newest are
            free = [one for one in held if not one.is_gated]
            if not free:
                return None
            deadline_of = self._deadline_of
            first = min(free, key=lambda one: deadline_of(one.item))
        else:
            first = self._most_urgent(self._deadline_of)
        held.remove(first)
        return first

    def _most_urgent(self, deadline_of: Callable[[T], int]) -> _Out[T]:
        return min(self._held, key=lambda held: deadline_of(held.item))

    def next_item(self) -> T | None:
        """The datum that would be sent next, or None."""
        if not self._held:
            return None
        return (self._held[0] if self._deadline_of is None else self._most_urgent(self._deadline_of)).item

    def last_item(self) -> T | None:
        """The datum that would be sent last of those that are held; None also where that is not the newest."""
        return self._held[-1].item if self._held and self._deadline_of is None else None

    def reattach(self, removed: Set[int], generation: int = 0) -> None:
        """The receiver is another from now on; the former had removed `removed` of what is out, the rest is lost.

        Where it is kept, it is put aside: it was sent in that `generation` of the edge.
        """
        if self.keeps:
            self._former += [Former(generation, number, out.item, out.slot) for number, out in self._out.items()]
        else:
            for number, out in self._out.items():
                if number in removed:
                    self._trace.released(out.slot)
                else:
                    self._lose(out.item, out.slot)
        self._out.clear()
        self._next_number = self._credit_count = self._revoked_count = 0
        self._revoked_to = -1
        self._revocation_due = False

    def take_up(self, former: Iterable[Former[T]]) -> None:
        """What a former life of this end has left, in the order in which it was to be sent."""
        self._former += former

    def settle(self, done: Set[tuple[int, int]]) -> None:
        """The receiver has greeted; `done`: generation and number of what its lives have done. The rest is held."""
        again: list[_Out[T]] = []
        for one in self._former:
            if one.number >= 0 and (one.generation, one.number) in done:
                self._trace.released(one.slot)
            else:
                again.append(_Out(self._trace.returned(one.item, one.slot), one.slot))
        self._held.extendleft(reversed(again))
        self._former.clear()

    def abandon(self, done: Set[tuple[int, int]] = frozenset()) -> None:
        """Nobody will receive any more: what is held is lost, and so is all that is offered. `done` as above."""
        for one in self._former:
            if one.number >= 0 and (one.generation, one.number) in done:
                self._trace.released(one.slot)
            else:
                self._lose(one.item, one.slot)
        self._former.clear()
        while self._held:
            held = self._held.popleft()
            self._lose(held.item, held.slot)

    def _lose(self, item: T, slot: int) -> None:
        self.lost_count += 1
        self._trace.lost(item, slot)
