"""How late timers are: this project's, a bare timerfd and `trio.sleep_until`, in turns, in one loop on an idle machine.

A bare timerfd is what the kernel and the host leave to anybody who sleeps; a loop that never sleeps tells how often
the processor was gone altogether. `python -m tools.bench.growth_timers` prints figures and judges nothing.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field

import trio

from streamflow.core.timebase import s
from streamflow.runtime.clock import Alarm, MonotonicClock, now_ns
from tools.claims.framework import HostShare, environment

INTERVAL_NS = 5_300_000  # no multiple of a millisecond, since trio's timeouts are such multiples
COUNT = 1_000
BLOCK = 50  # sleeps of one way before the other's turn
AWAKE_S = 1.0
GAP_NS_MIN = 20_000  # between two readings of the clock: less is an interrupt


@dataclass(slots=True)
class Lateness:
    """Of one way to sleep, in microseconds, and the processor time that it took."""

    way: str
    late_us: list[float] = field(default_factory=list)
    processor_s: float = 0.0
    elapsed_s: float = 0.0

    def quantile_us(self, share: float) -> float:
        ordered = sorted(self.late_us)
        return ordered[min(int(share * len(ordered)), len(ordered) - 1)]

    @property
    def core_share(self) -> float:
        """Of a core, while it slept again and again."""
        return self.processor_s / self.elapsed_s

    def __str__(self) -> str:
        middle = statistics.median(self.late_us)
        late = f"p50 {middle:,.0f}, p90 {self.quantile_us(0.9):,.0f}, p99 {self.quantile_us(0.99):,.0f}"
        return f"{late}, max {max(self.late_us):,.0f} µs late; {self.core_share:.1%} of a core"


@dataclass(frozen=True, slots=True)
class Awake:
    """What a loop that never sleeps saw: how long it ran, and the times in which it did not run at all."""

    elapsed_ns: int
    gaps_ns: Sequence[int]

    def late_share(self, limit_us: float) -> float:
        """The share of all instants to which it came more than `limit_us` late: no sleep can do better."""
        return sum(max(0.0, gap_ns - limit_us * 1e3) for gap_ns in self.gaps_ns) / self.elapsed_ns


def measure(count: int = COUNT) -> tuple[Lateness, Lateness, Lateness]:
    """So many sleeps each way: this project's timer, a bare timerfd that blocks, and trio's own."""
    return trio.run(_measure, count)


def awake(seconds: float = AWAKE_S) -> Awake:
    """Read the clock again and again."""
    began_ns = last_ns = now_ns()
    ends_ns = began_ns + int(seconds * s)
    gaps_ns = []
    while last_ns < ends_ns:
        read_ns = now_ns()
        if read_ns - last_ns >= GAP_NS_MIN:
            gaps_ns.append(read_ns - last_ns)
        last_ns = read_ns
    return Awake(last_ns - began_ns, gaps_ns)


async def _measure(count: int) -> tuple[Lateness, Lateness, Lateness]:
    exact, bare, usual = Lateness("Timer"), Lateness("bare timerfd"), Lateness("trio.sleep_until")
    offset_s = trio.current_time() - now_ns() / s

    async def sleep_usually(instant_ns: int) -> None:
        await trio.sleep_until(instant_ns / s + offset_s)

    with ExitStack() as stack:
        timer, alarm = MonotonicClock().timer(), Alarm()
        stack.callback(timer.close)
        stack.callback(alarm.close)

        async def sleep_barely(instant_ns: int) -> None:
            alarm.set(instant_ns)
            os.read(alarm.fd, 8)  # blocks until then

        while len(exact.late_us) < count:
            await _block(exact, timer.sleep_until)
            await _block(bare, sleep_barely)
            await _block(usual, sleep_usually)
    return exact, bare, usual


async def _block(lateness: Lateness, sleep: Callable[[int], Awaitable[None]]) -> None:
    began_s, elapsed_s = time.process_time(), time.perf_counter()
    for _ in range(BLOCK):
        due_ns = now_ns() + INTERVAL_NS
        await sleep(due_ns)
        lateness.late_us.append((now_ns() - due_ns) / 1e3)
    lateness.processor_s += time.process_time() - began_s
    lateness.elapsed_s += time.perf_counter() - elapsed_s


def main() -> None:
    parser = argparse.ArgumentParser(prog="growth_timers", description=__doc__)
    parser.add_argument("--count", type=int, default=COUNT)
    asked = parser.parse_args()
    print(environment())
    share = HostShare()
    for lateness in measure(asked.count):
        print(f"{lateness.way:18} {lateness}")
    print(f"{'never asleep':18} {awake().late_share(150):.1%} of all instants > 150 µs late")
    print(share)


if __name__ == "__main__":
    main()
