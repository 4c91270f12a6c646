"""A datum as a `streamflow.Datum` and back, bit for bit; and how it is shown as an image, as sound, as motion.

Tensors are packed numbers where the format has a field of their width: what is plotted is then what is replayed. Others
(float16, small integers, text, other byte orders) are bytes, and, up to `NUMBERS_LIMIT`, the same as doubles beside
them. An image's pixels are the view's own, and not told twice.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, Final

import numpy as np

from nodes.mcap_files import wire
from nodes.mcap_files.schemas import DATUM_FIELD, View
from nodes.mcap_files.views import IMU_COLUMNS, encoding_of
from streamflow.core.message import Attribute, Message, Origin
from streamflow.errors import WireError
from streamflow.wire.arrays import array_over, buffer_of, describe, read_form

NUMBERS_LIMIT: Final = 4096  # of a tensor kept as bytes; more is no plot, and costs eight times the bytes
_FULL_SCALE: Final = 32_768
_PACKED: Final = {
    "<f4": 4, "<f8": 5, "<i4": 6, "<u4": 7, "<i8": 8, "<u8": 9, "|b1": 10, "<c8": 4, "<c16": 5,
}  # fmt: skip
_INT64_FIELD, _BOOL_FIELD, _DATA_FIELD, _NUMBERS_FIELD = 8, 10, 11, 12
_PIXELS_FIELD: Final = 6  # of foxglove.RawImage
_KNOWN_LIMIT: Final = 1024  # forms remembered; shapes that change with every datum could make more
_known_heads: Final[dict[tuple[str, str, tuple[int, ...]], bytes]] = {}

Part = bytes | memoryview
Array = np.ndarray[Any, Any]


class Encoder:
    """Of one channel. `output` is `stage.port`; `wall_of` gives the wall clock's ns of an event time; `encoding` is
    that of its images, where somebody has said it."""

    def __init__(
        self, view: View, output: str, rate_hz: float | None, wall_of: Callable[[int], int], encoding: str = ""
    ) -> None:
        self._shown = {View.IMAGE: self._image, View.AUDIO: self._audio, View.IMU: self._imu}.get(view)
        self._output = output
        self._rate_hz = round(rate_hz or 0)
        self._wall_of = wall_of
        self._encoding = encoding

    def encode(self, message: Message) -> bytes:
        """Raises WireError for a tensor without a plain buffer."""
        timestamp = _timestamp(self._wall_of(message.event_time_ns))
        if self._shown is None:
            return b"".join(_datum(message, timestamp, self_contained=True))
        shown = self._shown(np.asarray(message.array)) if len(message.tensors) == 1 else []
        has_pixels = self._shown == self._image and bool(shown)
        datum = b"".join(_datum(message, timestamp, self_contained=not has_pixels))
        return b"".join((timestamp, *shown, wire.sized(DATUM_FIELD, datum)))

    def _image(self, array: Array) -> list[Part]:
        encoding = encoding_of(array.dtype.name, array.shape, self._encoding)
        if not encoding or not array.size or array.dtype.byteorder == ">":
            return []
        height, width = array.shape[:2]
        pixels = buffer_of(array)
        return [
            _fixed32(2, width),
            _fixed32(3, height),
            wire.text(4, encoding),
            _fixed32(5, array.nbytes // height),
            wire.text(7, self._output),
            wire.tag(_PIXELS_FIELD, wire.SIZED),
            wire.varint(len(pixels)),
            pixels,
        ]

    def _audio(self, array: Array) -> list[Part]:
        """Channels side by side, as players want them; full scale is 1 where the samples are no integers."""
        if array.ndim not in (1, 2) or array.dtype.kind not in "fi":
            return []
        samples = array if array.ndim == 1 else array.T
        if samples.dtype != np.int16:
            with np.errstate(invalid="ignore", over="ignore"):  # it is a view: what is no number is no sound
                scaled = np.nan_to_num(samples * np.float32(_FULL_SCALE))
            samples = np.clip(np.rint(scaled), -_FULL_SCALE, _FULL_SCALE - 1)
        channels = 1 if array.ndim == 1 else array.shape[0]
        sound = np.ascontiguousarray(samples, "<i2").tobytes()
        return [wire.sized(2, sound), wire.text(3, "pcm-s16"), _fixed32(4, self._rate_hz), _fixed32(5, channels)]

    def _imu(self, array: Array) -> list[Part]:
        """The newest row."""
        if not array.ndim or array.shape[-1] != IMU_COLUMNS or not array.size or array.dtype.kind not in "fi":
            return []
        row = array.reshape(-1, IMU_COLUMNS)[-1].tolist()
        return [wire.sized(2 + part, _vector(row[3 * part : 3 * part + 3])) for part in range(2)]


def _vector(xyz: list[float]) -> bytes:
    return b"".join(wire.double(axis, value) for axis, value in enumerate(xyz, 1))


def _fixed32(field: int, value: int) -> bytes:
    return wire.tag(field, wire.FIXED32) + value.to_bytes(4, "little")


def _timestamp(wall_ns: int) -> bytes:
    seconds, ns = divmod(wall_ns, 1_000_000_000)
    return wire.sized(1, wire.number(1, seconds) + wire.number(2, ns))


def _datum(message: Message, timestamp: bytes, *, self_contained: bool) -> list[Part]:
    """`self_contained`: the tensors' bytes are in it, and not in the view."""
    parts: list[Part] = [
        timestamp,
        _stream(message.stream),
        wire.number(3, message.seq),
        wire.fixed64(4, message.event_time_ns),
        wire.fixed64(5, message.sent_ns),
        wire.fixed64(6, message.deadline_ns),
        wire.number(7, message.flags),
    ]
    parts += [wire.sized(8, _attribute(name, value)) for name, value in message.attributes.items()]
    for origin in message.origins:
        told = wire.text(1, origin.stream) + wire.number(2, origin.seq) + wire.fixed64(3, origin.event_time_ns)
        parts.append(wire.sized(9, told))
    for name, array in message.tensors.items():
        parts += _tensor(name, np.asarray(array), self_contained=self_contained)
    return parts


