"""The amendment behind `streamflow record`: a stage that looks on at chosen outputs, and hinders no other.

Its edges are direct and drop what is newest where the recorder cannot keep up: that costs the sender least, and what is
kept is in one piece. It is TEMPORARY, so that its death ends no run: what it has written is readable, and the rest goes
on without it.
*Not taken*: a next life that writes a file of its own; a recorder that is killed again and again would end the run, or
leave a heap of files.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from math import prod
from pathlib import Path
from typing import Final

import numpy as np

from nodes.ingest.mcap_file import McapFile
from nodes.mcap_files.outputs import chosen
from nodes.mcap_files.views import Shown, view_of
from nodes.postprocess.mcap_recorder import McapRecorder, Observed
from streamflow import Overflow, Restart, UsageError
from streamflow.core.graph import EdgeDef, Graph, Resolved
from streamflow.core.ports import PortType
from streamflow.runtime.loading.definition import Definition, stage_of
from streamflow.runtime.loading.loader import Reference

WAITING_SIZE: Final = 64 << 20  # bytes of one output that may wait for the recorder: a third of a second at 200 MB/s
CAPACITY_MIN, CAPACITY_MAX = 4, 1024
CAPACITY_OF_UNKNOWN_SIZE: Final = 64
STAGE: Final = "recorder"


def record(
    definition: Definition,
    reference: Reference,
    *,
    path: str,
    outputs: Sequence[str] = (),
    views: Mapping[str, str] | None = None,
    mailbox: int | None = None,
    compression: str = "none",
) -> Definition:
    """With a recorder of `outputs` (stages, ports or edges; of all sources where none is named).

    `views`: how an output is shown, by its name, where the guess is wrong. `mailbox`: data of one output that may wait;
    by default as many as are 64 MB. Raises PipelineError where the pipeline has faults, UsageError for an unknown name.
    """
    _require_another_file(definition, path)
    resolved = definition.resolved()
    graph = resolved.graph
    names = chosen(graph, outputs) or [
        (stage.name, port) for stage in graph.stages if stage.is_source for port in stage.outputs
    ]
    if not names:
        raise UsageError(
            f"pipeline {graph.name}", "no source sends anything", hint="name what is to be recorded: --edges"
        )
    given = {
        end: _asked(name, word, end, resolved)
        for name, word in (views or {}).items()
        for end in chosen(graph, [name], "--view")
    }
    recorder = _free_name(graph)
    observed = list(_observed(resolved, names, recorder, given, mailbox))
    about = {
        "pipeline": graph.name,
        "reference": reference.text,
        "settings": json.dumps(dict(reference.settings)),
        "streamflow": _version(),
    }
    node = McapRecorder(path, observed, about, compression)
    stage, fault = stage_of(recorder, node, None, restart=Restart.TEMPORARY)
    edges = tuple(
        EdgeDef(one.stage, one.port, recorder, one.input, Overflow.DROP_NEWEST, one.capacity, is_direct=True)
        for one in observed
    )
    return replace(
        definition,
        graph=replace(
            definition.graph, stages=(*definition.graph.stages, stage), edges=(*definition.graph.edges, *edges)
        ),
        nodes={**definition.nodes, recorder: node},
        faults=(*definition.faults, *([fault] if fault is not None else [])),
    )


def _require_another_file(definition: Definition, path: str) -> None:
    """What is replaced by the recording must not be what it is made of."""
    for name, node in definition.nodes.items():
        if isinstance(node, McapFile) and node.path.resolve() == Path(path).resolve():
            found = f"stage {name} reads it"
            raise UsageError(path, found, "another file", "it would be written over while it is read")


def _observed(
    resolved: Resolved, names: Sequence[tuple[str, str]], recorder: str, views: Mapping[tuple[str, str], Shown],
    mailbox: int | None,
) -> Iterator[Observed]:  # fmt: skip
    taken: set[str] = set()
    for stage, port in names:
        definition, port_type = resolved.graph.stage(stage), resolved.output_types[stage, port]
        label = re.sub(r"\W", "_", f"{stage}_{port}")
        while label in taken:
            label += "_"
        taken.add(label)
        name = f"{stage}.{port}"
        shown = views.get((stage, port)) or Shown(view_of(name, definition.node, port_type))
        edge = EdgeDef(stage, port, recorder, label).name
        capacity = mailbox or _capacity(port_type)
        yield Observed(
            stage,
            port,
            label,
            edge,
            definition.node,
            definition.is_source,
            shown.view,
            port_type,
            capacity,
            shown.encoding,
        )


def _asked(name: str, word: str, end: tuple[str, str], resolved: Resolved) -> Shown:
    """Raises UsageError where no datum of the output can be shown so."""
    shown = Shown.asked(word)
    port_type = resolved.output_types[end]
    if expected := shown.lacks(port_type):
        rate = f" at {port_type.rate_hz:g} Hz" if port_type.rate_hz else ""
        raise UsageError(f"--view {name}={word}", f"{'.'.join(end)} is {port_type}{rate}", expected)
    return shown


def _capacity(port_type: PortType) -> int:
    size = 0
    for tensor in port_type.tensors.values():
        if len(tensor.dtypes) != 1 or not all(isinstance(one, int) for one in tensor.dimensions):
            return CAPACITY_OF_UNKNOWN_SIZE
        itemsize = np.dtype(next(iter(tensor.dtypes))).itemsize
        size += prod(one for one in tensor.dimensions if isinstance(one, int)) * itemsize
    return min(max(WAITING_SIZE // max(size, 1), CAPACITY_MIN), CAPACITY_MAX)


def _free_name(graph: Graph) -> str:
    name = STAGE
    while any(stage.name == name or stage.process == name for stage in graph.stages):
        name += "_"
    return name


def _version() -> str:
    try:
        return version("streamflow")
    except PackageNotFoundError:
        return "unknown"
