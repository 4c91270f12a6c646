"""Several stages that work on one device: whose turn it is, in whole runs in virtual time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import pytest

from nodes.infer import CupyFunction
from streamflow import Batch, Criticality, Message, Node, OnDevice, OnMiss, Pipeline, ms
from streamflow.core.verdict import Kind
from streamflow.device.virtual import VirtualDevice
from streamflow.testing import Bursts, Faults, OfBatch, Simulation, Ticks, simulate
from tests.simulation.test_batches import Merge, Sink
from tests.simulation.test_staging import (
    KNOWN,
    MAKING_NS,
    SIZE_MAX,
    STREAM_COUNT,
    Doubling,
    busy_share,
    device,
    flights,
    run,
)


def several_stages(
    within: Sequence[int],
    load: float,
    each: int = 30,
    node: Callable[[], Node] = Doubling,
    on_miss: OnMiss = OnMiss.SHED,
) -> Pipeline:
    """Each with its own sensors, an equal part of the load and its own deadlines; on one device, so in one process."""
    p = Pipeline("shared")
    rate_hz = load * SIZE_MAX / (KNOWN[SIZE_MAX] / 1e9) / STREAM_COUNT / len(within)
    for nth, limit_ns in enumerate(within):
        net = p.add(f"net{nth}", node(), batch=Batch(SIZE_MAX, known=KNOWN), device="cuda:0")
        merge, sink = p.add(f"merge{nth}", Merge(STREAM_COUNT)), p.add(f"sink{nth}", Sink())
        p.connect(merge, net, capacity=64)
        p.connect(net, sink, capacity=64)
        for index in range(STREAM_COUNT):
            ticks = Ticks(rate_hz, each, jitter_ns=int(0.9e9 / rate_hz), seed=100 * nth + index)
            source = p.add(f"sensor{nth}_{index}", ticks)
            p.connect(source, merge[f"in{index}"], capacity=64)
            if limit_ns:
                p.deadline(f"net{nth} {index}", source, sink, within=limit_ns, on_miss=on_miss)
    return p


def test_the_stages_of_a_device_give_it_one_batch_to_run_and_one_to_be_staged_together() -> None:
    simulation = run(several_stages((0, 0), 1.0))
    flown = sorted([*flights(simulation, "net0"), *flights(simulation, "net1")], key=lambda one: one.done_ns)
    for at_ns in (one.given_ns for one in flown):
        assert sum(one.given_ns <= at_ns < one.done_ns for one in flown) <= 2
    assert busy_share(flown) >= 0.98
    assert simulation.stages["net0"]["processed"] == simulation.stages["net1"]["processed"] == STREAM_COUNT * 30


def share_in_time(simulation: Simulation, stage: str) -> float:
    own = [path for name, path in simulation.paths.items() if name.startswith(f"{stage} ")]
    return sum(path["met"] for path in own) / sum(path["produced"] for path in own)


def test_the_turn_goes_to_the_least_latest_start() -> None:
    """One has little time and two have much: where some must wait it is these, which lose nothing by that."""
    simulation = run(several_stages((26 * ms, 300 * ms, 300 * ms), 0.7, each=25))
    shares = [share_in_time(simulation, f"net{nth}") for nth in range(3)]
    assert shares[0] > 0.96, "in the order of asking it would be 0.82"
    assert min(shares) > 0.95


def test_the_queues_of_a_stage_on_a_critical_path_go_first() -> None:
    asked: dict[str, int] = {}

    class Asked(VirtualDevice):
        def queue(self, priority: int = 0) -> Any:
            asked[self.name] = priority
            return super().queue(priority)

    p = Pipeline("priorities")
    for nth, criticality in enumerate((None, *Criticality)):
        source, sink = p.add(f"source{nth}", Ticks(100, 2)), p.add(f"sink{nth}", Sink())
        double = CupyFunction(lambda x, xp: 2 * x, input="int64[]", output="int64[]", rows_max=1)
        net = p.add(f"net{nth}", double, device=f"cuda:{nth}")
        p.connect(source, net)
        p.connect(net, sink)
        if criticality is not None:
            p.deadline(f"d{nth}", source, sink, within=1000 * ms, criticality=criticality)
    assert simulate(p, make_device=Asked).failure is None
    assert [asked[f"cuda:{nth}"] for nth in range(4)] == [0, 0, 1, 2]


def test_a_stage_that_ends_or_fails_leaves_the_device_to_the_others() -> None:
    p = several_stages((0, 0), 0.8, each=50)
    service = {f"net{nth}": OfBatch(lambda size: MAKING_NS) for nth in (0, 1)}
    faults = Faults().crash("net0", at_s=0.1)
    simulation = simulate(p, service=service, make_device=device(), faults=faults)
    assert simulation.report["conserved"] is True
    assert simulation.stages["net0"]["restarts"] == simulation.stages["net1"]["restarts"] == 1, "they share a process"
    assert simulation.stages["net1"]["processed"] > 0.9 * STREAM_COUNT * 50


class Alone(Doubling):
    """One datum at a time."""

    process_batch = None  # type: ignore[assignment]

    def process(self, message: Message) -> Any:
        return OnDevice(self._given(message), lambda: 2 * message.array)

    def _given(self, message: Message) -> Any:
        if not hasattr(self, "_queue"):
            self._queue = self.context.device.queue()
        self._queue.launch(lambda: None)
        return self._queue.ticket()


def test_a_stage_that_works_on_one_datum_at_a_time_has_its_turns_too() -> None:
    def build() -> Pipeline:
        p = several_stages((0, 0), 0.5)
        source, alone, sink = p.add("source", Ticks(40, 40)), p.add("alone", Alone(), device="cuda:0"), Sink()
        last = p.add("sink", sink)
        p.connect(source, alone)
        p.connect(alone, last)
        p.deadline("alone", source, last, within=40 * ms, on_miss=OnMiss.SHED)
        return p

    simulation = run(build())
    assert simulation.paths["alone"]["met"] == 40
    every = [*flights(simulation, "net0"), *flights(simulation, "net1"), *flights(simulation, "alone")]
    for at_ns in (one.given_ns for one in every):
        assert sum(one.given_ns <= at_ns < one.done_ns for one in every) <= 2


class GuessingThere(Doubling):
    """One datum at a time it guesses, on the device too, in a copy's time."""

    def open(self) -> None:
        super().open()
        self._there, self._queue = self.context.device.array((), "int64"), self.context.device.queue()

    def degrade(self, message: Message) -> Any:
        self._queue.copy_in(self._there, message.array)
        return OnDevice(self._queue.ticket(), lambda: self._there.copy())


