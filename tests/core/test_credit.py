"""Both ends of an edge as one bounded queue, whatever the wire between them does with time."""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from streamflow import Overflow
from streamflow.core.credit import DROPPING_WINDOW, FORMER_LIFE, Inbox, Outbox, Revoke, Transmit, window_of
from streamflow.core.deadline import Order
from streamflow.core.trace import Preference, ReceiverTrace, SenderTrace


class Edge:
    """An outbox and an inbox joined by a wire that carries things only when told to."""

    def __init__(self, overflow: Overflow, capacity: int) -> None:
        self.overflow = overflow
        self.outbox: Outbox[int] = Outbox(overflow, capacity)
        self.inbox: Inbox[int] = Inbox(overflow, capacity)
        self.down: deque[Transmit[int] | Revoke] = deque()
        self.up: deque[int] = deque([self.inbox.window])
        self.offered = 0
        self.served: list[int] = []
        self.revoked_through = -1

    def offer(self) -> bool:
        if not self.outbox.offer(self.offered):
            return False
        self.offered += 1
        self.flush()
        return True

    def flush(self) -> None:
        for action in self.outbox.actions():
            if isinstance(action, Revoke):
                assert action.number >= self.revoked_through
                self.revoked_through = action.number
            self.down.append(action)

    def deliver(self) -> None:
        match self.down.popleft():
            case Transmit(number, item):
                assert self.inbox.arrive(number, item), "the sender kept to its window"
            case Revoke(number):
                self.inbox.revoke(number)
        self.return_credits()

    def return_credits(self) -> None:
        count = self.inbox.credits_to_return()
        if count:
            self.up.append(count)

    def credit(self) -> None:
        self.outbox.credit(self.up.popleft())
        self.flush()

    def take(self) -> int | None:
        item = self.inbox.take()
        if item is not None:
            self.served.append(item)
        self.return_credits()
        return item

    def settle(self) -> None:
        """Everything that is under way arrives; nothing is served."""
        while self.down or self.up:
            while self.down:
                self.deliver()
            while self.up:
                self.credit()

    def serve_all(self) -> list[int]:
        """A reader that always reads everything before it takes the next."""
        before = len(self.served)
        self.settle()
        while self.take() is not None:
            self.settle()
        return self.served[before:]

    @property
    def on_wire(self) -> list[Transmit[int]]:
        return [action for action in self.down if isinstance(action, Transmit)]

    @property
    def live(self) -> set[int]:
        """Data on both sides that will be served if nothing else is offered."""
        out = [(action.number, action.item) for action in self.on_wire] + list(self.inbox._items)
        return {item for number, item in out if number > self.revoked_through} | {
            held.item for held in self.outbox._held
        }


