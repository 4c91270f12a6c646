"""A model in an ONNX file as a node: its inputs and outputs become ports, its states stay with their streams."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib.util import find_spec
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt

from nodes.infer.onnx_binder import bind
from nodes.infer.onnx_bindings import Bindings, Settings
from nodes.infer.onnx_signature import read_signature
from nodes.infer.onnx_stepping import Stepper
from streamflow import (
    Eviction,
    In,
    InputError,
    Message,
    MissingExtraError,
    Node,
    OnGap,
    Out,
    StateRules,
    StateTensor,
)
from streamflow.core.gaps import Step, StepKind
from streamflow.core.state_rules import STREAM_COUNT
from streamflow.core.timebase import s
from streamflow.errors import StateError
from streamflow.runtime.node import Port
from streamflow.runtime.stepping import Stepping

PROVIDER = "CPUExecutionProvider"
ERRORS_ONLY = 3  # ONNX Runtime's severity; its warnings are about exporters, and would fill the user's screen


class OnnxModel(Node):
    """Runs the model in `path` once per message with ONNX Runtime on the CPU, in `threads` threads: by default in as
    many as the stage was given with `realtime`, else in one. With `process_batch` it runs once for messages of several
    streams, if the model takes a batch.

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
    stepped with again, and has no result.

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
        self._model_ports = {fed.port: In(fed.type, rate_hz=self.rate_hz) for fed in self._bindings.inputs}
        for taken in self._bindings.outputs:
            self._model_ports[taken.port] = Out(taken.type, rate_hz=taken.rate_from)

    @property
    def has_batches(self) -> bool:
        """Whether it takes data of several streams at once: by one input, and in a batch that is free."""
        return len(self._bindings.inputs) == 1 and not self._bindings.single

    def ports(self) -> dict[str, Port]:
        """Kept apart from the node's attributes: a model may call its inputs `context` or `process`."""
        return dict(self._model_ports)

    def preload(self) -> None:
        _onnxruntime()

    def open(self) -> None:
        bindings = self._bindings
        rates = [self.context.rate_hz(fed.port) for fed in bindings.inputs]
        rate_hz = next((rate for rate in rates if rate), self.rate_hz)
        constants = self._constants(bindings, rate_hz)
        self._session = _session(self.path, self.threads or self.context.threads or 1)
        self._names = [state.output for state in bindings.states] + [taken.name for taken in bindings.outputs]
        self._stepper = Stepper(bindings, constants, rate_hz, repeats=self.state_rules.on_gap is OnGap.REPEAT)
        self.state_rules = replace(self.state_rules, period_ns=_period_ns(bindings, rates))
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
        arrays = [
            np.zeros([size or 1 for size in fed.shape], fed.dtype)
            for fed in self._bindings.inputs
            if fed.shape is not None and None not in fed.shape
        ]
        if len(arrays) == len(self._bindings.inputs):
            carried = [_side_by_side(tensor) for tensor in self._stepper.tensors]
            feed = self._stepper.feed([arrays], carried, [Message({})], [Step(StepKind.START)])
            self._session.run(self._names, feed)

    def process(self, message: Message | None = None, /, **joined: Message) -> Any:
        if message is not None:
            return self._results([message], [[message.array]])[0]
        messages = [joined[fed.port] for fed in self._bindings.inputs]
        return self._results([messages[0]], [[part.array for part in messages]])[0]

    def process_batch(self, messages: Sequence[Message]) -> list[Any]:
        """A result for each message, of which no two are of one stream; arrays of other shapes go in runs of their own.

        Raises InputError where the model takes one at a time.
        """
        bindings = self._bindings
        if len(bindings.inputs) > 1:
            raise InputError(self.path, "a batch for several inputs", "one input, or one message of each at a time")
        if len(messages) > 1 and bindings.single:
            raise InputError(self.path, f"a batch of {len(messages)}", "1 at a time", bindings.single)
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

    def _results(self, messages: Sequence[Message], rows: Sequence[Sequence[npt.NDArray[Any]]]) -> list[Any]:
        """For each message, with what its inputs are in the row of the same place."""
        if not self._stepper.tensors:
            return self._run(rows, (), messages, [Step(StepKind.STEP)] * len(rows))[0]
        stepping = self.begin_steps(messages)
        if not stepping.messages:
            return stepping.results(())
        if len(stepping.messages) < len(messages):
            coming = {id(message) for message in stepping.messages}
            rows = [row for row, message in zip(rows, messages, strict=True) if id(message) in coming]
        self._repeat(stepping)
        results, following = self._run(rows, stepping.arrays, stepping.messages, stepping.steps)
        stepping.commit(following)
        return stepping.results(results)

    def _repeat(self, stepping: Stepping) -> None:
        """Step with the last input in place of what is missing, each stream by itself: no gap is as long as another."""
        for nth, step in enumerate(stepping.steps):
            if not step.repeat_count:
                continue
            carried = [row[...] for row in stepping.rows(nth)]
            before = self._stepper.before(carried)
            for _ in range(step.repeat_count):
                _, following = self._run([before], carried, [Message({})], [step])
                carried = [array.copy() for array in following]  # some are views of what the next step is made in
            for row, array in zip(stepping.rows(nth), carried, strict=True):
                row[...] = array

    def _run(
        self,
        rows: Sequence[Sequence[npt.NDArray[Any]]],
        carried: Sequence[npt.NDArray[Any]],
        messages: Sequence[Message],
        steps: Sequence[Step],
    ) -> tuple[list[Any], list[npt.NDArray[Any]]]:
        """A result for each row, and what the streams carry after it."""
        returned = self._session.run(self._names, self._stepper.feed(rows, carried, messages, steps))
        results = self._sent(returned[len(self._bindings.states) :], len(rows))
        return results, self._stepper.following(returned, rows, carried)

    def _sent(self, returned: Sequence[npt.NDArray[Any]], count: int) -> list[Any]:
        """Of each of so many streams its arrays, by port where there are several."""
        if count == 1 and len(returned) == 1 and self._bindings.outputs[0].batched and len(returned[0]) == 1:
            return [returned[0][0]]
        found: list[dict[str, npt.NDArray[Any]]] = [{} for _ in range(count)]
        for taken, array in zip(self._bindings.outputs, returned, strict=True):
            if taken.batched and array.shape[0] != count:
                shape, hint = list(array.shape), f"say batched={{'{taken.name}': False}}"
                raise InputError(self.path, f"output '{taken.name}' came as {shape}", f"a batch of {count}", hint)
            for nth, own in enumerate(found):
                own[taken.port] = array[nth] if taken.batched else array
        if len(self._bindings.outputs) > 1:
            return list(found)
        return [array for own in found for array in own.values()]