def _attribute(name: str, value: Attribute) -> bytes:
    head = _name(name)
    if value is True or value is False:
        return head + wire.tag(6, wire.VARINT) + wire.varint(int(value))
    if isinstance(value, int):
        return head + wire.tag(2 if value < 1 << 63 else 3, wire.VARINT) + wire.varint(value)
    if isinstance(value, float):
        return head + wire.double(4, value)
    return head + wire.sized(5, value.encode())


@lru_cache(_KNOWN_LIMIT)
def _stream(stream: str) -> bytes:
    return wire.text(2, stream)


@lru_cache(_KNOWN_LIMIT)
def _name(name: str) -> bytes:
    return wire.text(1, name)


def _tensor(name: str, array: Array, *, self_contained: bool) -> list[Part]:
    description, shape = describe(array)
    key = name, description, array.shape
    head = _known_heads.get(key)
    if head is None:
        sizes = b"".join(map(wire.varint, shape))
        head = wire.text(1, name) + wire.text(2, description) + (wire.sized(3, sizes) if shape else b"")
        if len(_known_heads) < _KNOWN_LIMIT:
            _known_heads[key] = head
    payload: list[Part] = []
    if self_contained and array.size:
        content = buffer_of(array)
        field = _packed_field(description, content)
        payload = [wire.tag(field, wire.SIZED), wire.varint(len(content)), content]
        if field == _DATA_FIELD and array.dtype.kind in "iuf" and array.size <= NUMBERS_LIMIT:
            payload.append(wire.sized(_NUMBERS_FIELD, array.astype("<f8").tobytes()))
    size = len(head) + sum(map(len, payload))
    return [wire.tag(10, wire.SIZED), wire.varint(size), head, *payload]


