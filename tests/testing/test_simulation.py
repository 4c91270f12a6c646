"""A user tests their own pipeline's deadlines: a whole run in milliseconds, exact to the nanosecond."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trio

from streamflow import (
    Escalation,
    In,
    Message,
    Node,
    OnMiss,
    Out,
    Overflow,
    Pipeline,
    PipelineError,
    Restart,
    ms,
    s,
    us,
)
from streamflow.errors import Fault
from streamflow.testing import Bursts, Faults, Simulation, Ticks, simulate

LATENCY_NS = 50 * us


class Double(Node):
    number = In("int64[]")
    out = Out("int64[]")

    def process(self, message: Message) -> Any:
        return message.array * 2


class Sink(Node):
    number = In("int64[]")

    def process(self, message: Message) -> None:
        return None


class Closing(Sink):
    """Leaves a note when it is closed."""

    def __init__(self, note: Path) -> None:
        self._note = note

    def close(self) -> None:
        self._note.write_text("closed")


def pipeline(
    source: Node | None = None,
    *,
    within: int = 20 * ms,
    on_miss: OnMiss = OnMiss.SHED,
    sink: Node | None = None,
    restart: Restart = Restart.TRANSIENT,
    firm: tuple[int, int] | None = None,
    escalation: tuple[Escalation, ...] = (),
    capacity: int = 8,
) -> Pipeline:
    """sensor -> work -> sink, 100 data a second for a second, and a deadline from end to end."""
    p = Pipeline("line")
    sensor = p.add("sensor", source or Ticks(100, 100))
    work = p.add("work", Double(), restart=restart)
    end = p.add("sink", sink or Sink())
    p.connect(sensor, work, overflow=Overflow.DROP_OLDEST, capacity=capacity)
    p.connect(work, end)
    p.deadline("end to end", sensor, end, within=within, on_miss=on_miss, firm=firm, escalation=escalation)
    return p


def numbers(messages: list[Message]) -> list[int]:
    return [int(message.array) for message in messages]


def accounted(simulation: Simulation) -> dict[str, int]:
    path = simulation.paths["end to end"]
    ends = ("met", "missed", "absorbed", "shed", "dropped", "rejected", "lost")
    return {"produced": path["produced"]} | {end: path[end] for end in ends if path[end]}


# -------------------------------------------------------------------------------- time and results


def test_every_result_is_there_and_every_instant_exact() -> None:
    simulation = simulate(pipeline(Ticks(100, 3)), service={"work": 4 * ms, "sink": 1 * ms})
    assert numbers(simulation.results("sink")) == [0, 2, 4]
    assert [record.ended_ns - simulation.started_ns for record in simulation.records["sink"]] == [
        due_ns + LATENCY_NS + 4 * ms + LATENCY_NS + 1 * ms for due_ns in (0, 10 * ms, 20 * ms)
    ]
    assert accounted(simulation) == {"produced": 3, "met": 3}
    assert simulation.report["conserved"] is True
    assert simulation.failure is None


def test_a_service_time_may_depend_on_the_datum() -> None:
    simulation = simulate(pipeline(Ticks(100, 4)), service={"work": lambda seq: (seq + 1) * ms})
    assert [r.ended_ns - r.started_ns for r in simulation.records["work"]] == [1 * ms, 2 * ms, 3 * ms, 4 * ms]


def test_async_nodes_wait_in_the_same_time() -> None:
    class Slow(Double):
        async def process(self, message: Message) -> Any:
            await trio.sleep(0.005)
            return message.array

    p = Pipeline("slow")
    sensor, work = p.add("sensor", Ticks(10, 2)), p.add("work", Slow())
    p.connect(sensor, work)
    assert [r.ended_ns - r.started_ns for r in simulate(p).records["work"]] == [5 * ms, 5 * ms]


def test_the_same_call_gives_the_same_run() -> None:
    def run() -> list[Any]:
        faults = Faults(seed=3).slow("work", by=15 * ms, from_s=0.2, until_s=0.6).crash("work", at_s=0.4)
        simulation = simulate(pipeline(Ticks(100, 100, jitter_ns=9 * ms)), faults=faults, service={"work": 6 * ms})
        events = [{**event, "supervisor": 0} for event in simulation.events]
        return [events, simulation.records, simulation.paths, numbers(simulation.sent["work"])]

    assert run() == run()


def test_trio_is_as_random_as_before_afterwards() -> None:
    def order() -> list[int]:
        went: list[int] = []

        async def go(number: int) -> None:
            went.append(number)
            await trio.lowlevel.checkpoint()

        async def main() -> None:
            async with trio.open_nursery() as nursery:
                for number in range(8):
                    nursery.start_soon(go, number)

        trio.run(main)
        return went

    simulate(pipeline(Ticks(100, 3)))
    assert len({tuple(order()) for _ in range(20)}) > 1


def test_a_duration_stops_the_sources_and_finishes_what_is_under_way() -> None:
    # 50 data from 0 on; the one that is due at the end may or may not be among them.
    simulation = simulate(pipeline(Ticks(100, 10_000)), duration_s=0.5, service={"work": 4 * ms})
    assert len(simulation.results("sink")) in (50, 51)
    assert simulation.report["conserved"] is True


def test_offline_nothing_is_late_or_dropped() -> None:
    simulation = simulate(pipeline(Ticks(100, 50)), offline=True, service={"work": 100 * ms})
    assert numbers(simulation.results("sink")) == list(range(0, 100, 2))


def test_each_life_has_a_node_of_its_own() -> None:
    class Counting(Double):
        def __init__(self) -> None:
            self.count = 0

        def process(self, message: Message) -> Any:
            self.count += 1
            return np.int64(self.count)

    p = Pipeline("counting")
    node = Counting()
    sensor, work, sink = p.add("sensor", Ticks(100, 10)), p.add("work", node), p.add("sink", Sink())
    p.connect(sensor, work)
    p.connect(work, sink)
    simulation = simulate(p, faults=Faults().crash("work", seq=4))
    assert numbers(simulation.results("sink")) == [1, 2, 3, 4, 1, 2, 3, 4, 5]
    assert node.count == 0


# ------------------------------------------------------------------------------------- deadlines


def test_a_stage_that_is_too_slow_sheds_and_what_comes_out_is_in_time() -> None:
    simulation = simulate(pipeline(within=25 * ms), service={"work": 15 * ms})
    told = accounted(simulation)
    assert told["met"] >= 60
    assert told["shed"] + told.get("dropped", 0) >= 30
    assert told.get("missed", 0) <= 1
    late = [m for m in simulation.results("sink") if m.deadline_ns < m.enqueued_ns]
    assert not late


def test_without_enforcement_everything_comes_too_late() -> None:
    simulation = simulate(pipeline(within=25 * ms), service={"work": 15 * ms}, enforces=False)
    assert accounted(simulation)["missed"] > 60


def test_a_miss_is_told_at_its_deadline_with_its_culprit() -> None:
    simulation = simulate(
        pipeline(on_miss=OnMiss.DELIVER), service={"work": 1 * ms}, faults=Faults().slow("work", by=40 * ms, seqs=[60])
    )
    first = simulation.misses[0]
    assert (first["seq"], first["culprit"], first["stage"]) == (60, "service", "work")
    assert first["deadline_ns"] == simulation.started_ns + 600 * ms + 20 * ms
    assert first["detected_ns"] - first["deadline_ns"] <= 4 * ms
    assert simulation.paths["end to end"]["culprits"]["service work"] >= 1


@pytest.mark.parametrize(
    ("faults", "culprit", "stage"),
    [
        (Faults().late("sensor", by=90 * ms, seqs=[50]), "source jitter", "sensor"),
        (Faults().delay("work->sink", by=90 * ms, seqs=[50]), "transport", "sink"),
        (Faults().stall("work", at_s=0.4951, for_=120 * ms), "stall", "work"),
        (Faults().crash("work", at_s=0.4951), "restart", "work"),
    ],
    ids=["late source", "slow link", "stalled loop", "killed process"],
)
def test_each_kind_of_fault_is_named(faults: Faults, culprit: str, stage: str) -> None:
    p = pipeline(within=60 * ms, on_miss=OnMiss.DELIVER, capacity=64)
    simulation = simulate(p, service={"work": 1 * ms}, faults=faults, start_ns=100 * ms)
    found = {miss["seq"]: (miss["culprit"], miss["stage"]) for miss in simulation.misses}
    assert found[50] == (culprit, stage)


def test_a_firm_contract_breaks_and_recovers_with_hysteresis() -> None:
    simulation = simulate(
        pipeline(on_miss=OnMiss.DELIVER, firm=(8, 10), escalation=(Escalation.DEGRADE,)),
        faults=Faults().delay("work->sink", by=30 * ms, from_s=0.2, until_s=0.3),
    )
    broken, recovered = simulation.events_of("broken"), simulation.events_of("recovered")
    assert [event["level"] for event in broken] == [1]
    assert [event["level"] for event in recovered] == [0]
    # It holds again when 8 of the last 10 are on time, and has to do so for 20 in a row.
    assert recovered[0]["at_ns"] - broken[0]["at_ns"] > 200 * ms
    assert simulation.outcome.broken_contracts == ["end to end"]


# ------------------------------------------------------------------------------- faults and restarts


def test_a_crash_costs_the_datum_in_service_and_no_other() -> None:
    simulation = simulate(pipeline(within=100 * ms), service={"work": 4 * ms}, faults=Faults().crash("work", seq=30))
    assert accounted(simulation) == {"produced": 100, "met": 99, "lost": 1}
    assert [message.seq for message in simulation.results("sink")] == [*range(30), *range(31, 100)]
    assert simulation.stages["work"]["restarts"] == 1
    assert simulation.report["conserved"] is True
    (back,) = simulation.events_of("back")
    assert back["down_ms"] == pytest.approx(20)


def test_a_killed_process_closes_nothing(tmp_path: Path) -> None:
    killed = pipeline(sink=Closing(tmp_path / "killed"), restart=Restart.TEMPORARY)
    crash = Faults().crash("sink", seq=5)
    simulate(killed, faults=crash, restarts=False)
    simulate(pipeline(sink=Closing(tmp_path / "ended")))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ended"]


def test_a_crash_loop_gives_up_and_says_why() -> None:
    p = pipeline(Ticks(20, 40))
    p.supervise(restart_intensity=3, restart_period=10 * s)
    faults = Faults()
    for seq in range(40):
        faults.crash("work", seq=seq)
    simulation = simulate(p, faults=faults)
    assert simulation.report["ending"] == "failed"
    assert simulation.failure is not None
    assert "more than the 3 restarts in 10 s" in simulation.failure
    assert len(simulation.events_of("restarting")) == 3


def test_without_restarts_the_first_crash_ends_the_run() -> None:
    simulation = simulate(pipeline(), faults=Faults().crash("work", seq=30), restarts=False)
    assert simulation.failure == "stage work: its process was killed by SIGKILL"


def test_a_hung_stage_is_found_out_and_restarted() -> None:
    simulation = simulate(pipeline(Ticks(100, 300)), faults=Faults().hang("work", at_s=0.5))
    (hung,) = simulation.events_of("hung")
    assert hung["stage"] == "work"
    assert 1 * s <= hung["at_ns"] - simulation.started_ns - 500 * ms <= 1200 * ms
    # The one in service, and two that were sent to it; what came after waited with the sender, and was overtaken.
    assert simulation.paths["end to end"]["missed_then"]["lost"] == 3
    assert simulation.results("sink")[-1].seq == 299
    assert simulation.report["conserved"] is True


def test_a_stall_holds_up_everything_of_its_process() -> None:
    p = Pipeline("two")
    sensor = p.add("sensor", Ticks(100, 50))
    sinks = [p.add(name, Sink(), process="both") for name in ("left", "right")]
    for sink in sinks:
        p.connect(sensor, sink, capacity=64)
    simulation = simulate(p, faults=Faults().stall("left", at_s=0.2, for_=100 * ms))
    for name in ("left", "right"):
        started = [r.started_ns - simulation.started_ns for r in simulation.records[name] if r.sender >= 0]
        assert not [at_ns for at_ns in started if 200 * ms < at_ns < 300 * ms]
        assert simulation.stages[name]["stalled_ms"] == pytest.approx(100, abs=25)


def test_stages_of_one_process_work_one_at_a_time() -> None:
    p = Pipeline("two")
    sensor = p.add("sensor", Ticks(100, 5))
    for name in ("left", "right"):
        p.connect(sensor, p.add(name, Sink(), process="both"))
    simulation = simulate(p, service={"left": 3 * ms, "right": 4 * ms})
    spans = sorted(
        (r.started_ns, r.ended_ns) for name in ("left", "right") for r in simulation.records[name] if r.sender >= 0
    )
    assert len(spans) == 10
    assert all(ended_ns <= next_ns for (_, ended_ns), (next_ns, _) in pairwise(spans))


def test_what_a_faulty_edge_drops_and_doubles_is_on_the_accounts() -> None:
    faults = Faults().drop("sensor->work", seqs=[3, 4]).duplicate("work->sink", seqs=[7])
    simulation = simulate(pipeline(within=100 * ms), faults=faults)
    assert [message.seq for message in simulation.results("sink")] == [0, 1, 2, 5, 6, 7, 7, *range(8, 100)]
    assert accounted(simulation) == {"produced": 100, "met": 98, "dropped": 2}
    assert simulation.report["conserved"] is True


def test_a_sensor_whose_clock_is_set_stamps_its_data_by_it() -> None:
    simulation = simulate(pipeline(Ticks(100, 20)), faults=Faults().clock_step("sensor", by=-5 * s, at_s=0.1))
    stamps = [message.event_time_ns - simulation.started_ns for message in simulation.sent["sensor"]]
    assert stamps[:10] == [number * 10 * ms for number in range(10)]
    assert stamps[10:] == [number * 10 * ms - 5 * s for number in range(10, 20)]


def test_a_generator_that_sends_more_is_not_done_before_the_last() -> None:
    """The first of two may have arrived, and been counted, long before the second is sent."""

    class Waiting(Double):
        async def process(self, message: Message) -> Any:
            return [message.array, message.array]

    p = Pipeline("twice")
    sensor, work, sink = p.add("sensor", Bursts(200 * ms, 1, 4)), p.add("work", Waiting()), p.add("sink", Sink())
    p.connect(sensor, work)
    p.connect(work, sink, capacity=1)
    p.deadline("end to end", sensor, sink, within=150 * ms)
    simulation = simulate(p, service={"sink": 40 * ms})
    assert accounted(simulation) == {"produced": 4, "met": 4}
    assert simulation.paths["end to end"]["latency_ms"]["max"] == pytest.approx(80.2, rel=0.02)
    assert simulation.report["conserved"] is True


# --------------------------------------------------------------------------------- wrong use


def test_a_run_that_does_not_end_says_what_stands_still() -> None:
    p = pipeline(Ticks(100, 10))
    with pytest.raises(Fault, match=r"not ended after 1 s of its own time: running; .*work running at work for"):
        simulate(p, faults=Faults().hang("work", seq=3), limit_s=1)


def test_names_that_are_not_in_the_graph_are_faults() -> None:
    with pytest.raises(Fault, match="no stage infer"):
        simulate(pipeline(), service={"infer": 1 * ms})
    with pytest.raises(PipelineError, match="no stage infer"):
        simulate(pipeline(), faults=Faults().crash("infer", at_s=1))
    with pytest.raises(Fault, match="no stage infer"):
        simulate(pipeline(Ticks(100, 1))).results("infer")


def test_a_node_that_cannot_be_copied_asks_for_the_function_that_builds_it() -> None:
    class Stuck(Sink):
        def __deepcopy__(self, memo: Any) -> Any:
            raise TypeError("cannot be copied")

    with pytest.raises(Fault, match="pass the function that builds the pipeline"):
        simulate(pipeline(sink=Stuck()))
    built = simulate(lambda: pipeline(Ticks(100, 5), sink=Stuck()))
    assert len(built.results("sink")) == 5
