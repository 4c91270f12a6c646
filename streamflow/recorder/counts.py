"""What a recorder says of the edges of its stage, as values."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Live:
    """A datum on an edge, as its sender knows it."""

    is_out: bool
    """Else the sender holds it; with a number it may or may not have gone out."""
    number: int
    """On the link, from 0; -1: it has none yet."""
    generation: int
    origins: tuple[tuple[int, int], ...]
    """Data of sources (stream, seq) that it was made from, at most 8."""
    origin_count: int
    serial: int
    """Of the handling that it came from."""
    nth: int = 0
    """How many data that handling had got onto this edge before."""
    is_given_up: bool = False
    """It is being dropped or let go as lost: `generation` of such were counted before it, after record `number` + 1."""
    turn: int = field(default=0, compare=False)
    """Of an edge between stages: how many had been offered with it."""
    is_free: bool = False
    """It is done with; number, generation, serial and `nth` still stand."""
    place: int = field(default=0, compare=False)
    """Of its slot in the table, from 0."""


@dataclass(frozen=True, slots=True)
class InputCounts:
    """Of an edge, at its receiver."""

    name: str
    received: int
    taken: int
    held: int
    depth_peak: int
    last_arrival_ns: int
    stranger_count: int
    dropped: dict[str, int]
    """By reason; only reasons that occurred."""
    idle_count: int = 0
    step_count: int = 0


@dataclass(frozen=True, slots=True)
class OutputCounts:
    """Of an edge, at its sender."""

    name: str
    offered: int
    transmitted: int
    held: int
    depth_peak: int
    lost: int
    last_offered_ns: int
    is_blocked: bool
    dropped: dict[str, int]
