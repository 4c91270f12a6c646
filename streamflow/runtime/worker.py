"""One process of a run: its actors, the links between them and to others, and its conversation with the supervisor.

The conversation, in order: `bound` (where our receivers are), `connect` (where the others' are), `opened` and
`ready` per stage, `start`, then `drain` at will, `closed` or `failed` per stage, and `exit`. `alive` and, once
started, `counts` come all the time: who tells neither is stuck in user code. A process that has no place in the
run hears `refused`.

The same worker serves a process of its own and, for `--inline`, the supervisor's: only the channel differs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import trio

from streamflow.core.graph import EdgeDef, Resolved
from streamflow.core.pacing import Pacing
from streamflow.errors import ClosedOutputError, LinkError, NodeError, RefusedLinkError, StreamflowError
from streamflow.runtime.actor import Actor
from streamflow.runtime.definition import Definition
from streamflow.transport.link import Receiver, Sender
from streamflow.transport.local_link import LocalLink, LocalReceiver, LocalSender
from streamflow.transport.zmq_link import ZmqReceiver, ZmqSender
from streamflow.transport.zmq_socket import ZmqContext
from streamflow.wire.session import EdgeTerms

CLOSE_LIMIT_S = 3.0  # for a node's close(), which may wait for a device, and which no cancellation interrupts
COUNTS_PERIOD_S = 0.5  # how often a running stage tells its counts; the last ones come with `closed`

Telegram = Mapping[str, Any]


class Channel(Protocol):
    """The worker's end of the conversation with the supervisor."""

    def tell(self, telegram: Telegram) -> None: ...
    async def hear(self) -> Telegram: ...


@dataclass(frozen=True, slots=True)
class WorkerOptions:
    """How this run moves data; `endpoint` is a pattern with `{}` for the number of the edge."""

    offline: bool
    speed: float
    endpoint: str
    generation: int = 0


