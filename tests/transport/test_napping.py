"""A task that sleeps beside trio's loop wakes for its own descriptor, and keeps nobody else from a turn."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Iterator
from types import ModuleType

import pytest
import trio

from streamflow.transport.napping import Napping


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    reading, writing = os.pipe()
    yield reading, writing
    os.close(reading)
    os.close(writing)


class Cycles(trio.abc.Instrument):
    """Counts the turns of the loop."""

    count = 0

    def before_io_wait(self, timeout: float) -> None:
        self.count += 1


async def made() -> Napping:
    napping = await Napping.here()
    assert napping is not None, "trio is not as it was when this was written: every stage waits in its loop"
    return napping


async def wait(napping: Napping, descriptor: int) -> None:
    """As a stage does."""
    while not napping.sleeps(descriptor):
        await trio.lowlevel.checkpoint()


async def test_it_wakes_when_its_descriptor_can_be_read(pipe: tuple[int, int]) -> None:
    reading, writing = pipe
    napping = await made()
    threading.Timer(0.05, os.write, (writing, b"1")).start()
    await wait(napping, reading)
    assert os.read(reading, 8) == b"1"
    napping.close()


async def test_it_returns_at_once_without_a_turn_for_anybody_where_something_is_there(pipe: tuple[int, int]) -> None:
    reading, writing = pipe
    napping = await made()
    os.write(writing, b"1")
    cycles = Cycles()
    trio.lowlevel.add_instrument(cycles)
    await wait(napping, reading)
    trio.lowlevel.remove_instrument(cycles)
    assert not cycles.count
    napping.close()


async def test_everybody_who_has_something_to_do_has_a_turn_meanwhile(pipe: tuple[int, int]) -> None:
    """Timers, threads and tasks that talk to each other: what the nap waits for comes only after all of them."""
    reading, writing = pipe
    napping = await made()
    told: list[str] = []

    async def sleeper(number: int) -> None:
        await trio.sleep(0.01 * number)
        told.append(f"slept {number}")
        for _ in range(3):
            await trio.lowlevel.checkpoint()

    async def thread() -> None:
        await trio.to_thread.run_sync(time.sleep, 0.03)
        told.append("thread")

    async def talker(send: trio.MemorySendChannel[int], receive: trio.MemoryReceiveChannel[int]) -> None:
        async for number in receive:
            if number < 20:
                await send.send(number + 1)
            else:
                told.append("talked")
            if number >= 19:
                return

    async def others() -> None:
        async with trio.open_nursery() as nursery:
            for number in range(1, 5):
                nursery.start_soon(sleeper, number)
            nursery.start_soon(thread)
            one, other = trio.open_memory_channel[int](0), trio.open_memory_channel[int](0)
            nursery.start_soon(talker, other[0], one[1])
            nursery.start_soon(talker, one[0], other[1])
            await trio.sleep(0.02)
            await one[0].send(0)
        os.write(writing, b"1")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(others)
        await wait(napping, reading)
    assert sorted(told) == [*(f"slept {number}" for number in range(1, 5)), "talked", "thread"]
    assert os.read(reading, 8) == b"1"
    napping.close()


async def test_who_waits_can_be_cancelled_by_time_and_by_another_task(pipe: tuple[int, int]) -> None:
    napping = await made()
    with trio.move_on_after(0.03) as by_time:
        await wait(napping, pipe[0])
    assert by_time.cancelled_caught

    async def cancel(scope: trio.CancelScope) -> None:
        await trio.sleep(0.02)
        scope.cancel()

    async with trio.open_nursery() as nursery:
        with trio.CancelScope() as by_another:
            nursery.start_soon(cancel, by_another)
            await wait(napping, pipe[0])
    assert by_another.cancelled_caught
    napping.close()


async def test_what_is_to_run_already_runs_before_it_sleeps(pipe: tuple[int, int]) -> None:
    reading, writing = pipe
    napping = await made()

    async def write() -> None:
        os.write(writing, b"1")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(write)
        assert napping.others_wait()
        await wait(napping, reading)
    assert not napping.others_wait()
    napping.close()


async def test_it_sleeps_no_longer_than_it_is_told(pipe: tuple[int, int]) -> None:
    napping = await made()
    began = time.monotonic()
    assert not napping.sleeps(pipe[0], 0.03)
    assert time.monotonic() - began >= 0.03
    napping.close()


async def test_of_several_descriptors_the_one_that_is_waited_for_wakes(pipe: tuple[int, int]) -> None:
    reading, writing = pipe
    napping = await made()
    other_reading, other_writing = os.pipe()
    os.write(other_writing, b"1")
    assert napping.sleeps(other_reading)
    began = time.monotonic()
    assert not napping.sleeps(reading, 0.03)
    assert time.monotonic() - began >= 0.03, "the other's is nobody's to wake for any more"
    os.write(writing, b"1")
    assert napping.sleeps(reading)
    napping.close()
    os.close(other_reading)
    os.close(other_writing)


async def test_with_another_trio_everybody_waits_in_its_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "trio._core._run", ModuleType("trio._core._run"))
    assert await Napping.here() is None
