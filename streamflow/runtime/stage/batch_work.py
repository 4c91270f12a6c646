"""Works on the batches that a stage has chosen: has the node make each, and sends what came of it.

To the accounts the data of a batch are in service one after the other: the first while the node works on the batch,
each of the others when the results of the one before it were sent. Until then it is held back, and lost as such if the
process dies. So what each has sent is known by its own turn. *Not taken*: the batch in service as a whole, as a row of
a join; of what its turn has sent nobody could say which datum it belongs to.

A batch that a device works on is *in flight* from when the node has given it to the device until it has *landed*: its
results are sent. Meanwhile all its data are held back, for the stage goes on: while one batch runs the next is made. A
datum's service begins when the stage begins to make its batch, and ends when the device is given it; from then until
the device is done is the device's time, what it waits there behind another batch included. So the data of a batch are
in service twice, and counted once: when they land. Batches land in the order in which they were given.

What the device takes for a batch is learned from when it was free for it, or when it was given it, to when it was done:
of two that overlap no instant is counted twice. What is needed before and after that is learned by itself.
"""

from __future__ import annotations

import inspect
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

import trio

from streamflow.core.batch import Batch
from streamflow.core.message import Flag, Message
from streamflow.core.turns import FLIGHT_LIMIT, Cost, Free
from streamflow.core.verdict import Kind
from streamflow.device.on_device import OnDevice
from streamflow.device.turns import Seat
from streamflow.errors import NodeError, StreamflowError
from streamflow.recorder import layout
from streamflow.runtime.guard import RAISED, blamed
from streamflow.runtime.node import Node, Output
from streamflow.runtime.stage.ends import Inlet
from streamflow.runtime.stage.handling import Handling
from streamflow.runtime.stage.held_back import HeldBack
from streamflow.runtime.stage.interference import Interference
from streamflow.runtime.stage.joining import Joined
from streamflow.wire.data import lightened

WHERE: Final = "process_batch"
MEAN_SHARE: Final = 8  # the last of so many counts in a mean
_MISSED: Final = int(Flag.MISSED)
_IDLE: Final = Free(0, 0)


@dataclass(slots=True, eq=False)
class Datum:
    """One that waits. `passed_ns`: its deadlines up to there were given up; `is_overdue`: all of them."""

    message: Message
    arrival_ns: int
    passed_ns: int = 0
    is_overdue: bool = False
    due_ns: int = 0
    latest_ns: int = 0


@dataclass(slots=True, eq=False)
class _Batch:
    """One at work. `flight`: which of those in flight, from 0; `device_ns`: how long the device was at it alone."""

    data: Sequence[Datum]
    rows: Sequence[Joined]
    started_ns: int
    on_device: OnDevice | None = None
    flight: int = 0
    is_done: bool = False
    device_ns: int = 0


