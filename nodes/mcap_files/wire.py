"""Protocol buffers' wire format, as much of it as carries arrays as they lie in memory.

A packed field of a fixed width is the bytes of a little-endian array, NaN payloads included; through the library's
own objects each number would become a Python float and back, at a hundred times the cost and not always the same.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from functools import cache
from typing import Final

VARINT, FIXED64, SIZED, FIXED32 = 0, 1, 2, 5
_VARINT_SIZE_LIMIT: Final = 10  # bytes of a number of 64 bits
_FIXED64: Final = struct.Struct("<q")
_DOUBLE: Final = struct.Struct("<d")
_U64: Final = 1 << 64


class WireFault(ValueError):
    """Bytes that are no message."""


def varint(number: int) -> bytes:
    """`number` below 2**64; a negative one as two's complement, in 10 bytes."""
    if 0 <= number < 0x80:
        return bytes((number,))
    number %= _U64
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


@cache
def tag(field: int, kind: int) -> bytes:
    """Of fields of ours, and so of few."""
    return varint(field << 3 | kind)


def number(field: int, value: int) -> bytes:
    """A varint field; nothing for 0, as the format has it."""
    return tag(field, VARINT) + varint(value) if value else b""


def fixed64(field: int, value: int) -> bytes:
    """A signed one; nothing for 0."""
    return tag(field, FIXED64) + _FIXED64.pack(value) if value else b""


def double(field: int, value: float) -> bytes:
    """Also where it is 0: its sign counts."""
    return tag(field, FIXED64) + _DOUBLE.pack(value)


def sized(field: int, content: bytes | memoryview) -> bytes:
    """Bytes, a text, a message or packed numbers; copied once."""
    return b"".join((tag(field, SIZED), varint(len(content)), content))


def text(field: int, value: str) -> bytes:
    """Nothing for an empty one."""
    return sized(field, value.encode()) if value else b""


def fields(message: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """(field, value) in order: varints unsigned, what has 64 bits signed, and views of what is sized. Raises WireFault.

    What has 32 bits comes as a view of them.
    """
    at, end = 0, len(message)
    while at < end:
        key, at = _varint(message, at)
        kind = key & 7
        if kind == VARINT:
            value, at = _varint(message, at)
            yield key >> 3, value
            continue
        if kind == SIZED:
            size, at = _varint(message, at)
        elif kind == FIXED64:
            size = 8
        elif kind == FIXED32:
            size = 4
        else:
            raise WireFault(f"a field of kind {kind}")
        if size > end - at:
            raise WireFault(f"{end - at} bytes where {size} are told")
        part = message[at : at + size]
        at += size
        yield key >> 3, _FIXED64.unpack(part)[0] if kind == FIXED64 else part


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    """The number at `at`, and where it ends."""
    found = shift = 0
    for byte in message[at : at + _VARINT_SIZE_LIMIT]:
        found |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return found % _U64, at + shift // 7
    raise WireFault("a number without an end")


def signed(value: int) -> int:
    """A varint as the signed number of 64 bits that it stands for."""
    return value - _U64 if value >> 63 else value


def as_double(value: int) -> float:
    """What has 64 bits as the double that they are."""
    found: float = _DOUBLE.unpack(_FIXED64.pack(value))[0]
    return found
