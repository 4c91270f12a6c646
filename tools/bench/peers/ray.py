"""A hop over Ray: a compiled graph from the driver to one actor, whose channel is a buffer in shared memory.

The way is its own and only one: the driver's array is serialized into the channel, which is one copy, and the actor
is given an array over that memory. The actor answers with its number alone; paced, the driver takes each answer
before the next message is due, and flat out it keeps as many under way as the graph allows.
"""

from __future__ import annotations

import logging
import os
from collections import deque
from pathlib import Path
from typing import Any

import numpy as np

from tools.bench.peers import hop

os.environ.setdefault("RAY_DEDUP_LOGS", "0")
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"

import ray
from ray.dag import InputNode

STORE_SIZE = 1 << 28  # bytes of Ray's object store, where the channels are
IN_FLIGHT_COUNT = 8
SPARE_SIZE = 1 << 16  # bytes of a channel's buffer beside the data
TIMEOUT_S = 20


class Reader:
    """The actor: what it keeps is the receiver's half."""

    def __init__(self, case: hop.Case) -> None:
        self._receipts = hop.Receipts(case)

    def take(self, block: hop.Block) -> bool:
        return self._receipts.note(np.asarray(block))

    def keep(self, folder: Path) -> None:
        hop.keep(folder, self._receipts.received())


def main() -> None:
    case, folder, _ = hop.arguments()
    ray.init(
        num_cpus=2,
        include_dashboard=False,
        object_store_memory=STORE_SIZE,
        _temp_dir=str(folder),
        logging_level=logging.ERROR,
        log_to_driver=False,
    )
    try:
        actor = ray.remote(Reader).remote(case)
        with InputNode() as given:
            graph = actor.take.bind(given)
        compiled = graph.experimental_compile(
            _buffer_size_bytes=case.size + SPARE_SIZE, _max_inflight_executions=IN_FLIGHT_COUNT
        )
        _send(case, folder, compiled)
        compiled.teardown()
        ray.get(actor.keep.remote(folder), timeout=TIMEOUT_S)
    finally:
        ray.shutdown()
    hop.report(folder, ray.__version__)


def _send(case: hop.Case, folder: Path, compiled: Any) -> None:
    block = hop.blank(case.size)
    under_way: deque[Any] = deque()
    limit = 0 if case.rate_hz else IN_FLIGHT_COUNT - 1
    sending = hop.Sending(case)
    for number in sending.numbers():
        hop.stamp(block, number)
        under_way.append(compiled.execute(block))
        while len(under_way) > limit:
            ray.get(under_way.popleft(), timeout=TIMEOUT_S)
    hop.keep(folder, sending.sent)
    hop.stamp(block, hop.END)
    under_way.append(compiled.execute(block))
    while under_way:
        ray.get(under_way.popleft(), timeout=TIMEOUT_S)


if __name__ == "__main__":
    main()
