"""Run one node by hand: no processes, no links, no waiting; every call the runtime would make, in its order."""

from __future__ import annotations

import difflib
import inspect
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import trio

from streamflow.core.batch import Batch
from streamflow.core.joins.in_order import InOrder
from streamflow.core.message import Attribute, Message
from streamflow.device.contract import Device
from streamflow.device.host import HostDevice
from streamflow.errors import Fault
from streamflow.memory.state_layout import StateTensor
from streamflow.memory.states import States
from streamflow.runtime.node import Node, Output
from streamflow.runtime.stage.batcher import results_of
from streamflow.runtime.stage.conformity import as_expected, require_received, require_sent
from streamflow.runtime.stage.emission import messages_of
from streamflow.runtime.stage.joining import Joined, joined
from streamflow.runtime.stream_states import StreamStates

SAMPLE_PERIOD_NS = 1_000_000  # the event time between two inputs that were given as plain arrays


class Driven:
    """What a node sent, by port."""

    def __init__(self, sent: Mapping[str, list[Message]]) -> None:
        self._sent = sent

    def __getitem__(self, port: str) -> list[Message]:
        return self._sent.get(port, [])

    @property
    def messages(self) -> list[Message]:
        """Everything sent through the node's only Out port."""
        if len(self._sent) > 1:
            raise ValueError(f"several ports sent: {', '.join(self._sent)}; index by name")
        return next(iter(self._sent.values()), [])

    @property
    def arrays(self) -> list[np.ndarray[Any, Any]]:
        return [message.array for message in self.messages]


class _Context:
    def __init__(self, node: Node, stage: str, rates: Mapping[str, float]) -> None:
        self.stage = stage
        self.offline = True
        self.generation = 0
        self._rates = rates
        self._outputs = {name: port.type for name, port in node.outputs().items()}
        self._emitted = 0
        self.sent: dict[str, list[Message]] = defaultdict(list)
        self.limit: int | None = None
        self.threads: int | None = None
        self.states: StreamStates | None = None
        self.device: Device = HostDevice()
        self.batch = node.batch
        self.device_priority = 0
        self.devices: tuple[str, ...] = ()
        self.recordings: Path | None = None
        self.open_files = ExitStack()

    def keep_states(self, node: Node, tensors: Sequence[StateTensor], path: Path | None) -> None:
        """From now on; without a path in a file that is gone with this."""
        if path is None:
            folder = self.open_files.enter_context(tempfile.TemporaryDirectory(prefix="streamflow-drive-"))
            path = Path(folder) / "states"
        states = States(path, tensors, node.state_rules.stream_count_max)
        self.states = StreamStates(self.stage, states, node.state_rules, self.now_ns)

    def now_ns(self) -> int:
        return self._emitted * SAMPLE_PERIOD_NS

    def allocate(self, shape: Sequence[int], dtype: Any) -> Any:
        return np.empty(tuple(shape), dtype)

    def resident(self, port: str, shape: Sequence[int], dtype: Any) -> None:
        """What is sent is looked at here, on the host."""

    def rate_hz(self, port: str) -> float | None:
        return self._rates.get(port)

    def advance(self, event_time_ns: int) -> None:
        """Nobody waits."""

    async def pace(self, recorded_ns: int) -> int:
        await trio.lowlevel.checkpoint()
        return recorded_ns

    async def sleep_until(self, instant_ns: int) -> None:
        await trio.lowlevel.checkpoint()

    async def emit(
        self, value: Any, port: str | None, event_time_ns: int | None, attributes: Mapping[str, Attribute]
    ) -> None:
        await trio.lowlevel.checkpoint()
        at_ns = self.now_ns() if event_time_ns is None else event_time_ns
        base = Message({}, self.stage, self._emitted, at_ns, attributes)
        self.keep(value if port is None else Output(value, port), base)  # as the actor does it
        self._emitted += 1
        if self.limit is not None and self._emitted >= self.limit:
            raise _EnoughError

    def keep(self, result: Any, handled: Message) -> None:
        for port, message in messages_of(result, handled, self._outputs):
            require_sent(f"stage {self.stage}, port {port}", message, self._outputs[port])
            self.sent[port].append(message)


class _EnoughError(Exception):
    pass


Inputs = Iterable[Any]


def drive(
    node: Node,
    inputs: Inputs | Mapping[str, Inputs] = (),
    *,
    stage: str = "node",
    rates: Mapping[str, float] | None = None,
    limit: int | None = None,
    generation: int = 0,
    batch: int | None = None,
    states: Path | None = None,
    device: Device | None = None,
) -> Driven:
    """Inspect, open, feed, flush and close `node`; return what it sent.

    `inputs`: messages or arrays for the only In port, or a mapping of port names to such sequences. A joined
    node (`process` with several ports) gets the i-th of each together, or where it has a `join` the rows that this
    makes of their event times; `process_<port>` handlers get theirs port by port. Arrays become read-only, as
    received ones are, and what goes in and comes out must be of the ports' types, or a PortError says what is
    not. A source is run until it ends or has emitted `limit` data.
    An exception of the node comes out as it is, after `close`. `generation`: lives of the stage before this one.
    `batch`: of a node with `process_batch`, how many it gets at once, in their order, of a stream one unless it is not
    `stateful`; by default one by one to `process`, or in batches as large as there are where it has none.
    `states`: the file of its recurrent states, from which the next call goes on like a next life; without one every
    call begins anew. `device`: an opened one that its pipeline would name; by default none is named.
    """
    return trio.run(_drive, node, inputs, stage, dict(rates or {}), limit, generation, batch, states, device)


