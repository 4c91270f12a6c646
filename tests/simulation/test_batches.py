"""Stages that work in batches, in whole runs in virtual time: what comes of each datum, when, and that it counts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from streamflow import Batch, Fill, Flag, In, Message, Node, OnMiss, Out, Output, Overflow, Pipeline, Timing, ms, us
from streamflow.core.message import Message as CoreMessage
from streamflow.core.verdict import Kind
from streamflow.errors import NodeError
from streamflow.pipeline import Stage
from streamflow.runtime.stage.batcher import results_of
from streamflow.testing import Bursts, Faults, OfBatch, Simulation, Ticks, simulate
from tools.campaigns.laws import broken_laws

STREAM_COUNT = 6
KNOWN = {size: 2 * ms + size * 500 * us for size in range(1, 17)}
SERVICE = {"net": OfBatch(KNOWN.__getitem__)}


class Merge(Node):
    """Hands on what comes from any of its sensors, in the sensor's name."""

    out = Out("int64[]")

    def __init__(self, count: int) -> None:
        for index in range(count):
            setattr(self, f"in{index}", In("int64[]"))
            setattr(self, f"process_in{index}", lambda message: message.array)


class Net(Node):
    """Twice the number, with the size of the batch; stands alone as well."""

    number = In("int64[]")
    out = Out("int64[]")

    def process_batch(self, messages: Sequence[Message]) -> Any:
        return [Output(2 * message.array, attributes={"size": len(messages)}) for message in messages]

    def process(self, message: Message) -> Any:
        return Output(2 * message.array, attributes={"size": 1})


class Unbound(Net):
    """Carries nothing from one datum to the next."""

    stateful = False


class Sink(Node):
    data = In()

    def process(self, message: Message) -> None: ...


def pipeline(
    batch: Batch | None,
    *,
    node: Callable[[], Node] = Net,
    count: int = STREAM_COUNT,
    rate_hz: float = 100,
    sensors: Sequence[Node] = (),
    within: int = 0,
    on_miss: OnMiss = OnMiss.SHED,
    **options: Any,
) -> Pipeline:
    """Several sensors, all through one stage; by default as `Ticks`, one shortly after the other."""
    p = Pipeline("batches")
    found = sensors or [Ticks(rate_hz, 40, jitter_ns=2 * ms, seed=index) for index in range(count)]
    merge = p.add("merge", Merge(len(found)))
    net, sink = p.add("net", node(), batch=batch), p.add("sink", Sink())
    p.connect(merge, net, capacity=32)
    p.connect(net, sink, capacity=32)
    for index, sensor in enumerate(found):
        source = p.add(f"sensor{index}", sensor)
        p.connect(source, merge[f"in{index}"], capacity=32)
        if within:
            p.deadline(f"in time {index}", source, sink, within=within, on_miss=on_miss, **options)
    return p


def run(p: Pipeline, **options: Any) -> Simulation:
    simulation = simulate(p, **{"service": SERVICE, **options})
    assert simulation.failure is None
    assert simulation.report["conserved"] is True
    assert not broken_laws(simulation, p.definition().resolved().graph)
    return simulation


def by_stream(simulation: Simulation) -> dict[str, list[tuple[int, int]]]:
    found: dict[str, list[tuple[int, int]]] = {}
    for message in simulation.results("sink"):
        found.setdefault(message.stream, []).append((message.seq, int(message.array)))
    return found


def in_time(simulation: Simulation) -> float:
    paths = [path for path in simulation.paths.values() if path["within_ms"] is not None]
    return sum(path["met"] for path in paths) / sum(path["produced"] for path in paths)


def sizes(simulation: Simulation) -> dict[int, int]:
    return {int(size): count for size, count in simulation.stages["net"]["batch"].items()}


def test_each_datum_has_the_same_result_in_its_own_name_as_by_itself() -> None:
    alone = run(pipeline(Batch(1)), service={})
    together = run(pipeline(Batch(16)))
    assert by_stream(alone) == by_stream(together)
    assert by_stream(together) == {f"sensor{k}": [(n, 2 * n) for n in range(40)] for k in range(STREAM_COUNT)}
    assert max(sizes(together)) > 1
    assert alone.stages["net"]["batch"] == {"1": 40 * STREAM_COUNT}


def test_a_batch_has_one_datum_of_a_stream_and_each_stream_keeps_its_order() -> None:
    simulation = run(pipeline(Batch(16), sensors=[Bursts(100 * ms, 8, 2) for _ in range(3)]))
    assert max(sizes(simulation)) == 3
    for order in by_stream(simulation).values():
        assert order == sorted(order)
    records = [record for record in simulation.records["net"] if record.kind == Kind.RUN]
    streams_at: dict[int, list[int]] = {}
    for record in records:
        streams_at.setdefault(record.started_ns, []).append(record.stream)
    assert all(len(set(streams)) == len(streams) for streams in streams_at.values())


