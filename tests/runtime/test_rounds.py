"""What the supervisor waits for exactly, and what may come late."""

from __future__ import annotations

import pytest

from streamflow import In, Message, Node, Pipeline, ms
from streamflow.runtime.clock import ClockTimer, TrioClock
from streamflow.testing import Ticks, simulate

LATE_NS = 1 * ms  # more than a real one is on an idle processor


class Sink(Node):
    number = In("int64[]")

    def process(self, message: Message) -> None:
        return None


class LateTimer:
    """As a rough one may be, in virtual time too."""

    def __init__(self, clock: TrioClock) -> None:
        self._clock = clock

    async def sleep_until(self, instant_ns: int) -> None:
        asleep_ns = self._clock.now_ns()
        await self._clock.sleep_until(instant_ns + LATE_NS if instant_ns > asleep_ns else instant_ns)

    def close(self) -> None:
        """Nothing is held."""


def test_a_miss_is_known_at_its_instant_though_usual_sweeps_come_late(monkeypatch: pytest.MonkeyPatch) -> None:
    late_timers: list[ClockTimer] = []

    def rough_timer(clock: TrioClock) -> ClockTimer:
        late_timers.append(LateTimer(clock))
        return late_timers[-1]

    monkeypatch.setattr(TrioClock, "rough_timer", rough_timer)
    p = Pipeline("slow")
    source, sink = p.add("source", Ticks(5, 10)), p.add("sink", Sink())
    p.connect(source, sink)
    p.deadline("whole", source, sink, within=100 * ms)
    simulation = simulate(p, service={"sink": 150 * ms})
    assert late_timers
    known_ns = [miss["detected_ns"] - miss["deadline_ns"] for miss in simulation.misses]
    assert known_ns == [1] * 10  # the first instant that is past it
