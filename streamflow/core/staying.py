"""Which outputs may stay on a device on their way to the next stage, and how many of their tensors there may be."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Final, NamedTuple

from streamflow.core.batch import Batch
from streamflow.core.device_names import HOST, is_gpu
from streamflow.core.graph import EdgeDef, Resolved
from streamflow.core.turns import FLIGHT_LIMIT

SPARE_COUNT: Final = 3  # what the sender may repeat, what was handled last, and one that a node still looks at


class Staying(NamedTuple):
    """Where all data of an output go, and how many of them somebody may have at once."""

    targets: frozenset[str]
    """Those in the same process, which work on the very device or not at all there."""
    elsewhere: tuple[str, ...]
    """Edges to other processes, in the graph's order; that they see the device's memory readers say themselves."""
    tensor_count: int


def staying(resolved: Resolved, stage: str, port: str) -> Staying | None:
    """None where it cannot stay, whichever devices there are: some edge leads where it would be copied anyway."""
    graph = resolved.graph
    edges = _edges(resolved, stage, port)
    if not edges or not resolved.output_types[stage, port].on_device:
        return None
    if any(why_copied(resolved, edge) for edge in edges):
        return None
    widest = max(edge.capacity + _held_count(graph.stage(edge.target).batch) for edge in edges)
    own = graph.stage(stage).batch
    sent = FLIGHT_LIMIT * (1 if own is None else own.size_max)
    near = frozenset(edge.target for edge in edges if not is_between_processes(resolved, edge))
    far = tuple(edge.name for edge in edges if is_between_processes(resolved, edge))
    return Staying(near, far, widest + sent + SPARE_COUNT)


def is_between_processes(resolved: Resolved, edge: EdgeDef) -> bool:
    return resolved.graph.stage(edge.source).process != resolved.graph.stage(edge.target).process


def why_copied(resolved: Resolved, edge: EdgeDef) -> str:
    """Why what goes over this edge does not stay on its sender's device, whichever that is; empty where it may.

    It does not to an input that does not take it, to a join, which holds back as many as its windows say, or back to an
    earlier stage; nor where what goes over the edge is kept, to be sent again, or no device is one of both its stages.
    """
    source, target = resolved.graph.stage(edge.source), resolved.graph.stage(edge.target)
    if not resolved.input_types[edge.target, edge.input].on_device:
        return f"{edge.target}.{edge.input} is not declared on_device=True"
    if target.is_joined:
        return f"{edge.target} joins inputs, and holds back as many as its windows say"
    if edge.loop is not None:
        return "it leads back"
    if edge.is_lossless:
        return "what goes over a lossless edge is kept on the host"
    if not set(source.devices or (HOST,)) & set(target.devices or (HOST,)):
        return f"{edge.source} and {edge.target} name no device in common"
    return ""


def lacking_device(resolved: Resolved) -> Iterator[tuple[EdgeDef, str]]:
    """Edges whose data would stay on a GPU if their receiver had a `device`, and what to write there."""
    for edge in resolved.graph.edges:
        source, target = resolved.graph.stage(edge.source), resolved.graph.stage(edge.target)
        if not any(map(is_gpu, source.devices)) or target.devices:
            continue
        if not resolved.output_types[edge.source, edge.output].on_device or edge.loop is not None:
            continue
        if resolved.input_types[edge.target, edge.input].on_device and not target.is_joined and not edge.is_lossless:
            names = list(source.devices)
            yield edge, f"device={json.dumps(names if len(names) > 1 else names[0])}"


def _edges(resolved: Resolved, stage: str, port: str) -> list[EdgeDef]:
    return [edge for edge in resolved.graph.edges_from(stage) if edge.output == port]


def _held_count(batch: Batch | None) -> int:
    """How many a stage has taken that are not done."""
    return FLIGHT_LIMIT if batch is None else batch.queue_limit + FLIGHT_LIMIT * batch.size_max
