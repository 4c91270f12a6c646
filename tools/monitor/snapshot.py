"""What the monitor shows of a run at one instant, as plain values; and how they follow from what was read.

Counts in recorders only grow, so that a rate is the difference of two looks; nothing here reads or waits.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Any

from streamflow.core.course import FAILED, KINDS, share_on_time

Told = Mapping[str, Any]

BUSY_SHARE = 0.5  # of the last second; less is a stage that keeps up with ease


class Condition(Enum):
    """How a stage is, in one word."""

    STARTING = "starting"
    READY = "ready"
    BUSY = "busy"
    BLOCKED = "blocked"
    DEGRADED = "degraded"
    HUNG = "hung"
    RESTARTING = "restarting"
    FAILED = "failed"
    DRAINING = "draining"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class Edge:
    """`rate_hz` of what its sender offers; `depth` is what waits on both sides of it now."""

    name: str
    rate_hz: float | None
    depth: int
    capacity: int
    policy: str
    sent: int
    delivered: int
    dropped: Mapping[str, int]
    lost: int
    in_flight: int
    depth_peak: int


@dataclass(frozen=True, slots=True)
class Stage:
    """`rate_hz` and `busy` of the last second, service of the whole run, `stalled_ms` of the last minute."""

    name: str
    node: str
    process: str
    pid: int
    device: str  # empty where none was asked for, or none has opened yet
    condition: Condition
    why: str
    is_source: bool
    rate_hz: float | None
    processed: int
    service_ms: Mapping[str, float]
    busy: float | None
    batch: float | None
    restarts: int
    memory_mb: float | None
    stalled_ms: float | None
    depth: int
    dropped: Mapping[str, int]
    in_service_ms: float | None
    variant: str | None
    told: Told = field(repr=False)
    """All that the run tells of it, for who wants to know everything."""


@dataclass(frozen=True, slots=True)
class Path:
    """A deadline, or a way without one. Shares are of all data whose end is known: 1.0 is all on time."""

    name: str
    source: str
    sink: str
    stages: Sequence[str]
    """On any way from the source to the sink, both included; as far as they are known."""
    within_ms: float | None
    on_miss: str
    rate_hz: float | None
    latency_ms: Mapping[str, float]
    """Of the last ten seconds; of the whole run where nothing arrived in them."""
    is_recent: bool
    share_10s: float | None
    share_60s: float | None
    share: float | None
    firm: Told | None
    p99_ms: Sequence[float]
    """Second by second over the last minute, the newest last."""
    unkept: Sequence[int]
    """Data that were missed or given up, in the same seconds."""
    counts: Mapping[str, int]
    culprits: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Of one run; `ending` is how it ended, or nothing while it lives."""

    run: str
    pipeline: str
    phase: str
    ending: str
    elapsed_s: float
    age_s: float
    is_offline: bool
    broken_sums: Sequence[str]
    silent: Sequence[str]
    paths: Sequence[Path]
    stages: Sequence[Stage]
    edges: Sequence[Edge]
    misses: Sequence[Told]
    """The latest, the newest first."""
    events: Sequence[Told]
    """The same of all else that happened."""

    @property
    def missed_count(self) -> int:
        """By the accounts of all paths; of a run that has left none, by its log."""
        return max(sum(path.counts["missed"] for path in self.paths), len(self.misses))

    @property
    def is_over(self) -> bool:
        return bool(self.ending)

    def stage(self, name: str) -> Stage | None:
        return next((stage for stage in self.stages if stage.name == name), None)


def path_of(name: str, told: Told, declared: Told, stages: Sequence[str] = ()) -> Path:
    """`told` in the state of the run; `declared` among the graph's deadlines, empty for a way without one."""
    recent = mapping(told, "recent")
    short, long = mapping(recent, "10s"), mapping(recent, "60s")
    steps = mapping(recent, "steps") or mapping(told, "course")
    newest = mapping(short, "latency_ms")
    missed, failed = numbers(steps, "missed")[-60:], numbers(steps, "failed")[-60:]
    return Path(
        name=name,
        source=str(told.get("source", "?")),
        sink=str(told.get("sink", "?")),
        stages=stages,
        within_ms=number(told.get("within_ms")),
        on_miss=str(declared.get("on_miss", "")),
        rate_hz=number(short.get("rate_hz")),
        latency_ms=newest or measured(told, "latency_ms"),
        is_recent=bool(newest),
        share_10s=share(short),
        share_60s=share(long),
        share=share(told),
        firm=mapping(told, "firm") or None,
        p99_ms=numbers(steps, "p99_ms")[-60:],
        unkept=[int(one + other) for one, other in zip(missed, failed, strict=True)],
        counts={key: int(number(told.get(key)) or 0)
                for key in ("produced", "met", "missed", "absorbed", *FAILED, "in_flight")},
        culprits={str(who): int(number(count) or 0) for who, count in mapping(told, "culprits").items()},
    )  # fmt: skip


def with_newer(path: Path, misses: Iterable[Told]) -> Path:
    """With what the log has told since the state was written, so that all of a picture is of one moment."""
    own = [miss for miss in misses if miss.get("path") == path.name]
    if not own:
        return path
    culprits = dict(path.culprits)
    for miss in own:
        blamed = " ".join(str(miss[key]) for key in ("culprit", "stage") if miss.get(key))
        culprits[blamed] = culprits.get(blamed, 0) + 1
    return replace(path, counts={**path.counts, "missed": path.counts["missed"] + len(own)}, culprits=culprits)


def share(counts: Told) -> float | None:
    """Of the data whose end is known, those that were on time."""
    return share_on_time({kind: int(number(counts.get(kind)) or 0) for kind in KINDS})


def condition_of(
    phase: str,
    *,
    is_hung: bool,
    is_blocked: bool,
    is_degraded: bool,
    busy: float | None,
    last_event: str,
    is_over: bool,
) -> Condition:
    """`phase` as the run tells it; `last_event` of its process's lives; the others as they are seen now."""
    if is_over or phase == "ended":
        return Condition.STOPPED
    if phase == "hung" or is_hung:
        return Condition.HUNG
    if phase == "failed":
        return Condition.FAILED
    if phase == "down":
        return Condition.FAILED if last_event in ("failed", "left") else Condition.RESTARTING
    if phase == "starting":
        return Condition.STARTING
    if phase == "draining":
        return Condition.DRAINING
    if is_blocked:
        return Condition.BLOCKED
    if is_degraded:
        return Condition.DEGRADED
    return Condition.BUSY if busy is not None and busy >= BUSY_SHARE else Condition.READY


# ------------------------------------------------------------------------- what a run may not have told


def mapping(told: Told, key: str) -> Told:
    found = told.get(key)
    return found if isinstance(found, Mapping) else {}


def measured(told: Told, key: str) -> Told:
    """Quantiles; empty where nothing was measured, which a run tells as zeros."""
    found = mapping(told, key)
    return found if number(found.get("max")) else {}


def number(value: object) -> float | None:
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


def numbers(told: Told, key: str) -> list[float]:
    found = told.get(key)
    return [number(value) or 0.0 for value in found] if isinstance(found, list) else []
