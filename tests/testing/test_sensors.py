"""Sensors of tests: what they emit is what they said they would."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock

from streamflow.core.message import Attribute
from streamflow.core.pacing import Pacing
from streamflow.core.timebase import ms, s
from streamflow.errors import Fault
from streamflow.runtime.clock import VIRTUAL_START_NS, TrioClock
from streamflow.runtime.node import Context
from streamflow.testing import drive
from streamflow.testing.sensors import Bursts, Scripted, Ticks


class Bench(Context):
    """What a source is lent, on the virtual clock; keeps (number, event time, instant) of what is emitted."""

    stage = "sensor"
    offline = False

    def __init__(self, pacing: Pacing) -> None:
        self._clock = TrioClock()
        self._pacing = pacing
        self.emitted: list[tuple[int, int | None, int]] = []

    def now_ns(self) -> int:
        return self._clock.now_ns()

    def rate_hz(self, port: str) -> float | None:
        return None

    async def sleep_until(self, instant_ns: int) -> None:
        await self._clock.sleep_until(instant_ns)

    async def pace(self, recorded_ns: int) -> int:
        due_ns = self._pacing.due_ns(recorded_ns)
        await self.sleep_until(due_ns)
        return due_ns

    async def emit(
        self, value: Any, port: str | None, event_time_ns: int | None, attributes: Mapping[str, Attribute]
    ) -> None:
        self.emitted.append((int(value), event_time_ns, self.now_ns()))


def emitted_by(sensor: Scripted, *, speed: float = 1.0) -> list[tuple[int, int | None, int]]:
    bench = Bench(Pacing(VIRTUAL_START_NS + s, speed))
    sensor.context = bench
    trio.run(sensor.run, clock=MockClock(autojump_threshold=0))
    return bench.emitted


@given(
    st.floats(0.1, 10_000),
    st.integers(0, 20),
    st.floats(0, 1),
    st.integers(0, 100),
    st.sampled_from([0.5, 1.0, 3.0]),
)
def test_ticks_are_emitted_when_they_said_in_order_and_numbered(
    rate_hz: float, count: int, jitter: float, seed: int, speed: float
) -> None:
    sensor = Ticks(rate_hz, count, jitter_ns=int(jitter * 0.99 * s / rate_hz), seed=seed)
    times_ns = sensor.event_times_ns(VIRTUAL_START_NS + s, speed=speed)
    assert emitted_by(sensor, speed=speed) == [(number, at_ns, at_ns) for number, at_ns in enumerate(times_ns)]
    assert times_ns == sorted(times_ns)
    assert len(times_ns) == count


def test_ticks_without_jitter_keep_the_beat_for_ever() -> None:
    assert Ticks(100, 4).event_times_ns() == [0, 10 * ms, 20 * ms, 30 * ms]
    assert Ticks(3, 30_001).event_times_ns()[-1] == 10_000 * s


def test_jitter_is_within_its_bound_and_by_its_seed() -> None:
    times_ns = Ticks(100, 50, jitter_ns=ms, seed=3).event_times_ns()
    late_ns = [at_ns - number * 10 * ms for number, at_ns in enumerate(times_ns)]
    assert 0 <= min(late_ns) < max(late_ns) <= ms
    assert times_ns == Ticks(100, 50, jitter_ns=ms, seed=3).event_times_ns()
    assert times_ns != Ticks(100, 50, jitter_ns=ms, seed=4).event_times_ns()


def test_a_burst_is_many_data_of_one_instant() -> None:
    sensor = Bursts(20 * ms, 3, 2)
    start_ns = VIRTUAL_START_NS + s
    assert sensor.event_times_ns(start_ns) == [start_ns] * 3 + [start_ns + 20 * ms] * 3
    assert emitted_by(sensor) == [
        (number, at_ns, at_ns) for number, at_ns in enumerate(sensor.event_times_ns(start_ns))
    ]


@pytest.mark.parametrize("sensor", [Ticks(50, 5, jitter_ns=ms), Bursts(10 * ms, 2, 3)])
def test_run_by_hand_it_emits_what_it_declares(sensor: Scripted) -> None:
    messages = drive(sensor).messages
    assert [int(message.array) for message in messages] == list(range(len(messages)))
    assert [message.array.dtype.name for message in messages] == ["int64"] * len(messages)
    assert [message.event_time_ns for message in messages][1:] == sensor.event_times_ns()[1:]


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: Ticks(0, 1), "Ticks: rate_hz=0, expected more than 0"),
        (lambda: Ticks(10, 1, jitter_ns=s), "Ticks: jitter_ns=1000000000, expected 0 to 100000000, a period"),
        (lambda: Bursts(0, 1, 1), "Bursts: period_ns=0, expected more than 0"),
    ],
)
def test_a_setting_that_makes_no_sense_is_told(make: Callable[[], Scripted], sentence: str) -> None:
    with pytest.raises(Fault, match=sentence):
        make()
