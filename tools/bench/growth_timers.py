"""How late timers are: this project's timerfd beside `trio.sleep_until`, in turns, in one loop on an idle machine.

`python -m tools.bench.growth_timers` prints figures and judges nothing.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import trio

from streamflow.core.timebase import s
from streamflow.runtime.clock import MonotonicClock
from tools.claims.framework import HostShare, environment

INTERVAL_NS = 5_300_000  # no multiple of a millisecond, since trio's timeouts are such multiples
COUNT = 1_000
BLOCK = 50  # sleeps of one way before the other's turn


@dataclass(slots=True)
class Lateness:
    """Of one way to sleep, in microseconds, sorted when asked for."""

    way: str
    late_us: list[float] = field(default_factory=list)

    def quantile_us(self, share: float) -> float:
        ordered = sorted(self.late_us)
        return ordered[min(int(share * len(ordered)), len(ordered) - 1)]

    def __str__(self) -> str:
        middle = statistics.median(self.late_us)
        return f"p50 {middle:,.0f}, p99 {self.quantile_us(0.99):,.0f}, max {max(self.late_us):,.0f} µs late"


def measure(count: int = COUNT) -> tuple[Lateness, Lateness]:
    """So many sleeps each way: the timerfd's, and trio's own."""
    return trio.run(_measure, count)


async def _measure(count: int) -> tuple[Lateness, Lateness]:
    clock = MonotonicClock()
    timer = clock.timer()
    exact, usual = Lateness("timerfd"), Lateness("trio.sleep_until")
    offset_s = trio.current_time() - clock.now_ns() / s

    async def sleep_usually(instant_ns: int) -> None:
        await trio.sleep_until(instant_ns / s + offset_s)

    try:
        while len(exact.late_us) < count:
            await _block(exact, timer.sleep_until, clock.now_ns)
            await _block(usual, sleep_usually, clock.now_ns)
    finally:
        timer.close()
    return exact, usual


async def _block(lateness: Lateness, sleep: Callable[[int], Awaitable[None]], now_ns: Callable[[], int]) -> None:
    for _ in range(BLOCK):
        due_ns = now_ns() + INTERVAL_NS
        await sleep(due_ns)
        lateness.late_us.append((now_ns() - due_ns) / 1e3)


def main() -> None:
    parser = argparse.ArgumentParser(prog="growth_timers", description=__doc__)
    parser.add_argument("--count", type=int, default=COUNT)
    asked = parser.parse_args()
    print(environment())
    share = HostShare()
    for lateness in measure(asked.count):
        print(f"{lateness.way:18} {lateness}")
    print(share)


if __name__ == "__main__":
    main()