def _packed_field(description: str, content: memoryview) -> int:
    """Where the numbers of a dtype are; times are the whole numbers that they are in memory."""
    if description[:3] in ("<M8", "<m8"):
        return _INT64_FIELD
    field = _PACKED.get(description, _DATA_FIELD)
    if field == _BOOL_FIELD and content.nbytes and np.frombuffer(content, np.uint8).max() > 1:
        return _DATA_FIELD  # a truth value of more than one bit: rare, and no packed one
    return field


# ------------------------------------------------------------------------------------------------- back


def decode(data: bytes, view: View) -> Message:
    """The datum as its stage sent it. Raises WireError for bytes that are none."""
    try:
        if view is View.TENSOR:
            return _message(memoryview(data), None)
        datum = pixels = None
        for field, value in wire.fields(memoryview(data)):
            if field == DATUM_FIELD:
                datum = value
            elif field == _PIXELS_FIELD and view is View.IMAGE:
                pixels = value
        if not isinstance(datum, memoryview):
            raise WireError("message", f"a {view.value} without the datum it shows", "a recording of streamflow")
        return _message(datum, pixels if isinstance(pixels, memoryview) else None)
    except WireError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, struct.error) as error:
        raise WireError("message", f"cannot be read ({error})", "a recording of streamflow") from None


def _message(datum: memoryview, pixels: memoryview | None) -> Message:
    numbers: dict[int, Any] = {}
    attributes: dict[str, Attribute] = {}
    origins: list[Origin] = []
    tensors: dict[str, Array] = {}
    for field, value in wire.fields(datum):
        if isinstance(value, int):
            numbers[field] = value
        elif field == 2:
            numbers[field] = str(value, "utf-8")
        elif field == 8:
            name, attribute = _read_attribute(value)
            attributes[name] = attribute
        elif field == 9:
            origins.append(_read_origin(value))
        elif field == 10:
            name, array = _read_tensor(value, pixels)
            tensors[name] = array
    get = numbers.get
    return Message(
        tensors,
        get(2, ""),
        wire.signed(get(3, 0)),
        get(4, 0),
        attributes,
        get(6, 0),
        get(7, 0),
        get(5, 0),
        0,
        tuple(origins),
    )


def _read_attribute(part: memoryview) -> tuple[str, Attribute]:
    name: str = ""
    value: Attribute = ""
    for field, found in wire.fields(part):
        if field == 1:
            name = str(found, "utf-8")  # type: ignore[arg-type]
        else:
            value = _ATTRIBUTE_OF[field](found)
    return name, value


_ATTRIBUTE_OF: Final[Mapping[int, Callable[[Any], Any]]] = {
    2: wire.signed,
    3: int,
    4: wire.as_double,
    5: lambda found: str(found, "utf-8"),
    6: bool,
}


def _read_origin(part: memoryview) -> Origin:
    found = dict(wire.fields(part))
    stream = found.get(1, b"")
    return Origin(str(stream, "utf-8"), wire.signed(int(found.get(2, 0))), int(found.get(3, 0)))  # type: ignore[arg-type]


def _read_tensor(part: memoryview, pixels: memoryview | None) -> tuple[str, Array]:
    name = description = ""
    shape: list[int] = []
    content: memoryview | None = None
    for field, value in wire.fields(part):
        if not isinstance(value, memoryview):
            continue
        if field == 1:
            name = str(value, "utf-8")
        elif field == 2:
            description = str(value, "utf-8")
        elif field == 3:
            shape = _sizes(value)
        elif field != _NUMBERS_FIELD:
            content = value
    form = read_form([description, shape])
    if content is None:
        content = pixels if pixels is not None and form.size else memoryview(b"")
    array = array_over(form, content)
    return name, array if array.flags.aligned else array.copy()


def _sizes(packed: memoryview) -> list[int]:
    """Whole numbers, one after another."""
    found, number, shift = [], 0, 0
    for byte in packed:
        number |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            found.append(number)
            number = shift = 0
    return found
