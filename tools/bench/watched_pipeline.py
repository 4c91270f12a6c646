"""A chain of ten stages in two processes, all of which the supervisor watches: what watching costs, and enforcement."""

import numpy as np

from streamflow import In, Message, Node, OnMiss, Out, Pipeline, ms


class Ticks(Node):
    """`rate_hz` small data a second."""

    row = Out("int64[8]")

    def __init__(self, rate_hz: float) -> None:
        self._period_ns = round(1e9 / rate_hz)

    async def run(self) -> None:
        number = 0
        while True:
            event_time_ns = await self.pace(number * self._period_ns)
            await self.emit(np.full(8, number), event_time_ns=event_time_ns)
            number += 1


class Relay(Node):
    """Passes on what comes."""

    row_in = In("int64[8]")
    row = Out("int64[8]")

    def process(self, message: Message) -> np.ndarray:
        array: np.ndarray = message.array
        return array


class Last(Node):
    """Takes what comes."""

    row = In("int64[8]")

    def process(self, message: Message) -> None:
        return None


def build(rate_hz: float = 500.0, stages: int = 10, processes: int = 2, within_ms: int = 100) -> Pipeline:
    """`stages` one after the other, the first half of them in one process; a deadline from end to end."""
    p = Pipeline("watched")
    first = before = p.add("s0", Ticks(rate_hz), process="p0")
    for number in range(1, stages):
        node = Last() if number == stages - 1 else Relay()
        stage = p.add(f"s{number}", node, process=f"p{number * processes // stages}")
        p.connect(before, stage, capacity=32)
        before = stage
    p.deadline("main", first, before, within=within_ms * ms, on_miss=OnMiss.SHED)
    return p
