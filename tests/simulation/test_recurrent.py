"""States on a device in virtual time: what a killed stage goes on from, and what that is worth in results."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from nodes.infer import CupyFunction, RecurrentModel
from streamflow import Batch, DeviceTensor, In, Message, Node, OnDevice, OnGap, Out, Output, Pipeline, ms
from streamflow.testing import Faults, Simulation, simulate
from tests.nodes.recurrent_streams import Lineage, Streams, network, wave

MODEL = network(inputs=4, hidden=6, outputs=2)
STREAMS, COUNT = 3, 60


class Waves(Node):
    x = Out("float32[4]")

    async def run(self) -> None:
        for seq in range(COUNT):
            for stream in range(STREAMS):
                due_ns = await self.pace(seq * 10 * ms + stream * ms)
                await self.emit(Output(wave(seq, stream), stream=f"s{stream}", seq=seq), event_time_ns=due_ns)


class Sink(Node):
    y = In("float32[2]")

    def process(self, message: Message) -> None:
        return None


def run(every: int, faults: Faults) -> Simulation:
    def build() -> Pipeline:
        p = Pipeline("recurrent")
        step = p.add("step", RecurrentModel(MODEL, snapshot_every=every), batch=Batch(4))
        p.connect(p.add("source", Waves()), step, capacity=12)
        p.connect(step, p.add("sink", Sink()))
        return p

    return simulate(build, service={"step": 2 * ms}, faults=faults)


@pytest.mark.parametrize("every", [1, 7])
def test_every_result_is_of_what_its_state_has_seen_by_the_marks(every: int) -> None:
    faults = Faults()
    for at_s in (0.1, 0.233, 0.4):
        faults = faults.crash("step", at_s=at_s)
    simulation = run(every, faults)
    assert simulation.stages["step"]["restarts"] == 3
    assert simulation.report["conserved"] is True
    lost_most = 0
    for stream in range(STREAMS):
        lineage, last = Lineage(MODEL, lambda seq, stream=stream: wave(seq, stream)), -1  # type: ignore[misc]
        sent = [message for message in simulation.sent["step"] if message.stream == f"s{stream}"]
        assert len(sent) > COUNT / 2
        for message in sent:
            base = message.seq - 1 - int(message.attributes.get("gap", 0))
            lost_most = max(lost_most, last - base)
            np.testing.assert_allclose(message.array, lineage.result(base, message.seq), atol=1e-5)
            last = message.seq
    assert lost_most <= every if every > 1 else lost_most == 0
    assert (lost_most > 0) == (every > 1), "the kills met steps that no snapshot was committed of"


class Read(Node):
    """What it gets, and whether that came on the device."""

    y = In("float32[2]", on_device=True)
    out = Out("float32[3]")

    def open(self) -> None:
        device = self.context.device
        self.queue, self.result = device.queue(), device.host_array((2,), np.float32)

    def process(self, message: Message) -> Any:
        given = message.array
        if type(given) is not DeviceTensor:
            return np.float32([*given, 0])
        self.queue.copy_out(self.result, given.on(self.queue))
        return OnDevice(self.queue.ticket(), lambda: np.float32([*self.result, 1]))


class Told(Node):
    out = In("float32[3]")

    def process(self, message: Message) -> None:
        return None


def run_staying(f: Callable[..., Any], faults: Faults, process: str = "gpu", **settings: Any) -> Simulation:
    """`f` before the steps, and their results read in `process`."""

    def build() -> Pipeline:
        p = Pipeline("staying")
        source, log = p.add("source", Waves()), p.add("log", Told())
        before = CupyFunction(f, input="float32[4]", output="float32[4]", rows_max=4)
        one = p.add("one", before, process="gpu", device="host")
        step = p.add("step", RecurrentModel(MODEL, rows_max=4, **settings), process="gpu", device="host")
        read = p.add("read", Read(), process=process, device="host")
        p.connect(source, one, capacity=12)
        p.connect(one, step, capacity=12)
        p.connect(step, read, capacity=12)
        p.connect(read, log, capacity=12)
        return p

    return simulate(build, service={"step": 2 * ms}, faults=faults)


@pytest.mark.parametrize(("process", "stays"), [("gpu", True), ("elsewhere", False)])
@pytest.mark.parametrize("on_gap", [OnGap.FREEZE, OnGap.REPEAT])
def test_between_stages_of_one_process_data_stay_on_the_device(process: str, stays: bool, on_gap: OnGap) -> None:
    """But for what REPEAT needs on the host. Of the datum that a crash took there is a mark on the next result."""
    faults = Faults().crash("step", at_s=0.2)
    simulation = run_staying(lambda x, xp: x * 1, faults, process, on_gap=on_gap)
    assert simulation.report["conserved"] is True
    gaps = 0
    for stream in range(STREAMS):
        streams, last = Streams(MODEL), -1
        for message in (one for one in simulation.sent["read"] if one.stream == f"s{stream}"):
            gap = int(message.attributes.get("gap", 0))
            for unheard in range(last + 1, message.seq - gap):
                streams.step("s", wave(unheard, stream))
            again = gap if on_gap is OnGap.REPEAT else 0
            expected = streams.step("s", wave(message.seq, stream), again)
            np.testing.assert_allclose(message.array, [*expected, stays], atol=1e-5)
            last, gaps = message.seq, gaps + gap
        assert last == COUNT - 1
    assert gaps > 0


def test_a_state_that_is_not_a_number_is_found_by_its_snapshot_where_results_stay_on_the_device() -> None:
    broken = wave(20, 1)

    def spoil(x: Any, xp: Any) -> Any:
        return xp.where(x == broken, np.float32(np.nan), x)

    simulation = run_staying(spoil, Faults())
    sent = [message for message in simulation.sent["read"] if message.stream == "s1"]
    assert [message.seq for message in sent if "nan_state" in message.attributes] == [20]
    assert [message.seq for message in sent if message.attributes.get("gap")] == [21]
    streams = Streams(MODEL)
    for message in sent:
        if message.seq != 20:
            expected = streams.step("s", wave(message.seq, 1))
            np.testing.assert_allclose(message.array, [*expected, 1], atol=1e-5)


def test_without_a_death_nothing_is_missing() -> None:
    simulation = run(7, Faults())
    assert len(simulation.sent["step"]) == STREAMS * COUNT
    assert not any("gap" in message.attributes for message in simulation.sent["step"])