class CreditMachine(RuleBasedStateMachine):
    """Offers, arrivals, credits and takes in any order, each as late as it likes."""

    @initialize(overflow=st.sampled_from(Overflow), capacity=st.integers(1, 6))
    def begin(self, overflow: Overflow, capacity: int) -> None:
        self.capacity = capacity
        self.window = window_of(overflow, capacity)
        self.edge = Edge(overflow, capacity)

    @rule(count=st.integers(1, 8))
    def offer(self, count: int) -> None:
        for _ in range(count):
            had_room = self.edge.outbox.has_room
            assert self.edge.offer() == had_room
            assert had_room or self.edge.overflow is Overflow.BLOCK

    @precondition(lambda self: self.edge.down)
    @rule()
    def something_arrives(self) -> None:
        self.edge.deliver()

    @precondition(lambda self: self.edge.up)
    @rule()
    def credits_come_back(self) -> None:
        self.edge.credit()

    @rule()
    def take(self) -> None:
        self.edge.take()

    @precondition(lambda self: self.edge.overflow is Overflow.LATEST)
    @rule()
    def latest_serves_the_newest_of_both_sides_once_everything_was_read(self) -> None:
        edge = self.edge
        edge.settle()
        item = edge.take()
        assert item is None or item == edge.offered - 1
        assert not edge.offered or edge.offered - 1 in edge.served

    @invariant()
    def data_out_without_credit_are_within_the_window(self) -> None:
        outbox, inbox = self.edge.outbox, self.edge.inbox
        assert outbox.out_count <= self.window
        uncredited = sum(self.edge.up) if outbox.transmitted_count else 0
        welcome_is_pending = not outbox.transmitted_count and not outbox._credit_count
        assert welcome_is_pending or outbox.out_count == (
            len(self.edge.on_wire) + len(inbox) + inbox._credits_due + uncredited
        )

    @invariant()
    def what_may_still_be_served_is_within_the_capacity(self) -> None:
        limit = 1 if self.edge.overflow is Overflow.LATEST else self.capacity
        assert len(self.edge.live) <= self.edge.outbox.depth <= limit
        assert self.edge.outbox.depth_peak <= limit
        assert self.edge.inbox.depth_peak <= self.window

    @invariant()
    def every_datum_is_served_dropped_held_or_on_the_wire(self) -> None:
        outbox, inbox = self.edge.outbox, self.edge.inbox
        assert outbox.offered_count == self.edge.offered
        assert outbox.offered_count == outbox.transmitted_count + outbox.held_count + sum(outbox.dropped.values())
        assert outbox.transmitted_count == inbox.received_count + len(self.edge.on_wire)
        assert inbox.received_count == inbox.taken_count + len(inbox) + sum(inbox.dropped.values())

    @invariant()
    def order_is_kept(self) -> None:
        assert self.edge.served == sorted(set(self.edge.served))

    @invariant()
    def the_policy_says_what_is_gone(self) -> None:
        edge = self.edge
        kept = set(edge.served) | edge.live
        match edge.overflow:
            case Overflow.BLOCK:
                assert kept == set(range(edge.offered))
            case Overflow.DROP_OLDEST:
                assert kept.issuperset(range(edge.offered)[-self.capacity :])
            case Overflow.LATEST:
                assert kept.issuperset(range(edge.offered)[-1:])
            case Overflow.DROP_NEWEST:
                assert not edge.inbox.dropped, "what was sent is served"

    def teardown(self) -> None:
        if hasattr(self, "edge"):
            live = self.edge.live
            assert set(self.edge.serve_all()) == live, "what is live is served once the reader goes on"
            assert self.edge.outbox.depth == self.edge.inbox._credits_due
            assert self.edge.outbox.depth * 2 < self.window, "the rest of half a window may be kept back"


CreditMachine.TestCase.settings = settings(max_examples=150, stateful_step_count=40)
TestBothEndsAsOneQueue = CreditMachine.TestCase


def test_a_blocking_edge_sends_all_it_may_and_a_dropping_one_keeps_back_what_it_may_drop() -> None:
    assert window_of(Overflow.BLOCK, 8) == 8
    assert window_of(Overflow.DROP_OLDEST, 8) == DROPPING_WINDOW
    assert window_of(Overflow.LATEST, 1) == 1


@pytest.mark.parametrize(
    ("overflow", "served"),
    [(Overflow.DROP_OLDEST, [6, 7, 8, 9]), (Overflow.DROP_NEWEST, [0, 1, 2, 3]), (Overflow.LATEST, [9])],
)
def test_a_reader_that_was_away_finds_what_the_policy_promises_of_both_sides(
    overflow: Overflow, served: list[int]
) -> None:
    edge = Edge(overflow, capacity=4)
    edge.settle()
    for _ in range(10):
        edge.offer()
    assert edge.serve_all() == served


def test_a_revocation_of_what_was_served_already_changes_nothing() -> None:
    edge = Edge(Overflow.LATEST, capacity=2)
    edge.settle()
    edge.offer()
    edge.deliver()
    assert edge.inbox.take() == 0  # served, but its credit has not come back
    edge.offer()
    assert edge.revoked_through == 0
    assert edge.serve_all() == [1]
    assert not edge.inbox.dropped


