"""What every node that cuts a signal into windows has in common: ports, numbering, event times, gaps."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from nodes.kernels.streams import PerStream
from nodes.kernels.windows import Cut, Cutter
from nodes.preprocess.sample_time import SampleTime, first_sample, real_samples
from streamflow import In, InputError, Message, Node, Output
from streamflow.core.message import Attribute


class CuttingNode(Node):
    """Windows of `size` samples every `hop` samples along `axis`; a subclass declares its `Out` and `result`.

    Each window has the event time of its newest sample and the attribute `sample`, the index of its first.
    Where the source's numbering has a hole, windows start afresh behind it and the first has the attribute
    `gap`, the number of samples that are missing (negative: the recording jumped back).
    """

    retimes = True

    def __init__(self, size: int, hop: int, axis: int) -> None:
        for name, value in (("size", size), ("hop", hop)):
            if value < 1:
                raise InputError(f"{type(self).__name__}({name})", f"{value}", "at least 1 sample")
        self.size = size
        self.hop = hop
        self.axis = axis
        self.samples = In(f"any[{dimensions(axis, 'time')}]")

    def open(self) -> None:
        rate_hz = self.context.rate_hz("samples")
        self._streams = PerStream(lambda: _Stream(Cutter(self.size, self.hop, self.axis), SampleTime(rate_hz)))

    def result(self, window: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """What is sent for a window."""
        return window

    def process(self, message: Message) -> list[Output]:
        stream = self._streams[message.stream]
        cuts = stream.push(message, self.axis)
        return [self._output(stream, cut) for cut in cuts]

    def _output(self, stream: _Stream, cut: Cut) -> Output:
        event_time_ns, attributes = stream.time.before_newest(stream.end - 1 - cut.newest)
        attributes["sample"] = cut.first
        if cut.gap or "gap" in stream.inherited:
            attributes["gap"] = cut.gap
        if cut.valid < self.size or "valid" in stream.inherited:
            attributes["valid"] = cut.valid
        return Output(self.result(cut.array), event_time_ns=event_time_ns, attributes=attributes)


class _Stream:
    """What is held back of one stream."""

    def __init__(self, cutter: Cutter, time: SampleTime) -> None:
        self.cutter = cutter
        self.time = time
        self.end = 0  # index of the next sample
        self.inherited: dict[str, Attribute] = {}

    def push(self, message: Message, axis: int) -> list[Cut]:
        chunk = message.array
        count = real_samples(message, chunk.shape[axis])
        if count < chunk.shape[axis]:
            chunk = np.take(chunk, range(count), axis=axis)
        sample = first_sample(message)
        first = self.end if sample is None else sample
        self.time.saw(message, count, follows=first == self.end)
        self.end = first + count
        self.inherited = dict(message.attributes)
        return self.cutter.push(chunk, sample)


def dimensions(axis: int, size: int | str) -> str:
    """The dimensions of a port whose `axis` is `size` and whose others may be anything."""
    if axis >= 0:
        return ", ".join([*(f"axis{index}" for index in range(axis)), f"{size}", "..."])
    return ", ".join(["...", f"{size}", *(f"last{-index}" for index in range(axis + 1, 0))])
