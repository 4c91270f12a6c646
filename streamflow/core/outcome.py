"""What can become of a datum on a path, and which of several ends of it counts.

A datum that was sent several ways has several ends. The worst counts, by rank, so that nothing which was lost or
given up hides behind a part that arrived.
"""

from __future__ import annotations

from enum import Enum
from typing import Final, NamedTuple

from streamflow.core.verdict import Kind


class Outcome(Enum):
    """What became of a datum on a path."""

    MET = "met"
    MISSED = "missed"
    ABSORBED = "absorbed"
    SHED = "shed"
    DROPPED = "dropped"
    REJECTED = "rejected"
    LOST = "lost"

    def __init__(self, value: str) -> None:
        self.is_on_time = value in ("met", "absorbed")
        """What a firm contract counts."""


class Missed(NamedTuple):
    """The deadline passed before the datum was done; told once for every datum that is counted as missed."""

    path: int
    stream: int
    seq: int
    event_time_ns: int
    deadline_ns: int
    detected_ns: int


class Finished(NamedTuple):
    """No piece is left. A datum that was missed finishes later, or never.

    `deadline_ns` is 0 without one, `done_ns` the latest end that is known, `became` what it would have been counted
    as if it had not been missed ('arrived' or 'absorbed' for what was handled).
    """

    path: int
    stream: int
    seq: int
    event_time_ns: int
    deadline_ns: int
    done_ns: int
    outcome: Outcome
    became: str


ABSORBED: Final = 1  # ranks: of the pieces of a datum the highest counts
ARRIVED: Final = 2
BECAME: Final = ("open", "absorbed", "arrived", "shed", "rejected", "dropped", "lost")
OUTCOMES: Final = (
    Outcome.MISSED, Outcome.ABSORBED, Outcome.MET, Outcome.SHED, Outcome.REJECTED, Outcome.DROPPED, Outcome.LOST,
)  # fmt: skip
RANKS: Final[dict[int, int]] = {
    int(Kind.RUN): ABSORBED,
    int(Kind.DEGRADED): ABSORBED,
    int(Kind.HELD): ABSORBED,
    int(Kind.CALLED): ABSORBED,
    int(Kind.SHED): 3,
    int(Kind.REJECTED): 4,
    int(Kind.DROPPED): 5,
    int(Kind.LOST): 6,
}
VARIANTS: Final[dict[int, str]] = {int(kind): kind.name.lower() for kind in (Kind.DEGRADED, Kind.HELD, Kind.CALLED)}
