"""Waiting awake, before a stage sleeps, for what comes from other processes; what that took is in the recorder."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from streamflow.core.rhythm import Rhythm
from streamflow.core.spinning import Spinning
from streamflow.core.timebase import ms
from streamflow.recorder import layout
from streamflow.recorder.writer import Recorder
from streamflow.runtime.clock import Alarm
from streamflow.transport.link import Receiver
from streamflow.transport.napping import Napping

TURN_NS = 1 * ms  # of a long wait awake, before links and control have a turn if they have something to do


class Spinner:
    """Of one stage that has its process to itself: while it spins others there have a turn once a millisecond, if any.

    With several inputs, where `begin` is not called, they have none, and nobody is woken before a datum is due.
    """

    def __init__(self, limit_ns: int, now_ns: Callable[[], int], recorder: Recorder) -> None:
        self._decider = Spinning(limit_ns)
        self._rhythm = Rhythm(limit_ns)
        self._limit_ns = limit_ns
        self._now_ns = now_ns
        self._recorder = recorder
        self._napping: Napping | None = None
        self._alarm: Alarm | None = None
        self._began_ns = 0  # to wait for the datum that comes next; 0: not yet
        self._wake_ns = 0  # when the alarm goes off for it; 0: it is not set

    def begin(self, napping: Napping) -> None:
        """From now on it may be woken shortly before a datum is due."""
        self._napping = napping
        self._alarm = Alarm()

    def spin(self, receivers: Iterable[Receiver]) -> bool:
        """Whether something has come before the limit; at once False where it would not pay, to be slept then."""
        began_ns = self._now_ns()
        if not self._began_ns:
            self._began_ns = began_ns
        is_due = bool(self._wake_ns) and began_ns >= self._wake_ns
        if is_due:
            self._rhythm.woken(began_ns - self._wake_ns)
        if not is_due and not self._decider.pays:
            self._set_alarm(began_ns)
            return False
        has_come = self._waits(receivers, began_ns)
        if not has_come:
            if is_due:
                self._rhythm.missed()
            self._wake_ns = 0
        return has_come

    def _waits(self, receivers: Iterable[Receiver], began_ns: int) -> bool:
        now_ns = self._now_ns
        looks = [receiver.has_arrival for receiver in receivers]
        ends_ns, turn_ns = began_ns + self._limit_ns, began_ns + TURN_NS
        has_come = False
        at_ns = began_ns
        while not has_come and at_ns < ends_ns:
            for look in looks:
                if look():
                    has_come = True
                    break
            at_ns = now_ns()
            if at_ns >= turn_ns and not has_come:
                if self._napping is not None and self._napping.others_wait():
                    break
                turn_ns = at_ns + TURN_NS
        self._recorder.add(layout.SPUN_NS, at_ns - began_ns)
        if has_come:
            self._recorder.add(layout.SPIN_HITS)
        return has_come

    def _set_alarm(self, now_ns: int) -> None:
        if self._napping is None or self._alarm is None or self._wake_ns:
            return
        self._wake_ns = self._rhythm.wake_ns(now_ns)
        if self._wake_ns:
            self._alarm.set(self._wake_ns)
            self._napping.arm(self._alarm.fd)

    def took(self, sent_ns: int) -> None:
        """A datum is there, sent at that instant: the wait for it, if it was waited for, is over."""
        self._rhythm.came(sent_ns)
        self._wake_ns = 0
        if self._began_ns:
            self._decider.waited(self._now_ns() - self._began_ns)
            self._began_ns = 0

    def close(self) -> None:
        if self._alarm is not None:
            self._alarm.close()
