"""What the simulated campaign has found, as scenarios small enough to be read."""

from __future__ import annotations

from typing import Any

from streamflow import In, Message, Node, OnMiss, Out, Overflow, Pipeline, Restart, RestartStrategy, ms, s
from streamflow.testing import Bursts, Faults, Simulation, Ticks, simulate


class Pass(Node):
    number = In("int64[]")
    out = Out("int64[]")

    def process(self, message: Message) -> Any:
        return message.array


class Thrice(Pass):
    def process(self, message: Message) -> Any:
        return [message.array, message.array, message.array]


class Join(Node):
    left = In("int64[]")
    right = In("int64[]")
    out = Out("int64[]")

    def process(self, *, left: Message, right: Message) -> Any:
        return left.array


class Sink(Node):
    number = In("int64[]")

    def process(self, message: Message) -> None:
        return None


def line(middle: Node, source: Node, *, restart: Restart = Restart.TRANSIENT, capacity: int = 8) -> Pipeline:
    p = Pipeline("line")
    first, second, last = p.add("source", source), p.add("middle", middle, restart=restart), p.add("sink", Sink())
    p.connect(first, second, capacity=capacity)
    p.connect(second, last, capacity=capacity)
    p.deadline("whole", first, last, within=150 * ms)
    return p


def ends(simulation: Simulation, path: str = "whole") -> dict[str, int]:
    """What became of the data, of those that were missed what became of them then."""
    told = simulation.paths[path]
    return {end: told[end] for end in ("met", "missed", "absorbed", "shed", "dropped", "rejected", "lost") if told[end]}


def test_a_datum_is_not_done_when_the_first_of_three_that_were_made_from_it_is() -> None:
    p = Pipeline("fork")
    source, middle = p.add("source", Bursts(200 * ms, 1, 4)), p.add("middle", Thrice())
    quick, slow = p.add("quick", Sink()), p.add("slow", Sink())
    p.connect(source, middle)
    p.connect(middle, quick)
    p.connect(middle, slow, capacity=1)  # one in service, one waiting: the third is sent when the first is done
    p.deadline("whole", source, quick, within=150 * ms)
    simulation = simulate(p, service={"slow": 50 * ms})
    assert simulation.report["conserved"] is True
    assert ends(simulation) == {"met": 4}
    assert simulation.paths["whole"]["latency_ms"]["max"] > 50
    assert [message.seq for message in simulation.results("quick")] == [seq for seq in range(4) for _ in range(3)]


def test_the_sums_are_checked_to_the_end_also_where_a_stage_was_left_ended() -> None:
    faults = Faults().crash("middle", seq=10)
    simulation = simulate(line(Pass(), Ticks(100, 40), restart=Restart.TEMPORARY), faults=faults)
    assert simulation.report["ending"] == "done"
    assert simulation.report["conserved"] is True
    assert ends(simulation) == {"met": 10, "lost": 30}


def test_a_process_that_is_killed_again_before_it_is_back_loses_nothing_twice() -> None:
    faults = Faults().crash("middle", at_s=0.205).crash("middle", at_s=0.215)
    simulation = simulate(line(Pass(), Ticks(100, 40)), service={"middle": 8 * ms}, faults=faults, start_ns=50 * ms)
    assert len(simulation.events_of("restarting")) == 2
    assert simulation.report["conserved"] is True
    assert ends(simulation) == {"met": 39, "lost": 1}


def test_a_stage_that_had_closed_and_is_restarted_with_the_others_gets_its_data() -> None:
    p = Pipeline("fan")
    source, middle = p.add("source", Ticks(100, 20)), p.add("middle", Pass())
    stuck = p.add("stuck", Sink(), hang_timeout=500 * ms)
    ended = p.add("ended", Sink(), restart=Restart.PERMANENT)
    p.connect(source, middle)
    p.connect(middle, stuck, overflow=Overflow.LATEST, capacity=2)
    p.connect(middle, ended)
    p.supervise(strategy=RestartStrategy.ONE_FOR_ALL)
    for seed in range(6):  # which of them starts first is by chance
        simulation = simulate(p, faults=Faults().hang("stuck", at_s=0.15), seed=seed, limit_s=30)
        assert simulation.report["conserved"] is True
        assert simulation.stages["ended"]["restarts"] == 1


