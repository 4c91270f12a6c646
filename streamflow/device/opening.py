"""Opens devices by name, each once in a process, however many stages share it; the next where one cannot be had."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from streamflow.core.device_names import HOST, index_of
from streamflow.device.contract import Device, DeviceError
from streamflow.device.cuda import CudaDevice
from streamflow.device.host import HostDevice
from streamflow.device.turns import Turns

NOBODY: Final[Mapping[str, DeviceError]] = {}


@dataclass(frozen=True, slots=True)
class Opened:
    """What a stage works on, and which it would have had before, each with the reason why not. `turns`: at that device,
    which it shares with the other stages of the process."""

    device: Device
    passed_over: dict[str, str]
    turns: Turns


def device_of(name: str) -> Device:
    """Not opened yet: nothing of a driver is touched before that."""
    return HostDevice() if name == HOST else CudaDevice(index_of(name))


class Devices:
    """Of one process."""

    def __init__(self, make: Callable[[str], Device] = device_of) -> None:
        self._make = make
        self._open: dict[str, Device] = {}
        self._turns: dict[str, Turns] = {}
        self._stage_counts: Counter[str] = Counter()  # of those that each was opened for

    def open(
        self, names: Sequence[str], lost: Collection[str] = (), unfit: Mapping[str, DeviceError] = NOBODY
    ) -> Opened:
        """The first of them that can be opened. `lost`: those that failed in a former life come last. `unfit`: those on
        which the stage cannot work, and why, are passed over.

        Raises DeviceError, of the first, where none can.
        """
        names = names or (HOST,)
        passed_over: dict[str, str] = {}
        failure: DeviceError | None = None
        for name in sorted(names, key=lambda name: name in lost):
            try:
                if name in unfit:
                    raise unfit[name]
                device = self._open_one(name)
            except DeviceError as error:
                failure = failure or error
                passed_over[name] = str(error)
                continue
            self._stage_counts[name] += 1
            before = names[: names.index(name)]
            why = {one: passed_over.get(one, f"{one}: it failed in use") for one in before}
            return Opened(device, why, self._turns[name])
        assert failure is not None
        raise failure

    def release(self, opened: Opened) -> None:
        """The stage for which it was opened does not work on it; where no other one does it is closed."""
        name = opened.device.name
        self._stage_counts[name] -= 1
        if not self._stage_counts[name]:
            del self._turns[name]
            self._open.pop(name).close()

    def close(self) -> None:
        for device in self._open.values():
            device.close()

    def _open_one(self, name: str) -> Device:
        if name not in self._open:
            device = self._make(name)
            device.open()
            self._open[name] = device
            self._turns[name] = Turns(device.capabilities.in_flight_max)
        return self._open[name]
