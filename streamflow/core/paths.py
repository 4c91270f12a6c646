"""The ways data take from a source to where they end: which have a deadline, and which stages and edges lie on them.

Every account is kept by path. What the user declared comes first; then every way from a source to a stage that
sends nothing on, unless it was declared, so that no datum is unaccounted for. A path is one bit of a 64-bit mask
in the flight recorders: a record names all paths it is about in one word, whatever the number of paths.
"""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from graphlib import TopologicalSorter

from streamflow.core.deadline import OnMiss, PathDef, RateDef
from streamflow.core.graph import EdgeDef, Graph, StageDef
from streamflow.core.timebase import us
from streamflow.errors import Fault

PATH_LIMIT = 63  # bits of a signed word: a mask stays one whatever reads it
FIRM_WINDOW_LIMIT = 4096  # data one contract looks back on; more is a share of the run, and the report tells that
SHORTEST_NS = 10 * us  # a deadline below is a number without its unit
_ARROW = "->"


@dataclass(frozen=True, slots=True)
class PathSpec:
    """What an account needs to know of a path. `stream` is the index of the source in `graph.stages`."""

    index: int
    name: str
    stream: int
    within_ns: int | None

    @property
    def bit(self) -> int:
        return 1 << self.index


class Paths:
    """All paths of a graph without faults, the declared ones first, each with its index and its route.

    `left_out` names the implicit ones for which no bit was left.
    """

    def __init__(self, graph: Graph, declared: Sequence[PathDef]) -> None:
        graph = graph.forward
        taken = {(path.source, path.sink) for path in declared}
        implicit = [
            PathDef(f"{source.name}{_ARROW}{sink}", source.name, sink, None)
            for source in graph.stages
            if source.is_source
            for sink in graph.sinks()
            if (source.name, sink) not in taken and on_route(graph.edges, source.name, sink)
        ]
        room = max(PATH_LIMIT - len(declared), 0)
        self.definitions: tuple[PathDef, ...] = (*declared, *implicit[:room])
        self.declared_count = len(declared)
        self.left_out = tuple(path.name for path in implicit[room:])
        indexes = {stage.name: index for index, stage in enumerate(graph.stages)}
        self.specs = tuple(
            PathSpec(index, path.name, indexes[path.source], path.within_ns)
            for index, path in enumerate(self.definitions)
        )
        order = list(TopologicalSorter({s.name: [e.source for e in graph.edges_into(s.name)] for s in graph.stages})
                     .static_order())  # fmt: skip
        self._routes: list[tuple[str, ...]] = []
        self._edges: list[tuple[str, ...]] = []
        self._masks_by_edge: dict[str, int] = {}
        self._through: dict[tuple[str, str], int] = {}
        self._ending: dict[tuple[str, str], int] = {}
        for index, path in enumerate(self.definitions):
            edges = on_route(graph.edges, path.source, path.sink)
            members = {stage for edge in edges for stage in (edge.source, edge.target)}
            self._routes.append(tuple(name for name in order if name in members))
            self._edges.append(tuple(edge.name for edge in edges))
            for edge in edges:
                self._masks_by_edge[edge.name] = self._masks_by_edge.get(edge.name, 0) | 1 << index
            for stage in members:
                key = stage, path.source
                self._through[key] = self._through.get(key, 0) | 1 << index
            key = path.sink, path.source
            self._ending[key] = self._ending.get(key, 0) | 1 << index

    def __len__(self) -> int:
        return len(self.definitions)

    def index(self, name: str) -> int:
        """Raises KeyError where there is no path of this name."""
        for index, path in enumerate(self.definitions):
            if path.name == name:
                return index
        raise KeyError(name)

    def within_ns(self, index: int) -> int | None:
        return self.definitions[index].within_ns

    def route(self, index: int) -> tuple[str, ...]:
        """The stages on any way from the source to the sink, every sender before its receivers."""
        return self._routes[index]

    def edges(self, index: int) -> tuple[str, ...]:
        """The names of the edges on any way from the source to the sink."""
        return self._edges[index]

    def masks_by_edge(self, edge_name: str) -> int:
        """The paths that go over this edge, of whatever source."""
        return self._masks_by_edge.get(edge_name, 0)

    def through(self, stage: str, stream: str) -> int:
        """The paths of this source that have the stage on their route, at its ends or between."""
        return self._through.get((stage, stream), 0)

    def ending_at(self, stage: str, stream: str) -> int:
        """The paths of this source whose sink is the stage."""
        return self._ending.get((stage, stream), 0)

    def tightest(self, stage: str, stream: str) -> int:
        """Of the paths through the stage those with the earliest deadline: what `Flag.MISSED` there speaks of."""
        mask = self.through(stage, stream)
        withins = {spec.bit: spec.within_ns for spec in self.specs if spec.bit & mask and spec.within_ns is not None}
        return sum(bit for bit, within_ns in withins.items() if within_ns == min(withins.values()))


def on_route(edges: Sequence[EdgeDef], source: str, sink: str) -> list[EdgeDef]:
    """The edges on any way from `source` to `sink`, in the order given; none if there is no way."""
    after: dict[str, list[str]] = {}
    before: dict[str, list[str]] = {}
    for edge in edges:
        after.setdefault(edge.source, []).append(edge.target)
        before.setdefault(edge.target, []).append(edge.source)
    down, up = _reached(source, after), _reached(sink, before)
    return [edge for edge in edges if edge.source in down and edge.target in up]


