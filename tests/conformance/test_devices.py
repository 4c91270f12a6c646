"""What every device keeps: the host, the host when it is slow, and a GPU where there is one."""

from __future__ import annotations

import mmap
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trio

from streamflow.device.contract import (
    DeviceError,
    DeviceLostError,
    DeviceMemoryError,
    NoDeviceError,
    Refusal,
    WorkError,
)
from streamflow.device.cuda import CudaDevice
from streamflow.device.driver import has_cuda_driver
from streamflow.device.host import HostDevice
from streamflow.testing.device_faults import DeviceFaults, FaultyDevice
from tests.conformance.devices import LONG_S, SLOW, host_of, poisoned, soon
from tests.marks import without_gpu


async def test_what_is_copied_in_computed_and_copied_out_is_there_when_its_ticket_is_done(device) -> None:
    given, result = host_of(device, [1, 2, 3]), poisoned(device, 3)
    there, out = device.array((3,), "float32"), device.array((3,), "float32")
    queue = device.queue()
    queue.copy_in(there, given)
    queue.launch(lambda x, y: device.xp.multiply(x, 2, out=y), there, out)
    queue.copy_out(result, out)
    ticket = queue.ticket()
    await soon(ticket)
    assert ticket.is_done
    assert result.tolist() == [2, 4, 6]
    assert 0 < ticket.device_ns < LONG_S * 1e9
    if device.capabilities.is_timed:
        assert 0 <= time.monotonic_ns() - ticket.done_ns < LONG_S * 1e9


async def test_giving_work_waits_for_nothing(device) -> None:
    if not isinstance(device, HostDevice):
        pytest.skip("of a GPU the row 'giving' of claims-gpu says it; in virtual time all is done when it is given")
    there, given = device.array((1 << 20,), "float32"), host_of(device, np.zeros(1 << 20))
    queue = device.queue()
    begun = time.monotonic()
    for _ in range(20):
        queue.copy_in(there, given)
    ticket = queue.ticket()
    gave_s = time.monotonic() - begun
    await soon(ticket)
    assert gave_s < (time.monotonic() - begun) / 4


async def test_the_loop_goes_on_while_the_device_works(device) -> None:
    size = 1 << (26 if device.place[0] == "cuda" else 20)  # it has to take longer than giving it does
    there, queue = device.array((size,), "float32"), device.queue()
    for _ in range(20):
        queue.launch(lambda x: device.xp.sqrt(abs(x), out=x), there)
    ticket, turns = queue.ticket(), 0
    while not ticket.is_done:
        await trio.lowlevel.checkpoint()
        turns += 1
    assert turns > 1
    await soon(ticket)


async def test_a_queue_keeps_its_order_whatever_it_is_given(device) -> None:
    there, result = device.array((1,), "float32"), poisoned(device, 1)
    queue = device.queue()
    queue.copy_in(there, host_of(device, [1]))
    for nth in range(10):
        queue.launch(lambda x, nth=nth: device.xp.add(x * 2, nth, out=x), there)
    queue.copy_out(result, there)
    await soon(queue.ticket())
    expected = 1
    for nth in range(10):
        expected = expected * 2 + nth
    assert result.tolist() == [expected]


async def test_queues_that_do_not_wait_for_each_other_may_overtake_and_those_that_do_may_not(device) -> None:
    there, result = device.array((1,), "float32"), poisoned(device, 1)
    first, second, mark = device.queue(), device.queue(), device.mark()
    for number in range(1, 21):
        first.copy_in(there, host_of(device, [number]))
        first.record(mark)
        second.wait_for(mark)
        second.copy_out(result, there)
        await soon(second.ticket())
        assert result.tolist() == [number]


async def test_a_mark_that_was_never_recorded_is_not_waited_for(device) -> None:
    queue = device.queue()
    queue.wait_for(device.mark())
    await soon(queue.ticket())


async def test_who_reads_before_the_ticket_reads_what_was_there() -> None:
    device = HostDevice(SLOW)
    result = poisoned(device, 3)
    queue = device.queue()
    queue.copy_out(result, host_of(device, [1, 2, 3]))
    ticket = queue.ticket()
    assert np.isnan(result).all()
    await soon(ticket)
    assert result.tolist() == [1, 2, 3]
    device.close()


async def test_who_writes_into_a_source_before_the_ticket_has_spoilt_it() -> None:
    device = HostDevice(SLOW)
    given, there = host_of(device, [1, 2, 3]), device.array((3,), "float32")
    queue = device.queue()
    queue.copy_in(there, given)
    ticket = queue.ticket()
    given[...] = 9
    await soon(ticket)
    assert there.tolist() == [9, 9, 9]
    device.close()


async def test_several_tasks_wait_for_tickets_of_one_queue(device) -> None:
    queue, done = device.queue(), []
    there = device.array((4,), "float32")

    async def wait(nth: int, ticket: Any) -> None:
        await ticket.wait()
        done.append(nth)

    with trio.fail_after(LONG_S):
        async with trio.open_nursery() as nursery:
            for nth in range(8):
                queue.copy_in(there, host_of(device, [nth] * 4))
                nursery.start_soon(wait, nth, queue.ticket())
    assert sorted(done) == list(range(8))


async def test_a_wait_that_is_cancelled_leaves_the_others_waiting_well(device) -> None:
    queue, there = device.queue(), device.array((4,), "float32")
    queue.launch(lambda x: x.fill(1), there)
    ticket = queue.ticket()
    with trio.move_on_after(0) as scope:
        await ticket.wait()
    assert scope.cancelled_caught or ticket.is_done
    await soon(ticket)


