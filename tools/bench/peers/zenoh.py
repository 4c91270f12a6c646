"""A hop over Eclipse Zenoh: two sessions as peers over a unix socket, the payload in its shared memory.

Loaned: the buffer is allocated and written in place before the hop begins; copied: that and one copy of the data are
part of it. Its Python binding lends the reader no memory: `to_bytes` copies the payload out, and that is part of the
hop in both ways. Received in a callback, which is the way with the fewest threads in between.
"""

from __future__ import annotations

import json
import threading
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import zenoh

from tools.bench.peers import hop

KEY = "hop"
POOL_COUNT = 16  # buffers of the message's size in the pool
POOL_SPARE = 1 << 20  # bytes beside them, for what the pool itself needs
POLL_S = 0.2


def _open(**endpoints: list[str]) -> Any:
    config = zenoh.Config()
    config.insert_json5("mode", '"peer"')
    config.insert_json5("scouting/multicast/enabled", "false")
    config.insert_json5("scouting/gossip/enabled", "false")
    config.insert_json5("transport/shared_memory/enabled", "true")
    for side in ("listen", "connect"):
        config.insert_json5(f"{side}/endpoints", json.dumps(endpoints.get(side, [])))
    return zenoh.open(config)


def _endpoint(folder: Path) -> str:
    return f"unixsock-stream/{folder}/zenoh"


def send(case: hop.Case, folder: Path) -> None:
    pool = zenoh.shm.ShmProvider.default_backend(case.size * POOL_COUNT + POOL_SPARE)
    policy = zenoh.shm.BlockOn(zenoh.shm.GarbageCollect())
    own = bytearray(hop.blank(case.size))  # the only kinds that it copies from in one go are bytes and this

    def send_one(number: int) -> None:
        if case.is_loaned:
            buffer = pool.alloc(case.size, policy=policy)
            buffer[case.size - hop.TAIL.size : case.size] = hop.TAIL.pack(number)
            buffer[0 : hop.HEAD.size] = hop.HEAD.pack(time.monotonic_ns(), number)
        else:
            hop.stamp(own, number)
            buffer = pool.alloc(case.size, policy=policy)
            buffer[:] = own
        publisher.put(buffer)

    with _open(connect=[_endpoint(folder)]) as session:
        publisher = session.declare_publisher(
            KEY, congestion_control=zenoh.CongestionControl.BLOCK, reliability=zenoh.Reliability.RELIABLE, express=True
        )
        while not publisher.matching_status.matching:
            time.sleep(POLL_S)
        sending = hop.Sending(case)
        for number in sending.numbers():
            send_one(number)
        send_one(hop.END)
        hop.keep(folder, sending.sent)
        hop.wait_for_receiver()


def receive(case: hop.Case, folder: Path) -> None:
    receipts = hop.Receipts(case)
    is_over = threading.Event()

    def note(sample: Any) -> None:
        if not receipts.note(np.frombuffer(sample.payload.to_bytes(), np.uint8)):
            is_over.set()

    with _open(listen=[_endpoint(folder)]) as session:
        session.declare_subscriber(KEY, note)
        hop.say_ready()
        while not is_over.wait(POLL_S) and not receipts.is_idle():
            pass
        hop.keep(folder, receipts.received())


if __name__ == "__main__":
    hop.main("zenoh", version("eclipse-zenoh"), send, receive)