def _reached(start: str, neighbours: Mapping[str, Sequence[str]]) -> set[str]:
    seen = {start}
    waiting = [start]
    while waiting:
        for name in neighbours.get(waiting.pop(), ()):
            if name not in seen:
                seen.add(name)
                waiting.append(name)
    return seen


def faults(graph: Graph, paths: Sequence[PathDef], rates: Sequence[RateDef]) -> list[Fault]:
    """Everything that is wrong with the declared deadlines; of a graph that has faults itself, what can be told."""
    graph = graph.forward
    found = []
    names = [path.name for path in paths] + [rate.name for rate in rates]
    for name, count in Counter(names).items():
        if count > 1:
            found.append(Fault(f"deadline {name}", f"{count} deadlines of this name", "one", "name them apart"))
        if not name or _ARROW in name:
            found.append(
                Fault(f"deadline {name}", f"{name!r} as a name", f"at least one letter and no '{_ARROW}'",
                      "source->sink names what has no deadline")
            )  # fmt: skip
    if len(paths) > PATH_LIMIT:
        found.append(Fault(f"deadline {paths[PATH_LIMIT].name}", f"one of {len(paths)}", f"at most {PATH_LIMIT}"))
    stages = {stage.name: stage for stage in graph.stages}
    for path in paths:
        found += _end_faults(graph, stages, path) + _promise_faults(path)
    for rate in rates:
        found += _rate_faults(stages, rate)
    return found


def _end_faults(graph: Graph, stages: Mapping[str, StageDef], path: PathDef) -> list[Fault]:
    subject = f"deadline {path.name}"
    sources = [name for name, stage in stages.items() if stage.is_source]
    found = []
    if path.source not in stages:
        found.append(_unknown(subject, f"no stage {path.source}", path.source, sources))
    elif not stages[path.source].is_source and stages[path.source].is_known:
        found.append(Fault(subject, f"{path.source} is no source", _one_of(sources), "a deadline runs from a source"))
    if path.sink not in stages:
        found.append(_unknown(subject, f"no stage {path.sink}", path.sink, stages))
    if not found and not on_route(graph.edges, path.source, path.sink):
        reached = [name for name in stages if on_route(graph.edges, path.source, name)]
        found.append(Fault(subject, f"no way from {path.source} to {path.sink}", _one_of(reached)))
    return found


def _promise_faults(path: PathDef) -> list[Fault]:
    subject = f"deadline {path.name}"
    found = []
    if path.within_ns is not None and path.within_ns < SHORTEST_NS:
        found.append(Fault(subject, f"within {path.within_ns} ns", "at least 10,000", "as in within=25 * ms"))
    if path.max_age_ns is not None and path.max_age_ns <= 0:
        found.append(Fault(subject, f"max_age {path.max_age_ns} ns", "more than 0", "as in max_age=100 * ms"))
    if path.max_age_ns is None and path.on_miss is OnMiss.HOLD:
        found.append(Fault(subject, "on_miss HOLD without max_age", "how old a repeated result may be", "max_age=..."))
    if path.firm is None:
        if path.escalation:
            steps = ", ".join(step.value for step in path.escalation)
            found.append(Fault(subject, f"escalation {steps} without firm", "a contract to be broken", "firm=(m, k)"))
        return found
    m, k = path.firm.m, path.firm.k
    if not 1 <= m <= k <= FIRM_WINDOW_LIMIT:
        found.append(Fault(subject, f"firm ({m}, {k})", f"(m, k) with 1 <= m <= k <= {FIRM_WINDOW_LIMIT:,}"))
    if path.within_ns is None:
        found.append(Fault(subject, "firm without within", "when a datum is on time", "within=..."))
    return found


def _rate_faults(stages: Mapping[str, StageDef], rate: RateDef) -> list[Fault]:
    subject = f"deadline {rate.name}"
    found = []
    if rate.within_ns < SHORTEST_NS:
        found.append(Fault(subject, f"within {rate.within_ns} ns", "at least 10,000", "as in within=200 * ms"))
    stage = stages.get(rate.stage)
    if stage is None:
        receivers = [name for name, other in stages.items() if not other.is_source]
        found.append(_unknown(subject, f"no stage {rate.stage}", rate.stage, receivers))
    elif stage.is_source:
        found.append(Fault(subject, f"{rate.stage} is a source", "an input", "give a stage that it sends to"))
    elif stage.is_known and rate.port not in stage.inputs:
        found.append(_unknown(subject, f"{rate.stage} has no input {rate.port}", rate.port, stage.inputs))
    return found


def _unknown(subject: str, sentence: str, name: str, names: Iterable[str]) -> Fault:
    close = difflib.get_close_matches(name, list(names), 1)
    return Fault(subject, sentence, _one_of(names), f"did you mean {close[0]}?" if close else "")


def _one_of(names: Iterable[str]) -> str:
    listed = ", ".join(names)
    return f"one of {listed}" if listed else "none: there is none"
