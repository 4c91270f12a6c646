"""Values between two data of a signal."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from streamflow.core.joins.interpolate import Blend
from streamflow.core.message import Message
from streamflow.errors import ResultError

Array = npt.NDArray[Any]
_NEARLY_PARALLEL = 0.9995  # cosine, beyond which the arc is a line to within 1e-4 of its length


def between(first: Message, second: Message, weight: float, time_ns: int, how: Blend) -> Message:
    """The datum at `time_ns`, that share of the way from one to the other, by the name of the second.

    Floating point tensors keep their dtype, others become float64. Raises ResultError where the two are not alike.
    """
    tensors = {}
    for name, array in second.tensors.items():
        before = np.asarray(first.tensors.get(name))
        if before.shape != array.shape or array.dtype.kind not in "fiub":
            found = f"tensor {name} of {before.dtype} {before.shape} and {array.dtype} {array.shape}"
            raise ResultError("", f"{found} cannot be interpolated", "two of one shape, of numbers")
        blend = slerp if how is Blend.SLERP else lerp
        tensors[name] = blend(before, array, weight)
        tensors[name].flags.writeable = False
    return second.replace(tensors=tensors, event_time_ns=time_ns)


def lerp(first: Array, second: Array, weight: float) -> Array:
    """On the line from the first to the second; of any shape."""
    dtype = second.dtype if second.dtype.kind == "f" else np.dtype(np.float64)
    return np.asarray(first + (np.asarray(second, dtype) - first) * weight, dtype)


def slerp(first: Array, second: Array, weight: float) -> Array:
    """On the great circle between unit quaternions float[..., 4], the shorter way round (Shoemake 1985)."""
    dtype = second.dtype if second.dtype.kind == "f" else np.dtype(np.float64)
    a, b = (np.asarray(each, np.float64) for each in (first, second))
    cosine = np.sum(a * b, axis=-1, keepdims=True)
    b = np.where(cosine < 0, -b, b)
    cosine = np.abs(cosine)
    angle = np.arccos(np.clip(cosine, 0.0, 1.0))
    sine = np.sin(angle)
    is_line = cosine > _NEARLY_PARALLEL
    safe = np.where(is_line, 1.0, sine)
    share_a = np.where(is_line, 1.0 - weight, np.sin((1.0 - weight) * angle) / safe)
    share_b = np.where(is_line, weight, np.sin(weight * angle) / safe)
    value = share_a * a + share_b * b
    return np.asarray(value / np.linalg.norm(value, axis=-1, keepdims=True), dtype)
