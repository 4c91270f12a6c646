"""Durations and instants: integers of nanoseconds; instants are CLOCK_MONOTONIC unless a name says otherwise."""

from __future__ import annotations

from typing import Final

ns: Final = 1
us: Final = 1_000
ms: Final = 1_000_000
s: Final = 1_000_000_000


def seconds(duration_ns: int) -> float:
    """A duration as float seconds, for calls into trio and for people."""
    return duration_ns / s


def nanoseconds(duration_s: float) -> int:
    """A duration in seconds as whole nanoseconds, rounded to the nearest."""
    return round(duration_s * s)
