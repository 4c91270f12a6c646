"""A recurrent ONNX model on a device, in virtual time: whoever dies, each result is that of a model that saw it all."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from nodes.infer import OnnxModel
from streamflow import In, Message, Node, OnGap, Out, Pipeline, ms, s
from streamflow.testing import Faults, Simulation, simulate

MODEL = Path(__file__).parent.parent / "models" / "running_sum.onnx"
COUNT = 80


class Numbers(Node):
    number = Out("float32[3]")

    async def run(self) -> None:
        for number in range(COUNT):
            due_ns = await self.pace(number * 10 * ms)
            await self.emit(np.full(3, number, np.float32), event_time_ns=due_ns)


class Sink(Node):
    total = In("float32[3]")

    def process(self, message: Message) -> None:
        return None


def pipeline(*, lossless: bool, on_gap: OnGap = OnGap.FREEZE) -> Callable[[], Pipeline]:
    def build() -> Pipeline:
        p = Pipeline("summing")
        stages = [p.add("numbers", Numbers())]
        stages.append(p.add("sums", OnnxModel(MODEL, {"h": "hn"}, on_gap=on_gap), device=["cuda:0", "host"]))
        stages.append(p.add("sink", Sink()))
        for source, target in pairwise(stages):
            p.connect(source, target, capacity=4, lossless=lossless)
        p.supervise(restart_intensity=1000, restart_period=1 * s)
        return p

    return build


def run(build: Callable[[], Pipeline], *crashes_s: float) -> Simulation:
    faults = Faults()
    for at_s in crashes_s:
        faults.crash("sums", at_s=at_s)
    return simulate(build, faults=faults, service={"sums": 4 * ms, "sink": 1 * ms}, limit_s=60.0)


@pytest.mark.parametrize("shift_ms", [0.0, 1.3, 2.6, 3.9, 5.2])
def test_over_lossless_edges_nothing_is_stepped_with_twice_or_left_out(shift_ms: float) -> None:
    crashes = [at_s + shift_ms / 1e3 for at_s in (0.1, 0.2, 0.204, 0.4, 0.6)]
    simulation = run(pipeline(lossless=True), *crashes)
    assert simulation.stages["sums"]["restarts"] >= 4
    assert simulation.stages["sums"]["device"] == "cuda:0"
    assert [int(one.array[0]) for one in simulation.results("sink")] == np.cumsum(range(COUNT)).tolist()


@pytest.mark.parametrize("shift_ms", [0.0, 1.3, 2.6, 3.9, 5.2])
@pytest.mark.parametrize("on_gap", [OnGap.FREEZE, OnGap.REPEAT])
def test_elsewhere_what_was_lost_is_marked_and_the_state_says_what_was_done(shift_ms: float, on_gap: OnGap) -> None:
    simulation = run(pipeline(lossless=False, on_gap=on_gap), *(at_s + shift_ms / 1e3 for at_s in (0.1, 0.3, 0.5)))
    last, total, gaps = -1, 0, 0
    for message in simulation.sent["sums"]:
        gap = int(message.attributes.get("gap", 0))
        assert message.seq - last - 1 == gap
        total += (gap * last if on_gap is OnGap.REPEAT else 0) + message.seq
        assert int(message.array[0]) == total
        last, gaps = message.seq, gaps + gap
    assert last == COUNT - 1
    assert gaps == COUNT - len(simulation.sent["sums"])
    assert simulation.stages["sums"]["restarts"] == 3
    assert simulation.report["conserved"] is True