def test_a_datum_out_of_order_or_beyond_the_window_is_refused() -> None:
    inbox: Inbox[int] = Inbox(Overflow.BLOCK, 2)
    assert not inbox.arrive(1, 1)
    assert inbox.arrive(0, 0)
    assert inbox.arrive(1, 1)
    assert not inbox.arrive(2, 2)
    assert inbox.received_count == 2


@pytest.mark.parametrize(
    ("overflow", "returned"),
    [(Overflow.BLOCK, [0, 0, 0, 4, 0, 0, 0, 4]), (Overflow.DROP_OLDEST, [1, 1, 1, 1, 1, 1, 1, 1])],
)
def test_credits_return_half_a_window_together(overflow: Overflow, returned: list[int]) -> None:
    inbox: Inbox[int] = Inbox(overflow, 8)
    credits = []
    for number in range(8):
        inbox.arrive(number, number)
        inbox.take()
        credits.append(inbox.credits_to_return())
    assert credits == returned


# ------------------------------------------------------------------------------------------------ several lives


@dataclass(frozen=True)
class Datum:
    seq: int
    rank: int
    deadline_ns: int


def preference(*, by_deadline: bool = False, by_rank: bool = False) -> Preference[Datum]:
    order = Order.EDF if by_deadline else Order.FIFO
    return Preference(order, lambda datum: datum.deadline_ns, (lambda datum: datum.rank) if by_rank else None)


class Slots(SenderTrace[Datum]):
    """What becomes of every slot: it is filled, may be sent once, and ends once."""

    def __init__(self) -> None:
        self.held: dict[int, Datum] = {}
        self.out: dict[int, Datum] = {}
        self.numbers: dict[int, int] = {}
        self.released_numbers: list[int] = []
        self.dropped_data: list[Datum] = []
        self.lost_data: list[Datum] = []
        self.lost_unsent_count = 0
        self.accepted_count = 0

    def accepted(self, item: Datum) -> int:
        self.accepted_count += 1
        self.held[self.accepted_count] = item
        return self.accepted_count

    def transmitted(self, slot: int, number: int) -> None:
        self.out[slot] = self.held.pop(slot)
        self.numbers[slot] = number

    def released(self, slot: int) -> None:
        del self.out[slot]
        self.released_numbers.append(self.numbers[slot])

    def dropped(self, item: Datum, slot: int | None) -> None:
        assert slot is None or self.held.pop(slot) is item
        self.dropped_data.append(item)

    def lost(self, item: Datum, slot: int | None) -> None:
        assert slot is not None
        if slot in self.held:
            self.lost_unsent_count += 1
            assert self.held.pop(slot) is item
        else:
            assert self.out.pop(slot) is item
        self.lost_data.append(item)


class Ends(ReceiverTrace[Datum]):
    """What the receiving end tells of each number of its current life."""

    def __init__(self) -> None:
        self.arrived_count = 0
        self.removed: set[int] = set()
        self.former_count = 0
        self.dropped_data: list[Datum] = []

    def arrived(self, item: Datum, depth: int) -> None:
        self.arrived_count += 1

    def taken(self, item: Datum, number: int, depth: int) -> None:
        self._remove(number)

    def dropped(self, item: Datum, number: int, depth: int) -> None:
        assert number != FORMER_LIFE, "nobody revokes what a former sender sent"
        self.dropped_data.append(item)
        self._remove(number)

    def _remove(self, number: int) -> None:
        if number == FORMER_LIFE:
            self.former_count += 1
        else:
            assert number not in self.removed
            self.removed.add(number)


