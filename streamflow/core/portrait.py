"""A pipeline's graph in plain values, and back: what is left with a run for those who draw it, live or dead.

Only what a drawing shows is kept; what a stage does with its data is in the pipeline's own module, which a reader of
recordings need not have.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from streamflow.core.deadline import PathDef
from streamflow.core.graph import EdgeDef, Graph, PortDef, Resolved, StageDef
from streamflow.core.joins.feedback import Loop
from streamflow.core.overflow import Overflow
from streamflow.core.ports import PortType, parse_tensor
from streamflow.core.timebase import ms, nanoseconds


def as_values(resolved: Resolved) -> dict[str, Any]:
    """Of lists, dictionaries, texts and numbers."""
    graph = resolved.graph
    return {
        "name": graph.name,
        "stages": [
            {
                "name": stage.name,
                "node": stage.node,
                "process": stage.process,
                "is_source": stage.is_source,
                "is_live": stage.live,
                "variants": list(stage.variants),
                "batch": None if stage.batch is None else stage.batch.size_max,
                "join": type(stage.join).__name__ if stage.is_joined else None,
                "inputs": {port: _type(resolved.input_types[stage.name, port]) for port in stage.inputs},
                "outputs": {port: _type(resolved.output_types[stage.name, port]) for port in stage.outputs},
            }
            for stage in graph.stages
        ],
        "edges": [
            {
                "name": edge.name,
                "source": edge.source,
                "output": edge.output,
                "target": edge.target,
                "input": edge.input,
                "overflow": edge.overflow.value,
                "capacity": edge.capacity,
                "is_lossless": edge.is_lossless,
                "delay": None if edge.loop is None else edge.loop.delay,
            }
            for edge in graph.edges
        ],
        "deadlines": [
            {
                "name": path.name,
                "source": path.source,
                "sink": path.sink,
                "within_ms": None if path.within_ns is None else path.within_ns / ms,
                "on_miss": path.on_miss.value,
            }
            for path in graph.deadlines
        ],
    }


def from_values(values: Mapping[str, Any]) -> Resolved:
    """What can be drawn of it. Raises LookupError, TypeError or ValueError for what `as_values` never made."""
    stages = tuple(
        StageDef(
            name=stage["name"],
            node=stage["node"],
            process=stage["process"],
            inputs={port: PortDef(_port(told)) for port, told in stage["inputs"].items()},
            outputs={port: PortDef(_port(told)) for port, told in stage["outputs"].items()},
            is_source=stage["is_source"],
            live=stage["is_live"],
            variants=tuple(stage["variants"]),
        )
        for stage in values["stages"]
    )
    edges = tuple(
        EdgeDef(
            source=edge["source"],
            output=edge["output"],
            target=edge["target"],
            input=edge["input"],
            overflow=Overflow(edge["overflow"]),
            capacity=edge["capacity"],
            is_lossless=edge["is_lossless"],
            loop=None if edge["delay"] is None else Loop(edge["delay"]),
        )
        for edge in values["edges"]
    )
    deadlines = tuple(
        PathDef(
            path["name"],
            path["source"],
            path["sink"],
            None if path["within_ms"] is None else nanoseconds(path["within_ms"] / 1e3),
        )
        for path in values["deadlines"]
    )
    return Resolved(
        Graph(values["name"], stages, edges, deadlines),
        tuple(stage.name for stage in stages),
        {(stage.name, port): told.type for stage in stages for port, told in stage.inputs.items()},
        {(stage.name, port): told.type for stage in stages for port, told in stage.outputs.items()},
    )


def _type(port: PortType) -> dict[str, Any]:
    return {"tensors": {name: str(tensor) for name, tensor in port.tensors.items()}, "rate_hz": port.rate_hz}


def _port(told: Mapping[str, Any]) -> PortType:
    return PortType({name: parse_tensor(text) for name, text in told["tensors"].items()}, told["rate_hz"])
