"""A chain over iceoryx2: a service for each signal of each edge, and one event of the edge that wakes its reader.

A sample belongs to the publisher that has loaned it: who receives one may read it and give it back, but cannot send it
on. So a relay does what the documentation has a stage do: it loans a sample of its own and copies the block into it
(the way `loaned`; the source writes in place). The way `forwarded` goes round that copy as far as an application can,
for frames only: all three readers subscribe to the source's frames, and relays pass on the number of the frame, on
which the next one takes its own sample. There no stage could give the next one anything that it has made itself.
"""

from __future__ import annotations

import ctypes
from importlib.metadata import version
from typing import Any

import iceoryx2 as iox2
import numpy as np

from tools.bench.peers import chain

BUFFER_COUNT = 16
POLL_MS = 500
WORD = 8
TOKEN_LENGTH = 2  # words of what is passed on in place of a frame
SMALL, FRAMES = 0, 1  # the programme's phases
FORWARDED = "forwarded"


class Services:
    """Those of one run; their files and names are of this run alone."""

    def __init__(self, stage: chain.Stage) -> None:
        iox2.set_log_level(iox2.LogLevel.Error)
        config = iox2.config.default()
        config.global_cfg.root_path = iox2.Path.new(str(stage.folder))
        config.global_cfg.prefix = iox2.FileName.new(f"{stage.folder.name}_")
        self._node = iox2.NodeBuilder.new().config(config).create(iox2.ServiceType.Ipc)

    def blocks(self, name: str) -> Any:
        return (
            self._node.service_builder(iox2.ServiceName.new(name))
            .publish_subscribe(iox2.Slice[ctypes.c_uint8])
            .enable_safe_overflow(False)
            .subscriber_max_buffer_size(BUFFER_COUNT)
            .open_or_create()
        )

    def events(self, edge: int) -> Any:
        return self._node.service_builder(iox2.ServiceName.new(f"edge-{edge}")).event().open_or_create()


class Sender:
    """The sending end of an edge: the publisher of each signal, by the number of its phase."""

    def __init__(self, services: Services, stage: chain.Stage) -> None:
        edge = stage.number
        lengths = list(stage.lengths)
        names = [f"small-{edge}", f"frames-{edge}"]
        if stage.way == FORWARDED and not stage.is_source:
            names[FRAMES], lengths[FRAMES] = f"tokens-{edge}", TOKEN_LENGTH
        self._publishers = [
            services.blocks(name)
            .publisher_builder()
            .initial_max_slice_len(length * WORD)
            .backpressure_strategy(iox2.BackpressureStrategy.RetryUntilDelivered)
            .create()
            for name, length in zip(names, lengths, strict=True)
        ]
        self._lengths = lengths
        self._notifier = services.events(edge).notifier_builder().create()

    def write(self, number: int, phase: int) -> None:
        """A block that is made in place."""
        sample, place = self._loan(phase)
        chain.fill(place, number)
        self._send(sample)

    def copy(self, block: chain.Block, phase: int) -> None:
        """What fits of a block: all of it, or of a frame that is only forwarded its number."""
        sample, place = self._loan(phase)
        np.copyto(place, block[: len(place)])
        self._send(sample)

    def _loan(self, phase: int) -> tuple[Any, chain.Block]:
        sample = self._publishers[phase].loan_slice_uninit(self._lengths[phase] * WORD)
        return sample, np.frombuffer(sample.payload().as_memory_view(), np.int64)

    def _send(self, sample: Any) -> None:
        sample.assume_init().send()
        self._notifier.notify()


class Receiver:
    """The receiving end of an edge."""

    def __init__(self, services: Services, stage: chain.Stage) -> None:
        edge = stage.number - 1
        frames_edge = 0 if stage.way == FORWARDED else edge
        self._small = services.blocks(f"small-{edge}").subscriber_builder().create()
        self._frames = services.blocks(f"frames-{frames_edge}").subscriber_builder().create()
        self._tokens = services.blocks(f"tokens-{edge}").subscriber_builder().create() if frames_edge != edge else None
        self._due_count = 0  # frames whose number has come
        self._listener = services.events(edge).listener_builder().create()
        self._poll = iox2.Duration.from_millis(POLL_MS)

    def wait(self) -> None:
        self._listener.timed_wait(self._poll)

    def receive(self) -> tuple[Any, int] | None:
        """A sample and its phase, small ones first; None where there is none."""
        if (sample := self._small.receive()) is not None:
            return sample, SMALL
        if self._tokens is not None:
            if (token := self._tokens.receive()) is not None:
                token.delete()
                self._due_count += 1
            if not self._due_count:
                return None
        sample = self._frames.receive()  # none is possible: its token may be quicker, and waits for it
        if sample is None:
            return None
        self._due_count -= 1
        return sample, FRAMES


def work(stage: chain.Stage) -> None:
    services = Services(stage)
    sender = None if stage.is_sink else Sender(services, stage)
    receiver = None if stage.is_source else Receiver(services, stage)
    chain.say_ready()
    if receiver is None:
        assert sender is not None
        chain.wait_for_start()
        for number, phase in stage.sendings():
            sender.write(number, phase)
            stage.sent(number)
    else:
        _pass_on(stage, receiver, sender)
    stage.keep()
    if not stage.is_sink:
        chain.wait_for_end()


def _pass_on(stage: chain.Stage, receiver: Receiver, sender: Sender | None) -> None:
    """By a relay, or by the sink, which has no sender."""
    while not stage.is_over:
        receiver.wait()
        while (received := receiver.receive()) is not None:
            sample, phase = received
            block = np.frombuffer(sample.payload().as_memory_view(), np.int64)
            stage.passed(block)
            if sender is not None:
                sender.copy(block, phase)
            del block
            sample.delete()


if __name__ == "__main__":
    chain.main("iceoryx2_chain", version("iceoryx2"), work)
