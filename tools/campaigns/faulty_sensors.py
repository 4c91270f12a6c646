"""A camera and an IMU that are joined, in virtual time, and what the IMU may do wrong."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any

import numpy as np

from streamflow import In, Message, Node, Out, Output, Pipeline, ms, s
from streamflow.joins import Join
from streamflow.testing import simulate

CAMERA_HZ, IMU_HZ = 30, 200
DURATION_S = 20
SETTLING_S = 2.7  # after a fault, in which a join may still feel it: a clock that was set back counts anew in 2 s

Stamped = tuple[int, int]
"""When a datum comes, and what its time stamp says (ns of the recording)."""


@dataclass(frozen=True, slots=True)
class SensorFault:
    """Between `from_s` and `until_s` the sensor's data are what `bends` makes of them."""

    name: str
    from_s: float
    until_s: float
    bends: Callable[[Stamped, Random], Stamped | None]


def _silent(datum: Stamped, chance: Random) -> None:
    return None


def _jittery(datum: Stamped, chance: Random) -> Stamped:
    at_ns, event_ns = datum
    return at_ns + round(chance.uniform(-3, 3) * s / IMU_HZ) + 3 * s // IMU_HZ, event_ns


def _lossy(datum: Stamped, chance: Random) -> Stamped | None:
    return None if chance.random() < 0.3 else datum


def _stepped(by_ns: int) -> Callable[[Stamped, Random], Stamped]:
    return lambda datum, chance: (datum[0], datum[1] + by_ns)


FAULTS = (
    SensorFault("silent for 10 s", 4, 14, _silent),
    SensorFault("jitter of 3 periods", 4, 14, _jittery),
    SensorFault("three of ten lost", 4, 14, _lossy),
    SensorFault("clock 0.5 s ahead for 6 s", 4, 10, _stepped(500 * ms)),
    SensorFault("clock 0.5 s behind for 6 s", 4, 10, _stepped(-500 * ms)),
)


class Sensor(Node):
    """Emits each datum when it comes, with the stamp that it bears."""

    number = Out("float64[]")

    def __init__(self, data: list[Stamped]) -> None:
        self._data = sorted(data)

    async def run(self) -> None:
        for number, (at_ns, event_ns) in enumerate(self._data):
            due_ns = await self.pace(at_ns)
            await self.emit(
                np.float64(number), event_time_ns=due_ns - at_ns + event_ns, came_s=at_ns / s, came_ns=due_ns
            )


class Fuse(Node):
    camera, imu = In("float64[]"), In("float64[]")
    seen = Out("float64[]")

    def process(self, *, camera: Message | None, imu: Any) -> Any:
        number = -1.0 if camera is None else float(camera.array)
        if camera is None:
            return Output(number)
        return Output(number, attributes={f"camera_{name}": camera.attributes[name] for name in ("came_s", "came_ns")})


class Sink(Node):
    data = In()

    def process(self, message: Message) -> None: ...


@dataclass(frozen=True, slots=True)
class Outcome:
    """`whole_*`: the share of the camera's frames that came out with the IMU, before, during and after the fault.

    `lost_count`: frames that came out in no row. `wait_ns_max`: of a frame, from its arrival to its row.
    """

    wait_ns_max: int
    whole_before: float
    whole_during: float
    whole_after: float
    lost_count: int
    left_out: Counter[str]
    is_conserved: bool


def fuse(join: Join, fault: SensorFault, seed: int = 0) -> Outcome:
    """One run."""
    chance = Random(seed)
    frames = [(number * s // CAMERA_HZ,) * 2 for number in range(DURATION_S * CAMERA_HZ)]
    samples = []
    for number in range(DURATION_S * IMU_HZ):
        at_ns = number * s // IMU_HZ
        is_then = fault.from_s <= at_ns / s < fault.until_s
        datum = fault.bends((at_ns, at_ns), chance) if is_then else (at_ns, at_ns)
        if datum is not None:
            samples.append(datum)
    p = Pipeline("faulty")
    camera, imu = p.add("camera", Sensor(frames)), p.add("imu", Sensor(samples))
    fused, sink = p.add("fused", Fuse(), join=join), p.add("sink", Sink())
    p.connect(camera, fused.camera)
    p.connect(imu, fused.imu)
    p.connect(fused, sink)
    simulation = simulate(p)
    results = [message for message in simulation.results("sink") if "camera_came_s" in message.attributes]
    waits: list[int] = []
    spans: dict[str, list[bool]] = {"before": [], "during": [], "after": []}
    seen = set()
    for message in results:
        came_s, came_ns = (message.attributes[f"camera_{name}"] for name in ("came_s", "came_ns"))
        assert isinstance(came_s, float)
        assert isinstance(came_ns, int)
        if message.attributes["camera_state"] == "used":
            seen.add(round(came_s * CAMERA_HZ))
            waits.append(message.sent_ns - came_ns)
        is_whole = message.attributes["imu_state"] in ("used", "held")
        name = "before" if came_s < fault.from_s - 0.1 else "after" if came_s > fault.until_s + SETTLING_S else "during"
        if came_s > 0.1:  # the first frame came before anything of the IMU
            spans[name].append(is_whole)
    left_out: Counter[str] = Counter()
    for reasons in simulation.stages["fused"]["left_out"].values():
        left_out.update(reasons)
    whole = {name: sum(each) / len(each) for name, each in spans.items()}
    return Outcome(
        max(waits),
        whole["before"],
        whole["during"],
        whole["after"],
        len(frames) - len(seen),
        left_out,
        simulation.report["conserved"] is True,
    )
