"""How much shared memory a pipeline is known to need before its first datum: that of outputs whose shape is fixed.

Those slots are made when the stage connects, so that no datum waits for fresh pages; others are made as they come.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from pathlib import Path

import numpy as np

from streamflow.core.graph import Graph, Resolved
from streamflow.core.ports import TensorType
from streamflow.errors import UsageError
from streamflow.memory.pool import class_of
from streamflow.memory.shares import Owner
from streamflow.wire.data import INLINE_SIZE_LIMIT

MB = 1_000_000
SPARE_SLOTS = 3  # beside what an edge may hold: one being written, one in service, one that a reader still looks at


@dataclass(frozen=True, slots=True)
class Reservation:
    """`count` slots for tensors of `size` bytes of a stage."""

    stage: str
    size: int
    count: int

    @property
    def memory(self) -> int:
        """Bytes, of whole slots."""
        return class_of(self.size) * self.count


def reservations(resolved: Resolved) -> Iterator[Reservation]:
    """For each large tensor of a known size that goes to another process.

    Edges that leave one output hold the same data, so the widest says how many there are, with a batch at its end.
    """
    process_of = {stage.name: stage.process for stage in resolved.graph.stages}
    for stage in resolved.graph.stages:
        capacities: dict[str, int] = {}
        for edge in resolved.graph.edges_from(stage.name):
            if process_of[edge.target] != stage.process:
                batch = resolved.graph.stage(edge.target).batch  # which holds back what it was given
                held = 0 if batch is None else batch.size_max
                capacities[edge.output] = max(edge.capacity + held, capacities.get(edge.output, 0))
        for port, capacity in capacities.items():
            for tensor in resolved.output_types[stage.name, port].tensors.values():
                size = _size_of(tensor)
                if size is not None and size > INLINE_SIZE_LIMIT:
                    yield Reservation(stage.name, size, capacity + SPARE_SLOTS)


def owners(graph: Graph) -> list[Owner]:
    """Every stage, in the graph's order, with the edges between processes by which its tensors may travel."""
    process_of = {stage.name: stage.process for stage in graph.stages}
    found = []
    for stage in graph.stages:
        reached, waiting = {stage.name}, [stage.name]
        while waiting:
            for edge in graph.edges_from(waiting.pop()):
                if edge.target not in reached:
                    reached.add(edge.target)
                    waiting.append(edge.target)
        names = [
            edge.name
            for edge in graph.edges
            if edge.source in reached and process_of[edge.source] != process_of[edge.target]
        ]
        found.append(Owner(stage.name, {name: column for column, name in enumerate(names)}))
    return found


def _size_of(tensor: TensorType) -> int | None:
    """Bytes; None where it depends on the datum."""
    if len(tensor.dtypes) != 1 or not all(isinstance(one, int) for one in tensor.dimensions):
        return None
    itemsize: int = np.dtype(next(iter(tensor.dtypes))).itemsize
    return prod(one for one in tensor.dimensions if isinstance(one, int)) * itemsize or None


def require_room(resolved: Resolved, memory: Path, limit_mb: int | None = None) -> None:
    """Raises UsageError where what is known to be needed is not free in `memory`; `limit_mb`: of each stage."""
    needs: dict[str, int] = {}
    for one in reservations(resolved):
        needs[one.stage] = needs.get(one.stage, 0) + one.memory
    if limit_mb is not None:
        needs = {stage: min(need, limit_mb * MB) for stage, need in needs.items()}
    if not needs or not memory.is_dir():
        return
    status = os.statvfs(memory)
    free = status.f_bavail * status.f_frsize
    if sum(needs.values()) > free:
        stages = ", ".join(f"{stage} {need / 1e6:,.0f} MB" for stage, need in needs.items())
        raise UsageError(
            f"shared memory {memory}",
            f"{free / 1e6:,.0f} MB free",
            f"{sum(needs.values()) / 1e6:,.0f} MB ({stages})",
            "give it more (docker run --shm-size=1g, mount -o remount,size=1g), lower the capacity of edges, or run "
            "with --pool-mb 0, where large tensors travel in messages",
        )
