"""The pipeline as a graph: stages, ports, edges; every fault of its structure, found before anything starts."""

from __future__ import annotations

import difflib
import hashlib
import re
from collections import Counter, deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from streamflow.core.deadline import OnMiss, Order, PathDef, RateDef
from streamflow.core.joins.contract import Join
from streamflow.core.joins.exact import Exact
from streamflow.core.overflow import Overflow
from streamflow.core.ports import Dimension, Mismatch, PortType, substitute, unify_ports
from streamflow.core.realtime import RealTime
from streamflow.core.supervision import GroupDef, Restart
from streamflow.errors import Fault

CAPACITY_LIMIT = 65_536  # data on one edge; more is a store, not a mailbox
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,63}")  # a dot would end the stage in the name of an edge


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

    def sinks(self) -> list[str]:
        """Stages from which nothing is sent on."""
        return [stage.name for stage in self.stages if not self.edges_from(stage.name)]

    def unused_outputs(self) -> list[tuple[str, str]]:
        """(stage, port) of every output from which no edge leaves."""
        used = {(edge.source, edge.output) for edge in self.edges}
        ends = [(stage.name, port) for stage in self.stages for port in stage.outputs]
        return [end for end in ends if end not in used]

    def lossless(self) -> Graph:
        """The same graph with every edge blocking and in order, and nothing due at any time: what `--offline` runs."""
        edges = (replace(e, overflow=Overflow.BLOCK, order=Order.FIFO, max_age_ns=None) for e in self.edges)
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


def resolve(graph: Graph) -> tuple[Resolved | None, list[Fault]]:
    """The resolved graph, or every fault that was found, each a sentence with subject, found, expected, hint."""
    faults = _stage_faults(graph)
    firsts = {stage.name: stage for stage in reversed(graph.stages)}
    graph = replace(graph, stages=tuple(stage for stage in graph.stages if firsts[stage.name] is stage))
    named, left_out, port_faults = _name_ports(graph)
    faults += port_faults
    faults += _connection_faults(named, left_out)
    order, cycle = _order(named)
    if cycle:
        faults.append(
            Fault(
                "graph",
                f"a cycle {' -> '.join(cycle)}",
                "none",
                "feedback needs an edge with a declared delay, which is not available yet",
            )
        )
    inputs, outputs, type_faults = _flow_types(named, order)
    faults += type_faults
    if faults or not all(stage.is_known for stage in named.stages):
        return None, faults
    return Resolved(named, tuple(order), inputs, outputs), []


def _stage_faults(graph: Graph) -> list[Fault]:
    faults = []
    if not graph.stages:
        faults.append(Fault(f"pipeline {graph.name}", "no stages", "at least one", "add one with p.add(name, node)"))
    elif not any(stage.is_source or not stage.is_known for stage in graph.stages):
        faults.append(Fault(f"pipeline {graph.name}", "no source", "a stage with run()", "nothing would ever flow"))
    for name, count in Counter(stage.name for stage in graph.stages).items():
        if count > 1:
            faults.append(Fault(f"stage {name}", f"{count} stages of this name", "one", "name them apart"))
    for stage in graph.stages:
        if not _NAME.fullmatch(stage.name):
            faults.append(_name_fault("stage", stage.name))
        if not stage.is_known:
            continue
        unhandled = [] if stage.handled is None else [port for port in stage.inputs if port not in stage.handled]
        if unhandled and not stage.is_source:
            handlers = " and ".join(f"process_{port}" for port in unhandled)
            faults.append(
                Fault(f"stage {stage.name}", f"{stage.node} has no way to handle {', '.join(unhandled)}",
                      f"process or {handlers}")
            )  # fmt: skip
        if stage.is_source and stage.inputs:
            faults.append(
                Fault(f"stage {stage.name}", f"{stage.node} has run() and the inputs {', '.join(stage.inputs)}",
                      "a source has no inputs", "write process() for what arrives")
            )  # fmt: skip
        if not stage.is_source and not stage.inputs:
            faults.append(
                Fault(f"stage {stage.name}", f"{stage.node} has neither run() nor an In port",
                      "a source or an input")
            )  # fmt: skip
    processes = dict.fromkeys(stage.process for stage in graph.stages if stage.process != stage.name)
    return faults + [_name_fault("process", name) for name in processes if not _NAME.fullmatch(name)]


def _name_fault(what: str, name: str) -> Fault:
    expected = "letters, digits, '_' or '-', at most 64, the first a letter or '_'"
    return Fault(f"{what} {name!r}", "not a valid name", expected)


