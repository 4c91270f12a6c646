"""Where every datum of an edge and of a stage went, checked from what both ends counted."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from streamflow.core.accounting import EdgeCounts, StageCounts, broken_stage_sums, broken_sums

COUNT = st.integers(0, 1000)
DONE = EdgeCounts(
    offered=14,
    sender_dropped={"drop_oldest": 2},
    lost_told=1,
    taken=6,
    receiver_dropped={"drop_oldest": 3},
    lost_found=2,
    taken_too_old=1,
)


def test_an_edge_that_delivered_dropped_or_lost_everything_is_conserved() -> None:
    assert broken_sums("a->b", DONE, ended=True) == []
    assert DONE.delivered == 5
    assert DONE.dropped == {"drop_oldest": 5, "too_old": 1}
    assert DONE.lost == 3
    assert DONE.in_flight == 0


def test_more_delivered_than_sent_is_told_at_any_time() -> None:
    (sentence,) = broken_sums("a->b", replace(DONE, offered=13), ended=False)
    assert sentence == "edge a->b: 13 sent is less than 5 delivered, 6 dropped, 3 lost"


def test_what_is_still_under_way_is_told_only_when_the_stream_has_ended() -> None:
    counts = replace(DONE, offered=16)
    assert counts.in_flight == 2
    assert broken_sums("a->b", counts, ended=False) == []
    (sentence,) = broken_sums("a->b", counts, ended=True)
    assert sentence == "edge a->b: 16 sent is not 5 delivered, 6 dropped, 3 lost: 2 in flight after the end"


@given(COUNT, COUNT, COUNT, COUNT, COUNT, COUNT)
def test_what_is_sent_is_delivered_dropped_lost_or_in_flight(
    delivered: int, under_way: int, here: int, there: int, told: int, found: int
) -> None:
    offered = delivered + under_way + here + there + told + found
    counts = EdgeCounts(offered, {"latest": here}, told, delivered, {"latest": there}, found)
    assert counts.in_flight == under_way
    assert broken_sums("a->b", counts, ended=False) == []
    assert bool(broken_sums("a->b", counts, ended=True)) == (under_way > 0)


def test_a_stage_that_handled_shed_left_out_or_lost_everything_is_conserved() -> None:
    counts = StageCounts(delivered=20, done=14, left_out=3, lost_told=1, lost_found=2)
    assert broken_stage_sums("join", counts, ended=True) == []
    assert counts.lost == 3


def test_a_datum_of_which_a_stage_knows_nothing_is_told_when_its_streams_have_ended() -> None:
    counts = StageCounts(delivered=10, done=9, left_out=0, lost_told=0)
    assert counts.open == 1
    assert broken_stage_sums("work", counts, ended=False) == []
    (sentence,) = broken_stage_sums("work", counts, ended=True)
    assert sentence == "stage work: 10 delivered to it is not 9 handled or shed, 0 left out by its join, 0 lost"


def test_a_stage_that_handled_more_than_it_got_is_told_at_any_time() -> None:
    counts = StageCounts(delivered=4, done=6, left_out=0, lost_told=0)
    (sentence,) = broken_stage_sums("join", counts, ended=False)
    assert sentence.endswith("is not 6 handled or shed, 0 left out by its join, 0 lost")
