"""A broken firm contract in whole runs: degrade, restart the culprit, stop; and the way back, step by step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import groupby
from typing import Any

from streamflow import Escalation, In, Message, Node, OnMiss, Out, Pipeline, ms
from streamflow.core.message import Flag
from streamflow.core.verdict import Kind
from streamflow.testing import Faults, Simulation, Ticks, simulate

DEGRADE, RESTART, STOP = Escalation.DEGRADE, Escalation.RESTART, Escalation.STOP
SERVICE = {"first": 4 * ms, "first.degrade": 1 * ms, "second": 2 * ms, "second.degrade": 1 * ms, "aside": 2 * ms}
TURN_NS = 20 * ms  # while a stage works off what has come it hears nothing, for so long at most


class Thorough(Node):
    """Adds 1, or 1000 by its cheaper variant."""

    number = In("int64[]")
    out = Out("int64[]")

    def process(self, message: Message) -> Any:
        return message.array + 1

    def degrade(self, message: Message) -> Any:
        return message.array + 1000


class Sink(Node):
    number = In("int64[]")

    def process(self, message: Message) -> None:
        return None


def pipeline(*escalation: Escalation) -> Pipeline:
    """sensor -> first -> second -> sink under a contract, and a stage aside that is on no such path."""
    p = Pipeline("firm")
    sensor, first, second = p.add("sensor", Ticks(100, 180)), p.add("first", Thorough()), p.add("second", Thorough())
    sink, aside, other = p.add("sink", Sink()), p.add("aside", Thorough()), p.add("other", Sink())
    p.connect(sensor, first, capacity=64)
    p.connect(first, second)
    p.connect(second, sink)
    p.connect(sensor, aside)
    p.connect(aside, other)
    p.deadline("whole", sensor, sink, within=20 * ms, on_miss=OnMiss.DELIVER, firm=(8, 10), escalation=escalation)
    return p


def slow(until_s: float) -> Faults:
    """Every work of `first` takes twice as long as it may, whichever variant."""
    return Faults().slow("first", by=40 * ms, from_s=0.3, until_s=until_s)


def told(simulation: Simulation) -> list[tuple[str, int, str | None]]:
    """The transitions of the contract: event, level, step."""
    events = [event for event in simulation.events if event["event"] in ("broken", "escalated", "recovered")]
    return [(event["event"], event["level"], event["step"]) for event in events]


def spells(simulation: Simulation, stage: str) -> list[str]:
    """How a stage worked, in order, what follows upon itself told once."""
    kinds = [Kind(record.kind).name for record in simulation.records[stage] if record.kind in (Kind.RUN, Kind.DEGRADED)]
    return [kind for kind, _ in groupby(kinds)]


def times(simulation: Simulation, stage: str, kind: Kind) -> Sequence[int]:
    return [record.started_ns for record in simulation.records[stage] if record.kind == kind]


def at_ns(simulation: Simulation, event: str, level: int) -> int:
    (found,) = [one["at_ns"] for one in simulation.events_of(event) if one["level"] == level]
    return int(found)


def test_while_a_contract_is_broken_the_stages_of_its_path_use_their_cheaper_variants() -> None:
    simulation = simulate(pipeline(DEGRADE), service=SERVICE, faults=slow(0.34))
    assert told(simulation) == [("broken", 1, "degrade"), ("recovered", 0, None)]
    broken_ns, recovered_ns = at_ns(simulation, "broken", 1), at_ns(simulation, "recovered", 0)
    for stage in ("first", "second"):
        assert spells(simulation, stage) == ["RUN", "DEGRADED", "RUN"]
        degraded = times(simulation, stage, Kind.DEGRADED)
        assert broken_ns <= degraded[0]
        assert degraded[-1] <= recovered_ns + 1 * ms
        assert not [at for at in times(simulation, stage, Kind.RUN) if broken_ns + TURN_NS < at < recovered_ns]
    assert spells(simulation, "aside") == ["RUN"]
    for message in simulation.results("sink"):
        is_flagged = bool(message.flags & Flag.DEGRADED)
        assert is_flagged == (int(message.array) - message.seq > 2)


def test_the_report_says_how_the_contract_stands_and_how_often_it_broke() -> None:
    recovered = simulate(pipeline(DEGRADE), service=SERVICE, faults=slow(0.34))
    assert recovered.paths["whole"]["firm"] == {"m": 8, "k": 10, "state": "held", "level": 0, "breaches": 1}
    assert recovered.outcome.broken_contracts == ["whole"]
    assert (recovered.failure, recovered.report["conserved"]) == (None, True)
    broken = simulate(pipeline(DEGRADE), service=SERVICE, faults=slow(9.0))
    firm = broken.paths["whole"]["firm"]
    assert (firm["state"], firm["level"], firm["breaches"]) == ("broken", 1, 1)


def test_an_overload_that_the_cheaper_variant_can_bear_is_borne_by_it() -> None:
    """Full work of `second` takes longer than a period for a while; the cheaper does not."""

    def heavy(seq: int) -> int:
        return 14 * ms if 30 <= seq < 80 else 2 * ms

    service: dict[str, int | Callable[[int], int]] = {**SERVICE, "second": heavy}
    alone = simulate(pipeline(), service=service).paths["whole"]
    helped = simulate(pipeline(DEGRADE), service=service).paths["whole"]
    assert helped["firm"]["breaches"] >= 1
    assert helped["missed"] * 2 < alone["missed"]


def test_the_next_step_restarts_the_culprit_which_goes_on_degraded() -> None:
    simulation = simulate(pipeline(DEGRADE, RESTART), service=SERVICE, faults=slow(0.46))
    assert told(simulation) == [
        ("broken", 1, "degrade"),
        ("escalated", 2, "restart"),
        ("recovered", 1, None),
        ("recovered", 0, None),
    ]
    (restarting,) = simulation.events_of("restarting")
    assert restarting["processes"] == ["first"]
    assert "blamed for most misses of deadline whole" in restarting["reason"]
    assert {name: stage["restarts"] for name, stage in simulation.stages.items() if stage["restarts"]} == {"first": 1}
    # Down one step at a time: what the first step began is taken back with the last.
    assert spells(simulation, "first") == ["RUN", "DEGRADED", "RUN"]
    assert at_ns(simulation, "recovered", 1) < times(simulation, "first", Kind.DEGRADED)[-1]
    assert simulation.report["conserved"] is True
    assert simulation.failure is None


def test_the_last_step_stops_the_run_with_everything_accounted_for() -> None:
    simulation = simulate(pipeline(DEGRADE, RESTART, STOP), service=SERVICE, faults=slow(9.0))
    assert told(simulation) == [("broken", 1, "degrade"), ("escalated", 2, "restart"), ("escalated", 3, "stop")]
    assert simulation.failure is not None
    assert simulation.failure.startswith("deadline whole: its contract is broken, ")
    assert simulation.report["ending"] == "failed"
    assert simulation.stages["sensor"]["emitted"] < 180
    assert simulation.report["conserved"] is True
    path = simulation.paths["whole"]
    assert path["in_flight"] == 0
    assert path["produced"] == simulation.stages["sensor"]["emitted"]


def test_a_restart_that_is_declared_alone_takes_no_work_back() -> None:
    simulation = simulate(pipeline(RESTART), service=SERVICE, faults=slow(0.36))
    assert told(simulation)[0] == ("broken", 1, "restart")
    assert simulation.stages["first"]["restarts"] == 1
    assert spells(simulation, "first") == spells(simulation, "second") == ["RUN"]
