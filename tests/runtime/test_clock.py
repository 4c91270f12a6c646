"""What every clock promises, and what only virtual time can: to be exact."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import MockClock, assert_checkpoints, wait_all_tasks_blocked

from streamflow.core.timebase import ms, s, us
from streamflow.runtime.clock import (
    VIRTUAL_START_NS,
    Alarm,
    Clock,
    ClockTimer,
    MonotonicClock,
    RoughTimer,
    Timer,
    TrioClock,
    now_ns,
)


def run_virtually(function: Callable[[], Awaitable[None]]) -> None:
    trio.run(function, clock=MockClock(autojump_threshold=0))


CLOCKS = pytest.mark.parametrize("clock", [MonotonicClock(), TrioClock()], ids=["monotonic", "trio"])
TIMERS = pytest.mark.parametrize(
    ("clock", "new_timer"),
    [(clock, new) for clock in (MonotonicClock(), TrioClock()) for new in (clock.timer, clock.rough_timer)],
    ids=["monotonic", "monotonic, rough", "trio", "trio, rough"],
)


@TIMERS
async def test_a_sleep_never_ends_before_its_instant(clock: Clock, new_timer: Callable[[], ClockTimer]) -> None:
    timer = new_timer()
    try:
        for delay_ns in (1, 1_000, 100_000, 2 * ms):
            instant_ns = clock.now_ns() + delay_ns
            await timer.sleep_until(instant_ns)
            assert clock.now_ns() >= instant_ns
    finally:
        timer.close()


@TIMERS
async def test_a_sleep_until_an_instant_that_has_passed_lets_others_go_on(
    clock: Clock, new_timer: Callable[[], ClockTimer]
) -> None:
    order = []

    async def other() -> None:
        order.append("other")

    timer = new_timer()
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


async def test_a_real_sleep_never_ends_before_its_instant_however_early_it_was_woken() -> None:
    timer = Timer()
    try:
        for number in range(60):  # from the second on with a lead
            instant_ns = now_ns() + (number % 6 * 200 + 50) * us
            await timer.sleep_until(instant_ns)
            assert now_ns() >= instant_ns
    finally:
        timer.close()


@pytest.mark.parametrize("delay_ns", [-s, 1, 1_000, 300 * us])
async def test_a_real_sleep_is_a_checkpoint_with_a_lead_too(delay_ns: int) -> None:
    timer = Timer()
    try:
        for _ in range(3):
            await timer.sleep_until(now_ns() + ms)
        with assert_checkpoints():
            await timer.sleep_until(now_ns() + delay_ns)
    finally:
        timer.close()


@TIMERS
async def test_a_sleep_that_is_cancelled_ends_at_once_and_its_timer_sleeps_again(
    clock: Clock, new_timer: Callable[[], ClockTimer]
) -> None:
    timer = new_timer()
    try:
        for _ in range(3):
            with trio.CancelScope() as scope:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(timer.sleep_until, clock.now_ns() + 3_600 * s)
                    await wait_all_tasks_blocked()
                    scope.cancel()
            assert scope.cancelled_caught
            instant_ns = clock.now_ns() + 2 * ms
            await timer.sleep_until(instant_ns)
            assert clock.now_ns() >= instant_ns
    finally:
        timer.close()


async def test_a_rough_sleep_waits_awake_for_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """The lead of an exact one sets its alarm earlier than its instant, from the second sleep on."""
    set_ns: list[int] = []
    set_alarm = Alarm.set

    def noting(alarm: Alarm, instant_ns: int) -> None:
        set_ns.append(instant_ns)
        set_alarm(alarm, instant_ns)

    monkeypatch.setattr(Alarm, "set", noting)
    for timer, is_early in ((RoughTimer(), False), (Timer(), True)):
        set_ns.clear()
        dues_ns = []
        try:
            for _ in range(3):
                dues_ns.append(now_ns() + 50 * ms)
                await timer.sleep_until(dues_ns[-1])
        finally:
            timer.close()
        assert (set_ns < dues_ns) == is_early
        assert (set_ns == dues_ns) == (not is_early)


async def test_the_real_clock_is_that_of_every_process_of_this_host() -> None:
    before_ns = now_ns()
    between_ns = MonotonicClock().now_ns()
    assert before_ns <= between_ns <= now_ns()


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
