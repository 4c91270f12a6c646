"""A stage that is fed half as much again as it can do, under a deadline."""

import time

import numpy as np

from streamflow import In, Message, Node, OnMiss, Out, Pipeline, ms

SERVICE_MS = 4.0
WITHIN_MS = 25
OVERLOAD = 1.5
SOURCE, STAGE, SINK = "sensor", "model", "actuator"


class Sensor(Node):
    """A row of eight numbers, at a fixed rate."""

    row = Out("float32[8]")

    def __init__(self, rate_hz: float) -> None:
        self._period_ns = round(1e9 / rate_hz)

    async def run(self) -> None:
        number = 0
        while True:
            event_time_ns = await self.pace(number * self._period_ns)
            await self.emit(np.zeros(8, np.float32), event_time_ns=event_time_ns)
            number += 1


class Model(Node):
    """Computes for so long on each row."""

    row_in = In("float32[8]")
    row = Out("float32[8]")

    def __init__(self, service_ms: float) -> None:
        self._service_ns = round(service_ms * 1e6)

    def process(self, message: Message) -> np.ndarray:
        until_ns = time.monotonic_ns() + self._service_ns
        while time.monotonic_ns() < until_ns:
            pass
        row: np.ndarray = message.array
        return row


class Actuator(Node):
    """Takes the results."""

    row = In("float32[8]")

    def process(self, message: Message) -> None:
        return None


def build(service_ms: float = SERVICE_MS, overload: float = OVERLOAD) -> Pipeline:
    """The deadline alone says what is given up: no mailbox is ever full."""
    p = Pipeline("overload")
    sensor = p.add(SOURCE, Sensor(overload * 1e3 / service_ms))
    model = p.add(STAGE, Model(service_ms))
    actuator = p.add(SINK, Actuator())
    p.connect(sensor, model, capacity=64)
    p.connect(model, actuator, capacity=64)
    p.deadline("main", sensor, actuator, within=WITHIN_MS * ms, on_miss=OnMiss.SHED)
    return p
