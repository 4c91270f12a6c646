"""Buffers of one stage on a device, allocated once: while one batch is computed, the next is copied in.

A slot holds what one batch needs at both ends: host arrays to write inputs to and read outputs from, and their
counterparts on the device. It is used again only when its ticket is done, so nothing in it is read or written by two
at a time. Large tensors go over three queues (in, compute, out), which a device with copy engines works on at once;
small ones over one queue, since a mark recorded and waited for takes longer than copying a few KiB.

Two things go one way or the other, as `measure` has found: the work is launched, or replayed as a graph of the next
larger size (the rows beyond are computed from what was there, and nobody reads them); and large tensors are copied from
where they lie, in shared memory, or written to the slot and copied from there.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from math import prod
from typing import Any, Final

import numpy as np

from streamflow.core.turns import FLIGHT_LIMIT
from streamflow.device.contract import Device, DeviceArray, Graph, Mark, Queue, Refusal, Ticket, Work
from streamflow.device.registered import Registered
from streamflow.device.resident import DeviceTensor, bring, keep
from streamflow.device.ways import GRAPH, LAUNCH, STAGED, STRAIGHT, UNTIMED, Choice, Trials, of_size
from streamflow.wire.arrays import Array
from streamflow.wire.data import INLINE_SIZE_LIMIT

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
    graphs: dict[int, Graph] = field(default_factory=dict)
    """By rows, -1 for all that there are."""
    sources: dict[str, list[tuple[Any, Array]]] = field(default_factory=dict)
    """Inputs that are copied from where they lie, each piece with its place; held until `let_go`, when none is read."""
    there: dict[str, list[tuple[Any, DeviceTensor]]] = field(default_factory=dict)
    """Inputs that are on the device already, in the same way."""
    stays: dict[str, Sequence[DeviceTensor]] = field(default_factory=dict)
    """Where outputs stay, whole or each of the first rows; one that is not named is copied out."""
    ticket: Ticket | None = None

    def let_go(self) -> None:
        """The ticket is done, so nobody reads where the inputs lay."""
        self.sources.clear()
        self.there.clear()
        self.stays.clear()


class SlotRing:
    """Of the tensors of one kind of work. Not thread-safe: it belongs to the loop."""

    def __init__(
        self,
        device: Device,
        inputs: Shapes,
        outputs: Shapes,
        *,
        count: int = FLIGHT_LIMIT,
        priority: int = 0,
        is_split: bool | None = None,
        compute: Queue | None = None,
    ) -> None:
        """`count`: of slots; a stage asks for no third batch before the first one's results are read. `is_split`: over
        three queues; by default as the size says. `compute`: the queue for the work, in place of one of its own; it is
        closed with this. Raises DeviceMemoryError."""
        size = sum(prod(shape) * np.dtype(dtype).itemsize for shape, dtype in (*inputs.values(), *outputs.values()))
        self.is_split = size >= SPLIT_SIZE if is_split is None else is_split
        self.launches: list[Choice] = []
        """How work of each size is given, ascending; empty until `measure`."""
        self.copies: list[Choice] = []
        """How large inputs of each size are copied in."""
        self.straight_count = 0
        """Rows that were copied from where they lay in shared memory."""
        self.staged_count = 0
        """Rows large enough for that which were written to a slot first."""
        self.registered = Registered(device)
        self._device = device
        self.slots = [self._slot(inputs, outputs) for _ in range(count)]
        self._free = deque(self.slots)
        self._compute = compute or device.queue(priority)
        self._in: Queue = device.queue(priority) if self.is_split else self._compute
        self._out: Queue = device.queue(priority) if self.is_split else self._compute

    def take(self) -> Slot | None:
        """One that nobody uses, to be filled and submitted; None while all are in use."""
        if not self._free or not _is_at_rest(self._free[0]):
            return None
        slot = self._free.popleft()
        slot.let_go()
        return slot

    def give_back(self, slot: Slot) -> None:
        """Its outputs were read, or nobody wants them; it is taken again when the device is done with it."""
        assert all(slot is not free for free in self._free)
        self._free.append(slot)

    @contextmanager
    def loan(self) -> Iterator[Slot]:
        """One that nobody uses, given back whatever comes of it, for a stage: it has no more in flight than slots."""
        slot = self.take()
        assert slot is not None, "no more are in flight than there are slots"
        try:
            yield slot
        finally:
            self.give_back(slot)

    def put(self, slot: Slot, name: str, rows: Array | DeviceTensor | Sequence[Array | DeviceTensor]) -> None:
        """What input `name` has, whole or in its first rows: copied to the slot now, or left where it lies for the
        device. Whoever owns that memory is not to write there before the ticket is done; the slot holds the arrays."""
        given, placed = slot.inputs[name], _pieces(rows)
        slot.there[name] = [(at, piece) for at, piece in placed if isinstance(piece, DeviceTensor)]
        pieces = [(at, piece) for at, piece in placed if not isinstance(piece, DeviceTensor)]
        if not pieces:
            return
        is_large = pieces[0][1].nbytes > INLINE_SIZE_LIMIT
        if (
            is_large
            and len(pieces) == len(placed)
            and self._is_straight(rows)
            and all(self._can_read(piece, given[at]) for at, piece in pieces)
        ):
            slot.sources[name] = pieces
            self.straight_count += len(pieces)
            return
        for place, piece in pieces:
            given[place] = piece
        if is_large:
            self.staged_count += len(pieces)

    def keep(self, slot: Slot, name: str, rows: Sequence[DeviceTensor]) -> None:
        """Output `name` stays on the device: whole in the only one of these, or each of its first rows in one."""
        slot.stays[name] = rows

    def submit(self, slot: Slot, work: Work, rows: int | None = None) -> Ticket:
        """Copy its inputs in, do `work(*inputs, *outputs)` on the device, copy its outputs out.

        With `rows` only so many of the first axis of each. What `work` raises is raised here or by the ticket; the slot
        is to be given back in any case.
        """
        on_device = _arrays(slot, rows)
        self._copy_in(slot, on_device, rows)
        graph = self._graph(slot, rows)
        try:
            self._hand_over(self._in, slot.copied_in, self._compute)
            arrays = dict(zip((*slot.inputs, *slot.outputs), on_device, strict=True))
            bring(self._compute, [(_row(arrays[name], at), one) for name in slot.there for at, one in slot.there[name]])
            if graph is None:
                self._compute.launch(work, *on_device)
            else:
                self._compute.replay(graph)
            stays = [(name, at, one) for name in slot.stays for at, one in _placed(slot.stays[name], rows)]
            keep(self._compute, [(one, _row(arrays[name], at)) for name, at, one in stays])
            self._hand_over(self._compute, slot.computed, self._out)
            for _, _, tensor in stays:  # after the mark that takes a failure along to the ticket
                self._compute.record(tensor.ready)
            for name, to in slot.outputs.items():
                if name not in slot.stays:
                    self._out.copy_out(_first(to, rows), arrays[name])
        finally:
            slot.ticket = self._out.ticket()
        return slot.ticket

    async def measure(
        self, work: Work, sizes: Sequence[int | None] = (None,), example: Mapping[str, Array] | None = None
    ) -> None:
        """Find out which way is the quicker one for batches of each of these sizes, ascending, and take it from now on.

        The work is done some times with zeros, or with `example`, a row of each input; what it raises comes out. All
        in all that takes `ways.MEASURING_NS`, and what has to be compiled. To be called before a slot is taken.
        """
        if not self._device.capabilities.is_timed:
            self.launches = [Choice(rows, LAUNCH, reason=UNTIMED) for rows in sizes]
            return
        for slot in self.slots:
            for (name, given), there in zip(slot.inputs.items(), slot.on_device[0], strict=True):
                given[...] = 0 if example is None else example[name]
                self._compute.copy_in(there, given)
        await self._compute.ticket().wait()
        trials = Trials()
        for rows in sizes:  # before the work, which may take all the time that there is
            if any(_is_large(given, rows) for given in self.slots[0].inputs.values()):
                self.copies.append(await self._straight_or_staged(rows, trials))
        for rows in sizes:
            self.launches.append(await self._launch_or_graph(work, rows, trials))

    def capture(self, work: Work, sizes: Sequence[int | None] = (None,)) -> bool:
        """Make a graph of the work for each slot and each of these sizes, ascending; whether all could be captured.

        Rows that no batch had yet are undefined, and may be computed with.
        """
        self.launches = [Choice(rows, self._captured(work, rows)) for rows in sizes]
        return all(one.way == GRAPH for one in self.launches)

    def told(self) -> dict[str, Any]:
        """What was measured and chosen, as a report has it."""
        launches = [one.told() for one in self.launches]
        copies = {
            "ways": [one.told() for one in self.copies],
            "straight": self.straight_count,
            "staged": self.staged_count,
            "refused": self.registered.refused_count,
        }
        return {"launches": launches, "copies": copies}

    def close(self) -> None:
        for queue in {id(queue): queue for queue in (self._in, self._compute, self._out)}.values():
            queue.close()
        self.registered.close()
        for slot in self.slots:
            slot.let_go()

    def _slot(self, inputs: Shapes, outputs: Shapes) -> Slot:
        device = self._device

        def host(shapes: Shapes) -> dict[str, Array]:
            return {name: device.host_array(shape, dtype) for name, (shape, dtype) in shapes.items()}

        there = tuple([device.array(*spec) for spec in shapes.values()] for shapes in (inputs, outputs))
        return Slot(host(inputs), host(outputs), (there[0], there[1]), device.mark(), device.mark())

    def _is_straight(self, rows: Array | DeviceTensor | Sequence[Array | DeviceTensor]) -> bool:
        found = of_size(self.copies, None if isinstance(rows, np.ndarray | DeviceTensor) else len(rows))
        return found is not None and found.way == STRAIGHT

    def _can_read(self, piece: Array, given: Array) -> bool:
        """Whether the device copies it from where it lies, as it lies there."""
        is_like = piece.shape == given.shape and piece.dtype == given.dtype and piece.flags.c_contiguous
        return is_like and self.registered.has(piece)

    def _copy_in(self, slot: Slot, on_device: Sequence[DeviceArray], rows: int | None) -> None:
        for to, (name, given) in zip(on_device, slot.inputs.items(), strict=False):
            sources = slot.sources.get(name)
            if len(slot.there.get(name, ())) == (1 if rows is None else rows):
                continue
            if sources is None:
                self._in.copy_in(to, _first(given, rows))
            else:
                for place, source in sources:
                    self._in.copy_in(to[place], source)

    def _hand_over(self, before: Queue, mark: Mark, after: Queue) -> None:
        if before is not after:
            before.record(mark)
            after.wait_for(mark)

    def _graph(self, slot: Slot, rows: int | None) -> Graph | None:
        """Of the size that has room for so many rows, where that is to be replayed."""
        found = of_size(self.launches, rows)
        return slot.graphs.get(_key(found.rows)) if found is not None and found.way == GRAPH else None

    def _captured(self, work: Work, rows: int | None) -> str:
        """In every slot that has no graph of that size yet; the way that is taken then."""
        for slot in self.slots:
            if _key(rows) not in slot.graphs:
                graph = self._device.capture(self._compute, work, *_arrays(slot, rows))
                if isinstance(graph, Refusal):
                    return LAUNCH
                slot.graphs[_key(rows)] = graph
        return GRAPH

    async def _launch_or_graph(self, work: Work, rows: int | None, trials: Trials) -> Choice:
        slot = self.slots[0]
        chosen, graph = await trials.launch_or_graph(self._device, self._compute, work, _arrays(slot, rows), rows)
        if graph is not None:
            slot.graphs[_key(rows)] = graph
            self._captured(work, rows)
        return chosen

    async def _straight_or_staged(self, rows: int | None, trials: Trials) -> Choice:
        """With what is in another slot in the place of what lies in shared memory."""
        slot, other, queue = self.slots[0], self.slots[-1], self._compute
        large = [name for name, given in slot.inputs.items() if _is_large(given, rows)]
        there = dict(zip(slot.inputs, _arrays(slot, rows), strict=False))
        pieces = {name: _pieces(_rows(other.inputs[name], rows)) for name in large}

        def straight() -> Ticket:
            for name in large:
                for place, piece in pieces[name]:
                    queue.copy_in(there[name][place], piece)
            return queue.ticket()

        def staged() -> Ticket:
            for name in large:
                for place, piece in pieces[name]:
                    slot.inputs[name][place] = piece
                queue.copy_in(there[name], _first(slot.inputs[name], rows))
            return queue.ticket()

        for warm_up in (staged, straight):
            await warm_up().wait()
        return await trials.compared(rows, STAGED, staged, STRAIGHT, straight)


def _key(rows: int | None) -> int:
    return -1 if rows is None else rows


def _first(array: DeviceArray, rows: int | None) -> DeviceArray:
    return array if rows is None else array[:rows]


def _arrays(slot: Slot, rows: int | None) -> list[DeviceArray]:
    """Inputs and outputs on the device."""
    return [_first(array, rows) for arrays in slot.on_device for array in arrays]


def _rows(array: Array, rows: int | None) -> Array | list[Array]:
    return array if rows is None else list(array[:rows])


def _pieces(rows: Array | DeviceTensor | Sequence[Any]) -> list[tuple[Any, Any]]:
    """Each with its place."""
    return [(..., rows)] if isinstance(rows, np.ndarray | DeviceTensor) else list(enumerate(rows))


def _row(array: DeviceArray, place: Any) -> DeviceArray:
    """Of what has one dimension an array too, not a number."""
    return array if place is ... else array[place, ...]


def _placed(tensors: Sequence[DeviceTensor], rows: int | None) -> list[tuple[Any, DeviceTensor]]:
    return [(..., tensors[0])] if rows is None else list(enumerate(tensors))


def _is_large(given: Array, rows: int | None) -> bool:
    """Whether what comes may lie in shared memory."""
    return (given if rows is None else given[0]).nbytes > INLINE_SIZE_LIMIT


def _is_at_rest(slot: Slot) -> bool:
    return slot.ticket is None or slot.ticket.is_done
