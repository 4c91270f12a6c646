"""Both ends of a lossless edge over several lives of either: each datum is done once and in order."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from streamflow import Order, Overflow
from streamflow.core.credit import FORMER_LIFE
from streamflow.core.inbox import Inbox
from streamflow.core.outbox import Former, Outbox, Transmit
from streamflow.core.trace import Preference, ReceiverTrace, SenderTrace


@dataclass(slots=True)
class Entry:
    item: int
    generation: int = 0
    number: int = -1


class Table(SenderTrace[int]):
    """What a sender keeps through its deaths, in the order in which it was accepted."""

    def __init__(self) -> None:
        self.entries: dict[int, Entry] = {}
        self.generation = 0
        self._next_slot = 0

    def accepted(self, item: int) -> int:
        self._next_slot += 1
        self.entries[self._next_slot] = Entry(item)
        return self._next_slot

    def transmitted(self, slot: int, number: int) -> None:
        self.entries[slot].generation, self.entries[slot].number = self.generation, number

    def released(self, slot: int) -> None:
        del self.entries[slot]

    def returned(self, item: int, slot: int) -> int:
        self.entries[slot].number = -1
        return item

    def lost(self, item: int, slot: int | None) -> None:
        raise AssertionError(f"{item} was lost")


class Numbers(ReceiverTrace[int]):
    """Names of what was taken and of what is done, the latter for ever."""

    def __init__(self) -> None:
        self.generation = 0
        self.undone: list[tuple[int, int]] = []
        self.done: set[tuple[int, int]] = set()
        self.former: dict[int, tuple[int, int]] = {}

    def taken(self, item: int, number: int, depth: int) -> None:
        name = (self.generation, number) if number != FORMER_LIFE else self.former.pop(item)
        self.undone.append(name)

    def kept(self, item: int, number: int) -> None:
        self.former[item] = (self.generation, number)

    def discarded(self, item: int, depth: int) -> None:
        del self.former[item]


class KeepsMachine(RuleBasedStateMachine):
    """The wire loses what is on it when either end dies; who comes back greets once nothing is undone."""

    @initialize(capacity=st.integers(1, 5))
    def begin(self, capacity: int) -> None:
        self.capacity = capacity
        self.table, self.numbers = Table(), Numbers()
        self.offered = 0
        self.worked: list[int] = []
        self.finished: list[int] = []
        self.generation = 0
        self.new_sender()
        self.new_receiver()
        self.greet()

    def new_sender(self) -> None:
        self.outbox = Outbox(Overflow.BLOCK, self.capacity, None, self.table, keeps=True)
        self.outbox.take_up(
            Former(one.generation, one.number, one.item, slot) for slot, one in self.table.entries.items()
        )

    def new_receiver(self) -> None:
        self.numbers.undone.clear()
        self.numbers.former.clear()
        self.worked.clear()
        self.inbox = Inbox(Overflow.BLOCK, self.capacity, None, self.numbers, keeps=True)

    def part(self) -> None:
        """Nobody receives what is on the wire."""
        self.is_open = False
        self.generation += 1
        self.down: deque[Transmit[int]] = deque()
        self.up: deque[tuple[int, frozenset[int]]] = deque()

    def greet(self) -> None:
        self.part()
        self.inbox.discard_former()
        self.table.generation = self.numbers.generation = self.generation
        self.outbox.settle(self.numbers.done)
        self.outbox.grant(self.inbox.grants_due())
        self.is_open = True

    @rule(count=st.integers(1, 4))
    def offer(self, count: int) -> None:
        for _ in range(count):
            if self.outbox.offer(self.offered):
                self.offered += 1

    @precondition(lambda self: self.is_open)
    @rule(count=st.integers(1, 4))
    def move(self, count: int) -> None:
        """Some of what is to be sent arrives, and what credits there are."""
        for action in self.outbox.actions():
            assert isinstance(action, Transmit)
            self.down.append(action)
        for _ in range(min(count, len(self.down))):
            number, item = self.down.popleft()
            assert self.inbox.arrive(number, item)
        while self.up:
            credit, numbers = self.up.popleft()
            assert self.outbox.has_out(numbers)
            self.outbox.credit(credit, numbers)

    @rule()
    def take(self) -> None:
        item = self.inbox.take()
        if item is not None:
            self.worked.append(item)

    @rule()
    def finish(self) -> None:
        self.finished += self.worked
        self.worked.clear()
        self.numbers.done.update(self.numbers.undone)
        self.numbers.undone.clear()
        self.inbox.done()
        if self.is_open and (count := self.inbox.credits_to_return()):
            self.up.append((count, self.inbox.numbers_to_return()))

    @precondition(lambda self: self.is_open)
    @rule()
    def receiver_dies(self) -> None:
        self.outbox.reattach(frozenset(), self.generation)
        self.part()
        self.new_receiver()

    @precondition(lambda self: self.is_open)
    @rule(is_read=st.booleans())
    def sender_dies(self, is_read: bool) -> None:
        """What it has sent may still be read, or not."""
        while is_read and self.down:
            self.inbox.arrive(*self.down.popleft())
        self.part()
        self.inbox.reattach()
        self.new_sender()

    @precondition(lambda self: not self.is_open)
    @rule()
    def receiver_dies_too(self) -> None:
        self.new_receiver()

    @precondition(lambda self: not self.is_open and not self.inbox.undone_count)
    @rule()
    def come_back(self) -> None:
        self.greet()

    @invariant()
    def each_is_done_once_and_in_order(self) -> None:
        assert self.finished == list(range(len(self.finished)))

    @invariant()
    def no_more_is_kept_than_there_is_room_for(self) -> None:
        assert len(self.table.entries) <= self.capacity
        assert self.outbox.depth <= self.capacity

    def teardown(self) -> None:
        if not hasattr(self, "table"):
            return
        for _ in range(4 * self.capacity + 8):
            self.take()
            self.finish()
            if not self.is_open and not self.inbox.undone_count:
                self.greet()
            self.move(4)
        assert len(self.finished) == self.offered


TestKeeps = KeepsMachine.TestCase
TestKeeps.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)


class Losing(Table):
    """Of an edge whose receiver stays dead."""

    def __init__(self) -> None:
        super().__init__()
        self.lost_items: list[int] = []

    def lost(self, item: int, slot: int | None) -> None:
        self.lost_items.append(item)


def filled(table: Table | None = None, *, order: Order = Order.FIFO) -> Outbox[int]:
    """With two data out, and credit for two more."""
    outbox = Outbox(Overflow.BLOCK, 4, Preference(order, lambda item: -item), table or Table(), keeps=True)
    outbox.grant(4)
    outbox.offer(0)
    outbox.offer(1)
    assert len(list(outbox.actions())) == 2
    return outbox


def test_what_is_offered_behind_a_closed_gate_is_sent_when_it_opens() -> None:
    for order in Order:
        outbox = filled(order=order)
        outbox.close_gate()
        assert not outbox.sends_at_once()
        outbox.offer(2)
        assert not list(outbox.actions())
        outbox.open_gate()
        assert [action.item for action in outbox.actions() if isinstance(action, Transmit)] == [2]


def test_what_waited_before_the_gate_was_closed_goes() -> None:
    for order in Order:
        outbox = Outbox(Overflow.BLOCK, 4, Preference(order, lambda item: -item), Table())
        outbox.offer(0)
        outbox.close_gate()
        outbox.offer(1)  # the more urgent, where that matters
        outbox.grant(4)
        assert [action.item for action in outbox.actions() if isinstance(action, Transmit)] == [0]


def test_results_that_leave_no_room_for_more_of_their_own_are_seen() -> None:
    outbox = filled()
    outbox.close_gate()
    outbox.offer(2)
    outbox.offer(3)
    assert not outbox.has_room
    assert not outbox.is_jammed, "credit for the first two makes room"
    outbox.credit(2, frozenset({0, 1}))
    outbox.offer(4)
    outbox.offer(5)
    assert outbox.is_jammed


def test_nothing_new_is_sent_before_it_is_known_what_a_former_life_had_done() -> None:
    outbox = filled()
    outbox.reattach(frozenset(), generation=7)
    outbox.offer(2)
    assert outbox.depth == 3
    assert outbox.held_count == 3
    outbox.settle({(7, 0)})
    outbox.grant(4)
    assert [action.item for action in outbox.actions() if isinstance(action, Transmit)] == [1, 2]


def test_with_nobody_to_receive_it_what_was_kept_is_lost_but_for_what_is_done() -> None:
    table = Losing()
    outbox = filled(table)
    outbox.reattach(frozenset(), generation=1)
    outbox.abandon({(1, 0)})
    assert table.lost_items == [1]
    assert outbox.lost_count == 1