def _period_ns(bindings: Bindings, rates: Sequence[float | None]) -> int:
    """From one datum to the next, where they are chunks of a known length of a signal of a known rate; else 0."""
    for fed, rate_hz in zip(bindings.inputs, rates, strict=True):
        size = fed.shape[fed.time_axis] if fed.shape and fed.has_time else None
        if rate_hz and size:
            return round(size * s / rate_hz)
    return 0


def _side_by_side(tensor: StateTensor) -> npt.NDArray[Any]:
    """What a new stream has, in a batch of one."""
    shape = tensor.shape if tensor.batch_axis is None else tensor.shape_of(1)
    return np.zeros(shape, tensor.dtype) if tensor.initial is None else tensor.initial.reshape(shape)


def _session(path: str, threads: int) -> Any:
    """An InferenceSession that computes in `threads` threads and leaves the core when it waits."""
    onnxruntime = _onnxruntime()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = ERRORS_ONLY
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        session = onnxruntime.InferenceSession(path, options, providers=[PROVIDER])
    except Exception as error:  # onnxruntime's own exceptions have no common class but this
        reason = str(error).partition("\n")[0]
        raise InputError(path, f"ONNX Runtime cannot load it ({reason})", "a model it can run") from error
    if session.get_providers() != [PROVIDER]:
        raise InputError(path, f"runs on {', '.join(session.get_providers())}", PROVIDER)
    return session


def _onnxruntime() -> ModuleType:
    # From 1.29 on its import would report to Microsoft and leave a file in the temporary folder.
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    import onnxruntime

    module: ModuleType = onnxruntime
    return module
