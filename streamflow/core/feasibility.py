"""Whether a deadline can be met, from measured durations, before anything starts.

Per hop, over edge e (capacity K, transport L) into stage v (service C, that of its whole process where several share
one, and where v must wait for room downstream at least C of what it waits for):

- a dropping edge: what is served waits for what is in service and K others at most, whatever comes:
  R <= (K + 1) C + L. Latency does not depend on the load; loss does.
- a blocking edge: with data at r per second, r C <= 1, each hop takes L + C, and a burst of b data is paid once, at
  the slowest of these hops: b max(C) (network calculus, "pay bursts only once"). More than K never wait, so
  (K + 1) C + L is a bound for one hop too, and what is known where r is not.

A path's bound is that of its longest way; a join waits for the longest way to any of its inputs. PASS: the bound, of
99th percentiles, is within the deadline. FAIL: not even medians without any waiting are, or a blocking edge gets more
than its receiver can serve. RISK: anything between. It is an estimate for soft deadlines: a 99th percentile is no worst
case, and neither Linux nor Python has one. How late a source is with its own event is not in it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

from streamflow.core.budget import UNKNOWN, Estimate
from streamflow.core.deadline import PathDef, RateDef
from streamflow.core.graph import EdgeDef, Graph
from streamflow.core.overflow import Overflow
from streamflow.core.paths import on_route
from streamflow.core.timebase import ms, s

FULL = 0.95  # of a stage's time: above, a queue of any length comes about sooner or later
TRANSPORT_ASSUMED_NS = 1 * ms  # of a hop of which nothing was measured: a wake-up under load and a copy


class Feasibility(Enum):
    PASS = "PASS"
    RISK = "RISK"
    FAIL = "FAIL"


@dataclass(frozen=True, slots=True)
class Measured:
    """Durations by stage and by edge, and data per second by edge, as far as they are known."""

    service: Mapping[str, Estimate]
    transport: Mapping[str, Estimate]
    rates_hz: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Finding:
    """What is said of one deadline: `bound_ns` all but the rarest data keep to, less than `lower_ns` most need."""

    name: str
    feasibility: Feasibility
    within_ns: int
    bound_ns: int
    lower_ns: int
    reasons: tuple[str, ...] = ()

    def sentence(self) -> str:
        """As in `speech: RISK, up to 61.0 ms of 50.0 ms; vad dominates with 45.2 ms; ...`."""
        head = f"{self.name}: {self.feasibility.value}, up to {_ms(self.bound_ns)} of {_ms(self.within_ns)}"
        return "; ".join([head, *self.reasons])


@dataclass(frozen=True, slots=True)
class _Hop:
    """Over one edge into its receiver. `behind`: for how many data one may wait, that in service included."""

    edge: EdgeDef
    service_ns: int
    transport_ns: int
    behind: int
    turns: int
    """How often the receiver serves others for each that it serves of this edge, and this one: its inputs."""
    has_rate: bool
    """Whether it blocks, and is known to keep up."""

    @property
    def straight_ns(self) -> int:
        return self.service_ns + self.transport_ns

    @property
    def full_ns(self) -> int:
        return self.behind * self.service_ns + self.straight_ns


def examine(graph: Graph, order: Sequence[str], measured: Measured, path: PathDef) -> Finding:
    """Of a deadline with `within_ns`. `order` has every sender before its receivers."""
    graph = graph.forward
    within_ns = path.within_ns or 0
    route = on_route(graph.edges, path.source, path.sink)
    hops = {edge.name: hop for edge, hop in zip(graph.edges, _hops(graph, order, measured), strict=True)}
    with_joins = _with_joins(graph, route)
    way = _longest(order, with_joins, {name: hop.straight_ns if hop.has_rate else hop.full_ns
                                       for name, hop in hops.items()}, path.sink)  # fmt: skip
    taken = _contributions([hops[edge.name] for edge in way])
    bound_ns = sum(taken.values())
    typical = {edge.name: _typical_ns(edge, measured) for edge in route}
    lower_ns = sum(typical[edge.name] for edge in _longest(order, route, typical, path.sink))

    feasibility = Feasibility.PASS if bound_ns <= within_ns else Feasibility.RISK
    reasons = []
    if lower_ns > within_ns:
        feasibility = Feasibility.FAIL
        reasons.append(f"{_ms(lower_ns)} without any waiting")
    for found, reason in _loads(graph, measured, with_joins):
        feasibility = _worse(feasibility, found)
        reasons.append(reason)
    unknown = dict.fromkeys(edge.target for edge in way if not measured.service.get(edge.target, UNKNOWN).count)
    if unknown:
        feasibility = _worse(feasibility, Feasibility.RISK)
        reasons.append(f"nothing is known of {', '.join(unknown)}")
    if any(not measured.transport.get(edge.name, UNKNOWN).count for edge in way):
        reasons.append(f"{_ms(TRANSPORT_ASSUMED_NS)} assumed for each edge that was not measured")
    dominating = hops[max(taken, key=lambda name: taken[name])]
    reasons.append(f"{dominating.edge.target} dominates with {_ms(taken[dominating.edge.name])}")
    excess_ns = bound_ns - within_ns if feasibility is not Feasibility.FAIL else 0
    reasons.append(_sensitivity([hops[edge.name] for edge in way], taken, excess_ns))
    return Finding(path.name, feasibility, within_ns, bound_ns, lower_ns, tuple(reasons))


def examine_rate(graph: Graph, measured: Measured, rate: RateDef) -> Finding | None:
    """Of a deadline on silence: data must come more often than it allows. None where the rate is not known."""
    graph = graph.forward
    rates = [measured.rates_hz.get(e.name) for e in graph.edges_into(rate.stage) if e.input == rate.port]
    if not rates or not rates[0]:
        return None
    period_ns = round(s / rates[0])
    found = Feasibility.FAIL if period_ns > rate.within_ns else Feasibility.PASS
    if found is Feasibility.PASS and 2 * period_ns > rate.within_ns:
        found = Feasibility.RISK
    reason = "one that fails to come is a gap" if found is Feasibility.RISK else "data come so often"
    return Finding(rate.name, found, rate.within_ns, period_ns, period_ns, (reason,))


def _hops(graph: Graph, order: Sequence[str], measured: Measured) -> list[_Hop]:
    """In the order of the graph's edges."""
    own = {stage.name: measured.service.get(stage.name, UNKNOWN).p99_ns for stage in graph.stages}
    shared = {name: sum(own[each] for each in stages) for stages in graph.processes().values() for name in stages}
    occupied: dict[str, int] = {}
    for name in reversed(order):
        downstream = [occupied[e.target] for e in graph.edges_from(name) if e.overflow is Overflow.BLOCK]
        occupied[name] = max([shared[name], *downstream])
    return [_hop(graph, edge, occupied[edge.target], shared[edge.target], measured) for edge in graph.edges]


