"""A pipeline's graph as text for people: lines for a terminal, Mermaid for documents, DOT for Graphviz."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from streamflow.core.graph import EdgeDef, Graph, Resolved, StageDef
from streamflow.core.overflow import Overflow
from streamflow.core.ports import PortType


def type_text(port: PortType) -> str:
    """What flows, with the sampling rate where there is one: `float32[512] at 16000 Hz`."""
    return f"{port} at {port.rate_hz:g} Hz" if port.rate_hz else str(port)


def policy_text(edge: EdgeDef) -> str:
    """What a full edge does, how many data may wait (of `latest` only one ever does), and by how much it leads back."""
    back = f", delay {edge.loop.delay}" if edge.loop is not None else ""
    if edge.overflow is Overflow.LATEST:
        return f"{edge.overflow.value}{back}"
    policy = "lossless" if edge.is_lossless else edge.overflow.value
    return f"{policy} {edge.capacity}{back}"


def summary_text(graph: Graph) -> str:
    """The size of a graph in one line."""
    stages = _counted(len(graph.stages), "stage", "stages")
    processes = _counted(len(graph.processes()), "process", "processes")
    return f"{graph.name}: {stages} in {processes}, {_counted(len(graph.edges), 'edge', 'edges')}"


def _counted(count: int, one: str, many: str) -> str:
    return f"{count} {one if count == 1 else many}"


def shared_processes(graph: Graph) -> dict[str, list[str]]:
    """The processes in which several stages work, with these: what a drawing puts a box around."""
    return {process: stages for process, stages in graph.processes().items() if len(stages) > 1}


def sent_type(resolved: Resolved, edge: EdgeDef) -> PortType:
    """What flows along an edge, with every size that is known."""
    return resolved.output_types[edge.source, edge.output]


# ---------------------------------------------------------------------------------------------- a terminal


def as_text(resolved: Resolved) -> str:
    """One line per stage, senders first, and one per edge; a rail at the left leads each edge to its receiver."""
    graph = resolved.graph
    rows = railed(graph)
    cells = [
        _stage_cells(graph.stage(row.stage)) if row.edge is None else _edge_cells(resolved, row.edge) for row in rows
    ]
    return "\n".join([summary_text(graph), "", *_table([row.rail for row in rows], cells)])


def _edge_cells(resolved: Resolved, edge: EdgeDef) -> tuple[str, ...]:
    receiver = f"{'→' if edge.loop is None else '↩'} {edge.target}.{edge.input}"
    return (f".{edge.output}", receiver, policy_text(edge), type_text(sent_type(resolved, edge)))


class Row(NamedTuple):
    """A line of a drawing: a stage, or an edge that leaves it."""

    rail: str
    stage: str
    edge: EdgeDef | None


def railed(graph: Graph) -> list[Row]:
    """The lines of a graph from top to bottom, each with the rail at its left; all rails are of one width."""
    rows: list[Row] = []
    lanes: list[EdgeDef | None] = []
    for name in reading_order(graph):
        arriving = [lane for lane, edge in enumerate(lanes) if edge is not None and edge.target == name]
        rows.append(Row(_rail(lanes, arriving, "╰", "┴", "▶"), name, None))
        for lane in arriving:
            lanes[lane] = None
        for edge in graph.edges_from(name):
            if edge.loop is not None:
                rows.append(Row(_rail(lanes, [], "", "", ""), name, edge))
                continue
            lane = lanes.index(None) if None in lanes else len(lanes)
            lanes[lane : lane + 1] = [edge]
            rows.append(Row(_rail(lanes, [lane], "╭", "┬", "─"), name, edge))
    rails = _extended([row.rail for row in rows], len(lanes))
    return [row._replace(rail=rail) for row, rail in zip(rows, rails, strict=True)]


def reading_order(graph: Graph) -> list[str]:
    """Stages with every sender before its receivers, and a chain in one piece where that is possible."""
    graph = graph.forward
    missing = {stage.name: {edge.source for edge in graph.edges_into(stage.name)} for stage in graph.stages}
    waiting = [stage.name for stage in reversed(graph.stages) if not missing[stage.name]]
    order: list[str] = []
    while waiting:
        name = waiting.pop()
        order.append(name)
        for edge in reversed(graph.edges_from(name)):
            if name in missing[edge.target]:
                missing[edge.target].remove(name)
                if not missing[edge.target]:
                    waiting.append(edge.target)
    return order


def _stage_cells(stage: StageDef) -> tuple[str, ...]:
    kind = "live source" if stage.live else "source" if stage.is_source else ""
    return (stage.name, stage.node, f"process {stage.process}", kind)


def _rail(lanes: Sequence[EdgeDef | None], turning: Sequence[int], corner: str, joint: str, head: str) -> str:
    """The lanes at one line: those that turn into the line's text, and those that pass."""
    text = ""
    for lane, edge in enumerate(lanes):
        if lane in turning:
            text += corner if lane == turning[0] else joint
        elif edge is not None:
            text += "┼" if turning and lane > turning[0] else "│"
        else:
            text += "─" if turning and lane > turning[0] else " "
        text += "─" if turning and lane >= turning[0] else " "
    return text + (head if turning else " ")


