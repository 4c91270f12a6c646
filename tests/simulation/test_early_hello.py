"""A stage that says hello before its start has returned, as on a busy machine: it is held once, the run is sound."""

from __future__ import annotations

import pytest
import trio

from streamflow import In, Message, Node, Pipeline, ms
from streamflow.runtime.supervision import supervisor
from streamflow.runtime.supervision.venue import Held
from streamflow.testing import Ticks, simulate
from streamflow.testing.simulated_venue import SimulatedVenue


class Last(Node):
    number = In("int64[]")

    def process(self, message: Message) -> None:
        return None


def test_who_greets_before_it_is_in_hand_is_not_taken_for_a_stranger(monkeypatch: pytest.MonkeyPatch) -> None:
    started = SimulatedVenue.start
    foreign: list[str] = []

    async def start_and_dawdle(self: SimulatedVenue, process: str, generation: int) -> Held:
        held = await started(self, process, generation)
        await trio.sleep(0.2)
        return held

    class Foreign:
        def __init__(self, process: str, pid: int) -> None:
            foreign.append(process)
            raise AssertionError(f"{process} was held for one that somebody started by hand")

    monkeypatch.setattr(SimulatedVenue, "start", start_and_dawdle)
    monkeypatch.setattr(supervisor, "ForeignProcess", Foreign)
    p = Pipeline("early")
    first, last = p.add("first", Ticks(100, 5)), p.add("last", Last())
    p.connect(first, last)
    p.deadline("main", first, last, within=50 * ms)
    simulation = simulate(p)
    assert foreign == []
    assert simulation.paths["main"]["met"] == 5
    assert simulation.report["conserved"] is True
