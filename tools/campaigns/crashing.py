"""A pipeline with a stage that fails every time: on its first datum, by a signal as it starts, or when it opens."""

import os
import signal

import numpy as np

from nodes.ingest import Tone
from nodes.postprocess import JsonLines
from streamflow import In, Message, Node, Out, Pipeline


class Crashing(Node):
    """Fails as `how` says; the first life of a stage that fails as it opens is spared, so that the run starts."""

    signal = In("float32[time]")
    loudness = Out("float32[]")

    def __init__(self, how: str, mark: str) -> None:
        self._how, self._mark = how, mark

    def open(self) -> None:
        is_first = not os.path.exists(self._mark)
        open(self._mark, "a").close()
        if is_first:
            return
        if self._how == "open":
            raise OSError("the device is not there")
        if self._how == "killed":
            os.kill(os.getpid(), signal.SIGKILL)

    def process(self, message: Message) -> np.float32:
        if self._how == "raises":
            raise ValueError("no such thing")
        os.kill(os.getpid(), signal.SIGKILL)
        return np.float32(message.array.max())


def build(how: str, mark: str, out: str) -> Pipeline:
    """`how`: raises, killed or open; `mark`: a file by which a stage knows that it has been started before."""
    p = Pipeline("crashing")
    source = p.add("source", Tone(rate_hz=16000, chunk=160))
    crashing = p.add("crashing", Crashing(how, mark))
    sink = p.add("sink", JsonLines(out))
    p.connect(source.signal, crashing)
    p.connect(crashing, sink)
    return p
