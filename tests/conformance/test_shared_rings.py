"""Slots on a device that another process reads in place: written before they are read, never used again too early."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from streamflow.device.contract import Device, DeviceError, DeviceMemoryError, NoDeviceError, WorkError
from streamflow.device.host import HostDevice
from streamflow.device.opening import device_of
from streamflow.device.shared_ring import Lent, SharedRing, SharedRingReader
from streamflow.device.virtual import VirtualDevice
from streamflow.errors import PoolError, WireError
from streamflow.runtime.clock import TrioClock
from streamflow.wire.values import pack, unpack
from tests.conformance.devices import poisoned, soon
from tests.conformance.ring_owners import Owner
from tests.device.ring_owner import SHAPE, SLOT_COUNT
from tests.marks import on_gpu
from tools.claims.gpu_ipc import hand_over


@pytest.fixture(params=["host", pytest.param("cuda", marks=on_gpu)])
def device(request: pytest.FixtureRequest) -> Iterator[Device]:
    made = device_of("cuda:0" if request.param == "cuda" else request.param)
    made.open()
    yield made
    made.close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


@pytest.fixture
def owner(device: Device, folder: Path) -> Iterator[Owner]:
    made = Owner(device, folder)
    yield made
    made.kill()


@pytest.fixture
def host() -> Iterator[HostDevice]:
    made = HostDevice()
    yield made
    made.close()


@pytest.fixture
def host_owner(host: HostDevice, folder: Path) -> Iterator[Owner]:
    made = Owner(host, folder)
    yield made
    made.kill()


async def read(device: Device, reader: SharedRingReader, lent: Lent) -> Any:
    queue, found = device.queue(), poisoned(device, *SHAPE)
    try:
        queue.copy_out(found, reader.borrow(lent, queue))
        await soon(queue.ticket())
    finally:
        queue.close()
    return found


async def test_what_another_process_writes_is_read_there_when_it_is_written(device, owner) -> None:
    reader = SharedRingReader(device, owner.hello)
    for number in range(1, 3 * SLOT_COUNT):
        lent = owner.lend("slowly" if number % 3 == 0 else "write", number)
        assert (await read(device, reader, lent) == number).all()
        reader.give_back(lent)
    owner.end()
    reader.close()


async def test_a_slot_that_is_lent_is_not_used_again_until_it_is_given_back(device, owner) -> None:
    reader = SharedRingReader(device, owner.hello)
    first = [owner.lend("write", number) for number in range(SLOT_COUNT)]
    assert owner.asked("write 9") == "none"
    assert (await read(device, reader, first[0]) == 0).all()
    reader.give_back(first[0])
    again = owner.lend("write", 9)
    assert (again.slot, again.generation) == (first[0].slot, first[0].generation + 1)
    assert (await read(device, reader, again) == 9).all()
    assert (await read(device, reader, first[2]) == 2).all()
    with pytest.raises(WireError, match=rf"slot {again.slot} is used again"):
        reader.borrow(first[0], device.queue())
    reader.close()


async def test_what_a_dead_reader_had_is_free_when_its_death_is_heard_of(device, owner) -> None:
    for number in range(SLOT_COUNT):
        owner.lend("write", number)
    assert owner.asked("lent") == str(SLOT_COUNT)
    owner.tell("forget")
    assert owner.asked("lent") == "0"
    reader = SharedRingReader(device, owner.hello)
    reader.settle()
    lent = owner.lend("write", 5)
    assert (await read(device, reader, lent) == 5).all()
    reader.give_back(lent)
    assert owner.asked("lent") == "0"
    reader.close()


async def test_the_next_life_of_the_owner_has_a_ring_of_its_own_which_the_old_does_not_fit(device, folder) -> None:
    old = Owner(device, folder, life=0)
    reader = SharedRingReader(device, old.hello)
    was = old.lend("write", 1)
    old.kill()
    reader.give_back(was)  # to nobody
    reader.close()  # before that CUDA gives out what is still open once more
    with pytest.raises(DeviceError):
        SharedRingReader(device, old.hello)
    new = Owner(device, folder, life=1)
    reader = SharedRingReader(device, new.hello)
    with pytest.raises(WireError, match="a slot of life 0, expected one of life 1"):
        reader.borrow(was, device.queue())
    assert new.asked("lent") == "0"
    lent = new.lend("write", 2)
    assert (await read(device, reader, lent) == 2).all()
    assert [path.name for path in folder.iterdir()] == ["ring.1.slots"]
    new.end()
    reader.close()
    assert list(folder.iterdir()) == []


def test_what_a_process_shares_is_not_opened_in_it(device, folder) -> None:
    ring = SharedRing(device, folder, "ring", 0, SHAPE, "float32", SLOT_COUNT)
    with pytest.raises(DeviceError):
        SharedRingReader(device, ring.hello())
    ring.close()


async def test_after_many_hand_overs_and_deaths_nothing_is_stale_and_nothing_left(device) -> None:
    found = hand_over(device.name, 3000, 2)
    assert found.is_sound, found
    assert found.checked >= 3000 - found.lost_max


# ------------------------------------------------------------------- what only the host is made to do


async def test_who_waits_for_an_owner_that_dies_meanwhile_is_told(host, host_owner) -> None:
    reader = SharedRingReader(host, host_owner.hello)
    queue, lent = host.queue(), host_owner.lend("slowly", 1)
    reader.borrow(lent, queue)
    ticket = queue.ticket()
    host_owner.kill()
    with pytest.raises(WorkError, match="the process that was to come to it has died"):
        await soon(ticket)
    reader.close()


async def test_who_reads_what_failed_to_be_written_fails_too_and_the_next_does_well(host, host_owner) -> None:
    reader = SharedRingReader(host, host_owner.hello)
    lent = host_owner.lend("fail")
    with pytest.raises(WorkError, match="failed, in another process"):
        await read(host, reader, lent)
    reader.give_back(lent)
    assert (await read(host, reader, host_owner.lend("write", 3)) == 3).all()
    host_owner.end()
    reader.close()


async def test_what_was_opened_cannot_be_written_to(host, host_owner) -> None:
    reader = SharedRingReader(host, host_owner.hello)
    array = reader.borrow(host_owner.lend("write", 1), host.queue())
    with pytest.raises(ValueError, match="read-only"):
        array[...] = 2
    del array
    host_owner.end()
    reader.close()


def test_of_what_is_closed_no_memory_and_no_descriptor_is_left(host, folder) -> None:
    before = os.listdir("/proc/self/fd")
    owner = Owner(host, folder)
    reader = SharedRingReader(host, owner.hello)
    reader.close()
    owner.kill()
    ring = SharedRing(host, folder, "own", 0, SHAPE, "float32", SLOT_COUNT)
    ring.close()
    assert os.listdir("/proc/self/fd") == before
    assert "/memfd:streamflow-" not in Path("/proc/self/maps").read_text()


def test_another_file_under_the_number_of_one_that_is_gone_is_no_share(host, host_owner) -> None:
    told = unpack(host_owner.hello)
    pid, number, token = told[2].decode().split(".")
    told[2] = f"{pid}.{number}.{'0' * len(token)}".encode()
    with pytest.raises(DeviceError, match="is gone, and another in its place"):
        SharedRingReader(host, pack(told))


def test_a_table_of_other_slots_is_refused(host, host_owner) -> None:
    for edge in (1, 7):
        with pytest.raises(PoolError, match=f"3 slots for 1 edges, expected 3, and edge {edge}"):
            SharedRingReader(host, host_owner.hello, edge)
    told = unpack(host_owner.hello)
    with pytest.raises(PoolError, match="3 slots for 1 edges, expected 2, and edge 0"):
        SharedRingReader(host, pack([*told[:5], told[5][:2], told[6]]))


@pytest.mark.parametrize("hello", [pack([1, 2, 3]), pack({"life": 1}), b"\xc1"])
def test_what_is_no_hello_is_told(hello: bytes) -> None:
    with pytest.raises(WireError):
        SharedRingReader(HostDevice(), hello)


def test_a_ring_for_which_there_is_no_room_is_refused(folder) -> None:
    size = int(np.prod(SHAPE)) * 4 * SLOT_COUNT
    with pytest.raises(DeviceMemoryError, match=f"{size:,} bytes were asked for"):
        SharedRing(HostDevice(memory_limit=size - 1), folder, "ring", 0, SHAPE, "float32", SLOT_COUNT)
    assert list(folder.iterdir()) == []


def test_in_virtual_time_there_is_nobody_to_share_with(folder) -> None:
    device = VirtualDevice(TrioClock())
    assert not device.capabilities.has_ipc
    with pytest.raises(NoDeviceError):
        SharedRing(device, folder, "ring", 0, SHAPE, "float32", SLOT_COUNT)
