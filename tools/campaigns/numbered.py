"""Pipelines whose data are numbered and whose sinks write what they got, so that a loss can be counted from outside.

Everything is paced as a recording is: a source that was killed goes on where it stopped, and each number is emitted
once or, where its source died over it, never. What a sink has handled is on disk before its stage's record says so.
"""

import os
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt

from streamflow import In, Message, Node, Out, Overflow, Pipeline
from streamflow.pipeline import Stage

RATE_HZ = 500.0


class Numbers(Node):
    """The numbers from 0."""

    number = Out("int64[]")

    def __init__(self, count: int, rate_hz: float) -> None:
        self._count, self._rate_hz = count, rate_hz

    async def run(self) -> None:
        for number in range(self._count):
            due_ns = await self.pace(round(number * 1e9 / self._rate_hz))
            await self.emit(np.int64(number), event_time_ns=due_ns)


class Work(Node):
    """Hands on what it gets, after a while."""

    data = In("int64[]")
    same = Out("int64[]")

    def __init__(self, work_s: float) -> None:
        self._work_s = work_s

    def process(self, message: Message) -> npt.NDArray[np.int64]:
        time.sleep(self._work_s)
        return np.asarray(message.array, np.int64)


class Twice(Work):
    """Sends all that it gets twice."""

    def process(self, message: Message) -> list[npt.NDArray[np.int64]]:  # type: ignore[override]
        time.sleep(self._work_s)
        return [message.array, message.array]


class _File(Node):
    """Adds each number to a file, a line each, when its work on it is done."""

    def __init__(self, path: Path, work_s: float) -> None:
        self._path, self._work_s = path, work_s

    def open(self) -> None:
        self._file = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def _keep(self, number: int) -> None:
        time.sleep(self._work_s)
        os.write(self._file, b"%d\n" % number)

    def close(self) -> None:
        os.close(self._file)


class Keep(_File):
    """Of one way."""

    data = In("int64[]")

    def process(self, message: Message) -> None:
        self._keep(int(message.array))


class KeepPair(_File):
    """Of data that come on two ways and meet again."""

    left = In("int64[]")
    right = In("int64[]")

    def process(self, *, left: Message, right: Message) -> None:
        assert int(left.array) == int(right.array)
        self._keep(int(left.array))


def line(p: Pipeline, source: Stage, connect: Callable[[Stage, object], None], out: Path, work_s: float) -> None:
    """Source, middle, sink."""
    middle, sink = p.add("middle", Work(work_s)), p.add("sink", Keep(out / "sink", work_s))
    connect(source, middle)
    connect(middle, sink)


def fan(p: Pipeline, source: Stage, connect: Callable[[Stage, object], None], out: Path, work_s: float) -> None:
    """One source, two middles, two sinks."""
    for side in ("left", "right"):
        middle = p.add(side, Work(work_s))
        sink = p.add(f"{side}_sink", Keep(out / f"{side}_sink", work_s))
        connect(source, middle)
        connect(middle, sink)


def join(p: Pipeline, source: Stage, connect: Callable[[Stage, object], None], out: Path, work_s: float) -> None:
    """One source, two ways, one sink where they meet."""
    sink = p.add("sink", KeepPair(out / "sink", work_s))
    for side in ("left", "right"):
        middle = p.add(side, Work(work_s))
        connect(source, middle)
        connect(middle, sink[side])


def shared(p: Pipeline, source: Stage, connect: Callable[[Stage, object], None], out: Path, work_s: float) -> None:
    """As `line`, with middle and sink in one process."""
    middle = p.add("middle", Work(work_s), process="rest")
    sink = p.add("sink", Keep(out / "sink", work_s), process="rest")
    connect(source, middle)
    connect(middle, sink)


def split(p: Pipeline, source: Stage, connect: Callable[[Stage, object], None], out: Path, work_s: float) -> None:
    """As `line`, with a middle that makes two data of each."""
    middle, sink = p.add("middle", Twice(work_s)), p.add("sink", Keep(out / "sink", work_s / 2))
    connect(source, middle)
    connect(middle, sink)


SHAPES = {shape.__name__: shape for shape in (line, fan, join, shared, split)}


def build(
    out: str, shape: str = "line", overflow: str = "block", count: int = 3000, rate_hz: float = RATE_HZ,
    work_s: float = 0.001,
) -> Pipeline:  # fmt: skip
    """`out`: a folder, where each sink writes a file of its name; `overflow` of every edge."""
    p = Pipeline(f"numbered_{shape}")
    source = p.add("source", Numbers(count, rate_hz))

    def connect(one: Stage, other: object) -> None:
        p.connect(one, other, overflow=Overflow(overflow), capacity=8)  # type: ignore[arg-type]

    SHAPES[shape](p, source, connect, Path(out), work_s)
    return p
