"""Stages of one process whose data stay on their device between them, in virtual time: results as by copying."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from nodes.infer import CupyFunction, TorchModel
from streamflow import DeviceTensor, In, Message, Node, OnDevice, OnMiss, Out, Overflow, Pipeline, ms, s
from streamflow.testing import Faults, Simulation, Ticks, simulate
from tools.campaigns.laws import broken_laws

COUNT = 60


class Widen(Node):
    """The number as an array."""

    number = In("int64[]")
    samples = Out("int64[8]")

    def process(self, message: Message) -> Any:
        return np.full(8, message.array)


class Total(Node):
    """The sum of what comes, and whether it came on the device."""

    samples = In("int64[8]", on_device=True)
    total = Out("int64[2]")

    def open(self) -> None:
        device = self.context.device
        self.queue, self.result = device.queue(), device.host_array((8,), "int64")

    def process(self, message: Message) -> Any:
        given = message.array
        if type(given) is not DeviceTensor:
            return np.array([given.sum(), 0])
        self.queue.copy_out(self.result, given.on(self.queue))
        return OnDevice(self.queue.ticket(), lambda: np.array([self.result.sum(), 1]))


class Hoard(Total):
    """Keeps whatever it gets."""

    def open(self) -> None:
        super().open()
        self.kept: list[Any] = []

    def process(self, message: Message) -> Any:
        self.kept.append(message.array)
        return super().process(message)


class Print(Node):
    data = In()

    def process(self, message: Message) -> None: ...


def twice(x: Any, xp: Any) -> Any:
    return 2 * x


def function() -> CupyFunction:
    return CupyFunction(twice, input="int64[8]", output="int64[8]", rows_max=4)


def pipeline(
    total: type[Node] = Total,
    *,
    second: Node | None = None,
    process: str = "gpu",
    device: str = "host",
    rate_hz: float = 100,
    within: int = 0,
    on_miss: OnMiss = OnMiss.SHED,
    **edge: Any,
) -> Pipeline:
    p = Pipeline("resident")
    source, widen = p.add("source", Ticks(rate_hz, COUNT)), p.add("widen", Widen())
    one, two = p.add("one", function(), process="gpu"), p.add("two", second or function(), process="gpu", device=device)
    last, sink = p.add("total", total(), process=process, device="host"), p.add("sink", Print())
    p.connect(source, widen)
    p.connect(widen, one, capacity=32)
    p.connect(one, two, **edge)
    p.connect(two, last, **edge)
    p.connect(last, sink, capacity=32)
    if within:
        p.deadline(
            "in time", source, sink, within=within, on_miss=on_miss, max_age=1 * s if on_miss is OnMiss.HOLD else None
        )
    return p


def run(p: Pipeline, **options: Any) -> Simulation:
    simulation = simulate(p, **options)
    assert simulation.failure is None
    assert simulation.report["conserved"] is True
    assert not broken_laws(simulation, p.definition().resolved().graph)
    return simulation


def totals(simulation: Simulation) -> dict[int, tuple[int, bool]]:
    """By seq: the sum, and whether it was made of what stayed on the device."""
    return {one.seq: (int(one.array[0]), bool(one.array[1])) for one in simulation.sent["total"]}


def expected(seqs: Sequence[int] = range(COUNT), *, stayed: bool = True) -> dict[int, tuple[int, bool]]:
    return {seq: (8 * 4 * seq, stayed) for seq in seqs}


def test_between_stages_of_one_device_in_one_process_data_stay_there() -> None:
    simulation = run(pipeline())
    assert totals(simulation) == expected()
    assert [one.array.tolist() for one in simulation.sent["one"]] == [[2 * seq] * 8 for seq in range(COUNT)]
    assert simulation.stages["one"]["pool_exhausted"] == simulation.stages["two"]["pool_exhausted"] == 0


def test_so_they_do_to_and_from_a_model_of_torch() -> None:
    pytest.importorskip("torch", reason="torch is not installed: pip install 'streamflow[torch]'")
    came: list[bool] = []

    class Noting(TorchModel):
        def process_batch(self, messages: Sequence[Message]) -> OnDevice:
            came.extend(type(message.array) is DeviceTensor for message in messages)
            return super().process_batch(messages)

    model = Noting(lambda: lambda x: 2 * x, input="int64[8]", output="int64[8]", rows_max=4)
    assert totals(run(pipeline(second=model))) == expected()
    assert came == [True] * COUNT


def test_to_another_process_they_are_copied_out() -> None:
    simulation = run(pipeline(process="elsewhere"))
    assert totals(simulation) == expected(stayed=False)


@pytest.mark.parametrize("seed", range(4))  # whichever of them opens first
def test_where_the_next_stage_works_on_another_device_they_are_copied_too(seed: int) -> None:
    simulation = run(pipeline(device="cuda:0"), seed=seed)
    assert totals(simulation) == expected(stayed=False)
    assert simulation.stages["one"]["pool_exhausted"] == simulation.stages["two"]["pool_exhausted"] == 0


def test_who_keeps_what_he_gets_costs_copies_and_nothing_else() -> None:
    simulation = run(pipeline(Hoard, capacity=2))
    found = totals(simulation)
    assert {seq: total for seq, (total, _) in found.items()} == {seq: 8 * 4 * seq for seq in range(COUNT)}
    stayed = sum(is_there for _, is_there in found.values())
    assert 0 < stayed < COUNT
    assert simulation.stages["two"]["pool_exhausted"] == COUNT - stayed
    assert simulation.stages["one"]["pool_exhausted"] == 0


@pytest.mark.parametrize("overflow", [Overflow.DROP_OLDEST, Overflow.DROP_NEWEST])
def test_what_is_dropped_or_shed_on_the_way_is_free_again(overflow: Overflow) -> None:
    simulation = run(
        pipeline(rate_hz=400, within=60 * ms, overflow=overflow, capacity=2), service={"two": 1 * ms, "total": 7 * ms}
    )
    found = totals(simulation)
    assert 0 < len(found) < COUNT
    assert found == expected(sorted(found))
    assert simulation.stages["one"]["pool_exhausted"] == simulation.stages["two"]["pool_exhausted"] == 0


def test_a_result_that_is_repeated_is_still_what_it_was() -> None:
    p = pipeline(rate_hz=200, within=12 * ms, on_miss=OnMiss.HOLD)
    simulation = run(p, service={"two": 1 * ms}, faults=Faults().slow("two", from_s=0.1, until_s=0.2, by=20 * ms))
    found = totals(simulation)
    assert set(found) == set(range(COUNT))
    repeated = {seq: total for seq, (total, _) in found.items() if total != 8 * 4 * seq}
    assert repeated, "nothing was held"
    assert all(total % 32 == 0 and total // 32 < seq for seq, total in repeated.items())
    assert all(is_there for _, is_there in found.values())


@pytest.mark.parametrize("stage", ["one", "two", "total"])
def test_a_crash_takes_along_what_was_in_the_process_and_the_next_life_goes_on(stage: str) -> None:
    simulation = run(pipeline(), faults=Faults().crash(stage, seq=20), service={stage: 2 * ms})
    found = totals(simulation)
    assert found == expected(sorted(found))
    assert COUNT - 20 <= len(found) < COUNT


def test_the_same_offline() -> None:
    assert totals(run(pipeline(), offline=True)) == expected()
