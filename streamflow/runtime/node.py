"""What a user writes: a `Node` with typed ports and one of `process` (per message) or `run` (a source).

A node is an ordinary object. Settings go into `__init__` (cheap: no devices, no files read whole); `inspect`
may look at the files that the settings name, to refine the ports and to complain before anything starts;
`open` and `close` run in the node's own process. Any of `open`, `process`, `flush`, `close` may be async.
"""

from __future__ import annotations

from collections.abc import Awaitable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from streamflow.core.batch import Batch
from streamflow.core.joins.contract import Join
from streamflow.core.message import Attribute, Message
from streamflow.core.ports import DEFAULT_TENSOR, PortType, parse_tensor
from streamflow.core.state_rules import StateRules
from streamflow.errors import Fault, ResultError, StateError

if TYPE_CHECKING:
    from streamflow.device.contract import Device
    from streamflow.device.resident import Tensors
    from streamflow.memory.state_layout import StateTensor
    from streamflow.runtime.stepping import Stepping
    from streamflow.runtime.stepping_elsewhere import SteppingElsewhere
    from streamflow.runtime.stream_states import StreamStates


class Port:
    """A named end on a node: one tensor (`In("float32[time]")`) or several (`Out(box="float32[n, 4]", ...)`)."""

    def __init__(
        self,
        array: str | None = None,
        /,
        *,
        rate_hz: float | str | None = None,
        on_device: bool | str = False,
        **tensors: str,
    ) -> None:
        """`rate_hz` is the sampling rate of the signal; on an `Out` a string names the `In` whose rate it keeps.

        `In()` takes whatever comes, any number of tensors of any type: for a node that writes or counts.

        `on_device`: what an `Out` sends may stay on the device where all who get it work on the same one, which
        `context.resident` says in `open`; an `In` takes it there, as a `DeviceTensor`, and NumPy arrays as ever.
        """
        takes_anything = array is None and not tensors
        if (takes_anything and not isinstance(self, In)) or (array is not None and tensors):
            raise Fault(type(self).__name__, "one unnamed tensor or several named ones", hint='In("float32[time]")')
        texts = {DEFAULT_TENSOR: array} if array is not None else tensors
        if not isinstance(on_device, bool):  # or a tensor of that name, in a mapping
            hint = "on which device a stage says: p.add(..., device=...)"
            raise Fault(type(self).__name__, f"on_device {on_device!r}", "True or False", hint)
        self.rate_from = rate_hz if isinstance(rate_hz, str) else None
        rate = None if isinstance(rate_hz, str) or rate_hz is None else float(rate_hz)
        try:
            self.type = PortType({name: parse_tensor(text) for name, text in texts.items()}, rate, on_device)
        except ValueError as error:
            raise Fault(type(self).__name__, str(error)) from None

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.type})"


class In(Port):
    """An input: what arrives here is handed to `process`, or to `process_<name>`.

    With `on_device=True` that may be a `DeviceTensor`, which is no array: `tensor.on(queue)` is one, of the device's
    `xp`, for work of that queue; or a `SlotRing` takes it (`put`), as in `nodes/infer/row_function.py`, of which
    `CupyFunction` is made. Most nodes want neither, but a function in a `CupyFunction`.
    """


class Out(Port):
    """An output: what `process` returns, or `run` emits.

    With `on_device=True` a result may stay on the device, as a `DeviceTensor` of what `context.resident` gives in
    `open`: None where it does not stay, and then arrays are returned. It changes nothing by itself.
    """