class Worker:
    """Runs the stages of one process from making to exit."""

    def __init__(
        self,
        definition: Definition,
        resolved: Resolved,
        stages: Sequence[str],
        options: WorkerOptions,
        channel: Channel,
        context: ZmqContext,
    ) -> None:
        self._definition = definition
        self._resolved = resolved
        self._stages = list(stages)
        self._options = options
        self._channel = channel
        self._context = context
        self._actors: dict[str, Actor] = {}
        self._receivers: dict[str, Receiver] = {}
        self._senders: dict[str, Sender] = {}
        self._connected = trio.Event()
        self._started = trio.Event()
        self._endpoints: Mapping[str, str] = {}
        self._pacing: Pacing | None = None
        self._refusal = ""
        self.failure: StreamflowError | None = None

    async def run(self) -> None:
        """Until the supervisor says `exit`; a failing stage is told to the supervisor, not raised.

        Raises RefusedLinkError where the supervisor does not want this process.
        """
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._listen, nursery.cancel_scope)
                if not self._make_actors():
                    return
                nursery.start_soon(self._tell_counts)
                await self._connected.wait()
                self._connect()
                for edge in self._resolved.graph.edges:
                    if edge.name in self._receivers:
                        nursery.start_soon(self._work_link, edge.target, self._receivers[edge.name])
                    if edge.name in self._senders:
                        nursery.start_soon(self._work_link, edge.source, self._senders[edge.name])
                for name in self._stages:
                    nursery.start_soon(self._live, name)
        finally:
            for sender in self._senders.values():
                sender.close()
            for receiver in self._receivers.values():
                receiver.close()
        if self._refusal:
            raise RefusedLinkError("the run", f"refused this process: {self._refusal}")

    # -------------------------------------------------------------------------------------- set-up

    def _make_actors(self) -> bool:
        """Make every actor and bind every receiver, and tell where they are; False when that failed."""
        try:
            endpoints = self._bind()
        except LinkError as error:
            self._tell_failure(self._stages[0], error)
            return False
        self._channel.tell({"is": "bound", "endpoints": endpoints})
        return True

    def _bind(self) -> dict[str, str]:
        endpoints: dict[str, str] = {}
        for name in self._stages:
            node = self._definition.nodes[name]
            self._actors[name] = Actor(name, node, self._resolved, offline=self._options.offline)
        for number, edge in enumerate(self._resolved.graph.edges):
            if edge.target not in self._actors:
                continue
            bell = self._actors[edge.target].bell
            if edge.source in self._actors:
                link = LocalLink(self._terms(edge), bell)
                self._receivers[edge.name] = LocalReceiver(link)
                self._senders[edge.name] = LocalSender(link)
            else:
                endpoint = self._options.endpoint.format(number)
                receiver = ZmqReceiver(self._context, endpoint, self._terms(edge), bell)
                self._receivers[edge.name] = receiver
                endpoints[edge.name] = receiver.endpoint
            self._actors[edge.target].receivers[edge.input] = self._receivers[edge.name]
        return endpoints

    def _connect(self) -> None:
        for edge in self._resolved.graph.edges:
            if edge.source not in self._actors:
                continue
            if edge.name not in self._senders:
                self._senders[edge.name] = ZmqSender(self._context, self._endpoints[edge.name], self._terms(edge))
            self._actors[edge.source].senders[edge.output].append(self._senders[edge.name])

    def _terms(self, edge: EdgeDef) -> EdgeTerms:
        schema = self._resolved.schema(edge)
        return EdgeTerms(edge.name, schema, edge.overflow, edge.capacity, self._options.generation)

    # ----------------------------------------------------------------------------- while it runs

    async def _listen(self, everything: trio.CancelScope) -> None:
        while True:
            telegram = await self._channel.hear()
            match telegram["is"]:
                case "connect":
                    self._endpoints = telegram["endpoints"]
                    self._connected.set()
                case "start":
                    offline = self._options.offline
                    self._pacing = None if offline else Pacing(telegram["at_ns"], self._options.speed)
                    self._started.set()
                case "drain":
                    for actor in self._actors.values():
                        actor.drain()
                case "exit":
                    if self._started.is_set():
                        self._tell_all_counts()
                    everything.cancel()
                    return
                case "refused":
                    self._refusal = telegram["reason"]
                    everything.cancel()
                    return

    async def _live(self, name: str) -> None:
        """One stage from open to close. A failure while it runs ends its streams in order: who is upstream is not
        held up, and what was sent before reaches the sinks."""
        actor = self._actors[name]
        is_open = False
        try:
            try:
                await actor.open()
                is_open = True
                self._channel.tell({"is": "opened", "stage": name})
                for sender in self._senders_of(name):
                    await sender.wait_open()
                self._channel.tell({"is": "ready", "stage": name})
                await self._started.wait()
                actor.start(self._pacing)
                await actor.run()
            except LinkError as error:
                self._tell_failure(name, error)
                return
            except StreamflowError as error:
                self._tell_failure(name, error, is_contained=self._started.is_set())
                if not self._started.is_set():
                    return
                actor.end_outputs()
                await actor.discard_inputs()
            for sender in self._senders_of(name):
                await sender.wait_closed()
        finally:
            if is_open:
                await self._close(actor)
        self._channel.tell({"is": "closed", "stage": name, "counts": self.counts(name)})

    async def _close(self, actor: Actor) -> None:
        """Let a node release what it holds, so that files are whole, also when the run is told to leave."""
        with trio.move_on_after(CLOSE_LIMIT_S, shield=True):
            try:
                await actor.close()
            except StreamflowError as error:
                self._tell_failure(actor.stage, error, is_contained=True)

    async def _work_link(self, stage: str, link: Sender | Receiver) -> None:
        try:
            await link.run()
        except StreamflowError as error:
            self._tell_failure(stage, error)

    def _tell_failure(self, stage: str, error: StreamflowError, *, is_contained: bool = False) -> None:
        """Tell the supervisor; `is_contained`: the stage's streams end in order all the same."""
        self.failure = self.failure or error
        traceback_text = error.traceback_text if isinstance(error, NodeError) else ""
        self._channel.tell(
            {
                "is": "failed",
                "stage": stage,
                "is_contained": is_contained,
                "sentence": str(error),
                "traceback": traceback_text,
                "exit_code": error.exit_code if isinstance(error, ClosedOutputError) else NodeError.exit_code,
                "counts": self.counts(stage) if stage in self._actors else None,
            }
        )

    def _senders_of(self, stage: str) -> list[Sender]:
        return [sender for senders in self._actors[stage].senders.values() for sender in senders]

    async def _tell_counts(self) -> None:
        while True:
            await trio.sleep(COUNTS_PERIOD_S)
            if self._started.is_set():
                self._tell_all_counts()
            else:
                self._channel.tell({"is": "alive"})

    def _tell_all_counts(self) -> None:
        self._channel.tell({"is": "counts", "stages": {name: self.counts(name) for name in self._actors}})

    def counts(self, stage: str) -> dict[str, Any]:
        """What the stage and its ends of edges did so far, as plain values for the wire."""
        counts = self._actors[stage].counts
        edges = self._resolved.graph.edges
        return {
            "processed": counts.processed,
            "absorbed": counts.absorbed,
            "emitted": counts.emitted,
            "rejected": counts.rejected,
            "busy_ns": counts.busy_ns,
            "service": counts.service.to_wire(),
            "latency": {stream: histogram.to_wire() for stream, histogram in counts.latency.items()},
            "unmatched": dict(+counts.unmatched),
            "receivers": {e.name: asdict(self._receivers[e.name].statistics()) for e in edges if e.target == stage},
            "senders": {
                e.name: asdict(self._senders[e.name].statistics())
                for e in edges
                if e.source == stage and e.name in self._senders
            },
        }
