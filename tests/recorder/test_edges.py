"""What the two ends of an edge write down of it: counts, and which data are where."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamflow.core.verdict import Kind
from streamflow.errors import RecorderError
from streamflow.recorder.layout import (
    EDGE_SHIFT,
    HEAD_MASK,
    IN_HAND,
    NUMBER_BITS,
    SHED,
    SHED_BITS,
    SHED_MASK,
    STRANGER_COUNT,
    TAKEN,
)
from streamflow.recorder.reader import Live, Recording
from streamflow.recorder.writer import Recorder
from tests.recorder.made import SHAPE


def test_the_receiver_of_an_edge_says_what_it_took_and_dropped(made: tuple[Recorder, Recording]) -> None:
    recorder, recording = made
    edge = recorder.inputs[0]
    edge.arrived(500, 1)
    edge.arrived(600, 2)
    edge.add(TAKEN)
    edge.drop("drop_oldest")
    edge.drop("too_old", 2)
    edge.hold(1)
    edge.peak(2)
    edge.peak(1)
    edge.set(STRANGER_COUNT, 4)
    counts = recording.inputs()[0]
    assert counts.name == "mic.out -> infer.x"
    assert (counts.received, counts.taken, counts.held, counts.depth_peak) == (2, 1, 1, 2)
    assert (counts.last_arrival_ns, counts.stranger_count) == (600, 4)
    assert counts.dropped == {"drop_oldest": 1, "too_old": 2}
    assert recording.inputs()[1].received == 0


def test_the_receiver_remembers_what_it_removed_two_windows_back(made: tuple[Recorder, Recording]) -> None:
    recorder, recording = made
    edge = recorder.inputs[0]
    for number in range(11):
        edge.removed(number)
    assert recording.removed(0, 0) == set(range(3, 11))
    edge.set_generation(3)
    edge.removed(0)
    assert recording.removed(0, 3) == {0}
    assert recording.removed(0, 0) == set(range(4, 11))
    assert recording.removed(0, 2) == recording.removed(1, 0) == set()


def test_what_was_removed_out_of_order_does_not_hide_what_was_removed_just_before(
    made: tuple[Recorder, Recording],
) -> None:
    """By deadline one datum may wait while many others pass it."""
    recorder, recording = made
    edge = recorder.inputs[0]
    for number in [*range(1, 17), 0]:
        edge.removed(number)
    assert recording.removed(0, 0) == {*range(10, 17), 0}


def test_the_sender_of_an_edge_says_what_it_offered_and_dropped(made: tuple[Recorder, Recording]) -> None:
    recorder, recording = made
    edge = recorder.outputs[0]
    edge.offered(700)
    edge.block(True)
    edge.drop("latest")
    (counts,) = recording.outputs()
    assert (counts.name, counts.offered, counts.last_offered_ns) == ("infer.out -> show.x", 1, 700)
    assert (counts.is_blocked, counts.dropped, counts.lost, counts.transmitted) == (True, {"latest": 1}, 0, 0)
    edge.block(False)
    assert not recording.outputs()[0].is_blocked


def test_the_sender_of_an_edge_says_which_data_are_live(made: tuple[Recorder, Recording]) -> None:
    recorder, recording = made
    edge = recorder.outputs[0]
    slot = edge.accept(((0, 7),), 12)
    edge.accept(((0, 8), (2, -1)), 13)
    assert recording.live(0) == [
        Live(False, -1, 0, ((0, 7),), 1, 12),
        Live(False, -1, 0, ((0, 8), (2, -1)), 2, 13),
    ]
    edge.transmitted(slot, 5, 2)
    assert recording.live(0)[0] == Live(True, 5, 2, ((0, 7),), 1, 12)
    edge.release(slot)
    assert [datum.serial for datum in recording.live(0)] == [13]


def test_the_sender_of_an_edge_says_what_a_handling_has_sent_also_when_it_is_done_with(
    made: tuple[Recorder, Recording],
) -> None:
    recorder, recording = made
    edge = recorder.outputs[0]
    slots = [edge.accept(((0, 7),), 12, nth) for nth in range(3)]
    edge.transmitted(slots[0], 5, 2)
    edge.release(slots[0])
    assert [(datum.serial, datum.nth) for datum in recording.live(0)] == [(12, 1), (12, 2)]
    assert recording.live(0, with_free=True)[0] == Live(False, 5, 2, (), 0, 12, 0, is_free=True)
    assert [datum.nth for datum in recording.live(0, with_free=True)] == [0, 1, 2]
    edge.accept(((0, 7),), 12, 3)
    assert sorted(datum.nth for datum in recording.live(0, with_free=True)) == [1, 2, 3], "its slot was used again"
    recorder.reset_live()
    assert recording.live(0, with_free=True) == []


HAND_SHAPE = dataclasses.replace(SHAPE, out_edges=(*SHAPE.out_edges, (IN_HAND, 1)))


@settings(deadline=None, max_examples=30)
@given(steps=st.lists(st.tuples(st.integers(0, 1), st.booleans()), max_size=12))
def test_to_enter_and_to_leave_at_once_stores_what_the_steps_do(steps: list[tuple[int, bool]]) -> None:
    """The same bytes at the end, whichever way each datum went, but for the turn of the place in hand."""
    at_once, by_steps = (Recorder.in_memory(HAND_SHAPE) for _ in range(2))
    hand = by_steps.outputs[1]
    numbers = [0, 0]
    for seq, (edge, is_sent) in enumerate(steps):
        number, sent_ns, arrived_ns, started_ns = numbers[edge], 1000 + seq, 2000 + seq * 3, 3000 + seq * 3
        numbers[edge] += 1
        served = (0, seq, 500 + seq, sent_ns, arrived_ns, started_ns, 9000)
        at_once.enter(edge, number, *served, 0)
        own = by_steps.inputs[edge]
        own.arrived(arrived_ns, 1)
        by_steps.transport[edge].record(arrived_ns - sent_ns)
        since = (by_steps.head & HEAD_MASK) << SHED_BITS | by_steps.get(SHED) & SHED_MASK
        slot = hand.accept([(0, seq)], own.get(TAKEN), since, edge << EDGE_SHIFT | own.place(number))
        own.taken(0)
        by_steps.begin(*served, 0)
        own.removed(number)
        if is_sent:
            left = at_once.outputs[0].leave(0, seq, at_once.turn, 0, 7 << NUMBER_BITS | seq, started_ns)
            accepted = by_steps.outputs[0].accept([(0, seq)], by_steps.turn, 0)
            by_steps.outputs[0].offered(started_ns)
            by_steps.outputs[0].sent(accepted, seq, 7)
            assert left == accepted
            assert Recording.over(at_once.buffer).live(0) == Recording.over(by_steps.buffer).live(0)
        assert Recording.over(at_once.buffer).live(1)[0].origins == ((0, seq),)
        for recorder in (at_once, by_steps):
            recorder.finish(Kind.RUN, 0, started_ns + 5, 0, 0, 1, 1)
        at_once.put_down()
        hand.release(slot)
        if is_sent:
            at_once.outputs[0].release(left)
            by_steps.outputs[0].release(accepted)
    assert bytes(at_once.buffer) == bytes(by_steps.buffer)


def test_more_data_of_one_handling_than_can_be_counted_are_the_most_that_can(made: tuple[Recorder, Recording]) -> None:
    recorder, recording = made
    recorder.outputs[0].accept(((0, 7),), (1 << 48) - 1, 1 << 20)
    assert [(datum.serial, datum.nth) for datum in recording.live(0)] == [((1 << 48) - 1, (1 << 16) - 1)]


def test_of_many_origins_eight_are_kept_and_all_are_counted(made: tuple[Recorder, Recording]) -> None:
    recorder, recording = made
    recorder.outputs[0].accept([(0, seq) for seq in range(11)], 1)
    (live,) = recording.live(0)
    assert live.origins == tuple((0, seq) for seq in range(8))
    assert live.origin_count == 11


def test_more_live_data_than_the_edge_can_have_are_an_error(made: tuple[Recorder, Recording]) -> None:
    edge = made[0].outputs[0]
    slots = [edge.accept(((0, seq),), seq) for seq in range(5)]
    assert len(set(slots)) == 5
    with pytest.raises(RecorderError, match="5 data are live, expected room for one more"):
        edge.accept(((0, 5),), 5)
    edge.release(slots[2])
    assert edge.accept(((0, 5),), 5) == slots[2]


@given(st.lists(st.sampled_from(["accept", "transmit", "release"]), max_size=60))
@settings(max_examples=30)
def test_live_data_are_those_accepted_and_not_released(steps: list[str]) -> None:
    recorder = Recorder.in_memory(SHAPE)
    edge, recording = recorder.outputs[0], Recording.over(recorder.buffer)
    held: dict[int, int] = {}
    out: dict[int, int] = {}
    for serial, step in enumerate(steps):
        if step == "accept" and len(held) + len(out) < 5:
            held[edge.accept(((0, serial),), serial)] = serial
        elif step == "transmit" and held:
            slot, datum = held.popitem()
            edge.transmitted(slot, datum, 1)
            out[slot] = datum
        elif step == "release" and out:
            edge.release(out.popitem()[0])
        live = recording.live(0)
        assert sorted(datum.serial for datum in live if not datum.is_out) == sorted(held.values())
        assert sorted(datum.number for datum in live if datum.is_out) == sorted(out.values())
        assert all(datum.origins == ((0, datum.serial),) for datum in live)
