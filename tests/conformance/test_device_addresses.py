"""What every device tells libraries that work with it by addresses: where its arrays lie, and its queues' names."""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np

from streamflow.device.contract import Device
from streamflow.device.slots import SlotRing
from streamflow.testing.device_faults import DeviceFaults, FaultyDevice


def seen_at(device: Device, address: int, count: int) -> np.ndarray[Any, Any]:
    """So many int64 there, as another library would read them."""
    if device.place[0] == "cpu":
        return np.array((ctypes.c_int64 * count).from_address(address))
    cuda = device.xp.cuda
    memory = cuda.MemoryPointer(cuda.UnownedMemory(address, 8 * count, None, device.place[1]), 0)
    found: np.ndarray[Any, Any] = device.xp.ndarray((count,), "int64", memory).get()
    return found


async def test_an_array_lies_at_its_address_and_a_part_of_it_behind(device: Device) -> None:
    given = device.host_array((6,), "int64")
    given[...] = [1, 2, 3, 5, 8, 13]
    there, queue = device.array((6,), "int64"), device.queue()
    queue.copy_in(there, given)
    await queue.ticket().wait()
    address = device.pointer(there)
    assert seen_at(device, address, 6).tolist() == given.tolist()
    assert device.pointer(there[2:]) == address + 16
    assert seen_at(device, device.pointer(there[2:4]), 2).tolist() == [3, 5]


def test_a_place_is_what_other_libraries_call_it(device: Device) -> None:
    assert device.place == (("cuda", 0) if device.name.startswith("cuda") else ("cpu", 0))


def test_queues_that_have_names_have_different_ones(device: Device) -> None:
    handles = [device.queue().handle for _ in range(3)]
    assert len(set(handles)) == 3 if device.place[0] == "cuda" else handles == [0, 0, 0]


def test_what_goes_wrong_as_planned_is_where_the_device_is(device: Device) -> None:
    faulty = FaultyDevice(device, DeviceFaults())
    there = faulty.array((4,), "int64")
    assert faulty.pointer(there) == device.pointer(there)
    assert faulty.place == device.place
    assert (faulty.queue().handle == 0) == (device.place[0] == "cpu")


async def test_work_may_go_to_a_queue_that_was_there_before_its_slots(device: Device) -> None:
    queue = device.queue()
    ring = SlotRing(device, {"x": ((4,), "int64")}, {"y": ((4,), "int64")}, compute=queue)
    before = device.array((1,), "int64")

    def work(x: Any, y: Any) -> None:
        y[...] = x * before[0]

    queue.launch(lambda: before.fill(7))
    slot = ring.take()
    assert slot is not None
    slot.inputs["x"][...] = [1, 2, 3, 4]
    ticket = ring.submit(slot, work)
    await ticket.wait()
    assert slot.outputs["y"].tolist() == [7, 14, 21, 28]
    ring.close()
