"""Both ends of an edge as one bounded queue, whatever the wire between them does with time."""

from __future__ import annotations

from collections import deque

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from streamflow import Overflow
from streamflow.core.credit import DROPPING_WINDOW, window_of
from streamflow.core.inbox import Inbox
from streamflow.core.outbox import Outbox, Revoke, Transmit


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
