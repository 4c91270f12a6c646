"""When a stage collects garbage whose automatic collection is off: while it has slack, and when it must.

Automatic collection comes when enough objects were made, so in the middle of a datum. In slack, nothing waits. Without
slack it comes all the same after a while, or from a number of objects on, so that memory is bounded. A full collection
may take as long as a datum does: it comes seldom, the more so the longer it takes.
"""

from __future__ import annotations

from collections.abc import Callable

from streamflow.core.timebase import s

YOUNG_COUNT = 700  # new objects for which it is worth while: the interpreter's own threshold
COUNT_LIMIT = 100_000  # new objects, some 10 MB, with which it is not waited for slack
YOUNG_NS_MAX = 5 * s  # so long is slack waited for with fewer
FULL_NS = 5 * s  # between two full collections in slack
FULL_SHARE = 1_000  # or as many times as long as the last one took: they take a thousandth of the time at most
FULL_PATIENCE = 12  # without slack they wait so many times as long
MIDDLE_TURNS = 10  # of so many young collections one takes what has outlived some too
YOUNG, MIDDLE, FULL = 0, 1, 2  # generations, as `gc` numbers them


class Collecting:
    """Of one process, told of each collection that was made."""

    def __init__(self, now_ns: int) -> None:
        self._full_ns = now_ns
        self._full_took_ns = 0
        self._wanted_ns: int | None = None  # since when there is enough for a young one
        self._turn = 0  # young collections since the last full one

    def due(self, now_ns: int, new_count: int, is_slack: Callable[[], bool]) -> int | None:
        """The generation to collect now, or None; `new_count`: objects made and kept since the last collection."""
        if new_count >= YOUNG_COUNT and self._wanted_ns is None:
            self._wanted_ns = now_ns
        if self._wanted_ns is None and not self._turn:
            return None  # next to nothing is new
        between_ns = max(FULL_NS, FULL_SHARE * self._full_took_ns)
        since_full_ns = now_ns - self._full_ns
        if since_full_ns >= FULL_PATIENCE * between_ns:
            return FULL
        if self._wanted_ns is None and since_full_ns < between_ns:
            return None
        has_slack = is_slack()
        if has_slack and since_full_ns >= between_ns:
            return FULL
        if self._wanted_ns is None:
            return None
        if new_count >= COUNT_LIMIT or now_ns - self._wanted_ns >= YOUNG_NS_MAX:
            return MIDDLE
        if not has_slack:
            return None
        return MIDDLE if self._turn % MIDDLE_TURNS == MIDDLE_TURNS - 1 else YOUNG

    def collected(self, generation: int, began_ns: int, ended_ns: int) -> None:
        self._wanted_ns = None
        self._turn += 1
        if generation == FULL:
            self._full_ns, self._full_took_ns, self._turn = ended_ns, ended_ns - began_ns, 0
