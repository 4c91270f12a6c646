"""What travels on a link: one msgpack header frame, and for data one frame per tensor.

Any byte strings give a packet or a WireError.
The header is an array whose first element says the kind, so that a reader knows what follows without a
schema; the order of fields is the protocol and changes only with `PROTOCOL_VERSION`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgpack

from streamflow.core.message import Message, Origin
from streamflow.errors import WireError
from streamflow.wire.arrays import buffer_of, describe, restore

PROTOCOL_VERSION = 2
HEADER_SIZE_LIMIT = 64 * 1024  # bytes; names, shapes and attributes of one message
TENSOR_COUNT_LIMIT = 64  # per message
NAME_SIZE_LIMIT = 256  # characters
ORIGIN_COUNT_LIMIT = 8  # data of sources that one message is made from; the flight recorder has room for as many
_INT64_LIMIT = 1 << 63


@dataclass(frozen=True, slots=True)
class Hello:
    """The sender introduces itself: what it speaks, which edge it is, and what it is going to send."""

    version: int
    edge: str
    schema: str
    generation: int


@dataclass(frozen=True, slots=True)
class Welcome:
    """The receiver agrees and grants its window, or that part of it for which it has room; the rest comes later."""

    credit_count: int


@dataclass(frozen=True, slots=True)
class Refuse:
    """The receiver does not agree; the reason is a sentence for people."""

    reason: str


@dataclass(frozen=True, slots=True)
class Data:
    """One datum; `number` counts the edge's data from 0."""

    number: int
    message: Message


@dataclass(frozen=True, slots=True)
class Credit:
    """The receiver has done with `count` more data: the oldest, or those of `numbers` where it serves by deadline."""

    count: int
    numbers: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Revocation:
    """Drop what was not served, up to and including `number`."""

    number: int


@dataclass(frozen=True, slots=True)
class End:
    """The stream ended after `transmitted_count` data."""

    transmitted_count: int


@dataclass(frozen=True, slots=True)
class Goodbye:
    """The receiver has served everything up to the end."""


Packet = Hello | Welcome | Refuse | Data | Credit | Revocation | End | Goodbye
_KINDS: dict[type[Packet], int] = {
    Hello: 1, Welcome: 2, Refuse: 3, Data: 4, Credit: 5, Revocation: 6, End: 7, Goodbye: 8,
}  # fmt: skip
_TYPES = {kind: packet for packet, kind in _KINDS.items()}
_DATA_KIND = _KINDS[Data]
_FIELDS: dict[type[Packet], tuple[type, ...]] = {
    Hello: (int, str, str, int), Welcome: (int,), Refuse: (str,), Credit: (int, list), Revocation: (int,), End: (int,),
    Goodbye: (),
}  # fmt: skip

Frame = bytes | memoryview


def encode(packet: Packet) -> list[Frame]:
    """The frames of a packet. Raises WireError where a datum cannot be sent."""
    if isinstance(packet, Data):
        return _encode_data(packet)
    fields = [getattr(packet, name) for name in packet.__slots__]
    return [_pack([_KINDS[type(packet)], *fields])]


def _encode_data(packet: Data) -> list[Frame]:
    message = packet.message
    if len(message.tensors) > TENSOR_COUNT_LIMIT:
        raise WireError("message", f"{len(message.tensors)} tensors", f"at most {TENSOR_COUNT_LIMIT}")
    _check_names(packet.number, message.stream, message.seq, message.event_time_ns)
    if not -_INT64_LIMIT <= message.deadline_ns < _INT64_LIMIT:
        raise WireError("message", f"deadline_ns {message.deadline_ns} is out of range", "at most 63 bits")
    if len(message.origins) > ORIGIN_COUNT_LIMIT:
        raise WireError("message", f"made from {len(message.origins)} data of sources", f"at most {ORIGIN_COUNT_LIMIT}")
    for name, value in message.attributes.items():
        if not isinstance(name, str) or not isinstance(value, int | float | str):
            raise WireError("message", f"attribute {name} is a {type(value).__name__}", "int, float, str or bool")
    tensors = [[str(name), *describe(array)] for name, array in message.tensors.items()]
    header = _pack(
        [
            _DATA_KIND,
            packet.number,
            message.stream,
            message.seq,
            message.event_time_ns,
            dict(message.attributes),
            tensors,
            message.deadline_ns,
            message.flags,
            message.sent_ns,
            message.origins,
        ]
    )
    if len(header) > HEADER_SIZE_LIMIT:
        raise WireError(
            "message",
            f"a header of {len(header):,} bytes",
            f"at most {HEADER_SIZE_LIMIT:,}",
            "send it as a tensor",
        )
    return [header, *(buffer_of(array) for array in message.tensors.values())]


def _pack(value: Any) -> bytes:
    try:
        packed = msgpack.packb(value)
    except (TypeError, ValueError, OverflowError) as error:
        raise WireError(
            "message", f"a value that has no place in a header ({error})", "int, float, str or bool"
        ) from None
    assert isinstance(packed, bytes)
    return packed


