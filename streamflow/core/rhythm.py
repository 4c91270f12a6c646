"""When the next datum is due, where data come at an even pace, and how long before it to be awake.

A sensor that samples at 30 Hz leaves its readers asleep for 33 ms; to be woken then costs more than all that they do.
Who knows the rhythm is woken a little sooner and waits awake for what is left: as much sooner as wakes have been late,
and twice as much as data are off the beat. It is the rhythm of the instants at which they were sent, which a late wake
of their reader does not shift. A gap leaves it as it was; three intervals in a row that are off it begin another.

Where a wait awake was in vain, nothing is expected until the rhythm has been kept again for a while, so of `KEPT_MIN`
data at most one is waited for in vain. Alternative not taken: a mean and a deviation over a window, which one gap
spoils for as long as the window is.
"""

from __future__ import annotations

from dataclasses import dataclass

from streamflow.core.lead import followed
from streamflow.core.timebase import us

KEPT_MIN = 4  # intervals in a row on the beat before the next is expected
STRANGERS_MAX = 3  # intervals in a row off the beat before it is another


@dataclass(slots=True)
class Rhythm:
    """Of what one stage waits for; `limit_ns`: how long a wait may be spent awake."""

    limit_ns: int
    last_ns: int = 0
    period_ns: int = 0
    jitter_ns: int = 0
    """By how much an interval is off the period, on average."""
    kept_count: int = 0
    stranger_count: int = 0
    lead_ns: int = 50 * us
    """As in `core.lead`; it begins with a usual wake."""

    def came(self, sent_ns: int) -> None:
        """A datum, sent at that instant; 0 where instants are not known."""
        interval_ns, self.last_ns = sent_ns - self.last_ns, sent_ns
        if interval_ns <= 0 or interval_ns >= sent_ns:  # none before it
            return
        off_ns = abs(interval_ns - self.period_ns)
        if 2 * off_ns > self.period_ns:
            self.stranger_count += 1
            if self.stranger_count >= STRANGERS_MAX or not self.period_ns:
                self.period_ns, self.jitter_ns, self.kept_count, self.stranger_count = interval_ns, 0, 0, 0
            return
        self.stranger_count = 0
        self.kept_count += 1
        self.period_ns += (interval_ns - self.period_ns) // 8
        self.jitter_ns += (off_ns - self.jitter_ns) // 8

    def wake_ns(self, now_ns: int) -> int:
        """When to be woken for the next datum; 0 where none is expected, or sooner than it is worth to sleep."""
        if self.kept_count < KEPT_MIN or 4 * self.jitter_ns > self.limit_ns:
            return 0
        early_ns = min(self.lead_ns + 2 * self.jitter_ns, self.limit_ns * 3 // 4)  # the rest is for one that is late
        instant_ns = self.last_ns + self.period_ns - early_ns
        return instant_ns if instant_ns > now_ns else 0

    def woken(self, late_ns: int) -> None:
        """The wake for a datum came so long after its instant."""
        self.lead_ns = followed(self.lead_ns, late_ns)

    def missed(self) -> None:
        """It was waited for awake, and did not come."""
        self.kept_count = 0
