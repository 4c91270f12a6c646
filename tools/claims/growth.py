"""Claims of what grows and what starts: timers, costs of hops and streams, memory, starts and restarts."""

from __future__ import annotations

import os
import statistics
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from tools.bench import growth as costs
from tools.bench import growth_memory as memory
from tools.bench import growth_start as start
from tools.bench import growth_timers as timers
from tools.claims.framework import AbsentError, Claim, HostShare, Options, Row, main

TIMER_US_P99 = 150.0
TIMER_REPEATS, TIMER_REPEATS_QUICK = 7, 3
TIMER_COUNT = 600  # sleeps each way, a repeat: some 10 s
IDLE_MIN = 0.85  # of the machine while timers are measured: the claim is about an idle core
GONE_MAX = 0.01  # of all instants may come late to who never sleeps: else no p99 can be in time
ROUNDS, ROUNDS_QUICK = 5, 2
SECONDS, SECONDS_QUICK = 6.0, 3.0
GROWTH_MAX = 1.3
SUPERVISOR_PER_STAGE = 0.01 / 10
PRIVATE_MB_MAX = 60.0
FIRE_S, FIRE_S_QUICK = 600.0, 40.0
FLAT_SHARE, FLAT_MB = 1.05, 4.0
READY_MS_MAX, RESTART_MS_MAX, HELP_MS_MAX = 1_500.0, 60.0, 150.0
STARTS, STARTS_QUICK = 10, 5


@dataclass(frozen=True, slots=True)
class TimerRepeat:
    """How idle the machine was, how late each way to sleep, and, right after it, who never slept."""

    idle_share: float
    exact: timers.Lateness
    bare: timers.Lateness
    usual: timers.Lateness
    awake: timers.Awake

    @property
    def gone_share(self) -> float:
        """Of all instants: the processor came back from elsewhere too late for them."""
        return self.awake.late_share(TIMER_US_P99)


def timer_lateness(options: Options) -> Iterator[Row]:
    """The timer that deadlines and sources wait by, on an idle core, beside a bare one and trio's."""
    repeats, share = [], HostShare()
    for _ in range(TIMER_REPEATS_QUICK if options.is_quick else TIMER_REPEATS):
        idle = _Idle()
        ways = timers.measure(TIMER_COUNT)
        repeats.append(TimerRepeat(idle.share(), *ways, timers.awake()))
    yield from timer_rows(repeats, str(share))


def timer_rows(repeats: Sequence[TimerRepeat], share: str) -> Iterator[Row]:
    """A repeat is judged where the machine was idle and had its processors for itself; else it is only told.

    Raises AbsentError where the machine was busy in all of them.
    """
    idle = [repeat for repeat in repeats if repeat.idle_share >= IDLE_MIN]
    if not idle:
        raise AbsentError(f"no repeat in which the machine was {IDLE_MIN:.0%} idle")
    ours = [repeat for repeat in idle if repeat.gone_share <= GONE_MAX]
    exact_us = statistics.median(repeat.exact.quantile_us(0.99) for repeat in ours or idle)
    median_us = statistics.median(repeat.exact.quantile_us(0.5) for repeat in ours or idle)
    cost = statistics.median(repeat.exact.core_share for repeat in ours or idle)
    counts = (
        f"{len(ours)} repeats" if ours else f"{len(idle)} repeats, in each of which the host took too much to judge"
    )
    text = f"p99 {exact_us:,.0f} µs, p50 {median_us:,.0f}, {cost:.1%} of a core; {counts}; {share}"
    bound = f"≤ {TIMER_US_P99:.0f} µs p99"
    yield Row("late on an idle core", bound, text, exact_us <= TIMER_US_P99 if ours else None)
    gone = statistics.median(repeat.gone_share for repeat in idle)
    text = f"{gone:.1%} of all instants > {TIMER_US_P99:.0f} µs late, in {len(idle)} idle repeats"
    yield Row("a loop that never sleeps, for comparison", "", text, None)
    for name, way in (("a bare timerfd", "bare"), ("trio.sleep_until", "usual")):
        found: list[timers.Lateness] = [getattr(repeat, way) for repeat in ours or idle]
        late_us, middle_us = (statistics.median(each.quantile_us(part) for each in found) for part in (0.99, 0.5))
        cost = statistics.median(each.core_share for each in found)
        yield Row(f"{name}, in turns", "", f"p99 {late_us:,.0f} µs, p50 {middle_us:,.0f}, {cost:.1%} of a core", None)


class _Idle:
    """How idle the machine has been since this was made."""

    def __init__(self) -> None:
        self._idle, self._all = self._ticks()

    @staticmethod
    def _ticks() -> tuple[int, int]:
        with open("/proc/stat") as stat:
            ticks = [int(word) for word in stat.readline().split()[1:9]]
        return ticks[3] + ticks[4], sum(ticks)

    def share(self) -> float:
        idle, every = self._ticks()
        return (idle - self._idle) / max(every - self._all, 1)


def growing_chain(options: Options) -> Iterator[Row]:
    """Processor time of a datum at a stage, and the supervisor's share, in ever longer chains."""
    sizes = costs.STAGE_COUNTS[::2] if options.is_quick else costs.STAGE_COUNTS
    found = _rounds(costs.chain, sizes, options)
    yield _constant("stages", "µs a datum and stage", found)
    shares = {size: costs.supervisor_share(each) for size, each in found.items()}
    per_ten = (shares[sizes[-1]] - shares[sizes[0]]) / (sizes[-1] - sizes[0]) * 10
    text = ", ".join(f"{size}: {share:.2%}" for size, share in shares.items())
    bound = f"≤ {SUPERVISOR_PER_STAGE * 10:.0%} of a core per 10 stages"
    yield Row("supervisor", bound, f"{per_ten:.2%} ({text})", per_ten <= SUPERVISOR_PER_STAGE * 10)
    yield _whole(found)


