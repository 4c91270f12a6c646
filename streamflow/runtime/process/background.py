"""Processes that look on step back for those that work, so that no datum waits. Imports nothing that takes time.

Niceness alone does not do it: Linux lets who runs run on for a slice of some 3 ms although somebody more important
wakes, and where it groups processes by session (sched_autogroup) it counts within a session alone.
"""

from __future__ import annotations

import ctypes
import os
import platform
import struct
from contextlib import suppress
from pathlib import Path

NICENESS = 19
SLICE_NS = 100_000  # the least that it takes
SCHED_SETATTR = {"x86_64": 314, "aarch64": 274}
SCHED_ATTR = struct.Struct("@IIQiIQQQ")  # size, policy, flags, nice, priority, runtime, deadline, period
AUTOGROUP = Path("/proc/self/autogroup")


def step_back() -> None:
    """Of this process, and of its session where the system groups by them. What is not allowed is left as it is."""
    with suppress(OSError):
        AUTOGROUP.write_text(str(NICENESS))
    take_short_slices()


def take_short_slices() -> None:
    """Of this process alone, whose session may have others in it.

    The scheduler lets who runs run on for a slice (3 ms) even where somebody more important wakes: so the shortest
    slice there is, which Linux takes from 6.12 on (sched_setattr(2), sched_runtime of SCHED_OTHER).
    """
    os.nice(NICENESS)
    number = SCHED_SETATTR.get(platform.machine())
    if number is not None:
        attributes = SCHED_ATTR.pack(SCHED_ATTR.size, 0, 0, NICENESS, 0, SLICE_NS, 0, 0)
        ctypes.CDLL(None).syscall(number, 0, attributes, 0)
