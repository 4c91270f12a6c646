"""A recurrent network, GRU or LSTM, whose states stay on a device while its streams go on."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nodes.infer.recurrent_slab import GivenBatch, Slab
from nodes.infer.recurrent_weights import read_network
from nodes.kernels.recurrent import Network, Weights
from streamflow import (
    Batch,
    DeviceTensor,
    Eviction,
    In,
    InputError,
    Message,
    Node,
    OnDevice,
    OnGap,
    Out,
    StateRules,
    StateTensor,
)
from streamflow.core.latency_profile import powers_of_two
from streamflow.core.state_rules import STREAM_COUNT
from streamflow.device.contract import Ticket
from streamflow.errors import StateError
from streamflow.runtime.stepping_elsewhere import Snapshot, SteppingElsewhere

Array = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class _Coming:
    """A snapshot that is on its way to the host, and is to be committed then."""

    snapshot: Snapshot
    ticket: Ticket
    states: Array
    """Where it comes to: [streams, layers, vectors, hidden]."""
    inputs: Array | None
    """Of the same streams the last ones, where they are kept."""

    def commit(self) -> Collection[int]:
        """The slots whose states are not numbers."""
        return self.snapshot.commit([self.states] if self.inputs is None else [self.states, self.inputs])


class _InOrder:
    """A ticket of several of one queue: done when the last is, failed where any has."""

    def __init__(self, tickets: Sequence[Ticket]) -> None:
        self._tickets = tickets

    @property
    def is_done(self) -> bool:
        return self._tickets[-1].is_done

    @property
    def device_ns(self) -> int:
        return sum(ticket.device_ns for ticket in self._tickets)

    @property
    def done_ns(self) -> int:
        return self._tickets[-1].done_ns

    @property
    def failure(self) -> BaseException | None:
        return next((ticket.failure for ticket in self._tickets if ticket.failure is not None), None)

    async def wait(self) -> None:
        for ticket in self._tickets:
            await ticket.wait()


class RecurrentModel(Node):
    """A step of the network for each datum, with the state of its stream: "float32[inputs]" to "float32[hidden]", or
    to "float32[outputs]" where it has a read-out. Between stages that work on one device these stay there.

    `p.add("classify", RecurrentModel("gru.npz", snapshot_every=10), device=["cuda:0", "host"])`. `network` is an `.npz`
    file with PyTorch's names (`nodes.infer.recurrent_weights`), or the weights themselves. Data of up to `rows_max`
    streams are one batch, where the stage's `batch` does not say; with 1 each is worked on by itself, as over lossless
    edges.

    States stay on the device, of as many streams as `streams_max` says. After every `snapshot_every` steps of one,
    and after its first, its state is copied out behind the results and committed, so that the stage's next life goes
    on from there: a process that dies loses of each stream at most so many steps, and what was under way, all of it
    marked as a gap. With 1, the default, it is committed before its result is sent, as everywhere else; results wait
    for the copy then. So it is over lossless edges, whatever is said here.

    When the stage opens it is found out for each size of batches (the batch's `buckets`, else powers of two) whether a
    step is launched or replayed as a graph, of that size; the report tells it, `stages.NAME.launches`.

    A state that is not a number any more (NaN), as after a datum with one in it, is not gone on with: the result says
    `nan_state`, an event says which stream, and its next datum is stepped with from what was committed before, what
    came since being a gap. With 1 that is the datum alone; where results stay on the device it shows with a snapshot.

    Gaps (`on_gap` FREEZE or REPEAT, `max_gap`, `stride`), `streams_max`, `eviction` and `idle` are as for `OnnxModel`;
    `period`: ns from a stream's datum to its next, where their numbers do not tell what is missing.

    Raises InputError, before the start, for a file that is no such network.
    """

    steps_on_device = True

    def __init__(
        self,
        network: str | os.PathLike[str] | Weights | Network,
        *,
        snapshot_every: int = 1,
        rows_max: int = 32,
        on_gap: OnGap = OnGap.FREEZE,
        max_gap: int | None = None,
        stride: int | None = None,
        period: int = 0,
        streams_max: int = STREAM_COUNT,
        eviction: Eviction = Eviction.REFUSE,
        idle: int = 0,
    ) -> None:
        for name, count in (("snapshot_every", snapshot_every), ("rows_max", rows_max)):
            if type(count) is not int or count < 1:
                raise InputError(f"RecurrentModel({name})", f"{count!r}", "a whole number of 1 or more")
        if on_gap is OnGap.TRUE_DT:
            hint = "FREEZE, REPEAT, or an OnnxModel with dt=..."
            raise InputError("RecurrentModel(on_gap)", "TRUE_DT", "what a cell that is not told the time can do", hint)
        try:
            self.state_rules = StateRules(
                on_gap, max_gap, period_ns=period, stride=stride, stream_count_max=streams_max, eviction=eviction,
                idle_ns=idle,
            )  # fmt: skip
        except StateError as error:
            raise InputError(f"RecurrentModel: {error.subject}", error.found, error.expected, error.hint) from None
        self.batch = Batch(rows_max) if rows_max > 1 else None
        self._given = Network((network,)) if isinstance(network, Weights) else network
        self._rows_max = rows_max
        self._every = snapshot_every
        self._repeat_count_max = self.state_rules.repeat_count_max if on_gap is OnGap.REPEAT else 0

    def inspect(self) -> None:
        network = self._read()
        is_repeated = self._repeat_count_max > 0  # then the host keeps the last input
        self.input = In(f"float32[{network.inputs}]", on_device=not is_repeated)
        self.output = Out(f"float32[{network.outputs}]", on_device=True)

    async def open(self) -> None:
        network = self._network = self._read()
        if self.context.batch is not None:
            self._rows_max = self.context.batch.size_max
        slot_count, step_count_max = self.state_rules.stream_count_max, self._rows_max * (1 + self._repeat_count_max)
        context = self.context
        self._slab = Slab(context.device, network, slot_count, self._rows_max, step_count_max, context.device_priority)
        self._last_inputs = np.zeros((slot_count, network.inputs), np.float32) if self._repeat_count_max else None
        """Of each slot, what REPEAT steps with."""
        self._coming: deque[_Coming] = deque()
        self._resident = self.context.resident("output", (network.outputs,), np.float32)
        try:
            await self._slab.warm_up()
            batch = context.batch or self.batch
            await self._slab.measure((batch and batch.buckets) or powers_of_two(self._rows_max))
        except BaseException:
            self.close()
            raise

    def device_report(self) -> dict[str, Any]:
        return {"launches": [one.told() for one in self._slab.launches]}

    def state_tensors(self) -> tuple[StateTensor, ...]:
        state = StateTensor("state", "float32", self._network.state_shape)
        if self._last_inputs is None:
            return (state,)
        return state, StateTensor("input before", "float32", (self._network.inputs,), is_input=True)

    def process(self, message: Message) -> Any:
        ticket, results = self._stepped([message])
        return results()[0] if ticket is None else OnDevice(ticket, lambda: results()[0])

    def process_batch(self, messages: Sequence[Message]) -> Any:
        ticket, results = self._stepped(messages)
        return results() if ticket is None else OnDevice(ticket, results)

    async def flush(self) -> None:
        """The last state of each stream, so that another run goes on from there."""
        await self._commit_all()
        states = self.context.states
        assert states is not None
        while (rest := states.snapshot_of_rest(self, self._rows_max)).slots:
            batch = self._slab.take()
            self._slab.give(batch, (), (), rest.slots)
            self._expect(batch, rest)
            await self._commit_all()

    def close(self) -> None:
        if hasattr(self, "_slab"):
            self._slab.close()

    def _read(self) -> Network:
        return self._given if isinstance(self._given, Network) else read_network(Path(self._given))

    def _stepped(self, messages: Sequence[Message]) -> tuple[Ticket | None, Callable[[], list[Any]]]:
        """When the steps are made, and what comes of the data then; no ticket where there is nothing to be done."""
        stepping = self.begin_steps_elsewhere(messages)
        if not stepping.messages:
            return None, lambda: stepping.results(())
        batch = self._slab.take()
        due = stepping.due(self._every)
        self._load(stepping, batch)
        rounds = self._rounds(stepping, batch)
        slots, rows = stepping.slots, len(stepping.messages)
        batch.stays = (self._resident.take_all(rows) if self._resident is not None else None) or ()
        self._slab.give(batch, rounds, [slots[nth] for nth in stepping.loaded], [slots[nth] for nth in due])
        stepping.made()
        assert batch.stepped is not None
        tickets = [coming.ticket for coming in self._coming]  # of one queue: they are done by then
        tickets.append(batch.stepped)
        if due:
            self._expect(batch, stepping.snapshot(due))
            if stepping.is_awaited(self._every):
                tickets.append(self._coming[-1].ticket)

        def results() -> list[Any]:
            nans = self._commit(tickets)
            if not batch.stays:
                nans |= {slots[nth] for nth in np.flatnonzero(np.isnan(batch.y[:rows]).any(axis=1))}
            if nans:
                stepping.left_none([nth for nth, slot in enumerate(slots) if slot in nans])
            found = batch.stays or batch.y[:rows].copy()  # the batch is filled again before they are sent
            batch.let_go()
            return stepping.results(list(found))

        return _InOrder(tickets), results

    def _load(self, stepping: SteppingElsewhere, batch: GivenBatch) -> None:
        """What the streams have that are not on the device yet."""
        if stepping.loaded:
            batch.loads[: len(stepping.loaded)] = stepping.arrays[0]
            if self._last_inputs is not None:
                self._last_inputs[[stepping.slots[nth] for nth in stepping.loaded]] = stepping.arrays[1]

    def _rounds(self, stepping: SteppingElsewhere, batch: GivenBatch) -> list[list[int]]:
        """The slots of each round, and its inputs in the batch: the last ones again in place of what is missing, as
        often as each stream is to, and then those that have come."""
        x, count, rounds = batch.x, 0, list[list[int]]()
        last_inputs = self._last_inputs
        if last_inputs is not None:
            for nth in range(max(step.repeat_count for step in stepping.steps)):
                again = zip(stepping.slots, stepping.steps, strict=True)
                slots = [slot for slot, step in again if step.repeat_count > nth]
                x[count : count + len(slots)] = last_inputs[slots]
                count += len(slots)
                rounds.append(slots)
        for row, message in enumerate(stepping.messages, count):
            if type(message.array) is DeviceTensor:
                batch.there.append((row, message.array))
            else:
                x[row] = message.array
        if last_inputs is not None:
            last_inputs[stepping.slots] = x[count : count + len(stepping.slots)]
        return [*rounds, stepping.slots]

    def _expect(self, batch: GivenBatch, snapshot: Snapshot) -> None:
        assert batch.snapped is not None
        states = batch.snapshots[: len(snapshot.slots)]
        inputs = None if self._last_inputs is None else self._last_inputs[snapshot.slots]
        self._coming.append(_Coming(snapshot, batch.snapped, states, inputs))

    def _commit(self, tickets: Sequence[Ticket]) -> set[int]:
        """The snapshots of these tickets, which were waited for; the slots whose states are not numbers."""
        nans = set[int]()
        while self._coming and any(ticket is self._coming[0].ticket for ticket in tickets):
            nans.update(self._coming.popleft().commit())
        return nans

    async def _commit_all(self) -> None:
        while self._coming:
            await self._coming[0].ticket.wait()
            self._coming.popleft().commit()
