"""The outputs of a process's stages that stay on their device, which is sure only when all stages are open."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from streamflow.core.graph import Resolved
from streamflow.core.staying import staying
from streamflow.device.contract import Device
from streamflow.device.resident import TensorRing
from streamflow.recorder import layout
from streamflow.runtime.stage.actor import Actor


class StayingOutputs:
    """Of one life of a process; `actors` by stage."""

    def __init__(self, resolved: Resolved, actors: Mapping[str, Actor]) -> None:
        self._resolved = resolved
        self._actors = actors
        self._rings: dict[tuple[str, str], list[TensorRing]] = {}

    def lend(self, actor: Actor) -> None:
        """Let its node ask for tensors when it opens."""
        actor.resident = partial(self._resident, actor)

    def _resident(self, actor: Actor, port: str, shape: Sequence[int], dtype: Any) -> TensorRing | None:
        """As `Context.resident`; who has no device yet is taken to get the same."""
        found = staying(self._resolved, actor.stage, port)
        if found is None or any(self._device_of(target, actor.device) is not actor.device for target in found.targets):
            return None
        exhausted = partial(actor.logbook.recorder.add, layout.POOL_EXHAUSTED)
        ring = TensorRing(actor.device, shape, dtype, found.tensor_count, exhausted)
        self._rings.setdefault((actor.stage, port), []).append(ring)
        return ring

    def _device_of(self, stage: str, unknown: Device) -> Device:
        device: Device = getattr(self._actors[stage], "device", unknown)
        return device

    def settle(self, actor: Actor) -> None:
        """All stages of the process are open, and have the devices that they keep: from now on its data flow.

        What was made for an output that does not stay after all is given back, as what was made before its own stage
        went on to another device.
        """
        for (stage, port), rings in self._rings.items():
            if stage != actor.stage:
                continue
            found = staying(self._resolved, stage, port)
            assert found is not None
            if all(self._device_of(target, actor.device) is actor.device for target in found.targets):
                actor.sending.resident.add(port)
            for ring in rings:
                if port not in actor.sending.resident or ring.device is not actor.device:
                    ring.close()
