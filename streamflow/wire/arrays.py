"""NumPy arrays as a dtype string, a shape and plain bytes; never pickled, never trusted on the way in."""

from __future__ import annotations

import math
import re
from typing import Any, NamedTuple

import numpy as np

from streamflow.errors import WireError

TENSOR_SIZE_LIMIT = 1 << 30  # bytes; an 8K RGB frame in float32 is 398 MB, more is a bug upstream
DIMENSION_COUNT_LIMIT = 32  # NumPy 1 takes no more

Array = np.ndarray[Any, np.dtype[Any]]

# Kinds with a plain buffer: bool, integers, floats, complex, text, bytes, times. Structured, object and void
# dtypes have no fixed meaning outside the process; long double differs between machines. Text of width 0 is
# left out: any number of them is no bytes, and NumPy makes it width 1 wherever it allocates.
_DTYPE = re.compile(r"[<>|=][biufcSUmM][1-9]\d{0,6}(\[\w{1,16}\])?")
_LONG_DOUBLE = re.compile(r".(f(12|16)|c(24|32))")
_PORT_NAMES = {"U": "str", "S": "bytes", "M": "datetime64", "m": "timedelta64"}


def dtype_name(dtype: np.dtype[Any]) -> str:
    """A dtype as ports write it: NumPy's name, and `str`, `bytes`, `datetime64` without their width."""
    return _PORT_NAMES.get(dtype.kind, dtype.name)


_known_dtypes: dict[np.dtype[Any], str] = {}
_known_texts: dict[str, np.dtype[Any]] = {}
_KNOWN_LIMIT = 1024  # dtypes remembered; text of many widths could make more


def _text_of(dtype: np.dtype[Any]) -> str:
    """The dtype as a string; raises WireError for one without a plain buffer."""
    text = _known_dtypes.get(dtype)
    if text is None:
        text = dtype.str
        if not _DTYPE.fullmatch(text) or _LONG_DOUBLE.match(text):
            hint = "structured and object arrays cannot be sent"
            raise WireError("array", f"dtype {dtype}", "a dtype with a plain buffer", hint)
        if len(_known_dtypes) < _KNOWN_LIMIT:
            _known_dtypes[dtype] = text
    return text


def _dtype_of(text: Any) -> np.dtype[Any]:
    """The dtype that a string says. Raises WireError, or what NumPy raises for one that it does not know."""
    dtype = _known_texts.get(text) if isinstance(text, str) else None
    if dtype is None:
        if not isinstance(text, str) or not _DTYPE.fullmatch(text) or _LONG_DOUBLE.match(text):
            raise WireError("tensor", f"dtype {str(text)[:40]!r}", "a dtype with a plain buffer")
        dtype = np.dtype(text)
        if len(_known_texts) < _KNOWN_LIMIT:
            _known_texts[text] = dtype
    return dtype


def describe(array: Array) -> list[Any]:
    """`[dtype, shape]` for the header. Raises WireError for a dtype without a plain buffer or an array too large."""
    text = _text_of(array.dtype)
    if array.nbytes >= TENSOR_SIZE_LIMIT:
        raise WireError("array", f"{array.nbytes:,} bytes", f"less than TENSOR_SIZE_LIMIT = {TENSOR_SIZE_LIMIT:,}")
    return [text, list(array.shape)]


def buffer_of(array: Array) -> memoryview:
    """The array's bytes in C order; copied only where it is not contiguous."""
    if array.dtype.itemsize == 0 or array.size == 0:
        return memoryview(b"")
    contiguous = array if array.flags.c_contiguous else array.copy(order="C")
    return contiguous.reshape(-1).view(np.uint8).data


class Form(NamedTuple):
    """What the bytes of an array mean; `size` is how many there are."""

    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    size: int


def read_form(description: Any) -> Form:
    """What `describe` has told. Raises WireError for anything that no array has."""
    if not isinstance(description, list) or len(description) != 2:
        raise WireError("tensor", "a malformed description", "[dtype, shape]")
    text, shape = description
    if (
        not isinstance(shape, list)
        or len(shape) > DIMENSION_COUNT_LIMIT
        or not all(type(n) is int and 0 <= n <= TENSOR_SIZE_LIMIT for n in shape)
    ):
        raise WireError("tensor", f"shape {str(shape)[:80]}", f"at most {DIMENSION_COUNT_LIMIT} sizes")
    try:
        dtype = _dtype_of(text)
        size = math.prod(shape) * dtype.itemsize
        if size == 0:
            np.empty(shape, dtype)  # NumPy may have its own limits to the other sizes
    except WireError:
        raise
    except (TypeError, ValueError) as error:
        raise WireError("tensor", f"{text} of shape {tuple(shape)}: {error}") from None
    if size >= TENSOR_SIZE_LIMIT:
        raise WireError("tensor", f"{size:,} bytes", f"less than {TENSOR_SIZE_LIMIT:,}")
    return Form(dtype, tuple(shape), size)


def array_over(form: Form, buffer: Any, offset: int = 0) -> Array:
    """A read-only array over what is at `offset` of `buffer`, not copied. Raises WireError where that is too short."""
    dtype, shape, size = form
    if offset + size > len(buffer):
        raise WireError("tensor", f"{len(buffer) - offset} bytes", f"{size} for {dtype.str} of shape {shape}")
    array: Array = np.ndarray(shape, dtype, buffer, offset) if size else np.empty(shape, dtype)
    if array.flags.writeable:
        array.flags.writeable = False
    return array
