"""Marks that tests of several folders share."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest

from streamflow import compilation
from streamflow.device.contract import NoDeviceError
from streamflow.device.cuda import CudaDevice

from_sources = pytest.mark.skipif(
    not compilation.reason,
    reason=f"compiled: it reaches into sources, and make test runs it so ({compilation.VARIABLE}=no)",
)
"""A test that traces lines, or puts something else in the place of what the hot path calls or inherits from."""


def no_gpu() -> str:
    """Why there is none; empty where there is one."""
    with warnings.catch_warnings(action="ignore"):  # of CuPy's: no file of tests could be imported for it
        try:
            CudaDevice().open()
        except NoDeviceError as error:
            return str(error)
    return ""


on_gpu = (pytest.mark.gpu, pytest.mark.skipif(bool(no_gpu()), reason=no_gpu() or "there is one"))
array_modules = ("numpy", pytest.param("cupy", marks=on_gpu))
"""For kernels that are written once for both: `array_module` of these names."""
without_gpu = pytest.mark.skipif(not no_gpu(), reason="there is a GPU")


def array_module(name: str) -> Any:
    """NumPy, or CuPy on the first GPU."""
    if name == "numpy":
        return np
    device = CudaDevice()
    device.open()
    return device.xp


def on_host(array: Any) -> np.ndarray[Any, Any]:
    """Of either."""
    host: np.ndarray[Any, Any] = array if isinstance(array, np.ndarray) else array.get()
    return host
