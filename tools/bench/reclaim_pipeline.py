"""Frames through a relay to a sink, each filled with its own instant, so that one that changes is noticed."""

from __future__ import annotations

import time
from collections import deque
from pathlib import Path

import numpy as np
import numpy.typing as npt

from streamflow import In, Message, Node, Out, Pipeline

LENGTH = 125_000  # int64: 1 MB
RATE_HZ = 60.0
CHANGED = "changed"  # the file that has a line for each frame that was not what was sent

Frame = npt.NDArray[np.int64]


class Frames(Node):
    """Frames that are written in place, `rate_hz` of them a second; each word is the frame's event time."""

    frame = Out(f"int64[{LENGTH}]")

    def __init__(self, rate_hz: float = RATE_HZ) -> None:
        self._period_ns = round(1e9 / rate_hz)

    async def run(self) -> None:
        due_ns = self.context.now_ns()
        while True:
            due_ns += self._period_ns
            await self.context.sleep_until(due_ns)
            frame = self.allocate((LENGTH,), np.int64)
            frame.fill(due_ns)
            await self.emit(frame, event_time_ns=due_ns)


class Reader(Node):
    """Looks at every word of a frame: when it comes, after some work on it, and when it is the oldest that is kept."""

    def __init__(self, folder: str, work_ms: float, kept_count: int) -> None:
        self._path = Path(folder) / CHANGED
        self._work_s = work_ms / 1e3
        self._kept_count = kept_count
        self._kept: deque[tuple[int, Frame]] = deque()

    def read(self, message: Message) -> Frame:
        """The frame that came, which is in shared memory."""
        frame: Frame = message.array
        self._look(message.event_time_ns, frame, "came")
        time.sleep(self._work_s)
        self._look(message.event_time_ns, frame, "was worked on")
        self._kept.append((message.event_time_ns, frame))
        if len(self._kept) > self._kept_count:
            self._look(*self._kept.popleft(), "was kept")
        return frame

    def _look(self, expected: int, frame: Frame, when: str) -> None:
        if not (frame == expected).all():
            with self._path.open("a") as out:
                out.write(f"{self.context.stage}: {frame[0]}..{frame[-1]} where {expected} {when}\n")


class Relay(Reader):
    """Passes on the frame itself."""

    frame_in = In(f"int64[{LENGTH}]")
    frame = Out(f"int64[{LENGTH}]")

    def process(self, message: Message) -> Frame:
        return self.read(message)


class Sink(Reader):
    """Reads, and that is all."""

    frame = In(f"int64[{LENGTH}]")

    def process(self, message: Message) -> None:
        self.read(message)


def build(
    folder: str, relay_ms: float = 4.0, sink_ms: float = 4.0, relay_kept: int = 0, sink_kept: int = 0, capacity: int = 4
) -> Pipeline:
    """`relay_ms`, `sink_ms`: of work on a frame; `relay_kept`, `sink_kept`: frames that each has beside that."""
    p = Pipeline("reclaim")
    source = p.add("source", Frames())
    relay = p.add("relay", Relay(folder, relay_ms, relay_kept))
    sink = p.add("sink", Sink(folder, sink_ms, sink_kept))
    p.connect(source, relay, capacity=capacity)
    p.connect(relay, sink, capacity=capacity)
    return p
