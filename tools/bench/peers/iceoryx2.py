"""A hop over iceoryx2: publish-subscribe of a slice of bytes in shared memory, and an event that wakes the reader.

Loaned is its documented way: the sample is written in place and only its place is sent. Copied is the same with the
data elsewhere before, so that one copy is part of the hop. Nothing is dropped: the publisher waits for a full reader.
"""

from __future__ import annotations

import ctypes
from importlib.metadata import version
from pathlib import Path
from typing import Any

import iceoryx2 as iox2
import numpy as np

from tools.bench.peers import hop

BUFFER_COUNT = 16
POLL_MS = 500


def _open(folder: Path, case: hop.Case) -> tuple[Any, Any]:
    """The service of the samples and that of the events; their files and names are of this run alone."""
    iox2.set_log_level(iox2.LogLevel.Error)
    config = iox2.config.default()
    config.global_cfg.root_path = iox2.Path.new(str(folder))
    config.global_cfg.prefix = iox2.FileName.new(f"{folder.name}_")
    node = iox2.NodeBuilder.new().config(config).create(iox2.ServiceType.Ipc)
    samples = (
        node.service_builder(iox2.ServiceName.new("hop"))
        .publish_subscribe(iox2.Slice[ctypes.c_uint8])
        .enable_safe_overflow(False)
        .subscriber_max_buffer_size(BUFFER_COUNT)
        .open_or_create()
    )
    return samples, node.service_builder(iox2.ServiceName.new("hop")).event().open_or_create()


def send(case: hop.Case, folder: Path) -> None:
    samples, events = _open(folder, case)
    publisher = (
        samples.publisher_builder()
        .initial_max_slice_len(case.size)
        .backpressure_strategy(iox2.BackpressureStrategy.RetryUntilDelivered)
        .create()
    )
    notifier = events.notifier_builder().create()
    own = hop.blank(case.size)

    def send_one(number: int) -> None:
        if not case.is_loaned:
            hop.stamp(own, number)
        sample = publisher.loan_slice_uninit(case.size)
        place = np.frombuffer(sample.payload().as_memory_view(), np.uint8)
        if case.is_loaned:
            hop.stamp(place, number)
        else:
            np.copyto(place, own)
        sample.assume_init().send()
        notifier.notify()

    sending = hop.Sending(case)
    for number in sending.numbers():
        send_one(number)
    send_one(hop.END)
    hop.keep(folder, sending.sent)
    hop.wait_for_receiver()


def receive(case: hop.Case, folder: Path) -> None:
    samples, events = _open(folder, case)
    subscriber = samples.subscriber_builder().create()
    listener = events.listener_builder().create()
    receipts = hop.Receipts(case)
    poll = iox2.Duration.from_millis(POLL_MS)
    hop.say_ready()
    while not (receipts.is_over or receipts.is_idle()):
        listener.timed_wait(poll)
        while (sample := subscriber.receive()) is not None:
            receipts.note(np.frombuffer(sample.payload().as_memory_view(), np.uint8))
            sample.delete()
    hop.keep(folder, receipts.received())


if __name__ == "__main__":
    hop.main("iceoryx2", version("iceoryx2"), send, receive)
