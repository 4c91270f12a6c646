"""The device that a claim is about, or why there is none: the one place where claims of GPU stages ask for it."""

from __future__ import annotations

from streamflow.device.contract import Device, NoDeviceError
from streamflow.device.cuda import CudaDevice
from streamflow.device.opening import device_of
from tools.claims.framework import AbsentError


def gpu() -> CudaDevice:
    """The first, open. Raises AbsentError."""
    device = CudaDevice()
    _open(device)
    return device


def require(name: str) -> None:
    """Raises AbsentError."""
    device = device_of(name)
    _open(device)
    device.close()


def _open(device: Device) -> None:
    try:
        device.open()
    except NoDeviceError as error:
        raise AbsentError("no GPU", because=str(error)) from None
