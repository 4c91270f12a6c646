"""How long each part of a path takes and may take: tails for verdicts, budgets for finding culprits.

The stored profile counts until a stage has LIVE_COUNT_MIN samples of its own in this run, then only those do.
Alternative not taken: weighing the two by sample count; a slow first call (imports, page faults) would then
spoil a good profile for a minute.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from streamflow.core.deadline import PathDef
from streamflow.core.graph import EdgeDef
from streamflow.core.paths import on_route
from streamflow.core.statistics import Histogram
from streamflow.core.timebase import s, us

WINDOW_NS = 10 * s  # long enough for a p99 at 10 data/s, short enough to forget a slow phase while one looks on
SNAPSHOT_GAP_NS = 1 * s
LIVE_COUNT_MIN = 50
LIVE_COUNT_FIRST = 5  # without a profile, from so many on the median counts, which one slow first call cannot spoil
WAKE_UP_NS = 100 * us  # a process that sleeps takes that much longer than one that is awake
WEIGHT_NS_MIN = 50 * us  # what a part without a measurement counts for, so that its budget is never nothing


@dataclass(frozen=True, slots=True)
class Estimate:
    """A duration as measured; `count` 0: unknown."""

    p50_ns: int = 0
    p99_ns: int = 0
    count: int = 0
    least_ns: int | None = None
    """Of all there were, not of late; None: unknown."""

    @property
    def unhindered_ns(self) -> int:
        """The median, but of a transport without the time that data waited because too many came.

        A stage that counted the queue of another with what is still to come would give up everything for as long as it
        takes to hear of the end of an overload, which it does not hear of while it gives up everything.
        """
        return self.p50_ns if self.least_ns is None else min(self.p50_ns, 2 * self.least_ns + WAKE_UP_NS)

    @property
    def usual_ns(self) -> int:
        """Between the median and the 99th percentile, at most twice the median: what budgets are proportional to.

        Without that limit a part that a fault has held up now and then would have the budget for it.
        """
        return min((self.p50_ns + self.p99_ns) // 2, 2 * self.p50_ns)


UNKNOWN = Estimate()


def known(profile: Estimate | None, live: Estimate | None) -> Estimate:
    """The live estimate once it has samples enough; until then the profile, or else the live median."""
    if live is None:
        return profile or UNKNOWN
    if live.count >= LIVE_COUNT_MIN:
        return live
    if profile is not None:
        return profile
    return replace(live, p99_ns=live.p50_ns) if live.count >= LIVE_COUNT_FIRST else UNKNOWN


class RecentQuantile:
    """Quantiles of what was added to a growing histogram lately, from differences of its snapshots.

    Lately: in the last `window_ns` (up to one snapshot gap more), or the last LIVE_COUNT_MIN samples where those
    reach further back. Snapshots kept are bounded by the sum of both.
    """

    def __init__(self, window_ns: int = WINDOW_NS) -> None:
        self._window_ns = window_ns
        self._snapshots: deque[tuple[int, int, dict[int, int]]] = deque()  # (taken at, count, counts), oldest first
        self._recent = Histogram()
        self._least_ns: int | None = None

    def observe(self, histogram: Histogram, now_ns: int) -> None:
        """Take in the histogram as it is now; often is fine, once per second is enough."""
        counts = histogram.counts
        self._least_ns = histogram.min if histogram.count else None
        if any(counts.get(index, 0) < count for index, count in self._base()[2].items()):
            self._snapshots.clear()  # it began anew
        while len(self._snapshots) > 1 and self._is_covered_by(self._snapshots[1], histogram.count, now_ns):
            self._snapshots.popleft()
        base = self._base()[2]
        added = {index: count - base.get(index, 0) for index, count in counts.items()}
        added = {index: count for index, count in added.items() if count}
        self._recent = Histogram.of(added, 0, histogram.max, 0)
        if not self._snapshots:
            self._snapshots.append((now_ns, 0, {}))
        last_at_ns, last_count, _ = self._snapshots[-1]
        if histogram.count != last_count and now_ns - last_at_ns >= min(SNAPSHOT_GAP_NS, self._window_ns):
            self._snapshots.append((now_ns, histogram.count, dict(counts)))

    def estimate(self) -> Estimate:
        p50_ns, p99_ns = self._recent.quantiles(0.5, 0.99)
        return Estimate(p50_ns, p99_ns, self._recent.count, self._least_ns)

    def _base(self) -> tuple[int, int, dict[int, int]]:
        return self._snapshots[0] if self._snapshots else (0, 0, {})

    def _is_covered_by(self, snapshot: tuple[int, int, dict[int, int]], count: int, now_ns: int) -> bool:
        """Whether what came after that snapshot is enough, so that older ones are of no use."""
        taken_at_ns, count_then, _ = snapshot
        return now_ns - taken_at_ns >= self._window_ns and count - count_then >= LIVE_COUNT_MIN


def tails(
    order: Sequence[str],
    edges: Sequence[EdgeDef],
    paths: Sequence[PathDef],
    service_ns: Mapping[str, int],
    transport_ns: Mapping[str, int],
) -> dict[tuple[str, int], int]:
    """(stage, path index) -> the longest transport and service still to come after the stage, for all on a route.

    `order` has every sender before its receivers; `transport_ns` is by edge name. What is missing counts as 0.
    """
    found: dict[tuple[str, int], int] = {}
    for path_index, path in enumerate(paths):
        route = on_route(edges, path.source, path.sink)
        leaving = _by_source(route)
        for stage in reversed(order):
            if stage == path.sink:
                found[stage, path_index] = 0
            elif stage in leaving:
                found[stage, path_index] = max(
                    transport_ns.get(edge.name, 0) + service_ns.get(edge.target, 0) + found[edge.target, path_index]
                    for edge in leaving[stage]
                )
    return found


def _by_source(edges: Iterable[EdgeDef]) -> dict[str, list[EdgeDef]]:
    leaving: dict[str, list[EdgeDef]] = {}
    for edge in edges:
        leaving.setdefault(edge.source, []).append(edge)
    return leaving


@dataclass(frozen=True, slots=True)
class Share:
    """What one part of a path usually takes, and its share of the path's `within`."""

    usual_ns: int = 0
    budget_ns: int = 0


