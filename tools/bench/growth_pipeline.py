"""Pipelines of any size: a chain of stages, each a process, and any number of streams into one stage."""

import numpy as np

from streamflow import In, Message, Node, Out, Pipeline

LENGTH = 8  # numbers in a datum of `streams`


class Blocks(Node):
    """Blocks of `length` numbers at a fixed rate, the first after `delay_ns`; written in place where they are large."""

    def __init__(self, rate_hz: float, length: int, delay_ns: int = 0) -> None:
        self._period_ns = round(1e9 / rate_hz)
        self._delay_ns = delay_ns
        self._length = length
        self.block = Out(f"float32[{length}]")

    async def run(self) -> None:
        number = 0
        while True:
            event_time_ns = await self.pace(self._delay_ns + number * self._period_ns)
            block = self.allocate((self._length,), np.float32)
            block.fill(number)
            await self.emit(block, event_time_ns=event_time_ns)
            number += 1


class Scaled(Node):
    """Each block times two, in a slot of its own."""

    block_in = In("float32[length]")
    block = Out("float32[length]")

    def process(self, message: Message) -> np.ndarray:
        scaled: np.ndarray = self.allocate(message.array.shape, np.float32)
        np.multiply(message.array, np.float32(2), out=scaled)
        return scaled


class Sum(Node):
    """Adds up what comes."""

    block = In("float32[length]")

    def __init__(self) -> None:
        self._sum = 0.0

    def process(self, message: Message) -> None:
        self._sum += float(message.array.sum())


class Sums(Node):
    """Adds up what comes on any of `count` inputs, each message by itself."""

    def __init__(self, count: int) -> None:
        self._sum = 0.0
        for number in range(count):
            setattr(self, f"stream{number}", In(f"float32[{LENGTH}]"))
            setattr(self, f"process_stream{number}", self._add)

    def _add(self, message: Message) -> None:
        self._sum += float(message.array[0])


def chain(stages: int = 6, rate_hz: float = 50.0, length: int = 256, capacity: int = 16) -> Pipeline:
    """`stages` one after the other, each its own process; `length`: of a block, in float32."""
    p = Pipeline("chain")
    before = p.add("s0", Blocks(rate_hz, length))
    for number in range(1, stages):
        stage = p.add(f"s{number}", Sum() if number == stages - 1 else Scaled())
        p.connect(before, stage, capacity=capacity)
        before = stage
    return p


def streams(count: int = 16, rate_hz: float = 512.0) -> Pipeline:
    """`count` sources in one process, a sum in another; `rate_hz`: of all streams together, evenly spread."""
    p = Pipeline("streams")
    sums = p.add("sums", Sums(count))
    for number in range(count):
        delay_ns = round(number * 1e9 / rate_hz)
        source = p.add(f"source{number}", Blocks(rate_hz / count, LENGTH, delay_ns), process="sensors")
        p.connect(source, getattr(sums, f"stream{number}"), capacity=16)
    return p


build = chain
