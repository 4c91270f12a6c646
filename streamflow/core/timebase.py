"""Durations and instants: integers of nanoseconds; instants are CLOCK_MONOTONIC unless a name says otherwise."""

from __future__ import annotations

ns = 1
us = 1_000
ms = 1_000_000
s = 1_000_000_000


def seconds(duration_ns: int) -> float:
    """A duration as float seconds, for calls into trio and for people."""
    return duration_ns / s


def nanoseconds(duration_s: float) -> int:
    """A duration in seconds as whole nanoseconds, rounded to the nearest."""
    return round(duration_s * s)
