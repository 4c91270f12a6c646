"""What every clock promises, and what only virtual time can: to be exact."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import MockClock

from streamflow.core.timebase import ms, s
from streamflow.runtime.clock import VIRTUAL_START_NS, Clock, MonotonicClock, Timer, TrioClock, now_ns


def run_virtually(function: Callable[[], Awaitable[None]]) -> None:
    trio.run(function, clock=MockClock(autojump_threshold=0))


CLOCKS = pytest.mark.parametrize("clock", [MonotonicClock(), TrioClock()], ids=["monotonic", "trio"])


@CLOCKS
async def test_a_sleep_never_ends_before_its_instant(clock: Clock) -> None:
    timer = clock.timer()
    try:
        for delay_ns in (1, 1_000, 100_000, 2 * ms):
            instant_ns = clock.now_ns() + delay_ns
            await timer.sleep_until(instant_ns)
            assert clock.now_ns() >= instant_ns
    finally:
        timer.close()


@CLOCKS
async def test_a_sleep_until_an_instant_that_has_passed_lets_others_go_on(clock: Clock) -> None:
    order = []

    async def other() -> None:
        order.append("other")

    timer = clock.timer()
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(other)
            for _ in range(2):  # a task that is started has its turn by the second one
                await timer.sleep_until(clock.now_ns() - s)
            order.append("slept")
    finally:
        timer.close()
    assert order == ["other", "slept"]


@CLOCKS
async def test_instants_are_positive_whole_numbers_and_never_go_back(clock: Clock) -> None:
    instants = [clock.now_ns() for _ in range(100)]
    assert all(type(instant) is int and instant > 0 for instant in instants)
    assert instants == sorted(instants)


async def test_the_real_clock_is_that_of_every_process_of_this_host() -> None:
    before_ns = now_ns()
    between_ns = MonotonicClock().now_ns()
    assert before_ns <= between_ns <= now_ns()
    assert isinstance(MonotonicClock().timer(), Timer)


def test_virtual_time_begins_where_it_is_said_to() -> None:
    seen = []

    async def look() -> None:
        seen.extend([TrioClock().now_ns(), TrioClock(7).now_ns()])

    run_virtually(look)
    assert seen == [VIRTUAL_START_NS, 7]


def test_a_virtual_day_takes_no_time_and_periodic_sleeps_do_not_drift() -> None:
    async def tick() -> None:
        clock = TrioClock()
        timer = clock.timer()
        for number in range(1, 1001):
            due_ns = VIRTUAL_START_NS + number * 86_400 * s // 1000
            await timer.sleep_until(due_ns)
            assert clock.now_ns() == due_ns

    run_virtually(tick)


@settings(max_examples=50)
@given(st.lists(st.integers(1, 30 * 86_400 * s), min_size=1, max_size=8))
def test_every_virtual_sleep_ends_at_its_nanosecond_whatever_others_sleep_for(delays_ns: list[int]) -> None:
    """A month, to the nanosecond, through trio's float seconds."""
    clock = TrioClock()
    ended = []

    async def sleep(instant_ns: int) -> None:
        await clock.sleep_until(instant_ns)
        ended.append((instant_ns, clock.now_ns()))

    async def everybody() -> None:
        async with trio.open_nursery() as nursery:
            for delay_ns in delays_ns:
                nursery.start_soon(sleep, VIRTUAL_START_NS + delay_ns)

    run_virtually(everybody)
    assert [due_ns for due_ns, _ in ended] == sorted(VIRTUAL_START_NS + delay_ns for delay_ns in delays_ns)
    assert all(woken_ns == due_ns for due_ns, woken_ns in ended)