class LivesMachine(RuleBasedStateMachine):
    """Both ends die and come back, with any preference, whatever is under way; each datum meets one fate."""

    @initialize(
        overflow=st.sampled_from(Overflow), capacity=st.integers(1, 5), by_deadline=st.booleans(), by_rank=st.booleans()
    )
    def begin(self, overflow: Overflow, capacity: int, by_deadline: bool, by_rank: bool) -> None:
        self.overflow, self.capacity = overflow, capacity
        self.by_deadline, self.by_rank = by_deadline, by_rank
        self.preference = preference(by_deadline=by_deadline, by_rank=by_rank)
        self.offered: list[Datum] = []
        self.served: list[Datum] = []
        self.gone: list[Datum] = []  # lost with a sender, dropped by one that died or by a receiver that died
        self.is_abandoned = False
        self.is_detached = True
        self.new_sender()
        self.new_receiver()
        self.attach()

    def new_sender(self) -> None:
        self.slots = Slots()
        self.outbox = Outbox(self.overflow, self.capacity, self.preference, self.slots)
        self.released_before = 0

    def new_receiver(self) -> None:
        self.ends = Ends()
        self.inbox = Inbox(self.overflow, self.capacity, self.preference, self.ends)

    def attach(self) -> None:
        self.down: deque[Transmit[Datum] | Revoke] = deque()
        self.up: deque[tuple[int, frozenset[int]]] = deque([(self.inbox.window, frozenset())])
        self.is_detached = False
        self.released_before = len(self.slots.released_numbers)

    def flush(self) -> None:
        if self.is_detached:
            return
        for action in self.outbox.actions():
            if isinstance(action, Transmit) and self.by_deadline:
                waiting = [datum.deadline_ns for datum in self.slots.held.values()]
                assert action.item.deadline_ns <= min(waiting, default=action.item.deadline_ns)
            self.down.append(action)

    def answer(self) -> None:
        count = self.inbox.credits_to_return()
        if count:
            numbers = self.inbox.numbers_to_return()
            assert len(numbers) == (count if self.by_deadline else 0)
            self.up.append((count, numbers))

    @rule(rank=st.integers(0, 2), deadline_ns=st.integers(0, 9), count=st.integers(1, 4))
    def offer(self, rank: int, deadline_ns: int, count: int) -> None:
        for _ in range(count):
            datum = Datum(len(self.offered), rank, deadline_ns)
            dropped_before = len(self.slots.dropped_data)
            revoked_before = self.outbox._revoked_to
            if not self.outbox.offer(datum):
                assert self.overflow is Overflow.BLOCK
                return
            self.offered.append(datum)
            dropped = self.slots.dropped_data[dropped_before:]
            taken_back = [
                out.item
                for number, out in self.outbox._out.items()
                if revoked_before < number <= self.outbox._revoked_to
            ]
            if self.by_rank:
                assert all(victim.rank <= rank for victim in [*dropped, *taken_back])
            if self.is_abandoned:
                self.outbox.abandon()
            self.flush()

    @precondition(lambda self: self.down)
    @rule()
    def something_arrives(self) -> None:
        match self.down.popleft():
            case Transmit(number, item):
                assert self.inbox.arrive(number, item)
            case Revoke(number):
                self.inbox.revoke(number)
        self.answer()

    @precondition(lambda self: self.up)
    @rule()
    def credits_come_back(self) -> None:
        if not self.is_detached:
            self.outbox.credit(*self.up.popleft())
            self.flush()

    @rule()
    def take(self) -> None:
        before = [item for _, item in self.inbox._items]
        item = self.inbox.take()
        assert item is (self.inbox.peek() if item is None else item)
        if item is not None:
            if self.by_deadline:
                assert item.deadline_ns == min(datum.deadline_ns for datum in before)
            self.served.append(item)
            self.answer()

    @precondition(lambda self: not self.is_abandoned)
    @rule()
    def the_receiver_dies(self) -> None:
        """What it had taken or dropped is known; what was with it or on the wire is not."""
        lost_before = len(self.slots.lost_data)
        under_way = [action.item for action in self.down if isinstance(action, Transmit)]
        with_it = [item for number, item in self.inbox._items if number != FORMER_LIFE]
        if not self.is_detached:
            self.gone += self.ends.dropped_data
            self.gone += [item for number, item in self.inbox._items if number == FORMER_LIFE]
            self.outbox.reattach(self.ends.removed)
            assert sorted(datum.seq for datum in self.slots.lost_data[lost_before:]) == sorted(
                datum.seq for datum in under_way + with_it
            )
            self.new_receiver()
            self.down, self.up, self.is_detached = deque(), deque(), True

    @precondition(lambda self: self.is_detached and not self.is_abandoned)
    @rule()
    def the_receiver_comes_back(self) -> None:
        self.outbox.reattach(frozenset())
        self.attach()

    @precondition(lambda self: not self.is_detached)
    @rule(arrived_count=st.integers(0, 5))
    def the_sender_dies_and_comes_back(self, arrived_count: int) -> None:
        """What it had sent may still arrive, in order; the rest is lost."""
        while self.down and arrived_count:
            self.something_arrives()
            arrived_count -= 1
        self.gone += [action.item for action in self.down if isinstance(action, Transmit)]
        self.gone += [*self.slots.held.values(), *self.slots.dropped_data, *self.slots.lost_data]
        waiting = len(self.inbox)
        self.inbox.reattach()
        assert len(self.inbox) == waiting
        assert self.inbox.arrived_count == 0
        self.ends.removed.clear()
        self.new_sender()
        self.attach()

    @precondition(lambda self: self.is_detached and not self.is_abandoned)
    @rule()
    def the_receiver_is_gone_for_good(self) -> None:
        self.outbox.abandon()
        self.is_abandoned = True

    @invariant()
    def every_datum_meets_one_fate(self) -> None:
        inbox = [item for _, item in self.inbox._items]
        wire = [action.item for action in self.down if isinstance(action, Transmit)]
        held = list(self.slots.held.values())
        ended = self.slots.dropped_data + self.slots.lost_data + self.ends.dropped_data
        fates = Counter(datum.seq for datum in self.served + self.gone + inbox + wire + held + ended)
        assert fates == Counter(datum.seq for datum in self.offered)

    @invariant()
    def what_the_ends_counted_is_what_they_told(self) -> None:
        outbox, slots = self.outbox, self.slots
        assert outbox.held_count == len(slots.held)
        assert outbox.out_count == len(slots.out)
        assert sum(outbox.dropped.values()) == len(slots.dropped_data)
        assert outbox.lost_count == len(slots.lost_data)
        assert outbox.transmitted_count == len(slots.numbers)
        assert outbox.offered_count == (
            outbox.transmitted_count + outbox.held_count + len(slots.dropped_data) + slots.lost_unsent_count
        )
        inbox, ends = self.inbox, self.ends
        assert inbox.received_count == ends.arrived_count
        assert inbox.received_count == inbox.taken_count + len(inbox) + sum(inbox.dropped.values())
        assert len(ends.dropped_data) == sum(inbox.dropped.values())

    @invariant()
    def what_is_released_was_removed_and_of_this_life(self) -> None:
        if not self.is_detached:
            released = self.slots.released_numbers[self.released_before :]
            assert len(released) == len(set(released))
            if self.by_deadline:
                assert set(released) <= self.ends.removed
            else:  # credits are for the oldest; as many as were removed
                assert released == list(range(len(released)))
                assert len(released) <= len(self.ends.removed)

    @invariant()
    def both_limits_are_kept(self) -> None:
        limit = 1 if self.overflow is Overflow.LATEST and not self.by_rank else self.capacity
        assert self.outbox.out_count <= window_of(self.overflow, self.capacity)
        assert self.outbox.depth <= limit
        assert len(self.slots.held) + len(self.slots.out) <= self.capacity + self.outbox.window

    @invariant()
    def without_preference_order_is_kept(self) -> None:
        if not self.by_deadline:
            assert [datum.seq for datum in self.served] == sorted(datum.seq for datum in self.served)

    def teardown(self) -> None:
        """The reader goes on until nothing is under way."""
        if hasattr(self, "outbox") and not self.is_abandoned:
            if self.is_detached:
                self.the_receiver_comes_back()
            self.flush()
            while self.up or self.down or len(self.inbox):
                while self.up:
                    self.credits_come_back()
                while self.down:
                    self.something_arrives()
                self.take()
            assert not self.slots.held
            assert not set(self.slots.out.values()) - set(self.served) - set(self.ends.dropped_data)
            self.every_datum_meets_one_fate()


