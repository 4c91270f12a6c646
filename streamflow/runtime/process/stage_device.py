"""The device of one life of a stage: the first that it may have, that can be opened, and on which its node can work."""

from __future__ import annotations

from collections.abc import Collection

from streamflow.device.contract import DeviceError, DeviceMemoryError, NoDeviceError
from streamflow.device.opening import Devices, Opened
from streamflow.errors import NodeError
from streamflow.runtime.guard import blamed
from streamflow.runtime.stage.actor import Actor


async def open_on_device(actor: Actor, devices: Devices, lost: Collection[str]) -> Opened:
    """Open the actor's node on it.

    What a node needs of a device beyond the contract is known to the node alone, as a library that was built for it or
    room for a model: its `open` says that this device has it not, and is called again with the next. `lost`: devices
    that failed in a former life come last. Raises NodeError, about the first of them, where there is none.
    """
    unfit: dict[str, DeviceError] = {}
    while True:
        try:
            opened = devices.open(actor.devices, lost, unfit)
        except DeviceError as error:
            raise blamed(actor.stage, error, "open") from error
        actor.device = opened.device
        try:
            await actor.open()
        except NodeError as error:
            if not isinstance(error.__cause__, NoDeviceError | DeviceMemoryError):
                raise
            unfit[opened.device.name] = error.__cause__
            devices.release(opened)
        else:
            return opened