def _extended(rails: Iterable[str], lane_count: int) -> list[str]:
    """All rails as wide as the widest: what turns right goes on to the text."""
    width = 2 * lane_count + 1
    return [rail[:-1] + (" " if rail[-1] == " " else "─") * (width - len(rail)) + rail[-1] for rail in rails]


def _table(rails: Sequence[str], cells: Sequence[tuple[str, ...]]) -> list[str]:
    widths = [max((len(row[column]) for row in cells), default=0) for column in range(3)]
    lines = []
    for rail, row in zip(rails, cells, strict=True):
        aligned = [text.ljust(width) for text, width in zip(row, widths, strict=False)]
        lines.append("  ".join([f"{rail} {aligned[0]}", *aligned[1:], *row[3:]]).rstrip())
    return lines


# ------------------------------------------------------------------------------------------ Mermaid and DOT


def as_mermaid(resolved: Resolved) -> str:
    """A Mermaid flowchart; stages are numbered, since some names (`end`) are words of Mermaid's own."""
    graph = resolved.graph
    numbers = {stage.name: f"s{number}" for number, stage in enumerate(graph.stages)}

    def node(stage: StageDef) -> str:
        left, right = ("([", "])") if stage.is_source else ("[", "]")
        return f"{numbers[stage.name]}{left}{_mermaid_text(stage.name, stage.node)}{right}"

    lines = ["---", f"title: {json.dumps(graph.name)}", "---", "flowchart LR"]
    for number, (process, stages) in enumerate(shared_processes(graph).items()):
        lines.append(f"  subgraph p{number}[{_mermaid_text(f'process {process}')}]")
        lines += [f"    {node(graph.stage(stage))}" for stage in stages]
        lines.append("  end")
    lines += [f"  {node(stage)}" for stage in _alone(graph)]
    for edge in graph.edges:
        label = _mermaid_text(type_text(sent_type(resolved, edge)), policy_text(edge))
        arrow = "-->" if edge.loop is None else "-.->"
        lines.append(f"  {numbers[edge.source]} {arrow}|{label}| {numbers[edge.target]}")
    return "\n".join(lines)


def _mermaid_text(*lines: str) -> str:
    """A quoted label; Mermaid writes special characters as entities that begin with a hash."""
    escaped = (line.replace("#", "#35;").replace('"', "#quot;").replace("<", "#lt;") for line in lines)
    return '"' + "<br/>".join(escaped) + '"'


def as_dot(resolved: Resolved) -> str:
    """A digraph for Graphviz; processes with several stages are clusters."""
    graph = resolved.graph

    def node(stage: StageDef) -> str:
        shape = ", style=rounded" if stage.is_source else ""
        return f"{_dot_text(stage.name)} [label={_dot_text(stage.name, stage.node)}{shape}];"

    lines = [f"digraph {_dot_text(graph.name)} {{", "  rankdir=LR;", '  node [shape=box, fontname="monospace"];']
    lines.append('  edge [fontname="monospace", fontsize=10];')
    for process, stages in shared_processes(graph).items():
        lines += [f"  subgraph {_dot_text(f'cluster_{process}')} {{", f"    label={_dot_text(f'process {process}')};"]
        lines += [f"    {node(graph.stage(stage))}" for stage in stages]
        lines.append("  }")
    lines += [f"  {node(stage)}" for stage in _alone(graph)]
    for edge in graph.edges:
        label = _dot_text(type_text(sent_type(resolved, edge)), policy_text(edge))
        back = "" if edge.loop is None else ", style=dashed, constraint=false"
        lines.append(f"  {_dot_text(edge.source)} -> {_dot_text(edge.target)} [label={label}{back}];")
    return "\n".join([*lines, "}"])


def _dot_text(*lines: str) -> str:
    escaped = (line.replace("\\", "\\\\").replace('"', '\\"') for line in lines)
    return '"' + "\\n".join(escaped) + '"'


def _alone(graph: Graph) -> list[StageDef]:
    shared = shared_processes(graph)
    return [stage for stage in graph.stages if stage.process not in shared]