LivesMachine.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
TestTheLivesOfAnEdge = LivesMachine.TestCase


def offered_to(outbox: Outbox[Datum], *data: Datum) -> list[Transmit[Datum] | Revoke]:
    for datum in data:
        outbox.offer(datum)
    return list(outbox.actions())


def test_what_a_dead_receiver_had_removed_is_done_with_and_the_rest_of_what_was_out_is_lost() -> None:
    slots = Slots()
    outbox: Outbox[Datum] = Outbox(Overflow.BLOCK, 4, trace=slots)
    data = [Datum(seq, 0, 0) for seq in range(4)]
    outbox.credit(3)
    offered_to(outbox, *data)
    outbox.reattach({0, 2})
    assert slots.released_numbers == [0, 2]
    assert slots.lost_data == [data[1]]
    assert outbox.lost_count == 1
    assert list(outbox.actions()) == [], "nobody has welcomed us yet"
    outbox.credit(4)
    assert list(outbox.actions()) == [Transmit(0, data[3])], "numbers start anew"
    assert outbox.transmitted_count == 4
    assert outbox.sent_count == 1


def test_while_nobody_receives_what_is_held_meets_its_policy() -> None:
    slots = Slots()
    outbox: Outbox[Datum] = Outbox(Overflow.DROP_OLDEST, 2, trace=slots)
    data = [Datum(seq, 0, 0) for seq in range(5)]
    outbox.credit(2)
    offered_to(outbox, data[0], data[1])
    outbox.reattach(frozenset())
    assert offered_to(outbox, *data[2:]) == []
    assert slots.dropped_data == [data[2]]
    outbox.credit(2)
    assert list(outbox.actions()) == [Transmit(0, data[3]), Transmit(1, data[4])]


