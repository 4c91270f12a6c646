"""A model in an ONNX file as a node: its inputs and outputs become ports, its states stay with their streams."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Iterator, Mapping, Sequence
from dataclasses import replace
from importlib.util import find_spec
from typing import Any

import numpy as np
import numpy.typing as npt

from nodes.infer.onnx_binder import bind
from nodes.infer.onnx_bindings import Bindings, Settings
from nodes.infer.onnx_device import DeviceModel, require_rows
from nodes.infer.onnx_session import onnxruntime, session_on_cpu
from nodes.infer.onnx_signature import read_signature
from nodes.infer.onnx_stepping import Stepper
from streamflow import (
    DeviceTensor,
    Eviction,
    In,
    InputError,
    Message,
    MissingExtraError,
    Node,
    OnDevice,
    OnGap,
    Out,
    StateRules,
    StateTensor,
)
from streamflow.core.gaps import Step, StepKind
from streamflow.core.state_rules import STREAM_COUNT
from streamflow.core.timebase import s
from streamflow.device.resident import Tensors
from streamflow.device.slots import Slot
from streamflow.errors import StateError
from streamflow.runtime.node import Port
from streamflow.runtime.stepping import Stepping

Rows = Sequence[Sequence[Any]]
"""For each stream arrays that face the model's inputs; on a device tensors may be there already."""


