"""What the flight recorder costs: nanoseconds of each operation of the writer, and of a reader's looks.

Rounds of all operations take turns, so that what else the machine does falls on all alike; the median is over rounds
and less the cost of an empty call. It prints figures and judges nothing: python -m tools.bench.recorder
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from streamflow.core.verdict import Kind
from streamflow.recorder.layout import BUSY_NS, PROCESSED
from streamflow.recorder.reader import Recording
from streamflow.recorder.shape import Shape
from streamflow.recorder.writer import Recorder

ROUND_COUNT = 100
REPEAT_COUNT = 2000
SHAPE = Shape("b", 1, (("a -> b", 8),), (("b -> c", 16),), ("a", "b", "c"), ("path",), (0,))
NOW_NS = 10**14  # as large as real ones, which costs more than small numbers do


@dataclass(frozen=True, slots=True)
class Cost:
    """Of one operation, over the rounds."""

    name: str
    ns_p10: float
    ns_median: float
    ns_p90: float


def measure(recorder: Recorder, recording: Recording, round_count: int = ROUND_COUNT) -> list[Cost]:
    operations = {"(an empty call)": lambda: None, **_operations(recorder, recording)}
    rounds: dict[str, list[float]] = {name: [] for name in operations}
    for _ in range(round_count):
        for name, operation in operations.items():
            rounds[name].append(_time(operation))
    empty = statistics.median(rounds.pop("(an empty call)"))
    return [_cost(name, [figure - empty for figure in figures]) for name, figures in rounds.items()]


def _operations(recorder: Recorder, recording: Recording) -> Mapping[str, Callable[[], object]]:
    now, edge_in, edge_out = NOW_NS, recorder.inputs[0], recorder.outputs[0]
    origins = ((0, 12345),)

    def begin() -> None:
        recorder.begin(0, 12345, now, now, now, now, now, 0)

    def handled() -> None:
        recorder.begin(0, 12345, now, now, now, now, now, 0)
        recorder.finish(Kind.RUN, 0, now + 34567, 0, 0, 1, 0)

    def handled_apart() -> None:
        recorder.begin(0, 12345, now, now, now, now, now, 0)
        recorder.record(Kind.RUN, 0, 0, 12345, now, now, now, now, now + 34567, 0, now, 0, 0, 1, 0)
        recorder.idle()
        recorder.add(PROCESSED)
        recorder.add(BUSY_NS, 34567)
        recorder.service.record(34567)

    def sent() -> None:
        slot = edge_out.accept(origins, 7)
        edge_out.transmitted(slot, 7, 1)
        edge_out.release(slot)

    return {
        "begin + finish: all of one datum": handled,
        "begin + record, idle, 2 add, histogram": handled_apart,
        "begin": begin,
        "record": lambda: recorder.record(3, 0, 0, 12345, now, now, now, now, now, 0, now, 0, 0, 1, 0),
        "note": lambda: recorder.note(Kind.SHED, 0, 0, 12345, now, now, now, 0, 1),
        "add": lambda: recorder.add(PROCESSED),
        "histogram": lambda: recorder.service.record(34567),
        "edge out: accept + transmitted + release": sent,
        "edge out: offered": lambda: edge_out.offered(now),
        "edge in: arrived": lambda: edge_in.arrived(now, 1),
        "edge in: removed": lambda: edge_in.removed(12345),
        "reader: head": lambda: recording.head,
        "reader: tail, nothing new": lambda: recording.tail(recording.head),
        "reader: tail of 4": lambda: recording.tail(recording.head - 4),
        "reader: tail_records of 4": lambda: recording.tail_records(recording.head - 4),
        "reader: tail of 100": lambda: recording.tail(recording.head - 100),
        "reader: counters": recording.counters,
    }


def _time(operation: Callable[[], object]) -> float:
    start_ns = time.perf_counter_ns()
    for _ in range(REPEAT_COUNT):
        operation()
    return (time.perf_counter_ns() - start_ns) / REPEAT_COUNT


def _cost(name: str, figures: list[float]) -> Cost:
    tenths = statistics.quantiles(figures, n=10)
    return Cost(name, tenths[0], statistics.median(figures), tenths[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=ROUND_COUNT)
    memory = Path("/dev/shm")
    parser.add_argument("--folder", type=Path, default=memory if memory.is_dir() else None)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        path = Path(folder) / "recorder"
        recorder = Recorder.create(path, SHAPE)
        print(f"{'ns per operation':42}{'p10':>8}{'median':>8}{'p90':>8}")
        for cost in measure(recorder, Recording.open(path), arguments.rounds):
            print(f"{cost.name:42}{cost.ns_p10:8.0f}{cost.ns_median:8.0f}{cost.ns_p90:8.0f}")


if __name__ == "__main__":
    main()
