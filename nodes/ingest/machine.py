"""This machine as a live sensor: how late it wakes a thread, how busy it is, its memory, network, disks and heat.

Every Linux machine has these signals, at very different rates. Each source sends `float32[channels, chunk]`;
the attribute `channels` names the rows. Readings are taken at absolute instants (start + k / rate), so their
rate does not drift; an instant that passed while the machine was too busy is not made up for but counted, and
the attribute `skipped` tells how many there were so far. Event time is the instant of the newest reading.
"""

from __future__ import annotations

import math
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import trio

from streamflow import InputError, MissingExtraError, Node, Out

MEASURED_CHUNKS_LIMIT = 64  # over a second of jitter at the default rate; more means this process is starved


def following_tick(tick: int, elapsed_ns: int, rate_hz: float) -> int:
    """The first tick after `tick` whose instant (tick / rate after the start) has not passed at `elapsed_ns`."""
    return max(tick + 1, math.ceil(elapsed_ns * rate_hz / 1e9))


class _Polled(Node, ABC):
    """A source that reads a few numbers of this machine at a fixed rate; a subclass says which."""

    live = True

    def __init__(self, rate_hz: float, chunk: int) -> None:
        _require(type(self).__name__, rate_hz, chunk)
        self.rate_hz = rate_hz
        self.chunk = chunk
        self.channels: tuple[str, ...] = ()

    def inspect(self) -> None:
        self.channels = self.find_channels()
        self.readings = Out(f"float32[{len(self.channels)}, {self.chunk}]", rate_hz=self.rate_hz)

    @abstractmethod
    def find_channels(self) -> tuple[str, ...]:
        """Names of what this machine has, in the order of `read`."""

    @abstractmethod
    def read(self, elapsed_s: float) -> list[float]:
        """One value per channel; `elapsed_s` is the time since the last reading, 0 for the first (a baseline)."""

    async def run(self) -> None:
        start_ns = read_ns = time.monotonic_ns()
        self.read(0.0)
        tick = sample = skipped = 0
        rows: list[list[float]] = []
        while True:
            tick, previous = following_tick(tick, time.monotonic_ns() - start_ns, self.rate_hz), tick
            skipped += tick - previous - 1
            await self.context.sleep_until(start_ns + round(tick * 1e9 / self.rate_hz))
            now_ns = time.monotonic_ns()
            rows.append(self.read(max(now_ns - read_ns, 1) / 1e9))
            read_ns = now_ns
            if len(rows) < self.chunk:
                continue
            await self.emit(
                np.array(rows, dtype=np.float32).T,
                event_time_ns=read_ns,
                sample=sample,
                time_s=(read_ns - start_ns) / 1e9,
                channels=",".join(self.channels),
                skipped=skipped,
            )
            sample += self.chunk
            rows.clear()
            self.advance(start_ns + round((tick + self.chunk) * 1e9 / self.rate_hz))  # nothing is read sooner


class SchedulerJitter(Node):
    """How late this machine wakes a sleeping thread, in µs: float32[1, chunk].

    A thread of its own sleeps to absolute instants (Python's `time.sleep` is `clock_nanosleep` on the monotonic
    clock). The figure holds the kernel's timer slack (50 µs unless set otherwise) and about 1 µs of Python.
    """

    live = True

    def __init__(self, rate_hz: float = 250.0, chunk: int = 5) -> None:
        _require("SchedulerJitter", rate_hz, chunk)
        self.rate_hz = rate_hz
        self.chunk = chunk
        self.lateness = Out(f"float32[1, {chunk}]", rate_hz=rate_hz)

    async def run(self) -> None:
        send, receive = trio.open_memory_channel[_Woken](MEASURED_CHUNKS_LIMIT)
        lost = 0

        def keep(woken: _Woken) -> None:
            nonlocal lost
            try:
                send.send_nowait(woken)
            except trio.WouldBlock:
                lost += self.chunk

        token = trio.lowlevel.current_trio_token()

        def deliver(woken: _Woken) -> None:
            token.run_sync_soon(keep, woken)

        stop = threading.Event()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.to_thread.run_sync, self._measure, deliver, stop)
            try:
                async for woken in receive:
                    await self.emit(
                        woken.late_us,
                        event_time_ns=woken.woken_ns,
                        sample=woken.sample,
                        time_s=woken.time_s,
                        channels="wake_late_us",
                        skipped=woken.skipped + lost,
                    )
            finally:
                stop.set()

    def _measure(self, deliver: Callable[[_Woken], None], stop: threading.Event) -> None:
        start_ns = time.monotonic_ns()
        tick = sample = skipped = woken_ns = 0
        while not stop.is_set():
            late_us = np.empty((1, self.chunk), dtype=np.float32)
            for i in range(self.chunk):
                now_ns = time.monotonic_ns()
                tick, previous = following_tick(tick, now_ns - start_ns, self.rate_hz), tick
                skipped += tick - previous - 1
                due_ns = start_ns + round(tick * 1e9 / self.rate_hz)
                time.sleep(max(due_ns - now_ns, 0) / 1e9)
                woken_ns = time.monotonic_ns()
                late_us[0, i] = (woken_ns - due_ns) / 1e3
            deliver(_Woken(late_us, woken_ns, (woken_ns - start_ns) / 1e9, sample, skipped))
            sample += self.chunk


