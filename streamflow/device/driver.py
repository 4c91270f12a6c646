"""Whether this machine has CUDA's driver: without it nothing of CUDA is in any process, whatever it imports."""

from __future__ import annotations

import ctypes
from functools import cache


@cache
def has_cuda_driver() -> bool:
    """Loads the driver's library where there is one, and does nothing with it."""
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        return False
    return True