def _hop(graph: Graph, edge: EdgeDef, occupied_ns: int, shared_ns: int, measured: Measured) -> _Hop:
    transport = measured.transport.get(edge.name, UNKNOWN)
    transport_ns = transport.p99_ns if transport.count else TRANSPORT_ASSUMED_NS
    turns = 1 if graph.stage(edge.target).is_joined else len(graph.edges_into(edge.target))
    rates = [measured.rates_hz.get(each.name) for each in graph.edges_into(edge.target)]
    rate_hz = sum(rate for rate in rates if rate) if all(rates) else None
    keeps_up = rate_hz is not None and rate_hz * shared_ns <= s
    has_rate = edge.overflow is Overflow.BLOCK and keeps_up
    service_ns = shared_ns if has_rate else occupied_ns
    batch = graph.stage(edge.target).batch
    held = 0 if batch is None else batch.queue_limit  # of one stream, batches are of one
    return _Hop(edge, service_ns, transport_ns, _room(edge) * turns + held, turns, has_rate)


def _room(edge: EdgeDef) -> int:
    return 1 if edge.overflow is Overflow.LATEST else edge.capacity


def _contributions(way: Sequence[_Hop]) -> dict[str, int]:
    """What each hop adds to the bound, by edge. A burst is what a dropping edge before it may let go at once."""
    paced = [hop for hop in way if hop.has_rate]
    slowest = max(paced, key=lambda hop: hop.service_ns, default=None)
    taken = {}
    burst = 1
    for hop in way:
        if hop.has_rate:
            waits_ns = burst * hop.service_ns if hop is slowest else 0
            taken[hop.edge.name] = min(hop.straight_ns + waits_ns, hop.full_ns)
        else:
            burst = max(burst, _room(hop.edge))
            taken[hop.edge.name] = hop.full_ns
    return taken


def _typical_ns(edge: EdgeDef, measured: Measured) -> int:
    return measured.service.get(edge.target, UNKNOWN).p50_ns + measured.transport.get(edge.name, UNKNOWN).p50_ns