async def test_a_captured_graph_does_what_was_captured_with_what_is_there_then(device) -> None:
    there, out, result = device.array((3,), "float32"), device.array((3,), "float32"), poisoned(device, 3)
    queue = device.queue()
    queue.copy_in(there, host_of(device, [0, 0, 0]))
    await soon(queue.ticket())

    def work(x: Any, y: Any) -> None:
        for _ in range(5):
            device.xp.add(x, 1, out=y)

    graph = device.capture(queue, work, there, out)
    assert not isinstance(graph, Refusal)
    for number in (1, 5):
        queue.copy_in(there, host_of(device, [number] * 3))
        queue.replay(graph)
        queue.copy_out(result, out)
        await soon(queue.ticket())
        assert result.tolist() == [number + 1] * 3


@pytest.fixture
def mapped(tmp_path: Path) -> mmap.mmap:
    """Float32 numbers from 0, to be read only. Taken before the device, so that it is there until that closes."""
    path = tmp_path / "numbers"
    path.write_bytes(np.arange(4096, dtype="float32").tobytes())
    with path.open("rb") as file:
        return mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)


async def test_memory_of_others_is_copied_from_where_it_lies_whether_it_could_be_registered_or_not(
    mapped, device
) -> None:
    whole = np.frombuffer(mapped, np.uint8)
    is_registered = device.register(whole)
    assert device.register(whole) is is_registered, "it is told again without harm"
    there, result = device.array((1024,), "float32"), poisoned(device, 1024)
    queue = device.queue()
    queue.copy_in(there, whole.view("float32")[1024:2048])
    queue.copy_out(result, there)
    await soon(queue.ticket())
    assert result.tolist() == list(range(1024, 2048))


@pytest.mark.parametrize(
    ("to", "source", "found"),
    [
        ((3,), np.zeros(4, "float32"), r"float32\[4\] is copied to float32\[3\]"),
        ((3,), np.zeros(3, "float64"), "float64"),
        ((3,), np.zeros(6, "float32")[::2], "does not lie in one piece"),
    ],
)
async def test_what_cannot_be_copied_as_it_lies_is_refused_at_once(device, to, source, found) -> None:
    with pytest.raises(DeviceError, match=found):
        device.queue().copy_in(device.array(to, "float32"), source)


# ---------------------------------------------------------------------------------------- what goes wrong


async def test_what_work_raises_comes_out_and_the_queue_goes_on(device) -> None:
    there = device.array((3,), "float32")
    queue = device.queue()

    def broken(x: Any) -> None:
        raise ValueError("a fault of the user's")

    async def give_and_wait() -> None:
        queue.launch(broken, there)
        await soon(queue.ticket())

    with pytest.raises(ValueError, match="a fault of the user's"):
        await give_and_wait()
    result = poisoned(device, 3)
    queue.copy_in(there, host_of(device, [1, 2, 3]))
    queue.copy_out(result, there)
    await soon(queue.ticket())
    assert result.tolist() == [1, 2, 3]


async def test_what_waits_for_work_that_failed_fails_too_and_only_that() -> None:
    device = HostDevice()
    there = device.array((1,), "float32")
    first, second, mark = device.queue(), device.queue(), device.mark()

    def broken(x: Any) -> None:
        raise ValueError("a fault of the user's")

    for is_broken in (True, False, True, False):
        first.launch(broken if is_broken else np.negative, there)
        first.record(mark)
        second.wait_for(mark)
        second.launch(np.negative, there)
        ticket = second.ticket()
        if is_broken:
            with pytest.raises(ValueError, match="a fault of the user's"):
                await soon(ticket)
        else:
            await soon(ticket)
    device.close()


async def test_a_ticket_may_raise_and_the_next_do_well(device) -> None:
    queue = FaultyDevice(device, DeviceFaults(raises=frozenset({1}))).queue()
    await soon(queue.ticket())
    with pytest.raises(WorkError, match="as planned"):
        await soon(queue.ticket())
    await soon(queue.ticket())


async def test_a_ticket_that_is_never_done_holds_up_its_waiter_alone(device) -> None:
    queue = FaultyDevice(device, DeviceFaults(never_done=frozenset({0}))).queue()
    never, other = queue.ticket(), queue.ticket()
    with trio.move_on_after(0.05) as scope:
        await never.wait()
    assert scope.cancelled_caught
    assert not never.is_done
    await soon(other)


async def test_a_lost_device_stays_lost(device) -> None:
    faulty = FaultyDevice(device, DeviceFaults(lost_at=1))
    first, second = faulty.queue(), faulty.queue()
    await soon(first.ticket())
    for queue in (first, second, first):
        with pytest.raises(DeviceLostError):
            await soon(queue.ticket())


def test_no_room_is_told_with_how_much_there_was() -> None:
    device = HostDevice(memory_limit=100)
    device.array((20,), "float32")
    with pytest.raises(DeviceMemoryError, match="80 bytes were asked for, expected at most the 20 that are left"):
        device.array((20,), "float32")


@without_gpu
def test_without_a_gpu_that_is_said_and_nothing_of_what_to_install() -> None:
    with pytest.raises(NoDeviceError) as caught:
        CudaDevice(3).open()
    if not has_cuda_driver():
        assert str(caught.value) == "cuda:3: there is no GPU, or no driver for it"
    else:
        assert caught.value.hint


@without_gpu
def test_with_a_gpu_and_no_cupy_it_says_how_to_get_that(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cupy", None)
    monkeypatch.setattr("streamflow.device.cuda.has_cuda_driver", lambda: True)
    with pytest.raises(
        NoDeviceError, match=r"cuda:0: CuPy cannot be imported \(.*\); pip install 'streamflow\[cuda12\]'"
    ):
        CudaDevice(0).open()
