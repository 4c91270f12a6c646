"""The states of many streams on a device, and batches of steps with them, in the order in which they are given.

A slot has two rows: a step reads one and writes the other, since a kernel must not read what it writes. Which of the
two counts is known here as soon as the step is given, long before it is done: all goes over one queue, so what is given
later finds what was given before. That is why arrays on the device are there once, however many batches are under way,
and only what the host reads and writes is there for each of them.

    loads      states that come from the host      copied in, and put into their slots
    rounds     steps, a row each, of some slots    one after the other; the last is the batch, whose results come back
    snapshots  states that go to the host          gathered behind the steps, and copied out behind the results

The steps of a batch without gaps are launched, or replayed as a graph of the next larger size, as `measure` has found
for each size. A graph reads its indices where each batch leaves them, so it serves all of them; its rows beyond the
batch step a spare slot, which is nobody's, from one of its rows to the other.

What this does not do: know streams, or what a snapshot is worth (`streamflow.runtime.stepping_elsewhere`).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, Final

import numpy as np

from nodes.infer.recurrent_cells import Cells, cells_of
from nodes.kernels.recurrent import TILE_MAX, Network
from streamflow.core.turns import FLIGHT_LIMIT
from streamflow.device.contract import Device, DeviceArray, DeviceError, Graph, Ticket
from streamflow.device.resident import DeviceTensor, bring, keep
from streamflow.device.ways import GRAPH, LAUNCH, UNTIMED, Choice, Trials, of_size

BATCH_COUNT: Final = FLIGHT_LIMIT + 1  # and one whose snapshot comes back behind its results


class GivenBatch:
    """What the host writes for a batch, and reads of it; all of it is allocated for the largest there may be."""

    def __init__(self, device: Device, network: Network, rows_max: int, step_count_max: int) -> None:
        shape, layers = network.state_shape, len(network.layers)
        self.x = device.host_array((step_count_max, network.inputs), np.float32)
        """The inputs of all rounds, in their order."""
        self.there: list[tuple[int, DeviceTensor]] = []
        """Those that are on the device already, each with its row."""
        self.stays: Sequence[DeviceTensor] = ()
        """Where the results stay, a row each; else they come to `y`."""
        self.loads = device.host_array((rows_max, *shape), np.float32)
        self.y = device.host_array((rows_max, network.outputs), np.float32)
        self.snapshots = device.host_array((rows_max, *shape), np.float32)
        self.index = device.host_array((2 * layers * step_count_max + 2 * rows_max,), np.int32)
        self.stepped: Ticket | None = None
        """When `y` is there."""
        self.snapped: Ticket | None = None
        """When `snapshots` are, as far as `stepped` is done without a failure."""

    def let_go(self) -> None:
        """It is stepped, so nobody reads what lay elsewhere."""
        self.there.clear()
        self.stays = ()

    @property
    def is_at_rest(self) -> bool:
        return all(ticket is None or ticket.is_done for ticket in (self.stepped, self.snapped))


class Slab:
    """Not thread-safe: it belongs to the loop."""

    def __init__(
        self,
        device: Device,
        network: Network,
        slot_count: int,
        rows_max: int,
        step_count_max: int,
        priority: int = 0,
    ) -> None:
        """`rows_max`: in a batch; `step_count_max`: in all of its rounds together. What is in the slots is undefined.

        Raises DeviceMemoryError.
        """
        self.launches: list[Choice] = []
        """How steps of each size are given, ascending; empty until `measure`."""
        self._device = device
        self._network = network
        self._layers = len(network.layers)
        self._queue = device.queue(priority)
        self._cells: Cells = cells_of(device, self._queue, network, rows_max)
        _, vectors, hidden = network.state_shape
        # Rows of a slot stand one after the other, and in each its layers: to a layer's step those are rows as well.
        self._spare = 2 * slot_count, 2 * slot_count + 1
        """The rows that are read and written in nobody's name: the first is never written, so all is finite there."""
        self._blocks: DeviceArray = device.array((2 * slot_count + 2, *network.state_shape), np.float32)
        self._rows = self._blocks.reshape((2 * slot_count + 2) * self._layers, vectors, hidden)
        self._current = [0] * slot_count
        """Which of its two rows is the slot's state, when all that was given is done."""
        self._batches = [GivenBatch(device, network, rows_max, step_count_max) for _ in range(BATCH_COUNT)]
        self._given_count = 0
        largest = self._batches[0]
        self._x = device.array(largest.x.shape, np.float32)
        self._loads = device.array(largest.loads.shape, np.float32)
        self._y = device.array(largest.y.shape, np.float32)
        self._snapshots = device.array(largest.snapshots.shape, np.float32)
        self._index = device.array(largest.index.shape, np.int32)
        self._hidden = [device.array((step_count_max, hidden), np.float32) for _ in range(2)]
        self._identity = device.array((rows_max,), np.int32)
        self._numbers = np.arange(rows_max, dtype=np.int32)
        self._queue.copy_in(self._identity, self._numbers)
        self._is_read_out = network.head_weight is not None
        self._graphs: dict[int, Graph] = {}
        largest.x[:] = largest.loads[:] = 0
        self._queue.copy_in(self._x, largest.x)  # whoever steps with more rows than there are finds numbers
        self._queue.copy_in(self._blocks[self._spare[0]], largest.loads[0])

    async def measure(self, sizes: Sequence[int]) -> None:
        """Find out which way is the quicker one for batches of each of these sizes, ascending, and take it from now on.
        To be called before a batch is taken."""
        capabilities = self._device.capabilities
        if not (capabilities.is_timed and capabilities.has_kernels):
            reason = "NumPy does the same either way" if capabilities.is_timed else UNTIMED
            self.launches = [Choice(size, LAUNCH, reason=reason) for size in sizes]
            return
        trials = Trials()
        for size in sizes:
            work, arrays = await self._stand_in(size)
            chosen, graph = await trials.launch_or_graph(self._device, self._queue, work, arrays, size)
            self.launches.append(chosen)
            if graph is not None:
                self._graphs[size] = graph

    async def _stand_in(self, size: int) -> tuple[Any, tuple[DeviceArray, DeviceArray]]:
        """The work of a batch of that size and its arrays, which step the spare slot; in any queue from now on."""
        index = self._of_layers([self._spare[0]] * size, [self._spare[1]] * size)
        there = self._batches[0].index[: len(index)]
        there[:] = index
        self._queue.copy_in(self._index[: len(index)], there)
        await self._queue.ticket().wait()
        return partial(self._step, [size]), self._halves(size)

    async def warm_up(self) -> None:
        """Wait for what it is made of, and do once what takes longer the first time. Nothing is in the slots yet."""
        size_max = min(len(self._numbers), len(self._current))
        for size in (1, 2, 4, TILE_MAX):
            batch, slots = self.take(), range(min(size, size_max))
            batch.x[:], batch.loads[:] = 0, 0
            self.give(batch, [slots], slots, slots)
            assert batch.snapped is not None
            await batch.snapped.wait()

    def take(self) -> GivenBatch:
        """The next batch, to be filled and given. Raises DeviceError while too many are under way."""
        batch = self._batches[self._given_count % BATCH_COUNT]
        if not batch.is_at_rest:
            raise DeviceError("recurrent states", "a batch more under way", f"{FLIGHT_LIMIT} at most")
        self._given_count += 1
        batch.stepped = batch.snapped = None
        batch.let_go()
        return batch

    def give(
        self, batch: GivenBatch, rounds: Sequence[Sequence[int]], loads: Sequence[int], snapshots: Sequence[int]
    ) -> None:
        """Slots that are stepped in each round, all different in one; those that are loaded before, and those of which
        there is a snapshot after it. Without a round there are only snapshots."""
        loaded = [2 * slot + self._current[slot] for slot in loads]
        reads, writes = self._turned(rounds)
        snapped = [2 * slot + self._current[slot] for slot in snapshots]
        given, graph = len(reads), self._graph(rounds)
        total = given
        if graph is not None:
            total, captured = graph
            reads += [self._spare[0]] * (total - given)
            writes += [self._spare[1]] * (total - given)
        index = self._of_layers(reads, writes)
        blocks, used = len(index), len(index) + len(loaded) + len(snapped)
        batch.index[:used] = index + loaded + snapped

        queue = self._queue
        queue.copy_in(self._index[:used], batch.index[:used])
        if loaded:
            queue.copy_in(self._loads[: len(loaded)], batch.loads[: len(loaded)])
            queue.launch(self._load, self._index[blocks : blocks + len(loaded)])
        if rounds:
            if len(batch.there) < given:
                queue.copy_in(self._x[:given], batch.x[:given])
            bring(queue, [(self._x[row], tensor) for row, tensor in batch.there])
            if graph is None:
                queue.launch(partial(self._step, [len(slots) for slots in rounds]), *self._halves(total))
            else:
                queue.replay(captured)
            y = self._y_of(given - len(rounds[-1]), len(rounds[-1]))
            if batch.stays:
                keep(queue, [(tensor, y[row]) for row, tensor in enumerate(batch.stays)])
            else:
                queue.copy_out(batch.y[: len(rounds[-1])], y)
            for tensor in batch.stays:
                queue.record(tensor.ready)
        batch.stepped = queue.ticket()
        if snapped:
            queue.launch(self._snap, self._index[used - len(snapped) : used])
            queue.copy_out(batch.snapshots[: len(snapped)], self._snapshots[: len(snapped)])
            batch.snapped = queue.ticket()

    def close(self) -> None:
        self._queue.close()

    def _turned(self, rounds: Sequence[Sequence[int]]) -> tuple[list[int], list[int]]:
        """The rows that are read and written in each step, one after the other."""
        reads, writes, current = list[int](), list[int](), self._current
        for slots in rounds:
            for slot in slots:
                reads.append(2 * slot + current[slot])
                current[slot] ^= 1
                writes.append(2 * slot + current[slot])
        return reads, writes

    def _halves(self, total: int) -> tuple[DeviceArray, DeviceArray]:
        size = self._layers * total
        return self._index[:size], self._index[size : 2 * size]

    def _of_layers(self, reads: Sequence[int], writes: Sequence[int]) -> list[int]:
        """The same rows as each layer's step has them, one layer after the other."""
        layers = range(self._layers)
        return [row * self._layers + layer for rows in (reads, writes) for layer in layers for row in rows]

    def _graph(self, rounds: Sequence[Sequence[int]]) -> tuple[int, Graph] | None:
        """Of the size that has room for the only round, where that is to be replayed."""
        found = of_size(self.launches, len(rounds[0])) if len(rounds) == 1 else None
        if found is None or found.way != GRAPH or found.rows is None:
            return None
        return found.rows, self._graphs[found.rows]

    def _y_of(self, first: int, rows: int) -> DeviceArray:
        """Where the results of the last round are, which began with the step `first`."""
        if self._is_read_out:
            return self._y[:rows]
        return self._hidden[(self._layers - 1) % 2][first : first + rows]

    # In work of the queue from here on; what they use of `self` does not change.

    def _load(self, rows: DeviceArray) -> None:
        self._cells.copy_rows(self._loads, self._identity[: len(rows)], self._blocks, rows)

    def _snap(self, rows: DeviceArray) -> None:
        self._cells.copy_rows(self._blocks, rows, self._snapshots, self._identity[: len(rows)])

    def _step(self, sizes: Sequence[int], reads: DeviceArray, writes: DeviceArray) -> None:
        total, first, cells = sum(sizes), 0, self._cells
        for size in sizes:
            x = self._x[first : first + size]
            for layer in range(self._layers):
                own = slice(layer * total + first, layer * total + first + size)
                h = self._hidden[layer % 2][first : first + size]
                cells.step(layer, x, self._rows, reads[own], writes[own], h)
                x = h
            first += size
        if self._is_read_out:
            cells.read_out(x, self._y[: sizes[-1]])
