"""A datum as frames: numbers at fixed places, what they belong to, and small tensors beside them in the same frame.

    0   u8   4, which no other packet begins with
    1   u8   0
    2   u16  size of the form
    4   u32  size of the extras
    8   u64  which tensors are in this frame, by bits; each of the others is a frame of its own, in order
    16  i64  number of the datum on its edge
    24  i64  seq
    32  i64  event_time_ns
    40  i64  deadline_ns
    48  i64  sent_ns
    56  u32  flags
    60  u32  0
    64  u64  which tensors are in shared memory, by bits
    72       the form: msgpack of [stream, [[tensor, dtype, shape], ...]]
    ..       the extras: msgpack of [attributes, origins]; none where there are neither
    ..       for each tensor in shared memory its place: u64 segment, slot, generation, offset
    ..       the tensors in this frame, each at a multiple of 16 bytes, with zeros between them

All little-endian. The form is the same for most data of an edge, so both ends remember those they have seen, and a
datum costs one packed structure instead of a header that is made and read field by field.
A frame more costs a wake-up of ZeroMQ's thread (20 to 70 us), two copies of 16 KiB cost 4 us.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple

import numpy as np

from streamflow.core.message import Flag, Message, Origin, with_tensors
from streamflow.errors import WireError
from streamflow.wire.arrays import Array, Form, array_over, buffer_of, describe, read_form
from streamflow.wire.values import Frame, pack, unpack

DATA_KIND: Final = 4
HEADER_SIZE_LIMIT: Final = 64 * 1024  # bytes; names, shapes and attributes of one message
TENSOR_COUNT_LIMIT: Final = 64  # per message
ORIGIN_COUNT_LIMIT: Final = 8  # data of sources that one message is made from; the flight recorder has room for as many
INLINE_SIZE_LIMIT: Final = 16 * 1024  # bytes of tensors in the first frame
_ALIGNMENT: Final = 16
_FORM_LIMIT: Final = 1024  # remembered; arrays whose shape changes with every datum could make more
_HEAD: Final = struct.Struct("<BBHIQqqqqqIIQ")
_PLACE: Final = struct.Struct("<QQQQQ")
_pack_head: Final = _HEAD.pack
_unpack_head: Final = _HEAD.unpack_from
_ndarray: Final = np.ndarray
_HEAD_SIZE: Final = _HEAD.size
_INT64_LIMIT: Final = 1 << 63
_KIND_BYTE: Final = bytes([DATA_KIND])
_ZEROS: Final = bytes(_ALIGNMENT)


class Place(NamedTuple):
    """Where a tensor is in shared memory: `owner` is the number of a stage, `offset` is in bytes, within the slot."""

    owner: int
    segment: int
    slot: int
    generation: int
    offset: int


Lend = Callable[[Array], Place | None]
"""Where the receiver finds an array, lent to it from then on; None: it is not in shared memory."""
Borrow = Callable[[Place, Form], Array]
"""The array that is there. Raises WireError."""


class _Outgoing(NamedTuple):
    """How data of one form are written."""

    form: bytes
    padded: bytes
    """The form with the zeros that follow where there are no extras."""
    inline_mask: int
    is_single: bool
    """One tensor, in the first frame."""
    has_large: bool
    """Not every tensor is in the first frame."""


class _Incoming(NamedTuple):
    """How data of one form are read."""

    stream: str
    tensors: tuple[tuple[int, str, Form], ...]
    """Bit, name and meaning of each."""
    every_bit: int
    only: tuple[str, Form] | None
    """Name and meaning where there is one, which is not empty."""


_outgoing: Final[dict[Any, _Outgoing]] = {}
_incoming: Final[dict[bytes, _Incoming]] = {}


def encode_datum(number: int, message: Message, lend: Lend | None = None) -> list[Frame]:
    """The frames of a datum. Raises WireError where it cannot be sent."""
    tensors = message.tensors
    key: tuple[Any, ...]
    if len(tensors) == 1:
        ((name, array),) = tensors.items()
        key = message.stream, name, array.dtype, array.shape
    else:
        key = message.stream, *[(name, array.dtype, array.shape) for name, array in tensors.items()]
    form = _outgoing.get(key) or _remember_outgoing(key, message)
    extras = b""
    if message.attributes or message.origins:
        extras = _extras_of(message)
        if len(form.form) + len(extras) > HEADER_SIZE_LIMIT:
            raise _too_large(len(form.form) + len(extras))
    slot_mask = 0
    if lend is not None and form.has_large:
        slot_mask, places = _lent(form, tensors, lend)
        extras_and_places = extras + places
    else:
        extras_and_places = extras
    seq: Any = message.seq  # whatever a node has said
    event_time_ns: Any = message.event_time_ns
    if type(seq) is not int or type(event_time_ns) is not int or seq < 0:
        raise _out_of_range(number, message)
    try:
        head = _pack_head(
            DATA_KIND,
            0,
            len(form.form),
            len(extras),
            form.inline_mask,
            number,
            seq,
            event_time_ns,
            message.deadline_ns,
            message.sent_ns,
            message.flags,
            0,
            slot_mask,
        )
    except struct.error:
        raise _out_of_range(number, message) from None
    if form.is_single and not extras:
        return [b"".join((head, form.padded, array.tobytes()))]
    return _frames(head, form, extras_and_places, slot_mask, tensors)


def _lent(form: _Outgoing, tensors: Mapping[str, Array], lend: Lend) -> tuple[int, bytes]:
    """Which tensors are in shared memory, and where."""
    mask, places = 0, b""
    for number, array in enumerate(tensors.values()):
        place = None if form.inline_mask >> number & 1 else lend(array)
        if place is not None:
            mask |= 1 << number
            places += _PLACE.pack(*place)
    return mask, places


def _frames(head: bytes, form: _Outgoing, extras: bytes, slot_mask: int, tensors: Mapping[str, Array]) -> list[Frame]:
    parts: list[Frame] = [head, form.form, extras]
    rest: list[Frame] = []
    size = sum(len(part) for part in parts)
    for place, array in enumerate(tensors.values()):
        if form.inline_mask >> place & 1:
            padding = -size % _ALIGNMENT
            parts += [_ZEROS[:padding], array.tobytes()]
            size += padding + array.nbytes
        elif not slot_mask >> place & 1:
            rest.append(buffer_of(array))
    return [b"".join(parts), *rest]


def _remember_outgoing(key: Any, message: Message) -> _Outgoing:
    tensors, stream = message.tensors, message.stream
    if len(tensors) > TENSOR_COUNT_LIMIT:
        raise WireError("message", f"{len(tensors)} tensors", f"at most {TENSOR_COUNT_LIMIT}")
    if type(stream) is not str:
        raise WireError("message", f"stream is a {type(stream).__name__}", "a name")
    packed = pack([stream, [[str(name), *describe(array)] for name, array in tensors.items()]])
    if len(packed) >= HEADER_SIZE_LIMIT:
        raise _too_large(len(packed))
    inline_mask = size = 0
    for place, array in enumerate(tensors.values()):
        if size + array.nbytes <= INLINE_SIZE_LIMIT:
            inline_mask |= 1 << place
            size += array.nbytes
    padded = packed + _ZEROS[: -(_HEAD_SIZE + len(packed)) % _ALIGNMENT]
    is_all_inline = inline_mask == (1 << len(tensors)) - 1
    form = _Outgoing(packed, padded, inline_mask, len(tensors) == 1 and is_all_inline, not is_all_inline)
    if len(_outgoing) >= _FORM_LIMIT:
        _outgoing.clear()
    _outgoing[key] = form
    return form


def _extras_of(message: Message) -> bytes:
    if len(message.origins) > ORIGIN_COUNT_LIMIT:
        raise WireError("message", f"made from {len(message.origins)} data of sources", f"at most {ORIGIN_COUNT_LIMIT}")
    attributes: Mapping[Any, Any] = message.attributes  # whatever a node has put there
    for name, value in attributes.items():
        if not isinstance(name, str) or not isinstance(value, int | float | str):
            raise WireError("message", f"attribute {name} is a {type(value).__name__}", "int, float, str or bool")
    return pack([dict(message.attributes), message.origins])


def _too_large(size: int) -> WireError:
    return WireError("message", f"a header of {size:,} bytes", f"at most {HEADER_SIZE_LIMIT:,}", "send it as a tensor")


def _out_of_range(number: int, message: Message) -> WireError:
    """Which of the numbers cannot be sent."""
    low, high = -_INT64_LIMIT, _INT64_LIMIT
    named = {"number": (number, 0, high), "flags": (message.flags, 0, 1 << 32)}
    named |= {"seq": (message.seq, 0, high), "event_time_ns": (message.event_time_ns, low, high)}
    named |= {"deadline_ns": (message.deadline_ns, low, high), "sent_ns": (message.sent_ns, low, high)}
    for name, (value, least, limit) in named.items():
        if type(value) is not int and not isinstance(value, Flag):
            return WireError("message", f"{name} is a {type(value).__name__}", "int")
        if not least <= value < limit:
            return WireError("message", f"{name} {value} is out of range", "at most 63 bits")
    return WireError("message", "numbers that cannot be sent", "ints")


def lightened(message: Message) -> Message:
    """The message; without its tensors where one is large, since such memory is somebody else's to use again."""
    for array in message.tensors.values():
        if array.nbytes > INLINE_SIZE_LIMIT:
            return with_tensors(message, {})
    return message


