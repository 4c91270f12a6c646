"""Where every datum of an edge went, checked from what both ends counted."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from streamflow.core.accounting import EdgeCounts, broken_sums

COUNT = st.integers(0, 1000)
DONE = EdgeCounts(
    offered=10,
    transmitted=8,
    sender_held=0,
    sender_dropped={"drop_oldest": 2},
    received=8,
    delivered=5,
    receiver_held=0,
    receiver_dropped={"drop_oldest": 3},
)


def test_an_edge_that_delivered_or_dropped_everything_is_conserved() -> None:
    assert broken_sums("a->b", DONE, ended=True) == []
    assert DONE.dropped == {"drop_oldest": 5}
    assert DONE.in_flight == 0


def test_a_sender_that_miscounts_is_told_by_its_edge() -> None:
    (sentence,) = broken_sums("a->b", replace(DONE, offered=11), ended=True)
    assert sentence == "a->b: 11 sent is not 10 transmitted, held or dropped by the sender"


def test_a_receiver_that_miscounts_is_told_by_its_edge() -> None:
    (sentence,) = broken_sums("a->b", replace(DONE, delivered=4), ended=True)
    assert sentence == "a->b: 8 received is not 7 delivered, held or dropped by the receiver"


def test_more_received_than_transmitted_is_told() -> None:
    counts = replace(DONE, received=9, delivered=6)
    assert broken_sums("a->b", counts, ended=False) == ["a->b: 9 received, but only 8 transmitted"]


def test_what_is_still_under_way_when_the_stream_has_ended_is_told() -> None:
    counts = replace(DONE, received=6, delivered=3)
    assert broken_sums("a->b", counts, ended=False) == []
    assert broken_sums("a->b", counts, ended=True) == [
        "a->b: 2 in flight after the end of the stream, 0 known to be lost"
    ]
    assert broken_sums("a->b", counts, ended=True, lost=2) == []


@given(COUNT, COUNT, COUNT, COUNT, COUNT, COUNT)
def test_what_is_offered_is_delivered_dropped_or_in_flight(
    delivered: int, waiting: int, on_wire: int, held: int, dropped_there: int, dropped_here: int
) -> None:
    received = delivered + waiting + dropped_there
    transmitted = received + on_wire
    offered = transmitted + held + dropped_here
    counts = EdgeCounts(
        offered, transmitted, held, {"latest": dropped_here}, received, delivered, waiting, {"latest": dropped_there}
    )
    assert broken_sums("a->b", counts, ended=False) == []
    assert offered == counts.delivered + sum(counts.dropped.values()) + counts.in_flight
    assert broken_sums("a->b", counts, ended=True, lost=counts.in_flight) == []
