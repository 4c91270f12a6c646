"""How long before an instant to be woken for it: as long as wakes have been late, so that the rest is waited awake.

To be woken takes tens to hundreds of microseconds, most of them the processor's, which had gone to sleep. Who is woken
that much early is in time, and waits awake for what is left. How late a wake is varies little on an idle processor, so
next to nothing is left; where it varies much, an allowance bounds what is waited awake to a share of the time.
Alternative not taken: always the longest of the last wakes; one of them was late because others computed, and the ten
after it would wait awake in vain.
"""

from __future__ import annotations

from dataclasses import dataclass

from streamflow.core.timebase import ms, us

LEAD_NS_MAX = 400 * us  # more than an idle processor needs; nobody else in the process has a turn while one waits awake
UP_NS, DOWN_NS = 15 * us, 5 * us  # the lead settles where one wake of four is later than it
AWAKE_SHARE = 50  # one fiftieth of the time that passes, 2 % of a core, may be waited awake
ALLOWANCE_NS_MAX = 2 * ms  # and so much at once, of a time in which that was not used


def followed(lead_ns: int, late_ns: int) -> int:
    """The lead after one more wake, which came so late."""
    return min(lead_ns + UP_NS, LEAD_NS_MAX) if late_ns > lead_ns else max(lead_ns - DOWN_NS, 0)


@dataclass(slots=True)
class Lead:
    """Of one timer. It begins without a lead: who sleeps once with it does not wait awake."""

    lead_ns: int | None = None
    """The upper quartile of how late wakes are; None: none was seen."""
    allowance_ns: int = ALLOWANCE_NS_MAX
    allowed_ns: int = 0
    """The instant up to which the allowance is counted."""

    def wake_ns(self, now_ns: int, instant_ns: int) -> int:
        """The instant to be woken at for `instant_ns`, which is to come: in the second half of the time left."""
        allowance_ns = self.allowance_ns + (now_ns - self.allowed_ns) // AWAKE_SHARE
        self.allowance_ns = min(allowance_ns, ALLOWANCE_NS_MAX)
        self.allowed_ns = now_ns
        return instant_ns - min(self.lead_ns or 0, self.allowance_ns, (instant_ns - now_ns) // 2)

    def woken(self, late_ns: int, awake_ns: int) -> None:
        """A wake came so long after its instant, and so long is waited awake now: 0 where nothing is left."""
        self.allowance_ns -= awake_ns
        self.lead_ns = min(late_ns, LEAD_NS_MAX) if self.lead_ns is None else followed(self.lead_ns, late_ns)