@dataclass(frozen=True, slots=True)
class Budgets:
    """The parts of one path: transport and mailbox by edge name, service and device by stage."""

    source: Share
    transport: Mapping[str, Share]
    mailbox: Mapping[str, Share]
    service: Mapping[str, Share]
    device: Mapping[str, Share] = field(default_factory=dict)


def budgets(
    order: Sequence[str],
    edges: Sequence[EdgeDef],
    path: PathDef,
    service: Mapping[str, Estimate],
    transport: Mapping[str, Estimate],
    *,
    source: Estimate = UNKNOWN,
    mailbox: Mapping[str, Estimate] | None = None,
    device: Mapping[str, Estimate] | None = None,
) -> Budgets:
    """The path's `within` split in proportion to what its parts usually take, on its longest way; others get less.

    A mailbox of which nothing is known counts for the receiver's median service: waiting behind one other datum.
    A path without `within` has its usual durations as budgets.
    """
    route = on_route(edges, path.source, path.sink)
    stages = dict.fromkeys(edge.target for edge in route)
    mailbox = mailbox or {}
    wait = {
        edge.name: mailbox[edge.name].usual_ns if edge.name in mailbox else service.get(edge.target, UNKNOWN).p50_ns
        for edge in route
    }
    work = {stage: service.get(stage, UNKNOWN).usual_ns for stage in stages}
    wire = {edge.name: transport.get(edge.name, UNKNOWN).usual_ns for edge in route}
    on_device = {stage: estimate.usual_ns for stage, estimate in (device or {}).items() if stage in stages}

    longest = {path.source: _weight(source.usual_ns)}
    leaving = _by_source(route)
    for stage in order:
        for edge in leaving.get(stage, ()):
            step = _weight(wire[edge.name]) + _weight(wait[edge.name]) + _weight(work[edge.target])
            here = longest[stage] + step + on_device.get(edge.target, 0)
            longest[edge.target] = max(here, longest.get(edge.target, 0))
    total = longest[path.sink]

    def share(usual_ns: int, weight_ns: int) -> Share:
        return Share(usual_ns, weight_ns if path.within_ns is None else weight_ns * path.within_ns // total)

    def shares(usual: Mapping[str, int]) -> dict[str, Share]:
        return {name: share(usual_ns, _weight(usual_ns)) for name, usual_ns in usual.items()}

    return Budgets(
        share(source.usual_ns, _weight(source.usual_ns)),
        shares(wire),
        shares(wait),
        shares(work),
        {stage: share(usual_ns, usual_ns) for stage, usual_ns in on_device.items()},
    )


def _weight(usual_ns: int) -> int:
    return max(usual_ns, WEIGHT_NS_MIN)
