"""Joins in whole runs, in virtual time: what comes together, when, what is told of it, and that the accounts hold."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from nodes.ingest import Thermometer
from streamflow import Flag, In, Message, Node, Out, Output, Pipeline, ms
from streamflow.joins import (
    Approximate,
    Blend,
    Exact,
    Interpolate,
    Join,
    Latest,
    Nearest,
    OnMissing,
    Settled,
    Window,
)
from streamflow.testing import Simulation, Ticks, simulate

FAST, SLOW = "fast", "slow"


class Fuse(Node):
    """Sends the numbers that came together: -1 for none, their sum for several."""

    fast = In("int64[]")
    slow = In("int64[]")
    both = Out("float64[2]")
    late = Out("int64[]")

    def process(self, *, fast: Any, slow: Any) -> Any:
        return Output(np.array([_number(fast), _number(slow)]), port="both")


def _number(part: Any) -> float:
    if part is None:
        return -1.0
    if isinstance(part, tuple):
        return float(sum(int(message.array) for message in part))
    return float(part.array)


class Sparse(Node):
    """Of every forty data it sends one on."""

    number = In("int64[]")
    out = Out("int64[]")

    def process(self, message: Message) -> Any:
        return message.array if message.seq % 40 == 39 else None


class Sink(Node):
    data = In()

    def process(self, message: Message) -> None: ...


def pipeline(join: Join, *, fast: Callable[[], Node], slow: Callable[[], Node], sparse: bool = False) -> Pipeline:
    p = Pipeline("rates")
    left, right = p.add("fast", fast()), p.add("slow", slow())
    fused, sink, late = p.add("fused", Fuse(), join=join), p.add("sink", Sink()), p.add("late", Sink())
    if sparse:
        between = p.add("sparse", Sparse())
        p.connect(left, between)
        p.connect(between, fused.fast)
    else:
        p.connect(left, fused.fast)
    p.connect(right, fused.slow)
    p.connect(fused.both, sink)
    p.connect(fused.late, late)
    return p


def run(join: Join, *, offline: bool = False, sparse: bool = False, **options: Any) -> Simulation:
    """100 Hz and 30 Hz for 0.6 s."""
    p = pipeline(join, fast=lambda: Ticks(100, 60), slow=lambda: Ticks(30, 18), sparse=sparse)
    simulation = simulate(p, offline=offline, **options)
    assert simulation.failure is None
    assert simulation.report["conserved"] is True
    return simulation


def rows(simulation: Simulation) -> list[tuple[float, float]]:
    return [tuple(message.array) for message in simulation.results("sink")]


NEAREST = [(round(k * 10 / 3 + 1e-9), k) for k in range(18)]


@pytest.mark.parametrize("offline", [False, True])
def test_the_nearest_come_together_and_the_rest_is_absorbed(offline: bool) -> None:
    simulation = run(Nearest(trigger=SLOW, max_wait=20 * ms), offline=offline)
    assert rows(simulation) == NEAREST
    path = simulation.paths["fast->sink"]
    assert (path["produced"], path["met"], path["absorbed"]) == (60, 18, 42)
    assert simulation.stages["fused"]["left_out"] == {"fast": {"passed_over": 42}}


def test_each_result_tells_how_old_and_how_far_apart_its_inputs_were() -> None:
    told = run(Nearest(trigger=SLOW, max_wait=20 * ms)).results("sink")[2].attributes
    assert (told["fast_state"], told["slow_state"]) == ("used", "used")
    assert told["fast_age_ms"] == 0, "the nearest was taken after it"
    assert told["skew_ms"] == pytest.approx(10 / 3, abs=1e-3)


@pytest.mark.parametrize(
    "join",
    [
        Nearest(trigger=SLOW),
        Approximate(max_skew=20 * ms),
        Latest(trigger=SLOW),
        Interpolate(every=25 * ms),
        Window(span=100 * ms),
        Settled(on_missing=OnMissing.PARTIAL),
    ],
    ids=lambda join: type(join).__name__,
)
def test_without_a_clock_the_rows_are_the_same_however_long_the_stages_before_take(join: Join) -> None:
    """A stage before an input that takes its time, and one that passes on little."""
    plain = run(join, offline=True)
    slow = run(join, offline=True, service={"fast": 4 * ms, "fused": 1 * ms})
    assert rows(plain)
    assert rows(plain) == rows(slow)
    assert [m.attributes for m in plain.results("sink")] == [m.attributes for m in slow.results("sink")]
    sparse = run(join, offline=True, sparse=True)
    again = run(join, offline=True, sparse=True, service={"sparse": 7 * ms})
    assert rows(sparse) == rows(again)


def test_a_branch_that_passes_on_little_keeps_no_row_waiting_because_it_says_how_far_it_has_come() -> None:
    join = Settled(trigger=SLOW, on_missing=OnMissing.PARTIAL)
    simulation = run(join, sparse=True)
    expected = [(-1.0 if k * 10 / 3 < 39 else 39.0, float(k)) for k in range(18)]
    assert rows(simulation) == expected
    waits = [message.sent_ns - message.event_time_ns for message in simulation.results("sink")[:-1]]
    assert max(waits) < 12 * ms, "until the next datum of the fast source was absorbed, and not for ever"


def test_a_sensor_that_falls_silent_holds_rows_up_for_their_wait_and_then_not_at_all() -> None:
    join = Settled(trigger=SLOW, max_wait=30 * ms, idle_timeout=100 * ms, on_missing=OnMissing.PARTIAL, max_age=50 * ms)
    p = pipeline(join, fast=lambda: Ticks(100, 20), slow=lambda: Ticks(30, 30))
    simulation = simulate(p)
    assert simulation.report["conserved"] is True
    got = [(m.event_time_ns - simulation.results("sink")[0].event_time_ns, m) for m in simulation.results("sink")]
    assert len(got) == 30
    held = [m for at_ns, m in got if at_ns > 250 * ms]
    assert all(m.attributes["fast_state"] == "stale" for m in held)
    assert all(m.flags & Flag.PARTIAL for m in held)


class Pausing(Node):
    """Says nothing for a while, and then goes on."""

    number = Out("int64[]")

    async def run(self) -> None:
        for index in range(90):
            if not 20 <= index < 60:
                at_ns = await self.pace(index * 10 * ms)
                await self.emit(np.int64(index), event_time_ns=at_ns)


def test_a_silent_sensor_is_counted_and_joins_in_again_by_itself() -> None:
    join = Settled(trigger=SLOW, max_wait=30 * ms, idle_timeout=100 * ms, on_missing=OnMissing.PARTIAL, max_age=50 * ms)
    simulation = simulate(pipeline(join, fast=Pausing, slow=lambda: Ticks(30, 27)))
    assert simulation.report["conserved"] is True
    assert simulation.stages["fused"]["silent"] == {"fast": 1}
    waits = [message.sent_ns - message.event_time_ns for message in simulation.results("sink")]
    assert max(waits) <= 31 * ms
    while_idle = [
        wait for wait, m in zip(waits, simulation.results("sink"), strict=True) if 10 <= int(m.array[1]) <= 17
    ]
    assert max(while_idle) < 2 * ms
    assert rows(simulation)[-1][0] == pytest.approx(86, abs=1)


def test_a_timer_makes_rows_at_its_very_instants() -> None:
    simulation = run(Latest(every=20 * ms))
    times = [message.event_time_ns for message in simulation.results("sink")]
    assert all(time % (20 * ms) == 0 for time in times)
    assert all(0 <= m.sent_ns - m.event_time_ns < 1 * ms for m in simulation.results("sink"))
    assert len(times) >= 28


def test_values_are_interpolated_at_the_instants_of_the_trigger() -> None:
    simulation = run(Interpolate(trigger=SLOW, max_wait=20 * ms))
    numbers = rows(simulation)
    assert [number for number, _ in numbers] == pytest.approx([k * 10 / 3 for k in range(len(numbers))], abs=1e-3)
    assert len(numbers) == 18


def test_all_of_a_span_are_handed_over_together() -> None:
    simulation = run(Window(trigger=SLOW, span=100 * ms, max_wait=20 * ms), offline=True)
    expected = [(float(sum(n for n in range(60) if k * 10 / 3 - 10 < n <= k * 10 / 3)), float(k)) for k in range(18)]
    assert rows(simulation) == expected


def test_late_data_go_to_an_output_of_their_own() -> None:
    join = Settled(max_wait=1 * ms, on_missing=OnMissing.PARTIAL, late="late")
    p = pipeline(join, fast=lambda: Ticks(100, 30), slow=lambda: Ticks(30, 9))
    simulation = simulate(p, service={"slow": 25 * ms})
    assert simulation.report["conserved"] is True
    late = simulation.results("late")
    assert late
    assert {int(m.array) for m in late} <= set(range(9))
    assert "late" not in simulation.stages["fused"]["left_out"].get("slow", {})


def test_a_row_that_may_lack_nothing_fails_the_stage_with_a_sentence() -> None:
    p = pipeline(
        Exact(max_wait=5 * ms, on_missing=OnMissing.FAIL), fast=lambda: Ticks(100, 10), slow=lambda: Ticks(50, 5)
    )
    simulation = simulate(p, restarts=False)
    assert simulation.failure is not None
    assert simulation.failure.startswith("stage fused: input slow: stale at event time ")
    assert "expected a value for every row (on_missing=FAIL)" in simulation.failure
    assert simulation.report["conserved"] is True


class Turning(Node):
    """An orientation that turns about z by 90 degrees a second."""

    orientation = Out("float64[4]")

    async def run(self) -> None:
        for index in range(5):
            at_ns = await self.pace(index * 100 * ms)
            half = np.radians(90) * index * 0.1 / 2
            await self.emit(np.array([np.cos(half), 0, 0, np.sin(half)]), event_time_ns=at_ns)


class Compass(Node):
    orientation = In("float64[4]")
    tick = In("int64[]")
    heading = Out("float64[]")

    def process(self, *, orientation: Message, tick: Message) -> Any:
        w, _, _, z = orientation.array
        return np.degrees(2 * np.arctan2(z, w))


def test_orientations_are_interpolated_along_the_arc() -> None:
    p = Pipeline("compass")
    body, tick = p.add("body", Turning()), p.add("tick", Ticks(40, 16))
    join = Interpolate(trigger="tick", blend={"orientation": Blend.SLERP})
    compass, sink = p.add("compass", Compass(), join=join), p.add("sink", Sink())
    p.connect(body, compass.orientation)
    p.connect(tick, compass.tick)
    p.connect(compass, sink)
    simulation = simulate(p, offline=True)
    headings = [float(message.array) for message in simulation.results("sink")]
    assert headings == pytest.approx([90 * k * 0.025 for k in range(16)], abs=1e-9)


class Room(Node):
    """A reading a second and an eye that looks eight times."""

    temperature = In("float32[1]")
    look = In("int64[]")
    celsius = Out("float64[]")

    def process(self, *, temperature: Message | None, look: Message) -> Any:
        return np.float64(np.nan if temperature is None else temperature.array.item())


@pytest.mark.parametrize("speed", [0.5, 1.0, 3.0])
def test_a_slow_sensor_that_says_when_it_speaks_next_keeps_no_row_waiting_at_any_speed(speed: float) -> None:
    p = Pipeline("room")
    eye, thermometer = p.add("eye", Ticks(8, 40)), p.add("thermometer", Thermometer(duration_s=5))
    room = p.add("room", Room(), join=Settled(trigger="look", on_missing=OnMissing.PARTIAL))
    sink = p.add("sink", Sink())
    p.connect(eye, room.look)
    p.connect(thermometer.signal, room.temperature)
    p.connect(room, sink)
    simulation = simulate(p, speed=speed)
    assert simulation.report["conserved"] is True
    found = simulation.results("sink")
    assert len(found) == 40
    expected = [21 + 1.5 * np.sin(2 * np.pi * (k // 8) / 600) for k in range(40)]
    assert [float(m.array) for m in found] == pytest.approx(expected, abs=1e-5)
    assert max(m.sent_ns - m.event_time_ns for m in found) < 6 * ms


def test_without_a_clock_an_input_is_not_silent_before_anything_has_come() -> None:
    """Both inputs begin at instant 0, whichever is taken first."""
    simulation = run(Settled(trigger=SLOW, idle_timeout=100 * ms, on_missing=OnMissing.PARTIAL), offline=True)
    assert rows(simulation)[0] == (0.0, 0.0)
    assert simulation.stages["fused"]["silent"] == {}