def _name_ports(graph: Graph) -> tuple[Graph, list[EdgeDef], list[Fault]]:
    """Every edge with both its ports named; those that name no port there is are left out, and are faults."""
    stages = {stage.name: stage for stage in graph.stages}
    edges, left_out, faults = [], [], []
    for edge in graph.edges:
        found: list[str] = []
        for end, name, port in (("output", edge.source, edge.output), ("input", edge.target, edge.input)):
            stage = stages.get(name)
            if stage is None:
                faults.append(Fault(f"edge {edge.name}", f"no stage {name}", _one_of(stages), _nearest(name, stages)))
                continue
            ports = stage.outputs if end == "output" else stage.inputs
            others = stage.inputs if end == "output" else stage.outputs
            subject = f"edge {edge.name}"
            if (port and port in ports) or not stage.is_known:
                found.append(port)
            elif port and port in others:
                other = "input" if end == "output" else "output"
                faults.append(Fault(subject, f"{name}.{port} is an {other}", f"an {end}", "connect(from, to)"))
            elif port:
                faults.append(
                    Fault(subject, f"{stage.node} has no {end} {port}", _one_of(ports), _nearest(port, ports))
                )
            elif len(ports) == 1:
                found.append(next(iter(ports)))
            else:
                hint = f"name one, as in {name}.{next(iter(ports))}" if ports else ""
                faults.append(Fault(subject, f"{name} has {len(ports)} {end}s", f"one {end}", hint))
        if not 1 <= edge.capacity <= CAPACITY_LIMIT:
            faults.append(Fault(f"edge {edge.name}", f"capacity {edge.capacity}", f"1 to {CAPACITY_LIMIT:,}"))
        if len(found) == 2:
            edges.append(replace(edge, output=found[0], input=found[1]))
        else:
            left_out.append(edge)
    return replace(graph, edges=tuple(edges)), left_out, faults


def _one_of(names: Iterable[str]) -> str:
    listed = ", ".join(names)
    return f"one of {listed}" if listed else "none: there is none"


def _nearest(name: str, names: Iterable[str]) -> str:
    close = difflib.get_close_matches(name, list(names), 1)
    return f"did you mean {close[0]}?" if close else ""


def _connection_faults(graph: Graph, left_out: list[EdgeDef]) -> list[Fault]:
    """Inputs with several senders, and those with none, unless an edge that was left out was meant for them."""
    faults = []
    known = [stage for stage in graph.stages if stage.is_known]
    names = {stage.name for stage in known}
    senders: dict[tuple[str, str], list[EdgeDef]] = {}
    for edge in graph.edges:
        senders.setdefault((edge.target, edge.input), []).append(edge)
    for (stage, port), edges in senders.items():
        if len(edges) > 1 and stage in names:
            who = " and ".join(f"{edge.source}.{edge.output}" for edge in edges)
            faults.append(
                Fault(f"input {stage}.{port}", f"connected {len(edges)} times, from {who}", "one sender",
                      "give the node an input for each")
            )  # fmt: skip
    named = {end for edge in left_out for end in ((edge.target, edge.input), (edge.source, edge.output))}
    for receiver in known:
        open_ports = [p for p in receiver.inputs if (receiver.name, p) not in senders.keys() | named]
        vague = [edge for edge in left_out if edge.target == receiver.name and edge.input not in receiver.inputs]
        if len(open_ports) <= len(vague) or any(not edge.input for edge in vague):
            continue  # each of them is what one of those edges was meant for
        for port in open_ports:
            faults.append(
                Fault(f"input {receiver.name}.{port}", "not connected", f"a sender of {receiver.inputs[port].type}",
                      f"p.connect(..., {receiver.name}.{port})")
            )  # fmt: skip
    return faults


def _order(graph: Graph) -> tuple[list[str], list[str]]:
    """Stages with every sender before its receivers; and one cycle as a list that ends where it begins, or []."""
    waiting_for = {stage.name: {edge.source for edge in graph.edges_into(stage.name)} for stage in graph.stages}
    order: list[str] = []
    while True:
        free = [name for name, senders in waiting_for.items() if not senders]
        if not free:
            break
        for name in free:
            del waiting_for[name]
            order.append(name)
        for senders in waiting_for.values():
            senders.difference_update(free)
    if not waiting_for:
        return order, []
    name = next(iter(waiting_for))
    path: list[str] = []
    while name not in path:
        path.append(name)
        name = min(sender for sender in waiting_for[name] if sender in waiting_for)
    cycle = path[path.index(name) :][::-1]
    return order, [*cycle, cycle[0]]


Types = dict[tuple[str, str], PortType]


def _flow_types(graph: Graph, order: list[str]) -> tuple[Types, Types, list[Fault]]:
    """Follow types, sizes and rates from the sources down; a mismatch is a fault of the edge where it shows."""
    inputs: Types = {}
    outputs: Types = {}
    faults = []
    for name in order:
        stage = graph.stage(name)
        if not stage.is_known:
            continue
        sizes: dict[str, Dimension] = {}
        rates: dict[str, float | None] = {}
        for edge in graph.edges_into(name):
            if (edge.source, edge.output) not in outputs:
                continue
            expected = stage.inputs[edge.input].type
            sent = outputs[edge.source, edge.output]
            rates[edge.input] = sent.rate_hz or expected.rate_hz
            try:
                sizes = unify_ports(sent, expected, sizes)
            except Mismatch as mismatch:
                hint = f"put nodes.preprocess.Resample({sent.rate_hz:g}, {expected.rate_hz:g}) between" if (
                    sent.rate_hz and expected.rate_hz and sent.rate_hz != expected.rate_hz
                ) else ""  # fmt: skip
                faults.append(Fault(f"edge {edge.name}", str(mismatch), hint=hint))
        for port, definition in stage.inputs.items():
            inputs[name, port] = replace(substitute(definition.type, sizes), rate_hz=rates.get(port))
        for port, definition in stage.outputs.items():
            kept = rates.get(definition.rate_from) if definition.rate_from else definition.type.rate_hz
            outputs[name, port] = replace(substitute(definition.type, sizes), rate_hz=kept)
    return inputs, outputs, faults
