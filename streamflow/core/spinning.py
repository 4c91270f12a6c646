"""Whether a stage should wait awake for its next datum, a little while, before it sleeps.

To be woken takes longer than a small datum's whole way, but who waits awake keeps a processor from others. So only as
long as it pays: some of the last waits must have ended within the limit. A stage that is idle, or served at long
intervals, sleeps at once. Alternative not taken: halving the limit after each that was in vain; a stage fed in bursts
would lose it at every pause and win it back slowly.
"""

from __future__ import annotations

from dataclasses import dataclass

from streamflow.core.timebase import ms

SPIN_NS_MAX = 10 * ms  # of several inputs nobody else in the process has a turn meanwhile
REMEMBERED = 8  # waits
SHORT_MIN = 2  # of these must have been short: the cost of those in vain is at most four limits for each that was not
_ALL = (1 << REMEMBERED) - 1


@dataclass(slots=True)
class Spinning:
    """`limit_ns`: how long a wait may be spent awake; 0: never."""

    limit_ns: int
    short_waits: int = 0
    """The last waits, a bit each, 1 for a short one; the newest is the lowest."""

    @property
    def pays(self) -> bool:
        """Whether the wait that begins now should be spent awake at first."""
        return self.short_waits.bit_count() >= SHORT_MIN

    def waited(self, duration_ns: int) -> None:
        """How long a wait was, awake or asleep, until something came."""
        self.short_waits = self.short_waits << 1 & _ALL | (duration_ns <= self.limit_ns)
