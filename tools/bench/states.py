"""What recurrent state costs a stream in each step: microseconds to gather it, and to commit what followed.

Beside it what it costs to keep the same in the process, in a dictionary of arrays that are stacked and cut apart again,
which is lost with the process. Rounds of all take turns, so that what else the machine does falls on all alike; figures
are medians over rounds. It judges nothing: python -m tools.bench.states
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from streamflow.memory.snapshots import Snapshots
from streamflow.memory.state_layout import StateTensor
from streamflow.memory.states import States
from streamflow.wire.arrays import Array

ROUND_COUNT = 60
STEP_COUNT = 400  # in a round, of one stream; of more as many fewer
BATCH_COUNTS = (1, 8, 64)
STREAM_COUNT = 256  # that have a slot; a batch is some of them, in no order
TIME_NS = 10**15  # as large as real ones
LAYOUTS = {
    "GRU, 2x128 float32": (StateTensor("h", "float32", (2, 128), 1),),
    "LSTM, 2 of 2x256 float32": (StateTensor("h", "float32", (2, 256), 1), StateTensor("c", "float32", (2, 256), 1)),
    "8 caches of 2x16x33 float32": tuple(StateTensor(f"k{nth}", "float32", (2, 16, 33)) for nth in range(8)),
}


class Batch:
    """The operations on one batch of a layout."""

    def __init__(self, states: States, count: int) -> None:
        random = np.random.default_rng(count)
        self.count = count
        self._states = states
        self._slots = [int(slot) for slot in random.permutation(STREAM_COUNT)[:count]]
        self._following = [
            random.random(tensor.shape_of(count)).astype(tensor.dtype) for tensor in states.tensors
        ]  # what a model returned
        self._seqs = list(range(count))
        self._times_ns = [TIME_NS + seq for seq in self._seqs]
        self._axes = [tensor.axis for tensor in states.tensors]
        self._kept: dict[int, list[Array]] = {slot: self._cut(0) for slot in self._slots}

    def operations(self) -> Mapping[str, Callable[[], object]]:
        return {"gather": self.gather, "commit": self.commit, "stack": self.stack, "cut": self.cut}

    def gather(self) -> None:
        self._states.gather(self._slots)

    def commit(self) -> None:
        self._states.commit(self._slots, self._following, self._seqs, self._times_ns)

    def stack(self) -> None:
        """The dictionary's gather."""
        kept = [self._kept[slot] for slot in self._slots]
        for nth, axis in enumerate(self._axes):
            np.concatenate([arrays[nth] for arrays in kept], axis)

    def cut(self) -> None:
        """The dictionary's commit: copies, for views would keep all that the model returned."""
        for nth, slot in enumerate(self._slots):
            self._kept[slot] = self._cut(nth)

    def _cut(self, nth: int) -> list[Array]:
        return [np.take(array, [nth], axis) for array, axis in zip(self._following, self._axes, strict=True)]


def measure(batches: list[Batch], round_count: int) -> list[dict[str, float]]:
    """For each batch the median of each operation, in microseconds per stream."""
    rounds: list[dict[str, list[float]]] = [{name: [] for name in batch.operations()} for batch in batches]
    for _ in range(round_count):
        for batch, figures in zip(batches, rounds, strict=True):
            for name, operation in batch.operations().items():
                figures[name].append(_time_us(operation, max(STEP_COUNT // batch.count, 10)) / batch.count)
    return [{name: statistics.median(figures) for name, figures in of.items()} for of in rounds]


def _time_us(operation: Callable[[], object], step_count: int) -> float:
    start_ns = time.perf_counter_ns()
    for _ in range(step_count):
        operation()
    return (time.perf_counter_ns() - start_ns) / step_count / 1000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=ROUND_COUNT)
    memory = Path("/dev/shm")
    parser.add_argument("--folder", type=Path, default=memory if memory.is_dir() else None)
    arguments = parser.parse_args()
    print(
        f"{'µs per stream and step':30}{'batch':>6}{'gather':>8}{'commit':>8}{'both':>8}{'in a dict':>11}{'ratio':>7}"
    )
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder, tempfile.TemporaryDirectory() as disk:
        for name, tensors in LAYOUTS.items():
            states = States(Path(folder) / name, tensors, STREAM_COUNT)
            for slot in range(STREAM_COUNT):
                states.assign(slot, f"stream {slot}")
            batches = [Batch(states, count) for count in BATCH_COUNTS]
            for batch, us in zip(batches, measure(batches, arguments.rounds), strict=True):
                both, peer = us["gather"] + us["commit"], us["stack"] + us["cut"]
                print(
                    f"{name:30}{batch.count:6}{us['gather']:8.2f}{us['commit']:8.2f}{both:8.2f}{peer:8.2f}"
                    f"{both / peer:7.2f}"
                )
            taken_us = _time_us(lambda own=states: Snapshots(Path(disk), "bench").write(own), 3)  # type: ignore[misc]
            print(f"{'':30}a snapshot of {STREAM_COUNT} streams: {taken_us / 1000:.1f} ms")
            states.close()


if __name__ == "__main__":
    main()