def is_datum(frames: Sequence[Frame]) -> bool:
    """Whether these are to be read by `decode_datum`."""
    return bool(frames) and frames[0][:1] == _KIND_BYTE


def decode_datum(frames: Sequence[Frame], now_ns: int, borrow: Borrow | None = None) -> tuple[int, Message]:
    """Number and message; tensors are read-only views of the frames or of shared memory. Raises WireError only."""
    head = frames[0]
    if len(head) < _HEAD_SIZE:
        raise WireError("Data", f"{len(head)} bytes", f"at least {_HEAD_SIZE}")
    (
        kind,
        zero,
        form_size,
        extras_size,
        mask,
        number,
        seq,
        event_time_ns,
        deadline_ns,
        sent_ns,
        flags,
        rest,
        slot_mask,
    ) = _unpack_head(head)
    offset = _HEAD_SIZE + form_size
    packed = bytes(head[_HEAD_SIZE:offset])
    form = _incoming.get(packed) or _remember_incoming(packed, form_size)
    if (
        kind != DATA_KIND
        or zero
        or rest
        or number < 0
        or seq < 0
        or (mask | slot_mask) & ~form.every_bit
        or mask & slot_mask
    ):
        raise WireError("Data", "a malformed head", "its kind, counts, and the bits of its tensors")
    attributes: dict[str, Any] = {}
    origins: tuple[Origin, ...] = ()
    if form.only is not None and mask and not extras_size and type(head) is bytes and len(frames) == 1:
        name, (dtype, shape, size) = form.only
        offset = (offset + 15) & -16
        if offset + size != len(head):
            raise WireError("Data", f"{len(head)} bytes", str(offset + size))
        only = {name: _ndarray(shape, dtype, head, offset)}  # read-only, since bytes are
        return number, Message(
            only, form.stream, seq, event_time_ns, attributes, deadline_ns, flags, sent_ns, now_ns, origins
        )
    if extras_size:
        attributes, origins = _extras_in(head, offset, extras_size)
        offset += extras_size
    place_offset = offset
    offset += _PLACE.size * slot_mask.bit_count()
    if offset > len(head) or (slot_mask and borrow is None):
        raise WireError("Data", "tensors in shared memory", "none, or their places")
    tensors = {}
    frame_count = 1
    for bit, name, meaning in form.tensors:
        if mask & bit:
            offset = (offset + 15) & -16
            tensors[name] = array_over(meaning, head, offset)
            offset += meaning.size
        elif slot_mask & bit:
            assert borrow is not None
            tensors[name] = borrow(Place(*_PLACE.unpack_from(head, place_offset)), meaning)
            place_offset += _PLACE.size
        else:
            if frame_count == len(frames) or len(frames[frame_count]) != meaning.size:
                raise WireError("Data", f"{len(frames)} frames", f"one of {meaning.size} bytes for tensor {name}")
            tensors[name] = array_over(meaning, frames[frame_count])
            frame_count += 1
    if offset != len(head) or frame_count != len(frames):
        raise WireError("Data", f"{len(frames)} frames, the first of {len(head)} bytes", f"{frame_count}, {offset}")
    return number, Message(
        tensors, form.stream, seq, event_time_ns, attributes, deadline_ns, flags, sent_ns, now_ns, origins
    )


