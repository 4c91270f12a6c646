"""What became of a datum at a stage: the kinds of records in a flight recorder."""

from __future__ import annotations

from enum import IntEnum


class Kind(IntEnum):
    """The numbers are the recorder's format."""

    ADMITTED = 1
    """A source made it: one piece begins on each path of the mask."""
    REJECTED = 2
    """A source could not pass it on."""
    RUN = 3
    """Handled; where the mask says so it ended here: at the path's sink it arrived, elsewhere it was absorbed."""
    DEGRADED = 4
    """Handled by the cheaper variant."""
    HELD = 5
    """The last good result was sent again in its place."""
    CALLED = 6
    """The declared handler was called instead."""
    SHED = 7
    """Given up before any work: it could not have been on time."""
    DROPPED = 8
    """By a full mailbox, without a partner in a join, or too old."""
    LOST = 9
    """With a process that died, or in a stage that failed."""
    SPLIT = 10
    """One more piece of it begins on each path of the mask."""
    STALL = 11
    """From started to ended the process's loop stood still; no datum."""
    RESTARTED = 12
    """From started to ended the stage was down; no datum."""
    BLOCKED = 13
    """From started to ended the stage waited for room on the edge of `sender`, one of its outputs'; no datum."""


WORK = frozenset({Kind.RUN, Kind.DEGRADED, Kind.HELD, Kind.CALLED})
"""Kinds of a datum that was handled, in one way or another."""