def test_a_sender_that_hangs_while_its_receiver_is_restarted_does_not_lose_what_that_had_taken() -> None:
    p = Pipeline("two")
    source, receiver = p.add("source", Ticks(100, 60)), p.add("receiver", Sink())
    sender = p.add("sender", Pass(), hang_timeout=500 * ms)
    p.connect(source, sender, overflow=Overflow.DROP_OLDEST, capacity=2)
    p.connect(sender, receiver)
    faults = Faults().hang("sender", at_s=0.3).crash("receiver", at_s=0.35)
    simulation = simulate(p, faults=faults)
    assert simulation.report["conserved"] is True
    assert simulation.edges["sender.out->receiver.number"]["lost"] == 0


def test_a_join_that_dies_at_work_loses_each_of_the_two_once() -> None:
    p = Pipeline("diamond")
    source, left, right = p.add("source", Ticks(100, 30)), p.add("left", Pass()), p.add("right", Pass())
    both, sink = p.add("both", Join()), p.add("sink", Sink())
    p.connect(source, left)
    p.connect(source, right)
    p.connect(left, both.left)
    p.connect(right, both.right)
    p.connect(both, sink)
    p.deadline("whole", source, sink, within=100 * ms)
    simulation = simulate(p, service={"both": 4 * ms}, faults=Faults().crash("both", seq=12))
    assert simulation.report["conserved"] is True
    assert ends(simulation) == {"met": 29, "lost": 1}
    assert simulation.stages["both"]["lost"] == 2


def test_a_run_of_a_second_takes_a_second_of_data() -> None:
    """The lead before data flow is not of the duration."""
    simulation = simulate(line(Pass(), Ticks(100, 1_000)), duration_s=1)
    assert simulation.outcome.duration_ns - 1 * s < 5 * ms
    assert len(simulation.results("sink")) in (100, 101)


def test_a_source_that_had_ended_and_is_started_again_does_not_wait_for_who_has_done_with_it() -> None:
    p = Pipeline("fan")
    source, middle = p.add("source", Ticks(100, 20)), p.add("middle", Pass(), restart=Restart.TEMPORARY)
    stuck = p.add("stuck", Sink(), hang_timeout=500 * ms)
    p.connect(source, middle)
    p.connect(middle, stuck, overflow=Overflow.LATEST, capacity=2)
    p.supervise(strategy=RestartStrategy.ONE_FOR_ALL)  # the middle is not taken along, and its input has ended
    simulation = simulate(p, faults=Faults().hang("stuck", at_s=0.15), limit_s=30)
    assert simulation.report["conserved"] is True
    assert simulation.stages["source"]["restarts"] == 1


def test_what_a_hung_receiver_had_taken_of_a_sender_that_died_meanwhile_is_not_lost_with_either() -> None:
    p = Pipeline("line")
    source = p.add("source", Ticks(100, 150))
    sink = p.add("sink", Sink(), hang_timeout=500 * ms)
    p.connect(source, sink)
    faults = Faults().hang("sink", at_s=0.3).crash("source", at_s=0.345)
    simulation = simulate(p, faults=faults, service={"sink": 4 * ms})
    assert simulation.report["conserved"] is True
    # The one at work is lost with the sink, and the four that waited there on their edge; the rest is delivered.
    assert simulation.edges["source.number->sink.number"]["delivered"] + 4 == 150
    assert simulation.paths["source->sink"]["lost"] == 5


def test_a_generator_that_fails_where_results_are_held_is_blamed_like_any_other() -> None:
    class Failing(Pass):
        def process(self, message: Message) -> Any:
            yield message.array
            if message.seq == 5:
                raise RuntimeError("a bug")

    p = Pipeline("held")
    source, middle, sink = p.add("source", Ticks(100, 20)), p.add("middle", Failing()), p.add("sink", Sink())
    p.connect(source, middle)
    p.connect(middle, sink)
    p.deadline("whole", source, sink, within=100 * ms, on_miss=OnMiss.HOLD, max_age=1 * s)
    simulation = simulate(p)
    (restarting,) = simulation.events_of("restarting")
    assert "RuntimeError: a bug" in restarting["reason"]
    assert simulation.report["conserved"] is True