@dataclass(frozen=True, slots=True)
class _Woken:
    """One chunk on its way from the measuring thread to the source."""

    late_us: np.ndarray[Any, Any]
    woken_ns: int
    time_s: float
    sample: int
    skipped: int


class CpuPressure(_Polled):
    """Busy share of all processors, and the share of time that work stalled for want of processor, disk, memory.

    Rows `cpu_busy` and, where the kernel keeps pressure (PSI), `cpu_stall`, `io_stall`, `memory_stall`: 0 to 1,
    over the time since the last reading. The kernel books processor time in ticks of 10 ms, so at 50 Hz and
    with few processors the busy share moves in coarse steps.
    """

    def __init__(self, rate_hz: float = 50.0, chunk: int = 1) -> None:
        super().__init__(rate_hz, chunk)
        self._cpu_ticks = (0, 0)
        self._busy = 0.0
        self._stalled_us: dict[str, int] = {}

    def find_channels(self) -> tuple[str, ...]:
        self._stalled_us = {name: total for name in PRESSURES if (total := stalled_us(name)) is not None}
        return ("cpu_busy", *(f"{name}_stall" for name in self._stalled_us))

    def read(self, elapsed_s: float) -> list[float]:
        with open("/proc/stat", encoding="ascii") as file:
            ticks = cpu_ticks(file.readline())
        busy, total = ticks[0] - self._cpu_ticks[0], ticks[1] - self._cpu_ticks[1]
        if total > 0:  # between two ticks of the kernel's clock there is no news: the last share holds
            self._busy = min(max(busy / total, 0.0), 1.0)
            self._cpu_ticks = ticks
        values = [self._busy]
        for name, before in self._stalled_us.items():
            now = stalled_us(name)
            now = before if now is None else now
            values.append(min((now - before) / 1e6 / elapsed_s, 1.0) if elapsed_s else 0.0)
            self._stalled_us[name] = now
        return values


PRESSURES = ("cpu", "io", "memory")


def cpu_ticks(line: str) -> tuple[int, int]:
    """(busy, total) clock ticks since boot from the first line of /proc/stat (proc(5)).

    Waiting for a disk counts as idle; guest time is left out, for it is in user time already.
    """
    user, nice, system, idle, iowait, irq, softirq, steal = (int(field) for field in line.split()[1:9])
    busy = user + nice + system + irq + softirq + steal
    return busy, busy + idle + iowait


def stalled_us(name: str) -> int | None:
    """Time since boot that some task stalled for want of `name`, from /proc/pressure; None where it is not kept."""
    try:
        with open(f"/proc/pressure/{name}", encoding="ascii") as file:
            return int(file.readline().rpartition("total=")[2])
    except (OSError, ValueError):  # no PSI in this kernel, switched off (psi=0), or hidden in a container
        return None


