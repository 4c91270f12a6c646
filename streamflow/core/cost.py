"""What the next piece of work will take, as a stage itself sees it: the usual time, and a margin that learns.

The usual time is the median of the last `WINDOW` services. The margin follows the share of work that ended later
than it should have: each late end widens it by a step, each end in time narrows it by `LATE_SHARE` of a step, so
that it settles where that share of the work is late (a stochastic approximation of the quantile: Robbins and Monro
1951). Alternative not taken: a high quantile of the service alone, which knows nothing of what the rest of the
path does, and which one slow spell spoils for a whole window.

An estimate that lets nothing start is never corrected by a service. So while nothing is started it shrinks by half
every `STARVED_HALVING_NS`: some work is then tried again. If that ends in time the estimate was wrong, and what it
was learnt from is forgotten. Alternative not taken: to let the one service that was tried count like any other; a
window that one bad second has filled would then let through five data a second until it is full of them.
"""

from __future__ import annotations

from collections import deque
from typing import ClassVar, Final

from streamflow.core.timebase import ms, us

WINDOW: Final = 64
LATE_SHARE: Final = 0.004
STEP_NS: Final = 500 * us
MARGIN_NS_MIN: Final = 300 * us  # a wake-up and its jitter (GROUND §3.2)
MARGIN_NS_MAX: Final = 50 * ms
STARVED_HALVING_NS: Final = 200 * ms
# At most a third of a path's time is kept back for what is rare: else nothing would be started.
RESERVE_SHARE: Final = 3
_MEDIAN_EVERY: Final = 16  # services between looks at the window: sorting 64 numbers costs as much as a record


class ServiceCost:
    """Of one stage. `margin_limit_ns`: beyond it a margin would keep back more than it could save."""

    def __init__(self, margin_limit_ns: int = MARGIN_NS_MAX) -> None:
        self.usual_ns = 0
        self._margin_limit_ns = max(margin_limit_ns, MARGIN_NS_MIN)
        self.margin_ns = float(MARGIN_NS_MIN)
        self._recent: deque[int] = deque(maxlen=WINDOW)
        self._since_median = 0
        self._starved_since_ns: int | None = None
        self._starved_ns = 0

    def served(self, service_ns: int, *, is_late: bool) -> None:
        """One datum was worked on; `is_late`: it ended after its deadline less the tail."""
        if self._starved_ns >= STARVED_HALVING_NS // 2 and not is_late:
            self._recent.clear()
            self.margin_ns = max(self.margin_ns / 2, MARGIN_NS_MIN)
        self._starved_since_ns, self._starved_ns = None, 0
        self._recent.append(service_ns)
        self._since_median += 1
        if self._since_median >= _MEDIAN_EVERY or len(self._recent) < _MEDIAN_EVERY:
            self._since_median = 0
            self.usual_ns = sorted(self._recent)[len(self._recent) // 2]
        if is_late:
            self.margin_ns = min(self.margin_ns + STEP_NS, self._margin_limit_ns)
        elif self.margin_ns > MARGIN_NS_MIN:
            self.margin_ns = max(self.margin_ns - STEP_NS * LATE_SHARE, MARGIN_NS_MIN)

    def given_up(self, now_ns: int) -> None:
        """Something was not started because of this estimate."""
        if self._starved_since_ns is None:
            self._starved_since_ns = now_ns
        self._starved_ns = now_ns - self._starved_since_ns

    def expected_ns(self) -> int:
        """Of the next piece of work, margin included."""
        return self.usual_ns + int(self.margin_ns)

    def eased(self, expected_ns: int, now_ns: int) -> int:
        """An expectation, of this stage or of what comes after it, as it counts while nothing is started."""
        if self._starved_since_ns is None:
            return expected_ns
        return expected_ns >> min((now_ns - self._starved_since_ns) // STARVED_HALVING_NS, 40)


class Caution:
    """How much of what a way may take, beyond its median, is counted with: from nothing to three times its p99's.

    It follows the share of data that were worked on and came too late all the same: each adds a tenth, each that was
    on time takes a two-hundredth of that back, so it settles where half a percent come late. Counting with the worst
    from the start would give up what would have been on time.
    """

    STEP: ClassVar = 0.1
    LATE_SHARE: ClassVar = 0.005
    LIMIT: ClassVar = 3.0

    def __init__(self) -> None:
        self.value = 0.0

    def was_late(self) -> None:
        self.value = min(self.value + self.STEP, self.LIMIT)

    def was_on_time(self) -> None:
        self.value = max(self.value - self.STEP * self.LATE_SHARE, 0.0)
