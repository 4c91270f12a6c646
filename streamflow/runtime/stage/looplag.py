"""Whether a process's loop runs: a task of the loop itself says so, and writes down when it stood still, and why.

Not a thread: that would go on while the loop is stuck. While a stage works on a datum the loop is its own, so
the time in service is not counted; garbage collections are timed by the collector's own callbacks.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Sequence

from streamflow.core.timebase import ms
from streamflow.recorder import layout
from streamflow.runtime.accounts.logbook import Logbook
from streamflow.runtime.clock import Clock

BEAT_NS = 20 * ms  # each costs some 60 us, 0.3 % of a core; a stall of that length is always seen
STALL_LIMIT_NS = 4 * ms  # less is the usual jitter of a busy machine
COLLECTION_LIMIT_NS = 1 * ms


def stall_began_ns(alive_ns: int, due_ns: int, lag_ns: int) -> int:
    """When a loop stopped that was last seen to run at `alive_ns`, and beats `lag_ns` after its beat was due.

    Somewhere between the first two. It is taken to have stood still before that beat was due as long as it has since:
    a lag of 5 ms would else explain away 25 ms of whatever waits.
    """
    return max(alive_ns, due_ns - lag_ns)


class LoopWatch:
    """Of one process; writes to the recorders of all its stages."""

    def __init__(self, clock: Clock, logbooks: Sequence[Logbook], collect: Callable[[int], None] | None = None) -> None:
        """`collect`: called at every beat, with the instant, where garbage is collected in slack."""
        self._now_ns = clock.now_ns
        self._timer = clock.rough_timer()  # what it looks for is milliseconds
        self._logbooks = logbooks
        self._collect = collect
        self._collecting_since_ns = 0
        self._collections: list[tuple[int, int]] = []

    async def run(self) -> None:
        gc.callbacks.append(self._collecting)
        try:
            await self._beat()
        finally:
            gc.callbacks.remove(self._collecting)
            self._timer.close()

    async def _beat(self) -> None:
        alive_ns = self._now_ns()
        busy_ns = self._busy_ns()
        while True:
            due_ns = alive_ns + BEAT_NS
            await self._timer.sleep_until(due_ns)
            now_ns = self._now_ns()
            busy_before, busy_ns = busy_ns, self._busy_ns()
            stalled_ns = now_ns - due_ns - (busy_ns - busy_before)
            for logbook in self._logbooks:
                logbook.recorder.set(layout.BEAT_NS, now_ns)
                for since_ns, until_ns in self._collections:
                    logbook.stalled(since_ns, until_ns, by_collector=True)
                if stalled_ns > STALL_LIMIT_NS:
                    logbook.stalled(
                        stall_began_ns(alive_ns, due_ns, stalled_ns), due_ns + stalled_ns, by_collector=False
                    )
            self._collections.clear()
            alive_ns = now_ns
            if self._collect is not None:
                self._collect(now_ns)

    def _busy_ns(self) -> int:
        return sum(logbook.recorder.get(layout.BUSY_NS) for logbook in self._logbooks)

    def _collecting(self, phase: str, info: dict[str, int]) -> None:
        now_ns = self._now_ns()
        if phase == "start":
            self._collecting_since_ns = now_ns
        elif now_ns - self._collecting_since_ns > COLLECTION_LIMIT_NS:
            self._collections.append((self._collecting_since_ns, now_ns))
