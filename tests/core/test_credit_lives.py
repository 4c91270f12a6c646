"""Both ends of an edge over several lives of either: every datum meets one fate."""

from __future__ import annotations

from collections import Counter, deque

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from streamflow import Overflow
from streamflow.core.credit import FORMER_LIFE, window_of
from streamflow.core.inbox import Inbox
from streamflow.core.outbox import Outbox, Revoke, Transmit
from streamflow.core.trace import ReceiverTrace
from tests.core.traced_ends import Datum, Ends, Slots, offered_to, preference


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
