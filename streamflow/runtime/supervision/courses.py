"""How each path of a run stands and has gone: its counts, its contract, and its course from second to second."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from streamflow.core.course import Course, told_histogram
from streamflow.core.firm import FirmMonitor, FirmState
from streamflow.core.ledger import Ledger
from streamflow.core.paths import Paths
from streamflow.runtime.supervision.state import path_states


class Courses:
    """Of all paths. `has_own_time`: its data have a time of their own, in which nothing is late."""

    def __init__(
        self, paths: Paths, ledger: Ledger, contracts: Mapping[int, FirmMonitor], *, has_own_time: bool
    ) -> None:
        self._paths = paths
        self._ledger = ledger
        self._contracts = contracts
        self._has_own_time = has_own_time
        self._courses = [Course() for _ in paths.definitions]
        self._turn = 0

    def begin(self, at_ns: int) -> None:
        """Data flow from then on."""
        for course in self._courses:
            course.begin(at_ns)

    def observe(self, now_ns: int, *, is_last: bool = False) -> None:
        """To be called after a sweep, at least once a second."""
        for index, course in enumerate(self._courses):
            course.observe(now_ns, self._ledger.counts(index), self._ledger.latency(index), is_last=is_last)

    def told(self, *, is_over: bool) -> dict[str, Any]:
        """By the name of the path, declared ones first. `recent` while it runs, `course` when it is over."""
        told = path_states(self._paths, self._ledger, has_own_time=self._has_own_time)
        for index, path in enumerate(self._paths.definitions):
            course = self._courses[index]
            told[path.name] |= {
                "source": path.source,
                "sink": path.sink,
                "firm": self._contract(index),
                "histogram": told_histogram(self._ledger.latency(index)) if not self._has_own_time else {},
                **({"course": course.whole()} if is_over else {"recent": course.recent()}),
            }
        return told

    def next_whole(self) -> tuple[int, dict[str, Any]]:
        """The whole course of one path after the other, and its index: all at once would take milliseconds."""
        index = self._turn = (self._turn + 1) % len(self._courses)
        return index, {"path": self._paths.definitions[index].name, "course": self._courses[index].whole()}

    def _contract(self, index: int) -> dict[str, Any] | None:
        monitor, firm = self._contracts.get(index), self._paths.definitions[index].firm
        if monitor is None or firm is None:
            return None
        return {
            "m": firm.m,
            "k": firm.k,
            "state": "held" if monitor.state is FirmState.HELD else "broken",
            "level": monitor.level,
            "breaches": monitor.breaches,
        }
