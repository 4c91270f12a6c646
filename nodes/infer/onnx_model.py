"""A model in an ONNX file as a node: its inputs and outputs become ports, its states stay with their streams."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt

from nodes.infer.onnx_binder import bind
from nodes.infer.onnx_bindings import Bindings, Settings
from nodes.infer.onnx_signature import read_signature
from nodes.infer.recurrent_state import RecurrentState
from nodes.kernels.streams import PerStream
from streamflow import In, InputError, Message, MissingExtraError, Node, Out
from streamflow.runtime.node import Port

PROVIDER = "CPUExecutionProvider"
ERRORS_ONLY = 3  # ONNX Runtime's severity; its warnings are about exporters, and would fill the user's screen


class OnnxModel(Node):
    """Runs the model in `path` once per message with ONNX Runtime on the CPU, in `threads` threads: by default in as
    many as the stage was given with `realtime`, else in one.

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

    Raises InputError, before the start, for a file that is no ONNX model or not one that fits these settings.
    """

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
        )
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
        self._model_ports = {fed.port: In(fed.type, rate_hz=self.rate_hz) for fed in self._bindings.inputs}
        for taken in self._bindings.outputs:
            self._model_ports[taken.port] = Out(taken.type, rate_hz=taken.rate_from)

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
        self._streams = PerStream(lambda: RecurrentState(bindings, constants, rate_hz))
        self._warm_up(RecurrentState(bindings, constants, rate_hz))

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

    def _warm_up(self, scratch: RecurrentState) -> None:
        """The first run allocates what later ones reuse; made on a state of its own, where sizes are known."""
        arrays = [
            np.zeros([size or 1 for size in fed.shape], fed.dtype)
            for fed in self._bindings.inputs
            if fed.shape is not None and None not in fed.shape
        ]
        if len(arrays) == len(self._bindings.inputs):
            self._session.run(self._names, scratch.prepare(arrays, Message({})))

    def process(self, message: Message | None = None, /, **joined: Message) -> Any:
        if message is None:
            messages = [joined[fed.port] for fed in self._bindings.inputs]
            message = messages[0]
            arrays = [part.array for part in messages]
        else:
            arrays = [message.array]
        carried = self._streams[message.stream]
        results = self._session.run(self._names, carried.prepare(arrays, message))
        state_count = len(self._bindings.states)
        carried.commit(results[:state_count], message)
        return self._sent(results[state_count:])

    def state(self, stream: str) -> dict[str, npt.NDArray[Any]]:
        """A copy of what a stream carries: state tensors and context samples, by the model's input names."""
        return self._streams[stream].arrays()

    def close(self) -> None:
        self._session = None

    def _sent(self, results: Sequence[npt.NDArray[Any]]) -> Any:
        arrays = {}
        for taken, array in zip(self._bindings.outputs, results, strict=True):
            if taken.batched:
                if array.shape[0] != 1:
                    raise InputError(
                        self.path,
                        f"output '{taken.name}' came as {list(array.shape)}",
                        "a batch of 1",
                        f"say batched={{'{taken.name}': False}}",
                    )
                array = array[0]
            arrays[taken.port] = array
        return arrays if len(arrays) > 1 else array


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