def _with_joins(graph: Graph, route: Sequence[EdgeDef]) -> list[EdgeDef]:
    """The route, and all that leads to a join on it: what is joined waits for the last."""
    names = {edge.name for edge in route}
    waiting = [edge.target for edge in route if graph.stage(edge.target).is_joined]
    while waiting:
        for edge in graph.edges_into(waiting.pop()):
            if edge.name not in names:
                names.add(edge.name)
                waiting.append(edge.source)
    return [edge for edge in graph.edges if edge.name in names]


def _longest(order: Sequence[str], edges: Iterable[EdgeDef], takes_ns: Mapping[str, int], sink: str) -> list[EdgeDef]:
    """The longest way to the sink, from its first edge on."""
    into: dict[str, list[EdgeDef]] = {}
    for edge in edges:
        into.setdefault(edge.target, []).append(edge)
    total: dict[str, int] = {}
    last: dict[str, EdgeDef] = {}
    for stage in order:
        for edge in into.get(stage, ()):
            here_ns = total.get(edge.source, 0) + takes_ns[edge.name]
            if stage not in last or here_ns > total[stage]:
                total[stage], last[stage] = here_ns, edge
    way: list[EdgeDef] = []
    stage = sink
    while stage in last:
        way.append(last[stage])
        stage = last[stage].source
    return way[::-1]


def _loads(graph: Graph, measured: Measured, edges: Sequence[EdgeDef]) -> list[tuple[Feasibility, str]]:
    """What is asked of a process that cannot be done, or only just."""
    found = []
    for process, stages in graph.processes().items():
        mine = [edge for edge in edges if edge.target in stages]
        load = sum(_load(graph, measured, stage) for stage in stages)
        if not mine or load <= FULL:
            continue
        asked = f"{process} is asked for {load:.0%} of its time"
        if load <= 1:
            found.append((Feasibility.RISK, asked))
        elif all(edge.overflow is not Overflow.BLOCK for edge in mine):
            found.append((Feasibility.RISK, f"{asked}, so {1 - 1 / load:.0%} of its data will be dropped"))
        elif _is_shielded(graph, mine):
            found.append((Feasibility.RISK, f"{asked}, and a dropping edge before it must drop {1 - 1 / load:.0%}"))
        else:
            found.append((Feasibility.FAIL, f"{asked}, and nothing before it is dropped"))
    return found


def _load(graph: Graph, measured: Measured, stage: str) -> float:
    """The share of time that its usual work takes, as far as rates are known; of batches as if each were full."""
    rates = [measured.rates_hz.get(edge.name, 0.0) for edge in graph.edges_into(stage)]
    rate_hz = max(rates, default=0.0) if graph.stage(stage).is_joined else sum(rates)
    batch = graph.stage(stage).batch
    at_once = 1 if batch is None else batch.size_max  # at best
    return rate_hz * measured.service.get(stage, UNKNOWN).p50_ns / s / at_once


def _is_shielded(graph: Graph, edges: Sequence[EdgeDef]) -> bool:
    """Whether on every way to these edges something drops or rejects what is too much."""
    for edge in edges:
        source = graph.stage(edge.source)
        if edge.overflow is Overflow.BLOCK and not source.live:
            before = graph.edges_into(edge.source)
            if not before or not _is_shielded(graph, before):
                return False
    return True


def _sensitivity(way: Sequence[_Hop], taken: Mapping[str, int], excess_ns: int) -> str:
    """What one change would save: fewer that may wait, or, where none do, quicker work."""
    waiting = [hop for hop in way if not hop.has_rate and hop.edge.overflow is not Overflow.LATEST]
    waiting = [hop for hop in waiting if hop.edge.capacity > 1 and hop.service_ns]
    if waiting:
        hop = max(waiting, key=lambda hop: hop.full_ns)
        each_ns = hop.turns * hop.service_ns
        fewer = -(-excess_ns // each_ns) if excess_ns > 0 else hop.edge.capacity // 2
        capacity = max(hop.edge.capacity - fewer, 1)
        saved_ns = (hop.edge.capacity - capacity) * each_ns
        enough = ", which is enough" if 0 < excess_ns <= saved_ns else ""
        return f"capacity {hop.edge.capacity} -> {capacity} at {hop.edge.name} saves {_ms(saved_ns)}{enough}"
    hop = max(way, key=lambda hop: taken[hop.edge.name] - hop.transport_ns)
    saved_ns = (taken[hop.edge.name] - hop.transport_ns) // 10
    return f"a tenth less service at {hop.edge.target} saves {_ms(saved_ns)}"


def _worse(one: Feasibility, other: Feasibility) -> Feasibility:
    order = list(Feasibility)
    return max(one, other, key=order.index)


def _ms(duration_ns: int) -> str:
    return f"{duration_ns / ms:.1f} ms"
