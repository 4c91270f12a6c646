"""What must hold after any run, whatever went wrong in it; broken laws as sentences."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from typing import Any

from streamflow.core.deadline import OnMiss, Order
from streamflow.core.graph import Graph
from streamflow.core.message import Message
from streamflow.core.paths import Paths
from streamflow.core.restart import with_rest
from streamflow.core.supervision import GroupDef
from streamflow.core.verdict import Kind
from streamflow.testing import Simulation

ENDS = ("met", "missed", "absorbed", "shed", "dropped", "rejected", "lost", "in_flight")


def broken_laws(simulation: Simulation, graph: Graph) -> list[str]:
    return [
        *_conservation(simulation.report),
        *_misses(simulation),
        *_starts(simulation, graph),
        *_restarts(simulation, graph),
        *_orders(simulation, graph.forward),
    ]


def _conservation(report: Mapping[str, Any]) -> Iterator[str]:
    conserved = report["conserved"]
    if conserved is not True and not (report["ending"] != "done" and all("not checked" in line for line in conserved)):
        yield from conserved
    for name, path in report["paths"].items():
        if path["produced"] != sum(path[end] for end in ENDS):
            yield f"path {name}: {path['produced']} produced is not the sum of {[path[end] for end in ENDS]}"
        if report["ending"] == "done" and path["in_flight"]:
            yield f"path {name}: {path['in_flight']} in flight after the end"


def _misses(simulation: Simulation) -> Iterator[str]:
    told = Counter((miss["path"], miss["stream"], miss["seq"]) for miss in simulation.misses)
    for (path, stream, seq), count in told.items():
        if count > 1:
            yield f"path {path}: the miss of {stream} {seq} was told {count} times"
    for name, path in simulation.paths.items():
        count = sum(1 for miss in told if miss[0] == name)
        if path["within_ms"] is not None and count != path["missed"]:
            yield f"path {name}: {path['missed']} misses counted, {count} told"
        if sum(path["culprits"].values()) != path["missed"]:
            yield f"path {name}: {path['missed']} missed, but {sum(path['culprits'].values())} have a culprit"


def _starts(simulation: Simulation, graph: Graph) -> Iterator[str]:
    """Where a single deadline goes through a stage and says SHED, nothing is begun after its deadline."""
    paths = Paths(graph, graph.deadlines)
    for stage in graph.stages:
        through = [
            path
            for index, path in enumerate(paths.definitions[: paths.declared_count])
            if stage.name in paths.route(index) and not stage.is_source
        ]
        if len(through) != 1 or through[0].on_miss is not OnMiss.SHED or stage.is_joined:
            continue
        stream = [each.name for each in graph.stages].index(through[0].source)
        for record in simulation.records[stage.name]:
            is_run = record.kind == Kind.RUN and record.stream == stream and record.deadline_ns
            if is_run and record.started_ns > record.deadline_ns:
                late_ns = record.started_ns - record.deadline_ns
                yield f"stage {stage.name}: began datum {record.seq} {late_ns} ns after its deadline"


def _restarts(simulation: Simulation, graph: Graph) -> Iterator[str]:
    stages = [stage.name for stage in graph.stages]
    process_of = {stage.name: stage.process for stage in graph.stages}
    for group in with_rest(graph.groups, GroupDef("rest", ()), stages):
        own = {process_of[stage] for stage in group.stages}
        instants = [
            event["at_ns"] for event in simulation.events_of("restarting") if own & set(event["processes"])
        ]  # the group has others only with all of its own
        for index, at_ns in enumerate(instants):
            within = [other for other in instants[index:] if other < at_ns + group.period_ns]
            if len(within) > group.intensity:
                yield f"group {group.name}: {len(within)} restarts within its period, {group.intensity} are allowed"
                break


def _orders(simulation: Simulation, graph: Graph) -> Iterator[str]:
    """What comes by edges that serve in order is handled in order, also over restarts."""
    is_mixed = len({path.criticality for path in graph.deadlines}) > 1
    for stage in graph.stages:
        edges = graph.edges_into(stage.name)
        reaching = [
            edge for edge in graph.edges if edge.target == stage.name or _leads_to(graph, edge.target, stage.name)
        ]
        if len(edges) != 1 or is_mixed or any(edge.order is not Order.FIFO for edge in reaching):
            continue
        if any(len(graph.edges_into(edge.target)) > 1 for edge in reaching):
            continue
        seqs: dict[str, list[int]] = defaultdict(list)
        for message in simulation.handled[stage.name]:
            seqs[_stream(message)].append(message.seq)
        for stream, order in seqs.items():
            if order != sorted(order):
                at = next(index for index in range(1, len(order)) if order[index] < order[index - 1])
                yield f"stage {stage.name}: handled {stream} {order[at]} after {order[at - 1]}"


def _stream(message: Message) -> str:
    return message.stream


def _leads_to(graph: Graph, source: str, target: str) -> bool:
    return any(edge.target == target or _leads_to(graph, edge.target, target) for edge in graph.edges_from(source))