def test_a_node_without_state_takes_several_of_one_stream() -> None:
    simulation = run(pipeline(Batch(16), node=Unbound, sensors=[Bursts(100 * ms, 8, 4)]))
    assert max(sizes(simulation)) > 1
    assert by_stream(simulation)["sensor0"] == [(n, 2 * n) for n in range(32)]


def test_records_and_results_say_how_large_their_batch_was() -> None:
    simulation = run(pipeline(Batch(16)))
    works = [record for record in simulation.records["net"] if record.kind == Kind.RUN]
    told = {(record.stream, record.seq): record.batch for record in works}
    streams = {name: index for index, name in enumerate(["merge", "net", "sink", *[f"sensor{k}" for k in range(6)]])}
    for message in simulation.results("sink"):
        assert told[streams[message.stream], message.seq] == message.attributes["size"]
    counted: dict[int, int] = {}
    for record in works:
        counted[record.batch] = counted.get(record.batch, 0) + 1
    assert {size: count * size for size, count in sizes(simulation).items()} == counted


def test_the_service_of_a_batch_is_busy_time_once() -> None:
    simulation = run(pipeline(Batch(16)))
    spent_ns = sum(KNOWN[size] * count for size, count in sizes(simulation).items())
    stage = simulation.stages["net"]
    assert stage["busy"] == pytest.approx(spent_ns / (simulation.report["duration_s"] * 1e9), rel=0.05)


def test_data_that_came_while_a_batch_ran_have_waited_for_theirs() -> None:
    simulation = run(pipeline(Batch(16), sensors=[Bursts(100 * ms, 1, 1), Bursts(100 * ms, 1, 1)]))
    assert sizes(simulation) == {1: 2}, "before anything is known of it, a batch is of one"
    assert simulation.stages["net"]["batch_wait_ms"]["max"] == pytest.approx(KNOWN[1] / ms, rel=0.02)
    assert simulation.stages["sink"]["batch_wait_ms"] == {}


def test_what_is_not_known_is_found_out_a_batch_at_a_time() -> None:
    first = run(pipeline(Batch(16), sensors=[Bursts(100 * ms, 1, 40) for _ in range(8)]))
    records = [record for record in first.records["net"] if record.kind == Kind.RUN]
    grown = list(dict.fromkeys(record.batch for record in records))
    assert grown[:4] == [1, 2, 3, 4][: len(grown[:4])]
    known = run(pipeline(Batch(16, known=KNOWN), sensors=[Bursts(100 * ms, 1, 40) for _ in range(8)]))
    assert len(sizes(known)) <= len(sizes(first))


def test_in_overload_more_is_in_time_than_one_by_one() -> None:
    """Twelve streams at 100 Hz are three times what the stage could do with each by itself."""

    def overloaded(batch: Batch) -> Simulation:
        return run(pipeline(batch, count=12, within=25 * ms))

    alone, together = overloaded(Batch(1)), overloaded(Batch(16))
    assert in_time(alone) < 0.6
    assert in_time(together) > 0.95
    known = overloaded(Batch(16, known=KNOWN))
    assert in_time(known) >= in_time(together)


def test_what_cannot_be_in_time_is_shed_and_what_is_begun_is_on_time() -> None:
    simulation = run(
        pipeline(Batch(4, known={s: KNOWN[s] for s in (1, 2, 3, 4)}), count=12, rate_hz=150, within=25 * ms)
    )
    assert simulation.stages["net"]["shed"] > 0
    assert sum(path["missed"] for path in simulation.paths.values()) <= 0.02 * 12 * 40
    stages = simulation.stages
    assert stages["net"]["processed"] + sum(stages[name]["shed"] for name in ("merge", "net")) == 12 * 40


def test_lazy_waits_for_the_last_instant_at_which_one_more_could_join() -> None:
    batch = Batch(4, timing=Timing.LAZY, known={s: KNOWN[s] for s in (1, 2, 3, 4)})
    simulation = run(pipeline(batch, sensors=[Bursts(200 * ms, 1, 3)], within=40 * ms))
    works = [record for record in simulation.records["net"] if record.kind == Kind.RUN]
    waited_ns = [record.started_ns - record.event_time_ns for record in works]
    assert waited_ns[:2] == pytest.approx([40 * ms - KNOWN[2]] * 2, abs=1 * ms)
    assert waited_ns[2] < 1 * ms, "the stream ends with it, so that it cannot grow"
    assert in_time(simulation) == 1


