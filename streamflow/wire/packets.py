"""What travels on a link: data, whose frames `wire.data` knows, and the few packets of the conversation about them.

Any byte strings give a packet or a WireError.
A packet without data is one msgpack array whose first element says the kind, so that a reader knows what follows
without a schema; the order of fields is the protocol and changes only with `PROTOCOL_VERSION`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from streamflow.core.message import Message
from streamflow.errors import WireError
from streamflow.wire.data import DATA_KIND, HEADER_SIZE_LIMIT, Lend, decode_datum, encode_datum, is_datum
from streamflow.wire.values import Frame, pack, unpack

PROTOCOL_VERSION = 5
NAME_SIZE_LIMIT = 256  # characters
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
class Watermark:
    """Nothing older than this event time (ns) will be sent."""

    event_time_ns: int


@dataclass(frozen=True, slots=True)
class End:
    """The stream ended after `transmitted_count` data."""

    transmitted_count: int


@dataclass(frozen=True, slots=True)
class Goodbye:
    """The receiver has served everything up to the end."""


Packet = Hello | Welcome | Refuse | Data | Credit | Revocation | End | Goodbye | Watermark
_KINDS: dict[type[Packet], int] = {
    Hello: 1, Welcome: 2, Refuse: 3, Credit: 5, Revocation: 6, End: 7, Goodbye: 8, Watermark: 9,
}  # fmt: skip
_TYPES = {kind: packet for packet, kind in _KINDS.items()}
_FIELDS: dict[type[Packet], tuple[type, ...]] = {
    Hello: (int, str, str, int), Welcome: (int,), Refuse: (str,), Credit: (int, list), Revocation: (int,), End: (int,),
    Goodbye: (), Watermark: (int,),
}  # fmt: skip


def encode(packet: Packet, lend: Lend | None = None) -> list[Frame]:
    """The frames of a packet. Raises WireError where a datum cannot be sent."""
    if isinstance(packet, Data):
        return encode_datum(packet.number, packet.message, lend)
    return [pack([_KINDS[type(packet)], *[getattr(packet, name) for name in packet.__slots__]])]


def decode(frames: Sequence[Frame], now_ns: int = 0) -> Packet:
    """The packet that `frames` are; tensors are read-only views of the frames. Raises WireError only.

    `now_ns`: when it was read, which a datum's message tells.
    """
    if not frames or not len(frames[0]):
        raise WireError("packet", "no bytes")
    if is_datum(frames):
        return Data(*decode_datum(frames, now_ns))
    kind, fields = _read_header(frames[0])
    packet_type = _TYPES.get(kind)
    if packet_type is None:
        raise WireError("packet", f"kind {kind}", f"1 to {DATA_KIND + len(_TYPES)}")
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


def _read_header(frame: Frame) -> tuple[int, list[Any]]:
    if len(frame) > HEADER_SIZE_LIMIT:
        raise WireError("packet", f"a header of {len(frame):,} bytes", f"at most {HEADER_SIZE_LIMIT:,}")
    header = unpack(frame)
    if not isinstance(header, list) or not header or type(header[0]) is not int:
        raise WireError("packet", "a header that is no packet", "an array that begins with its kind")
    return header[0], header[1:]
