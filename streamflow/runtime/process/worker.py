"""One process of a run: its actors, the links between them and to others, and its conversation with the supervisor.

The conversation, in order: `hello`, answered with the `life` that this is; `bound` (where our receivers are),
`connect` (where the others' are), `opened` and `ready` per stage, `start`, then `drain` at will, `closed` or `failed`
per stage, and `exit`. When a neighbour's process dies we hear `detach` (what we send to it waits), `expect` (what we
receive from it ends with what has come, until its next life greets), then `attach` (its next life is there), or
`abandon` (there will be none). A process that has no place in the run hears `refused`.

The same worker serves a process of its own and, for `--inline`, the supervisor's: only the sockets differ.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import trio

from streamflow.core.graph import Resolved
from streamflow.core.pacing import Pacing
from streamflow.core.paths import Paths
from streamflow.core.realtime import Effect
from streamflow.core.supervision import Restart
from streamflow.core.timebase import us
from streamflow.device.contract import DeviceLostError
from streamflow.device.opening import Devices, Opened
from streamflow.errors import ClosedOutputError, LinkError, NodeError, RefusedLinkError, StreamflowError
from streamflow.recorder import layout
from streamflow.recorder.writer import Recorder
from streamflow.runtime.accounts.keeping import Keeping
from streamflow.runtime.accounts.logbook import Logbook
from streamflow.runtime.accounts.tables import shape_of
from streamflow.runtime.clock import Clock
from streamflow.runtime.loading.definition import Definition
from streamflow.runtime.process.control import Channel, Telegram
from streamflow.runtime.process.hygiene import Hygiene
from streamflow.runtime.process.life import Life
from streamflow.runtime.process.stage_device import open_on_device
from streamflow.runtime.process.stage_logging import logging_stage
from streamflow.runtime.process.stage_states import lend_states
from streamflow.runtime.process.staying_outputs import StayingOutputs
from streamflow.runtime.process.wiring import Wiring
from streamflow.runtime.rundir import recording_path
from streamflow.runtime.stage.actor import Actor
from streamflow.runtime.stage.enforcer import Budget, Enforcer
from streamflow.runtime.stage.interference import Interference
from streamflow.runtime.stage.looplag import LoopWatch
from streamflow.runtime.stage.unending import Unending
from streamflow.transport.link import Receiver, Sender
from streamflow.transport.socket_receiver import SocketReceiver
from streamflow.transport.socket_sender import SocketSender
from streamflow.transport.sockets import SocketContext
from streamflow.transport.zmq_socket import ZmqContext

CLOSE_LIMIT_S = 3.0  # for a node's close(), which may wait for a device, and which no cancellation interrupts


@dataclass(frozen=True, slots=True)
class WorkerOptions:
    """How this run moves data. `endpoint` is a pattern with `{}` for an edge's number and life; `recordings` a folder.

    `restarts`: a stage that fails ends its process, which the supervisor starts again. `memory`: where large tensors
    are shared with the other processes of the run; None where there are none. `is_direct`: all data go through it.
    """

    offline: bool
    speed: float
    endpoint: str
    recordings: Path
    generation: int = 0
    restarts: bool = False
    enforces: bool = True
    memory: Path | None = None
    is_direct: bool = False
    spin_us: int = 0
    pool_mb: int | None = None
    state: Path | None = None
    """Of snapshots, from which the first lives go on."""


class Worker:
    """Runs the stages of one process from making to exit."""

    def __init__(
        self,
        definition: Definition,
        resolved: Resolved,
        stages: Sequence[str],
        options: WorkerOptions,
        channel: Channel,
        context: SocketContext,
        clock: Clock,
        interference: Interference | None = None,
        hygiene: Hygiene | None = None,
        devices: Devices | None = None,
    ) -> None:
        """Without `hygiene` the process is not the stages' own, and stays as it is. `devices`: in place of its own."""
        self._hygiene = hygiene or Hygiene(resolved.graph, stages, is_own=False)
        self._definition = definition
        self._resolved = resolved
        self._paths = Paths(resolved.graph, resolved.graph.deadlines)
        self._stages = list(stages)
        self._options = options
        self._channel = channel
        self._context = context
        self._clock = clock
        self._interference = interference
        self._life = Life(0, {})
        self._actors: dict[str, Actor] = {}
        self._recorders: list[Recorder] = []
        self._keepings: list[Keeping] = []
        self._devices = devices or Devices()
        self._staying = StayingOutputs(resolved, self._actors, None if options.pool_mb == 0 else options.memory)
        self._wiring = Wiring(
            resolved,
            self._paths,
            context,
            options.memory,
            interference,
            self._staying,
            is_direct=options.is_direct,
            pool_mb=options.pool_mb,
        )
        self._is_born = trio.Event()
        self._connected = trio.Event()
        self._started = trio.Event()
        self._endpoints: dict[str, str] = {}
        self._pacing: Pacing | None = None
        self._refusal = ""
        self._scope = trio.CancelScope()
        self._has_vanished = False
        self.failure: StreamflowError | None = None

    async def run(self) -> None:
        """Until the supervisor says `exit`; a failing stage is told to the supervisor, not raised.

        Raises RefusedLinkError where the supervisor does not want this process.
        """
        try:
            async with trio.open_nursery() as nursery:
                self._scope = nursery.cancel_scope
                nursery.start_soon(self._listen)
                await self._is_born.wait()
                if not self._make_actors():
                    return
                actors = list(self._actors.values())
                collect = self._hygiene.collector(actors)
                nursery.start_soon(LoopWatch(self._clock, [actor.logbook for actor in actors], collect).run)
                await self._connected.wait()
                self._wiring.connect(self._actors, self._life, self._endpoints)
                for landing in self._staying.landings.values():
                    await nursery.start(landing.run)
                for edge in self._resolved.graph.edges:
                    if edge.name in self._wiring.receivers:
                        nursery.start_soon(self._work_link, edge.target, self._wiring.receivers[edge.name])
                    if edge.name in self._wiring.senders:
                        nursery.start_soon(self._work_link, edge.source, self._wiring.senders[edge.name])
                for name in self._stages:
                    nursery.start_soon(self._live, name)
        finally:
            self._staying.close()
            self._devices.close()  # before the wiring: they copy from memory that it has mapped
            self._wiring.close()
            for keeping in self._keepings:
                keeping.close()
            for recorder in self._recorders:
                recorder.close()
        if self._refusal:
            raise RefusedLinkError("the run", f"refused this process: {self._refusal}")

    def vanish(self) -> None:
        """From now on as if killed, for a process that is a task: nothing is written, told or closed in order."""
        self._has_vanished = True
        for recorder in self._recorders:
            recorder.close()
        self._scope.cancel()

    # -------------------------------------------------------------------------------------- set-up

    def _make_actors(self) -> bool:
        """Make every actor and bind every receiver, and tell where they are; False when that failed."""
        try:
            for name in self._stages:
                self._actors[name] = self._actor(name)
            endpoints = self._wiring.bind(self._actors, self._life, self._options.endpoint)
        except StreamflowError as error:
            self._tell_failure(self._stages[0], error)
            return False
        self._channel.tell({"is": "bound", "endpoints": endpoints})
        return True

    def _actor(self, name: str) -> Actor:
        shape = shape_of(name, self._resolved, self._paths)
        path = recording_path(self._options.recordings, name)
        recorder = (Recorder.attach if self._life.generation else Recorder.create)(path, shape)
        self._recorders.append(recorder)
        keeping = self._keeping(name, recorder)
        node = self._definition.nodes[name]
        options = self._options
        enforces = options.enforces and not options.offline
        stage = self._resolved.graph.stage(name)
        is_unending = stage.is_source and stage.restart is Restart.PERMANENT and options.restarts
        actor = (Unending if is_unending else Actor)(
            name,
            node,
            self._resolved,
            offline=options.offline,
            logbook=Logbook(name, self._resolved, self._paths, recorder, self._clock),
            enforcer=Enforcer(name, node, self._paths, self._definition.handlers, is_enforced=enforces),
            clock=self._clock,
            interference=self._interference,
            shares_loop=len(self._stages) > 1,
            is_alone=len(self._stages) == 1 and isinstance(self._context, ZmqContext),
            spin_ns=options.spin_us * us if stage.spin_ns is None else stage.spin_ns,
        )
        actor.keep(keeping)
        self._staying.lend(actor, self._life)
        actor.recordings = options.recordings
        return actor

    def _keeping(self, name: str, recorder: Recorder) -> Keeping | None:
        """Of a stage with lossless edges. The supervisor has read what the former life left, which ends here."""
        graph = self._resolved.graph
        if not any(edge.is_lossless for edge in (*graph.edges_into(name), *graph.edges_from(name))):
            if self._life.generation:
                recorder.reset_live()
            return None
        keeping = Keeping(name, graph, self._paths, recorder, self._options.recordings, self._life.gone)
        self._keepings.append(keeping)
        keeping.reset()
        return keeping

    # ----------------------------------------------------------------------------- while it runs

    async def _listen(self) -> None:
        while True:
            telegram = await self._channel.hear()
            act: Callable[[Telegram], None] = getattr(self, f"_hear_{telegram['is']}")
            act(telegram)

    def _hear_life(self, telegram: Telegram) -> None:
        self._life = Life(
            telegram["generation"],
            telegram["edges"],
            telegram["down_since_ns"],
            frozenset(telegram["gone"]),
            frozenset(telegram["lost_devices"]),
        )
        self._is_born.set()

    def _hear_connect(self, telegram: Telegram) -> None:
        self._endpoints.update(telegram["endpoints"])
        self._connected.set()

    def _hear_start(self, telegram: Telegram) -> None:
        self._pacing = None if self._options.offline else Pacing(telegram["at_ns"], self._options.speed)
        self._started.set()

    def _hear_drain(self, telegram: Telegram) -> None:
        for actor in self._actors.values():
            recorder = actor.logbook.recorder
            if recorder.get(layout.PHASE) == layout.RUNNING:
                recorder.set(layout.PHASE, layout.DRAINING)
            actor.drain()

    def _hear_budget(self, telegram: Telegram) -> None:
        degraded, broken = frozenset(telegram["degraded"]), frozenset(telegram["broken"])
        for stage, budget in telegram["stages"].items():
            if stage in self._actors:
                told = Budget(budget["tails_ns"], budget["usual_tails_ns"], degraded, budget["profile_ns"], broken)
                self._actors[stage].enforcer.set_budget(told)

    def _hear_detach(self, telegram: Telegram) -> None:
        """The receiver of an edge of ours is gone."""
        sender = self._wiring.senders.get(telegram["edge"])
        if isinstance(sender, SocketSender):
            sender.detach(frozenset(telegram["removed"]))

    def _hear_expect(self, telegram: Telegram) -> None:
        """The sender of an edge of ours is gone; it will come again. If its stream had ended, nobody reads it."""
        receiver = self._wiring.receivers.get(telegram["edge"])
        if isinstance(receiver, SocketReceiver) and receiver.is_exhausted:
            self._tell_received(telegram["edge"], receiver.abandon(), has_ended=True)
        elif isinstance(receiver, SocketReceiver):
            self._tell_received(telegram["edge"], receiver.expect(telegram["generation"]))
            self._renumber(telegram["edge"], telegram["generation"])

    def _tell_received(self, edge: str, received_count: int, *, has_ended: bool = False) -> None:
        """How much of what the dead sender had out has come: what has not is lost."""
        self._channel.tell({"is": "received", "edge": edge, "count": received_count, "has_ended": has_ended})

    def _renumber(self, edge_name: str, generation: int) -> None:
        edge = next(edge for edge in self._resolved.graph.edges if edge.name == edge_name)
        self._actors[edge.target].logbook.renumber(edge, generation)

    def _hear_attach(self, telegram: Telegram) -> None:
        """The receiver of an edge of ours is there again."""
        edge = telegram["edge"]
        self._endpoints[edge] = telegram["endpoint"]
        sender = self._wiring.senders.get(edge)
        if isinstance(sender, SocketSender):
            self._wiring.traces[edge].generation = telegram["generation"]
            sender.attach(telegram["endpoint"], telegram["generation"])
        else:  # we are not connected yet, or both of us are new
            self._life = replace(self._life, edges={**self._life.edges, edge: telegram["generation"]})

    def _hear_abandon(self, telegram: Telegram) -> None:
        """The other end of an edge of ours is gone for good."""
        edge = telegram["edge"]
        self._life = replace(self._life, gone=self._life.gone | {edge})
        sender, receiver = self._wiring.senders.get(edge), self._wiring.receivers.get(edge)
        if isinstance(sender, SocketSender):
            sender.abandon()
        if isinstance(receiver, SocketReceiver):
            self._tell_received(edge, receiver.abandon())

    def _hear_exit(self, telegram: Telegram) -> None:
        self._scope.cancel()

    def _hear_refused(self, telegram: Telegram) -> None:
        self._refusal = telegram["reason"]
        self._scope.cancel()

    async def _live(self, name: str) -> None:
        """One stage from open to close. Where it will be started again, a failure ends the process; else its streams
        end in order: who is upstream is not held up, and what was sent before reaches the sinks."""
        logging_stage.set(name)
        actor = self._actors[name]
        recorder = actor.logbook.recorder
        is_open = False
        try:
            try:
                opened = await open_on_device(actor, self._devices, self._life.lost_devices)
                is_open = True
                self._tell_device(actor, opened)
                told = lend_states(actor, self._definition, self._options.recordings, self._options.state)
                if told:
                    self._channel.tell({"is": "states", "stage": name, "sentences": told})
                self._tell_device_work(actor)
                self._channel.tell({"is": "opened", "stage": name})
                if not self._life.generation:
                    for sender in self._senders_of(name):
                        await sender.wait_open()
                self._tell_effects(self._hygiene.ready(name))
                self._channel.tell({"is": "ready", "stage": name})
                await self._started.wait()
                actor.start(self._pacing)
                self._begin_work(actor)
                await actor.run()
            except LinkError as error:
                self._tell_failure(name, error)
                return
            except StreamflowError as error:
                is_contained = self._started.is_set() and not self._options.restarts
                self._tell_failure(name, error, is_contained=is_contained)
                if not is_contained:
                    return
                actor.sending.end()
                await actor.discard_inputs()
            for sender in self._senders_of(name):
                await sender.wait_closed()
            self._tell_device_work(actor)
        finally:
            if is_open and not self._has_vanished:
                await self._close(actor)
        recorder.set(layout.PHASE, layout.CLOSED)
        self._channel.tell({"is": "closed", "stage": name})

    def _tell_device(self, actor: Actor, opened: Opened) -> None:
        if actor.devices:
            actor.take_turns(opened.turns)
            told = {"device": opened.device.name, "description": opened.device.description}
            self._channel.tell({"is": "device", "stage": actor.stage, "passed_over": opened.passed_over, **told})

    def _tell_device_work(self, actor: Actor) -> None:
        """What its node has found out on its device until now."""
        report = actor.node.device_report()
        if report:
            self._channel.tell({"is": "device_work", "stage": actor.stage, "report": report})
        ways = self._staying.ways(actor)
        if ways:
            self._channel.tell({"is": "ways", "edges": ways})

    def _tell_effects(self, effects: Sequence[Effect]) -> None:
        """What this process has of all that was asked for."""
        if effects:
            told = [effect.told() for effect in effects]
            self._channel.tell({"is": "realtime", "stages": self._stages, "effects": told})

    def _begin_work(self, actor: Actor) -> None:
        self._staying.settle(actor)
        recorder = actor.logbook.recorder
        now_ns = self._clock.now_ns()
        recorder.set(layout.READY_NS, now_ns)
        recorder.set(layout.PHASE, layout.RUNNING)
        actor.handling.stop_wanted = lambda deadline: self._channel.tell(
            {"is": "stop", "stage": actor.stage, "deadline": deadline}
        )
        if self._life.generation:
            actor.logbook.revived(self._life.down_since_ns, now_ns)

    async def _close(self, actor: Actor) -> None:
        """Let a node release what it holds, so that files are whole, also when the run is told to leave."""
        with trio.move_on_after(CLOSE_LIMIT_S, shield=True):
            try:
                await actor.close()
            except StreamflowError as error:
                self._tell_failure(actor.stage, error, is_contained=not self._options.restarts)

    async def _work_link(self, stage: str, link: Sender | Receiver) -> None:
        try:
            await link.run()
        except StreamflowError as error:
            self._tell_failure(stage, error)

    def _tell_failure(self, stage: str, error: StreamflowError, *, is_contained: bool = False) -> None:
        """Tell the supervisor; `is_contained`: the stage's streams end in order all the same, else the process ends."""
        self.failure = self.failure or error
        if self._has_vanished:
            return
        is_final = isinstance(error, ClosedOutputError) or (isinstance(error, NodeError) and error.is_final)
        causes = (error, error.__cause__)
        traceback_text = error.traceback_text if isinstance(error, NodeError) else ""
        self._channel.tell(
            {
                "is": "failed",
                "stage": stage,
                "is_contained": is_contained,
                "is_final": is_final,
                "sentence": str(error),
                "traceback": traceback_text,
                "lost_device": next((one.subject for one in causes if isinstance(one, DeviceLostError)), ""),
                "exit_code": error.exit_code if isinstance(error, ClosedOutputError) else NodeError.exit_code,
            }
        )
        if self._options.restarts and (self._started.is_set() or self._life.generation):
            self._scope.cancel()  # and is started again, or the run gives up

    def _senders_of(self, stage: str) -> list[Sender]:
        return [outlet.sender for outlets in self._actors[stage].sending.outlets.values() for outlet in outlets]
