"""How costs grow: of a hop with the stages of a chain, of a stream with the streams into one stage, of the supervisor.

Costs are processor time as the kernel counts it, over a stretch in which nothing starts or ends, at a fixed modest
rate: `python -m tools.bench.growth`. It prints figures and judges nothing.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from streamflow.recorder import layout
from streamflow.recorder.reader import Recording
from streamflow.runtime.process.launch import STAGE_MODULE
from tools.claims.command import Run, a_run, wait_until
from tools.claims.framework import ShortfallError, environment

PIPELINE = "tools.bench.growth_pipeline"
STAGE_COUNTS = (2, 4, 8, 16, 32)
STREAM_COUNTS = (1, 4, 16, 64, 256)
CHAIN_RATE_HZ = 50.0
STREAMS_RATE_HZ = 512.0  # of all together, whatever their number: what one datum costs is what changes
SECONDS = 6.0
SETTLE_S = 4.0  # in the first seconds plans are made more often
ROUND_COUNT = 5
START_LIMIT_S = 60.0


@dataclass(frozen=True, slots=True)
class Cost:
    """What one run used. `steps`: data times the stages they went through, sources too; `expected`: of the rate.

    `datum_us`: processor time of all stages' processes for one step; `supervisor_share` of a core.
    """

    size: int
    steps: int
    expected: int
    datum_us: float
    supervisor_share: float
    by_process_us: Mapping[str, float]


def chain(stages: int, seconds: float = SECONDS, rate_hz: float = CHAIN_RATE_HZ) -> Cost:
    """A chain of so many stages, each a process."""
    names = [f"s{number}" for number in range(stages)]
    with a_run(f"{PIPELINE}:chain", (), {"stages": stages, "rate_hz": rate_hz}) as run:
        return _cost(run, stages, names, rate_hz * stages, seconds)


def streams(count: int, seconds: float = SECONDS, rate_hz: float = STREAMS_RATE_HZ) -> Cost:
    """So many streams into one stage."""
    names = ["sums", *(f"source{number}" for number in range(count))]
    with a_run(f"{PIPELINE}:streams", (), {"count": count, "rate_hz": rate_hz}) as run:
        return _cost(run, count, names, rate_hz * 2, seconds)


def _cost(run: Run, size: int, stages: Sequence[str], steps_hz: float, seconds: float) -> Cost:
    folder = running_folder(run)
    time.sleep(SETTLE_S)
    with recordings(folder, stages) as opened:
        processes = stage_pids(run)
        before = {name: processor_ns(pid) for name, pid in processes.items()}
        began_ns, steps, supervisor_ns = time.monotonic_ns(), _steps(opened), processor_ns(run.pid)
        time.sleep(seconds)
        took_ns, supervisor_ns = time.monotonic_ns() - began_ns, processor_ns(run.pid) - supervisor_ns
        by_process = {name: (processor_ns(pid) - before[name]) / 1e3 for name, pid in processes.items()}
        steps = _steps(opened) - steps
    expected = round(steps_hz * took_ns / 1e9)
    datum_us = sum(by_process.values()) / max(steps, 1)
    return Cost(size, steps, expected, datum_us, supervisor_ns / took_ns, by_process)


def _steps(opened: Mapping[str, Recording]) -> int:
    """Sources emit, the others work."""
    steps = 0
    for recording in opened.values():
        is_source = not recording.shape.in_edges
        steps += recording.word(layout.EMITTED if is_source else layout.PROCESSED)
    return steps


# --------------------------------------------------------------------------------------- a run, from outside


def running_folder(run: Run) -> Path:
    """The folder of a run once its data flow. Raises ShortfallError."""

    def is_under_way() -> bool:
        return not run.is_running or any('"running"' in path.read_text() for path in _states(run))

    if wait_until(is_under_way, START_LIMIT_S) is None or not run.is_running:
        raise ShortfallError(f"the run has not started: {' '.join(run.errors())}")
    return next(_states(run)).parent.parent


def _states(run: Run) -> Iterator[Path]:
    return run.scratch.glob("*/[!.]*/recordings/state.json")


@contextmanager
def recordings(folder: Path, stages: Sequence[str]) -> Iterator[dict[str, Recording]]:
    """The flight recorders of these stages."""
    opened = {stage: Recording.open(folder / "recordings" / f"{stage}.rec") for stage in stages}
    try:
        yield opened
    finally:
        for recording in opened.values():
            recording.close()


def stage_pids(run: Run) -> dict[str, int]:
    """The stages' processes that live, by name."""
    found = {}
    for pid, words in run.processes().items():
        if STAGE_MODULE in words:
            found[words[words.index(STAGE_MODULE) + 2]] = pid
    return found


def processor_ns(pid: int) -> int:
    """What all threads of a process have used so far."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks)


# ------------------------------------------------------------------------------------------ several rounds


Measure = Callable[[int, float], Cost]


def rounds(measure: Measure, sizes: Sequence[int], round_count: int, seconds: float) -> dict[int, list[Cost]]:
    """Each size once a round, so that what else the machine does falls on all alike."""
    found: dict[int, list[Cost]] = {size: [] for size in sizes}
    for _ in range(round_count):
        for size in sizes:
            found[size].append(measure(size, seconds))
    return found


def datum_us(costs: Sequence[Cost]) -> float:
    return statistics.median(cost.datum_us for cost in costs)


def supervisor_share(costs: Sequence[Cost]) -> float:
    return statistics.median(cost.supervisor_share for cost in costs)


def main() -> None:
    parser = argparse.ArgumentParser(prog="growth", description=__doc__)
    parser.add_argument("--seconds", type=float, default=SECONDS, help="each run")
    parser.add_argument("--rounds", type=int, default=ROUND_COUNT)
    parser.add_argument("--stages", type=int, nargs="*", default=STAGE_COUNTS)
    parser.add_argument("--streams", type=int, nargs="*", default=STREAM_COUNTS)
    asked = parser.parse_args()
    print(environment())
    for what, measure, sizes in (("stages", chain, asked.stages), ("streams", streams, asked.streams)):
        for size, costs in rounds(measure, sizes, asked.rounds, asked.seconds).items():
            steps = statistics.median(cost.steps / cost.expected for cost in costs)
            each = ", ".join(f"{cost.datum_us:.0f}" for cost in costs)
            share = f"supervisor {supervisor_share(costs):.2%}"
            cost = f"{datum_us(costs):6.0f} µs a datum and stage ({each})"
            print(f"{size:4} {what}: {cost}; {share}; {steps:.0%} of the data")


if __name__ == "__main__":
    main()
