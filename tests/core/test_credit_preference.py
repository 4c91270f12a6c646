"""What comes first on an edge, and what may be given up for what: by deadline, and by class."""

from __future__ import annotations

import pytest

from streamflow import Overflow
from streamflow.core.inbox import Inbox
from streamflow.core.outbox import Outbox, Revoke, Transmit
from tests.core.traced_ends import Datum, Slots, offered_to, preference


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
