"""A recurrent ONNX model on a device, in virtual time: whoever dies, each result is that of a model that saw it all."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nodes.infer import CupyFunction, OnnxModel, onnx_device
from streamflow import Batch, DeviceTensor, In, Message, Node, OnGap, Out, Pipeline, ms, s
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


class Noting:
    """Of each datum, whether it came on the device."""

    def __init__(self, *settings: Any, **named: Any) -> None:
        super().__init__(*settings, **named)
        self.came: list[bool] = []

    def process(self, message: Message | None = None, /, **joined: Message) -> Any:
        assert message is not None
        self.came.append(type(message.array) is DeviceTensor)
        return super().process(message, **joined)  # type: ignore[misc]

    def process_batch(self, messages: Sequence[Message]) -> Any:
        self.came += [type(message.array) is DeviceTensor for message in messages]
        return super().process_batch(messages)  # type: ignore[misc]


class NotingModel(Noting, OnnxModel): ...


class NotingFunction(Noting, CupyFunction): ...


class Takes(Node):
    """The sum that is a state, wherever that is."""

    state = In("float32[2, batch, 3]", on_device=True)

    def open(self) -> None:
        self.came: list[float] = []

    def process(self, message: Message) -> None:
        self.came.append(float(message.array[0, 0, 0]))


SUMS = np.cumsum(range(0, 2 * COUNT, 2)).tolist()


def staying(sums: OnnxModel, after: CupyFunction, **stage: Any) -> tuple[Pipeline, Any]:
    """And the stage of the sums."""
    p = Pipeline("staying")
    source, sink = p.add("numbers", Numbers()), p.add("sink", Sink())
    before, last = (
        p.add("before", doubling(), process="gpu", device="host"),
        p.add("after", after, process="gpu", device="host"),
    )
    summing = p.add("sums", sums, process="gpu", **stage)
    p.connect(source, before)
    p.connect(before, summing)
    p.connect(summing["y"], last)
    p.connect(last, sink)
    return p, summing


def doubling(kind: type[CupyFunction] = CupyFunction) -> Any:
    return kind(lambda x, xp: x * 2, input="float32[3]", output="float32[3]", rows_max=4)


@pytest.mark.parametrize(
    ("model", "stage", "comes", "stays"),
    [
        ({}, {"device": "host"}, True, True),
        ({}, {"device": "host", "batch": Batch(4)}, True, True),
        ({"on_gap": OnGap.REPEAT}, {"device": "host"}, False, True),
        ({}, {}, False, False),
    ],
    ids=["alone", "in batches", "but what REPEAT keeps", "not without a device"],
)
@pytest.mark.parametrize("on_host", [set(), {"x"}], ids=["", "read on the host"])
def test_between_stages_of_one_process_data_stay_on_the_device(
    model: dict[str, Any],
    stage: dict[str, Any],
    comes: bool,
    stays: bool,
    on_host: set[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(onnx_device, "read_on_host", lambda session, device: on_host)
    sums, after = NotingModel(MODEL, {"h": "hn"}, **model), doubling(NotingFunction)
    simulation = simulate(lambda: staying(sums, after, **stage)[0], service={"sums": 4 * ms})
    assert simulation.report["conserved"] is True
    assert [one.array.tolist() for one in simulation.results("sink")] == [[2.0 * total] * 3 for total in SUMS]
    assert set(sums.came) == {comes}
    assert set(after.came) == {stays}


def test_an_output_that_is_a_state_too_is_copied_out_and_the_others_stay() -> None:
    sums, after, takes = OnnxModel(MODEL, {"h": "hn"}, outputs=["y", "hn"]), doubling(NotingFunction), Takes()

    def build() -> Pipeline:
        p, summing = staying(sums, after, device="host")
        p.connect(summing["hn"], p.add("takes", takes, process="gpu", device="host"))
        return p

    simulate(build, service={"sums": 4 * ms})
    assert takes.came == SUMS
    assert set(after.came) == {True}
