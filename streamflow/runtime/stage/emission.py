"""From what user code returned to messages: one place that knows every form a result may take."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from streamflow.core.message import Message
from streamflow.core.ports import DEFAULT_TENSOR, PortType
from streamflow.device.resident import DeviceTensor
from streamflow.errors import ResultError
from streamflow.runtime.node import Output

PortTypes = Mapping[str, PortType]


def messages_of(result: Any, handled: Message, outputs: PortTypes, sent_ns: int = 0) -> Iterator[tuple[str, Message]]:
    """(port, message) for each datum in `result`, in order; lazily, so that a generator's work is interleaved.

    A result that is given another name or time keeps, as its origin, the datum that it was made from.
    Raises ResultError, one sentence, when the result is none of the forms.
    """
    if result is None:
        return
    if isinstance(result, np.ndarray) or type(result) is DeviceTensor:  # by far the most frequent
        yield _message(Output(result), handled, outputs, sent_ns)
        return
    if isinstance(result, Output):
        if result.port is None and isinstance(result.value, Mapping) and _names_ports(result.value, outputs):
            for port, value in result.value.items():
                if value is not None:
                    yield _message(replace(result, value=value, port=port), handled, outputs, sent_ns)
        else:
            yield _message(result, handled, outputs, sent_ns)
    elif isinstance(result, Mapping) and _names_ports(result, outputs):
        for port, value in result.items():
            if value is not None:
                output = value if isinstance(value, Output) else Output(value)
                yield _message(replace(output, port=port), handled, outputs, sent_ns)
    elif isinstance(result, Mapping | np.generic | int | float | complex):
        yield _message(Output(result), handled, outputs, sent_ns)
    elif isinstance(result, Iterable) and not isinstance(result, str | bytes):
        for part in result:
            yield from messages_of(part, handled, outputs, sent_ns)
    else:
        raise ResultError("", f"a {type(result).__name__} was returned", "an array, a mapping, an Output or None")


def only_output(outputs: PortTypes) -> tuple[str, str] | None:
    """The port and the tensor that a plain array is, where there is no choice; None where there is one."""
    if len(outputs) != 1:
        return None
    ((port, port_type),) = outputs.items()
    if len(port_type.tensors) > 1:
        return None
    return port, next(iter(port_type.tensors), DEFAULT_TENSOR)


def message_of(array: Any, tensor: str, handled: Message, sent_ns: int) -> Message:
    """What `messages_of` makes of a plain array where there is one output: by far the most frequent result."""
    return Message(
        {tensor: array},
        handled.stream,
        handled.seq,
        handled.event_time_ns,
        handled.attributes,
        handled.deadline_ns,
        handled.flags,
        sent_ns,
        0,
        handled.origins,
    )


def may_be_several(result: Any, outputs: PortTypes) -> bool:
    """Whether more than one message may come of it."""
    if isinstance(result, Output | Mapping):
        return len(outputs) > 1
    return not isinstance(result, np.ndarray | DeviceTensor | np.generic | int | float | complex)


def _names_ports(result: Mapping[Any, Any], outputs: PortTypes) -> bool:
    """A mapping's keys are ports where there are several; with one port they are its tensors' names."""
    if len(outputs) == 1:
        ((name, port),) = outputs.items()
        return set(result) == {name} and name not in port.tensors
    return True


def _message(output: Output, handled: Message, outputs: PortTypes, sent_ns: int) -> tuple[str, Message]:
    port = output.port
    if port is None:
        if len(outputs) != 1:
            expected = f"one of {', '.join(outputs)}" if outputs else "none: there is no Out port"
            raise ResultError("", "a result names no port", expected)
        port = next(iter(outputs))
    elif port not in outputs:
        raise ResultError("", f"'{port}' is no Out port", f"one of {', '.join(outputs) or 'none'}")
    attributes = {**handled.attributes, **output.attributes} if output.attributes else handled.attributes
    return port, Message(
        _tensors(output.value, port, outputs[port]),
        handled.stream if output.stream is None else output.stream,
        handled.seq if output.seq is None else output.seq,
        handled.event_time_ns if output.event_time_ns is None else output.event_time_ns,
        attributes,
        handled.deadline_ns,
        handled.flags | output.flags,
        sent_ns,
        0,
        handled.all_origins() if _is_renamed(output, handled) else handled.origins,
    )


def _is_renamed(output: Output, handled: Message) -> bool:
    return (
        (output.event_time_ns is not None and output.event_time_ns != handled.event_time_ns)
        or output.stream is not None
        or output.seq is not None
    )


def _tensors(value: Any, name: str, port: PortType) -> dict[str, Any]:
    if isinstance(value, Mapping):
        tensors = {str(key): _tensor(part, name, port) for key, part in value.items()}
        if set(port.tensors) <= set(tensors):
            return tensors
        found = f"a mapping of {', '.join(tensors)} returned" if tensors else "an empty mapping returned"
        if list(port.tensors) == [DEFAULT_TENSOR]:
            raise ResultError("", found, f"the array of port {name} alone, or a mapping with the key {name}")
        raise ResultError("", found, f"a mapping of {', '.join(port.tensors)}, the tensors of port {name}")
    if len(port.tensors) != 1:
        raise ResultError("", "a single array returned", f"a mapping of {', '.join(port.tensors)}")
    return {next(iter(port.tensors), DEFAULT_TENSOR): _tensor(value, name, port)}


def _tensor(value: Any, name: str, port: PortType) -> Any:
    """The array, or what stays on a device as it is."""
    if type(value) is not DeviceTensor:
        return np.asarray(value)
    if not port.on_device:
        hint = f"copy it out, or declare {name} = Out(..., on_device=True)"
        raise ResultError("", f"a {value} returned for port {name}", "an array of the host", hint)
    return value
