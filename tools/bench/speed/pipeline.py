"""A source that follows a programme, relays, and one sink or several: what is measured of streamflow.

Latency runs from just before `emit` to the start of `process`, which the event time carries.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from streamflow import In, Message, Node, Out, Pipeline
from tools.bench.speed.costs import Profiled
from tools.bench.speed.programme import Meter, Origin, Phase, Programme

Block = npt.NDArray[np.int64]


class Source(Node):
    """Sends numbered blocks as the programme says."""

    block = Out("int64[length]")

    def __init__(self, folder: str, programme: str) -> None:
        self._folder = Path(folder)
        self._programme = Programme.parse(programme)

    def open(self) -> None:
        self._meter = Meter(self._programme)
        self._fixed = [np.zeros(phase.size // 8, np.int64) for phase in self._programme.phases]

    async def run(self) -> None:
        phases = self._programme.phases
        now_ns = self.context.now_ns
        for number, sending in enumerate(self._programme.sendings):
            phase = phases[sending.phase]
            due_ns = await self.pace(sending.due_ns) if phase.rate_hz else 0
            block = self._block(number, phase, self._fixed[sending.phase])
            begun_ns = now_ns()
            await self.emit(block, event_time_ns=begun_ns)
            self._meter.note(number, now_ns() - begun_ns)
            self._meter.late(begun_ns - due_ns if due_ns else 0)

    def _block(self, number: int, phase: Phase, fixed: Block) -> Block:
        if phase.origin is Origin.FRESH:
            return np.full(phase.size // 8, number)
        if phase.origin is Origin.FIXED:
            fixed[0] = fixed[-1] = number
            return fixed
        block: Block = self.allocate((phase.size // 8,), np.int64)
        block.fill(number)
        return block

    def close(self) -> None:
        self._meter.save(self._folder, self.context.stage)


class Relay(Node):
    """Passes on what comes."""

    block_in = In("int64[length]")
    block = Out("int64[length]")

    def __init__(self, folder: str, programme: str) -> None:
        self._folder = Path(folder)
        self._programme = Programme.parse(programme)

    def open(self) -> None:
        self._meter = Meter(self._programme)

    def process(self, message: Message) -> Block:
        self._meter.note(message.seq, 0)
        block: Block = message.array
        return block

    def close(self) -> None:
        self._meter.save(self._folder, self.context.stage)


class Sink(Node):
    """Notes how old each block is when its turn comes; fails when one is missing, out of order or damaged."""

    block = In("int64[length]")

    def __init__(self, folder: str, programme: str) -> None:
        self._folder = Path(folder)
        self._programme = Programme.parse(programme)

    def open(self) -> None:
        self._meter = Meter(self._programme)
        self._expected = 0

    def process(self, message: Message) -> None:
        age_ns = message.age_ns(self.context.now_ns())
        block = message.array
        if not (block[0] == block[-1] == self._expected == message.seq):
            raise ValueError(f"block {block[0]}..{block[-1]} (seq {message.seq}) where {self._expected} was expected")
        self._meter.note(self._expected, age_ns)
        self._expected += 1

    def close(self) -> None:
        self._meter.save(self._folder, self.context.stage)


class ProfiledRelay(Relay):
    """Tells what its process does meanwhile."""

    def open(self) -> None:
        super().open()
        self._profiled = Profiled(self._programme)

    def process(self, message: Message) -> Block:
        self._profiled.note(message.seq)
        return super().process(message)

    def close(self) -> None:
        super().close()
        self._profiled.save(self._folder)


def build(
    folder: str, programme: str, hops: int = 1, sinks: int = 1, capacity: int = 64, is_profiled: bool = False
) -> Pipeline:
    """`hops` edges from the source to a sink; `capacity`: of each edge, all of which block."""
    kind = ProfiledRelay if is_profiled else Relay
    p = Pipeline("speed")
    last = p.add("source", Source(folder, programme))
    for number in range(1, hops):
        relay = p.add(f"relay{number}", kind(folder, programme))
        p.connect(last, relay, capacity=capacity)
        last = relay
    for number in range(sinks):
        p.connect(last, p.add(f"sink{number}", Sink(folder, programme)), capacity=capacity)
    return p
