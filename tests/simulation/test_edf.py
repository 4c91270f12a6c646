"""An edge in order of deadlines serves by deadline in whole runs: two sensors meet on it, one of them in a hurry."""

from __future__ import annotations

from typing import Any

import pytest

from streamflow import In, Message, Node, Order, Out, Overflow, Pipeline, ms
from streamflow.testing import Bursts, Simulation, Ticks, simulate

WORK_NS = 8 * ms  # the tight ones come while something is worked on
PLACES = ["two processes", "one process"]


class Both(Node):
    """Hands on whatever comes from either sensor."""

    loose = In("int64[]")
    tight = In("int64[]")
    out = Out("int64[]")

    def process_loose(self, message: Message) -> Any:
        return message.array

    def process_tight(self, message: Message) -> Any:
        return message.array


class Work(Node):
    number = In("int64[]")

    def process(self, message: Message) -> None:
        return None


def run(order: Order, overflow: Overflow, place: str = "two processes") -> Simulation:
    """Twelve data of the loose sensor at once, and one of the tight one every 20 ms: 128 ms of work in all."""
    p = Pipeline("edf")
    process = "shared" if place == "one process" else None
    loose, tight = p.add("loose", Bursts(1000 * ms, 12, 1)), p.add("tight", Ticks(50, 4))
    both, work = p.add("both", Both(), process=process), p.add("work", Work(), process=process)
    p.connect(loose, both.loose)
    p.connect(tight, both.tight)
    p.connect(both, work, order=order, overflow=overflow, capacity=32)
    p.deadline("at leisure", loose, work, within=400 * ms)
    p.deadline("in a hurry", tight, work, within=35 * ms)
    return simulate(p, service={"work": WORK_NS})


def overtakings(simulation: Simulation) -> int:
    """How often a loose datum was begun although a tight one, due before it, was there: that is, had been sent on."""
    sent_ns = {record.seq: record.ended_ns for record in simulation.records["both"] if record.stream == 1}
    works = [record for record in simulation.records["work"] if record.sender >= 0]
    begun_ns = {record.seq: record.started_ns for record in works if record.stream == 1}
    return sum(
        sent_ns[seq] < record.started_ns - 1 * ms and record.started_ns < begun_ns[seq]
        for record in works
        if record.stream == 0
        for seq in sent_ns
    )


@pytest.mark.parametrize("overflow", [Overflow.BLOCK, Overflow.DROP_OLDEST])
def test_the_stream_in_a_hurry_is_in_time_although_the_other_came_first(overflow: Overflow) -> None:
    simulation = run(Order.EDF, overflow)
    assert simulation.paths["in a hurry"]["met"] == 4
    assert simulation.paths["at leisure"]["met"] == 12
    assert simulation.report["conserved"] is True


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("overflow", [Overflow.BLOCK, Overflow.DROP_OLDEST])
def test_in_order_of_arrival_it_waits_for_all_that_came_before_it(overflow: Overflow, place: str) -> None:
    """So that the order is what the others are about."""
    simulation = run(Order.FIFO, overflow, place)
    assert simulation.paths["in a hurry"]["missed"] == 3
    assert overtakings(simulation) >= 6


@pytest.mark.parametrize("place", PLACES)
def test_nothing_that_is_due_later_is_begun_before_it(place: str) -> None:
    simulation = run(Order.EDF, Overflow.BLOCK, place)
    assert overtakings(simulation) == 0
    assert simulation.report["conserved"] is True


def test_on_an_edge_that_drops_one_datum_that_is_due_later_may_be_begun_before_it() -> None:
    """Two of them are out by then; the credit for another comes back when the first of the two is begun."""
    assert 0 < overtakings(run(Order.EDF, Overflow.DROP_OLDEST)) <= 4


def test_data_of_one_stream_keep_their_order() -> None:
    handled = run(Order.EDF, Overflow.BLOCK).results("work")
    for stream, count in (("loose", 12), ("tight", 4)):
        assert [message.seq for message in handled if message.stream == stream] == list(range(count))
