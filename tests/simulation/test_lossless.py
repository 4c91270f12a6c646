"""Over lossless edges a run in which stages die gives what one gives in which nobody does, in virtual time."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from streamflow import In, Message, Node, Out, Overflow, Pipeline, Restart, StateTensor, ms, s
from streamflow.testing import Bursts, Faults, Simulation, simulate

COUNT = 120
STAGES = ("source", "total", "halves", "sink")


class Total(Node):
    """The sum of all so far, kept as a state; of every fifth nothing comes."""

    number = In("int64[]")
    total = Out("int64[]")

    def state_tensors(self) -> Sequence[StateTensor]:
        return [StateTensor("total", "int64", ())]

    def process(self, message: Message) -> Any:
        stepping = self.begin_steps([message])
        following = [array + one.array for array, one in zip(stepping.arrays, stepping.messages, strict=True)]
        stepping.commit(following)
        return None if message.seq % 5 == 4 else stepping.results([array[0] for array in following])[0]


class Halves(Node):
    """Two results of each datum, with time between them."""

    total = In("int64[]")
    half = Out("int64[]")

    def process(self, message: Message) -> Iterator[Any]:
        yield message.array // 2
        yield message.array - message.array // 2


class Sink(Node):
    half = In("int64[]")

    def process(self, message: Message) -> None:
        return None


class TwoSteps(Total):
    """Commits twice for one datum."""

    def process(self, message: Message) -> Any:
        self.begin_steps([message]).commit([np.zeros(1, np.int64)])
        further = message.replace(attributes={"sample": 1})
        self.begin_steps([further]).commit([np.zeros(1, np.int64)])
        return message.array


def pipeline(
    total: Callable[[], Node] = Total,
    *,
    capacity: int = 3,
    overflow: Overflow | None = None,
    intensity: int = 1000,
    temporary: str = "",
) -> Pipeline:
    """Everything is lossless; `overflow`: of a further edge, which is not, to a sink beside. `temporary`: a stage that
    is not started again."""
    p = Pipeline("lossless")
    nodes = {"source": Bursts(40 * ms, 6, COUNT // 6), "total": total(), "halves": Halves(), "sink": Sink()}
    stages = [
        p.add(name, node, restart=Restart.TEMPORARY if name == temporary else Restart.TRANSIENT)
        for name, node in nodes.items()
    ]
    for source, target in pairwise(stages):
        p.connect(source, target, capacity=capacity, lossless=True)
    if overflow is not None:
        p.connect(stages[2], p.add("beside", Sink()), overflow=overflow)
    p.supervise(restart_intensity=intensity, restart_period=1 * s)
    return p


SERVICE = {"total": 2 * ms, "halves": 3 * ms, "sink": 1 * ms}


def run(faults: Faults | None = None, build: Callable[[], Pipeline] = pipeline) -> Simulation:
    return simulate(build, faults=faults, service=SERVICE, limit_s=60.0)


def values(simulation: Simulation) -> list[int]:
    return [int(message.array) for message in simulation.handled["sink"]]


def storm(seed: int, victims: Sequence[str]) -> Faults:
    """A kill every 50 ms or so, sometimes of two at once, also of lives that have just begun."""
    chance, faults, at_s = random.Random(seed), Faults(), 0.0
    while at_s < 0.8:
        at_s += chance.choice((0.002, 0.02, 0.09)) * chance.uniform(0.5, 1.5)
        for victim in chance.sample(victims, chance.choice((1, 1, 2))):
            faults.crash(victim, at_s=at_s)
    return faults


def undisturbed() -> list[int]:
    total, found = 0, []
    for number in values_of_source():
        total += number[1]
        if number[0] % 5 != 4:
            found += [total // 2, total - total // 2]
    return found


def values_of_source() -> list[tuple[int, int]]:
    simulation = run()
    return [(message.seq, int(message.array)) for message in simulation.sent["source"]]


@pytest.fixture(scope="module")
def expected() -> list[int]:
    return undisturbed()


@pytest.mark.parametrize("seed", range(6))
def test_whoever_dies_behind_the_source_changes_nothing_in_what_comes_out(seed: int, expected: list[int]) -> None:
    simulation = run(storm(seed, STAGES[1:]))
    assert values(simulation) == expected
    assert simulation.report["conserved"] is True
    assert [counts["lost"] for counts in simulation.report["edges"].values()] == [0, 0, 0]
    assert sum(stage["restarts"] for stage in simulation.stages.values()) >= 3


def test_what_was_at_work_is_done_again_and_told(expected: list[int]) -> None:
    simulation = run(Faults().crash("halves", at_s=0.0445).crash("halves", at_s=0.2))
    assert values(simulation) == expected
    assert simulation.report["edges"]["total.total->halves.total"]["redone"] == 1
    assert simulation.report["edges"]["halves.half->sink.half"]["redone"] == 0


@pytest.mark.parametrize("seed", range(3))
def test_a_recording_s_source_that_dies_emits_again_what_it_had_not_handed_over(seed: int, expected: list[int]) -> None:
    simulation = run(storm(seed, STAGES))
    assert values(simulation) == expected
    assert simulation.report["conserved"] is True
    assert [path["lost"] for path in simulation.paths.values()] == [0]


def test_an_edge_beside_that_drops_keeps_its_own_accounts() -> None:
    simulation = run(storm(3, STAGES[1:]), lambda: pipeline(overflow=Overflow.DROP_OLDEST))
    assert simulation.report["conserved"] is True
    assert simulation.report["edges"]["halves.half->sink.half"]["lost"] == 0


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("at_s", [0.0445, 0.3])
def test_a_stage_that_stays_dead_takes_what_was_kept_along_and_it_is_counted(stage: str, at_s: float) -> None:
    simulation = run(Faults().crash(stage, at_s=at_s).crash("halves", at_s=0.02), lambda: pipeline(temporary=stage))
    assert simulation.report["conserved"] is True
    assert stage == "source" or sum(counts["lost"] for counts in simulation.report["edges"].values()) > 0


def test_more_results_of_one_datum_than_an_edge_holds_are_refused_with_what_helps() -> None:
    simulation = run(build=lambda: pipeline(capacity=1, intensity=0))
    assert (simulation.failure or "").startswith(
        "stage halves: one datum that came over a lossless edge gave more results than edge halves.half->sink.half has "
        "room for, expected no more than its capacity; give it more, as in capacity=64"
    )


def test_two_steps_for_one_datum_cannot_be_taken_back() -> None:
    simulation = run(build=lambda: pipeline(TwoSteps, intensity=0))
    assert simulation.failure is not None
    assert "a second step for one datum, expected one, which can be taken back" in simulation.failure
