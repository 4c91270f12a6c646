"""One stage at work: takes what arrives, calls the user's node, sends what it returns, and counts all of it.

    made -> open -> (start) -> running -> draining -> closed

The actor's own task does everything that touches the node, so user code never runs twice at once. What
fails in user code comes out as a NodeError with the user's own part of the traceback; an error that a node
raises on purpose (InputError and its kin) keeps its one sentence.
"""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import trio

from streamflow.core.graph import Resolved
from streamflow.core.joins import ExactJoin
from streamflow.core.message import Message
from streamflow.core.pacing import Pacing
from streamflow.core.ports import PortType
from streamflow.core.statistics import Histogram
from streamflow.errors import ClosedOutputError, LinkError, NodeError, PortError, StreamflowError
from streamflow.runtime.clock import Timer, now_ns
from streamflow.runtime.conformity import as_expected, require_received, require_sent
from streamflow.runtime.emission import messages_of
from streamflow.runtime.node import Node, Output
from streamflow.runtime.usercode import user_traceback
from streamflow.transport.link import Bell, Receiver, Sender

Handler = Callable[..., Any]
RAISED = (Exception, SystemExit)  # what user code may raise: sys.exit() in a node is a failure like any other
TURN_NS = 1_000_000  # how long a stage works on what has arrived before links and others in its process have a turn
KNOWN_FORM_LIMIT = 4096  # dtypes and shapes remembered per stage; more means every message is new, and is checked


class Counts:
    """What a stage did; its owner writes, the report reads."""

    def __init__(self) -> None:
        self.processed = 0
        self.absorbed = 0
        self.emitted = 0
        self.rejected = 0
        self.busy_ns = 0
        self.service = Histogram()
        self.latency: dict[str, Histogram] = {}
        self.unmatched: Counter[str] = Counter()


