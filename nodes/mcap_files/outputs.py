"""Outputs of a pipeline as a person names them: a stage, a port, or an edge that leaves it."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence

from streamflow import UsageError
from streamflow.core.graph import Graph

End = tuple[str, str]
"""Stage and port."""


def chosen(graph: Graph, names: Iterable[str], option: str = "--edges") -> list[End]:
    """Each output once, in the order named: `mic` (all it has), `mic.samples`, `mic->vad`. Raises UsageError."""
    found: dict[End, None] = {}
    for name in names:
        found |= dict.fromkeys(_named(graph, name, option))
    return list(found)


def _named(graph: Graph, name: str, option: str) -> list[End]:
    stages = {stage.name: stage for stage in graph.stages}
    subject = f"{option} {name}"
    if "->" in name:
        edges = {edge.name: edge for edge in graph.edges}
        short = [edge for edge in graph.edges if name in (edge.name, f"{edge.source}->{edge.target}")]
        if not short:
            raise UsageError(subject, f"{graph.name} has no such edge", _one_of(edges), _nearest(name, list(edges)))
        return [(edge.source, edge.output) for edge in short]
    stage, _, port = name.partition(".")
    outputs = [f"{one.name}.{each}" for one in graph.stages for each in one.outputs]
    if stage not in stages:
        senders = [one.name for one in graph.stages if one.outputs]
        hint = _nearest(name, [*senders, *outputs])
        raise UsageError(subject, f"{graph.name} has no stage {stage}", _one_of(senders), hint)
    if not stages[stage].outputs:
        raise UsageError(subject, f"{stage} sends nothing", _one_of(outputs))
    if port and port not in stages[stage].outputs:
        own = [f"{stage}.{each}" for each in stages[stage].outputs]
        raise UsageError(subject, f"{stage} has no output {port}", _one_of(own), _nearest(name, own))
    return [(stage, each) for each in stages[stage].outputs if not port or each == port]


def _one_of(names: Iterable[str]) -> str:
    return f"one of {', '.join(names)}"


def _nearest(name: str, names: Sequence[str]) -> str:
    close = difflib.get_close_matches(name, names, 1)
    return f"did you mean {close[0]}?" if close else ""
