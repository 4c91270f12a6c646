"""Where a simulated run takes place, and what is done to it there: services that take time, and the faults of a plan.

The supervisor starts processes here as anywhere. A `Script` is what is to happen in the run, and what was seen of it;
`_Hand` carries it out in one life of one process, at the points where the runtime lets a test interfere.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import trio

from streamflow.core.enforcement import Act
from streamflow.core.graph import Graph
from streamflow.core.message import Message, with_tensors
from streamflow.core.verdict import Kind
from streamflow.device.contract import Device
from streamflow.device.opening import Devices
from streamflow.device.resident import DeviceTensor
from streamflow.runtime.accounts.logbook import Logbook
from streamflow.runtime.clock import TrioClock
from streamflow.runtime.loading.definition import Definition
from streamflow.runtime.loading.loader import Loaded
from streamflow.runtime.node import Output
from streamflow.runtime.process.control import ControlClient
from streamflow.runtime.process.worker import Worker, WorkerOptions
from streamflow.runtime.rundir import RunFolder
from streamflow.runtime.stage.ends import Outlet
from streamflow.runtime.supervision.venue import Held, TaskVenue
from streamflow.testing.fault_plan import FaultPlan
from streamflow.testing.simulated_process import SimulatedProcess
from streamflow.transport.link import frozen
from streamflow.transport.memory_socket import MemoryNetwork, Plan


@dataclass(frozen=True)
class OfBatch:
    """How long a stage works on a batch, by its size: `service={"infer": OfBatch(lambda size: 4 * ms + size * us)}`."""

    takes_ns: Callable[[int], int]


MakeDevice = Callable[[TrioClock, str], Device]
"""The device of that name, in virtual time."""
Service = int | Callable[[int], int] | OfBatch
ENDPOINT = "memory://e{}"


class Script:
    """What happens in a run. `started_ns` is 0 until its data flow."""

    def __init__(
        self,
        graph: Graph,
        plan: FaultPlan,
        service: Mapping[str, Service],
        clock: TrioClock,
        *,
        offline: bool,
        make_device: MakeDevice,
    ) -> None:
        self.plan = plan
        self.clock = clock
        self.offline = offline
        self.make_device = make_device
        self.started_ns = 0
        self.started = trio.Event()
        self.handled: dict[str, list[Message]] = {stage.name: [] for stage in graph.stages if not stage.is_source}
        self.sent: dict[str, list[Message]] = {stage.name: [] for stage in graph.stages}
        self.crashed_sources: set[tuple[str, int]] = set()
        self._service = service

    def begin(self, at_ns: int) -> None:
        if not self.started_ns:
            self.started_ns = at_ns
            self.started.set()

    def elapsed_ns(self) -> int:
        return max(self.clock.now_ns() - self.started_ns, 0) if self.started_ns else 0

    def knows(self, name: str) -> bool:
        """Whether it is said how long that takes."""
        return name in self._service

    def service_ns(self, name: str, seq: int) -> int:
        service = self._service.get(name, 0)
        if isinstance(service, OfBatch):
            return service.takes_ns(1)
        return service if isinstance(service, int) else service(seq)

    def batch_service_ns(self, name: str, seqs: Sequence[int]) -> int:
        """One after the other where nothing is said of batches."""
        service = self._service.get(name, 0)
        if isinstance(service, OfBatch):
            return service.takes_ns(len(seqs))
        return sum(self.service_ns(name, seq) for seq in seqs)


class SimulatedVenue(TaskVenue):
    """Tasks, virtual time, sockets in memory. `fresh` gives the definition with nodes for one life of a process."""

    def __init__(
        self,
        loaded: Loaded,
        options: WorkerOptions,
        folder: RunFolder,
        script: Script,
        fresh: Callable[[], Definition],
        *,
        latency_ns: int,
        start_ns: int,
        chance: Callable[[], float],
    ) -> None:
        self._graph = loaded.resolved.graph
        network = MemoryNetwork(script.clock, self._plan(script, latency_ns))
        super().__init__(loaded, options, self._graph.processes(), folder, script.clock, network)
        self.chance = chance
        self._memory = network
        self._script = script
        self._fresh = fresh
        self._start_ns = start_ns
        self._lives: dict[str, SimulatedProcess] = {}

    def _plan(self, script: Script, latency_ns: int) -> Plan:
        delayed = script.plan.network_plan(self._edge_of, lambda: script.started_ns)

        def plan(endpoint: str, frames: object, now_ns: int) -> list[int]:
            if self._edge_of(endpoint) is None:
                return [now_ns]
            return [instant_ns + latency_ns for instant_ns in delayed(endpoint, frames, now_ns)]  # type: ignore[arg-type]

        return plan

    def _edge_of(self, endpoint: str) -> str | None:
        """Which edge it is by its number in the endpoint, before the generation; control is none."""
        number = endpoint.removeprefix(ENDPOINT.format("")).partition("g")[0]
        return self._graph.edges[int(number)].name if number.isdigit() else None

    async def start(self, process: str, generation: int) -> Held:
        await trio.lowlevel.checkpoint()
        script = self._script
        life = SimulatedProcess(process, script.clock, self._start_ns)
        if process not in self._lives:
            self.nursery.start_soon(self._strike, process)
        self._lives[process] = life
        hello = {"process": process, "pid": 0, "run_key": self._loaded.key}
        self.nursery.start_soon(
            life.run,
            lambda context: ControlClient(context, self.control_endpoint, hello),
            lambda channel, context, clock: Worker(
                self._fresh(),
                self._loaded.resolved,
                self._processes[process],
                self._options,
                channel,
                context,
                clock,
                _Hand(script, life),
                devices=Devices(lambda name: script.make_device(script.clock, name)),
            ),
            self._memory,
            script.begin,
        )
        return life

    async def _strike(self, process: str) -> None:
        """What happens to a process at an instant of the run, whatever it does and whichever life it is."""
        script = self._script
        await script.started.wait()
        blows: list[tuple[int, int]] = []
        for stage in self._processes[process]:
            blows += [(at_ns, 0) for at_ns in script.plan.crash_instants_ns(stage)]
            blows += script.plan.stalls_ns(stage)
        for at_ns, stall_ns in sorted(blows):
            await script.clock.sleep_until(script.started_ns + at_ns)
            if stall_ns:
                self._lives[process].loop.stall(stall_ns)
            else:
                self._lives[process].kill()


class _Hand:
    """Interferes with one life of one process."""

    def __init__(self, script: Script, life: SimulatedProcess) -> None:
        self._script = script
        self._life = life

    async def before_take(self) -> None:
        await self._life.loop.turn()

    async def before_work(self, stage: str, message: Message, act: Act) -> None:
        if act is Act.HOLD:
            return  # no work: the last result is sent again
        if self._script.plan.crashes(stage, message.seq):
            await self._crash()
        variant = f"{stage}.{message.attributes.get('variant', '')}"
        name = {Act.DEGRADE: f"{stage}.degrade", Act.CALL: ""}.get(act, stage)
        if act is not Act.CALL and self._script.knows(variant):
            name = variant
        await self._work(stage, message.seq, self._script.service_ns(name, message.seq))

    async def before_batch(self, stage: str, messages: Sequence[Message]) -> None:
        script, seqs = self._script, [message.seq for message in messages]
        if any(script.plan.crashes(stage, seq) for seq in seqs):
            await self._crash()
        await self._hold_up(stage, seqs, script.batch_service_ns(stage, seqs))

    async def before_emit(self, stage: str, seq: int, output: Output) -> Output:
        script = self._script
        if script.plan.crashes(stage, seq) and (stage, seq) not in script.crashed_sources:
            script.crashed_sources.add((stage, seq))  # its next life makes the same datum
            await self._crash()
        elapsed_ns = script.elapsed_ns()
        event_time_ns = script.clock.now_ns() if output.event_time_ns is None else output.event_time_ns
        await self._work(stage, seq, script.service_ns(stage, seq))
        late_ns = script.plan.late_ns(stage, seq, elapsed_ns)
        if late_ns and not script.offline:
            await script.clock.sleep_until(event_time_ns + late_ns)
            await self._life.loop.turn()
        if output.event_time_ns is None:
            return replace(output, event_time_ns=event_time_ns) if late_ns else output
        return replace(output, event_time_ns=event_time_ns + script.plan.wall_offset_ns(stage, elapsed_ns))

    async def _crash(self) -> None:
        self._life.kill()
        await trio.sleep_forever()

    async def _work(self, stage: str, seq: int, service_ns: int) -> None:
        await self._hold_up(stage, [seq], service_ns)

    async def _hold_up(self, stage: str, seqs: Sequence[int], service_ns: int) -> None:
        script, loop = self._script, self._life.loop
        elapsed_ns = script.elapsed_ns()
        alive_since_ns = max(self._life.born_ns - script.started_ns, 0)
        if any(script.plan.hangs(stage, seq, elapsed_ns, alive_since_ns=alive_since_ns) for seq in seqs):
            await loop.hang()
        service_ns += sum(script.plan.service_ns(stage, seq, elapsed_ns) for seq in seqs)
        if service_ns:
            await loop.work(service_ns)

    def handled(self, stage: str, message: Message) -> None:
        self._script.handled[stage].append(on_host(message))

    def sent(self, stage: str, port: str, message: Message) -> None:
        self._script.sent[stage].append(frozen(on_host(message)))

    def outlet(self, outlet: Outlet, logbook: Logbook) -> Outlet:
        return replace(outlet, sender=_FaultyEnd(outlet, logbook, self._script))


class _FaultyEnd:
    """The sending end of an edge that loses or doubles what the plan says, and says so to the accounts."""

    def __init__(self, outlet: Outlet, logbook: Logbook, script: Script) -> None:
        self._outlet = outlet
        self._logbook = logbook
        self._script = script
        self._sender = sender = outlet.sender
        self.wait_for_room = sender.wait_for_room
        self.advance = sender.advance
        self.end = sender.end
        self.run = sender.run
        self.wait_open = sender.wait_open
        self.wait_closed = sender.wait_closed
        self.close_gate = sender.close_gate
        self.open_gate = sender.open_gate
        self.statistics = sender.statistics
        self.close = sender.close

    @property
    def is_jammed(self) -> bool:
        return self._sender.is_jammed

    def offer(self, message: Message) -> bool:
        script, outlet = self._script, self._outlet
        copy_count = script.plan.copy_count(outlet.edge, message.seq, script.elapsed_ns())
        if copy_count == 0:
            outlet.trace.dropped(message, outlet.trace.accepted(message))
            return True
        if not self._sender.offer(message):
            return False
        for _ in range(copy_count - 1):
            self._logbook.note(Kind.SPLIT, message, outlet.mask)
            if not self._sender.offer(message):
                self._logbook.rejected(message, outlet.edge)  # no room for a second one
        return True


def on_host(message: Message) -> Message:
    """The message as it can be kept: a device lends what stays there, and in virtual time all of it is done at once."""
    if not any(type(one) is DeviceTensor for one in message.tensors.values()):
        return message
    tensors = {name: one.array.copy() if type(one) is DeviceTensor else one for name, one in message.tensors.items()}
    return with_tensors(message, tensors)