def test_without_a_receiver_everything_is_lost_and_nothing_blocks() -> None:
    slots = Slots()
    outbox: Outbox[Datum] = Outbox(Overflow.BLOCK, 2, trace=slots)
    offered_to(outbox, Datum(0, 0, 0), Datum(1, 0, 0))
    assert not outbox.has_room
    outbox.abandon()
    assert outbox.has_room
    assert [datum.seq for datum in slots.lost_data] == [0, 1]
    assert (outbox.lost_count, outbox.held_count, outbox.transmitted_count) == (2, 0, 0)


def test_what_came_before_the_sender_died_is_served_first_and_returns_no_credit() -> None:
    inbox: Inbox[int] = Inbox(Overflow.BLOCK, 2)
    inbox.arrive(0, 10)
    inbox.arrive(1, 11)
    inbox.reattach()
    assert inbox.arrive(0, 20)
    assert inbox.arrive(1, 21), "the window is free again"
    assert not inbox.arrive(2, 22)
    taken = []
    credits = []
    while (item := inbox.take()) is not None:
        taken.append(item)
        credits.append(inbox.credits_to_return())
    assert taken == [10, 11, 20, 21]
    assert credits == [0, 0, 1, 1]


def test_a_revocation_spares_what_a_former_sender_sent() -> None:
    inbox: Inbox[int] = Inbox(Overflow.DROP_OLDEST, 2)
    inbox.arrive(0, 10)
    inbox.reattach()
    inbox.arrive(0, 20)
    inbox.revoke(0)
    assert (inbox.take(), inbox.take()) == (10, None)
    assert inbox.dropped == {"drop_oldest": 1}


