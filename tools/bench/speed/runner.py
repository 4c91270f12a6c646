"""Runs a case: its ways take turns, as often as asked, so that what else the machine does falls on all alike.

A figure is the median over the repeats; a ratio is the median of the ratios within each repeat.
"""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from pathlib import Path

import numpy as np

from tools.bench.speed.cases import RAW, Case, Way
from tools.bench.speed.floors import run_floor
from tools.bench.speed.programme import Noted, Programme
from tools.bench.speed.raw import run_raw
from tools.claims.command import a_run
from tools.claims.framework import AbsentError, ShortfallError

PIPELINE = "tools.bench.speed.pipeline"
Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Figures:
    """One phase of one repeat. Times are in µs; `cpu_us`: processor time per message, by stage.

    The latency is that of the last sink. `send_us`: what the source waits for, at the median.
    """

    p50: float
    p99: float
    p999: float
    rate_hz: float
    send_us: float
    source_cpu_us: float
    relay_cpu_us: float
    sink_cpu_us: float
    count: int


FIELDS = tuple(one.name for one in fields(Figures))


@dataclass(slots=True)
class Outcome:
    """Of a case: for each way that was there the figures, by repeat and phase, and why others were not."""

    case: Case
    repeats: dict[str, list[list[Figures]]] = field(default_factory=dict)
    absent: dict[str, str] = field(default_factory=dict)
    broken_sums: list[str] = field(default_factory=list)

    def value(self, way: str, line: str, name: str) -> float:
        """Raises AbsentError where it was not measured."""
        return statistics.median(self._each(way, line, name))

    def ratio(self, way: str, line: str, name: str, to_way: str, to_line: str = "") -> float:
        """Raises AbsentError where one of them was not measured."""
        mine, other = self._each(way, line, name), self._each(to_way, to_line or line, name)
        return statistics.median(a / b for a, b in zip(mine, other, strict=True))

    def each(self, way: str, line: str) -> list[Figures]:
        """By repeat. Raises AbsentError where it was not measured."""
        if way not in self.repeats:
            raise AbsentError(self.absent.get(way, f"{way} was not asked for"))
        return [phases[self.case.lines.index(line)] for phases in self.repeats[way]]

    def _each(self, way: str, line: str, name: str) -> list[float]:
        return [float(getattr(one, name)) for one in self.each(way, line)]


def measure(case: Case, *, seconds: float, repeat_count: int, tell: Tell = lambda text: None) -> Outcome:
    """`seconds`: of each way in each repeat, beside what it takes to start. Raises ShortfallError."""
    outcome = Outcome(case, absent={way.name: reason for way in case.ways if (reason := way.absent())})
    ways = [way for way in case.ways if way.name not in outcome.absent]
    programme = case.programme(seconds)
    for repeat in range(repeat_count):
        for way in ways if repeat % 2 == 0 else ways[::-1]:
            tell(f"{case.name} {repeat + 1}/{repeat_count}: {way.name}")
            figures, broken = _run(case, way, programme)
            outcome.repeats.setdefault(way.name, []).append(figures)
            outcome.broken_sums += broken
    outcome.repeats = {way.name: outcome.repeats[way.name] for way in ways}
    return outcome


def _run(case: Case, way: Way, programme: Programme) -> tuple[list[Figures], list[str]]:
    if way.is_ours:
        return _run_ours(case, way, programme)
    with tempfile.TemporaryDirectory(prefix="speed-") as name:
        folder = Path(name)
        if way == RAW:
            run_raw(folder, programme, case.hop_count)
        else:
            run_floor(folder, programme, way.name)
        return _figures(folder, programme), []


def _run_ours(case: Case, way: Way, programme: Programme) -> tuple[list[Figures], list[str]]:
    settings = {
        "folder": "{}",
        "programme": programme,
        "hops": case.hop_count,
        "sinks": way.sink_count,
        "capacity": case.capacity,
    }
    with a_run(PIPELINE, way.options, settings) as run:
        report = run.succeed()
        conserved = report["conserved"]
        delivered = {name: edge["delivered"] for name, edge in report["edges"].items()}
        lost = [f"{name}: {count} of {len(programme.sendings)} delivered"
                for name, count in delivered.items() if count != len(programme.sendings)]  # fmt: skip
        return _figures(run.folder, programme), [*([] if conserved is True else conserved), *lost]


def _figures(folder: Path, programme: Programme) -> list[Figures]:
    """What the meters in the folder say, for each phase."""
    noted = {path.stem: Noted.load(folder, path.stem) for path in folder.glob("*.npy")}
    sinks = [own for name, own in noted.items() if name.startswith("sink")]
    if not sinks or any(len(own.took_ns) != len(programme.sendings) for own in sinks):
        raise ShortfallError(f"{len(programme.sendings)} messages were sent, and not all arrived")
    latency_ns = np.max([own.took_ns for own in sinks], axis=0)
    found = []
    for number, counted in enumerate(programme.counted):
        span = 0 if programme.is_together else number
        p50, p99, p999 = np.quantile(latency_ns[counted], (0.5, 0.99, 0.999)) / 1e3

        def cpu_us(kind: str, span: int = span) -> float:
            return max((own.cpu_us[span] for name, own in noted.items() if name.startswith(kind)), default=0.0)

        source = noted.get("source")
        found.append(
            Figures(
                p50=float(p50),
                p99=float(p99),
                p999=float(p999),
                rate_hz=1e6 / max(own.wall_us[span] for own in sinks),
                send_us=0.0 if source is None else float(np.median(source.took_ns[counted])) / 1e3,
                source_cpu_us=cpu_us("source"),
                relay_cpu_us=cpu_us("relay"),
                sink_cpu_us=cpu_us("sink"),
                count=len(counted),
            )
        )
    return found
