"""Numbered blocks through two relays to a sink that checks each: what a hop costs, and whether any is lost."""

import numpy as np

from streamflow import In, Message, Node, Out, Pipeline


class Blocks(Node):
    """`count` blocks at a fixed rate, each filled with its own number."""

    def __init__(self, rate_hz: float, size: int, count: int) -> None:
        self._period_ns = round(1e9 / rate_hz)
        self._length = size // 8
        self._count = count
        self.block = Out(f"int64[{self._length}]", rate_hz=rate_hz)

    async def run(self) -> None:
        for number in range(self._count):
            event_time_ns = await self.pace(number * self._period_ns)
            await self.emit(np.full(self._length, number), event_time_ns=event_time_ns)


class Relay(Node):
    """Passes on what comes."""

    block_in = In("int64[length]")
    block = Out("int64[length]")

    def process(self, message: Message) -> np.ndarray:
        array: np.ndarray = message.array
        return array


class CheckedSink(Node):
    """Fails when a block is missing, twice there, out of order or damaged; notes how old each is when it is done.

    latencies: a .npy that gets int64[delivered], in ns, when the stream has ended.
    """

    block = In("int64[length]")

    def __init__(self, latencies: str) -> None:
        self._path = latencies
        self._latencies_ns: list[int] = []
        self._expected = 0

    def process(self, message: Message) -> None:
        array = message.array
        if not (array[0] == array[-1] == self._expected == message.seq):
            raise ValueError(f"block {array[0]}..{array[-1]} (seq {message.seq}) where {self._expected} was expected")
        self._expected += 1
        self._latencies_ns.append(message.age_ns(self.context.now_ns()))

    def close(self) -> None:
        np.save(self._path, np.array(self._latencies_ns, np.int64))


def build(
    latencies: str, rate_hz: float = 1000.0, size: int = 4096, count: int = 10_000, capacity: int = 64
) -> Pipeline:
    """`size`: bytes of a block; `count`: how many there are; `capacity`: of each edge, all of which block."""
    p = Pipeline("chain")
    source = p.add("source", Blocks(rate_hz, size, count))
    first = p.add("first", Relay())
    second = p.add("second", Relay())
    sink = p.add("sink", CheckedSink(latencies))
    p.connect(source, first, capacity=capacity)
    p.connect(first, second, capacity=capacity)
    p.connect(second, sink, capacity=capacity)
    return p
