"""What a pipeline module uses: add stages, connect their ports, say what must be on time and who is restarted.

    def build(wav: str) -> Pipeline:
        p = Pipeline("loudness")
        mic = p.add("mic", WavFile(wav, chunk=512))
        rms = p.add("rms", Rms())
        p.connect(mic, rms, overflow=Overflow.DROP_OLDEST, capacity=8)
        p.deadline("loudness", mic, rms, within=20 * ms, on_miss=OnMiss.SHED, firm=(9, 10))
        return p

These never raise for what is wrong: faults are collected, and `check` (which every command
calls before anything starts) tells all of them at once.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any, TypeVar

from streamflow.core.batch import Batch
from streamflow.core.deadline import Criticality, OnMiss, Order, PathDef, RateDef
from streamflow.core.device_names import devices_named
from streamflow.core.firm import Escalation, Firm
from streamflow.core.graph import EdgeDef, Graph, StageDef
from streamflow.core.joins.contract import Join
from streamflow.core.joins.feedback import DELAY_LIMIT, Loop, Reseed
from streamflow.core.overflow import Overflow
from streamflow.core.realtime import RealTime
from streamflow.core.realtime import faults as realtime_faults
from streamflow.core.spinning import SPIN_NS_MAX
from streamflow.core.supervision import GroupDef, Restart, RestartStrategy
from streamflow.core.timebase import ms, s
from streamflow.core.variants import BACK_AFTER_NS, VariantStates
from streamflow.errors import Fault, StreamflowError
from streamflow.runtime.loading.definition import Definition, batch_faults, handler_faults, join_faults, stage_of
from streamflow.runtime.node import Node
from streamflow.runtime.stage.variants import VariantsNode
from streamflow.runtime.stage.variants import named as variants_named

MissHandler = Callable[[str, Any], Any]
"""(stage, message) to what the stage sends instead, as `process` returns it."""
DIRECT = "direct"
E = TypeVar("E", bound=Enum)


@dataclass(frozen=True, slots=True)
class PortRef:
    """A named end of a stage, to be connected."""

    stage: str
    port: str


class Stage:
    """A handle on an added stage: `stage.port` (or `stage["port"]`) is an end, the stage itself its only one."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, port: str) -> PortRef:
        if port.startswith("__"):
            raise AttributeError(port)
        return PortRef(self._name, port)

    def __getitem__(self, port: str) -> PortRef:
        return PortRef(self._name, port)

    def __repr__(self) -> str:
        return f"Stage({self._name!r})"


