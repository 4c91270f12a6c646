"""An overload of a stage that is not the first: those before it give up what is too late, and nothing else."""

from __future__ import annotations

import itertools
from collections import Counter

import numpy as np
import pytest

from streamflow import In, Message, Node, OnMiss, Out, Overflow, Pipeline, ms, s, us
from streamflow.testing import simulate

SERVICE_NS = 5 * ms
STEP_AT_S, STEP_S, AFTER_S = 3, 15, 5  # longer than the window in which durations are seen
PERIOD_NS, PERIOD_NS_OVER = 10 * ms, 10 * ms // 3


class Source(Node):
    """Half of what the slow stage can do, in the step one and a half times that."""

    number = Out("int64[]")

    async def run(self) -> None:
        at_ns = 0
        while at_ns < (STEP_AT_S + STEP_S + AFTER_S) * s:
            await self.emit(np.int64(at_ns), event_time_ns=await self.pace(at_ns))
            at_ns += PERIOD_NS_OVER if STEP_AT_S * s <= at_ns < (STEP_AT_S + STEP_S) * s else PERIOD_NS


class Pass(Node):
    number = In("int64[]")
    out = Out("int64[]")

    def process(self, message: Message) -> object:
        return message.array


class Sink(Node):
    number = In("int64[]")

    def process(self, message: Message) -> None:
        return None


@pytest.mark.parametrize("capacity", [2, 16])
def test_stages_before_an_overloaded_one_give_up_no_more_than_it_has_no_time_for(capacity: int) -> None:
    """They once counted its queue with what was to come: then all was given up, also after the overload."""

    def build() -> Pipeline:
        p = Pipeline("overload")
        stages = p.add("source", Source()), p.add("before", Pass()), p.add("slow", Pass()), p.add("sink", Sink())
        for sender, receiver in itertools.pairwise(stages):
            p.connect(sender, receiver, overflow=Overflow.DROP_OLDEST, capacity=capacity)
        p.deadline("whole", stages[0], stages[-1], within=50 * ms, on_miss=OnMiss.SHED)
        return p

    simulation = simulate(build, service={"before": 50 * us, "slow": SERVICE_NS, "sink": 50 * us}, limit_s=60.0)
    by_second = Counter(int(message.array) // s for message in simulation.handled["sink"])
    usual, most = s // PERIOD_NS, s // SERVICE_NS
    for second in range(STEP_AT_S + 1, STEP_AT_S + STEP_S):
        assert by_second[second] >= 0.98 * most, f"second {second} of {dict(by_second)}"
    for second in [*range(STEP_AT_S), *range(STEP_AT_S + STEP_S + 1, STEP_AT_S + STEP_S + AFTER_S)]:
        assert by_second[second] == usual, f"second {second} of {dict(by_second)}"
    assert simulation.paths["whole"]["missed"] == 0
    assert simulation.report["conserved"] is True
