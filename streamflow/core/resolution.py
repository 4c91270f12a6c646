"""From a graph as defined to one that can run: ports named, an order, types that flow; or every fault there is."""

from __future__ import annotations

import difflib
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace

from streamflow.core.graph import EdgeDef, Graph, Resolved
from streamflow.core.overflow import Overflow
from streamflow.core.ports import Dimension, Mismatch, PortType, substitute, unify_ports
from streamflow.errors import Fault

CAPACITY_LIMIT = 65_536  # data on one edge; more is a store, not a mailbox
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,63}")  # a dot would end the stage in the name of an edge


def resolve(graph: Graph) -> tuple[Resolved | None, list[Fault]]:
    """The resolved graph, or every fault that was found, each a sentence with subject, found, expected, hint."""
    faults = _stage_faults(graph)
    firsts = {stage.name: stage for stage in reversed(graph.stages)}
    graph = replace(graph, stages=tuple(stage for stage in graph.stages if firsts[stage.name] is stage))
    named, left_out, port_faults = _name_ports(graph)
    faults += port_faults
    faults += _connection_faults(named, left_out)
    order, cycle = _order(named.forward)
    if cycle:
        faults.append(
            Fault(
                "graph",
                f"a cycle {' -> '.join(cycle)}",
                "none without a delay",
                "an edge that leads back says p.connect(..., delay=1, initial=...)",
            )
        )
    inputs, outputs, type_faults = _flow_types(named.forward, order)
    faults += type_faults
    faults += _loop_faults(named, order, inputs, outputs)
    faults += _lossless_faults(named)
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


def _lossless_faults(graph: Graph) -> list[Fault]:
    """Edges that cannot keep what they promise."""
    faults = []
    stages = {stage.name: stage for stage in graph.stages}
    for edge in graph.edges:
        source, target = stages.get(edge.source), stages.get(edge.target)
        if not edge.is_lossless or source is None or target is None:
            continue
        subject = f"edge {edge.name}, lossless"
        if edge.loop is not None:
            faults.append(
                Fault(subject, "a delay", "an edge that leads forward", "say with reseed what follows a loss")
            )
        elif edge.overflow is not Overflow.BLOCK:
            faults.append(Fault(subject, f"overflow {edge.overflow.name}", "BLOCK", "the others give up data"))
        elif edge.max_age_ns is not None:
            faults.append(Fault(subject, "max_age", "none", "it gives up data"))
        if target.is_joined:
            found = f"{target.name}, which joins it with others"
            faults.append(Fault(subject, found, "a stage that works on each datum by itself"))
        elif target.batch is not None:
            found = f"{target.name}, which works on batches"
            hint = "batch=Batch(1) where it is added, and a process() beside its process_batch()"
            faults.append(Fault(subject, found, "a stage that works on each datum by itself", hint))
        if source.process == target.process:
            found = f"both its stages in process {source.process}, which go down together"
            own = source.name if target.name == target.process else target.name
            why = ": stages of one GPU share one where nothing is said" if source.devices and target.devices else ""
            hint = f'process="{own}" where {own} is added{why}'
            faults.append(Fault(subject, found, "stages in processes of their own", hint))
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


def _loop_faults(graph: Graph, order: list[str], inputs: Types, outputs: Types) -> list[Fault]:
    """What is wrong with the edges that lead back; their types are held to those that flow forward."""
    faults = []
    for edge in graph.edges:
        if edge.loop is None:
            continue
        target, subject = graph.stage(edge.target), f"edge {edge.name}"
        if edge.source in order and edge.target in order and not _between(graph.forward, edge.target, edge.source):
            faults.append(Fault(subject, "a delay, but it leads forward", "an edge back to a stage before its sender"))
        if target.is_known and (not target.is_joined or len(graph.loops_into(target.name)) == len(target.inputs)):
            found = f"{target.node} does not take {edge.input} together with another input"
            faults.append(Fault(subject, found, "one process() of several In ports, one of which leads forward"))
        if getattr(target.join, "trigger", "") == edge.input:
            found = f"{edge.input}, which triggers the join of {target.name}"
            faults.append(Fault(subject, found, "an input that waits"))
        for name in _between(graph.forward, edge.target, edge.source):
            if graph.stage(name).retimes:
                found = f"{name} in the cycle, whose results are older than what it takes"
                faults.append(Fault(subject, found, "results of the event time of what they are made from"))
        if edge.overflow is Overflow.BLOCK:
            hint = "Overflow.DROP_OLDEST is the default there"
            faults.append(Fault(subject, "overflow BLOCK", "one that drops: a cycle that waits stands still", hint))
        sent, expected = outputs.get((edge.source, edge.output)), inputs.get((edge.target, edge.input))
        if sent is not None and expected is not None:
            try:
                unify_ports(sent, expected, {})
            except Mismatch as mismatch:
                faults.append(Fault(subject, str(mismatch)))
    return faults


def _between(graph: Graph, first: str, last: str) -> list[str]:
    """The stages on any way from one to the other, both included; a stage leads to itself."""
    return [
        stage.name
        for stage in graph.stages
        if stage.name in _reached(graph, first) and last in _reached(graph, stage.name)
    ]


def _reached(graph: Graph, start: str) -> set[str]:
    seen, waiting = {start}, [start]
    while waiting:
        for edge in graph.edges_from(waiting.pop()):
            if edge.target not in seen:
                seen.add(edge.target)
                waiting.append(edge.target)
    return seen


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
