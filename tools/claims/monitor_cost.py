"""What it costs to look: of a core for the screen, and nothing for the run that is looked at."""

from __future__ import annotations

import os
import signal
import statistics
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from streamflow.core.statistics import Histogram
from streamflow.recorder.reader import Recording
from tools.bench.watched import PIPELINE
from tools.claims.command import Run, a_run, processor_time_s
from tools.claims.framework import Claim, HostShare, Options, Row
from tools.claims.monitor_screens import end, require_terminal, top, wait_for_data
from tools.terminal import Terminal

STAGES = 20
RATE_HZ = 50
CORE_SHARE_MAX = 0.03
SETTLE_S = 3.0
WATCHED_S, WATCHED_QUICK_S = 15.0, 5.0
SIZES = ((80, 24), (120, 40), (200, 60))

TIMES, TIMES_QUICK = 50, 4
SIDE_S = 3.0
HOPS = 4
SIDE_RATE_HZ = 200
NOISE_MAX = 1.10  # of a p99 between two halves of the same run without anybody looking


def screen_cost(options: Options) -> Iterator[Row]:
    """The monitor at five pictures a second, beside 20 stages in 20 processes."""
    require_terminal()
    seconds = WATCHED_QUICK_S if options.is_quick else WATCHED_S
    settings = {"stages": STAGES, "processes": STAGES, "rate_hz": RATE_HZ}
    with a_run(PIPELINE, (), settings) as run:
        wait_for_data(run)
        for width, height in SIZES:
            shares = {}
            for view in ("paths", "graph", "stages", "misses"):
                with top(run, width, height, "--view", view) as terminal:
                    terminal.until("watched")
                    time.sleep(SETTLE_S)
                    pid, before_s, began_s = terminal.pid(), processor_time_s(terminal.pid()), time.monotonic()
                    time.sleep(seconds)
                    shares[view] = (processor_time_s(pid) - before_s) / (time.monotonic() - began_s)
            measured = ", ".join(f"{view} {share:.1%}" for view, share in shares.items())
            yield Row(
                f"{width}x{height}",
                f"<= {CORE_SHARE_MAX:.0%} of a core",
                measured,
                max(shares.values()) <= CORE_SHARE_MAX,
            )
        end(run)


def attached(options: Options) -> Iterator[Row]:
    """Attached, left and killed again and again, in turns with nobody there; the same run all the time."""
    require_terminal()
    times = TIMES_QUICK if options.is_quick else TIMES
    settings = {"stages": HOPS, "processes": HOPS, "rate_hz": SIDE_RATE_HZ}
    host = HostShare()
    alone, control, watched = Histogram(), Histogram(), Histogram()
    ratios: list[float] = []
    with a_run(PIPELINE, (), settings) as run:
        wait_for_data(run)
        time.sleep(SETTLE_S)
        folder = next(run.scratch.glob("*/[!.]*/recordings"))
        recording = Recording.open(folder / f"s{HOPS - 1}.rec")
        before = _belongings(run)
        try:
            for number in range(times):
                first = _beside_nothing(run, recording)
                with top(run, 80, 24) as terminal:
                    second = _seen(recording, SIDE_S)
                    _leave(terminal.pid(), number)
                third = _beside_nothing(run, recording)
                alone.merge(first)
                watched.merge(second)
                control.merge(third)
                ratios.append(_p99(second) / (_p99(first) + _p99(third)) * 2)
        finally:
            recording.close()
        time.sleep(1.0)  # the last to be killed is going
        after = _belongings(run)
        end(run)
        left = run.leftovers()
    noise = max(_p99(alone) / _p99(control), _p99(control) / _p99(alone))
    found = _p99(watched) * 2 / (_p99(alone) + _p99(control))
    bound = max(NOISE_MAX, noise)
    told = " / ".join(f"{_p99(one) / 1e6:.2f}" for one in (alone, watched, control))
    pairs = f"median of {times} pairs {statistics.median(ratios):.2f}"
    measured = f"{found:.2f}, {pairs} (p99 before, watched, after: {told} ms; {host})"
    yield Row(f"p99 of the path, {times} times attached", f"<= {bound:.2f} of unwatched", measured, found <= bound)
    grown = [now - then for now, then in zip(after, before, strict=True)]
    names = ("processes", "files", "descriptors of the supervisor", "kB of its memory")
    measured = ", ".join(f"{count:+} {name}" for count, name in zip(grown, names, strict=True))
    measured += f"; {len(left)} left after the run"
    yield Row("leaks", "none", measured, not any(grown[:3]) and not left)


def _beside_nothing(run: Run, recording: Recording) -> Histogram:
    """The same terminal, opened and closed as often, in which nothing looks at anything."""
    with Terminal(["sleep", "1000"], 80, 24, run.folder, {"TMPDIR": str(run.scratch)}):
        return _seen(recording, SIDE_S)


def _leave(pid: int, number: int) -> None:
    """By q's way, by a kill, by a closed terminal: in turns."""
    os.kill(pid, (signal.SIGINT, signal.SIGKILL, signal.SIGHUP)[number % 3])


def _seen(recording: Recording, seconds: float) -> Histogram:
    """The latencies of what arrived in so long."""
    before = recording.histogram("latency:main")
    time.sleep(seconds)
    after = recording.histogram("latency:main")
    grown = {bucket: count - before.counts.get(bucket, 0) for bucket, count in after.counts.items()}
    return Histogram.of({bucket: count for bucket, count in grown.items() if count}, 0, after.max, 0)


def _p99(histogram: Histogram) -> float:
    return histogram.quantile(0.99)


class _Belongings(NamedTuple):
    """What a run has; descriptors and memory are its supervisor's."""

    processes: int
    files: int
    descriptors: int
    memory_kb: int


def _belongings(run: Run) -> _Belongings:
    recordings = next(run.scratch.glob("*/[!.]*/recordings"))
    pages = int(Path(f"/proc/{run.pid}/statm").read_text().split()[1])
    return _Belongings(
        processes=len([words for words in run.processes().values() if "top" not in words]),
        files=len(list(run.scratch.rglob("*"))) + len(list(recordings.iterdir())),
        descriptors=len(os.listdir(f"/proc/{run.pid}/fd")),
        memory_kb=pages * os.sysconf("SC_PAGE_SIZE") // 1024,
    )


CLAIMS = [Claim("cost of the screen", screen_cost), Claim("attached", attached)]
