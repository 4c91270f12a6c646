"""What it costs to be watched: the supervisor's share of a core, and what enforcement adds to a hop.

The share is that of the supervisor's own process in the process table, over a stretch in which nothing starts or ends.
Runs with and without enforcement take turns, and each pair gives a ratio, so that what else the machine does falls on
both alike. It prints figures and judges nothing: python -m tools.bench.watched
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass

from tools.claims.command import Run, a_run, processor_time_s, wait_until
from tools.claims.framework import ShortfallError, environment

PIPELINE = "tools.bench.watched_pipeline"
STAGE_COUNT = 10
RATE_HZ = 500.0  # 10 stages handle 5,000 data a second
WATCHED_S = 12.0
SETTLE_S = 4.0  # in the first seconds plans are made more often
PAIR_COUNT = 7
PAIR_S = 5.0
HOP_COUNT = 3  # of four processes
START_LIMIT_S = 30.0


@dataclass(frozen=True, slots=True)
class Watching:
    """The supervisor at work. `share` of a core; `rate_hz`: messages a second, over all stages."""

    share: float
    rate_hz: float
    seconds: float
    priority: str


@dataclass(frozen=True, slots=True)
class Pair:
    """Median time of a hop in two runs of the same chain, in microseconds."""

    enforced_us: float
    free_us: float

    @property
    def ratio(self) -> float:
        return self.enforced_us / self.free_us


def watching(seconds: float = WATCHED_S, rate_hz: float = RATE_HZ) -> Watching:
    """Ten stages in a chain, and the supervisor that watches them."""
    duration_s = seconds + SETTLE_S + 2
    settings = {"stages": STAGE_COUNT, "rate_hz": rate_hz}
    with a_run(PIPELINE, ("--duration", str(duration_s)), settings) as run:
        _wait_until_started(run)
        time.sleep(SETTLE_S)
        began_s, before_s = time.monotonic(), processor_time_s(run.pid)
        time.sleep(seconds)
        took_s, used_s = time.monotonic() - began_s, processor_time_s(run.pid) - before_s
        report = run.succeed()
    handled = sum(stage["processed"] for stage in report["stages"].values())
    rate_hz = handled / report["duration_s"]
    return Watching(used_s / took_s, rate_hz, took_s, report["supervisor"]["priority"])


def _wait_until_started(run: Run) -> None:
    def is_under_way() -> bool:
        return any('"phase": "running"' in path.read_text() for path in run.scratch.glob("*/*/recordings/state.json"))

    if wait_until(is_under_way, START_LIMIT_S) is None:
        raise ShortfallError("the run has not started")


def pairs(count: int = PAIR_COUNT, seconds: float = PAIR_S) -> list[Pair]:
    """The same chain with enforcement and without, in turns; who is first changes from pair to pair."""
    found = []
    for number in range(count):
        order = (True, False) if number % 2 else (False, True)
        hops_us = {is_enforced: _hop_us(seconds, is_enforced=is_enforced) for is_enforced in order}
        found.append(Pair(hops_us[True], hops_us[False]))
    return found


def _hop_us(seconds: float, *, is_enforced: bool) -> float:
    options = ("--duration", str(seconds), *(() if is_enforced else ("--no-enforcement",)))
    settings = {"stages": HOP_COUNT + 1, "processes": HOP_COUNT + 1, "rate_hz": 200}
    with a_run(PIPELINE, options, settings) as run:
        report = run.succeed()
    p50_ms: float = report["paths"]["main"]["latency_ms"]["p50"]
    return p50_ms * 1e3 / HOP_COUNT


def median_ratio(found: Sequence[Pair]) -> float:
    return statistics.median(pair.ratio for pair in found)


def watched_text(one: Watching) -> str:
    return f"{one.share:.2%} of a core at {one.rate_hz:,.0f} messages/s, over {one.seconds:.0f} s"


def main() -> None:
    parser = argparse.ArgumentParser(prog="watched", description=__doc__)
    parser.add_argument("--seconds", type=float, default=WATCHED_S)
    parser.add_argument("--pairs", type=int, default=PAIR_COUNT, help="0: the supervisor's share alone")
    asked = parser.parse_args()
    print(environment())
    watched = watching(asked.seconds)
    print(f"supervisor: {watched_text(watched)}, priority {watched.priority}")
    found = pairs(asked.pairs)
    for pair in found:
        print(f"a hop: {pair.enforced_us:.0f} µs enforced, {pair.free_us:.0f} µs not, {pair.ratio:.2f} times")
    if found:
        print(f"median {median_ratio(found):.2f} times")


if __name__ == "__main__":
    main()
