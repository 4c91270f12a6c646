"""Which outputs may stay on a device on their way to the next stage, and how many of their tensors there may be."""

from __future__ import annotations

from typing import Final, NamedTuple

from streamflow.core.batch import Batch
from streamflow.core.graph import EdgeDef, Resolved
from streamflow.core.turns import FLIGHT_LIMIT

SPARE_COUNT: Final = 3  # what the sender may repeat, what was handled last, and one that a node still looks at


class Staying(NamedTuple):
    """Where all data of an output go, and how many of them somebody may have at once."""

    targets: frozenset[str]
    tensor_count: int


def staying(resolved: Resolved, stage: str, port: str) -> Staying | None:
    """None where it cannot stay, whichever devices there are: some edge leads where it would have to be copied anyway.

    That is to another process, to an input that does not take it, to a join, which holds back as many as its windows
    say, or back to an earlier stage; or what goes over it is kept, to be sent again.
    """
    graph = resolved.graph
    edges = [edge for edge in graph.edges_from(stage) if edge.output == port]
    if not edges or not resolved.output_types[stage, port].on_device:
        return None
    if not all(_takes(resolved, edge) for edge in edges):
        return None
    widest = max(edge.capacity + _held_count(graph.stage(edge.target).batch) for edge in edges)
    own = graph.stage(stage).batch
    sent = FLIGHT_LIMIT * (1 if own is None else own.size_max)
    return Staying(frozenset(edge.target for edge in edges), widest + sent + SPARE_COUNT)


def _takes(resolved: Resolved, edge: EdgeDef) -> bool:
    source, target = resolved.graph.stage(edge.source), resolved.graph.stage(edge.target)
    is_simple = edge.loop is None and not edge.is_lossless and not target.is_joined
    return is_simple and source.process == target.process and resolved.input_types[edge.target, edge.input].on_device


def _held_count(batch: Batch | None) -> int:
    """How many a stage has taken that are not done."""
    return FLIGHT_LIMIT if batch is None else batch.queue_limit + FLIGHT_LIMIT * batch.size_max
