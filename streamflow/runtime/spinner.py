"""Waiting awake, before a stage sleeps, for what comes from other processes; what that took is in the recorder."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from streamflow.core.spinning import Spinning
from streamflow.recorder import layout
from streamflow.recorder.writer import Recorder
from streamflow.transport.link import Receiver


class Spinner:
    """Of one stage that has its process to itself: while it spins nobody else there has a turn."""

    def __init__(self, limit_ns: int, now_ns: Callable[[], int], recorder: Recorder) -> None:
        self._decider = Spinning(limit_ns)
        self._limit_ns = limit_ns
        self._now_ns = now_ns
        self._recorder = recorder
        self._began_ns = 0

    def spin(self, receivers: Iterable[Receiver]) -> bool:
        """Whether something has come before the limit; at once False where it would not pay.

        After False the stage sleeps, and says with `woken` when that is over.
        """
        now_ns = self._now_ns
        self._began_ns = began_ns = now_ns()
        if not self._decider.pays:
            return False
        looks = [receiver.has_arrival for receiver in receivers]
        ends_ns = began_ns + self._limit_ns
        has_come = False
        at_ns = began_ns
        while not has_come and at_ns < ends_ns:
            for look in looks:
                if look():
                    has_come = True
                    break
            at_ns = now_ns()
        self._recorder.add(layout.SPUN_NS, at_ns - began_ns)
        if has_come:
            self._recorder.add(layout.SPIN_HITS)
            self._decider.waited(at_ns - began_ns)
        return has_come

    def woken(self) -> None:
        """The stage has slept since `spin`."""
        self._decider.waited(self._now_ns() - self._began_ns)
