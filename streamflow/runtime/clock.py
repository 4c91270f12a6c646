"""The one place where a clock is read: CLOCK_MONOTONIC, or trio's where time is virtual; and sleeping until an instant.

trio's own timeouts are whole milliseconds of epoll, rounded up, so a sleep ends about 1 ms late. A timerfd takes
absolute instants, so a periodic source does not drift, and what is late then is the wake itself: the processor's, the
host's, the loop's. So the timerfd is set as much early as wakes have been late, and the rest is waited awake
(`core/lead.py`). In virtual time nothing is late: `TrioClock` under `MockClock(autojump_threshold=0)` is exact to the
nanosecond. Alternative not taken: a shorter timer slack; no timerfd has any.
"""

from __future__ import annotations

import ctypes
import os
import time
from pathlib import Path
from typing import NamedTuple, Protocol

import trio

from streamflow.core.lead import Lead
from streamflow.core.timebase import nanoseconds, s, seconds
from streamflow.transport.napping import Napping

_CLOCK_MONOTONIC = 1
_TFD_TIMER_ABSTIME = 1
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
VIRTUAL_START_NS = 1_000 * s  # what is recorded from before the start of a virtual run has positive instants too


class ClockTimer(Protocol):
    """Sleeps of one task."""

    async def sleep_until(self, instant_ns: int, napping: Napping | None = None) -> None:
        """Return at `instant_ns`, or at once if it has passed.

        Always a checkpoint; with `napping` only where others have something to do.
        """

    def close(self) -> None: ...


class Clock(Protocol):
    """A timeline on which a run takes place."""

    def now_ns(self) -> int: ...
    def wall_ns(self) -> int:
        """Now, since the epoch, for people; of a virtual clock an instant of its own."""

    def timer(self) -> ClockTimer:
        """One that is exact, which may wait awake."""

    def rough_timer(self) -> ClockTimer:
        """One that may be tens to hundreds of microseconds late, and never waits awake."""


def now_ns() -> int:
    """The current instant, in CLOCK_MONOTONIC ns: the same for every process of this host."""
    return time.monotonic_ns()


class Instants(NamedTuple):
    """One instant by two clocks, and of which boot of this host the monotonic one is."""

    boot: str
    monotonic_ns: int
    wall_ns: int


def instants() -> Instants:
    """Now. Who compares two of them knows what the monotonic clock of one boot is by that of another."""
    before_ns = time.monotonic_ns()
    wall_ns = time.time_ns()
    monotonic_ns = (before_ns + time.monotonic_ns()) // 2
    return Instants(_BOOT_ID.read_text().strip(), monotonic_ns, wall_ns)


class _Timespec(ctypes.Structure):
    _fields_ = (("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long))


class _Itimerspec(ctypes.Structure):
    _fields_ = (("interval", _Timespec), ("value", _Timespec))


_libc = ctypes.CDLL(None, use_errno=True)


class Alarm:
    """A file that can be read from an instant on: a timerfd.

    `os.timerfd_create` is Python 3.13's; the C library's serves every version.
    """

    def __init__(self) -> None:
        self.fd = _libc.timerfd_create(_CLOCK_MONOTONIC, os.O_CLOEXEC)
        if self.fd < 0:
            raise OSError(ctypes.get_errno(), "timerfd_create: " + os.strerror(ctypes.get_errno()))
        self._setting = _Itimerspec()
        self._setting_reference = ctypes.byref(self._setting)

    def set(self, instant_ns: int) -> None:
        """From `instant_ns` on, and until it is set again: what has expired need not be read."""
        value = self._setting.value
        value.seconds, value.nanoseconds = divmod(instant_ns, 1_000_000_000)
        if _libc.timerfd_settime(self.fd, _TFD_TIMER_ABSTIME, self._setting_reference, None) < 0:
            raise OSError(ctypes.get_errno(), "timerfd_settime: " + os.strerror(ctypes.get_errno()))

    async def wait(self, instant_ns: int, napping: Napping | None = None) -> int:
        """Sleep until `instant_ns`, which is to come; the instant at which the wake came."""
        self.set(instant_ns)
        woken_ns = 0
        while woken_ns < instant_ns:
            if napping is None:
                await trio.lowlevel.wait_readable(self.fd)
            elif not napping.sleeps(self.fd):
                await trio.lowlevel.checkpoint()
            woken_ns = now_ns()
        return woken_ns

    def close(self) -> None:
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


class Timer:
    """Sleeps of one task, whose ends may be waited awake.

    That is at most 0.4 ms of a sleep, half of it, and 2 % of a core of all of them together. No other task of the
    process has a turn meanwhile, and a cancellation that falls into it comes at the next checkpoint.
    """

    def __init__(self) -> None:
        self._alarm = Alarm()
        self._lead = Lead()

    async def sleep_until(self, instant_ns: int, napping: Napping | None = None) -> None:
        """Return at `instant_ns`, or at once if it has passed."""
        asleep_ns = now_ns()
        if instant_ns <= asleep_ns:
            if napping is None or napping.others_wait():
                await trio.lowlevel.checkpoint()
            return
        wake_ns = self._lead.wake_ns(asleep_ns, instant_ns)
        woken_ns = await self._alarm.wait(wake_ns, napping)
        self._lead.woken(woken_ns - wake_ns, max(0, instant_ns - woken_ns))
        while now_ns() < instant_ns:
            pass  # the rest, which the lead bounds

    def close(self) -> None:
        self._alarm.close()


class RoughTimer:
    """Sleeps of one task that end when the wake comes, for those to whom its lateness is nothing."""

    def __init__(self) -> None:
        self._alarm = Alarm()

    async def sleep_until(self, instant_ns: int, napping: Napping | None = None) -> None:
        """Return soon after `instant_ns`, or at once if it has passed; always a checkpoint."""
        if now_ns() < instant_ns:
            await self._alarm.wait(instant_ns, napping)
        else:
            await trio.lowlevel.checkpoint()

    def close(self) -> None:
        self._alarm.close()


class MonotonicClock:
    """The real one: CLOCK_MONOTONIC, and timerfds to sleep by."""

    now_ns = staticmethod(time.monotonic_ns)
    wall_ns = staticmethod(time.time_ns)

    def timer(self) -> ClockTimer:
        return Timer()

    def rough_timer(self) -> ClockTimer:
        return RoughTimer()


class TrioClock:
    """Whatever clock trio runs by, virtual ones above all; only within `trio.run`.

    trio counts float seconds, MockClock from 0: for the first 48 days their steps are below half a nanosecond,
    so every instant is a whole number of nanoseconds again when it is reached.
    """

    def __init__(self, start_ns: int = VIRTUAL_START_NS) -> None:
        """`start_ns` is the instant at which trio's clock says 0."""
        self._start_ns = start_ns

    def now_ns(self) -> int:
        return self._start_ns + nanoseconds(trio.current_time())

    def wall_ns(self) -> int:
        """As if it had begun with the epoch: the same run tells the same again."""
        return self.now_ns()

    async def sleep_until(self, instant_ns: int, napping: Napping | None = None) -> None:
        """For any number of tasks at once: it holds nothing."""
        await trio.lowlevel.checkpoint()
        if self.now_ns() < instant_ns:
            await trio.sleep_until(seconds(instant_ns - self._start_ns))

    def timer(self) -> ClockTimer:
        return _TrioTimer(self)

    rough_timer = timer  # no other is late here


class _TrioTimer:
    def __init__(self, clock: TrioClock) -> None:
        self.sleep_until = clock.sleep_until

    def close(self) -> None:
        """Nothing is held."""
