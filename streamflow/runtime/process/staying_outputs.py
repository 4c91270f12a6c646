"""The outputs of a process's stages that stay on their device, which is sure only when all stages are open."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from streamflow.core.graph import EdgeDef, Resolved
from streamflow.core.staying import Staying, is_between_processes, staying, why_copied
from streamflow.device.contract import Device, DeviceError, DeviceLostError, DeviceMemoryError
from streamflow.device.resident import TensorRing, Tensors
from streamflow.device.shared_ring import SharedRing
from streamflow.device.shared_tensors import SUFFIX, SharedTensors
from streamflow.errors import PoolError
from streamflow.memory.pool import Pool
from streamflow.memory.shares import Shares
from streamflow.recorder import layout
from streamflow.runtime.process.landing import Landing
from streamflow.runtime.process.life import Life
from streamflow.runtime.process.staying_lending import StayingLending
from streamflow.runtime.stage.actor import Actor
from streamflow.transport.sockets import SocketContext
from streamflow.wire.data import INLINE_SIZE_LIMIT

IN_PROCESS = "in process"
BETWEEN_PROCESSES = "between processes"


class StayingOutputs:
    """Of one life of a process; `actors` by stage. `memory`: where other processes find what they copy, if any do."""

    def __init__(self, resolved: Resolved, actors: Mapping[str, Actor], memory: Path | None) -> None:
        self.landings: dict[str, Landing] = {}
        """By the edge that ends there."""
        self._resolved = resolved
        self._actors = actors
        self._memory = memory
        self._life = Life(0, {})
        self._rings: dict[tuple[str, str], list[TensorRing]] = {}
        self._shared: dict[tuple[str, str], list[SharedTensors]] = {}
        self._refused: dict[tuple[str, str], str] = {}

    # ------------------------------------------------------------------------------- the sending end

    def lend(self, actor: Actor, life: Life) -> None:
        """Let its node ask for tensors when it opens."""
        self._life = life
        actor.resident = partial(self._resident, actor)

    def _resident(self, actor: Actor, port: str, shape: Sequence[int], dtype: Any) -> Tensors | None:
        """As `Context.resident`; who has no device yet is taken to get the same."""
        found = staying(self._resolved, actor.stage, port)
        if found is None or any(self._device_of(target, actor.device) is not actor.device for target in found.targets):
            return None
        exhausted = partial(actor.logbook.recorder.add, layout.POOL_EXHAUSTED)
        if found.elsewhere:
            return self._shared_ring(actor, port, found, shape, dtype, exhausted)
        ring = TensorRing(actor.device, shape, dtype, found.tensor_count, exhausted)
        self._rings.setdefault((actor.stage, port), []).append(ring)
        return ring

    def _shared_ring(
        self, actor: Actor, port: str, found: Staying, shape: Sequence[int], dtype: Any, exhausted: Any
    ) -> SharedTensors | None:
        """None for what is in the message itself, and where nothing is shared."""
        device, memory = actor.device, self._memory
        is_small = prod(shape) * np.dtype(dtype).itemsize <= INLINE_SIZE_LIMIT
        if memory is None or is_small or not device.capabilities.has_ipc:
            return None
        rings = self.shared(actor.stage, port)
        if any(ring.device is not device for ring in rings):  # its node went on to another
            for ring in rings:
                ring.close()
            rings.clear()
        output = output_name(actor.stage, port)
        if not rings:
            for old in memory.glob(f"{output}.*{SUFFIX}"):
                old.unlink()
        name = f"{output}.{len(rings)}"
        life, readers = self._life.generation, len(found.elsewhere)
        try:
            made = SharedRing(device, memory, name, life, shape, dtype, found.tensor_count, readers)
            rings.append(SharedTensors(made, device, memory, name, exhausted))
        except (DeviceMemoryError, DeviceLostError):
            raise
        except (DeviceError, PoolError) as error:  # its driver shares nothing here, as in some containers
            self._refused[actor.stage, port] = str(error)
            return None
        return rings[-1]

    def shared(self, stage: str, port: str) -> list[SharedTensors]:
        """As they are made."""
        return self._shared.setdefault((stage, port), [])

    def lender(self, edge: EdgeDef, shares: Shares, pool: Pool) -> StayingLending | None:
        """For an edge by which what is on the device may go to another process; None for all others."""
        found = self._elsewhere(edge)
        if found is None:
            return None
        copied = partial(self._actors[edge.source].logbook.recorder.add, layout.POOL_EXHAUSTED)
        nth = found.elsewhere.index(edge.name)
        return StayingLending(shares, edge.name, nth, pool, self.shared(edge.source, edge.output), copied)

    def _elsewhere(self, edge: EdgeDef) -> Staying | None:
        found = None if self._memory is None else staying(self._resolved, edge.source, edge.output)
        return found if found is not None and edge.name in found.elsewhere else None

    def _device_of(self, stage: str, unknown: Device) -> Device:
        device: Device = getattr(self._actors[stage], "device", unknown)
        return device

    # ----------------------------------------------------------------------------- the receiving end

    def landing(self, edge: EdgeDef, context: SocketContext) -> Landing | None:
        """The same of an edge that ends here, made of what its socket is made of."""
        found = self._elsewhere(edge)
        if found is None:
            return None
        assert self._memory is not None
        exhausted = partial(self._actors[edge.target].logbook.recorder.add, layout.POOL_EXHAUSTED)
        output, nth = output_name(edge.source, edge.output), found.elsewhere.index(edge.name)
        landing = Landing(context, self._memory, output, nth, found.tensor_count, exhausted)
        self.landings[edge.name] = landing
        return landing

    # ------------------------------------------------------------------------------------ both

    def settle(self, actor: Actor) -> None:
        """All stages of the process are open, and have the devices that they keep: from now on its data flow.

        What was made for an output that does not stay after all is given back, as what was made before its own stage
        went on to another device.
        """
        for (stage, port), rings in self._rings.items():
            if stage != actor.stage:
                continue
            if self._is_on_one_device(actor, port):
                actor.sending.resident.add(port)
            for ring in rings:
                if port not in actor.sending.resident or ring.device is not actor.device:
                    ring.close()
        for (stage, port), shared in self._shared.items():
            if stage == actor.stage and not self._is_on_one_device(actor, port):
                for one in shared:
                    one.close()
        for edge in self._resolved.graph.edges_into(actor.stage):
            if edge.name in self.landings:
                self.landings[edge.name].begin(actor.device, actor.device_priority)

    def ways(self, actor: Actor) -> dict[str, str]:
        """How data go over each edge from an output that is declared to stay; `copied`, and why."""
        outputs = self._resolved.output_types
        edges = self._resolved.graph.edges_from(actor.stage)
        return {edge.name: self._way(actor, edge) for edge in edges if outputs[edge.source, edge.output].on_device}

    def _way(self, actor: Actor, edge: EdgeDef) -> str:
        port = edge.output
        edges = [one for one in self._resolved.graph.edges_from(actor.stage) if one.output == port]
        whys = [why for one in (edge, *edges) if (why := why_copied(self._resolved, one))]
        if whys:
            return f"copied: {whys[0]}"
        rings, shared = self._rings.get((actor.stage, port)), self._shared.get((actor.stage, port))
        if self._memory is None and any(is_between_processes(self._resolved, one) for one in edges):
            return "copied: this run has no memory that processes share"
        if (actor.stage, port) in self._refused:
            return f"copied: {self._refused[actor.stage, port]}"
        if not rings and not shared:
            return f"copied: {actor.stage} keeps none on {actor.device.name}, or too small ones to share"
        if not self._is_on_one_device(actor, port):
            return f"copied: a stage of its process does not work on {actor.device.name}"
        if not is_between_processes(self._resolved, edge):
            return IN_PROCESS
        if shared and all(one.unopened_count and not one.kept_count for one in shared):
            return f"copied: no reader elsewhere has opened the memory of {actor.device.name}"
        return BETWEEN_PROCESSES

    def _is_on_one_device(self, actor: Actor, port: str) -> bool:
        found = staying(self._resolved, actor.stage, port)
        assert found is not None
        return all(self._device_of(target, actor.device) is actor.device for target in found.targets)

    def close(self) -> None:
        """Before the devices: readers elsewhere are told that what they have not copied is gone."""
        for rings in self._shared.values():
            for ring in rings:
                ring.close()


def output_name(stage: str, port: str) -> str:
    """Of the files by which it is found."""
    return f"{stage}.{port}"
