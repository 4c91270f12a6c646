"""Whose fault it is where senders wait for room: the one at fault may be far behind those that come late."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from streamflow import Node, Out, Pipeline, ms, us
from streamflow.testing import Faults, simulate
from tests.simulation.test_overload import Pass, Sink

COUNT, PERIOD_NS = 300, 10 * ms


class Source(Node):
    number = Out("int64[]")

    async def run(self) -> None:
        for number in range(COUNT):
            await self.emit(np.int64(number), event_time_ns=await self.pace(number * PERIOD_NS))


def build() -> Pipeline:
    p = Pipeline("chain")
    stages = p.add("source", Source()), p.add("first", Pass()), p.add("second", Pass()), p.add("sink", Sink())
    for sender, receiver in pairwise(stages):
        p.connect(sender, receiver, capacity=4)  # so that all of them soon wait for the one that does nothing
    p.deadline("whole", stages[0], stages[-1], within=30 * ms)
    return p


@pytest.mark.parametrize("stage", ["first", "second"])
@pytest.mark.parametrize("kind", ["stall", "service"])
def test_a_stage_that_does_nothing_for_a_while_is_named_by_most_that_came_late_for_it(stage: str, kind: str) -> None:
    """It stalls, or hangs until it is started again; the source, which then emits late, is never named."""
    faults = Faults().stall(stage, at_s=1.0, for_=500 * ms) if kind == "stall" else Faults().hang(stage, at_s=1.0)
    simulation = simulate(build, service={"first": ms, "second": ms, "sink": 100 * us}, faults=faults)
    culprits: dict[str, int] = simulation.report["paths"]["whole"]["culprits"]
    missed = sum(culprits.values())
    assert missed > 40
    assert culprits[f"{kind} {stage}"] > 0.75 * missed, culprits
    assert not any(culprit.startswith("source jitter") for culprit in culprits), culprits
