"""Tensors in shared memory: which are copied from where they lie, for how long they are held, and what is counted."""

from __future__ import annotations

import gc
import mmap
import tempfile
import weakref
from typing import Any

import numpy as np
import pytest
import trio

from streamflow.device.contract import Device
from streamflow.device.host import Delays, HostDevice
from streamflow.device.registered import mapped_memory
from streamflow.device.slots import Slot, SlotRing
from streamflow.device.ways import STAGED, STRAIGHT, Choice
from streamflow.memory.segment import Segment
from streamflow.testing.device_faults import DeviceFaults, FaultyDevice
from streamflow.wire.arrays import Form, array_over

ROWS, SIZE = 4, 8192  # float32: twice what is sent with a message
SLOW = Delays(launch_ns=1_000_000, copy_ns=5_000_000)


@pytest.fixture
def shared() -> mmap.mmap:
    with tempfile.TemporaryFile() as file:
        file.truncate(ROWS * SIZE * 4)
        return mmap.mmap(file.fileno(), ROWS * SIZE * 4)


def row(shared: mmap.mmap, nth: int, fill: float) -> Any:
    """As one that was received: a view that cannot be written to, of a place that somebody else writes to."""
    place = np.ndarray((SIZE,), np.float32, shared, nth * SIZE * 4)
    place[...] = fill
    return array_over(Form(np.dtype(np.float32), (SIZE,), SIZE * 4), memoryview(shared), nth * SIZE * 4)


def ring_on(device: Device, way: str = STRAIGHT) -> SlotRing:
    shape = {"x": ((ROWS, SIZE), "float32")}
    ring = SlotRing(device, shape, {"y": ((ROWS, SIZE), "float32")}, count=1)
    ring.copies = [Choice(ROWS, way)]
    return ring


def double(x: Any, y: Any) -> None:
    np.multiply(x, 2, out=y)


async def taken(ring: SlotRing) -> Slot:
    with trio.fail_after(5):
        while (slot := ring.take()) is None:
            await trio.lowlevel.checkpoint()
    return slot


async def until_registered(ring: SlotRing, array: Any) -> None:
    with trio.fail_after(5):
        while not ring.registered.has(array):
            await trio.lowlevel.checkpoint()


async def done(ring: SlotRing, slot: Slot, rows: int) -> Any:
    ticket = ring.submit(slot, double, rows)
    ring.give_back(slot)
    await ticket.wait()
    return slot.outputs["y"][:rows, 0].tolist()


async def test_what_lies_in_registered_memory_is_read_there_and_not_before_its_turn(shared: mmap.mmap) -> None:
    device = HostDevice(SLOW)
    ring = ring_on(device)
    rows = [row(shared, nth, nth + 1) for nth in range(3)]
    await until_registered(ring, rows[0])
    slot = await taken(ring)
    ring.put(slot, "x", rows)
    row(shared, 2, 30)  # what nobody may do before the ticket is done: it shows that nothing was copied yet
    assert await done(ring, slot, 3) == [2, 4, 60]
    assert (ring.straight_count, ring.staged_count) == (3, 0)
    device.close()


async def test_it_is_held_until_the_device_has_read_it_and_no_longer(shared: mmap.mmap) -> None:
    device = HostDevice(SLOW)
    ring = ring_on(device)
    given = row(shared, 0, 1)
    await until_registered(ring, given)
    watched = weakref.ref(given)
    slot = await taken(ring)
    ring.put(slot, "x", [given])
    del given
    ticket = ring.submit(slot, double, 1)
    ring.give_back(slot)
    gc.collect()
    assert watched() is not None
    await ticket.wait()
    slot.let_go()
    gc.collect()
    assert watched() is None
    device.close()


async def test_a_slot_whose_results_nobody_reads_holds_nothing_once_it_is_taken_again(shared: mmap.mmap) -> None:
    ring = ring_on(HostDevice())
    given = row(shared, 0, 1)
    await until_registered(ring, given)
    slot = await taken(ring)
    ring.put(slot, "x", [given])
    await done(ring, slot, 1)
    assert slot.sources
    assert not (await taken(ring)).sources
    ring.close()


async def test_memory_that_is_seen_for_the_first_time_is_registered_for_those_after(shared: mmap.mmap) -> None:
    ring = ring_on(HostDevice())
    given = row(shared, 0, 1)
    results = []
    while ring.straight_count < 2:
        slot = await taken(ring)
        ring.put(slot, "x", [given])
        results.append(await done(ring, slot, 1))
    assert ring.staged_count >= 1
    assert all(result == [2] for result in results)
    ring.close()


async def test_where_the_device_refuses_it_goes_by_way_of_the_slot_and_that_is_counted_once(shared: mmap.mmap) -> None:
    ring = ring_on(FaultyDevice(HostDevice(), DeviceFaults(registers_nothing=True)))
    given = row(shared, 0, 1)
    for _ in range(20):
        slot = await taken(ring)
        ring.put(slot, "x", [given])
        assert await done(ring, slot, 1) == [2]
        await trio.sleep(0.001)
    assert (ring.straight_count, ring.staged_count, ring.registered.refused_count) == (0, 20, 1)
    ring.close()


@pytest.mark.parametrize("reason", ["staged is quicker", "in no shared memory", "another dtype", "not in one piece"])
async def test_what_cannot_be_read_where_it_lies_goes_by_way_of_the_slot(shared: mmap.mmap, reason: str) -> None:
    ring = ring_on(HostDevice(), STAGED if reason == "staged is quicker" else STRAIGHT)
    given = row(shared, 0, 3)
    await until_registered(ring, given)
    if reason == "in no shared memory":
        given = given.copy()
    elif reason == "another dtype":
        given = given.astype(np.float64)
    elif reason == "not in one piece":
        given = np.lib.stride_tricks.as_strided(given, (SIZE,), (0,))
    slot = await taken(ring)
    ring.put(slot, "x", [given])
    assert not slot.sources
    assert await done(ring, slot, 1) == [6]
    ring.close()


def test_what_a_segment_has_lent_lies_in_all_that_it_has_mapped(tmp_path: Any) -> None:
    segment = Segment.create(tmp_path / "own.0.pool", 4, 65536, 1)
    array = array_over(Form(np.dtype(np.float32), (100,), 400), segment.slots, 65536)
    assert len(mapped_memory(array[10:20].reshape(2, 5)) or b"") == 4 * 65536
    assert mapped_memory(np.zeros(3)) is None


async def test_both_ways_are_tried_when_it_opens_where_data_may_lie_in_shared_memory() -> None:
    ring = ring_on(HostDevice())
    ring.copies.clear()
    await ring.measure(double, [1, ROWS])
    assert [one.rows for one in ring.copies] == [1, ROWS]
    assert all(set(one.took_ns) == {STRAIGHT, STAGED} for one in ring.copies)
    small = SlotRing(HostDevice(), {"x": ((ROWS, 16), "float32")}, {"y": ((ROWS, 16), "float32")})
    await small.measure(double, [1, ROWS])
    assert small.copies == []
    assert [one.rows for one in small.launches] == [1, ROWS]
