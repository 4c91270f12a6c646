"""Tells the stages below how far event time has come, where no data tell it: a stage's watermarks on their way out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from streamflow.core.timebase import ms
from streamflow.core.watermark import NEVER, Watermarks
from streamflow.runtime.stage.ends import Outlet

PERIOD_NS: Final = 5 * ms  # a promise costs as much as a datum; a stage that has nothing to do tells it at once


class Promises:
    """Of one stage whose data come to a join. A stage that turns out to send what is older promises nothing more."""

    def __init__(self, inputs: Iterable[str], outlets: Sequence[Outlet]) -> None:
        """`outlets`: those that lead to a join."""
        self._watermarks = Watermarks(inputs)
        self._outlets = outlets
        self._told_ns = 0

    def handled(self, port: str, event_time_ns: int, now_ns: int) -> None:
        """A datum is done with, and what came of it was sent."""
        self._watermarks.handled(port, event_time_ns)
        if now_ns >= self._told_ns + PERIOD_NS:
            self.tell(now_ns)

    def heard(self, port: str, watermark_ns: int, now_ns: int) -> None:
        """There is nothing to do at that input, whose sender has promised this."""
        if watermark_ns > NEVER:
            self._watermarks.advance(port, watermark_ns)
        self.tell(now_ns)

    def ended(self, port: str, now_ns: int) -> None:
        self._watermarks.end(port)
        self.tell(now_ns)

    def tell(self, now_ns: int) -> None:
        """Where it says more than what was sent."""
        watermark_ns = self._watermarks.merged_ns
        for outlet in self._outlets:
            if watermark_ns > outlet.newest_ns and outlet.keeps_order:
                outlet.newest_ns = watermark_ns
                outlet.sender.advance(watermark_ns)
                self._told_ns = now_ns
