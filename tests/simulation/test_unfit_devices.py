"""A device that opens, but on which a node cannot work: the next one is taken, which is told, for no other reason."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest

from streamflow import In, Message, Node, Out, Pipeline
from streamflow.device.contract import DeviceError, DeviceMemoryError, NoDeviceError, WorkError
from streamflow.device.virtual import VirtualDevice
from streamflow.testing import simulate

COUNT = 20


class Numbers(Node):
    number = Out("int64[]")

    async def run(self) -> None:
        for number in range(COUNT):
            await self.pace(number * 1_000_000)
            await self.emit(np.int64(number))


class Choosy(Node):
    """Refuses devices by name, each with an error of its own; notes what it was asked to do."""

    number = In("int64[]")
    seen = Out("int64[]")

    def __init__(self, refused: Mapping[str, type[DeviceError]], done: list[str]) -> None:
        self.refused = refused
        self.done = done

    def open(self) -> None:
        name = self.context.device.name
        self.done.append(f"open {name}")
        if name in self.refused:
            raise self.refused[name](name, "it lacks what this needs")

    def process(self, message: Message) -> Any:
        return message.array + 1

    def close(self) -> None:
        self.done.append(f"close {self.context.device.name}")


class Easy(Choosy):
    """Works anywhere."""


class Sink(Node):
    seen = In("int64[]")

    def process(self, message: Message) -> None:
        return None


DEVICES = ["cuda:0", "cuda:1", "host"]


def pipeline(done: list[str], refused: Mapping[str, type[DeviceError]], *, variants: bool = False) -> Callable[[], Any]:
    def build() -> Pipeline:
        p = Pipeline("choosy")
        numbers = p.add("numbers", Numbers())
        if variants:
            work = p.add("work", variants=[Easy({}, done), Choosy(refused, done)], device=DEVICES)
        else:
            work = p.add("work", Choosy(refused, done), device=DEVICES)
        p.connect(numbers, work)
        p.connect(work, p.add("sink", Sink()))
        return p

    return build


@pytest.mark.parametrize("kind", [NoDeviceError, DeviceMemoryError])
def test_the_first_on_which_the_node_can_work_is_taken_and_why_not_the_others_is_told(kind: type[DeviceError]) -> None:
    done: list[str] = []
    simulation = simulate(pipeline(done, {"cuda:0": kind, "cuda:1": NoDeviceError}))
    assert done == ["open cuda:0", "open cuda:1", "open host", "close host"], "closed only where it was opened"
    assert simulation.failure is None
    assert len(simulation.results("sink")) == COUNT
    assert simulation.stages["work"]["device"] == "host"
    assert simulation.stages["sink"]["device"] is None, "it asked for none"
    (told,) = simulation.events_of("device")
    assert told["sentence"] == (
        "stage work: works on host instead of cuda:0 (it lacks what this needs), cuda:1 (it lacks what this needs)"
    )


def test_where_it_can_work_on_none_the_run_ends_with_what_the_best_lacks() -> None:
    done: list[str] = []
    simulation = simulate(pipeline(done, {"cuda:0": DeviceMemoryError, "cuda:1": NoDeviceError, "host": NoDeviceError}))
    assert done == ["open cuda:0", "open cuda:1", "open host"]
    assert simulation.failure == "stage work: cuda:0: it lacks what this needs"


def test_any_other_failure_is_no_reason_to_try_elsewhere() -> None:
    done: list[str] = []
    simulation = simulate(pipeline(done, {"cuda:0": WorkError}))
    assert done == ["open cuda:0"]
    assert simulation.failure == "stage work: cuda:0: it lacks what this needs"


def test_a_device_on_which_it_cannot_work_is_closed() -> None:
    done: list[str] = []

    class Noting(VirtualDevice):
        def close(self) -> None:
            done.append(f"shut {self.name}")

    simulate(pipeline(done, {"cuda:0": NoDeviceError, "cuda:1": NoDeviceError}), make_device=Noting)
    assert done[:5] == ["open cuda:0", "shut cuda:0", "open cuda:1", "shut cuda:1", "open host"]


def test_variants_are_on_one_device_all_of_them() -> None:
    done: list[str] = []
    simulation = simulate(pipeline(done, {"cuda:0": NoDeviceError}, variants=True))
    opened = ["open cuda:0", "open cuda:0", "close cuda:0", "open cuda:1", "open cuda:1"]
    assert done == [*opened, "close cuda:1", "close cuda:1"]
    assert simulation.stages["work"]["device"] == "cuda:1"
    assert len(simulation.results("sink")) == COUNT
