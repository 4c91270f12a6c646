"""A pipeline as the runtime sees it: the graph and the nodes that work in it."""

from __future__ import annotations

import inspect
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from streamflow.core.batch import Batch
from streamflow.core.batching import Fill
from streamflow.core.device_names import is_gpu
from streamflow.core.graph import EdgeDef, Graph, PortDef, Resolved, StageDef
from streamflow.core.joins.contract import Join
from streamflow.core.joins.exact import Exact
from streamflow.core.paths import faults as deadline_faults
from streamflow.core.realtime import RealTime
from streamflow.core.resolution import resolve
from streamflow.core.restart import group_faults
from streamflow.core.supervision import Restart
from streamflow.core.variants import VariantStates
from streamflow.errors import Fault, InputError, PipelineError, StreamflowError, WireError
from streamflow.runtime.node import Node, Port
from streamflow.runtime.stage.conformity import require_received
from streamflow.runtime.stage.joining import seed_of
from streamflow.runtime.stage.variants import VariantsNode, variant_faults


@dataclass(frozen=True, slots=True)
class Definition:
    """What `build` defined, with the faults that showed while it was being built."""

    graph: Graph
    nodes: Mapping[str, Node]
    faults: tuple[StreamflowError, ...] = ()
    handlers: Mapping[str, Callable[[str, Any], Any]] = field(default_factory=dict)
    """What is called for a datum that cannot be on time, by the name of its deadline."""
    notes: tuple[str, ...] = ()
    """What whoever runs it should know beforehand, a sentence each."""
    warnings: tuple[str, ...] = ()
    """And what also who wants to know nothing else should: that something is not all there."""

    def resolved(self) -> Resolved:
        """Raises PipelineError with every fault: those of the nodes' settings and those of the graph."""
        resolved, faults = resolve(self.graph)
        named = self.graph if resolved is None else resolved.graph
        faults = [
            *faults,
            *deadline_faults(named, self.graph.deadlines, self.graph.rates),
            *group_faults(self.graph.groups, self.graph.stages),
        ]
        if resolved is not None:
            faults += [fault for edge in resolved.graph.edges if (fault := _seed_fault(edge, resolved)) is not None]
        if self.faults or faults or resolved is None:
            raise PipelineError([*self.faults, *faults])
        return resolved


def stage_of(
    name: str,
    node: Node,
    process: str | None,
    restart: Restart = Restart.TRANSIENT,
    hang_limit_ns: int | None = None,
    realtime: RealTime | None = None,
    spin_ns: int | None = None,
    join: Join | None = None,
    batch: Batch | None = None,
    devices: tuple[str, ...] = (),
) -> tuple[StageDef, StreamflowError | None]:
    """A node's place in the graph, after a look at what its settings name, and what is wrong with them."""
    fault: StreamflowError | None = None
    node.stage_devices = devices
    try:
        node.inspect()
    except InputError as error:
        fault = Fault(f"stage {name}", f"{error}")
    except Exception as error:  # a node of the user's own; its fault is one among others
        where = traceback.extract_tb(error.__traceback__)[-1]
        fault = Fault(
            f"stage {name}", f"inspect() raised {type(error).__name__}: {error} ({where.filename}:{where.lineno})"
        )
    inputs, outputs = node.inputs(), node.outputs()
    handled = None
    if not node.is_source and not hasattr(node, "process") and not node.has_batches:
        handled = frozenset(port for port in inputs if hasattr(node, f"process_{port}"))
    variants = tuple(node.variants) if isinstance(node, VariantsNode) else ()
    stage = StageDef(
        name,
        " | ".join(variants) or type(node).__name__,
        process or _usual_process(name, devices),
        {port: _port_def(inputs[port]) for port in inputs},
        {port: _port_def(outputs[port]) for port in outputs},
        node.is_source,
        node.live,
        handled,
        is_known=fault is None,
        restart=restart,
        hang_limit_ns=hang_limit_ns,
        is_fork_safe=node.fork_safe,
        realtime=realtime,
        spin_ns=spin_ns,
        join=join or node.join or Exact(),
        retimes=node.retimes,
        batch=_batch_of(node, batch) if fault is None else None,
        variants=variants,
        has_own_states=not isinstance(node, VariantsNode) or node.states is not VariantStates.SHARED,
        is_observer=node.observes,
        devices=devices,
    )
    return stage, fault


def _usual_process(stage: str, devices: Sequence[str]) -> str:
    """Stages of one GPU share a process: each that uses it takes hundreds of megabytes of it, and takes turns with the
    others by the driver's choice."""
    return devices[0].replace(":", "") if devices and is_gpu(devices[0]) else stage


def _seed_fault(edge: EdgeDef, resolved: Resolved) -> Fault | None:
    """What is wrong with the initial value of an edge that leads back."""
    if edge.loop is None or edge.initial is None:
        return None
    expected = resolved.input_types[edge.target, edge.input]
    try:
        require_received(f"edge {edge.name}", seed_of(edge, expected), expected)
    except WireError as error:
        return Fault(f"edge {edge.name}, initial", error.found.replace(" received", ""), error.expected)
    return None