def test_what_is_done_there_in_a_cheaper_way_has_a_turn_too() -> None:
    simulation = run(several_stages((30 * ms, 30 * ms), 1.5, 20, GuessingThere, OnMiss.DEGRADE))
    assert all(simulation.stages[net]["degraded"] > 20 for net in ("net0", "net1")), "it is not the other's alone"
    every = [one for net in ("net0", "net1") for one in flights(simulation, net, Kind.RUN, Kind.DEGRADED)]
    for at_ns in (one.given_ns for one in every):
        assert sum(one.given_ns <= at_ns < one.done_ns for one in every) <= 2


@pytest.mark.parametrize("last", [Alone, Doubling])
def test_stages_of_one_device_that_wait_for_room_at_each_other_do_not_stand_still(last: Callable[[], Node]) -> None:
    """Who cannot send for lack of room keeps no turn, nor its place before those that would make room."""
    p = Pipeline("chain")
    source, sink = p.add("source", Bursts(1 * ms, 40, 5)), p.add("sink", Sink())
    stages = [p.add(f"net{n}", Doubling(), batch=Batch(4, queue_size=4), device="cuda:0") for n in range(2)]
    batch = Batch(4, queue_size=4) if last is Doubling else None
    stages.append(p.add("last", last(), batch=batch, device="cuda:0"))
    for before, after in pairwise([source, *stages, sink]):
        p.connect(before, after, capacity=2)
    simulation = run(p, service={"sink": 1 * ms})
    assert [int(message.array) for message in simulation.results("sink")] == [8 * n for n in range(200)]
