"""One datum at a stage: judged by its deadline, worked on by the node, sent on, and written down.

As for most data nothing has to be waited for, `handle` is no coroutine: it returns what is left to do, if anything is.
What differs from full work of one datum that is on time (a verdict, a joined row, a test that interferes) goes the
longer way round.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

import numpy as np
import trio

from streamflow.core.enforcement import RUN, TRY, Act, Verdict
from streamflow.core.message import Flag, Message
from streamflow.core.ports import PortType
from streamflow.core.turns import Cost
from streamflow.core.verdict import Kind
from streamflow.device.on_device import OnDevice
from streamflow.device.turns import Seat, Turns
from streamflow.errors import StreamflowError
from streamflow.recorder import layout
from streamflow.runtime.accounts.logbook import Logbook
from streamflow.runtime.guard import RAISED, blamed
from streamflow.runtime.stage.emission import messages_of
from streamflow.runtime.stage.ends import Inlet
from streamflow.runtime.stage.enforcer import Enforcer
from streamflow.runtime.stage.interference import Interference
from streamflow.runtime.stage.joining import Joined, flagged, merged
from streamflow.runtime.stage.sending import Sending
from streamflow.runtime.stage.variants import Choosing
from streamflow.transport.link import Backlog
from streamflow.wire.data import lightened

Handler = Callable[..., Any]

_HELD: Final = int(Flag.HELD)
_MISSED: Final = int(Flag.MISSED)  # `~` and `|` on members of a Flag cost more than a record
_KINDS: Final = {Act.RUN: Kind.RUN, Act.DELIVER: Kind.RUN, Act.DEGRADE: Kind.DEGRADED, Act.CALL: Kind.CALLED}
_WORKED: Final = (Act.RUN, Act.DELIVER, Act.DEGRADE)
_FLAGS: Final = {Act.DEGRADE: int(Flag.DEGRADED), Act.CALL: int(Flag.DEGRADED)}


class Handling:
    """Of one stage. `stop_wanted` is told the deadline that says STOP."""

    def __init__(
        self,
        stage: str,
        outputs: Mapping[str, PortType],
        inlets: Mapping[str, Inlet],
        logbook: Logbook,
        enforcer: Enforcer,
        sending: Sending,
        now_ns: Callable[[], int],
        interference: Interference | None,
    ) -> None:
        self.stop_wanted: Callable[[str], None] = lambda deadline: None
        self.last = Message({}, stage)
        """What was handled last; without large tensors, whose memory is somebody else's."""
        self._stage = stage
        self._outputs = outputs
        self._inlets = inlets
        self.logbook = self._logbook = logbook
        self.enforcer = self._enforcer = enforcer
        self.sending = self._sending = sending
        self.now_ns = self._now_ns = now_ns
        self._interference = interference
        self._last_result: tuple[int, list[tuple[str, Message]]] = (0, [])
        self._keeps_results = enforcer.holds_results
        self._choosing: Choosing | None = None
        self._on_device: OnDevice | None = None
        """What came of the datum at hand, where a device made it."""
        self._is_plain = interference is None and not self._keeps_results
        self._seat: Seat | None = None
        self._called = trio.Event()

    def take_turns(self, turns: Turns, seat: str = "") -> None:
        """Others share its device: it works on a datum when it is its turn. `seat`: its name there, else the stage."""
        self._seat = turns.seat(seat or self._stage, lambda: self._called.set())

    def leave(self) -> None:
        """Nothing more is worked on."""
        if self._seat is not None:
            self._seat.leave()

    def handle_in_turn(
        self, handler: Handler, message: Message, inlet: Inlet, row: Joined | None = None
    ) -> Awaitable[None] | None:
        """`handle`, when the device may be given something by this stage."""
        if self._seat is None:
            return self.handle(handler, message, inlet, row)
        return self._handle_in_turn(self._seat, handler, message, inlet, row)

    async def _handle_in_turn(
        self, seat: Seat, handler: Handler, message: Message, inlet: Inlet, row: Joined | None
    ) -> None:
        cost, now_ns = self._enforcer.cost, self._now_ns()
        room_ns = self._enforcer.room_ns(self._enforcer.with_deadline(message), now_ns)
        latest_ns = 0 if room_ns is None else max(now_ns + room_ns - cost.expected_ns(), 1)
        self._called = trio.Event()
        if not seat.claim(latest_ns):
            self._logbook.settle()  # from here on it waits in the hands of the stage
            while not seat.claim(latest_ns):
                await self._called.wait()
                self._called = trio.Event()
        seat.begin(self._now_ns(), Cost(cost.usual_ns, cost.usual_ns))
        try:
            rest = self.handle(handler, message, inlet, row)
            if rest is not None:
                await rest
        finally:
            self._give_turn_back()

    def _give_turn_back(self) -> None:
        """Once, when the device is done, or nothing was given to it; before what came of it is sent, for that may wait
        for room, which may be made by a stage that waits for its turn."""
        if self._seat is not None and self._seat.is_at_work:
            self._seat.done(self._now_ns())

    def choose_by(self, choosing: Choosing) -> None:
        """The stage has variants."""
        self._choosing = choosing
        self._is_plain = False

    def handle(
        self, handler: Handler, message: Message, inlet: Inlet, row: Joined | None = None
    ) -> Awaitable[None] | None:
        """Work on one datum, or on one of each input, as its verdict says; what is left to do, or None."""
        enforcer = self._enforcer
        message = enforcer.with_deadline(message)
        started_ns = self._now_ns()
        choosing = self._choosing
        if choosing is not None and (row is None or not row.port):
            message = choosing.choose(message, started_ns, inlet.mailbox)
            handler = choosing.handler
        verdict = enforcer.verdict(message, started_ns, self.result_age_ns(started_ns), self._backlog)
        if verdict is not RUN or row is not None or not self._is_plain:
            return self._handle(handler, message, inlet, row, verdict, started_ns)
        self.last = lightened(message)
        blocked_before = self._sending.blocked_ns
        self._logbook.begin(message, inlet.sender, started_ns)
        inlet.receiver.picked()
        try:
            result = handler(message)
        except RAISED as error:
            self._logbook.lost_in_service(message)
            raise blamed(self._stage, error, "process") from error
        if result is not None and type(result) is not np.ndarray and inspect.isawaitable(result):
            rest: Awaitable[None] | None = self._send_awaited(result, message)
        else:
            if self._seat is not None:
                self._give_turn_back()
            try:
                rest = self._sending.send_result(result, message, "process")
            except StreamflowError:
                self._logbook.lost_in_service(message)
                raise
        if rest is not None:
            return self._go_on(rest, message, inlet, started_ns, blocked_before)
        self._finish(message, inlet, None, RUN, started_ns, 0)
        return None

    async def _go_on(
        self, rest: Awaitable[None], message: Message, inlet: Inlet, started_ns: int, blocked_before: int
    ) -> None:
        try:
            await rest
        except StreamflowError:
            self._logbook.lost_in_service(message)
            raise
        self._finish(message, inlet, None, RUN, started_ns, self._sending.blocked_ns - blocked_before)

    async def _send_awaited(self, result: Awaitable[Any], message: Message) -> None:
        try:
            returned = await result if type(result) is not OnDevice else await self.done_on_device(result)
        except RAISED as error:
            raise blamed(self._stage, error, "process") from error
        if type(result) is OnDevice:
            self._on_device = result
        self._give_turn_back()
        rest = self._sending.send_result(returned, message, "process")
        if rest is not None:
            await rest

    def _finish(
        self, message: Message, inlet: Inlet, row: Joined | None, verdict: Verdict, started_ns: int, blocked_ns: int
    ) -> None:
        """It was worked on, and what came of it was sent."""
        enforcer, logbook, act = self._enforcer, self._logbook, verdict.act
        ended_ns = self._now_ns()
        service_ns = ended_ns - started_ns - blocked_ns
        if self._choosing is not None:
            self._choosing.worked_until_ns = ended_ns
        is_late = enforcer.is_late(message, ended_ns)
        if act is Act.RUN or act is Act.DELIVER or (act is Act.DEGRADE and enforcer.cheap is None):
            enforcer.cost.served(service_ns, is_late=is_late and act is not Act.DELIVER and verdict is not TRY)
        elif act is Act.DEGRADE:
            enforcer.cheap_cost.served(service_ns, is_late=is_late)
        flags = message.flags & ~_MISSED | (_MISSED if is_late else 0)
        on_device = self._on_device
        if on_device is not None:
            self._on_device = None
            goes_on = self._finish_on_device(
                on_device, message, inlet, row, act, (started_ns, ended_ns), blocked_ns, flags
            )
        elif row is None and act is Act.RUN and not message.origins:
            goes_on = logbook.finished(message, ended_ns, blocked_ns, flags)
        else:
            repeated = merged(row.data) if row is not None else ()
            kind = _KINDS.get(act, Kind.HELD)
            goes_on = logbook.ended(kind, message, inlet.sender, started_ns, ended_ns, blocked_ns, flags, repeated)
            logbook.service(service_ns, 0 if row is None else len(row.data))
            if row is None:
                logbook.idle()
        if not goes_on and self._outputs:
            logbook.recorder.add(layout.ABSORBED)

    async def done_on_device(self, given: OnDevice) -> Any:
        """Its results; until they are there, whoever looks sees that the device has it."""
        recorder = self._logbook.recorder
        given.given_ns = self._now_ns()
        recorder.set(layout.GIVEN_NS, given.given_ns)
        if self._seat is not None:
            if not self._seat.is_at_work:  # a stage of batches works on one datum, and only now it is seen to go there
                usual_ns = self._enforcer.cheap_cost.usual_ns
                self._seat.begin(given.given_ns, Cost(usual_ns, usual_ns))
            self._seat.given(given.given_ns)
        try:
            return await given
        finally:
            recorder.set(layout.GIVEN_NS, 0)
            self._give_turn_back()

    def _finish_on_device(
        self,
        on_device: OnDevice,
        message: Message,
        inlet: Inlet,
        row: Joined | None,
        act: Act,
        span_ns: tuple[int, int],
        blocked_ns: int,
        flags: int,
    ) -> bool:
        """The stage's own work ended when it gave the rest to the device; it was not free before that was sent on."""
        logbook, (started_ns, ended_ns) = self._logbook, span_ns
        given_ns, done_ns = on_device.span_ns(started_ns, ended_ns)
        repeated = merged(row.data) if row is not None else ()
        kind = _KINDS.get(act, Kind.HELD)
        goes_on = logbook.ended(kind, message, inlet.sender, started_ns, given_ns, 0, flags, repeated, 1, done_ns)
        busy_ns = ended_ns - started_ns - blocked_ns
        logbook.service(given_ns - started_ns, 0 if row is None else len(row.data), busy_ns)
        if row is None:
            logbook.idle()
        return goes_on

    def is_too_old(self, port: str, message: Message) -> bool:
        """Whether it is older than its edge lets pass; then it has been dropped."""
        inlet = self._inlets[port]
        if inlet.max_age_ns is None or message.age_ns(self._now_ns()) <= inlet.max_age_ns:
            return False
        self._logbook.settle()
        self._logbook.too_old(message, inlet.edge)
        self._logbook.commit()
        self._logbook.put_down()
        inlet.receiver.picked()
        return True

    # ------------------------------------------------------------------------- the longer way round

    async def _handle(
        self, handler: Handler, message: Message, inlet: Inlet, row: Joined | None, verdict: Verdict, started_ns: int
    ) -> None:
        enforcer, logbook, choosing = self._enforcer, self._logbook, self._choosing
        if choosing is not None and choosing.level and verdict.act is Act.RUN:
            verdict = Verdict(Act.DEGRADE, verdict.given_up, verdict.stops)
        act = verdict.act
        if verdict is not RUN:
            if verdict.stops:
                self.stop_wanted(enforcer.stops(message))
            if act is Act.SHED:
                logbook.settle()
                if row is None:
                    logbook.shed(message, inlet.sender, started_ns)
                else:
                    logbook.shed(message, inlet.sender, started_ns, merged(row.data), len(row.data))
                inlet.receiver.picked()
                return
            message, row = _flagged(message, row, act, is_late=started_ns > message.deadline_ns)
        self.last = lightened(message)
        blocked_before = self._sending.blocked_ns
        logbook.begin(message, inlet.sender, started_ns)
        inlet.receiver.picked()
        if choosing is not None and act in _WORKED and (row is None or not row.port):
            choosing.worked()
        if self._interference is not None:
            await self._interference.before_work(self._stage, message, act)
        try:
            if act is Act.HOLD:
                await self._send_held(message)
            else:
                await self._work(handler, message, row, act)
        except StreamflowError:
            if row is None:
                logbook.lost_in_service(message)
            raise
        self._finish(message, inlet, row, verdict, started_ns, self._sending.blocked_ns - blocked_before)
        if self._interference is not None:
            self._interference.handled(self._stage, message)

    async def _work(self, handler: Handler, message: Message, row: Joined | None, act: Act) -> None:
        """Call what the verdict says, and send what it returns."""
        if act is Act.DEGRADE and self._enforcer.cheap is not None:
            handler = self._enforcer.cheap
        elif act is Act.CALL:
            called = self._enforcer.handler(message)
            assert called is not None, "CALL is declared together with what is called"
            stage, row = self._stage, None

            def handler(message: Message) -> Any:
                return called(stage, message)

        try:
            result = handler(message) if row is None or row.arguments is None else handler(**row.arguments)
            if type(result) is not np.ndarray and inspect.isawaitable(result):
                if type(result) is OnDevice:
                    self._on_device = result
                    result = await self.done_on_device(result)
                else:
                    result = await result
        except RAISED as error:
            raise blamed(self._stage, error, "process") from error
        self._give_turn_back()
        send = self.send_good if act is Act.RUN else self._sending.send_result
        rest = send(result, message, "process")
        if rest is not None:
            await rest

    def send_good(self, result: Any, message: Message, where: str) -> Awaitable[None] | None:
        """Send what `where` has returned for full work on a datum, and keep it where it may be sent again."""
        if not self._keeps_results:
            return self._sending.send_result(result, message, where)
        return self._send_kept(result, message, where)

    async def _send_kept(self, result: Any, message: Message, where: str) -> None:
        try:
            sent = list(messages_of(result, message, self._outputs, self._now_ns()))
        except RAISED as error:
            raise blamed(self._stage, error, where) from error
        self._last_result = (message.event_time_ns, sent)
        if len(sent) > 1:
            self._logbook.keep()
        for port, one in sent:
            await self._sent(port, one)

    def give_up(self, row: Joined, inlet: Inlet, verdict: Verdict) -> Awaitable[None]:
        """Do with a row what the verdict says instead of full work."""
        return self._handle(_no_handler, row.message, inlet, row, verdict, self._now_ns())

    async def _send_held(self, message: Message) -> None:
        """The last good result once more, in the name of the datum that has none."""
        if len(self._last_result[1]) > 1:
            self._logbook.keep()
        for port, held in self._last_result[1]:
            again = message.replace(
                tensors=held.tensors,
                attributes=held.attributes,
                flags=message.flags | _HELD,
                sent_ns=self._now_ns(),
                enqueued_ns=0,
            )
            await self._sent(port, again)

    async def _sent(self, port: str, message: Message) -> None:
        rest = self._sending.send(port, message)
        if rest is not None:
            await rest

    def _backlog(self) -> Backlog:
        """What waits to be served."""
        found = [inlet.receiver.backlog() for inlet in self._inlets.values()]
        return found[0] if len(found) == 1 else Backlog(sum(one.depth for one in found), None)

    def result_age_ns(self, now_ns: int) -> int | None:
        """Of the last good result, where one may be sent again; None without any."""
        if not self._keeps_results:
            return None
        event_time_ns, result = self._last_result
        return now_ns - event_time_ns if result else None


def _no_handler(message: Message) -> Any:
    """For acts that call something else."""
    raise AssertionError("there is no full work on a datum that was given up")


def _flagged(message: Message, row: Joined | None, act: Act, *, is_late: bool) -> tuple[Message, Joined | None]:
    """What is handed over says how it is handled."""
    flags = _MISSED if act is Act.DELIVER and is_late else _FLAGS.get(act, 0)
    if flags:
        message = message.replace(flags=message.flags | flags)
        if row is not None:
            arguments = None if row.arguments is None else flagged(row.arguments, flags)
            row = Joined(message, arguments, row.data, row.port)
    return message, row