@dataclass(frozen=True, slots=True)
class Output:
    """A result that says more than its value.

    `value`: an array, or a mapping of tensor names to arrays. `port` may be left out when there is one `Out`.
    What is None is inherited from the message that was handled; `attributes` and `flags` (of `Flag`) are added to the
    inherited ones. Raises ResultError for a number that is no int (NumPy's are not).

    A source of several sensors says of each datum whose it is, `stream="left"`, and its number among those of that
    stream, `seq`, from 0, one more each time. By `stream` nodes tell apart what they keep (states, windows), and by
    `seq` what is missing. Left out, all is one stream of the source's name, counted through: with `stream` alone the
    others' data are gaps in each, and without it all sensors share one state.
    """

    value: Any
    port: str | None = None
    event_time_ns: int | None = None
    seq: int | None = None
    stream: str | None = None
    attributes: Mapping[str, Attribute] = field(default_factory=dict)
    flags: int = 0

    def __init__(
        self,
        value: Any,
        port: str | None = None,
        event_time_ns: int | None = None,
        seq: int | None = None,
        stream: str | None = None,
        attributes: Mapping[str, Attribute] | None = None,
        flags: int = 0,
    ) -> None:
        if event_time_ns is not None and type(event_time_ns) is not int:
            raise _no_int("event_time_ns", event_time_ns)
        if seq is not None and type(seq) is not int:
            raise _no_int("seq", seq)
        # As a frozen dataclass would do it, in two thirds of the time: many nodes return one for each datum.
        _set_value(self, value)
        _set_port(self, port)
        _set_event_time_ns(self, event_time_ns)
        _set_seq(self, seq)
        _set_stream(self, stream)
        _set_attributes(self, {} if attributes is None else attributes)
        _set_flags(self, flags)


def _no_int(name: str, given: object) -> ResultError:
    kind = f"{type(given).__module__}.{type(given).__qualname__}".removeprefix("builtins.")
    return ResultError("", f"{name} is a {kind}", "an int", f"write {name}=int(...)")


_set_value, _set_port, _set_event_time_ns, _set_seq, _set_stream, _set_attributes, _set_flags = (
    getattr(Output, field.name).__set__ for field in fields(Output)
)


def with_attributes(result: Any, attributes: Mapping[str, Attribute]) -> Any:
    """What a node returned, in whatever form, with these attributes on each of its results."""
    if result is None:
        return None
    if isinstance(result, Output):
        return replace(result, attributes={**result.attributes, **attributes})
    if isinstance(result, np.ndarray | Mapping | str | bytes) or not isinstance(result, Iterable):
        return Output(result, attributes=attributes)
    return [with_attributes(one, attributes) for one in result]


class Context(Protocol):
    """What the runtime lends a node while it runs; `streamflow.testing` lends the same without any process."""

    stage: str
    offline: bool
    generation: int
    """Lives of the stage before this one, in this run: 0, or more where it failed and was started again."""
    threads: int | None
    """In how many threads the stage is to compute, where it was given cpus or threads; else None."""
    states: StreamStates | None
    """What it keeps of each stream from step to step, from the end of `open` on; None where that is nothing."""
    device: Device
    """What it computes on: what its pipeline says, or the host."""
    devices: tuple[str, ...]
    """Those that its pipeline names, the best first; none where it says nothing of devices."""
    batch: Batch | None
    """How data come to `process_batch`, as was said where the stage was added, or by the node; else None."""
    device_priority: int
    """Of its queues there: the more, the more critical what it works on is."""
    recordings: Path | None
    """The folder of the run's flight recorders, a file for each stage, which anybody may read; None without a run."""

    def now_ns(self) -> int: ...
    def rate_hz(self, port: str) -> float | None: ...
    def allocate(self, shape: Sequence[int], dtype: Any) -> Any: ...
    def resident(self, port: str, shape: Sequence[int], dtype: Any) -> Tensors | None:
        """Tensors for what stays on the device; None where the output does not, or not here. To be asked for in `open`.

        Raises DeviceMemoryError where there is no room for as many as may be on their way at once.
        """

    def emit(
        self, value: Any, port: str | None, event_time_ns: int | None, attributes: Mapping[str, Attribute]
    ) -> Awaitable[None] | None:
        """A source's datum; what is still to be waited for, or None."""

    def advance(self, event_time_ns: int) -> None: ...
    async def pace(self, recorded_ns: int) -> int: ...
    async def sleep_until(self, instant_ns: int) -> None: ...