class Actor:
    """The running instance of a stage; lends the node its `Context`."""

    def __init__(self, stage: str, node: Node, resolved: Resolved, *, offline: bool) -> None:
        """Offline, recorded time is event time, and nothing waits for a clock."""
        definition = resolved.graph.stage(stage)
        self.stage = stage
        self.node = node
        self.offline = offline
        self.counts = Counts()
        self.bell = Bell()
        self.receivers: dict[str, Receiver] = {}
        self.senders: dict[str, list[Sender]] = {port: [] for port in definition.outputs}
        self._pacing: Pacing | None = None
        self._is_source = definition.is_source
        self._live = definition.live
        self._is_sink = not resolved.graph.edges_from(stage)
        self._input_types = {port: resolved.input_types[stage, port] for port in definition.inputs}
        self._output_types = {port: resolved.output_types[stage, port] for port in definition.outputs}
        self._known_forms: set[Any] = set()
        self._timer = Timer()
        self._draining = trio.CancelScope()
        self._last = Message({}, stage)
        self._blocked_ns = 0  # spent waiting for room downstream: not the stage's own service time
        node.context = self

    # ---------------------------------------------------------------------------- what a node sees

    def now_ns(self) -> int:
        return now_ns()

    def rate_hz(self, port: str) -> float | None:
        """The sampling rate of what arrives at `port`, where the graph knows it."""
        return self._input_types[port].rate_hz

    async def sleep_until(self, instant_ns: int) -> None:
        await self._timer.sleep_until(instant_ns)

    async def pace(self, recorded_ns: int) -> int:
        if self._pacing is None:
            return recorded_ns
        due_ns = self._pacing.due_ns(recorded_ns)
        await self._timer.sleep_until(due_ns)
        return due_ns

    async def emit(self, output: Output) -> None:
        """A source's datum: numbered here, rejected where a live source meets a full blocking edge."""
        base = Message({}, self.stage, self.counts.emitted, 0 if self.offline else now_ns())
        await self._send_all(output, base, "run")
        self.counts.emitted += 1
        await trio.lowlevel.checkpoint()

    # ------------------------------------------------------------------------------- the life cycle

    def start(self, pacing: Pacing | None) -> None:
        """Every stage is ready: recordings play from now."""
        self._pacing = pacing

    async def open(self) -> None:
        await self._guarded(self.node.open, "open")

    async def run(self) -> None:
        """Until the inputs have ended and everything was sent on, or the source has ended."""
        if self._is_source:
            await self._run_source()
        else:
            await self._run_inputs()
            result = await self._guarded(self.node.flush, "flush")
            await self._send_all(result, self._last, "flush")
        self.end_outputs()

    def end_outputs(self) -> None:
        """Nothing more will be sent: every stream ends after what was sent so far."""
        for senders in self.senders.values():
            for sender in senders:
                sender.end()

    async def close(self) -> None:
        self._timer.close()
        await self._guarded(self.node.close, "close")

    def drain(self) -> None:
        """Stop producing: a source is cancelled where it waits, and its stream ends there."""
        self._draining.cancel()

    async def _run_source(self) -> None:
        run: Callable[[], Awaitable[None]] = self.node.run  # type: ignore[attr-defined]
        with self._draining:
            await self._guarded(run, "run")

    async def _run_inputs(self) -> None:
        process = getattr(self.node, "process", None)
        if process is not None and len(self.receivers) > 1:
            join: ExactJoin[Message] = ExactJoin(list(self.receivers))
            self.counts.unmatched = join.unmatched

            async def handle_joined(port: str, message: Message) -> None:
                join.offer(port, self._received(port, message))
                while (row := join.ready()) is not None:
                    await self._handle(process, (), row, next(iter(row.values())))

            await self._serve(handle_joined, join.end)
            join.ready()
        else:
            handlers: dict[str, Handler] = {
                port: process or getattr(self.node, f"process_{port}") for port in self.receivers
            }

            async def handle_each(port: str, message: Message) -> None:
                message = self._received(port, message)
                await self._handle(handlers[port], (message,), {}, message)

            await self._serve(handle_each, lambda port: None)

    async def discard_inputs(self) -> None:
        """Take and let go what still comes, so that nobody upstream waits for ever: the stage has failed."""

        async def let_go(port: str, message: Message) -> None:
            await trio.lowlevel.checkpoint()

        await self._serve(let_go, lambda port: None)

    async def _serve(self, handle: Callable[[str, Message], Awaitable[None]], ended: Callable[[str], None]) -> None:
        """Hand over what arrives, from each input in turn, until all have ended."""
        open_ports = dict(self.receivers)
        wait = self.bell.wait
        if len(open_ports) == 1:
            (receiver,) = open_ports.values()
            await receiver.take_over()
            wait = receiver.wait
        turn_ends_ns = now_ns() + TURN_NS
        while open_ports:
            took_any = False
            for port, receiver in list(open_ports.items()):
                message = receiver.take()
                if message is not None:
                    took_any = True
                    await handle(port, message)
                elif receiver.is_exhausted:
                    del open_ports[port]
                    ended(port)
            if not took_any and open_ports:
                await wait()
            elif now_ns() >= turn_ends_ns:
                await trio.lowlevel.checkpoint()
            else:
                continue
            turn_ends_ns = now_ns() + TURN_NS

    async def _handle(
        self, handler: Handler, args: tuple[Message, ...], named: Mapping[str, Message], first: Message
    ) -> None:
        started = now_ns()
        self._last = first
        sent_before, blocked_before = self.counts.emitted, self._blocked_ns
        try:
            result = handler(*args, **named)
            if inspect.isawaitable(result):
                result = await result
        except RAISED as error:
            raise self._blamed(error, "process") from error
        await self._send_all(result, first, "process")
        ended = now_ns()
        counts = self.counts
        counts.processed += 1
        service_ns = ended - started - (self._blocked_ns - blocked_before)
        counts.busy_ns += service_ns
        counts.service.record(service_ns)
        if counts.emitted == sent_before and not self._is_sink:
            counts.absorbed += 1
        if self._is_sink and not self.offline:
            counts.latency.setdefault(first.stream, Histogram()).record(ended - first.event_time_ns)

    # ------------------------------------------------------------------------------------- sending

    async def _send_all(self, result: Any, handled: Message, where: str) -> None:
        """Send what `where` has returned; a generator's work is the node's own, and fails as such."""
        try:
            for port, message in messages_of(result, handled, self._output_types):
                self._require(require_sent, port, message, self._output_types[port])
                await self._send(port, message)
                if not self._is_source:
                    self.counts.emitted += 1
        except RAISED as error:
            raise self._blamed(error, where) from error

    async def _send(self, port: str, message: Message) -> None:
        """Offer to every edge first, so that a full one holds back no other; then wait for those that block."""
        full = [sender for sender in self.senders[port] if not sender.offer(message)]
        if full and self._live:
            self.counts.rejected += len(full)
            return
        if full:
            blocked_since = now_ns()
            while full:
                try:
                    await full[0].wait_for_room()
                except trio.Cancelled:
                    self.counts.rejected += len(full)  # drained while it waited: these edges never got the datum
                    raise
                if full[0].offer(message):
                    full.pop(0)
            self._blocked_ns += now_ns() - blocked_since

    def _received(self, port: str, message: Message) -> Message:
        """A message as the node expects it: of the port's type, its only tensor under the port's name for it."""
        expected = self._input_types[port]
        self._require(require_received, port, message, expected)
        return as_expected(message, expected)

    def _require(
        self, rule: Callable[[str, Message, PortType], None], port: str, message: Message, expected: PortType
    ) -> None:
        """Raise PortError where a message is not of the port's type; a form that passed once passes at once."""
        form = (port, *((name, array.dtype.str, array.shape) for name, array in message.tensors.items()))
        if form in self._known_forms:
            return
        rule(f"stage {self.stage}, port {port}", message, expected)
        if len(self._known_forms) < KNOWN_FORM_LIMIT:
            self._known_forms.add(form)

    # ---------------------------------------------------------------------------------- user code

    async def _guarded(self, function: Callable[[], Any], where: str) -> Any:
        try:
            result = function()
            return await result if inspect.isawaitable(result) else result
        except RAISED as error:
            raise self._blamed(error, where) from error

    def _blamed(self, error: BaseException, where: str) -> StreamflowError:
        """The error as the user should see it: named by its stage, a traceback only for a bug in user code."""
        if isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
            return self._blamed(error.exceptions[0], where)
        if isinstance(error, LinkError | NodeError | PortError | ClosedOutputError):
            return error
        if isinstance(error, StreamflowError):
            return NodeError(self.stage, str(error))
        kind = type(error).__name__
        raised = f"{kind}: {str(error).splitlines()[0]}" if str(error).strip() else kind
        return NodeError(self.stage, f"{where} raised {raised}", user_traceback(error))
