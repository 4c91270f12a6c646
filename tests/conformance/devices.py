"""What devices are tested with, each of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import trio

from streamflow.device.contract import (
    Device,
)
from streamflow.device.cuda import CudaDevice
from streamflow.device.host import Delays, HostDevice
from streamflow.device.virtual import VirtualDevice
from streamflow.runtime.clock import TrioClock

SLOW = Delays(launch_ns=3_000_000, copy_ns=2_000_000, copy_ns_per_kib=100)
LONG_S = 5.0


MADE: dict[str, Callable[[], Device]] = {
    "host": HostDevice,
    "slow host": lambda: HostDevice(SLOW),
    "virtual host": lambda: VirtualDevice(TrioClock(), delays=SLOW),
    "cuda": CudaDevice,
}


def host_of(device: Device, values: Any, dtype: str = "float32") -> Any:
    values = np.asarray(values, dtype)
    array = device.host_array(values.shape, dtype)
    array[...] = values
    return array


def poisoned(device: Device, *shape: int) -> Any:
    return host_of(device, np.full(shape, np.nan))


async def soon(ticket: Any) -> None:
    with trio.fail_after(LONG_S):
        await ticket.wait()