def _remember_incoming(packed: bytes, size: int) -> _Incoming:
    if len(packed) != size:
        raise WireError("Data", f"a form of {len(packed)} bytes", str(size))
    form = unpack(packed)
    if not isinstance(form, list) or len(form) != 2 or type(form[0]) is not str or not isinstance(form[1], list):
        raise WireError("Data", "a malformed form", "[stream, tensors]")
    stream, descriptions = form
    if len(descriptions) > TENSOR_COUNT_LIMIT:
        raise WireError("Data", f"{len(descriptions)} tensors", f"at most {TENSOR_COUNT_LIMIT}")
    tensors = []
    for place, description in enumerate(descriptions):
        if not isinstance(description, list) or len(description) != 3 or type(description[0]) is not str:
            raise WireError("tensor", "a malformed description", "[name, dtype, shape]")
        tensors.append((1 << place, description[0], read_form(description[1:])))
    if len({name for _, name, _ in tensors}) != len(tensors):
        raise WireError("Data", "two tensors of one name")
    only = tensors[0][1:] if len(tensors) == 1 and tensors[0][2].size else None
    known = _Incoming(stream, tuple(tensors), (1 << len(tensors)) - 1, only)
    if len(_incoming) >= _FORM_LIMIT:
        _incoming.clear()
    _incoming[packed] = known
    return known


