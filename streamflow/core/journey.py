"""What is known of a datum's way, and of what the stages on it did meanwhile: what a culprit is found by."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple


class Service(NamedTuple):
    """A stage's work on some datum, or its device's; `ended_ns` None: it is still at it."""

    started_ns: int
    ended_ns: int | None
    stream: str
    seq: int
    is_device: bool = False


class Stall(NamedTuple):
    """A process's loop stood still; `ended_ns` None: it still does."""

    started_ns: int
    ended_ns: int | None
    is_gc: bool = False


class Down(NamedTuple):
    """A stage had no process; `ended_ns` None: it still has none. `lost_device`: it ended since that one was lost."""

    started_ns: int
    ended_ns: int | None
    lost_device: str = ""


class Blocked(NamedTuple):
    """A stage waited for room at another, `stage`; `ended_ns` None: it still does."""

    started_ns: int
    ended_ns: int | None
    stage: str


@dataclass(frozen=True, slots=True)
class Doings:
    """What a stage did around the time in question; `services` are those of other data, in order of time."""

    services: Sequence[Service] = ()
    stalls: Sequence[Stall] = ()
    downs: Sequence[Down] = ()
    blocked: Sequence[Blocked] = ()
    is_sink: bool = False


class Drop(NamedTuple):
    """A piece of the datum that was dropped elsewhere on the route: by which stage, on which edge, when."""

    stage: str
    edge: str
    at_ns: int


NOT_DONE: Final = 1 << 62  # ns


@dataclass(frozen=True, slots=True)
class Hop:
    """The datum at one stage. None: not yet. `sent_ns`: when the stage before offered it.

    `blocked_ns`: of the time between started and ended, waiting for room downstream. `device_done_ns` 0: no device;
    `NOT_DONE`: one has it still.
    """

    stage: str
    edge: str
    sent_ns: int
    enqueued_ns: int | None = None
    started_ns: int | None = None
    ended_ns: int | None = None
    blocked_ns: int = 0
    device_done_ns: int = 0
    batch: int = 1
    is_sink: bool = False


@dataclass(frozen=True, slots=True)
class Journey:
    """All that is known of a datum on one path, in the order of its hops; `sent_ns` is when its source emitted it.

    `until_ns`: when it was done, or the instant up to which it is looked at (its expiry). `doings`: of the stages on
    its way, and of all that these waited for.
    """

    source: str
    event_time_ns: int
    deadline_ns: int
    until_ns: int
    sent_ns: int | None
    hops: Sequence[Hop] = ()
    doings: Mapping[str, Doings] = field(default_factory=dict)
    drops: Sequence[Drop] = ()
