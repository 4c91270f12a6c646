"""How a path goes from second to second: of late for those who watch, and over the whole run for its report.

Everything is a difference between two looks at counts that only grow, so nothing is added to what a datum costs. Of a
long run neighbouring steps are merged, again and again: counts add up, of the latencies the worst remains.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import compress
from typing import Any, Final

from streamflow.core.statistics import Histogram, upper_edge
from streamflow.core.timebase import ms, s, seconds

STEP_NS: Final = s
SHORT_STEPS: Final = 10
LONG_STEPS: Final = 60
WHOLE_LIMIT: Final = 600  # steps: a pixel each, in the widest of plots
EARLY_NS: Final = 50 * ms  # a look comes so much before its second is over at most
FINE_BITS: Final = 3  # of a told histogram: 8 buckets for each power of two

KINDS: Final = ("produced", "met", "missed", "absorbed", "shed", "dropped", "rejected", "lost")
FAILED: Final = ("shed", "dropped", "rejected", "lost")
"""What became of data that are neither on time nor counted as missed."""

Counts = tuple[int, ...]


@dataclass(slots=True)
class _Step:
    """What happened in one."""

    end_ns: int
    span_ns: int
    counts: Counts
    latencies: dict[int, int]


class _Window:
    """The sum of the last steps."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self.steps: deque[_Step] = deque()
        self._counts = [0] * len(KINDS)
        self._latencies: dict[int, int] = {}

    def add(self, step: _Step) -> None:
        self.steps.append(step)
        self._change(step, 1)
        if len(self.steps) > self._limit:
            self._change(self.steps.popleft(), -1)

    def _change(self, step: _Step, sign: int) -> None:
        for kind, count in enumerate(step.counts):
            self._counts[kind] += sign * count
        latencies = self._latencies
        for bucket, count in step.latencies.items():
            left = latencies.get(bucket, 0) + sign * count
            if left:
                latencies[bucket] = left
            else:
                del latencies[bucket]

    def told(self) -> dict[str, Any]:
        span_ns = sum(step.span_ns for step in self.steps)
        counts = dict(zip(KINDS, self._counts, strict=True))
        return {
            "span_s": round(seconds(span_ns), 3),
            "rate_hz": round(counts["produced"] / seconds(span_ns), 3) if span_ns else 0.0,
            **counts,
            "latency_ms": _quantiles(self._latencies),
        }


class Course:
    """Of one path; to be shown its counts and latencies at least once a second."""

    def __init__(self) -> None:
        self._last_ns = 0
        self._last_counts: Counts = (0,) * len(KINDS)
        self._last_latencies: dict[int, int] = {}
        self._short = _Window(SHORT_STEPS)
        self._long = _Window(LONG_STEPS)
        self._whole: list[list[float]] = []
        self._begin_ns = 0
        self._merged = 1  # steps in each of the whole
        self._open: list[_Step] = []  # of the next of the whole

    def begin(self, at_ns: int) -> None:
        """Data flow from then on."""
        self._last_ns = self._begin_ns = at_ns

    def observe(self, now_ns: int, counts: Mapping[str, int], latencies: Histogram, *, is_last: bool = False) -> None:
        """How the counts stand; taken note of once a second, and at last."""
        span_ns = now_ns - self._last_ns
        if span_ns <= 0 or (span_ns < STEP_NS - EARLY_NS and not is_last):
            return
        present = tuple(counts[kind] for kind in KINDS)
        before = self._last_latencies
        new = {
            bucket: more for bucket, count in latencies.counts.items() if (more := count - before.get(bucket, 0)) > 0
        }
        grown = tuple(now - then for now, then in zip(present, self._last_counts, strict=True))
        step = _Step(now_ns, span_ns, grown, new)
        self._last_ns, self._last_counts, self._last_latencies = now_ns, present, dict(latencies.counts)
        self._short.add(step)
        self._long.add(step)
        self._open.append(step)
        if len(self._open) >= self._merged or is_last:
            self._whole.append(_row(self._begin_ns, self._open))
            self._open = []
        if len(self._whole) > WHOLE_LIMIT:
            self._whole = [_both(one, other) for one, other in _pairs(self._whole)]
            self._merged *= 2

    def recent(self) -> dict[str, Any]:
        """The last ten seconds and the last minute as sums, and the minute step by step, the newest last."""
        rows = [_row(self._begin_ns, [step]) for step in self._long.steps]
        return {"10s": self._short.told(), "60s": self._long.told(), "steps": _columns(rows)}

    def whole(self) -> dict[str, Any]:
        """The run so far, in at most `WHOLE_LIMIT` steps."""
        rows = self._whole + ([_row(self._begin_ns, self._open)] if self._open else [])
        return _columns(rows)


