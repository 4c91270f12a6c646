"""The pipeline as a graph: stages, ports, edges; what is wrong with it `core.resolution` finds."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from streamflow.core.batch import Batch
from streamflow.core.deadline import OnMiss, Order, PathDef, RateDef
from streamflow.core.joins.contract import Join
from streamflow.core.joins.exact import Exact
from streamflow.core.joins.feedback import Loop
from streamflow.core.overflow import Overflow
from streamflow.core.ports import PortType
from streamflow.core.realtime import RealTime
from streamflow.core.supervision import GroupDef, Restart


@dataclass(frozen=True, slots=True)
class PortDef:
    """A port of a stage; `rate_from` names the input whose sampling rate an output keeps."""

    type: PortType
    rate_from: str | None = None


@dataclass(frozen=True, slots=True)
class StageDef:
    """A place in the graph: the node that works there and the process it works in."""

    name: str
    node: str
    process: str
    inputs: Mapping[str, PortDef]
    outputs: Mapping[str, PortDef]
    is_source: bool = False
    live: bool = False
    handled: frozenset[str] | None = None
    """Inputs that have a handler of their own; None when `process` takes all."""
    is_known: bool = True
    """False when the node is none or could not be inspected: its ports may be others, and nothing is said of them."""
    restart: Restart = Restart.TRANSIENT
    hang_limit_ns: int | None = None
    """No progress for longer while work is due is a failure; None: by the deadlines through the stage."""
    is_fork_safe: bool = True
    realtime: RealTime | None = None
    """What its process asks of the machine; None is nothing."""
    spin_ns: int | None = None
    """How long it waits awake before it sleeps; None: as the run says."""
    join: Join = field(default_factory=Exact)
    """How its inputs come together, where they do."""
    retimes: bool = False
    """Its results are older than what it has taken."""
    batch: Batch | None = None
    """How its data come together that it works on at once; None: it works on each by itself."""

    variants: tuple[str, ...] = ()
    """By name, the best first; empty where there is but one way to work."""
    has_own_states: bool = True
    """Whether each of them keeps states of its own, where they keep any."""
    devices: tuple[str, ...] = ()
    """On which it may work, the best first; none: it asks for none."""
    is_observer: bool = False
    """It looks on: no path ends there, and what sends to it alone is a sink all the same."""

    @property
    def state_names(self) -> tuple[str, ...]:
        """Under which its recurrent states are kept."""
        if self.variants and self.has_own_states:
            return tuple(f"{self.name}.{variant}" for variant in self.variants)
        return (self.name,)

    @property
    def holds_back(self) -> bool:
        """Whether what it has taken may wait for other data before it is worked on."""
        return self.is_joined or self.batch is not None

    @property
    def is_joined(self) -> bool:
        """Whether `process` gets rows of all inputs together."""
        return not self.is_source and self.handled is None and len(self.inputs) > 1


@dataclass(frozen=True, slots=True)
class EdgeDef:
    """From an output to an input. An empty port name stands for the only one, until `resolve` has named it."""

    source: str
    output: str
    target: str
    input: str
    overflow: Overflow = Overflow.BLOCK
    capacity: int = 8
    order: Order = Order.FIFO
    max_age_ns: int | None = None
    """Data older than that are dropped when their turn comes."""
    is_direct: bool = False
    """Between processes its data go through memory that both have, whatever those of other edges do."""
    loop: Loop | None = None
    """Where it leads back: its receiver gets what came of an earlier row."""
    initial: object = field(default=None, compare=False)
    """Of such an edge: the value until there is one; an array or tensors by name."""
    is_lossless: bool = False
    """Its sender keeps what its receiver has not done, through the deaths of both, and sends it again."""

    @property
    def name(self) -> str:
        return f"{_end(self.source, self.output)}->{_end(self.target, self.input)}"


def _end(stage: str, port: str) -> str:
    return f"{stage}.{port}" if port else stage


@dataclass(slots=True)
class _Index:
    """Edges by the stage at their end."""

    into: dict[str, list[EdgeDef]] = field(default_factory=dict)
    leaving: dict[str, list[EdgeDef]] = field(default_factory=dict)
    is_made: bool = False


@dataclass(frozen=True, slots=True)
class Graph:
    name: str
    stages: tuple[StageDef, ...]
    edges: tuple[EdgeDef, ...]
    deadlines: tuple[PathDef, ...] = ()
    rates: tuple[RateDef, ...] = ()
    groups: tuple[GroupDef, ...] = ()
    _index: _Index = field(default_factory=_Index, init=False, repr=False, compare=False)

    def stage(self, name: str) -> StageDef:
        """Raises StopIteration where there is none of that name."""
        return next(stage for stage in self.stages if stage.name == name)

    @property
    def forward(self) -> Graph:
        """The graph without what leads back: what has an order."""
        if all(edge.loop is None for edge in self.edges):
            return self
        return replace(self, edges=tuple(edge for edge in self.edges if edge.loop is None))

    def loops_into(self, stage: str) -> dict[str, EdgeDef]:
        """The edges that lead back to the stage, by its input."""
        return {edge.input: edge for edge in self.edges_into(stage) if edge.loop is not None}

    def redoes(self, stage: str) -> bool:
        """Whether what the stage was at when it died is done again, so that nothing half done may leave it."""
        own = self.edges_from(stage) if self.stage(stage).is_source else self.edges_into(stage)
        return any(edge.is_lossless for edge in own)

    def edges_into(self, stage: str) -> list[EdgeDef]:
        return list(self._indexed().into.get(stage, ()))

    def edges_from(self, stage: str) -> list[EdgeDef]:
        return list(self._indexed().leaving.get(stage, ()))

    def _indexed(self) -> _Index:
        """Made with the first question: to ask for each of many stages would else look at every edge each time."""
        index = self._index
        if not index.is_made:
            for edge in self.edges:
                index.into.setdefault(edge.target, []).append(edge)
                index.leaving.setdefault(edge.source, []).append(edge)
            index.is_made = True
        return index

    def processes(self) -> dict[str, list[str]]:
        """Stage names by process, both in the order of definition."""
        found: dict[str, list[str]] = {}
        for stage in self.stages:
            found.setdefault(stage.process, []).append(stage.name)
        return found

    def sources_of(self, stage: str) -> set[str]:
        """The source stages whose data can reach `stage`."""
        return {name for name in (stage, *self.before(stage)) if self.stage(name).is_source}

    def before(self, stage: str) -> set[str]:
        """All stages whose data can reach it, or what was made of them."""
        found: set[str] = set()
        waiting = deque([stage])
        while waiting:
            for edge in self.edges_into(waiting.popleft()):
                if edge.source not in found:
                    found.add(edge.source)
                    waiting.append(edge.source)
        return found

    @property
    def observers(self) -> frozenset[str]:
        """Stages that only look on."""
        return frozenset(stage.name for stage in self.stages if stage.is_observer)

    def sinks(self) -> list[str]:
        """Stages from which nothing is sent on, but perhaps back or to observers, which are none themselves."""
        observers = self.observers
        senders = {edge.source for edge in self.forward.edges if edge.target not in observers}
        return [stage.name for stage in self.stages if stage.name not in senders | observers]

    def unused_outputs(self) -> list[tuple[str, str]]:
        """(stage, port) of every output from which no edge leaves."""
        used = {(edge.source, edge.output) for edge in self.edges}
        ends = [(stage.name, port) for stage in self.stages for port in stage.outputs]
        return [end for end in ends if end not in used]

    def offline(self) -> Graph:
        """The same graph with every edge blocking and in order, and nothing due at any time: what `--offline` runs."""
        edges = (
            replace(
                e,
                overflow=Overflow.DROP_OLDEST if e.loop else Overflow.BLOCK,
                order=Order.FIFO,
                max_age_ns=None,
                is_lossless=False,  # there is no second life
            )
            for e in self.edges
        )
        deadlines = (
            replace(path, within_ns=None, firm=None, escalation=(), on_miss=OnMiss.DELIVER) for path in self.deadlines
        )
        return replace(self, edges=tuple(edges), deadlines=tuple(deadlines), rates=())


@dataclass(frozen=True, slots=True)
class Resolved:
    """A graph without faults: ports named, and the types of all ports with every size and rate that is known."""

    graph: Graph
    order: tuple[str, ...]
    input_types: Mapping[tuple[str, str], PortType]
    output_types: Mapping[tuple[str, str], PortType]

    def schema(self, edge: EdgeDef) -> str:
        """A short hash of what both ends of an edge must agree on."""
        sent = self.output_types[edge.source, edge.output]
        expected = self.input_types[edge.target, edge.input]
        text = f"{self.graph.name}|{edge.name}|{edge.overflow.value}|{edge.capacity}|{sent}|{expected}"
        return hashlib.sha256(text.encode()).hexdigest()[:16]
