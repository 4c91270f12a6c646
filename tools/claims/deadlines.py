"""The claims of deadlines: overload, misses with a known cause, what watching costs, and what survives faults."""

from __future__ import annotations

import statistics
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from streamflow.recorder.reader import Recording
from streamflow.recorder.writer import Recorder
from tools.bench import recorder as recorder_bench
from tools.bench import watched
from tools.campaigns import misses, overload
from tools.campaigns.faulty import Kind
from tools.claims.framework import Claim, HostShare, Options, Row, main
from tools.claims.survival import CLAIMS as SURVIVAL

OVERLOAD_S, OVERLOAD_QUICK_S = 30.0, 6.0
IN_TIME_SHARE_MIN = 0.99
USEFUL_SHARE_MIN = 0.95
EACH, EACH_QUICK = 30, 2
NAMED_SHARE_MIN = 0.98
DETECTION_MS_P99 = 5.0
RECORD_NS_MAX = 1500
SUPERVISOR_SHARE_MAX = 0.03
HOP_RATIO_MAX = 1.10


def overloaded(options: Options) -> Iterator[Row]:
    """A 4 ms stage fed at one and a half times what it can do, 25 ms deadline: with SHED, and without enforcement."""
    seconds = OVERLOAD_QUICK_S if options.is_quick else OVERLOAD_S
    host = HostShare()
    shed = overload.measure(seconds)
    taken = str(host)
    free = overload.measure(seconds, is_enforced=False)
    share = shed.in_time_share
    measured = f"{share:.2%} of {shed.reached_count:,}"
    yield Row("SHED, in time at the sink", f">= {IN_TIME_SHARE_MIN:.0%}", measured, share >= IN_TIME_SHARE_MIN)
    measured = f"{shed.useful_share:.1%} of {shed.seconds:.0f} s (user code alone {shed.user_share:.1%}; {taken})"
    is_busy = shed.useful_share >= USEFUL_SHARE_MIN
    yield Row("SHED, busy with what ends in time", f">= {USEFUL_SHARE_MIN:.0%}", measured, is_busy)
    yield Row("SHED, conserved", "true", str(shed.conserved).lower(), shed.conserved is True)
    yield Row("without enforcement", "", overload.text(free), None)


def blamed(options: Options) -> Iterator[Row]:
    """Misses of seven kinds, injected into a run of real processes: are they named right, and how soon."""
    host = HostShare()
    outcome = misses.run(EACH_QUICK if options.is_quick else EACH)
    taken = str(host)
    for kind in Kind:
        count = sum(one.injection.kind is kind for one in outcome.judged)
        right, missed = outcome.right_count(kind), len(outcome.missed(kind))
        yield Row(kind.value, "", f"{right} of {missed} named right, {count} injected", None)
    right, missed = outcome.right_count(), len(outcome.missed())
    measured = f"{right} of {missed}, {len(outcome.judged)} injected"
    yield Row("named right", f">= {NAMED_SHARE_MIN:.0%}", measured, right >= NAMED_SHARE_MIN * missed)
    behind, right = outcome.behind()
    yield Row("queued behind them, named as they", "", f"{right} of {behind}", None)
    yield Row("missed and not injected", "", str(len(outcome.others)), None)
    delays = outcome.detection_ms()
    p99_ms = misses.quantile(delays, 0.99)
    is_soon = p99_ms <= DETECTION_MS_P99
    measured = f"{misses.delays_text(delays)}; {taken}"
    yield Row("seen after the deadline", f"p99 <= {DETECTION_MS_P99:g} ms", measured, is_soon)
    yield Row("looked into and written down after it", "", misses.delays_text(outcome.logged_ms()), None)
    conserved = outcome.report["conserved"]
    yield Row("conserved", "true", str(conserved).lower(), conserved is True)


def recorded(options: Options) -> Iterator[Row]:
    """What the flight recorder costs its stage."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as folder:
        path = Path(folder) / "recorder"
        recorder = Recorder.create(path, recorder_bench.SHAPE)
        rounds = recorder_bench.ROUND_COUNT // (10 if options.is_quick else 1)
        costs = {cost.name: cost for cost in recorder_bench.measure(recorder, Recording.open(path), rounds)}
    record = costs["record"]
    measured = f"median {record.ns_median:,.0f} ns (p90 {record.ns_p90:,.0f})"
    yield Row("one record", f"<= {RECORD_NS_MAX:,} ns", measured, record.ns_median <= RECORD_NS_MAX)
    datum = costs["begin + finish: all of one datum"]
    yield Row("all of one datum, counters and histogram too", "", f"median {datum.ns_median:,.0f} ns", None)


def supervised(options: Options) -> Iterator[Row]:
    """What it costs to be watched, and whether a hop is slower because somebody decides about it."""
    one = watched.watching(4.0 if options.is_quick else watched.WATCHED_S)
    is_cheap = one.share <= SUPERVISOR_SHARE_MAX
    yield Row("supervisor, 10 stages", f"<= {SUPERVISOR_SHARE_MAX:.0%} of a core", watched.watched_text(one), is_cheap)
    pairs = watched.pairs(2 if options.is_quick else watched.PAIR_COUNT)
    ratio = watched.median_ratio(pairs)
    enforced_us = statistics.median(pair.enforced_us for pair in pairs)
    measured = f"{ratio:.2f} times of {len(pairs)} pairs; enforced {enforced_us:.0f} µs"
    yield Row("p50 of a hop, enforced to not", f"<= {HOP_RATIO_MAX:.2f} times", measured, ratio <= HOP_RATIO_MAX)


CLAIMS = (
    Claim("overload", overloaded),
    Claim("misses", blamed),
    Claim("recorder", recorded),
    Claim("supervision", supervised),
    *SURVIVAL,
)

if __name__ == "__main__":
    sys.exit(main("deadlines", CLAIMS))
