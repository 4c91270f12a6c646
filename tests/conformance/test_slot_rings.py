"""Buffers of a stage on any device: never in two hands, no allocation in the loop, the quicker of two ways."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest
import trio

from streamflow.device.contract import (
    Device,
    DeviceMemoryError,
)
from streamflow.device.host import HostDevice
from streamflow.device.slots import SlotRing
from streamflow.testing.device_faults import DeviceFaults, FaultyDevice
from tests.conformance.devices import LONG_S, SLOW, soon


def ring(device: Device, *, is_split: bool, count: int = 3) -> SlotRing:
    shape = {"x": ((8, 1024), "float32")}
    return SlotRing(device, shape, {"y": ((8, 1024), "float32")}, count=count, is_split=is_split)


async def fill(slots: SlotRing) -> None:
    """What is computed of undefined numbers may raise NumPy's warnings."""
    for _ in slots.slots:
        slot = slots.take()
        assert slot is not None
        slot.inputs["x"][...] = 1
        await soon(slots.submit(slot, lambda x, y: None))
        slots.give_back(slot)


@pytest.mark.parametrize("is_split", [False, True])
async def test_every_batch_has_its_own_result_however_many_are_in_flight(device, is_split: bool) -> None:
    slots = ring(device, is_split=is_split)
    random = np.random.default_rng(5)
    flying: list[tuple[Any, Any, Any, int]] = []

    def work(x: Any, y: Any) -> None:
        device.xp.add(x * 3, 1, out=y)

    async def land() -> None:
        slot, ticket, given, rows = flying.pop(0)
        await soon(ticket)
        np.testing.assert_array_equal(slot.outputs["y"][:rows], given * 3 + 1)
        assert np.isnan(slot.outputs["y"][rows:]).all()
        slots.give_back(slot)

    for _ in range(24):
        while (slot := slots.take()) is None:
            await land()
        rows = int(random.integers(1, 9))
        given = random.integers(-1000, 1000, (rows, 1024)).astype("float32")
        slot.inputs["x"][...] = np.nan
        slot.outputs["y"][...] = np.nan
        slot.inputs["x"][:rows] = given
        flying.append((slot, slots.submit(slot, work, rows), given, rows))
    while flying:
        await land()
    slots.close()


async def test_over_three_queues_the_next_batch_is_copied_while_one_is_computed() -> None:
    device, batches, seconds = HostDevice(SLOW), 12, {}
    for is_split, count in ((True, 3), (False, 1)):
        slots = ring(device, is_split=is_split, count=count)
        begun, flying = time.monotonic(), []
        for _ in range(batches):
            while (slot := slots.take()) is None:
                await soon(flying.pop(0))
            flying.append(slots.submit(slot, lambda x, y: np.add(x, 1, out=y)))
            slots.give_back(slot)
        for ticket in flying:
            await soon(ticket)
        seconds[is_split] = time.monotonic() - begun
        slots.close()
    assert seconds[True] < 0.7 * seconds[False]
    device.close()


@pytest.mark.parametrize("is_split", [False, True])
async def test_in_the_loop_nothing_is_allocated(device, is_split: bool) -> None:
    slots = ring(device, is_split=is_split)

    def work(x: Any, y: Any) -> None:
        device.xp.multiply(x, 2, out=y)

    await fill(slots)
    assert slots.capture(work, [4, 8])
    before = device.allocation_count()
    for rows in (8, 4, 5, 8):
        slot = slots.take()
        assert slot is not None
        await soon(slots.submit(slot, work, rows))
        slots.give_back(slot)
    assert device.allocation_count() == before
    slots.close()


async def test_a_slot_whose_work_failed_comes_back_and_not_before_the_device_is_done_with_it(device) -> None:
    slots = ring(device, is_split=True, count=1)

    def broken(x: Any, y: Any) -> None:
        raise ValueError("a fault of the user's")

    for _ in range(3):
        slot = slots.take()
        assert slot is not None
        with pytest.raises(ValueError, match="a fault of the user's"):
            await soon(slots.submit(slot, broken))
        slots.give_back(slot)
        with trio.fail_after(LONG_S):
            while (slot := slots.take()) is None:
                await trio.lowlevel.checkpoint()
        slot.inputs["x"][...] = 2
        await soon(slots.submit(slot, lambda x, y: device.xp.add(x, 1, out=y)))
        assert (slot.outputs["y"] == 3).all()
        slots.give_back(slot)
    slots.close()


async def test_slots_on_the_device_are_refused_where_there_is_no_room(device) -> None:
    with pytest.raises(DeviceMemoryError):
        ring(FaultyDevice(device, DeviceFaults(no_room_at=3)), is_split=False)


@pytest.mark.parametrize("is_split", [False, True])
async def test_a_graph_of_the_next_larger_size_is_replayed_and_only_what_was_given_comes_out(device, is_split) -> None:
    slots, calls = ring(device, is_split=is_split), []

    def work(x: Any, y: Any) -> None:
        calls.append(len(x))
        device.xp.multiply(x, 2, out=y)

    await fill(slots)
    assert slots.capture(work, [2, 8])
    for rows in (1, 2, 3, 8):
        slot = slots.take()
        assert slot is not None
        slot.inputs["x"][:rows] = rows
        slot.outputs["y"][...] = np.nan
        calls.clear()
        await soon(slots.submit(slot, work, rows))
        assert (slot.outputs["y"][:rows] == 2 * rows).all()
        assert np.isnan(slot.outputs["y"][rows:]).all()
        assert calls in ([], [2 if rows <= 2 else 8]), "on the host a graph calls what it captured"
        slots.give_back(slot)
    slot = slots.take()
    assert slot is not None
    slot.inputs["x"][...] = 9
    await soon(slots.submit(slot, work))
    assert (slot.outputs["y"] == 18).all(), "without a number of rows it is all of them, of which there is no graph"
    slots.close()


async def test_how_work_is_given_is_measured_for_each_size_when_it_opens(device) -> None:
    slots = ring(device, is_split=False)

    def work(x: Any, y: Any) -> None:
        device.xp.add(x, 1, out=y)

    await slots.measure(work, [1, 8], {"x": np.full(1024, 7, "float32")})
    assert [one.rows for one in slots.launches] == [1, 8]
    for one in slots.launches:
        assert (set(one.took_ns) == {"graph", "launch"}) is device.capabilities.is_timed
        assert bool(one.reason) is not device.capabilities.is_timed
    slot = slots.take()
    assert slot is not None
    slot.inputs["x"][:3] = 5
    await soon(slots.submit(slot, work, 3))
    assert (slot.outputs["y"][:3] == 6).all()
    slots.close()


async def test_what_cannot_be_captured_is_launched_and_the_reason_told(device) -> None:
    slots = ring(FaultyDevice(device, DeviceFaults(captures_nothing=True)), is_split=False)

    def work(x: Any, y: Any) -> None:
        device.xp.add(x, 1, out=y)

    await slots.measure(work, [8])
    (launch,) = slots.launches
    assert launch.way == "launch"
    if device.capabilities.is_timed:
        assert launch.reason == "nothing can be captured, as planned"
    slots.close()


async def test_what_work_raises_while_it_is_measured_comes_out() -> None:
    slots = ring(HostDevice(), is_split=False)

    def broken(x: Any, y: Any) -> None:
        raise ValueError("a fault of the user's")

    with pytest.raises(ValueError, match="a fault of the user's"):
        await slots.measure(broken, [8])
    slots.close()