def _batch_of(node: Node, given: Batch | None) -> Batch | None:
    """None where it works on each datum by itself: beside a `process` batches of several must be asked for."""
    if not node.has_batches or node.is_source or len(node.inputs()) != 1:
        return None
    batch = given or (node.batch if isinstance(node.batch, Batch) else None)
    if batch is None:
        return None if hasattr(node, "process") else Batch()
    if next(batch.faults(), None) is not None:
        return None  # they are told
    return None if batch.size_max == 1 and hasattr(node, "process") else batch


def batch_faults(stage: StageDef, node: Node, batch: object) -> list[Fault]:
    """What is wrong with how its data come in batches; `batch` as it was given where it was added."""
    subject = f"stage {stage.name}"
    given = node.batch if batch is None else batch
    if given is not None and not isinstance(given, Batch):
        return [Fault(subject, f"batch {given!r}", "a Batch", "as in batch=Batch(size_max=8)")]
    if isinstance(node, VariantsNode) and given is not None:
        return [Fault(subject, "a batch and variants", "one of them", "variants work on each datum by itself")]
    if not node.has_batches:
        if given is None:
            return []
        found = f"a batch, but {stage.node} has no process_batch() that takes several data at once"
        return [Fault(subject, found, "process_batch(self, messages)", "it returns one result for each, in order")]
    if given is None and hasattr(node, "process"):
        return []
    if node.is_source:
        return [Fault(subject, f"{stage.node} has run() and process_batch()", "one of them")]
    if len(stage.inputs) != 1:
        found = f"{stage.node} has process_batch() and {len(stage.inputs)} In ports"
        return [Fault(subject, found, "one In port", "bring the streams together in a stage before it")]
    if given is None:
        return []
    faults = [Fault(subject, f"batch: {found}", expected, hint) for found, expected, hint in given.faults()]
    if not faults and given.fill is Fill.FULL and node.stateful and given.size_max > 1:
        found = f"batch: fill FULL, and {stage.node} carries something from one datum of a stream to the next"
        hint = "a batch has one datum of a stream, and might never be full; fill UP_TO, or size_max 1"
        faults.append(Fault(subject, found, "stateful = False", hint))
    return faults


def join_faults(stage: StageDef, node: Node, join: object) -> list[Fault]:
    """What is wrong with how its inputs are to come together; `join` as it was given where it was added."""
    subject = f"stage {stage.name}"
    given = node.join if join is None else join
    if given is None:
        return []
    if not isinstance(given, Join):
        hint = "as in join=joins.Nearest(trigger='camera')"
        return [Fault(subject, f"join {given!r}", "a policy of streamflow.joins", hint)]
    if not stage.is_joined:
        found = f"{stage.node} has no process() that takes several inputs together"
        return [Fault(subject, f"a join, but {found}", "several In ports and one process()")]
    name = type(given).__name__
    faults = [Fault(subject, f"join {name}: {text}") for text in given.faults(list(stage.inputs))]
    if given.late and given.late not in stage.outputs:
        expected = f"one of {', '.join(stage.outputs)}" if stage.outputs else "an Out port for late data"
        faults.append(Fault(subject, f"join {name}: late names {given.late!r}", expected))
    return faults


def handler_faults(name: str, node: Node) -> list[Fault]:
    """What of `run`, `process` and `process_<port>` could not be called as the runtime calls it.

    One port hands its message over by position, or several at once, several hand theirs to `process` by name.
    """
    if isinstance(node, VariantsNode):
        faults = [*variant_faults(name, node)]
        return faults or [fault for each in node.variants.values() for fault in handler_faults(name, each)]
    inputs = list(node.inputs())
    if node.is_source:
        return _call_faults(name, node, "run", [], {})
    if node.has_batches:
        faults = _call_faults(name, node, "process_batch", ["messages"], {})
        alone = _call_faults(name, node, "process", ["message"], {}) if hasattr(node, "process") else []
        return faults + (alone if len(inputs) == 1 else [])
    if not hasattr(node, "process"):
        handlers = [f"process_{port}" for port in inputs if hasattr(node, f"process_{port}")]
        return [fault for handler in handlers for fault in _call_faults(name, node, handler, ["message"], {})]
    if len(inputs) == 1:
        return _call_faults(name, node, "process", ["message"], {})
    return _call_faults(name, node, "process", [], dict.fromkeys(inputs)) if inputs else []


def _call_faults(name: str, node: Node, method: str, args: list[str], named: Mapping[str, Any]) -> list[Fault]:
    handler: Callable[..., Any] = getattr(node, method)
    try:
        signature = inspect.signature(handler)
    except (TypeError, ValueError):  # what is not written in Python may have none
        return []
    try:
        signature.bind(*args, **named)
    except TypeError:
        bare = [part.replace(annotation=part.empty) for part in signature.parameters.values()]
        written = str(signature.replace(parameters=bare, return_annotation=signature.empty))[1:-1]
        found = ", ".join(filter(None, ["self" if inspect.ismethod(handler) else "", written]))
        expected = ", ".join(["self", *args, *(["*", *named] if named else [])])
        return [Fault(f"stage {name}", f"{type(node).__name__} has {method}({found})", f"{method}({expected})")]
    return []


def _port_def(port: Port) -> PortDef:
    return PortDef(port.type, port.rate_from)
