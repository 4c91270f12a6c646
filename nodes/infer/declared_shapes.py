"""What a node's ports say of the arrays that go in and come out, where buffers for them are allocated beforehand."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from streamflow import InputError
from streamflow.core.ports import PortType


def shape_and_dtype(subject: str, port: PortType, sizes: Mapping[str, int]) -> tuple[tuple[int, ...], Any]:
    """Of one datum; `sizes`: of dimensions that have names. Raises InputError where not all is known."""
    (tensor,) = port.tensors.values()
    unknown = [str(one) for one in tensor.dimensions if not isinstance(one, int) and one not in sizes]
    if unknown or len(tensor.dtypes) != 1:
        raise InputError(subject, f"{tensor}", "one dtype and sizes", "sizes={'time': 512} says a name's")
    shape = tuple(one if isinstance(one, int) else sizes[one] for one in tensor.dimensions)
    return shape, np.dtype(next(iter(tensor.dtypes)))