class Pipeline:
    """A graph of stages in the making."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._stages: list[StageDef] = []
        self._edges: list[EdgeDef] = []
        self._nodes: dict[str, Node] = {}
        self._deadlines: list[PathDef] = []
        self._rates: list[RateDef] = []
        self._groups: list[GroupDef] = []
        self._handlers: dict[str, MissHandler] = {}
        self._faults: list[StreamflowError] = []

    def add(
        self,
        name: str,
        node: Node | None = None,
        *,
        variants: Sequence[Node] | Mapping[str, Node] | None = None,
        back_after: int = BACK_AFTER_NS,
        states: VariantStates = VariantStates.OWN,
        process: str | None = None,
        restart: Restart = Restart.TRANSIENT,
        hang_timeout: int | None = None,
        realtime: RealTime | None = None,
        spin: int | None = None,
        join: Join | None = None,
        batch: Batch | None = None,
        device: str | Sequence[str] | None = None,
    ) -> Stage:
        """Put `node` into the graph. Stages of one `process` share it; by default each has its own.

        `restart` says whether it is started again when it fails. With work due and no progress for `hang_timeout`
        (ns; by default ten times the tightest deadline through the stage, at least 1 s; 5 s without one) its
        process is killed, which is a failure like any other. `realtime` asks the machine for processors, priority
        and the like, in all its lives; the report says what it got. `spin` (ns, at most 10 ms; 0: never): for so long
        it waits awake for its next datum before it sleeps, where that pays; by default as the run says (`--spin-us`).
        `join`: how several inputs of one `process` come together, one of `streamflow.joins`. `batch`: how the data of a
        node with `process_batch` do; where nothing is said `Batch()`, or one by one to a `process` beside it. `device`:
        what `self.context.device` is, `"cuda:0"` or `["cuda:0", "host"]`: the first of them that can be used, the next
        where that fails. Stages of one GPU share a process unless `process` says otherwise.

        `variants` in place of a node: several with the same ports, the best first, of which the best that keeps up
        works on each datum: a cheaper one as soon as the better would be too late for it or for what waits behind it,
        or the contract of a path through here is broken; the better again `back_after` (ns; 2 s) at the latest after
        it would keep up. Each result says which made it (`variant`). `states`: whose their recurrent states are.
        """
        if variants is not None or node is None:
            node = self._variants_of(name, node, variants, back_after, states)
            if node is None:
                self._stages.append(StageDef(name, "", process or name, {}, {}, is_known=False))
                return Stage(name)
        restart = self._one_of(f"stage {name}", "restart", restart, Restart.TRANSIENT)
        if hang_timeout is not None:
            hang_timeout = self._duration(f"stage {name}", "hang_timeout", hang_timeout)
        if realtime is not None and (faults := realtime_faults(f"stage {name}", realtime, _cpu_count())):
            self._faults += faults
            realtime = None
        if spin is not None and (type(spin) is not int or not 0 <= spin <= SPIN_NS_MAX):
            expected = f"whole nanoseconds, 0 to {SPIN_NS_MAX:,}, as in spin=200 * us"
            self._faults.append(Fault(f"stage {name}", f"spin {spin!r}", expected))
            spin = None
        if not isinstance(node, Node):
            self._faults.append(_no_node(name, node))
            self._stages.append(StageDef(name, "", process or name, {}, {}, is_known=False))
            return Stage(name)
        if any(node is other for other in self._nodes.values()):
            self._faults.append(Fault(f"stage {name}", "a node that another stage has", "a node of its own"))
        devices: tuple[str, ...] = ()
        try:
            devices = devices_named(f"stage {name}", device)
        except Fault as wrong:
            self._faults.append(wrong)
        stage, fault = stage_of(
            name,
            node,
            process,
            restart,
            hang_timeout,
            realtime,
            spin,
            join if isinstance(join, Join) else None,
            batch if isinstance(batch, Batch) else None,
            devices,
        )
        if fault is not None:
            self._faults.append(fault)
        else:
            self._faults += handler_faults(name, node)
            self._faults += [*join_faults(stage, node, join), *batch_faults(stage, node, batch)]
        self._stages.append(stage)
        self._nodes[name] = node
        return Stage(name)

    def _variants_of(
        self, name: str, node: object, variants: object, back_after: object, states: object
    ) -> Node | None:
        subject = f"stage {name}"
        if node is not None:
            self._faults.append(
                Fault(subject, "a node and variants", "one of them", "the node may be the first variant")
            )
            return None
        if variants is None:
            self._faults.append(Fault(subject, "no node", "a node, or variants of it"))
            return None
        back_after_ns = self._duration(subject, "back_after", back_after)
        if back_after_ns <= 0:
            self._faults.append(Fault(subject, f"back_after {back_after!r}", "more than 0", "as in back_after=2 * s"))
        own = self._one_of(subject, "states", states, VariantStates.OWN)
        nodes, faults = variants_named(name, variants)
        self._faults += faults
        return VariantsNode(nodes, max(back_after_ns, 1), own) if nodes else None

    def connect(
        self,
        source: Stage | PortRef,
        target: Stage | PortRef,
        *,
        overflow: Overflow | None = None,
        capacity: int | None = None,
        order: Order = Order.FIFO,
        max_age: int | None = None,
        link: str | None = None,
        lossless: bool = False,
        delay: int = 0,
        initial: Any = None,
        reseed: Reseed = Reseed.LAST,
    ) -> None:
        """Join an output to an input.

        `capacity` (8) counts the data that wait, on both sides together, and `overflow` says what happens to one
        for which there is no room. By default (BLOCK) the sender waits: choose a dropping policy where fresh matters
        more than complete. Several edges may leave one output, each with its own policy. `order` says which is
        served next. Data older than `max_age` (ns, from event time) are dropped when their turn comes.

        `link="direct"`: data go from process to process through shared memory and wake nobody but their reader, a
        third of the time that ZeroMQ takes; None: as the run says (`--link`).

        `lossless`: the sender keeps each datum until `target` is done with it, and sends it again to its next life, so
        that a crash of either changes nothing in what comes out. What was half done is done again, recurrent states
        included; nothing that came of it had left the stage. At most `capacity` results come of one datum then. What a
        node keeps in attributes of its own is not part of that (`state_tensors` is), nor what it did to the world.

        `delay` (at least 1) makes it lead back: with each row of its other inputs `target` gets what came of the row
        `delay` rows before, and `initial` (an array, or tensors by name) until there is any, also in a new life. It
        waits for that no longer than its join's `max_wait` (100 ms without one); what does not come is replaced as
        `reseed` says. Such an edge drops what is old (DROP_OLDEST), so that nothing can stand still in the cycle.
        """
        subject = f"edge {_text(source)}->{_text(target)}"
        default = Overflow.DROP_OLDEST if delay else Overflow.BLOCK
        overflow = default if overflow is None else self._one_of(subject, "overflow", overflow, default)
        loop = self._loop(subject, delay, initial, reseed)
        if capacity is None:
            capacity = 8 if loop is None else max(8, 2 * loop.delay)
        elif loop is not None and type(capacity) is int and capacity <= loop.delay:
            self._faults.append(Fault(subject, f"capacity {capacity}", f"more than its delay, {loop.delay}"))
        order = self._one_of(subject, "order", order, Order.FIFO)
        if max_age is not None:
            max_age = self._duration(subject, "max_age", max_age)
        if link not in (None, DIRECT):
            self._faults.append(Fault(subject, f"link {link!r}", f"None or {DIRECT!r}"))
        if type(lossless) is not bool:
            self._faults.append(Fault(subject, f"lossless {lossless!r}", "True or False"))
            lossless = False
        ends = []
        for what, end in (("source", source), ("target", target)):
            if isinstance(end, PortRef):
                ends.append((end.stage, end.port))
            elif isinstance(end, Stage):
                ends.append((end._name, ""))
            else:
                self._faults.append(Fault("connect", f"a {type(end).__name__} as the {what}", "a stage or its port"))
        if len(ends) == 2:
            (a, output), (b, port) = ends
            self._edges.append(
                EdgeDef(a, output, b, port, overflow, capacity, order, max_age, link == DIRECT, loop, initial, lossless)
            )

    def _loop(self, subject: str, delay: object, initial: object, reseed: object) -> Loop | None:
        """How an edge leads back; None for one that does not, or says it wrongly."""
        if delay == 0 and initial is None:
            return None
        if type(delay) is not int or not 1 <= delay <= DELAY_LIMIT:
            found = "initial without a delay" if delay == 0 else f"delay {delay!r}"
            self._faults.append(Fault(subject, found, f"a delay of 1 to {DELAY_LIMIT:,} rows, as in delay=1"))
            return None
        if initial is None:
            self._faults.append(Fault(subject, "delay without initial", "the value of the first rows", "initial=..."))
        return Loop(delay, self._one_of(subject, "reseed", reseed, Reseed.LAST))

    def deadline(
        self,
        name: str,
        source: Stage,
        sink: Stage,
        *,
        within: int,
        on_miss: OnMiss = OnMiss.DELIVER,
        firm: tuple[int, int] | None = None,
        escalation: Sequence[Escalation] = (),
        criticality: Criticality = Criticality.NORMAL,
        max_age: int | None = None,
        call: MissHandler | None = None,
    ) -> None:
        """What `source` takes must be done at `sink`, device work included, `within` ns after its event time.

        A stage starts no work that cannot finish in time: it does what `on_miss` says instead. `firm=(m, k)`
        promises that at least m of any k consecutive data are on time; while that is broken, the steps of
        `escalation` are taken one after another, and taken back when it has held for 2k data. Data of a higher
        `criticality` are never given up for those of a lower. HOLD repeats results up to `max_age`; CALL calls
        `call(stage, message)`. Several deadlines may cross a stage: the tightest that can still be met counts.
        """
        subject = f"deadline {name}"
        on_miss = self._one_of(subject, "on_miss", on_miss, OnMiss.DELIVER)
        criticality = self._one_of(subject, "criticality", criticality, Criticality.NORMAL)
        steps = tuple(self._one_of(subject, "escalation", step, Escalation.DEGRADE) for step in escalation)
        contract = None
        if firm is not None:
            try:
                m, k = firm
                contract = Firm(int(m), int(k))
            except (TypeError, ValueError):
                self._faults.append(Fault(subject, f"firm {firm!r}", "(m, k)", "firm=(9, 10): 9 of any 10 on time"))
        if (call is None) == (on_miss is OnMiss.CALL):
            found = "on_miss CALL without call" if call is None else f"call with on_miss {on_miss.name}"
            self._faults.append(Fault(subject, found, "both or none", "on_miss=OnMiss.CALL, call=handler"))
        ends = [self._stage_name(subject, what, end) for what, end in (("source", source), ("sink", sink))]
        within = self._duration(subject, "within", within)
        if max_age is not None:
            max_age = self._duration(subject, "max_age", max_age)
        if all(ends):
            self._deadlines.append(
                PathDef(name, ends[0], ends[1], within, on_miss, contract, steps, criticality, max_age)
            )
            if call is not None:
                self._handlers[name] = call

    def rate_deadline(self, name: str, input: Stage | PortRef, *, within: int) -> None:
        """A gap of more than `within` ns between the data sent to `input` is a fault: its sender went silent."""
        within = self._duration(f"deadline {name}", "within", within)
        if isinstance(input, PortRef):
            self._rates.append(RateDef(name, input.stage, input.port, within))
        elif stage := self._stage_name(f"deadline {name}", "input", input):
            ports = [port for each in self._stages if each.name == stage for port in each.inputs]
            self._rates.append(RateDef(name, stage, ports[0] if len(ports) == 1 else "", within))

    def supervise(
        self,
        *stages: Stage,
        name: str = "",
        strategy: RestartStrategy = RestartStrategy.ONE_FOR_ONE,
        restart_intensity: int = 5,
        restart_period: int = 10 * s,
        backoff: int = 50 * ms,
        backoff_max: int = 2 * s,
    ) -> None:
        """Stages that are restarted together as `strategy` says; without stages, all that are in no other group.

        More than `restart_intensity` restarts within any `restart_period` (ns) end the run. The first restart is
        at once, the next wait from `backoff` up to `backoff_max`, doubling, with jitter.
        """
        names = tuple(stage._name for stage in stages if isinstance(stage, Stage))
        name = name or ("+".join(names) if names else self.name)
        subject = f"group {name}"
        strategy = self._one_of(subject, "strategy", strategy, RestartStrategy.ONE_FOR_ONE)
        for stage in stages:
            self._stage_name(subject, "stage", stage)
        for what, count in (("restart_intensity", restart_intensity), ("restart_period", restart_period)):
            if not isinstance(count, int):
                self._faults.append(Fault(subject, f"{what} {count!r}", "a whole number"))
                return
        group = GroupDef(name, names, strategy, restart_intensity, restart_period, backoff, backoff_max)
        if names or not stages:
            self._groups.append(group)

    def _stage_name(self, subject: str, what: str, end: object) -> str:
        if isinstance(end, Stage):
            return end._name
        if isinstance(end, PortRef):
            found = f"the port {end.stage}.{end.port} as the {what}"
        else:
            found = f"a {type(end).__name__} as the {what}"
        self._faults.append(Fault(subject, found, "a stage", "what p.add returned"))
        return ""

    def _one_of(self, subject: str, what: str, found: object, default: E) -> E:
        kind = type(default)
        if isinstance(found, kind):
            return found
        names = ", ".join(f"{kind.__name__}.{choice.name}" for choice in kind)
        self._faults.append(Fault(subject, f"{what} {found!r}", names))
        return default

    def _duration(self, subject: str, what: str, found: object) -> int:
        if isinstance(found, int) and not isinstance(found, bool):
            return found
        if isinstance(found, float) and found.is_integer():  # a setting that is a float, times ms
            return int(found)
        self._faults.append(Fault(subject, f"{what} {found!r}", "whole nanoseconds", f"as in {what}=25 * ms"))
        return s  # anything sound: the fault is told

    def definition(self) -> Definition:
        """What was defined so far, for the runtime."""
        grouped = {stage for group in self._groups for stage in group.stages}
        rest = tuple(stage.name for stage in self._stages if stage.name not in grouped)
        groups = (group if group.stages else replace(group, stages=rest) for group in self._groups)
        graph = Graph(
            self.name,
            tuple(self._stages),
            tuple(self._edges),
            tuple(self._deadlines),
            tuple(self._rates),
            tuple(groups),
        )
        return Definition(graph, dict(self._nodes), tuple(self._faults), dict(self._handlers))

    def check(self) -> None:
        """Raise PipelineError with every fault there is; return when there is none."""
        self.definition().resolved()


def _cpu_count() -> int:
    """Those that this machine has, whether or not they may be used."""
    return os.sysconf("SC_NPROCESSORS_CONF")


def _no_node(stage: str, found: object) -> Fault:
    if isinstance(found, type):
        written = found.__name__
        return Fault(f"stage {stage}", f"the class {written} itself", "a node", f"write {written}(...)")
    return Fault(f"stage {stage}", f"a {type(found).__name__}", "a Node", "subclass streamflow.Node")


def _text(end: object) -> str:
    if isinstance(end, PortRef):
        return f"{end.stage}.{end.port}"
    return end._name if isinstance(end, Stage) else repr(end)