_COLUMNS: Final = ("end_s", "on_time", "missed", "failed", "p50_ms", "p99_ms", "max_ms")
_END, _ON_TIME, _FAILED, _P50, _MAX = 0, 1, 3, 4, 6


def _row(begin_ns: int, steps: list[_Step]) -> list[float]:
    """Figures of these steps together, in the order of the columns."""
    latencies: dict[int, int] = {}
    counts = dict.fromkeys(KINDS, 0)
    for step in steps:
        for kind, count in zip(KINDS, step.counts, strict=True):
            counts[kind] += count
        for bucket, count in step.latencies.items():
            latencies[bucket] = latencies.get(bucket, 0) + count
    quantiles = _quantiles(latencies)
    return [
        round(seconds(steps[-1].end_ns - begin_ns), 3),
        counts["met"] + counts["absorbed"],
        counts["missed"],
        sum(counts[kind] for kind in FAILED),
        *(quantiles.get(key, 0.0) for key in ("p50", "p99", "max")),
    ]


def _both(one: list[float], other: list[float]) -> list[float]:
    """Two neighbours as one: the later end, what they count together, and the worse latencies."""
    return [
        other[_END],
        *(one[i] + other[i] for i in range(_ON_TIME, _FAILED + 1)),
        *(max(one[i], other[i]) for i in range(_P50, _MAX + 1)),
    ]


def _pairs(rows: list[list[float]]) -> Iterator[tuple[list[float], list[float]]]:
    """Neighbours two by two; what is left over stays by itself."""
    empty = [0.0] * len(_COLUMNS)
    for i in range(0, len(rows), 2):
        yield rows[i], rows[i + 1] if i + 1 < len(rows) else [rows[i][_END], *empty[1:]]


def _columns(rows: list[list[float]]) -> dict[str, list[float]]:
    return {name: [row[i] for row in rows] for i, name in enumerate(_COLUMNS)}


def joined(whole: Mapping[str, list[float]], recent: Mapping[str, list[float]]) -> dict[str, list[float]]:
    """A course that was told some time ago, and what came since."""
    until_s = (whole.get("end_s") or [0.0])[-1]
    is_new = [at_s > until_s + seconds(EARLY_NS) for at_s in recent.get("end_s") or ()]
    return {name: [*(whole.get(name) or ()), *compress(recent.get(name) or (), is_new)] for name in _COLUMNS}


def _quantiles(latencies: dict[int, int]) -> dict[str, float]:
    """In milliseconds, to 1 in 64; empty where nothing arrived."""
    if not latencies:
        return {}
    greatest = upper_edge(max(latencies))
    histogram = Histogram.of(latencies, 0, greatest, 0)
    found = zip(("p50", "p99", "p999", "max"), histogram.quantiles(0.5, 0.99, 0.999, 1.0), strict=True)
    return {name: round(value_ns / ms, 4) for name, value_ns in found}


def told_histogram(histogram: Histogram) -> dict[str, Any]:
    """In plain values, 8 buckets to each power of two: those with something in them, by the edges they are below."""
    buckets: dict[int, int] = {}
    for bucket, count in histogram.counts.items():
        edge = coarse_edge(upper_edge(bucket) + 1)
        buckets[edge] = buckets.get(edge, 0) + count
    edges = sorted(buckets)
    return {
        "le_ms": [edge / ms for edge in edges],
        "count": [buckets[edge] for edge in edges],
        "sum_ms": round(histogram.sum / ms, 6),
    }


def coarse_edge(value: int) -> int:
    """The least of the edges 2^n (1 + i/8) that is not below the value."""
    shift = _shift(value)
    return -(-value >> shift) << shift


def edge_before(edge: int) -> int:
    """The next lower edge."""
    return edge - (1 << _shift(edge))


def _shift(value: int) -> int:
    return max((value - 1).bit_length() - 1 - FINE_BITS, 0) if value > 1 else 0


def share_on_time(counts: Mapping[str, int]) -> float | None:
    """Of all whose end is known, those that were on time; None where none is."""
    on_time = counts["met"] + counts["absorbed"]
    settled = on_time + counts["missed"] + sum(counts[kind] for kind in FAILED)
    return on_time / settled if settled else None