def test_lazy_starts_at_once_when_it_is_full_and_keeps_the_stage_less_busy() -> None:
    known = {size: KNOWN[size] for size in (1, 2, 3, 4)}
    runs = {timing: run(pipeline(Batch(4, timing=timing, known=known), count=4, within=40 * ms)) for timing in Timing}
    assert in_time(runs[Timing.LAZY]) == in_time(runs[Timing.EAGER]) == 1
    assert runs[Timing.LAZY].stages["net"]["busy"] < runs[Timing.EAGER].stages["net"]["busy"]


def test_a_fixed_batch_is_full_and_what_is_left_at_the_end_is_worked_on_by_itself() -> None:
    batch = Batch(5, Fill.FULL)
    simulation = run(pipeline(batch, node=Unbound, sensors=[Bursts(100 * ms, 4, 3)]), service={})
    assert sizes(simulation) == {5: 2, 1: 2}
    assert len(simulation.results("sink")) == 12


class OnlyTogether(Node):
    number = In("int64[]")
    out = Out("int64[]")
    stateful = False

    async def process_batch(self, messages: Sequence[Message]) -> Any:
        return np.stack([message.array for message in messages])


def test_what_fills_no_fixed_batch_is_told_as_left_out() -> None:
    simulation = run(pipeline(Batch(5, Fill.FULL), node=OnlyTogether, sensors=[Bursts(100 * ms, 4, 3)]), service={})
    assert simulation.stages["net"]["left_out"] == {"number": {"unmatched": 2}}
    assert [int(message.array) for message in simulation.results("sink")] == list(range(10))


@pytest.mark.parametrize("seconds", [0, 1, 2])
def test_offline_the_batches_are_the_same_however_long_the_stages_before_take(seconds: int) -> None:
    slow = {"merge": seconds * ms, "sensor0": 3 * seconds * ms}
    simulation = run(pipeline(Batch(4), count=1), offline=True, service=slow)
    assert sizes(simulation) == {1: 40}, "the next of a stream closes its batch"
    unbound = run(pipeline(Batch(4), node=Unbound, count=1), offline=True, service=slow)
    assert sizes(unbound) == {4: 10}


class Guessing(Net):
    def degrade(self, message: Message) -> Any:
        return Output(message.array, attributes={"size": 0})


def late(on_miss: OnMiss, node: Callable[[], Node] = Net, **options: Any) -> Simulation:
    """Eight at once, of which batches of two can do some in time."""
    batch = Batch(2, known={1: KNOWN[1], 2: KNOWN[2]})
    sensors = [Bursts(100 * ms, 1, 4) for _ in range(8)]
    return run(pipeline(batch, node=node, sensors=sensors, within=11 * ms, on_miss=on_miss, **options))


def test_given_up_means_what_was_declared_shed() -> None:
    simulation = late(OnMiss.SHED)
    assert simulation.stages["net"]["shed"] > 0
    assert simulation.stages["net"]["processed"] + simulation.stages["net"]["shed"] == 32


def test_given_up_means_what_was_declared_hold() -> None:
    simulation = late(OnMiss.HOLD, max_age=1000 * ms)
    held = [message for message in simulation.results("sink") if message.flags & Flag.HELD]
    assert held
    assert len(held) == sum(1 for record in simulation.records["net"] if record.kind == Kind.HELD)


def test_given_up_means_what_was_declared_call() -> None:
    def instead(stage: str, message: CoreMessage) -> Any:
        return np.int64(-1) if stage == "net" else None

    simulation = late(OnMiss.CALL, call=instead)
    called = [record for record in simulation.records["net"] if record.kind == Kind.CALLED]
    assert called
    assert simulation.stages["net"]["shed"] == 0


def test_given_up_means_what_was_declared_degrade() -> None:
    simulation = late(OnMiss.DEGRADE, Guessing)
    assert simulation.stages["net"]["degraded"] > 0
    assert [m for m in simulation.results("sink") if m.flags & Flag.DEGRADED and m.attributes["size"] == 0]


def test_what_is_to_be_delivered_is_worked_on_although_it_is_late() -> None:
    simulation = late(OnMiss.DELIVER)
    assert len(simulation.results("sink")) == 32
    assert [message for message in simulation.results("sink") if message.flags & Flag.MISSED]
    for order in by_stream(simulation).values():
        assert order == sorted(order)


