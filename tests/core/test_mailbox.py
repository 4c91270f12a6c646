"""What a bounded queue does when it is full, by policy."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamflow import Overflow
from streamflow.core.mailbox import Mailbox

DROPPING = [Overflow.DROP_OLDEST, Overflow.DROP_NEWEST, Overflow.LATEST]


def filled(overflow: Overflow, count: int, capacity: int = 3) -> Mailbox[int]:
    mailbox: Mailbox[int] = Mailbox(overflow, capacity)
    for item in range(count):
        mailbox.offer(item)
    return mailbox


def taken(mailbox: Mailbox[int]) -> list[int]:
    items = []
    while (item := mailbox.take()) is not None:
        items.append(item)
    return items


def test_block_refuses_what_does_not_fit_and_does_not_count_it() -> None:
    mailbox = filled(Overflow.BLOCK, 3)
    assert not mailbox.has_room
    assert not mailbox.offer(3)
    assert mailbox.offered_count == 3
    assert taken(mailbox) == [0, 1, 2]
    assert mailbox.has_room


@pytest.mark.parametrize(
    ("overflow", "served"),
    [(Overflow.DROP_OLDEST, [7, 8, 9]), (Overflow.DROP_NEWEST, [0, 1, 2]), (Overflow.LATEST, [9])],
)
def test_a_full_mailbox_drops_by_its_policy_and_says_so(overflow: Overflow, served: list[int]) -> None:
    mailbox = filled(overflow, 10)
    assert taken(mailbox) == served
    assert mailbox.dropped == {overflow.value: 10 - len(served)}


@pytest.mark.parametrize("overflow", DROPPING)
def test_a_dropping_mailbox_always_has_room(overflow: Overflow) -> None:
    assert filled(overflow, 10).has_room


def test_an_empty_mailbox_serves_nothing() -> None:
    mailbox = filled(Overflow.BLOCK, 0)
    assert mailbox.take() is None
    assert mailbox.taken_count == 0


@given(
    st.sampled_from(Overflow),
    st.integers(1, 5),
    st.lists(st.sampled_from(["offer", "offer", "take"]), max_size=60),
)
def test_offered_is_taken_and_dropped_and_held_in_order_within_the_limit(
    overflow: Overflow, capacity: int, steps: list[str]
) -> None:
    mailbox: Mailbox[int] = Mailbox(overflow, capacity)
    limit = 1 if overflow is Overflow.LATEST else capacity
    offered, served, refused = 0, [], 0
    for step in steps:
        if step == "take":
            item = mailbox.take()
            if item is not None:
                served.append(item)
        elif mailbox.offer(offered):
            offered += 1
        else:
            refused += 1
        assert len(mailbox) <= limit
        assert mailbox.offered_count == offered
        assert offered == mailbox.taken_count + sum(mailbox.dropped.values()) + len(mailbox)
    assert served == sorted(set(served))
    assert mailbox.depth_peak <= limit
    assert not refused or overflow is Overflow.BLOCK
    if overflow is Overflow.BLOCK:
        assert not mailbox.dropped
        assert served + taken(mailbox) == list(range(offered))
    elif overflow is not Overflow.DROP_NEWEST:
        newest = set(range(offered)[-limit:]) - set(served)
        assert set(taken(mailbox)) == newest
