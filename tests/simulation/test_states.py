"""Recurrent states in virtual time: killed stages, dropped and shed data, several streams; each is what it says."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from streamflow import In, Message, Node, OnMiss, Out, Overflow, Pipeline, StateRules, StateTensor, ms
from streamflow.testing import Faults, Simulation, Ticks, simulate


class Seen(Node):
    """Of each stream how many data it was stepped with, and the sum of their numbers."""

    number = In("int64[]")
    seen = Out("int64[2]")

    def __init__(self, rules: StateRules | None = None) -> None:
        self.state_rules = rules or StateRules()

    def state_tensors(self) -> Sequence[StateTensor]:
        return [StateTensor("seen", "int64", (2,))]

    def process(self, message: Message) -> Any:
        stepping = self.begin_steps([message])
        following = [
            np.add(array, (1, one.seq)) for array, one in zip(stepping.arrays, stepping.messages, strict=False)
        ]
        stepping.commit(following)
        return stepping.results([array[0] for array in following])[0]


class Sink(Node):
    seen = In("int64[2]")

    def process(self, message: Message) -> None:
        return None


def pipeline(overflow: Overflow = Overflow.BLOCK, rules: StateRules | None = None, within: int = 1000 * ms) -> Pipeline:
    p = Pipeline("seen")
    seen, sink = p.add("seen", Seen(rules)), p.add("sink", Sink())
    source = p.add("source", Ticks(100.0, 200))
    p.connect(source, seen, capacity=4, overflow=overflow)
    p.connect(seen, sink)
    p.deadline("whole", source, sink, within=within, on_miss=OnMiss.SHED)
    return p


def checked(simulation: Simulation, stage: str = "seen") -> dict[str, int]:
    """Every result counts exactly what it and the marks before it say; the last count of each stream."""
    last: dict[str, tuple[int, int, int]] = defaultdict(lambda: (-1, 0, 0))
    for message in simulation.sent[stage]:
        seq, count, total = last[message.stream]
        gap = int(message.attributes.get("gap", 0))
        assert message.seq - seq - 1 == gap
        action = message.attributes.get("gap_action", "")
        if action == "reset":
            count = total = 0
        assert message.array.tolist() == [count + 1, total + message.seq]
        last[message.stream] = (message.seq, *message.array.tolist())
    return {stream: count for stream, (_, count, _) in last.items()}


def unheard(simulation: Simulation) -> int:
    """Results that went with the process that had sent them."""
    return len(simulation.sent["seen"]) - len(simulation.results("sink"))


def test_a_run_without_faults_has_no_gaps() -> None:
    assert checked(simulate(pipeline(), service={"seen": 2 * ms})) == {"source": 200}


def test_a_killed_stage_goes_on_and_marks_what_it_took_along() -> None:
    faults = Faults()
    for seq in (20, 60, 90, 150):
        faults = faults.crash("seen", seq=seq)
    simulation = simulate(pipeline(), service={"seen": 2 * ms}, faults=faults)
    (count,) = checked(simulation).values()
    assert simulation.stages["seen"]["restarts"] == 4
    assert simulation.paths["whole"]["lost"] == 200 - count + unheard(simulation) > 0
    assert simulation.report["conserved"] is True


def test_what_is_dropped_or_shed_is_marked_as_well() -> None:
    for overflow, within in ((Overflow.DROP_OLDEST, 1000 * ms), (Overflow.BLOCK, 40 * ms)):
        simulation = simulate(pipeline(overflow=overflow, within=within), service={"seen": 15 * ms})
        (count,) = checked(simulation).values()
        path = simulation.paths["whole"]
        assert path["dropped"] + path["shed"] + path["missed"] >= 200 - count > 20


def test_a_gap_that_is_too_long_resets_the_state() -> None:
    faults = Faults().crash("seen", seq=50)
    simulation = simulate(
        pipeline(overflow=Overflow.DROP_OLDEST, rules=StateRules(max_gap_count=0)),
        service={"seen": 2 * ms},
        faults=faults,
    )
    checked(simulation)
    actions = [message.attributes["gap_action"] for message in simulation.sent["seen"] if "gap" in message.attributes]
    assert actions == ["reset"]


def test_the_first_datum_that_is_lost_is_marked_too() -> None:
    simulation = simulate(pipeline(), service={"seen": 2 * ms}, faults=Faults().crash("seen", seq=0))
    checked(simulation)
    first = simulation.sent["seen"][0]
    assert first.attributes["gap_action"] == "start"
    assert first.attributes["gap"] == first.seq > 0


def test_data_that_come_twice_are_stepped_with_once() -> None:
    simulation = simulate(pipeline(), service={"seen": 2 * ms}, faults=Faults().duplicate("source->seen"))
    assert checked(simulation) == {"source": 200}


class Both(Seen):
    """Of two streams, that come by inputs of their own."""

    other = In("int64[]")
    process = property()  # type: ignore[assignment]

    def process_number(self, message: Message) -> Any:
        return Seen.process(self, message)

    process_other = process_number


@pytest.mark.parametrize("seqs", [(), (10, 11, 60)])
def test_streams_have_states_of_their_own(seqs: tuple[int, ...]) -> None:
    faults = Faults()
    for seq in seqs:
        faults = faults.crash("seen", seq=seq)
    p = Pipeline("both")
    seen, sink = p.add("seen", Both()), p.add("sink", Sink())
    for name, port, rate_hz in (("left", "number", 100.0), ("right", "other", 140.0)):
        p.connect(p.add(name, Ticks(rate_hz, 100)), seen[port])
    p.connect(seen, sink)
    simulation = simulate(p, service={"seen": 1 * ms}, faults=faults)
    counts = checked(simulation)
    lost = sum(path["lost"] for path in simulation.paths.values())
    assert lost == 200 - sum(counts.values()) + unheard(simulation)
    assert (lost > 0) == bool(seqs)