class Node:
    """Subclass it, declare ports as class attributes (or in `__init__`, where they depend on settings).

    Exactly one of:
    - `process(self, message)`: one `In` port. Returns None (absorbed), an array, a mapping, an `Output`, or
      an iterable or generator of those. With several `In` ports they arrive together, by name, as `join` says:
      `process(self, *, left, right)`; a message each, None where there is none, a tuple for each input of a window.
    - `process_batch(self, messages)`: one `In` port, several data at once, of different streams as a rule; returns a
      sequence with one result for each, in order, each as `process` returns it. Beside it a `process` is called where
      a datum is worked on by itself: where no `batch` is asked for, in batches of one, and for what is left at the end
      where batches must be full.
    - `process_<port>(self, message)` for every `In` port: each message by itself, as it comes.
    - `async run(self)`: a source; `await self.emit(array, event_time_ns=..., sample=...)` per datum.

    And, where needed: `inspect()`, `preload()`, `open()`, `flush()` (the inputs have ended; returns like `process`),
    `close()`.
    """

    live = False
    """A source whose signal cannot wait: what does not fit at once is rejected and counted, never awaited."""

    join: Join | None = None
    """How several inputs of one `process` come together: a policy of `streamflow.joins`; None: by equal event time.
    What `p.add(..., join=...)` says comes before it."""

    batch: Batch | None = None
    """How data come to `process_batch`; None: `Batch()`, or beside a `process` not at all. What `p.add(..., batch=...)`
    says comes before it."""

    stateful = True
    """Whether something is carried from one datum of a stream to the next: then no batch has two of one stream, and
    each stream keeps its order. False: any data may be in one batch."""

    stage_devices: tuple[str, ...] = ()
    """Those that `p.add(..., device=)` names for its stage, the best first; known from `inspect` on."""

    steps_on_device = False
    """True where its states are on the device and each step follows the one before it there: then a batch may have the
    next datum of a stream although the device is not done with the one before."""

    observes = False
    """True for a sink that only looks on, such as a recorder: what it gets and what it misses is on no path's account,
    and whoever sends to it alone is still where a path ends."""

    retimes = False
    """True where results are older than what the node has handled already, as behind a filter with a delay: then it
    does not promise those below, who may wait for it in a join, that nothing older comes."""

    state_rules = StateRules()
    """How many streams may have a state, and what a gap means for it, where there are `state_tensors`."""

    fork_safe = True
    """False for one that holds what a fork would break (a device or a thread from `import` or `__init__` on, such as
    CUDA): its process starts as a new interpreter each time, never as a copy of a warm one."""

    context: Context  # lent before `open`

    @property
    def generation(self) -> int:
        """Lives of the stage before this one: more than 0 where it failed, in this run, and was started again."""
        context: Context | None = getattr(self, "context", None)
        return 0 if context is None else context.generation

    # Present on the class so that a node says what it has by overriding; the actor calls only what is overridden.
    def inspect(self) -> None:
        """Look, cheaply, at what the settings name: refine ports, raise InputError. Runs when the node is added."""

    def preload(self) -> Any:
        """Import what `open` will need, and no more: no devices, no files kept open, no threads.

        Runs once in a process that is copied for every start of a stage, so that a restart need not import; it may
        never run, and `open` cannot rely on it. A thread it started would be missing in the copies (NumPy's BLAS
        starts its own again by itself).
        """

    def open(self) -> Any:
        """Acquire what is needed, in the node's own process, before anything flows.

        Raise NoDeviceError where the stage's device lacks what is needed, with nothing left acquired: it is called
        again with the next device that the pipeline names, if there is one.
        """

    def state_tensors(self) -> Sequence[StateTensor]:
        """What is to be kept of each stream from step to step; asked for once, after `open`.

        It lies in memory that survives the process, and `begin_steps` gives it: the stage's next life goes on from
        the last step that was committed.
        """
        return ()

    def device_report(self) -> Mapping[str, Any]:
        """What was measured and chosen on the device, for the report of the stage; asked for after `open`, and again
        before `close`. `streamflow.device.slots.SlotRing.told` has it."""
        return {}

    def close(self) -> Any:
        """Release it; called once after `open`, also when the run fails."""

    def flush(self) -> Any:
        """The inputs have ended: return what is still held back, as `process` does."""

    async def emit(
        self,
        value: Any,
        *,
        port: str | None = None,
        event_time_ns: int | None = None,
        **attributes: Attribute,
    ) -> None:
        """Pass one datum on (sources). Waits while a `BLOCK` edge is full, unless the node is `live`."""
        if event_time_ns is not None and type(event_time_ns) is not int:
            raise _no_int("event_time_ns", event_time_ns)
        rest = self.context.emit(value, port, event_time_ns, attributes)
        if rest is not None:
            await rest

    def allocate(self, shape: Sequence[int], dtype: Any) -> Any:
        """An array to write a large result in, before it is returned or emitted: nobody has to copy it then.

        Where it goes to other processes it lies in shared memory, and may not be written to any more once it was
        sent. What is in it at first is undefined.
        """
        return self.context.allocate(shape, dtype)

    def begin_steps(self, messages: Sequence[Message]) -> Stepping:
        """The states of these data's streams, one datum of each at most, and what each means for its state.

        Commit what followed, and return its `results`. Its `messages` are without what was stepped with before, and
        comes again, and what there is no room for; where none are left return `results(())`. Where a device makes the
        step, so that it is committed in what `OnDevice` calls, `keep_apart()` first: others are begun meanwhile. Raises
        StateError for a node that has declared no `state_tensors`.
        """
        states = self.context.states
        if states is None:
            raise StateError(type(self).__name__, "no state is kept", "state_tensors() that says which")
        return states.begin(messages)

    def begin_steps_elsewhere(self, messages: Sequence[Message]) -> SteppingElsewhere:
        """The same for a node that keeps the states of streams on a device, by their slots.

        What it commits is a snapshot, as of any step: a later life goes on from there.
        """
        states = self.context.states
        if states is None:
            raise StateError(type(self).__name__, "no state is kept", "state_tensors() that says which")
        return states.begin_elsewhere(messages, self)

    def advance(self, event_time_ns: int) -> None:
        """Promise that nothing older comes (sources): joins then do not wait for a sensor that has nothing to say."""
        if type(event_time_ns) is not int:
            raise _no_int("event_time_ns", event_time_ns)
        self.context.advance(event_time_ns)

    async def pace(self, recorded_ns: int) -> int:
        """Wait until a recorded instant is due (`--speed`) and return its event time.

        `recorded_ns` counts from the start of the recording. Offline it does not wait and returns `recorded_ns`.
        """
        return await self.context.pace(recorded_ns)

    def ports(self) -> dict[str, Port]:
        """Ports by name, in the order of declaration; those set on the instance replace the class's."""
        found: dict[str, Port] = {}
        for cls in reversed(type(self).__mro__):
            found.update({name: value for name, value in vars(cls).items() if isinstance(value, Port)})
        found.update({name: value for name, value in vars(self).items() if isinstance(value, Port)})
        return found

    def inputs(self) -> dict[str, In]:
        return {name: port for name, port in self.ports().items() if isinstance(port, In)}

    def outputs(self) -> dict[str, Out]:
        return {name: port for name, port in self.ports().items() if isinstance(port, Out)}

    @property
    def is_source(self) -> bool:
        return hasattr(self, "run")

    @property
    def has_batches(self) -> bool:
        """Whether it works on several data at once; of a port named `batch` it is the handler that has this name."""
        return hasattr(self, "process_batch") and "batch" not in self.inputs()
