"""Both ends of an edge between processes, as one bounded queue: who may send, what is dropped, and where.

While user code runs, its process reads nothing, so what was sent waits on the wire and the receiver cannot
apply a policy. The sender therefore decides for both sides. It holds what has no credit; it may have at most
`window` data out; and when the policy wants a datum gone that is already out, it *revokes* it: the receiver
reads everything that arrived before it serves the next, so a revoked datum is dropped there, counted there,
and its credit comes back. If the receiver had already served it, the revocation changes nothing.

When the process at the other end dies, `reattach` begins a new life of the edge: numbers start from 0 and the
window is free again. What the dead receiver had removed is known from its recorder; the rest of what was out
is lost. What is held stays, and meets its policy until somebody receives again.

An edge that *keeps* what it sends loses nothing with a receiver: credit comes back when a datum is done, not when it
is taken, and `reattach` puts what is out aside until the next life has greeted. Then `settle` is told which of it the
former life had done; the rest is held again, before everything else. A sender's next life takes up what the former
had (`take_up`), and a receiver leaves what it has not served to be sent again (`discard_former`).

While its *gate* is closed a sender holds what is offered: a stage that must do a datum whole, or not at all, lets its
results go when that is written down.

Laws: data out without credit ≤ window; data out and not revoked + held ≤ capacity;
offered = transmitted + held + dropped here (+ lost without a receiver); transmitted = served + dropped there +
on the wire + lost with a dead receiver. Nothing is dropped for a datum of a lower rank.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Set
from typing import Final, Generic, NamedTuple, TypeVar

from streamflow.core.deadline import Order
from streamflow.core.overflow import Overflow
from streamflow.core.trace import Preference, ReceiverTrace, SenderTrace

T = TypeVar("T")

# A dropping edge keeps the rest where it can still be dropped without sending it. Two: one served, one ready.
DROPPING_WINDOW: Final = 2
FORMER_LIFE: Final = -1  # the number of a datum that came before the edge was attached again


def window_of(overflow: Overflow, capacity: int) -> int:
    """How many data may be out without credit. A blocking edge loses nothing by sending all it may."""
    return capacity if overflow is Overflow.BLOCK else min(capacity, DROPPING_WINDOW)


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
