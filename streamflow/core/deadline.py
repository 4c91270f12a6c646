"""What must be on time, and what is done about a datum that cannot be: declared by the user, decided before work.

Every instant is CLOCK_MONOTONIC ns. A deadline is the origin's event time plus the path's `within_ns`; `tail_ns`
is the longest remaining way to the path's sink after the stage that decides (Lingua Franca checks a deadline at a
reaction's start; here what is still to come counts as well: GROUND §4, latest start = deadline - tail - cost).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, IntEnum

from streamflow.core.firm import Escalation, Firm


class OnMiss(Enum):
    """What a stage does with a datum that can no longer be on time."""

    DELIVER = "deliver"
    """Work on it all the same; what comes of it is flagged as missed."""
    SHED = "shed"
    """Give it up before any work, and count it."""
    HOLD = "hold"
    """Send the last good result again, flagged as held, as long as it is younger than `max_age`; else shed."""
    DEGRADE = "degrade"
    """Call the node's cheaper `degrade` where that still fits; else shed."""
    CALL = "call"
    """Call the handler that was declared instead of the node; what it returns is sent on, flagged as degraded."""
    STOP = "stop"
    """Shed it, and stop the run safely."""


class Criticality(IntEnum):
    """Classes: data of a higher one are never shed or dropped for data of a lower one."""

    BEST_EFFORT = 0
    NORMAL = 1
    CRITICAL = 2


class Order(Enum):
    """Which datum of a mailbox is served next."""

    FIFO = "fifo"
    EDF = "edf"
    """The one with the earliest deadline; of equal ones the first that came."""


@dataclass(frozen=True, slots=True)
class PathDef:
    """A deadline from a source's event time to the end of processing at a sink, which may be any stage.

    `within_ns` is None for a path that is only accounted for. `max_age_ns` bounds what HOLD repeats.
    """

    name: str
    source: str
    sink: str
    within_ns: int | None
    on_miss: OnMiss = OnMiss.DELIVER
    firm: Firm | None = None
    escalation: tuple[Escalation, ...] = ()
    criticality: Criticality = Criticality.NORMAL
    max_age_ns: int | None = None


@dataclass(frozen=True, slots=True)
class RateDef:
    """A gap of more than `within_ns` between the data on one input is a fault: its sender went silent."""

    name: str
    stage: str
    port: str
    within_ns: int
