"""Devices of a process by name: each is open once, as long as a stage may work on it."""

from __future__ import annotations

from streamflow.device.host import HostDevice
from streamflow.device.opening import Devices


class Noting(HostDevice):
    is_closed = False

    def close(self) -> None:
        super().close()
        self.is_closed = True


def test_a_device_is_closed_when_no_stage_works_on_it_and_opened_anew_for_the_next() -> None:
    made: list[Noting] = []

    def make(name: str) -> Noting:
        made.append(Noting(name=name))
        return made[-1]

    devices = Devices(make)
    one, other = devices.open(["cuda:0"]), devices.open(["cuda:1", "cuda:0"], lost=["cuda:1"])
    assert one.device is other.device
    assert one.turns is other.turns
    devices.release(one)
    assert not made[0].is_closed
    devices.release(other)
    assert made[0].is_closed
    again = devices.open(["cuda:0"])
    assert again.device is made[1]
    assert not made[1].is_closed
    devices.close()
    assert made[1].is_closed
