"""Buffers of one stage on a device, allocated once: while one batch is computed, the next is copied in.

A slot holds what one batch needs at both ends: host arrays to write inputs to and read outputs from, and their
counterparts on the device. It is used again only when its ticket is done, so nothing in it is read or written by two
at a time. Large tensors go over three queues (in, compute, out), which a device with copy engines works on at once;
small ones over one queue, since a mark recorded and waited for takes longer than copying a few KiB.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any, Final

import numpy as np

from streamflow.device.contract import Device, DeviceArray, Graph, Mark, Queue, Ticket, Work
from streamflow.wire.arrays import Array

SPLIT_SIZE: Final = 64 * 1024
"""Bytes, in and out together, from which on three queues gain more than their marks take (`tools/gpu_check`)."""

Shapes = Mapping[str, tuple[Sequence[int], Any]]
"""Shape and dtype of each tensor, by name."""


@dataclass(slots=True)
class Slot:
    """Host arrays by name, the first `rows` of each being in use; `ticket` of what it was submitted with last."""

    inputs: dict[str, Array]
    outputs: dict[str, Array]
    on_device: tuple[list[DeviceArray], list[DeviceArray]]
    copied_in: Mark
    computed: Mark
    graphs: dict[int, Graph | None] = field(default_factory=dict)
    """By rows; None where that cannot be captured."""
    ticket: Ticket | None = None


class SlotRing:
    """Of the tensors of one kind of work. Not thread-safe: it belongs to the loop."""

    def __init__(
        self,
        device: Device,
        inputs: Shapes,
        outputs: Shapes,
        *,
        count: int = 2,
        priority: int = 0,
        is_split: bool | None = None,
    ) -> None:
        """`is_split`: over three queues; by default as the size says. Raises DeviceMemoryError."""
        size = sum(prod(shape) * np.dtype(dtype).itemsize for shape, dtype in (*inputs.values(), *outputs.values()))
        self.is_split = size >= SPLIT_SIZE if is_split is None else is_split
        self._device = device
        self.slots = [self._slot(inputs, outputs) for _ in range(count)]
        self._free = deque(self.slots)
        self._compute = device.queue(priority)
        self._in: Queue = device.queue(priority) if self.is_split else self._compute
        self._out: Queue = device.queue(priority) if self.is_split else self._compute

    def take(self) -> Slot | None:
        """One that nobody uses, to be filled and submitted; None while all are in use."""
        if not self._free or not _is_at_rest(self._free[0]):
            return None
        return self._free.popleft()

    def give_back(self, slot: Slot) -> None:
        """Its outputs were read, or nobody wants them; it is taken again when the device is done with it."""
        assert all(slot is not free for free in self._free)
        self._free.append(slot)

    def submit(self, slot: Slot, work: Work, rows: int | None = None) -> Ticket:
        """Copy its inputs in, do `work(*inputs, *outputs)` on the device, copy its outputs out.

        With `rows` only so many of the first axis of each. What `work` raises is raised here or by the ticket; the slot
        is to be given back in any case.
        """
        on_device = [_first(array, rows) for arrays in slot.on_device for array in arrays]
        graph = slot.graphs.get(-1 if rows is None else rows)
        for to, source in zip(on_device, slot.inputs.values(), strict=False):
            self._in.copy_in(to, _first(source, rows))
        try:
            self._hand_over(self._in, slot.copied_in, self._compute)
            if graph is None:
                self._compute.launch(work, *on_device)
            else:
                self._compute.replay(graph)
            self._hand_over(self._compute, slot.computed, self._out)
            for to, source in zip(slot.outputs.values(), on_device[len(slot.inputs) :], strict=True):
                self._out.copy_out(_first(to, rows), source)
        finally:
            slot.ticket = self._out.ticket()
        return slot.ticket

    def capture(self, work: Work, sizes: Sequence[int | None] = (None,)) -> bool:
        """Make a graph of the work for each slot and each number of rows; whether all could be captured."""
        for slot in self.slots:
            for rows in sizes:
                arrays = [_first(array, rows) for both in slot.on_device for array in both]
                slot.graphs[-1 if rows is None else rows] = self._device.capture(self._compute, work, *arrays)
        return all(graph is not None for slot in self.slots for graph in slot.graphs.values())

    def close(self) -> None:
        for queue in {id(queue): queue for queue in (self._in, self._compute, self._out)}.values():
            queue.close()

    def _slot(self, inputs: Shapes, outputs: Shapes) -> Slot:
        device = self._device

        def host(shapes: Shapes) -> dict[str, Array]:
            return {name: device.host_array(shape, dtype) for name, (shape, dtype) in shapes.items()}

        there = tuple([device.array(*spec) for spec in shapes.values()] for shapes in (inputs, outputs))
        return Slot(host(inputs), host(outputs), (there[0], there[1]), device.mark(), device.mark())

    def _hand_over(self, before: Queue, mark: Mark, after: Queue) -> None:
        if before is not after:
            before.record(mark)
            after.wait_for(mark)


def _first(array: DeviceArray, rows: int | None) -> DeviceArray:
    return array if rows is None else array[:rows]


def _is_at_rest(slot: Slot) -> bool:
    return slot.ticket is None or slot.ticket.is_done
