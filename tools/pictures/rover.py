"""A vehicle that sees and balances: two sensors at rates of their own, joined, with load and faults as one asks for.

What the pictures of the README show, and what the claims of the monitor look at. The work is slept, not computed, so
that two cores are enough for a run and for whoever watches it.
"""

from __future__ import annotations

import time

import numpy as np

from streamflow import Escalation, In, Message, Node, OnMiss, Out, Overflow, Pipeline, ms, s
from streamflow.joins import Nearest


class Sensor(Node):
    """`rate_hz` readings a second, for ever; each is the number of its period."""

    reading = Out("float32[values]")

    def __init__(self, rate_hz: float, values: int) -> None:
        self._period_ns, self._values = round(1e9 / rate_hz), values

    async def run(self) -> None:
        number = 0
        while True:
            number += 1
            due_ns = await self.pace(number * self._period_ns)
            await self.emit(np.full(self._values, number, np.float32), event_time_ns=due_ns)


class Step(Node):
    """Takes `cost_ms` for each datum, half of it more or less; breaks at a share of `crash` of them."""

    data = In("float32[...]")
    result = Out("float32[...]")

    def __init__(self, cost_ms: float, crash: float = 0.0) -> None:
        self._cost_ms, self._crash = cost_ms, crash

    def open(self) -> None:
        self._chance = np.random.default_rng()

    def process(self, message: Message) -> np.ndarray:
        time.sleep(self._cost_ms * self._chance.uniform(0.5, 1.5) / 1e3)
        if self._chance.random() < self._crash:
            raise RuntimeError(f"worn out at datum {message.seq}")
        array: np.ndarray = message.array
        return array


class Fuse(Node):
    """What is seen, with how the vehicle lies."""

    seen = In("float32[...]")
    attitude = In("float32[...]")
    pose = Out("float32[2]")

    def process(self, *, seen: Message, attitude: Message | None) -> np.ndarray:
        lies = 0.0 if attitude is None else float(attitude.array[0])
        return np.array([seen.array[0], lies], np.float32)


class Motors(Node):
    """Does what it is told."""

    command = In("float32[...]")

    def process(self, message: Message) -> None:
        return None


def build(load: float = 0.5, crash: float = 0.0) -> Pipeline:
    """`load`: of the detector, 1 is all it can do. `crash`: the share of data at which it breaks."""
    p = Pipeline("rover")
    camera, imu = p.add("camera", Sensor(30, 256)), p.add("imu", Sensor(100, 6))
    resize = p.add("resize", Step(2))
    detect = p.add("detect", Step(1000 / 30 * load, crash))
    steady = p.add("steady", Step(1))
    fuse = p.add("fuse", Fuse(), join=Nearest(trigger="seen", max_skew=20 * ms, max_wait=20 * ms))
    plan, motors = p.add("plan", Step(2)), p.add("motors", Motors())
    p.connect(camera, resize, overflow=Overflow.DROP_OLDEST, capacity=4)
    p.connect(resize, detect, overflow=Overflow.DROP_OLDEST, capacity=4)
    p.connect(detect, fuse.seen)
    p.connect(imu, steady, overflow=Overflow.DROP_OLDEST, capacity=8)
    p.connect(steady, fuse.attitude, overflow=Overflow.DROP_OLDEST, capacity=16)
    p.connect(fuse, plan)
    p.connect(plan, motors)
    p.deadline("steer", camera, motors, within=80 * ms, on_miss=OnMiss.SHED, firm=(8, 10),
               escalation=(Escalation.DEGRADE,))  # fmt: skip
    p.deadline("balance", imu, steady, within=20 * ms)
    p.rate_deadline("camera_speaks", resize, within=200 * ms)
    p.supervise(detect, restart_intensity=1000, restart_period=10 * s)
    return p