class MemoryNetwork(_Polled):
    """Rows `memory_used` (share, 0 to 1) and, where there is a network, `received` and `sent` in bytes/s.

    The loopback interface is left out.
    """

    def __init__(self, rate_hz: float = 10.0, chunk: int = 1) -> None:
        super().__init__(rate_hz, chunk)
        self._rates = _ByteRates()

    def find_channels(self) -> tuple[str, ...]:
        return ("memory_used", "received", "sent") if _network_bytes("MemoryNetwork") else ("memory_used",)

    def read(self, elapsed_s: float) -> list[float]:
        used = _psutil("MemoryNetwork").virtual_memory().percent / 100.0
        if len(self.channels) == 1:
            return [used]
        return [used, *self._rates.update(_network_bytes("MemoryNetwork"), elapsed_s)]


class DiskTemperature(_Polled):
    """Rows `disk_read`, `disk_written` (bytes/s) where there is a disk, `temperature` (°C, the highest) where a sensor.

    A machine with neither is an InputError: ask `has_disk_or_temperature` before adding the stage.
    """

    def __init__(self, rate_hz: float = 1.0, chunk: int = 1) -> None:
        super().__init__(rate_hz, chunk)
        self._rates = _ByteRates()
        self._temperature = 0.0

    def find_channels(self) -> tuple[str, ...]:
        names = disk_and_temperature_channels()
        if not names:
            raise InputError(
                "DiskTemperature",
                "this machine shows neither a disk nor a temperature",
                hint="leave the stage out where has_disk_or_temperature() is false",
            )
        return names

    def read(self, elapsed_s: float) -> list[float]:
        values = []
        if "disk_read" in self.channels:
            values = self._rates.update(_disk_bytes(), elapsed_s)
        if "temperature" in self.channels:
            hottest = _highest_temperature()
            self._temperature = self._temperature if hottest is None else hottest
            values.append(self._temperature)
        return values


def disk_and_temperature_channels() -> tuple[str, ...]:
    """Which rows `DiskTemperature` has here; none on a machine without disk and sensor."""
    disk = ("disk_read", "disk_written") if _disk_bytes() else ()
    return (*disk, "temperature") if _highest_temperature() is not None else disk


def has_disk_or_temperature() -> bool:
    """Whether `DiskTemperature` has anything to read on this machine."""
    return bool(disk_and_temperature_channels())


class _ByteRates:
    """Bytes per second from counters that only grow; 0 when a counter starts again."""

    def __init__(self) -> None:
        self._before: tuple[int, ...] = ()

    def update(self, counters: tuple[int, ...], elapsed_s: float) -> list[float]:
        before, self._before = self._before or counters, counters
        if len(counters) != len(before):  # the device is gone for now
            self._before = before
            return [0.0] * len(before)
        if elapsed_s <= 0.0:
            return [0.0] * len(counters)
        return [max(now - then, 0) / elapsed_s for now, then in zip(counters, before, strict=True)]


def _network_bytes(subject: str) -> tuple[int, ...]:
    """(received, sent) over all interfaces but loopback; empty where there is none."""
    counters = _psutil(subject).net_io_counters(pernic=True)
    real = [counter for name, counter in counters.items() if name != "lo"]
    return (sum(c.bytes_recv for c in real), sum(c.bytes_sent for c in real)) if real else ()


def _disk_bytes() -> tuple[int, ...]:
    """(read, written) over all disks; empty where there is none."""
    counters = _psutil("DiskTemperature").disk_io_counters()
    return (counters.read_bytes, counters.write_bytes) if counters else ()


def _highest_temperature() -> float | None:
    """°C of the hottest sensor; None where none answers."""
    sensors = _psutil("DiskTemperature").sensors_temperatures()
    return max((float(sensor.current) for group in sensors.values() for sensor in group), default=None)


def _psutil(subject: str) -> Any:
    try:
        import psutil
    except ImportError:
        raise MissingExtraError(subject, "psutil", "host") from None
    return psutil


def _require(subject: str, rate_hz: float, chunk: int) -> None:
    if not rate_hz > 0:
        raise InputError(subject, f"rate_hz = {rate_hz:g}", "a rate above 0")
    if chunk < 1:
        raise InputError(subject, f"chunk = {chunk}", "at least 1 reading per message")
