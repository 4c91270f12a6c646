"""This machine's own sensors, read for real."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from nodes.ingest import CpuPressure, DiskTemperature, MemoryNetwork, SchedulerJitter, has_disk_or_temperature, machine
from streamflow import InputError, MissingExtraError, Node, Output
from streamflow.core.message import Attribute
from streamflow.testing import Driven, drive

psutil = pytest.importorskip("psutil", reason="the extra `host` is not installed")


class RealTime:
    """A context on the real clock, for what `drive`, which never waits, cannot show."""

    stage = "node"
    offline = False

    def __init__(self) -> None:
        self.sent: list[Output] = []
        self.promised_ns: list[int] = []

    def now_ns(self) -> int:
        return time.monotonic_ns()

    def rate_hz(self, port: str) -> float | None:
        return None

    async def pace(self, recorded_ns: int) -> int:
        return recorded_ns

    async def sleep_until(self, instant_ns: int) -> None:
        await trio.sleep(max(instant_ns - time.monotonic_ns(), 0) / 1e9)

    def advance(self, event_time_ns: int) -> None:
        self.promised_ns.append(event_time_ns)

    async def emit(
        self, value: Any, port: str | None, event_time_ns: int | None, attributes: Mapping[str, Attribute]
    ) -> None:
        self.sent.append(Output(value, port, event_time_ns, attributes=attributes))


async def sent_within(node: Node, seconds: float) -> list[Output]:
    return (await ran_for(node, seconds)).sent


async def ran_for(node: Node, seconds: float) -> RealTime:
    node.inspect()
    node.context = context = RealTime()
    with trio.move_on_after(seconds):
        await node.run()  # type: ignore[attr-defined]
    return context


async def test_readings_are_taken_at_absolute_instants_so_that_their_rate_does_not_drift() -> None:
    sent = await sent_within(CpuPressure(rate_hz=50), 0.5)
    assert len(sent) >= 2
    for output in sent:
        facts = output.attributes
        tick = facts["sample"] + 1 + facts["skipped"]
        start_ns = output.event_time_ns - round(facts["time_s"] * 1e9)
        assert output.event_time_ns >= start_ns + tick * 20_000_000 - 1


@pytest.mark.parametrize("chunk", [1, 3])
async def test_each_message_says_when_the_next_one_comes_at_the_earliest_and_not_much_sooner(chunk: int) -> None:
    context = await ran_for(CpuPressure(rate_hz=50, chunk=chunk), 0.5)
    times_ns = [output.event_time_ns for output in context.sent]
    assert len(times_ns) >= 2
    for before_ns, promised_ns, next_ns in zip(times_ns, context.promised_ns, times_ns[1:], strict=False):
        assert before_ns - 20_000_000 < promised_ns - chunk * 20_000_000 <= before_ns
        assert promised_ns <= next_ns


async def test_an_instant_that_passed_is_skipped_and_counted() -> None:
    class Slow(CpuPressure):
        def read(self, elapsed_s: float) -> list[float]:
            time.sleep(0.025)
            return super().read(elapsed_s)

    sent = await sent_within(Slow(rate_hz=100), 0.3)
    skipped = [output.attributes["skipped"] for output in sent]
    assert skipped == sorted(skipped)
    assert skipped[-1] >= 2 * (len(sent) - 1)
    assert [output.attributes["sample"] for output in sent] == list(range(len(sent)))


async def test_jitter_is_measured_on_a_thread_of_its_own_and_the_thread_ends_with_the_source() -> None:
    before = {thread.ident for thread in threading.enumerate() if not thread.daemon}
    sent = await sent_within(SchedulerJitter(rate_hz=250, chunk=5), 0.4)
    after = {thread.ident for thread in threading.enumerate() if not thread.daemon}
    assert after <= before
    late_us = np.concatenate([output.value for output in sent], axis=1)
    assert late_us.dtype == np.float32
    assert late_us.shape[0] == 1
    newest = sent[-1].attributes
    due_s = (newest["sample"] + 5 + newest["skipped"]) / 250
    assert newest["time_s"] == pytest.approx(due_s + late_us[0, -1] / 1e6, abs=1e-5)
    assert late_us.min() > -1.0  # a thread is woken at its instant or after it, never before
    assert np.isfinite(late_us).all()


def arrays_of(driven: Driven) -> np.ndarray:
    return np.concatenate(driven.arrays, axis=1)


def test_processor_shares_and_stalls_lie_between_nothing_and_all() -> None:
    node = CpuPressure(chunk=4)
    driven = drive(node, limit=3)
    shares = arrays_of(driven)
    assert shares.shape == (len(node.channels), 12)
    assert str(node.readings.type) == f"float32[{len(node.channels)}, 4]"
    assert shares.min() >= 0.0
    assert shares.max() <= 1.0
    assert driven.messages[0].attributes["channels"] == ",".join(node.channels)
    assert node.channels[0] == "cpu_busy"


def test_pressure_has_a_row_for_each_kind_that_the_kernel_keeps() -> None:
    kept = tuple(f"{name}_stall" for name in ("cpu", "io", "memory") if Path(f"/proc/pressure/{name}").exists())
    assert CpuPressure().find_channels()[1:] == kept or machine.stalled_us("cpu") is None


async def test_a_busy_processor_is_seen_as_busy() -> None:
    node = CpuPressure(rate_hz=5)
    stop = threading.Event()
    worker = threading.Thread(target=_spin, args=(stop,))
    worker.start()
    try:
        sent = await sent_within(node, 0.7)
    finally:
        stop.set()
        worker.join()
    cores = psutil.cpu_count()
    assert max(float(output.value[0, 0]) for output in sent) > 0.5 / cores


def _spin(stop: threading.Event) -> None:
    while not stop.is_set():
        sum(range(1000))


def test_processor_ticks_are_those_of_proc_stat() -> None:
    line = "cpu  100 10 50 800 40 3 7 5 60 2\n"
    busy = 100 + 10 + 50 + 3 + 7 + 5
    assert machine.cpu_ticks(line) == (busy, busy + 800 + 40)


def test_used_memory_is_what_psutil_says() -> None:
    (first, *_) = drive(MemoryNetwork(), limit=1).arrays
    assert first[0, 0] == pytest.approx(psutil.virtual_memory().percent / 100, abs=0.1)


def test_byte_rates_are_differences_over_the_time_that_passed() -> None:
    rates = machine._ByteRates()
    assert rates.update((1000, 50), 0.0) == [0.0, 0.0]
    assert rates.update((3000, 50), 0.5) == [4000.0, 0.0]
    assert rates.update((10, 150), 0.1) == [0.0, 1000.0]  # the first counter started again
    assert rates.update((), 0.1) == [0.0, 0.0]  # the device is gone for now


async def test_written_bytes_are_seen_on_the_disk_where_there_is_one(tmp_path: Path) -> None:
    if not has_disk_or_temperature():
        pytest.skip("this machine shows neither disk nor temperature")
    node = DiskTemperature(rate_hz=10)
    sent = await sent_within(node, 0.35)
    rows = len(machine.disk_and_temperature_channels())
    assert all(output.value.shape == (rows, 1) and np.isfinite(output.value).all() for output in sent)
    assert len(sent) >= 1


def test_a_machine_without_disk_and_sensor_is_told_before_anything_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(psutil, "disk_io_counters", lambda: None)  # what psutil answers on such a machine
    monkeypatch.setattr(psutil, "sensors_temperatures", dict)
    assert not has_disk_or_temperature()
    with pytest.raises(InputError, match="shows neither a disk nor a temperature; leave the stage out"):
        DiskTemperature().inspect()


def test_without_psutil_the_error_says_what_brings_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "psutil", None)
    with pytest.raises(
        MissingExtraError, match=r"MemoryNetwork: psutil is not installed; pip install 'streamflow\[host\]'"
    ):
        MemoryNetwork().inspect()


@pytest.mark.parametrize("kind", [SchedulerJitter, CpuPressure, MemoryNetwork, DiskTemperature])
def test_every_sensor_of_the_machine_is_live_and_refuses_settings_that_cannot_be(kind: type) -> None:
    assert kind.live
    with pytest.raises(InputError, match=f"{kind.__name__}: rate_hz = 0, expected a rate above 0"):
        kind(rate_hz=0)
    with pytest.raises(InputError, match=f"{kind.__name__}: chunk = 0, expected at least 1"):
        kind(chunk=0)


@given(
    tick=st.integers(0, 10**6),
    elapsed_ns=st.integers(0, 10**15),
    rate_hz=st.floats(0.1, 10_000),
)
def test_the_following_tick_is_the_first_one_whose_instant_has_not_passed(
    tick: int, elapsed_ns: int, rate_hz: float
) -> None:
    following = machine.following_tick(tick, elapsed_ns, rate_hz)
    assert following > tick
    assert following * 1e9 / rate_hz >= elapsed_ns * (1 - 1e-12) or following == tick + 1
    assert following == tick + 1 or (following - 1) * 1e9 / rate_hz < elapsed_ns * (1 + 1e-12)
