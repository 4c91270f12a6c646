"""Plain values as msgpack: the one door to that library for what travels on links."""

from __future__ import annotations

from typing import Any

import msgpack

from streamflow.errors import WireError

Frame = bytes | memoryview


def pack(value: Any) -> bytes:
    """Raises WireError for what a header has no place for."""
    try:
        packed = msgpack.packb(value)
    except (TypeError, ValueError, OverflowError) as error:
        raise WireError(
            "message", f"a value that has no place in a header ({error})", "int, float, str or bool"
        ) from None
    assert isinstance(packed, bytes)
    return packed


def unpack(frame: Frame) -> Any:
    """Raises WireError for bytes that are not just one value."""
    try:
        return msgpack.unpackb(frame)
    except (ValueError, RecursionError) as error:
        raise WireError("packet", f"bytes that are no header ({type(error).__name__})") from None