@pytest.mark.parametrize("node", [Net, Unbound])
def test_what_is_late_is_not_overtaken_in_its_stream_by_what_is_not(node: Callable[[], Node]) -> None:
    """Whether or not the node carries anything from one to the next: who gets its results may. And streams of which
    data are late do not stay so."""
    hiccup = Faults().slow("net", by=60 * ms, from_s=0.1, until_s=0.12)
    simulation = run(pipeline(Batch(4), node=node, within=25 * ms, on_miss=OnMiss.DELIVER), faults=hiccup)
    found = by_stream(simulation)
    assert len(found) == STREAM_COUNT
    for order in found.values():
        assert [seq for seq, _ in order] == list(range(40))
    late = [message.event_time_ns for message in simulation.results("sink") if message.flags & Flag.MISSED]
    assert len(late) > 5
    assert max(late) - min(late) < 300 * ms


def test_of_two_deadlines_the_one_that_can_be_met_still_counts() -> None:
    def build() -> Pipeline:
        p = pipeline(
            Batch(2, known={1: KNOWN[1], 2: KNOWN[2]}),
            sensors=[Bursts(100 * ms, 1, 4) for _ in range(8)],
            within=11 * ms,
        )
        logger = p.add("logger", Sink())
        p.connect(Stage("net"), logger, capacity=32)
        for index in range(8):
            p.deadline(f"at leisure {index}", Stage(f"sensor{index}"), logger, within=90 * ms, on_miss=OnMiss.SHED)
        return p

    simulation = run(build())
    assert simulation.stages["net"]["shed"] == 0
    assert sum(path["met"] for name, path in simulation.paths.items() if name.startswith("at leisure")) == 32


def test_beyond_what_may_wait_here_the_edge_drops_by_its_policy() -> None:
    p = Pipeline("full")
    source = p.add("sensor0", Bursts(100 * ms, 20, 1))
    net, sink = p.add("net", Net(), batch=Batch(2, queue_size=2)), p.add("sink", Sink())
    p.connect(source, net, overflow=Overflow.DROP_OLDEST, capacity=3)
    p.connect(net, sink)
    simulation = run(p)
    assert simulation.edges["sensor0.number->net.number"]["dropped"]["drop_oldest"] > 0
    assert simulation.stages["net"]["processed"] <= 2 + 3 + 2


@pytest.mark.parametrize("seed", range(3))
def test_every_sum_holds_with_faults(seed: int) -> None:
    faults = Faults().crash("net", at_s=0.1).slow("net", by=6 * ms, from_s=0.2, until_s=0.25).crash("sink", at_s=0.3)
    simulation = run(pipeline(Batch(16), count=8, within=30 * ms), faults=faults, seed=seed)
    assert simulation.stages["net"]["restarts"] == 1
    for order in by_stream(simulation).values():
        assert order == sorted(order)


def test_a_stage_that_dies_over_a_batch_has_lost_all_of_it() -> None:
    sensors = [Bursts(1000 * ms, 1, 2) for _ in range(4)]
    batch = Batch(4, known={size: KNOWN[size] for size in (1, 2, 3, 4)}, timing=Timing.LAZY, patience=20 * ms)
    simulation = run(pipeline(batch, sensors=sensors), faults=Faults().crash("net", seq=0))
    assert simulation.stages["net"]["lost"] == 4
    assert sizes(simulation) == {4: 1}


class Miscounting(Net):
    def process_batch(self, messages: Sequence[Message]) -> Any:
        return [message.array for message in messages][1:]


def test_a_batch_with_too_few_results_fails_the_stage_and_is_lost() -> None:
    simulation = simulate(pipeline(Batch(4), node=Miscounting, count=1), restarts=False, service=SERVICE)
    assert simulation.failure == (
        "stage net: process_batch returned 0 results for 1 data, expected one for each; None where none is"
    )
    assert simulation.report["conserved"] is True


@pytest.mark.parametrize(
    ("found", "sentence"),
    [
        ({"a": 1}, "process_batch returned a dict, expected a sequence with a result for each of 2 data"),
        (None, "process_batch returned a NoneType, expected a sequence with a result for each of 2 data"),
        ((n for n in range(2)), "process_batch returned a generator, expected a sequence with a result"),
        (np.float32(1), "expected a sequence with a result for each of 2 data"),
    ],
)
def test_what_is_no_sequence_of_results_is_told(found: Any, sentence: str) -> None:
    with pytest.raises(NodeError) as told:
        results_of("net", found, 2)
    assert sentence in str(told.value)


def test_an_array_is_a_result_for_each_of_its_rows() -> None:
    assert len(results_of("net", np.zeros((2, 3)), 2)) == 2