@pytest.mark.parametrize("overflow", [Overflow.DROP_OLDEST, Overflow.LATEST, Overflow.DROP_NEWEST])
def test_the_lowest_class_goes_first_and_nothing_for_what_is_lower(overflow: Overflow) -> None:
    slots = Slots()
    outbox: Outbox[Datum] = Outbox(overflow, 2, preference(by_rank=True), slots)
    low, high, newer_low, newest_high = Datum(0, 0, 0), Datum(1, 2, 0), Datum(2, 0, 0), Datum(3, 2, 0)
    offered_to(outbox, low, high)
    assert slots.dropped_data == ([low] if overflow is Overflow.LATEST else [])
    offered_to(outbox, newer_low)
    assert high in slots.held.values(), "none is dropped for one of a lower class"
    offered_to(outbox, newest_high)
    assert newest_high in slots.held.values()
    assert {datum.rank for datum in slots.dropped_data} <= {0, 2 if overflow is Overflow.LATEST else 0}


def test_what_is_out_is_not_taken_back_for_a_lower_class() -> None:
    slots = Slots()
    outbox: Outbox[Datum] = Outbox(Overflow.DROP_OLDEST, 1, preference(by_rank=True), slots)
    outbox.credit(1)
    assert offered_to(outbox, Datum(0, 1, 0)) == [Transmit(0, Datum(0, 1, 0))]
    assert offered_to(outbox, Datum(1, 0, 0)) == []
    assert slots.dropped_data == [Datum(1, 0, 0)]
    assert offered_to(outbox, Datum(2, 1, 0)) == [Revoke(0)]


def test_by_deadline_the_most_urgent_leaves_first_and_is_served_first() -> None:
    first = preference(by_deadline=True)
    outbox: Outbox[Datum] = Outbox(Overflow.BLOCK, 4, first)
    inbox: Inbox[Datum] = Inbox(Overflow.BLOCK, 4, first)
    relaxed, urgent, soon = Datum(0, 0, 30), Datum(1, 0, 10), Datum(2, 0, 20)
    for datum in (relaxed, urgent, soon):
        outbox.offer(datum)
    assert outbox.next_item() is urgent
    outbox.credit(4)
    assert list(outbox.actions()) == [Transmit(0, urgent), Transmit(1, soon), Transmit(2, relaxed)]
    for number, datum in enumerate((relaxed, soon, urgent)):
        inbox.arrive(number, datum)
    assert inbox.peek() is urgent
    assert (inbox.take(), inbox.take()) == (urgent, soon)
    assert inbox.credits_to_return() == 2
    assert inbox.numbers_to_return() == {2, 1}
    outbox.credit(2, frozenset({2, 1}))
    assert outbox.out_count == 1
    outbox.reattach({0})
    assert outbox.lost_count == 0, "number 0 was the one still out"


def test_both_lives_of_a_sender_together_have_no_more_than_a_window_at_the_receiver() -> None:
    inbox: Inbox[int] = Inbox(Overflow.BLOCK, 4)
    assert inbox.grants_due() == 4
    for number in range(3):
        assert inbox.arrive(number, number)
    inbox.reattach()
    assert inbox.grants_due() == 1
    assert inbox.grants_due() == 0
    assert [inbox.take() for _ in range(2)] == [0, 1]
    assert inbox.grants_due() == 2
    inbox.take()
    assert inbox.grants_due() == 1


def test_what_waits_when_its_senders_life_is_over_is_told_once() -> None:
    kept: list[int] = []

    class Kept(ReceiverTrace[int]):
        def kept(self, item: int, number: int) -> None:
            kept.append(item)

    inbox: Inbox[int] = Inbox(Overflow.BLOCK, 4, trace=Kept())
    inbox.arrive(0, 7)
    inbox.reattach()
    inbox.arrive(0, 8)
    inbox.reattach()
    assert kept == [7, 8]