class BatchWork:
    """Of one stage. `seat`: at its device; without one no batch is in flight while another is made."""

    def __init__(
        self,
        stage: str,
        node: Node,
        batch: Batch,
        inlet: Inlet,
        held: HeldBack,
        handling: Handling,
        interference: Interference | None,
        seat: Seat | None,
        ring: Callable[[], None],
    ) -> None:
        """`ring` is called when a batch is to land."""
        self._stage = stage
        self._process: Callable[[Sequence[Message]], Any] = node.process_batch  # type: ignore[attr-defined]
        self._inlet = inlet
        self._held = held
        self._handling = handling
        self._enforcer = handling.enforcer
        self._logbook = handling.logbook
        self._sending = handling.sending
        self._now_ns = handling.now_ns
        self._interference = interference
        self._seat = seat
        self._limit = min(seat.limit, FLIGHT_LIMIT) if seat is not None else 1
        self._ring = ring
        self._flights: deque[_Batch] = deque()  # the oldest first
        self._watched: deque[_Batch] = deque()  # of these, what `watch` has not seen done
        self._has_flown = trio.Event()
        self._busy_until_ns = 0
        self.streams: set[str] = set()
        """Of what is in flight."""
        self.profile = batch.profile()
        self.making_ns = 0
        """From the start of a batch until the device has it, as much as it takes at worst."""
        self.landing_ns = 0
        """From when the device is done until all is sent, as a mean."""
        self.last_undated_ns = 0
        """When a datum without a deadline was started last."""

    # ------------------------------------------------------------------------------------- in flight

    @property
    def is_flying(self) -> bool:
        return bool(self._flights)

    @property
    def has_room(self) -> bool:
        """Whether one more may be made."""
        return len(self._flights) < self._limit

    @property
    def in_flight(self) -> list[Message]:
        """The data of all batches that have not landed."""
        return [datum.message for batch in self._flights for datum in batch.data]

    def is_landing_due(self) -> bool:
        """Whether the device is done with the oldest."""
        flights = self._flights
        return bool(flights) and (on_device := flights[0].on_device) is not None and on_device.is_done

    def free(self, now_ns: int) -> Free:
        """When the device will be free for the next."""
        return _IDLE if self._seat is None else self._seat.free(now_ns)

    async def watch(self) -> None:
        """Tell the stage when its device is done with a batch, until it is cancelled: one task for all batches."""
        while True:
            while not self._watched:
                self._has_flown = trio.Event()
                await self._has_flown.wait()
            batch = self._watched[0]
            assert batch.on_device is not None
            with suppress(*RAISED):  # whoever lands it hears of it
                await batch.on_device.wait()
            self._watched.popleft()
            self._is_over(batch)
            self._ring()

    def _is_over(self, batch: _Batch) -> None:
        """The device is done with it: the next may have its turn, however long this one takes to land."""
        if batch.is_done or self._seat is None or batch.on_device is None:
            return
        batch.is_done = True
        batch.device_ns = self._seat.done(batch.on_device.done_ns or self._now_ns())

    def _fly(self, batch: _Batch, on_device: OnDevice) -> None:
        assert self._seat is not None
        recorder, given_ns = self._logbook.recorder, self._now_ns()
        batch.on_device = on_device
        on_device.given_ns = given_ns
        self._seat.given(given_ns)
        batch.flight = 1 - self._flights[-1].flight if self._flights else 0
        recorder.set(layout.FLIGHT_STARTED_NS + batch.flight, batch.started_ns)
        recorder.set(layout.FLIGHT_GIVEN_NS + batch.flight, given_ns)
        self._held.hand_over(batch.rows, batch.flight + 1)
        self._flights.append(batch)
        self._watched.append(batch)
        self.streams.update(datum.message.stream for datum in batch.data)
        self._has_flown.set()
        took_ns = given_ns - batch.started_ns
        # A device waits for who comes too late, so the longest counts, and is forgotten slowly.
        self.making_ns = max(took_ns, self.making_ns + (took_ns - self.making_ns) // MEAN_SHARE)

    async def land(self) -> None:
        """Send what came of the oldest in flight, with which the device is done. Raises what its work has raised."""
        batch = self._flights[0]
        assert batch.on_device is not None
        self._is_over(batch)
        self._logbook.recorder.set(layout.FLIGHT_GIVEN_NS + batch.flight, 0)
        self._begin(batch.rows[0], batch.started_ns)
        try:
            found = results_of(self._stage, await self._done(batch.on_device), len(batch.rows))
        except StreamflowError:
            self._held.lose(batch.rows[0])
            raise
        await self._send(batch, found, WHERE)
        self._flights.popleft()
        self.streams = {message.stream for message in self.in_flight}

    # --------------------------------------------------------------------------------------- the work

    async def start(self, data: Sequence[Datum], alone: Callable[[Message], Any] | None = None) -> None:
        """Work on these at once, and send what comes of each in its own name, or have it in flight; `alone`: on one,
        by this instead."""
        started_ns = self._now_ns()
        recorder = self._logbook.recorder
        assert recorder.batch_wait is not None
        rows = []
        for datum in data:
            recorder.batch_wait.record(started_ns - datum.arrival_ns)
            is_late = datum.is_overdue and started_ns > datum.message.deadline_ns
            rows.append(row_of(datum, _MISSED if is_late else 0))
            if not datum.latest_ns:
                self.last_undated_ns = started_ns
        batch = _Batch(data, rows, started_ns)
        seat = self._seat if alone is None else None
        if seat is not None:
            profile = self.profile
            seat.begin(started_ns, Cost(profile.soonest_ns(len(data)), profile.cost_ns(len(data), started_ns)))
        self._begin(rows[0], started_ns)
        try:
            found = await self._make([row.message for row in rows], alone)
            if type(found) is OnDevice:
                if seat is not None:
                    self._fly(batch, found)
                    return
                batch.on_device = found
                found = await self._done(self._handling.done_on_device(found), alone)
            found = [found] if alone is not None else results_of(self._stage, found, len(rows))
        except StreamflowError:
            self._held.lose(rows[0])
            raise
        if seat is not None:
            seat.done(self._now_ns())
        await self._send(batch, found, WHERE if alone is None else "process")

    def _begin(self, row: Joined, started_ns: int) -> None:
        self._handling.last = lightened(row.message)
        self._held.begin(row)
        self._logbook.begin(row.message, self._inlet.sender, started_ns)

    async def _make(self, messages: list[Message], alone: Callable[[Message], Any] | None) -> Any:
        """What the node returns, awaited unless a device has it."""
        if self._interference is not None:
            await self._interference.before_batch(self._stage, messages)
        try:
            found = self._process(messages) if alone is None else alone(messages[0])
            return await found if inspect.isawaitable(found) and type(found) is not OnDevice else found
        except RAISED as error:
            raise blamed(self._stage, error, WHERE if alone is None else "process") from error

    async def _done(self, given: Awaitable[Any], alone: Callable[[Message], Any] | None = None) -> Any:
        """The results, once the device is done."""
        try:
            return await given
        except RAISED as error:
            raise blamed(self._stage, error, WHERE if alone is None else "process") from error

    async def _send(self, batch: _Batch, results: Sequence[Any], where: str) -> None:
        """What came of each datum, the first of which is in service."""
        blocked_before = self._sending.blocked_ns
        rows = batch.rows
        row = rows[0]
        busy_ns = 0
        try:
            for row, result in zip(rows, results, strict=True):
                if row is not rows[0]:
                    self._begin(row, batch.started_ns)
                rest = self._handling.send_good(result, row.message, where)
                if rest is not None:
                    await rest
                busy_ns = self._finish(batch, row, self._sending.blocked_ns - blocked_before, busy_ns)
        except StreamflowError:
            self._held.lose(row)
            raise
        self._logbook.recorder.batched(len(rows))
        ended_ns = self._now_ns()
        self._busy_until_ns = max(self._busy_until_ns, ended_ns)
        self._learn(batch, ended_ns - (self._sending.blocked_ns - blocked_before))

    def _finish(self, batch: _Batch, row: Joined, blocked_ns: int, busy_before_ns: int) -> int:
        """What came of one datum was sent; returns how long the batch has taken until now, beyond those before it."""
        logbook, message = self._logbook, row.message
        started_ns, ended_ns = batch.started_ns, self._now_ns()
        flags = message.flags & ~_MISSED | (_MISSED if self._enforcer.is_late(message, ended_ns) else 0)
        given_ns, done_ns, size = ended_ns, 0, len(batch.rows)
        busy_ns = ended_ns - max(started_ns, self._busy_until_ns) - blocked_ns
        service_ns, blocked_in_service_ns = busy_ns, blocked_ns
        if batch.on_device is not None:
            given_ns, done_ns = batch.on_device.span_ns(started_ns, ended_ns)
            service_ns, blocked_in_service_ns = given_ns - started_ns, 0
        goes_on = logbook.ended(
            Kind.RUN, message, self._inlet.sender, started_ns, given_ns, blocked_in_service_ns, flags, (), size, done_ns
        )
        logbook.service(service_ns, 1, busy_ns - busy_before_ns)
        if not goes_on and self._sending.outlets:
            logbook.recorder.add(layout.ABSORBED)
        self._held.end(row)
        if self._interference is not None:
            self._interference.handled(self._stage, message)
        return busy_ns

    def _learn(self, batch: _Batch, ended_ns: int) -> None:
        """What the batch took, and whether its tightest datum was in time. `ended_ns`: but for the wait for room."""
        tightest_ns = min([datum.latest_ns for datum in batch.data if datum.latest_ns], default=0)
        is_late = bool(tightest_ns) and ended_ns > tightest_ns
        took_ns = ended_ns - batch.started_ns
        profiled_ns = took_ns
        if batch.is_done and batch.on_device is not None:
            landed_ns = max(ended_ns - batch.on_device.done_ns, 0)
            self.landing_ns += (landed_ns - self.landing_ns) // MEAN_SHARE
            profiled_ns = batch.device_ns
            took_ns = batch.on_device.given_ns - batch.started_ns + batch.device_ns + landed_ns
        self.profile.served(len(batch.data), profiled_ns, is_late=is_late)
        self._enforcer.cost.served(took_ns, is_late=is_late)

    def leave(self) -> None:
        """The stage has failed, or has ended: the device is the others'."""
        self._handling.leave()
        if self._seat is not None:
            self._seat.leave()


def row_of(datum: Datum, flags: int = 0) -> Joined:
    """The datum as what is in service."""
    message = datum.message
    return Joined(message.replace(flags=message.flags | flags) if flags else message, None, (message,))


def results_of(stage: str, found: Any, count: int) -> Sequence[Any]:
    """What `process_batch` has returned for `count` data: one each. Raises NodeError."""
    kind = type(found).__name__
    if isinstance(found, str | bytes | Mapping | Output | Message) or not hasattr(found, "__len__"):
        raise NodeError(stage, f"{WHERE} returned a {kind}, expected a sequence with a result for each of {count} data")
    if getattr(found, "shape", None) == ():
        raise NodeError(
            stage, f"{WHERE} returned an array of no dimensions, expected a result for each of {count} data"
        )
    if len(found) != count:
        raise NodeError(
            stage, f"{WHERE} returned {len(found)} results for {count} data, expected one for each; None where none is"
        )
    results: Sequence[Any] = found
    return results