class OnnxModel(Node):
    """Runs the model in `path` once per message with ONNX Runtime on the CPU, in `threads` threads: by default in as
    many as the stage was given with `realtime`, else in one. With `process_batch` it runs once for messages of several
    streams, if the model takes a batch.

    On a device where its stage has one: `p.add("vad", OnnxModel(path), device=["cuda:0", "host"])` is the one place
    where that is said. On a GPU by ONNX Runtime's CUDA provider (onnxruntime-gpu, in place of onnxruntime); where that
    is missing the next device is taken, or the run ends with that sentence: never the CPU unsaid. `host` is a thread
    beside the loop. There sizes must be known (`sizes`), and those of the outputs follow from them; states go in and
    come out with each step. Between stages that work on one device data stay there, but for inputs of
    which something is kept or added: `context`, `dt`, REPEAT.

    Each input that is neither state, constant nor dt is an In port, each output that is no state an Out port,
    named as in the model ('input.1' becomes input_1), of the dtype and shape that the model declares, without
    the batch axis: a message carries one sample of a stream (`nodes.infer.onnx_binder` has the rule;
    `batched` overrules it, `batched=False` for a model that takes no batch). Several In ports are joined by
    event time.

    - `state`: {input: output that is its next value}. Kept per stream; zeros at the start or `initial`
      {input: array}. `batch_axis` (one, or {input: axis}) tells which free axis is the batch where that is
      not its only one.
    - `context`: {input: n}: the newest n samples of the chunk before are carried in front (zeros at the start).
    - `constants`: {input: value}. An integer scalar input `sr` that nobody binds gets the sampling rate.
    - `dt`: the input, or (input, column of its last axis), that gets the recorded seconds since the datum
      before: from the attribute `time_s`, else the event time. In a chunk every sample has its own; a stream's
      first gets a period of the signal (0 where no rate is known). The port lacks that column.
    - `rate_hz`: the sampling rate that the signal inputs need, checked before the start.
    - `sizes`: free dimensions, by the name they have in the ports' types, that are fixed here: {"time": 512}.
    - `outputs`: the outputs wanted, or {output: port name}.

    States and context are the runtime's: after a crash each stream goes on from its last step. Where data of a stream
    are missing, because they were dropped, shed or lost:

    - `on_gap`: FREEZE goes on as if they had never been (the default); REPEAT steps with the last input in place of
      each; TRUE_DT tells the model the time that has passed (the default with `dt`).
    - `max_gap`: beyond so many ns of recorded time from one datum to the next the state is reset.
    - `stride`: from one datum's number to the next one's, where not all of a source come here; 0: numbers do not tell
      what is missing, but the time does, where the rate is known and the size of a chunk.
    - `streams_max`: how many streams may have a state; `eviction` says whether another one is refused, or gets the
      slot of who was not stepped with for longest, at least for `idle` ns.

    A result behind a gap has the attributes `gap`, how many data were missing, and `gap_action`, what was done: the
    name of one of these, `reset`, or `start` where the stream has begun without them. A datum that comes again is not
    stepped with again, and has no result. One that leaves a state that is not a number (NaN) counts as missing to the
    next; its own result says `nan_state`.

    Raises InputError, before the start, for a file that is no ONNX model or not one that fits these settings.
    """

    stateful = True
    """Whether anything is carried from one datum of a stream to the next; known when the model was looked at."""

    def __init__(
        self,
        path: str | os.PathLike[str],
        state: Mapping[str, str] | None = None,
        context: Mapping[str, int] | None = None,
        constants: Mapping[str, Any] | None = None,
        dt: str | tuple[str, int] | None = None,
        rate_hz: float | None = None,
        *,
        initial: Mapping[str, Any] | None = None,
        batch_axis: int | Mapping[str, int] | None = None,
        batched: bool | Mapping[str, bool] | None = None,
        sizes: Mapping[str, int] | None = None,
        outputs: Sequence[str] | Mapping[str, str] | None = None,
        threads: int | None = None,
        on_gap: OnGap | None = None,
        max_gap: int | None = None,
        stride: int | None = None,
        streams_max: int = STREAM_COUNT,
        eviction: Eviction = Eviction.REFUSE,
        idle: int = 0,
    ) -> None:
        if threads is not None and threads < 1:
            raise InputError("OnnxModel(threads)", f"{threads}", "at least 1")
        self.path = os.fspath(path)
        self.rate_hz = rate_hz
        self.threads = threads
        self._settings = Settings(
            dict(state or {}),
            dict(initial or {}),
            dict(context or {}),
            dict(constants or {}),
            (dt, None) if isinstance(dt, str) else dt,
            batch_axis,
            batched,
            dict(sizes or {}),
            outputs,
            on_gap is OnGap.REPEAT,
        )
        if on_gap is None:
            on_gap = OnGap.FREEZE if dt is None else OnGap.TRUE_DT
        elif on_gap is OnGap.TRUE_DT and dt is None:
            raise InputError("OnnxModel(on_gap)", "TRUE_DT for a model that is not told the time", "dt=...")
        try:
            self.state_rules = StateRules(
                on_gap, max_gap, stride=stride, stream_count_max=streams_max, eviction=eviction, idle_ns=idle
            )
        except StateError as error:
            raise InputError(f"OnnxModel: {error.subject}", error.found, error.expected, error.hint) from None
        self._model_ports: dict[str, Port] = {}
        self._session: Any = None
        self._device_model: DeviceModel | None = None
        self._resident: dict[str, Tensors] = {}
        """By the name of an output that stays on the device."""

    def inspect(self) -> None:
        """Read the file's signature, not its weights."""
        if find_spec("onnxruntime") is None:
            raise MissingExtraError("OnnxModel", "onnxruntime", "onnx")
        try:
            signature = read_signature(self.path)
        except OSError as error:
            raise InputError(self.path, f"cannot be read ({error.strerror})", "an ONNX model") from None
        except ValueError as error:
            raise InputError(self.path, str(error), "an ONNX model") from None
        self._bindings = bind(signature, self._settings, self.path)
        self.stateful = bool(self._settings.state or self._settings.context or self._settings.dt)
        on_device = bool(self.stage_devices)
        self._model_ports = {}
        for fed in self._bindings.inputs:
            stays = on_device and fed.is_plain and not self._settings.repeats  # else the host has to have it
            self._model_ports[fed.port] = In(fed.type, rate_hz=self.rate_hz, on_device=stays)
        for taken in self._bindings.outputs:
            self._model_ports[taken.port] = Out(taken.type, rate_hz=taken.rate_from, on_device=on_device)

    @property
    def has_batches(self) -> bool:
        """Whether it takes data of several streams at once: by one input, and in a batch that is free."""
        return len(self._bindings.inputs) == 1 and not self._bindings.single

    def ports(self) -> dict[str, Port]:
        """Kept apart from the node's attributes: a model may call its inputs `context` or `process`."""
        return dict(self._model_ports)

    def preload(self) -> None:
        onnxruntime()

    def open(self) -> None:
        bindings = self._bindings
        rates = [self.context.rate_hz(fed.port) for fed in bindings.inputs]
        rate_hz = next((rate for rate in rates if rate), self.rate_hz)
        constants = self._constants(bindings, rate_hz)
        self._names = [state.output for state in bindings.states] + [taken.name for taken in bindings.outputs]
        self._stepper = Stepper(bindings, constants, rate_hz, repeats=self.state_rules.on_gap is OnGap.REPEAT)
        self.state_rules = replace(self.state_rules, period_ns=_period_ns(bindings, rates))
        threads = self.threads or self.context.threads or 1
        if self.context.devices:
            self._device_model = model = self._on_device(threads, constants)
            try:
                self._resident = dict(self._staying(model))
            except BaseException:
                self.close()
                raise
        else:
            self._session = session_on_cpu(self.path, threads)
            self._warm_up()

    def state_tensors(self) -> tuple[StateTensor, ...]:
        return self._stepper.tensors

    def _constants(self, bindings: Bindings, rate_hz: float | None) -> dict[str, npt.NDArray[Any]]:
        constants = dict(bindings.constants)
        if bindings.rate is not None:
            name = bindings.rate.name
            if rate_hz is None or rate_hz != round(rate_hz):
                found = "no sampling rate is known" if rate_hz is None else f"a sampling rate of {rate_hz:g} Hz"
                raise InputError(self.path, f"{found} for input '{name}'", "a whole number of Hz",
                                 f"say rate_hz=..., or constants={{'{name}': ...}}")  # fmt: skip
            constants[name] = np.full((1,) if bindings.rate.shape else (), round(rate_hz), bindings.rate.dtype)
        return constants

    def _warm_up(self) -> None:
        """The first run allocates what later ones reuse; made on a state of its own, where sizes are known."""
        if all(fed.has_known_sizes for fed in self._bindings.inputs):
            self._session.run(self._names, self._stepper.first_feed())

    def _on_device(self, threads: int, constants: Mapping[str, npt.NDArray[Any]]) -> DeviceModel:
        bindings, context = self._bindings, self.context
        for fed in bindings.inputs:
            if not fed.has_known_sizes:
                hint = f"on {context.device.name} buffers are made once: sizes={{...}} says what a free one is"
                raise InputError(self.path, f"input '{fed.name}' takes {fed.type}", "known sizes", hint)
        inputs: dict[str, int | None] = {fed.name: 0 if fed.batched else None for fed in bindings.inputs}
        inputs |= {state.input: state.batch_axis for state in bindings.states}
        if bindings.step is not None:
            inputs[bindings.step_name] = None
        outputs: dict[str, int | None] = {state.output: state.batch_axis for state in bindings.states}
        outputs |= {taken.name: 0 if taken.batched else None for taken in bindings.outputs if taken.name not in outputs}
        rows_max = context.batch.size_max if context.batch is not None and not bindings.single else 1
        feed = self._stepper.first_feed()
        priority = context.device_priority
        return DeviceModel(self.path, threads, context.device, feed, constants, inputs, outputs, rows_max, priority)

    def _staying(self, model: DeviceModel) -> Iterator[tuple[str, Tensors]]:
        """What is a state too is copied out in any case."""
        states = {state.output for state in self._bindings.states}
        for taken in self._bindings.outputs:
            if taken.name not in states:
                found = self.context.resident(taken.port, *model.row_of(taken.name))
                if found is not None:
                    yield taken.name, found

    def process(self, message: Message | None = None, /, **joined: Message) -> Any:
        messages = [message] if message is not None else [joined[fed.port] for fed in self._bindings.inputs]
        rows = [[part.array for part in messages]]
        if self._device_model is not None:
            return _first_of(self._results_on_device(self._device_model, messages[:1], rows))
        return self._results(messages[:1], rows)[0]

    def process_batch(self, messages: Sequence[Message]) -> Any:
        """A result for each message, of which no two are of one stream; arrays of other shapes go in runs of their own.

        Raises InputError where the model takes one at a time.
        """
        bindings = self._bindings
        if len(bindings.inputs) > 1:
            raise InputError(self.path, "a batch for several inputs", "one input, or one message of each at a time")
        if len(messages) > 1 and bindings.single:
            raise InputError(self.path, f"a batch of {len(messages)}", "1 at a time", bindings.single)
        if self._device_model is not None:
            return self._results_on_device(self._device_model, messages, [[one.array] for one in messages])
        alike: dict[tuple[int, ...], list[int]] = {}
        for nth, message in enumerate(messages):
            alike.setdefault(message.array.shape, []).append(nth)
        results: list[Any] = [None] * len(messages)
        for places in alike.values():
            group = [messages[nth] for nth in places]
            for nth, result in zip(places, self._results(group, [[one.array] for one in group]), strict=True):
                results[nth] = result
        return results

    def state(self, stream: str) -> dict[str, npt.NDArray[Any]]:
        """A copy of what a stream carries: state tensors and context samples, by the model's input names; without the
        batch axis where the model has put one in front of the samples."""
        states = self.context.states
        found = {} if states is None else states.arrays(stream)
        for fed in self._bindings.inputs:
            if fed.context and fed.batched:
                found[fed.name] = found[fed.name][0]
        return found

    def close(self) -> None:
        self._session = None
        if self._device_model is not None:
            self._device_model.close()
            self._device_model = None

    def _results(self, messages: Sequence[Message], rows: Rows) -> list[Any]:
        """For each message, with what its inputs are in the row of the same place."""
        if not self._stepper.tensors:
            return self._run(rows, (), messages, [Step(StepKind.STEP)] * len(rows))[0]
        stepping = self.begin_steps(messages)
        if not stepping.messages:
            return stepping.results(())
        rows = _stepped_with(stepping, messages, rows)
        for repeat in self._stepper.repeats(stepping):
            _, repeat.following = self._run(repeat.rows, repeat.carried, [Message({})], [repeat.step])
        results, following = self._run(rows, stepping.arrays, stepping.messages, stepping.steps)
        stepping.commit(following)
        return stepping.results(results)

    def _run(
        self,
        rows: Rows,
        carried: Sequence[npt.NDArray[Any]],
        messages: Sequence[Message],
        steps: Sequence[Step],
    ) -> tuple[list[Any], list[npt.NDArray[Any]]]:
        """A result for each row, and what the streams carry after it."""
        feed = self._stepper.feed(rows, carried, messages, steps)
        returned = self._session.run(self._names, feed)
        results = self._sent(returned[len(self._bindings.states) :], len(rows))
        return results, self._stepper.following(feed, returned, rows, carried)

    def _results_on_device(self, model: DeviceModel, messages: Sequence[Message], rows: Rows) -> Any:
        """The same list, to be awaited where something is left to be done."""
        if self._is_to_be_brought(model, rows):
            return self._bring(model, messages, rows)
        if not self._stepper.tensors:
            steps = [Step(StepKind.STEP)] * len(rows)
            with model.slot() as slot:
                return self._give(model, slot, rows, (), messages, steps, self._resident).then(lambda made: made[0])
        stepping = self.begin_steps(messages)
        if not stepping.messages:
            return stepping.results(())
        stepping.keep_apart()
        rows = _stepped_with(stepping, messages, rows)
        if any(step.repeat_count for step in stepping.steps):
            return self._give_repeats(model, stepping, rows)
        with model.slot() as slot:
            return self._give_step(model, slot, stepping, rows)

    def _is_to_be_brought(self, model: DeviceModel, rows: Rows) -> bool:
        places = [nth for nth, fed in enumerate(self._bindings.inputs) if model.is_read_on_host(fed.name)]
        return any(type(row[nth]) is DeviceTensor for row in rows for nth in places)

    async def _bring(self, model: DeviceModel, messages: Sequence[Message], rows: Rows) -> list[Any]:
        """What the model reads on the host, and where it reads it is known only when it is loaded, is waited for."""
        there = [[await model.on_host(one) if type(one) is DeviceTensor else one for one in row] for row in rows]
        found = self._results_on_device(model, messages, there)
        results: list[Any] = found if isinstance(found, list) else await found
        return results

    async def _give_repeats(self, model: DeviceModel, stepping: Stepping, rows: Rows) -> list[Any]:
        with model.slot() as slot:
            for repeat in self._stepper.repeats(stepping):
                given = self._give(model, slot, repeat.rows, repeat.carried, [Message({})], [repeat.step], {})
                _, repeat.following = await given
            results: list[Any] = await self._give_step(model, slot, stepping, rows)
            return results

    def _give_step(self, model: DeviceModel, slot: Slot, stepping: Stepping, rows: Rows) -> OnDevice:
        """Committed when the device is done with it: of what fails there no step was made."""

        def step(made: tuple[list[Any], list[npt.NDArray[Any]]]) -> list[Any]:
            results, following = made
            stepping.commit(following)
            return stepping.results(results)

        given = self._give(model, slot, rows, stepping.arrays, stepping.messages, stepping.steps, self._resident)
        return given.then(step)

    def _give(
        self,
        model: DeviceModel,
        slot: Slot,
        rows: Rows,
        carried: Sequence[npt.NDArray[Any]],
        messages: Sequence[Message],
        steps: Sequence[Step],
        resident: Mapping[str, Tensors],
    ) -> OnDevice:
        """A run, as `_run` makes it. `resident`: of outputs that are to stay on the device."""
        feed, count = self._stepper.assembled(rows, carried, messages, steps), len(rows)
        inputs = enumerate(self._bindings.inputs)
        plain = {fed.name: [row[nth] for row in rows] for nth, fed in inputs if fed.is_plain}
        stays = {name: found for name, ring in resident.items() if (found := ring.take_all(count)) is not None}
        given = model.run(slot, feed, plain, count, stays)

        def made() -> tuple[list[Any], list[npt.NDArray[Any]]]:
            slot.let_go()
            states = [given.outputs[state.output] for state in self._bindings.states]
            sent = [  # copies: the slot is written over
                stays[taken.name] if taken.name in stays else given.outputs[taken.name].copy()
                for taken in self._bindings.outputs
            ]
            return self._sent(sent, count), self._stepper.following(given.inputs, states, rows, carried)

        return OnDevice(given.ticket, made)

    def _sent(self, returned: Sequence[npt.NDArray[Any] | Sequence[DeviceTensor]], count: int) -> list[Any]:
        """Of each of so many streams its arrays, by port where there are several."""
        if count == 1 and len(returned) == 1 and self._bindings.outputs[0].batched and len(returned[0]) == 1:
            return [returned[0][0]]
        found: list[dict[str, Any]] = [{} for _ in range(count)]
        for taken, array in zip(self._bindings.outputs, returned, strict=True):
            is_whole = isinstance(array, np.ndarray) and not taken.batched
            if isinstance(array, np.ndarray):
                require_rows(self.path, taken.name, array, 0 if taken.batched else None, count)
            for nth, own in enumerate(found):
                own[taken.port] = array if is_whole else array[nth]
        if len(self._bindings.outputs) > 1:
            return list(found)
        return [array for own in found for array in own.values()]


def _stepped_with(stepping: Stepping, messages: Sequence[Message], rows: Rows) -> Rows:
    """Those of the messages that are to be stepped with."""
    if len(stepping.messages) == len(messages):
        return rows
    coming = {id(message) for message in stepping.messages}
    return [row for row, message in zip(rows, messages, strict=True) if id(message) in coming]


def _first_of(results: Any) -> Any:
    """What comes of the only datum, awaited or not."""
    if isinstance(results, OnDevice):
        return results.then(lambda found: found[0])
    return results[0] if isinstance(results, list) else _first_awaited(results)


async def _first_awaited(results: Awaitable[list[Any]]) -> Any:
    return (await results)[0]


def _period_ns(bindings: Bindings, rates: Sequence[float | None]) -> int:
    """From one datum to the next, where they are chunks of a known length of a signal of a known rate; else 0."""
    for fed, rate_hz in zip(bindings.inputs, rates, strict=True):
        size = fed.shape[fed.time_axis] if fed.shape and fed.has_time else None
        if rate_hz and size:
            return round(size * s / rate_hz)
    return 0