def decode(frames: Sequence[Frame], now_ns: int = 0) -> Packet:
    """The packet that `frames` are; tensors are read-only views of the frames. Raises WireError only.

    `now_ns`: when it was read, which a datum's message tells.
    """
    if not frames:
        raise WireError("packet", "no frames")
    kind, fields = _unpack_header(frames[0])
    packet_type = _TYPES.get(kind)
    if packet_type is Data:
        return _decode_data(fields, frames[1:], now_ns)
    if packet_type is None:
        raise WireError("packet", f"kind {kind}", f"1 to {len(_TYPES)}")
    if len(frames) != 1:
        raise WireError(packet_type.__name__, f"{len(frames)} frames", "1")
    expected = _FIELDS[packet_type]
    if len(fields) != len(expected) or not all(type(v) is t for v, t in zip(fields, expected, strict=True)):
        raise WireError(packet_type.__name__, "wrong fields", ", ".join(t.__name__ for t in expected) or "none")
    for value in fields:
        if type(value) is int and not 0 <= value < _INT64_LIMIT:
            raise WireError(packet_type.__name__, f"the number {value}", "a count")
        if type(value) is str and packet_type is Hello and len(value) > NAME_SIZE_LIMIT:
            raise WireError("Hello", "a name that is too long", f"at most {NAME_SIZE_LIMIT} characters")
    if packet_type is Credit:
        if not all(type(number) is int and 0 <= number < _INT64_LIMIT for number in fields[1]):
            raise WireError("Credit", "malformed numbers", "counts")
        return Credit(fields[0], tuple(fields[1]))
    packet: Packet = packet_type(*fields)
    return packet


def _unpack_header(frame: Frame) -> tuple[int, list[Any]]:
    if len(frame) > HEADER_SIZE_LIMIT:
        raise WireError("packet", f"a header of {len(frame):,} bytes", f"at most {HEADER_SIZE_LIMIT:,}")
    try:
        header = msgpack.unpackb(frame)
    except (ValueError, RecursionError) as error:
        raise WireError("packet", f"bytes that are no header ({type(error).__name__})") from None
    if not isinstance(header, list) or not header or type(header[0]) is not int:
        raise WireError("packet", "a header that is no packet", "an array that begins with its kind")
    return header[0], header[1:]


def _decode_data(fields: list[Any], buffers: Sequence[Frame], now_ns: int) -> Data:
    if len(fields) != 10:
        raise WireError("Data", f"{len(fields)} fields", "10")
    number, stream, seq, event_time_ns, attributes, descriptions, deadline_ns, flags, sent_ns, origins = fields
    _check_names(number, stream, seq, event_time_ns)
    for name, value in (("deadline_ns", deadline_ns), ("flags", flags), ("sent_ns", sent_ns)):
        if type(value) is not int or not -_INT64_LIMIT <= value < _INT64_LIMIT:
            raise WireError("Data", f"{name} {value!r}", "an int of at most 63 bits")
    _check_attributes(attributes)
    if not isinstance(descriptions, list) or len(descriptions) != len(buffers) or len(buffers) > TENSOR_COUNT_LIMIT:
        raise WireError("Data", f"{len(buffers)} tensor frames", "one for each described tensor")
    tensors = {}
    for description, buffer in zip(descriptions, buffers, strict=True):
        if not isinstance(description, list) or len(description) != 3 or type(description[0]) is not str:
            raise WireError("tensor", "a malformed description", "[name, dtype, shape]")
        tensors[description[0]] = restore(description[1:], buffer)
    if len(tensors) != len(buffers):
        raise WireError("Data", "two tensors of one name")
    made_from = () if origins == [] else _origins(origins)
    return Data(
        number, Message(tensors, stream, seq, event_time_ns, attributes, deadline_ns, flags, sent_ns, now_ns, made_from)
    )


def _origins(found: Any) -> tuple[Origin, ...]:
    if not isinstance(found, list) or len(found) > ORIGIN_COUNT_LIMIT:
        raise WireError("Data", "malformed origins", f"at most {ORIGIN_COUNT_LIMIT} of [stream, seq, event time]")
    origins = []
    for one in found:
        if not isinstance(one, list) or len(one) != 3:
            raise WireError("Data", "a malformed origin", "[stream, seq, event time]")
        _check_names(0, *one)
        origins.append(Origin(*one))
    return tuple(origins)


def _check_names(number: Any, stream: Any, seq: Any, event_time_ns: Any) -> None:
    if type(stream) is not str:
        raise WireError("Data", f"stream is a {type(stream).__name__}", "a name")
    for name, value, low in (("number", number, 0), ("seq", seq, 0), ("event_time_ns", event_time_ns, -_INT64_LIMIT)):
        if type(value) is not int:
            raise WireError("Data", f"{name} is a {type(value).__name__}", "int")
        if not low <= value < _INT64_LIMIT:
            raise WireError("Data", f"{name} {value} is out of range", "at most 63 bits")


def _check_attributes(attributes: Any) -> None:
    allowed = (int, float, str, bool)
    if not isinstance(attributes, dict) or not all(
        type(name) is str and type(value) in allowed for name, value in attributes.items()
    ):
        raise WireError("Data", "malformed attributes", "names with int, float, str or bool")