async def _drive(
    node: Node,
    inputs: Inputs | Mapping[str, Inputs],
    stage: str,
    rates: dict[str, float],
    limit: int | None,
    generation: int,
    batch: int | None,
    states: Path | None,
    device: Device | None,
) -> Driven:
    node.stage_devices = () if device is None else (device.name,)
    node.inspect()
    context = _Context(node, stage, rates)
    if batch is not None:
        context.batch = Batch(batch)
    if device is not None:
        context.device, context.devices = device, (device.name,)
    context.generation = generation
    context.limit = limit
    node.context = context
    try:
        await _settled(node.open())
        if tensors := node.state_tensors():
            context.keep_states(node, tensors, states)
        if node.is_source:
            await _run_source(node, context)
        else:
            await _feed(node, inputs, context, batch)
    finally:
        try:
            await _settled(node.close())
        finally:
            context.open_files.close()  # what was kept can still be looked at: it is mapped
    return Driven(context.sent)


async def _run_source(node: Node, context: _Context) -> None:
    try:
        await node.run()  # type: ignore[attr-defined]
    except _EnoughError:
        pass
    except BaseExceptionGroup as group:
        _, rest = group.split(_EnoughError)
        if rest is not None:
            raise


async def _feed(node: Node, inputs: Inputs | Mapping[str, Inputs], context: _Context, batch: int | None) -> None:
    ports = list(node.inputs())
    queues = _queues(node, inputs, context.stage)
    last = Message({})
    process = getattr(node, "process", None)
    if batch is not None and not (node.has_batches and len(ports) == 1):
        raise Fault(f"drive({type(node).__name__})", f"batch={batch}", "a node with process_batch and one In port")
    if node.has_batches and len(ports) == 1 and (process is None or batch is not None):
        for messages in _batches(queues[ports[0]], batch, is_stateful=node.stateful):
            found = await _settled(node.process_batch(messages))  # type: ignore[attr-defined]
            for last, result in zip(messages, results_of(context.stage, found, len(messages)), strict=True):
                context.keep(result, last)
    elif process is None:
        for port, queue in queues.items():
            handler = getattr(node, f"process_{port}", None)
            if handler is None:
                raise Fault(type(node).__name__, f"no process_{port}")
            for last in queue:
                context.keep(await _settled(handler(last)), last)
    elif len(ports) == 1:
        for last in queues[ports[0]]:
            context.keep(await _settled(process(last)), last)
    else:
        for row in _rows(node, queues, context.stage):
            last = row.message
            context.keep(await _settled(process(**(row.arguments or {}))), last)
    context.keep(await _settled(node.flush()), last)


def _rows(node: Node, queues: Mapping[str, Sequence[Message]], stage: str) -> Iterator[Joined]:
    """The i-th of each together; or where the node has a join, as a run without a clock has them."""
    if node.join is None:
        for row in zip(*queues.values(), strict=False):
            yield Joined(row[0], dict(zip(queues, row, strict=True)), row)
        return
    join = node.join
    decider: InOrder[Message] = InOrder(join.decider(list(queues)), list(queues), join.queue_size)
    for name, queue in queues.items():
        for message in queue:
            decider.offer(name, message, 0)
    for name in queues:
        decider.end(name, 0)
    while (made := decider.ready(0)) is not None:
        yield joined(made, join, stage)


def _batches(queue: Sequence[Message], size_max: int | None, *, is_stateful: bool) -> Iterator[list[Message]]:
    """In the order of arrival: a batch is closed by the first that has no place in it."""
    batch: list[Message] = []
    for message in queue:
        is_taken = is_stateful and any(message.stream == other.stream for other in batch)
        if batch and (is_taken or len(batch) == size_max):
            yield batch
            batch = []
        batch.append(message)
    if batch:
        yield batch


def _queues(node: Node, inputs: Inputs | Mapping[str, Inputs], stage: str) -> dict[str, list[Message]]:
    """The messages for each port, in order, as the node would receive them."""
    ports = node.inputs()
    subject = f"drive({type(node).__name__})"
    if not ports:
        raise Fault(subject, "neither run() nor an In port", "a source or an input")
    by_port = inputs if isinstance(inputs, Mapping) else {next(iter(ports)): inputs}
    for name in by_port:
        if name not in ports:
            close = difflib.get_close_matches(name, ports, 1)
            hint = f"did you mean {close[0]}?" if close else ""
            raise Fault(subject, f"no input {name}", f"one of {', '.join(ports)}", hint)
    if hasattr(node, "process") and len(by_port) < len(ports):
        found = f"nothing for {', '.join(name for name in ports if name not in by_port)}"
        raise Fault(subject, found, f"a mapping of {', '.join(ports)}, for process takes them together")
    queues: dict[str, list[Message]] = {}
    for name, items in by_port.items():
        expected = ports[name].type
        queues[name] = [_as_message(index, item) for index, item in enumerate(items)]
        for message in queues[name]:
            require_received(f"stage {stage}, port {name}", message, expected)
        queues[name] = [as_expected(message, expected) for message in queues[name]]
    return queues


def _as_message(index: int, item: Any) -> Message:
    if not isinstance(item, Message):
        tensors = dict(item) if isinstance(item, Mapping) else {"array": item}
        item = Message(tensors, "test", index, index * SAMPLE_PERIOD_NS)
    views = {}
    for name, value in item.tensors.items():
        view = np.asarray(value).view()
        view.flags.writeable = False
        views[name] = view
    return Message(views, item.stream, item.seq, item.event_time_ns, item.attributes)


async def _settled(value: Any) -> Any:
    return await value if inspect.isawaitable(value) else value
