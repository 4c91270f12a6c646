"""One stage at work: takes what arrives, decides by its deadline, calls the user's node, sends what it returns.

    made -> open -> (start) -> running -> draining -> closed

The actor's own task does everything that touches the node, so user code never runs twice at once. What
fails in user code comes out as a NodeError with the user's own part of the traceback; an error that a node
raises on purpose (InputError and its kin) keeps its one sentence. What happened goes into the logbook.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import trio

from streamflow.core.batch import Batch
from streamflow.core.graph import Resolved
from streamflow.core.message import Attribute, Message, Origin
from streamflow.core.pacing import Pacing
from streamflow.core.verdict import Kind
from streamflow.device.contract import Device
from streamflow.device.resident import Tensors
from streamflow.device.turns import Turns
from streamflow.errors import StreamflowError
from streamflow.recorder import layout
from streamflow.runtime.accounts.keeping import Keeping
from streamflow.runtime.accounts.logbook import NOWHERE, Logbook
from streamflow.runtime.clock import Clock
from streamflow.runtime.guard import guarded
from streamflow.runtime.node import Node, Output
from streamflow.runtime.stage.batcher import Batcher
from streamflow.runtime.stage.conformity import Conformity
from streamflow.runtime.stage.ends import Inlet
from streamflow.runtime.stage.enforcer import Enforcer
from streamflow.runtime.stage.handling import Handler, Handling
from streamflow.runtime.stage.interference import Interference
from streamflow.runtime.stage.joiner import Joiner
from streamflow.runtime.stage.joining import Joined, seed_of
from streamflow.runtime.stage.promises import Promises
from streamflow.runtime.stage.replay import Replay
from streamflow.runtime.stage.sending import Sending
from streamflow.runtime.stage.serving import Handle, Serving
from streamflow.runtime.stage.spinner import Spinner
from streamflow.runtime.stage.variants import Choosing, VariantsNode
from streamflow.runtime.stage.waker import Waker
from streamflow.runtime.stream_states import StreamStates


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
        self.now_ns = clock.now_ns
        self.device: Device
        self.resident: Callable[[str, Sequence[int], Any], Tensors | None]
        self.device_priority = int(max(enforcer.classes.values(), default=0))
        self._turns: Turns | None = None
        self.devices = definition.devices
        self.recordings: Path | None = None
        self.states: StreamStates | None = None
        self.all_states: list[StreamStates] = []
        """With those of variants; they are closed with it."""
        self.keeping: Keeping | None = None
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
        self._join = definition.join
        self._loops = resolved.graph.loops_into(stage)
        self._joiner: Joiner | None = None
        self.batch = definition.batch
        self._clock = clock
        self._promises: Promises | None = None
        self._input_types = {port: resolved.input_types[stage, port] for port in definition.inputs}
        outputs = {port: resolved.output_types[stage, port] for port in definition.outputs}
        self._conformity = Conformity(stage, self._input_types, outputs)
        self._timer = clock.timer()
        self._draining = trio.CancelScope()
        self.sending = Sending(
            stage,
            outputs,
            self._conformity,
            logbook,
            clock,
            self._timer,
            interference,
            is_source=definition.is_source,
            is_live=definition.live,
            offline=offline,
        )
        self.handling = Handling(
            stage, outputs, self.inlets, logbook, enforcer, self.sending, clock.now_ns, interference
        )
        if isinstance(node, VariantsNode):
            self.handling.choose_by(Choosing(node, enforcer, logbook.recorder))
        self._is_whole = resolved.graph.redoes(stage)
        """Each datum is handed over whole, or not at all."""
        if self._is_whole and not definition.is_source:
            self._serving.whole = self.sending
        node.context = self

    # ---------------------------------------------------------------------------- what a node sees

    def rate_hz(self, port: str) -> float | None:
        """The sampling rate of what arrives at `port`, where the graph knows it."""
        return self._input_types[port].rate_hz

    def allocate(self, shape: Sequence[int], dtype: Any) -> Any:
        placing = self.sending.placing
        return np.empty(tuple(shape), dtype) if placing is None else placing.allocate(shape, dtype)

    async def sleep_until(self, instant_ns: int) -> None:
        self._recorder.set(layout.DUE_NS, max(instant_ns, 0))
        await self._timer.sleep_until(instant_ns, self._serving.napping)
        self._recorder.set(layout.DUE_NS, 0)

    def advance(self, event_time_ns: int) -> None:
        self.sending.advance(event_time_ns)

    async def pace(self, recorded_ns: int) -> int:
        self._replay.paced()
        if self._pacing is None:
            return recorded_ns
        due_ns = self._pacing.due_ns(recorded_ns)
        if not self._replay.is_replaying:
            await self.sleep_until(due_ns)
        return due_ns

    def emit(
        self, value: Any, port: str | None, event_time_ns: int | None, attributes: Mapping[str, Attribute]
    ) -> Awaitable[None] | None:
        """A source's datum: numbered here, rejected where a live source meets a full blocking edge."""
        if self._interference is not None and not self._replay.is_replaying:
            return self._emit_interfered(self._interference, Output(value, port, event_time_ns, None, None, attributes))
        return self._emit(value, port, event_time_ns, attributes)

    async def _emit_interfered(self, interference: Interference, output: Output) -> None:
        output = await interference.before_emit(self.stage, self._replay.coming_seq, output)
        rest = self._emit(output.value, output.port, output.event_time_ns, output.attributes)
        if rest is not None:
            await rest

    def _emit(
        self, value: Any, port: str | None, event_time_ns: int | None, attributes: Mapping[str, Attribute]
    ) -> Awaitable[None] | None:
        seq = self._replay.next_seq()
        now_ns = self.now_ns()
        if seq is None:
            return self._serving.take_turns() if self._serving.is_turn_over(now_ns) else None
        sent_ns = 0 if self.offline else now_ns
        if event_time_ns is None:
            event_time_ns = sent_ns
        deadline_ns = self.enforcer.source_deadline_ns(event_time_ns)
        base = Message({}, self.stage, seq, event_time_ns, attributes, deadline_ns, 0, sent_ns, 0, ())
        self.logbook.begin(base, NOWHERE, sent_ns)
        if self._is_whole:
            self._begin_whole(seq)
        rest = None
        try:
            rest = self.sending.send_result(value if port is None else Output(value, port), base, "run")
            if rest is None:
                self._recorder.add(layout.EMITTED)
        finally:
            if rest is None:
                self._emitted(base)
        if rest is not None:
            return self._emit_rest(rest, base)
        return self._serving.take_turns() if self._serving.is_turn_over(now_ns) else None

    async def _emit_rest(self, rest: Awaitable[None], base: Message) -> None:
        try:
            await rest
            self._recorder.add(layout.EMITTED)
        finally:  # also where it is drained while it waits for room
            self._emitted(base)
        if self._serving.is_turn_over(self.now_ns()):
            await self._serving.take_turns()

    def _emitted(self, base: Message) -> None:
        self.logbook.emitted(base)
        if self._is_whole:
            self.sending.open_gates()

    def _begin_whole(self, seq: int) -> None:
        self.sending.close_gates()
        if seq == self._replay.again_seq and self.keeping is not None and self.keeping.again is not None:
            self.logbook.admit_again(self.keeping.again.admitted)
            self._replay.again_seq = -1
            self._recorder.set(layout.UNDONE_SEQ, 0)  # from here on it is in service, which says the same

    def keep(self, keeping: Keeping | None) -> None:
        """What a former life has left; where a source was at something, it is emitted again."""
        self.keeping = keeping
        if self._is_source and keeping is not None and keeping.again is not None:
            self._replay.redo()

    def _lose_what_was_to_be_emitted(self) -> None:
        """The source has ended before it came to that again."""
        keeping, seq = self.keeping, self._replay.again_seq
        if seq >= 0 and keeping is not None and keeping.again is not None:
            self.logbook.note(Kind.LOST, Message({}, self.stage, seq), keeping.again.admitted)

    # ------------------------------------------------------------------------------- the life cycle

    def start(self, pacing: Pacing | None) -> None:
        """Every stage is ready: recordings play from now."""
        self._pacing = pacing

    async def open(self) -> None:
        await guarded(self.stage, self.node.open, "open")

    async def run(self) -> None:
        """Until the inputs have ended and everything was sent on, or the source has ended."""
        await self._serving.begin()
        self._promises = self._make_promises()
        if self._is_source:
            await self._run_source()
            self._lose_what_was_to_be_emitted()
        else:
            await self._run_inputs()
            # A remainder is of data whose end was told long ago: on no path's account is it theirs.
            self.logbook.forget_sent()
            last = self.handling.last
            remainder_of = last.replace(origins=(Origin("", last.seq, last.event_time_ns),))
            rest = self.sending.send_result(await guarded(self.stage, self.node.flush, "flush"), remainder_of, "flush")
            if rest is not None:
                await rest
        self.sending.end()
        if self._joiner is not None and self._loops:
            await self._take_what_comes_back(self._joiner)

    async def close(self) -> None:
        self._serving.close()
        self._timer.close()
        try:
            await guarded(self.stage, self.node.close, "close")
        finally:
            for states in self.all_states:
                states.close()

    def take_turns(self, turns: Turns) -> None:
        """At its device, with the other stages of the process that have it; where time goes by."""
        if not self.offline and not self._is_source:
            self._turns = turns
            if self.batch is None:
                self.handling.take_turns(turns)

    def drain(self) -> None:
        """Stop producing: a source is cancelled where it waits, and its stream ends there."""
        self._draining.cancel()

    async def _run_source(self) -> None:
        run: Callable[[], Awaitable[None]] = self.node.run  # type: ignore[attr-defined]
        with self._draining:
            await guarded(self.stage, run, "run")

    def _make_promises(self) -> Promises | None:
        """Where somebody below waits for them, and the node gives results in the order of what it takes."""
        outlets = [outlet for outlets in self.sending.outlets.values() for outlet in outlets if outlet.is_timed]
        if not outlets or self._is_source or self.node.retimes:
            return None
        return Promises([""] if self._is_joined else list(self.inlets), outlets)

    async def _run_inputs(self) -> None:
        process = getattr(self.node, "process", None)
        if self._is_joined:
            await self._run_joined(process)
            return
        if self.batch is not None:
            await self._run_batches(self.batch)
            return
        handlers: dict[str, Handler] = {port: process or getattr(self.node, f"process_{port}") for port in self.inlets}

        inlets, received, handle = self.inlets, self._conformity.received, self.handling.handle
        if self._turns is not None:
            handle = self.handling.handle_in_turn
        promises = self._promises

        def handle_each(port: str, message: Message) -> Awaitable[None] | None:
            inlet = inlets[port]
            message = received(port, message)
            if inlet.max_age_ns is not None and self.handling.is_too_old(port, message):
                return None
            rest = handle(handlers[port], message, inlet)
            if promises is None:
                return rest
            if rest is not None:
                return self._then_promise(promises, rest, port, message.event_time_ns)
            promises.handled(port, message.event_time_ns, self.now_ns())
            return None

        def heard(port: str, watermark_ns: int) -> None:
            if promises is not None:
                promises.heard(port, watermark_ns, self.now_ns())

        async def ended(port: str) -> None:
            if promises is not None:
                promises.ended(port, self.now_ns())

        try:
            await self._serving.serve(inlets, handle_each, ended, heard=None if promises is None else heard)
        finally:
            self.logbook.settle()  # it may have failed before what was picked was in service

    async def _then_promise(self, promises: Promises, rest: Awaitable[None], port: str, event_time_ns: int) -> None:
        await rest
        promises.handled(port, event_time_ns, self.now_ns())

    async def _run_joined(self, process: Any) -> None:
        handling, received, types = self.handling, self._conformity.received, self._input_types

        def pass_on(message: Message) -> Any:
            return Output(message.tensors, self._join.late)

        async def work(row: Joined, inlet: Inlet) -> None:
            rest = handling.handle_in_turn(pass_on if row.port else process, row.message, inlet, row)
            if rest is not None:
                await rest
            if self._promises is not None and not row.port:
                self._promises.handled("", row.message.event_time_ns, self.now_ns())

        waker = Waker(self._clock, self._serving.bell.ring)
        joiner = Joiner(
            self.stage,
            self._join,
            self.inlets,
            self.logbook,
            waker,
            self.now_ns,
            work,
            loops={port: edge.loop for port, edge in self._loops.items() if edge.loop is not None},
            seeds={port: received(port, seed_of(edge, types[port])) for port, edge in self._loops.items()},
            offline=self.offline,
        )
        self._joiner = joiner

        async def take(port: str, message: Message) -> None:
            message = self._conformity.received(port, message)
            if not self.handling.is_too_old(port, message):
                await joiner.take(port, message)

        await self._serve_rows(take, joiner, waker)

    async def _run_batches(self, batch: Batch) -> None:
        waker = Waker(self._clock, self._serving.bell.ring)
        ((port, inlet),) = self.inlets.items()

        def accepted(message: Message) -> Message | None:
            message = self._conformity.received(port, message)
            return None if self.handling.is_too_old(port, message) else message

        batcher = Batcher(
            self.stage,
            self.node,
            batch,
            port,
            inlet,
            accepted,
            self.handling,
            self._promises,
            waker,
            self._serving.bell,
            self._interference,
            self._turns,
            offline=self.offline,
        )
        await self._serve_rows(batcher.take, batcher, waker)

    async def _serve_rows(self, take: Handle, rows: Joiner | Batcher, waker: Waker) -> None:
        failure: StreamflowError | None = None
        async with trio.open_nursery() as nursery:
            nursery.start_soon(waker.run)
            if isinstance(rows, Batcher) and self._turns is not None:
                nursery.start_soon(rows.watch)
            try:
                await self._serving.serve(self.inlets, take, rows.end, rows, rows.heard)
            except StreamflowError as error:  # as it is: a nursery would wrap it
                failure = error
            nursery.cancel_scope.cancel()
        if failure is not None:
            rows.lose_all()
            raise failure

    async def _take_what_comes_back(self, joiner: Joiner) -> None:
        """All is done, and the cycle ends when those in it have heard of that."""

        async def pass_over(port: str, message: Message) -> None:
            joiner.pass_over(port, message)

        loops = {port: inlet for port, inlet in self.inlets.items() if port in self._loops}
        await self._serving.serve(loops, pass_over, _nothing)

    async def discard_inputs(self) -> None:
        """Take and let go what still comes, so that nobody upstream waits for ever: the stage has failed."""

        async def let_go(port: str, message: Message) -> None:
            self.logbook.settle()
            self.logbook.lost(message, self.inlets[port].edge)
            self.inlets[port].receiver.picked()
            await trio.lowlevel.checkpoint()

        await self._serving.serve(self.inlets, let_go, _nothing)


async def _nothing(port: str) -> None:
    """An input has ended."""
