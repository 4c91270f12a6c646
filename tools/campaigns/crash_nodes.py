"""The nodes of the pipelines in which stages are killed: each has steps that no other has."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from streamflow import (
    In,
    Message,
    Node,
    OnDevice,
    Out,
    StateTensor,
)

BURST_SIZE, BURST_COUNT = 4, 3  # data, and how often so many come


class Pass(Node):
    """Sends on what it gets: of every `absorbs`th datum nothing."""

    number = In("int64[]")
    out = Out("int64[]")

    def __init__(self, absorbs: int = 0) -> None:
        self._absorbs = absorbs

    def process(self, message: Message) -> Any:
        return None if self._absorbs and message.seq % self._absorbs == 0 else message.array


class Fails(Pass):
    """Has a bug with one datum, after it has sent one result of it."""

    def process(self, message: Message) -> Iterator[Any]:
        yield message.array
        if message.seq == BURST_SIZE:
            raise RuntimeError("a bug")


class Twice(Pass):
    """Sends two, one after the other."""

    def process(self, message: Message) -> Iterator[Any]:
        yield message.array
        yield message.array


class Fork(Node):
    """Two ports."""

    number = In("int64[]")
    left = Out("int64[]")
    right = Out("int64[]")

    def process(self, message: Message) -> Any:
        return {"left": message.array, "right": message.array}


class PassOrGuess(Pass):
    """With a cheaper variant."""

    def degrade(self, message: Message) -> Any:
        return message.array


class Together(Node):
    """Works on several at once: of every third datum nothing comes, of every fourth two results."""

    number = In("int64[]")
    out = Out("int64[]")

    def process_batch(self, messages: Sequence[Message]) -> list[Any]:
        return [self._result(message) for message in messages]

    def _result(self, message: Message) -> Any:
        if message.seq % 3 == 2:
            return None
        return [message.array] * 2 if message.seq % 4 == 3 else message.array


class Unbound(Together):
    """Carries nothing from one datum to the next."""

    stateful = False


class TogetherOrGuess(Together):
    """With a cheaper variant for one alone."""

    def degrade(self, message: Message) -> Any:
        return message.array


class FailsTogether(Together):
    """Has a bug with one datum of a batch, when it has sent what came of those before it and one result of its own."""

    def _result(self, message: Message) -> Any:
        return self._broken(message) if message.seq == BURST_SIZE else super()._result(message)

    @staticmethod
    def _broken(message: Message) -> Iterator[Any]:
        yield message.array
        raise RuntimeError("a bug")


class FailsAtOnce(Together):
    """Has a bug with a batch that has a certain datum."""

    def process_batch(self, messages: Sequence[Message]) -> list[Any]:
        if any(message.seq == BURST_SIZE for message in messages):
            raise RuntimeError("a bug")
        return super().process_batch(messages)


class OnItsDevice(Together):
    """A device does it, and while it does the stage makes the next; `fails`: the work on a certain datum has a bug."""

    def __init__(self, *, is_bound: bool = False, fails: bool = False) -> None:
        self.stateful = is_bound
        self._fails = fails

    def open(self) -> None:
        self._queue = self.context.device.queue()

    def process_batch(self, messages: Sequence[Message]) -> Any:
        self._queue.launch(lambda: self._break(messages))
        return OnDevice(self._queue.ticket(), lambda: [self._result(message) for message in messages])

    def _break(self, messages: Sequence[Message]) -> None:
        if self._fails and any(message.seq == BURST_SIZE for message in messages):
            raise RuntimeError("a bug")


class Counts(Pass):
    """Has a state: how many it was stepped with, which is what it sends."""

    def state_tensors(self) -> Sequence[StateTensor]:
        return [StateTensor("count", "int64", ())]

    def process(self, message: Message) -> Any:
        stepping = self.begin_steps([message])
        following = [array + 1 for array in stepping.arrays]
        stepping.commit(following)
        return stepping.results([array[0] for array in following])[0]


class CountsOnDevice(Counts):
    """The same, but the count stays on a device, and what came back of it is committed when it has."""

    def open(self) -> None:
        device = self.context.device
        self._queue = device.queue()
        self._counts = device.array((self.state_rules.stream_count_max,), np.int64)
        self._returned = device.host_array((1,), np.int64)

    def process(self, message: Message) -> Any:
        stepping = self.begin_steps_elsewhere([message])
        if not stepping.messages:
            return stepping.results(())[0]
        slot, due = stepping.slots[0], stepping.due(every=100)  # over lossless edges each is due
        count = self._counts[slot : slot + 1]
        if stepping.loaded:
            self._queue.copy_in(count, stepping.arrays[0])
        self._queue.launch(_count_one, count)
        self._queue.copy_out(self._returned, count)
        stepping.made()
        snapshot = stepping.snapshot(due)

        def results() -> Any:
            snapshot.commit([self._returned])
            return stepping.results([self._returned[0].copy()])[0]

        return OnDevice(self._queue.ticket(), results)


def _count_one(count: Any) -> None:
    count += 1


class Sink(Node):
    number = In("int64[]")

    def process(self, message: Message) -> None:
        return None
