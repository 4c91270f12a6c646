"""Whether a datum is of its port's type, in the one sentence that says why not; and how a node is handed it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from streamflow.core.message import Message, with_tensors
from streamflow.core.ports import PortType, TensorType, fits
from streamflow.errors import PortError, WireError
from streamflow.wire.arrays import describe, dtype_name

KNOWN_FORM_LIMIT = 4096  # dtypes and shapes remembered per stage; more means every message is new, and is checked


class Conformity:
    """Of the messages of one stage to the types of its ports; a form that passed once passes at once."""

    def __init__(self, stage: str, inputs: Mapping[str, PortType], outputs: Mapping[str, PortType]) -> None:
        self._stage = stage
        self._inputs = inputs
        self._outputs = outputs
        self._known_forms: set[Any] = set()
        self._last_received: dict[str, tuple[str, Any, Any]] = {}  # of a port: name, dtype, shape of an only tensor
        self._last_sent: dict[str, tuple[str, Any, Any]] = {}

    def received(self, port: str, message: Message) -> Message:
        """The message as the node expects it: of the port's type, its only tensor under the port's name for it."""
        tensors = message.tensors
        last = self._last_received.get(port)
        if last is not None and len(tensors) == 1:
            name, dtype, shape = last
            array = tensors.get(name)
            if array is not None and array.dtype is dtype and array.shape == shape:
                return message
        expected = self._inputs[port]
        self._require(require_received, port, message, expected)
        found = as_expected(message, expected)
        if found is message:
            self._remember(self._last_received, port, message)
        return found

    def require_sent(self, port: str, message: Message) -> None:
        """Raise PortError where it is not of the port's type, or cannot be sent at all."""
        tensors = message.tensors
        last = self._last_sent.get(port)
        if last is not None and len(tensors) == 1:
            name, dtype, shape = last
            array = tensors.get(name)
            if array is not None and array.dtype is dtype and array.shape == shape:
                return
        self._require(require_sent, port, message, self._outputs[port])
        self._remember(self._last_sent, port, message)

    def _remember(self, last: dict[str, tuple[str, Any, Any]], port: str, message: Message) -> None:
        """The next is most likely of the same form, which then is seen at a tenth of the cost."""
        if len(message.tensors) == 1:
            ((name, array),) = message.tensors.items()
            last[port] = name, array.dtype, array.shape

    def _require(
        self, rule: Callable[[str, Message, PortType], None], port: str, message: Message, expected: PortType
    ) -> None:
        form = port, *[(name, array.dtype, array.shape) for name, array in message.tensors.items()]
        if form in self._known_forms:
            return
        rule(f"stage {self._stage}, port {port}", message, expected)
        if len(self._known_forms) < KNOWN_FORM_LIMIT:
            self._known_forms.add(form)


def require_sent(subject: str, message: Message, expected: PortType) -> None:
    """Raise PortError where what a node sends is not of its Out port's type, or cannot be sent at all."""
    for array, tensor in _pairs(subject, message, expected, "sent"):
        if not fits(dtype_name(array.dtype), array.shape, tensor):
            raise PortError(subject, f"{_type_of(array)} sent", str(tensor), _cast(array, tensor))
    _require_plain(subject, message)


def require_received(subject: str, message: Message, expected: PortType) -> None:
    """Raise PortError where what a node is to be handed is not of its In port's type."""
    for array, tensor in _pairs(subject, message, expected, "received"):
        if not fits(dtype_name(array.dtype), array.shape, tensor):
            raise PortError(subject, f"{_type_of(array)} received", str(tensor))
    _require_plain(subject, message)


def as_expected(message: Message, expected: PortType) -> Message:
    """The message with its only tensor under the port's name for it."""
    if len(expected.tensors) == 1 and len(message.tensors) == 1:
        (name,) = expected.tensors
        ((sent_name, array),) = message.tensors.items()
        if name != sent_name:
            return with_tensors(message, {name: array})
    return message


def _pairs(subject: str, message: Message, expected: PortType, verb: str) -> list[tuple[Any, TensorType]]:
    """Each tensor beside its type; a single one goes with a single one whatever they are called."""
    if len(expected.tensors) == 1 and len(message.tensors) == 1:
        return [(*message.tensors.values(), *expected.tensors.values())]
    if not set(expected.tensors) <= set(message.tensors):
        raise PortError(subject, f"tensors {', '.join(message.tensors)} {verb}", str(expected))
    return [(message.tensors[name], tensor) for name, tensor in expected.tensors.items()]


def _type_of(array: Any) -> str:
    return f"{dtype_name(array.dtype)}{list(array.shape)}"


def _cast(array: Any, tensor: TensorType) -> str:
    """How to write the number type that the port wants, where only the precision is wrong; else nothing."""
    shape_alone = TensorType(frozenset(), tensor.dimensions)
    if len(tensor.dtypes) != 1 or array.dtype.kind not in "iufc" or not fits("", array.shape, shape_alone):
        return ""
    (name,) = tensor.dtypes
    if np.dtype(name).kind not in "iufc" or not np.can_cast(array.dtype, name, "same_kind"):
        return ""
    return f"write np.{name}(...)" if array.ndim == 0 else f"add .astype(np.{name})"


def _require_plain(subject: str, message: Message) -> None:
    for array in message.tensors.values():
        try:
            describe(array)
        except WireError as error:
            raise PortError(subject, error.found, error.expected, error.hint) from None
