"""One stage at work: takes what arrives, decides by its deadline, calls the user's node, sends what it returns.

    made -> open -> (start) -> running -> draining -> closed

The actor's own task does everything that touches the node, so user code never runs twice at once. What
fails in user code comes out as a NodeError with the user's own part of the traceback; an error that a node
raises on purpose (InputError and its kin) keeps its one sentence. What happened goes into the logbook.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import trio

from streamflow.core.enforcement import RUN, TRY, Act
from streamflow.core.graph import Resolved
from streamflow.core.joins import ExactJoin
from streamflow.core.message import Flag, Message, Origin
from streamflow.core.pacing import Pacing
from streamflow.core.verdict import Kind
from streamflow.errors import StreamflowError
from streamflow.recorder import layout
from streamflow.runtime.clock import Clock
from streamflow.runtime.conformity import Conformity
from streamflow.runtime.emission import may_be_several, message_of, messages_of, only_output
from streamflow.runtime.ends import Inlet, Outlet
from streamflow.runtime.enforcer import Enforcer
from streamflow.runtime.guard import RAISED, blamed, guarded
from streamflow.runtime.interference import Interference
from streamflow.runtime.joining import HeldInJoin, merged, together
from streamflow.runtime.logbook import NOWHERE, Logbook
from streamflow.runtime.node import Node, Output
from streamflow.runtime.placing import Placing
from streamflow.runtime.replay import Replay
from streamflow.runtime.serving import Serving
from streamflow.runtime.spinner import Spinner
from streamflow.transport.link import Backlog

Handler = Callable[..., Any]

_MISSED = int(Flag.MISSED)  # `~` and `|` on members of a Flag cost more than a record
_KINDS = {Act.RUN: Kind.RUN, Act.DELIVER: Kind.RUN, Act.DEGRADE: Kind.DEGRADED, Act.CALL: Kind.CALLED}
_FLAGS = {Act.DEGRADE: int(Flag.DEGRADED), Act.CALL: int(Flag.DEGRADED)}


class Actor:
    """The running instance of a stage; lends the node its `Context`."""

    def __init__(
        self,
        stage: str,
        node: Node,
        resolved: Resolved,
        *,
        offline: bool,
        logbook: Logbook,
        enforcer: Enforcer,
        clock: Clock,
        interference: Interference | None = None,
        shares_loop: bool = True,
        is_alone: bool = False,
        spin_ns: int = 0,
    ) -> None:
        """Offline, recorded time is event time, and nothing waits for a clock.

        `shares_loop`: other stages are in its process. `is_alone`: it has a real one to itself. `spin_ns`: how long it
        waits awake then before it sleeps.
        """
        definition = resolved.graph.stage(stage)
        self.stage = stage
        self.node = node
        self.offline = offline
        self.generation = logbook.recorder.get(layout.GENERATION)
        self.threads = definition.realtime.thread_count if definition.realtime is not None else None
        self.logbook = logbook
        self.enforcer = enforcer
        self.inlets: dict[str, Inlet] = {}
        self.placing: Placing | None = None
        self.outlets: dict[str, list[Outlet]] = {port: [] for port in definition.outputs}
        self.stop_wanted: Callable[[str], None] = lambda deadline: None
        self.now_ns = clock.now_ns
        self._serving = Serving(
            enforcer,
            clock.now_ns,
            interference,
            is_joined=definition.is_joined,
            shares_loop=shares_loop,
            is_alone=is_alone,
            spinner=Spinner(spin_ns, clock.now_ns, logbook.recorder) if spin_ns else None,
        )
        self.bell_of = self._serving.bell_of
        self._recorder = logbook.recorder
        self._replay = Replay(logbook.recorder, is_live=definition.live)
        self._interference = interference
        self._pacing: Pacing | None = None
        self._is_source = definition.is_source
        self._live = definition.live
        self._is_joined = definition.is_joined
        self._input_types = {port: resolved.input_types[stage, port] for port in definition.inputs}
        self._output_types = {port: resolved.output_types[stage, port] for port in definition.outputs}
        self._only_output = only_output(self._output_types)
        self._conformity = Conformity(stage, self._input_types, self._output_types)
        self._timer = clock.timer()
        self._draining = trio.CancelScope()
        self._last = Message({}, stage)
        self._last_result: tuple[int, list[tuple[str, Message]]] = (0, [])
        self._keeps_results = enforcer.holds_results
        self._blocked_ns = 0  # spent waiting for room downstream: not the stage's own service time
        node.context = self

    # ---------------------------------------------------------------------------- what a node sees

    def rate_hz(self, port: str) -> float | None:
        """The sampling rate of what arrives at `port`, where the graph knows it."""
        return self._input_types[port].rate_hz

    def allocate(self, shape: Sequence[int], dtype: Any) -> Any:
        return np.empty(tuple(shape), dtype) if self.placing is None else self.placing.allocate(shape, dtype)

    async def sleep_until(self, instant_ns: int) -> None:
        self._recorder.set(layout.DUE_NS, max(instant_ns, 0))
        await self._timer.sleep_until(instant_ns)
        self._recorder.set(layout.DUE_NS, 0)

    async def pace(self, recorded_ns: int) -> int:
        self._replay.paced()
        if self._pacing is None:
            return recorded_ns
        due_ns = self._pacing.due_ns(recorded_ns)
        if not self._replay.is_replaying:
            await self.sleep_until(due_ns)
        return due_ns

    async def emit(self, output: Output) -> None:
        """A source's datum: numbered here, rejected where a live source meets a full blocking edge."""
        if self._interference is not None and not self._replay.is_replaying:
            output = await self._interference.before_emit(self.stage, self._replay.coming_seq, output)
        seq = self._replay.next_seq()
        if seq is not None:
            now_ns = 0 if self.offline else self.now_ns()
            event_time_ns = now_ns if output.event_time_ns is None else output.event_time_ns
            deadline_ns = self.enforcer.source_deadline_ns(event_time_ns)
            base = Message({}, self.stage, seq, event_time_ns, output.attributes, deadline_ns, 0, now_ns)
            self.logbook.begin(base, NOWHERE, now_ns)
            # What it says more than its value is said by `base`, unless it has a name of its own.
            is_plain = output.port is None and output.stream is None and output.seq is None
            try:
                await self._send_all(output.value if is_plain else output, base, "run")
                self._recorder.add(layout.EMITTED)
            finally:  # also where it is drained while it waits for room
                self.logbook.emitted(base)
        await self._serving.between_data()

    # ------------------------------------------------------------------------------- the life cycle

    def start(self, pacing: Pacing | None) -> None:
        """Every stage is ready: recordings play from now."""
        self._pacing = pacing

    async def open(self) -> None:
        await guarded(self.stage, self.node.open, "open")

    async def run(self) -> None:
        """Until the inputs have ended and everything was sent on, or the source has ended."""
        if self._is_source:
            await self._run_source()
        else:
            await self._run_inputs()
            # A remainder is of data whose end was told long ago: on no path's account is it theirs.
            self.logbook.forget_sent()
            remainder_of = replace(self._last, origins=(Origin("", self._last.seq, self._last.event_time_ns),))
            result = await guarded(self.stage, self.node.flush, "flush")
            await self._send_all(result, remainder_of, "flush")
        self.end_outputs()

    def end_outputs(self) -> None:
        """Nothing more will be sent: every stream ends after what was sent so far."""
        for outlet in self._all_outlets():
            outlet.sender.end()

    async def close(self) -> None:
        self._timer.close()
        await guarded(self.stage, self.node.close, "close")

    def drain(self) -> None:
        """Stop producing: a source is cancelled where it waits, and its stream ends there."""
        self._draining.cancel()

    def _all_outlets(self) -> list[Outlet]:
        return [outlet for outlets in self.outlets.values() for outlet in outlets]

    async def _run_source(self) -> None:
        run: Callable[[], Awaitable[None]] = self.node.run  # type: ignore[attr-defined]
        with self._draining:
            await guarded(self.stage, run, "run")

    async def _run_inputs(self) -> None:
        process = getattr(self.node, "process", None)
        if self._is_joined:
            await self._run_joined(process)
            return
        handlers: dict[str, Handler] = {port: process or getattr(self.node, f"process_{port}") for port in self.inlets}

        async def handle_each(port: str, message: Message) -> None:
            message = self._conformity.received(port, message)
            inlet = self.inlets[port]
            if inlet.max_age_ns is None or not self._is_too_old(port, message):
                await self._handle(handlers[port], message, inlet.sender)

        await self._serving.serve(self.inlets, handle_each, lambda port: None)

    async def _run_joined(self, process: Any) -> None:
        join: ExactJoin[Message] = ExactJoin(list(self.inlets))
        held = HeldInJoin(self.logbook, {inlet.edge for inlet in self.inlets.values()})

        def give_up() -> None:
            for port, message in join.given_up():
                self.logbook.dropped(message, "unmatched", self.inlets[port].edge, held.release)

        async def handle_joined(port: str, message: Message) -> None:
            message = self._conformity.received(port, message)
            if self._is_too_old(port, message):
                return
            held.hold(message)
            join.offer(port, message)
            while (row := join.ready()) is not None:
                held.begin(row)
                await self._handle(process, together(row), self.inlets[port].sender, row)
                for part in row.values():  # not before: what was held back and in service is lost together
                    held.release(part)
                self.logbook.idle()
            give_up()

        try:
            await self._serving.serve(self.inlets, handle_joined, join.end)
        except StreamflowError:
            held.lose_all()
            raise
        join.ready()
        give_up()

    def _is_too_old(self, port: str, message: Message) -> bool:
        """Whether it is older than its edge lets pass; then it has been dropped."""
        inlet = self.inlets[port]
        if inlet.max_age_ns is None or message.age_ns(self.now_ns()) <= inlet.max_age_ns:
            return False
        self.logbook.dropped(message, "too_old", inlet.edge)
        self.logbook.commit()
        self.logbook.put_down()
        return True

    async def discard_inputs(self) -> None:
        """Take and let go what still comes, so that nobody upstream waits for ever: the stage has failed."""

        async def let_go(port: str, message: Message) -> None:
            self.logbook.lost(message, self.inlets[port].edge)
            await trio.lowlevel.checkpoint()

        await self._serving.serve(self.inlets, let_go, lambda port: None)

    # -------------------------------------------------------------------------------- the handling

    async def _handle(
        self, handler: Handler, message: Message, sender: int, row: Mapping[str, Message] | None = None
    ) -> None:
        """Work on one datum, or on one of each input, as its verdict says."""
        enforcer = self.enforcer
        message = enforcer.with_deadline(message)
        started_ns = self.now_ns()
        verdict = enforcer.verdict(message, started_ns, self._result_age_ns(started_ns), self._backlog)
        act = verdict.act
        if verdict is not RUN:
            if verdict.stops:
                self.stop_wanted(enforcer.stops(message))
            if act is Act.SHED:
                self.logbook.shed(message, sender, started_ns, merged(row) if row else ())
                return
            message, row = _flagged(message, row, act, is_late=started_ns > message.deadline_ns)
        self._last = message
        blocked_before = self._blocked_ns
        self.logbook.begin(message, sender, started_ns)
        if self._interference is not None:
            await self._interference.before_work(self.stage, message, act)
        try:
            if act is Act.HOLD:
                await self._send_held(message)
            else:
                await self._work(handler, message, row, act)
        except StreamflowError:
            if row is None:
                self.logbook.lost_in_service(message)
            raise
        ended_ns = self.now_ns()
        blocked_ns = self._blocked_ns - blocked_before
        service_ns = ended_ns - started_ns - blocked_ns
        is_late = enforcer.is_late(message, ended_ns)
        if act is Act.RUN or act is Act.DELIVER:
            enforcer.cost.served(service_ns, is_late=is_late and act is Act.RUN and verdict is not TRY)
        elif act is Act.DEGRADE:
            enforcer.cheap_cost.served(service_ns, is_late=is_late)
        flags = message.flags & ~_MISSED | (_MISSED if is_late else 0)
        if row is None and act is Act.RUN and not message.origins:
            goes_on = self.logbook.finished(message, ended_ns, blocked_ns, flags)
        else:
            repeated = merged(row) if row else ()
            kind = _KINDS.get(act, Kind.HELD)
            goes_on = self.logbook.ended(kind, message, sender, started_ns, ended_ns, blocked_ns, flags, repeated)
            self.logbook.service(service_ns)
            if row is None:
                self.logbook.idle()
        if not goes_on and self.outlets:
            self._recorder.add(layout.ABSORBED)
        if self._interference is not None:
            self._interference.handled(self.stage, message)

    async def _work(self, handler: Handler, message: Message, row: Mapping[str, Message] | None, act: Act) -> None:
        """Call what the verdict says, and send what it returns."""
        if act is Act.DEGRADE and self.enforcer.cheap is not None:
            handler = self.enforcer.cheap
        elif act is Act.CALL:
            called = self.enforcer.handler(message)
            assert called is not None, "CALL is declared together with what is called"
            stage, row = self.stage, None

            def handler(message: Message) -> Any:
                return called(stage, message)

        try:
            result = handler(message) if row is None else handler(**row)
            if type(result) is not np.ndarray and inspect.isawaitable(result):
                result = await result
            is_good = self._keeps_results and act is Act.RUN
            sent = list(messages_of(result, message, self._output_types, self.now_ns())) if is_good else []
        except RAISED as error:
            raise blamed(self.stage, error, "process") from error
        if is_good:
            self._last_result = (message.event_time_ns, sent)
            if len(sent) > 1:
                self.logbook.keep()
            for port, one in sent:
                await self._send(port, one)
        else:
            await self._send_all(result, message, "process")

    def _backlog(self) -> Backlog:
        """What waits to be served."""
        found = [inlet.receiver.backlog() for inlet in self.inlets.values()]
        return found[0] if len(found) == 1 else Backlog(sum(one.depth for one in found), None)

    def _result_age_ns(self, now_ns: int) -> int | None:
        if not self._keeps_results:
            return None
        event_time_ns, result = self._last_result
        return now_ns - event_time_ns if result else None

    async def _send_held(self, message: Message) -> None:
        """The last good result once more, in the name of the datum that has none."""
        if len(self._last_result[1]) > 1:
            self.logbook.keep()
        for port, held in self._last_result[1]:
            await self._send(
                port,
                replace(
                    message,
                    tensors=held.tensors,
                    attributes=held.attributes,
                    flags=message.flags | Flag.HELD,
                    sent_ns=self.now_ns(),
                    enqueued_ns=0,
                ),
            )

    # ------------------------------------------------------------------------------------- sending

    async def _send_all(self, result: Any, handled: Message, where: str) -> None:
        """Send what `where` has returned; a generator's work is the node's own, and fails as such."""
        if result is None:
            return
        if type(result) is np.ndarray and self._only_output is not None:
            port, tensor = self._only_output
            await self._send(port, message_of(result, tensor, handled, 0 if self.offline else self.now_ns()))
            return
        if may_be_several(result, self._output_types):
            self.logbook.keep()
        try:
            for port, message in messages_of(result, handled, self._output_types, 0 if self.offline else self.now_ns()):
                await self._send(port, message)
        except RAISED as error:
            raise blamed(self.stage, error, where) from error

    async def _send(self, port: str, message: Message) -> None:
        """Offer to every edge first, so that a full one holds back no other; then wait for those that block."""
        self._conformity.require_sent(port, message)
        if self._interference is not None:
            self._interference.sent(self.stage, port, message)
        outlets = self.outlets[port]
        if self.placing is not None:
            placed = self.placing.placed(message)
            if placed is None:
                since_ns, waits = self.now_ns(), not self._live and all(outlet.waits for outlet in outlets)
                placed = await self.placing.placed_late(message, self._timer, self.now_ns, waits=waits)
                self._blocked_ns += self.now_ns() - since_ns
            message = placed
        if self._is_source:
            self.logbook.admitting(message, [outlet.mask for outlet in outlets])
        for outlet in outlets:
            self.logbook.sending(message, outlet.mask)  # of all first: what one leads to may be over before the next
        full = [outlet for outlet in outlets if not outlet.sender.offer(message)]
        if not self._is_source:
            self._recorder.add(layout.EMITTED)
        if full and self._live:
            for outlet in full:
                self.logbook.rejected(message, outlet.edge)
        elif full:
            await self._send_blocked(message, full)

    async def _send_blocked(self, message: Message, full: list[Outlet]) -> None:
        blocked_since = self.now_ns()
        while full:
            outlet = full[0]
            outlet.trace.blocked(True)
            try:
                await outlet.sender.wait_for_room()
            except trio.Cancelled:
                for never in full:  # drained while it waited: these edges never got the datum
                    self.logbook.rejected(message, never.edge)
                raise
            finally:
                outlet.trace.blocked(False)
            if outlet.sender.offer(message):
                full.pop(0)
        self._blocked_ns += self.now_ns() - blocked_since


def _flagged(
    message: Message, row: Mapping[str, Message] | None, act: Act, *, is_late: bool
) -> tuple[Message, Mapping[str, Message] | None]:
    """What is handed over says how it is handled."""
    flags = _MISSED if act is Act.DELIVER and is_late else _FLAGS.get(act, 0)
    if flags:
        message = replace(message, flags=message.flags | flags)
        if row is not None:
            row = {port: replace(part, flags=message.flags) for port, part in row.items()}
    return message, row