def _extras_in(head: Frame, offset: int, size: int) -> tuple[dict[str, Any], tuple[Origin, ...]]:
    packed = head[offset : offset + size]
    if len(packed) != size or size > HEADER_SIZE_LIMIT:
        raise WireError("Data", f"{len(packed)} bytes of extras", f"{size}, at most {HEADER_SIZE_LIMIT:,}")
    extras = unpack(packed)
    if not isinstance(extras, list) or len(extras) != 2:
        raise WireError("Data", "malformed extras", "[attributes, origins]")
    attributes, origins = extras
    allowed = (int, float, str, bool)
    if not isinstance(attributes, dict) or not all(
        type(name) is str and type(value) in allowed for name, value in attributes.items()
    ):
        raise WireError("Data", "malformed attributes", "names with int, float, str or bool")
    if not isinstance(origins, list) or len(origins) > ORIGIN_COUNT_LIMIT:
        raise WireError("Data", "malformed origins", f"at most {ORIGIN_COUNT_LIMIT} of [stream, seq, event time]")
    return attributes, tuple([_origin(one) for one in origins])


def _origin(found: Any) -> Origin:
    if not isinstance(found, list) or len(found) != 3 or type(found[0]) is not str:
        raise WireError("Data", "a malformed origin", "[stream, seq, event time]")
    for value, low in ((found[1], 0), (found[2], -_INT64_LIMIT)):
        if type(value) is not int or not low <= value < _INT64_LIMIT:
            raise WireError("Data", f"an origin with the number {value!r}", "an int of at most 63 bits")
    return Origin(*found)