def growing_streams(options: Options) -> Iterator[Row]:
    """Processor time of a datum, with ever more streams into one stage that bring as many data in all."""
    sizes = costs.STREAM_COUNTS[::2] if options.is_quick else costs.STREAM_COUNTS
    found = _rounds(costs.streams, sizes, options)
    yield _constant("streams on one stage", "µs a datum and stage", found)
    shares = ", ".join(f"{size}: {costs.supervisor_share(each):.1%}" for size, each in found.items())
    yield Row("supervisor, a stage for each source", "", shares, None)
    yield _whole(found)


def _rounds(measure: costs.Measure, sizes: Sequence[int], options: Options) -> dict[int, list[costs.Cost]]:
    rounds, seconds = (ROUNDS_QUICK, SECONDS_QUICK) if options.is_quick else (ROUNDS, SECONDS)
    return costs.rounds(measure, sizes, rounds, seconds)


def _constant(what: str, unit: str, found: Mapping[int, Sequence[costs.Cost]]) -> Row:
    """The largest over the smallest size, as a median of ratios, each within one round."""
    first, *_, last = found
    paired = zip(found[first], found[last], strict=True)
    ratio = statistics.median(many.datum_us / few.datum_us for few, many in paired)
    text = ", ".join(f"{size}: {costs.datum_us(each):.0f}" for size, each in found.items())
    return Row(f"{what} {first} → {last}", f"≤ {GROWTH_MAX:g}", f"{ratio:.2f} ({text} {unit})", ratio <= GROWTH_MAX)


def _whole(found: Mapping[int, Sequence[costs.Cost]]) -> Row:
    least = min(cost.steps / cost.expected for each in found.values() for cost in each)
    return Row("data that went through", "≥ 97%", f"{least:.0%} in the worst run", least >= 0.97)


def stage_memory(options: Options) -> Iterator[Row]:
    """What a stage of a NumPy pipeline has of memory for itself."""
    for launcher in ("local", "spawn"):
        by_stage = memory.private_mb(launcher)
        worst = max(by_stage.values())
        is_claimed = launcher == "local"
        bound = f"≤ {PRIVATE_MB_MAX:.0f} MB a stage" if is_claimed else ""
        text = ", ".join(f"{name} {mb:.0f}" for name, mb in by_stage.items()) + " MB"
        yield Row(f"private, --launcher {launcher}", bound, text, worst <= PRIVATE_MB_MAX if is_claimed else None)


def memory_under_fire(options: Options) -> Iterator[Row]:
    """Minutes of frames with random kills."""
    endured = memory.under_fire(FIRE_S_QUICK if options.is_quick else FIRE_S)
    for name, what in (("pools_mb", "pools"), ("stages_mb", "stages, resident"), ("supervisor_mb", "supervisor")):
        first, last = endured.thirds(name)
        is_flat = last <= max(first * FLAT_SHARE, first + FLAT_MB)
        yield Row(what, "flat", f"{first:.1f} MB, then {last:.1f}; {endured.most(name):.1f} at most", is_flat)
    text = f"{len(endured.blows)} kills and {endured.frames:,} frames in {endured.seconds:.0f} s"
    yield Row("conserved", "true", "; ".join(endured.broken) or text, not endured.broken)


def starts(options: Options) -> Iterator[Row]:
    """A run until it is ready, a restart, and the command line's help, with bytecode there."""
    share, count = HostShare(), STARTS_QUICK if options.is_quick else STARTS
    with start.warm_cache():
        took = start.commands_ms(count)
        runs = [start.ready_ms() for _ in range(count)]
        found = start.restarts()
    own, click, bare = (took[name] for name in ("streamflow --help", "import click", "python -c pass"))
    ready, loaded = (statistics.median(each) for each in ([r.ready_ms for r in runs], [r.loaded_ms for r in runs]))
    text = f"{ready:,.0f} ms, of which {loaded:,.0f} until it is loaded; {share}"
    name = f"{start.STAGE_COUNT} stages ready after the command"
    yield Row(name, f"≤ {READY_MS_MAX:,.0f} ms", text, ready <= READY_MS_MAX)
    back = statistics.median(one.ready_ms for one in found)
    text = f"{back:.0f} ms, median of {len(found)} ({start.parts_text(found)})"
    yield Row("NumPy stage, kill -9 to at work", f"≤ {RESTART_MS_MAX:.0f} ms", text, back <= RESTART_MS_MAX)
    text = f"{own:.0f} ms; import click {click:.0f}, python {bare:.0f}"
    yield Row("streamflow --help", f"≤ {HELP_MS_MAX:.0f} ms", text, own <= HELP_MS_MAX)
    yield Row("load of the machine meanwhile", "", ", ".join(f"{value:.1f}" for value in os.getloadavg()), None)


CLAIMS = (
    Claim("timers", timer_lateness),
    Claim("growth, stages", growing_chain),
    Claim("growth, streams", growing_streams),
    Claim("memory, a stage", stage_memory),
    Claim("memory, frames under fire", memory_under_fire),
    Claim("start", starts),
)

if __name__ == "__main__":
    sys.exit(main("growth", CLAIMS))
