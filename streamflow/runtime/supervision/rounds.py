"""What the supervisor does again and again while data flow: sweep, look for who hangs, tell budgets, publish.

A miss is seen by a sweep, so nothing that takes milliseconds comes between two sweeps but one such thing at a time.
Only the end of somebody's time is waited for exactly, which takes up to 2 % of a core: a usual sweep may come late.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from streamflow.core.timebase import ms, s
from streamflow.runtime.clock import Clock
from streamflow.runtime.process.control import ControlServer
from streamflow.runtime.supervision.observatory import Observatory

VITALS_NS = 25 * ms
PUBLISH_NS = 1 * s
PUBLISH_NS_FIRST = 500 * ms  # for those who look at how it starts
FIRST_COUNT = 6  # so often


class Rounds:
    """Of one run. `hung(stage, why)` is called for each stage that hangs, `publish` to publish."""

    def __init__(
        self,
        clock: Clock,
        observatory: Observatory,
        control: ControlServer,
        hung: Callable[[str, str], None],
        publish: Callable[[], None],
    ) -> None:
        self._clock = clock
        self._observatory = observatory
        self._control = control
        self._hung = hung
        self._publish = publish
        self._budgets: dict[str, Any] = {}
        self._degraded: set[str] = set()
        self._broken: set[str] = set()
        self._is_told = True
        self._planned_ns = self._published_ns = 0
        self._published_count = 0

    def tell_budgets(self, now_ns: int) -> None:
        """Tell all stages what they need to decide by, as it is now."""
        self._budgets = self._observatory.budgets(now_ns)
        self._tell()

    def degrade(self, path: str, *, is_degraded: bool) -> None:
        """The stages hear of it after the sweep that found it out, with the budgets that they have."""
        if is_degraded != (path in self._degraded):
            self._degraded ^= {path}
            self._is_told = False

    def contract(self, path: str, *, is_broken: bool) -> None:
        """The same, of how a firm contract stands."""
        if is_broken != (path in self._broken):
            self._broken ^= {path}
            self._is_told = False

    def _tell(self) -> None:
        if self._budgets:
            degraded = self._observatory.path_indexes(self._degraded)
            broken = self._observatory.path_indexes(self._broken)
            self._control.tell_all({"is": "budget", "stages": self._budgets, "degraded": degraded, "broken": broken})
        self._is_told = True

    async def run(self) -> None:
        """To the end of the run; sweeps as often as a miss must be known."""
        timer, rough_timer = self._clock.timer(), self._clock.rough_timer()
        observatory = self._observatory
        vitals_ns = 0
        try:
            while True:
                now_ns = observatory.sweep_now()
                if not self._is_told:
                    self._tell()
                if now_ns >= vitals_ns:
                    vitals_ns = now_ns + VITALS_NS
                    for stage, why in observatory.hung(now_ns).items():
                        self._hung(stage, why)
                if self._has_done_more(now_ns):
                    now_ns = observatory.sweep_now()
                due_ns = observatory.next_sweep_ns(now_ns)
                is_usual = due_ns >= now_ns + observatory.watch.period_ns
                await (rough_timer if is_usual else timer).sleep_until(due_ns)
        finally:
            timer.close()
            rough_timer.close()

    def _has_done_more(self, now_ns: int) -> bool:
        """Whether one of the things was due, and done, that take milliseconds."""
        if now_ns >= self._planned_ns:
            self._planned_ns = now_ns + self._observatory.plan_period_ns(now_ns)
            self.tell_budgets(now_ns)
        elif now_ns >= self._published_ns:
            self._published_count += 1
            is_first = self._published_count <= FIRST_COUNT
            period_ns = PUBLISH_NS_FIRST if is_first else PUBLISH_NS
            # In step with the last: whoever takes note once a second is to find every second.
            due_ns = self._published_ns + period_ns
            self._published_ns = due_ns if due_ns > now_ns else now_ns + period_ns
            self._publish()
        else:
            return False
        return True
