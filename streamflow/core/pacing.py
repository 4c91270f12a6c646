"""When a recorded datum is due: recordings replay by their own time stamps, however irregular."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Pacing:
    """`speed` 2.0 plays twice as fast. The event time of a datum is when it is due, not when it got out."""

    start_ns: int
    speed: float

    def due_ns(self, recorded_ns: int) -> int:
        """The instant at which a sample recorded `recorded_ns` after the start of its recording is due."""
        return self.start_ns + round(recorded_ns / self.speed)
