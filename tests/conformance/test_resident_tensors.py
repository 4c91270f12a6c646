"""Tensors that stay on a device: whole for whoever has them, used again when nobody does, never read as host arrays."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import trio

from streamflow.core.message import Message
from streamflow.device.contract import Device, DeviceError, DeviceMemoryError
from streamflow.device.host import HostDevice
from streamflow.device.resident import DeviceTensor, TensorRing
from streamflow.device.slots import SlotRing
from streamflow.testing.device_faults import DeviceFaults, FaultyDevice
from streamflow.wire.data import encode_datum
from tests.conformance.devices import SLOW, host_of, poisoned, soon

ROWS, SIZE = 4, 256


def add_one(device: Device) -> Any:
    return lambda x, y: device.xp.add(x, 1, out=y)


class Stage:
    """What a node does: slots of its own, results that stay on the device as long as there is room for them."""

    def __init__(self, device: Device, *, is_split: bool, count: int = 2 * ROWS) -> None:
        shape = {"x": ((ROWS, SIZE), "float32")}
        self.slots = SlotRing(device, shape, {"y": ((ROWS, SIZE), "float32")}, is_split=is_split)
        self.tensors = TensorRing(device, (SIZE,), "float32", count)
        self.work = add_one(device)

    async def handle(self, data: list[Any]) -> list[Any]:
        """One more than each of the data, on the device or from the host."""
        slot = self.slots.take()
        assert slot is not None
        slot.inputs["x"][...] = np.nan
        slot.outputs["y"][...] = np.nan
        self.slots.put(slot, "x", data)
        stays = self.tensors.take_all(len(data))
        if stays is not None:
            self.slots.keep(slot, "y", stays)
        try:
            await soon(self.slots.submit(slot, self.work, len(data)))
            if stays is None:
                return list(slot.outputs["y"][: len(data)].copy())
            assert np.isnan(slot.outputs["y"]).all(), "what stays on the device was copied out"
            return stays
        finally:
            slot.let_go()
            self.slots.give_back(slot)

    def close(self) -> None:
        self.slots.close()


async def on_host(device: Device, tensor: DeviceTensor) -> list[float]:
    queue, found = device.queue(), poisoned(device, *tensor.shape)
    queue.copy_out(found, tensor.on(queue))
    await soon(queue.ticket())
    queue.close()
    return found.tolist()


@pytest.mark.parametrize("is_split", [False, True])
async def test_what_stays_is_what_would_have_been_copied_out(device, is_split: bool) -> None:
    stage = Stage(device, is_split=is_split)
    given = np.random.default_rng(1).standard_normal((ROWS, SIZE)).astype("float32")
    for tensor, expected in zip(await stage.handle(list(given)), given + 1, strict=True):
        assert type(tensor) is DeviceTensor
        assert (tensor.shape, tensor.dtype, tensor.nbytes) == ((SIZE,), np.float32, 4 * SIZE)
        assert await on_host(device, tensor) == expected.tolist()
    stage.close()


@pytest.mark.parametrize("is_split", [False, True])
async def test_the_next_stage_takes_it_there_beside_what_comes_from_the_host(device, is_split: bool) -> None:
    first, second = Stage(device, is_split=is_split), Stage(device, is_split=is_split)
    given = list(np.arange(ROWS * SIZE, dtype="float32").reshape(ROWS, SIZE))
    there = await first.handle(given)
    mixed = [there[0], given[1], there[2], given[3]]
    for tensor, expected in zip(await second.handle(mixed), (2, 1, 2, 1), strict=True):
        assert await on_host(device, tensor) == (given.pop(0) + expected).tolist()
    first.close()
    second.close()


async def test_where_too_few_are_free_all_of_a_batch_is_copied_out_and_that_is_told(device) -> None:
    told: list[int] = []
    stage = Stage(device, is_split=False)
    stage.tensors = TensorRing(device, (SIZE,), "float32", ROWS + 1, told.append)
    given = list(np.zeros((ROWS, SIZE), "float32"))
    kept = await stage.handle(given)
    results = await stage.handle(given)
    assert [type(one) for one in results] == [np.ndarray] * ROWS
    assert (results[0] == 1).all()
    assert told == [ROWS]
    del kept
    assert [type(one) for one in await stage.handle(given)] == [DeviceTensor] * ROWS
    assert told == [ROWS]
    stage.close()


async def test_nobody_sees_another_datum_in_what_he_keeps_whoever_keeps_how_many(device) -> None:
    first, second = Stage(device, is_split=True, count=10), Stage(device, is_split=True, count=10)
    random = np.random.default_rng(7)
    kept: list[tuple[int, Any]] = []
    for turn in range(0, 80 * ROWS, ROWS):
        there = await first.handle([np.full(SIZE, turn + row, "float32") for row in range(ROWS)])
        for row, result in enumerate(await second.handle(there)):
            kept.append((turn + row + 2, result))
        while len(kept) > random.integers(0, 14):
            expected, result = kept.pop(random.integers(len(kept)))
            found = await on_host(device, result) if type(result) is DeviceTensor else result.tolist()
            assert found == [expected] * SIZE
    del there, result
    kept.clear()
    await (
        trio.lowlevel.checkpoint()
    )  # until then trio has its last time-out, and from Python 3.12 on our frames with it
    gc.collect()
    assert (first.tensors.free_count, second.tensors.free_count) == (10, 10)
    first.close()
    second.close()


async def test_who_does_not_wait_for_the_mark_reads_what_was_there_before() -> None:
    device = HostDevice(SLOW)
    writes, reads, found = device.queue(), device.queue(), poisoned(device, 3)
    (tensor,) = TensorRing(device, (3,), "float32", 1).take_all(1) or []
    tensor.array[...] = 0
    for _ in range(5):
        writes.launch(lambda: None)
    writes.copy_in(tensor.array, host_of(device, [1, 2, 3]))
    writes.record(tensor.ready)
    reads.copy_out(found, tensor.array)
    await soon(reads.ticket())
    assert found.tolist() != [1, 2, 3]
    reads.copy_out(found, tensor.on(reads))
    await soon(reads.ticket())
    assert found.tolist() == [1, 2, 3]
    device.close()


async def test_in_the_loop_nothing_is_allocated(device) -> None:
    first, second = Stage(device, is_split=True), Stage(device, is_split=True)
    given = list(np.zeros((ROWS, SIZE), "float32"))
    await second.handle(await first.handle(given))
    before = device.allocation_count()
    for _ in range(5):
        await second.handle(await first.handle(given))
    assert device.allocation_count() == before
    first.close()
    second.close()


async def test_what_work_that_fails_was_to_write_comes_back_and_its_ticket_tells(device) -> None:
    stage = Stage(device, is_split=True, count=4 * ROWS)
    given = list(np.zeros((ROWS, SIZE), "float32"))

    def broken(x: Any, y: Any) -> None:
        raise ValueError("a fault of the user's")

    for _ in range(6):
        stage.work = broken
        with pytest.raises(ValueError, match="a fault of the user's"):
            await stage.handle(given)
        gc.collect()  # the exception, and with it the frames that it came through
        stage.work = add_one(device)
        assert await on_host(device, (await stage.handle(given))[0]) == [1] * SIZE
    stage.close()


def test_what_does_not_find_room_on_the_device_is_refused_when_the_stage_opens(device) -> None:
    with pytest.raises(DeviceMemoryError):
        TensorRing(FaultyDevice(device, DeviceFaults(no_room_at=2)), (SIZE,), "float32", 3)


@pytest.mark.parametrize("size", [4, 1 << 16])
def test_read_as_a_host_array_or_sent_to_another_process_it_says_where_it_is(device, size: int) -> None:
    tensor = TensorRing(device, (size,), "float32", 1).take()
    found = rf"DeviceTensor\(float32\[{size}\] on .*\) is read as an array of the host, .*on_device=True"
    ways: list[Callable[[Any], Any]] = [
        np.asarray, len, list, float, lambda x: x[0], lambda x: x * 2, lambda x: 1 - x, lambda x: x > 0, lambda x: -x,
        lambda x: x @ np.ones(4), lambda x: np.ones(4) + x, lambda x: x.mean(), lambda x: x.astype("int8"),
    ]  # fmt: skip
    for way in ways:
        with pytest.raises(DeviceError, match=found):
            way(tensor)
    with pytest.raises(AttributeError, match="no attribute 'whatever'"):
        tensor.whatever  # noqa: B018
    with pytest.raises(DeviceError, match="read as an array of the host"):
        encode_datum(0, Message({"array": tensor}, "source"))
