"""Which of a stage's variants works on the next datum: the best that keeps up, and not one today and another tomorrow.

Variants are ordered, best first. *Down* is at once: when the variant in use would end this datum too late, or the last
of those that wait behind it if each of them took the usual time; when it cannot keep up and a mailbox that drops is
half full, or has dropped what a contract counts, or data have waited for a share of `back_after_ns`, within which what
waits must be worked off too; or when the contract of a path through the stage is broken, which
calls for the cheapest. The best that would do is used; where none would, the cheapest. How many wait is told by how
long this one has: data may wait where the stage cannot see them, at their sender.

*Up* is slow. Time is cut into halves of `back_after_ns`. In each the queue is reckoned that a better variant would
have, datum by datum as they come (Lindley's recursion). When in one half that queue would have called for no cheaper
one, and the variant would have been idle for some of the time, it is used from the end of that half on. So after a
load has gone the best is back within `back_after_ns`: the rest of the half in which it went, and one in which it was
gone. What a better variant takes is what it took when it was used last. If that has changed, or the load is just at the
edge, the try fails: down again before `back_after_ns` has passed. Each such try doubles the number of halves that the
next one waits for, up to `PATIENCE_MAX`; one that holds for as long forgets them.

Hysteresis in time, not in a second threshold of slack: slack jumps with every burst and every stall of the host, and
what it was when the load came says nothing of whether the load has gone. *Not taken*: to choose for each datum by its
slack alone (under a steady overload every other datum is full: the output flaps, and states with it); a probability of
trying (the time until the best is back could not be declared); a share of busy time that is low enough for bursts and
jitter of any kind (the best, which did well at 90 % before the load came, would never be back).
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from typing import Final, NamedTuple

from streamflow.core.timebase import s

BACK_AFTER_NS: Final = 2 * s
BUSY_SHARE: Final = 0.95  # of its time that a better variant may be busy: beyond it a queue may only build up later
WAIT_SHARE: Final = 8  # of what is declared for the way back so much may be waited for one that cannot keep up
PATIENCE_MAX: Final = 16
VARIANT_COUNT_MAX: Final = 8
MAILBOX_MIN: Final = 4  # a smaller one drops to be fresh, not because somebody is too slow


class VariantStates(Enum):
    """Whose the recurrent states of a stage's variants are."""

    OWN = "own"
    """Each variant has its own. When it is used again, what others worked on is missing to it: a gap."""
    SHARED = "shared"
    """All step the same, which they declare alike."""
    RESET = "reset"
    """Each has its own, and begins from the initial state whenever it is used again."""


class Load(NamedTuple):
    """How things stand when a datum is taken."""

    room_ns: int | None = None
    """From now to when work on it must end; None: it is due at no time."""
    waited_ns: int = 0
    """Since it was sent."""
    gap_ns: int = 0
    """From one datum that is sent to the next, of late; 0: not known."""
    mailbox: int = 0
    """So many may wait before one is dropped; 0: none is."""
    newest_gap_ns: int = 0
    """The same of the last few alone, which tells a load that has just come; 0: as `gap_ns`."""
    has_dropped: bool = False
    """The mailbox has dropped data before this one, and a contract counts them."""

    @property
    def waiting(self) -> int:
        """Data that wait behind it, wherever: as many as were sent since."""
        return self.waited_ns // self.gap_ns if self.gap_ns else 0

    def is_filling(self) -> bool:
        """Whether the mailbox that drops is full, or will be before the gap tells."""
        gap_ns = self.newest_gap_ns or self.gap_ns
        waiting = self.waited_ns // gap_ns if gap_ns else 0
        return self.has_dropped or (self.mailbox >= MAILBOX_MIN and 2 * waiting >= self.mailbox)

    def is_met(self, usual_ns: int, expected_ns: int) -> bool:
        """By a variant that takes so long: this datum, the last that waits, and those to come find room."""
        if self.room_ns is not None:
            room_behind_ns = self.room_ns + self.waited_ns  # the last was sent just now, and has that much longer
            if expected_ns > self.room_ns or (self.waiting + 1) * usual_ns > room_behind_ns:
                return False
        gap_ns = min(self.newest_gap_ns or self.gap_ns, self.gap_ns)
        return usual_ns <= gap_ns or not self.is_filling()

    def behind(self, queue_ns: int) -> Load:
        """The same datum where it has to wait for so long."""
        room_ns = None if self.room_ns is None else self.room_ns + self.waited_ns - queue_ns
        return Load(room_ns, queue_ns, self.gap_ns, self.mailbox)


class _Queue:
    """What a better variant would still have to do when a datum comes, in the half at hand."""

    __slots__ = ("idle_ns", "queue_ns")

    def __init__(self) -> None:
        self.queue_ns = 0
        self.idle_ns = 0

    def pass_by(self, passed_ns: int) -> None:
        self.idle_ns += max(passed_ns - self.queue_ns, 0)
        self.queue_ns = max(self.queue_ns - passed_ns, 0)


class Variants:
    """Of one stage. `level`: the one in use, 0 is the best."""

    def __init__(self, count: int, back_after_ns: int = BACK_AFTER_NS, level: int = 0) -> None:
        self.level = min(level, count - 1)
        self.switch_count = 0
        self._count = count
        self._back_after_ns = back_after_ns
        self._half_ns = max(back_after_ns // 2, 1)
        self._began_ns = -1  # the half at hand
        self._arrived_ns = -1  # the datum before
        self._passed_ns = 0  # in it, from one datum to the next
        self._queues = [_Queue() for _ in range(count)]
        self._worst = 0  # the best variant that could have met every datum of it
        self._calm_halves = 0
        self._patience = 1
        self._tried_ns = -1  # when a better one was tried last, until that is known to have held

    def choose(
        self,
        now_ns: int,
        load: Load,
        usual_ns: Sequence[int],
        expected_ns: Sequence[int],
        *,
        is_degraded: bool = False,
    ) -> int:
        """For the datum at hand. `usual_ns` and `expected_ns`: what each variant takes, as a rule and to be on the safe
        side; 0: not known, and it is taken to do."""
        arrived_ns = now_ns - load.waited_ns
        passed_ns = max(arrived_ns - self._arrived_ns, 0) if self._arrived_ns >= 0 else 0
        self._arrived_ns = max(arrived_ns, self._arrived_ns)
        self._passed_ns += passed_ns
        fitting = self._best(load, passed_ns, usual_ns, expected_ns)
        if is_degraded:
            fitting = self._count - 1
        self._worst = max(self._worst, fitting)
        self._turn_halves(now_ns)
        if fitting > self.level:
            self._down(now_ns, fitting)
        return self.level

    def _best(self, load: Load, passed_ns: int, usual_ns: Sequence[int], expected_ns: Sequence[int]) -> int:
        """The best that meets the load as it is, and as it would be if that had met what came before."""
        found = self._count - 1
        for level in range(self._count - 1):
            is_met = self._is_met(load, usual_ns[level], expected_ns[level])
            if level < self.level:
                queue = self._queues[level]
                queue.pass_by(passed_ns)
                would_be_met = self._is_met(load.behind(queue.queue_ns), usual_ns[level], expected_ns[level])
                queue.queue_ns = queue.queue_ns + usual_ns[level] if would_be_met else 0
                is_met = is_met and would_be_met
            if is_met:
                found = min(found, level)
        return found

    def _is_met(self, load: Load, usual_ns: int, expected_ns: int) -> bool:
        has_queue = load.waited_ns > self._back_after_ns // WAIT_SHARE
        return not (has_queue and usual_ns > load.gap_ns > 0) and load.is_met(usual_ns, expected_ns)

    def _down(self, now_ns: int, level: int) -> None:
        if self._tried_ns >= 0 and now_ns < self._tried_ns + self._back_after_ns:
            self._patience = min(2 * self._patience, PATIENCE_MAX)
        self._tried_ns = -1
        self._calm_halves = 0
        self._switch(level)

    def _turn_halves(self, now_ns: int) -> None:
        """At the end of a half: whether a better variant would have kept up."""
        if self._began_ns < 0:
            self._began_ns = now_ns
        passed_ns = now_ns - self._began_ns
        if passed_ns < self._half_ns:
            return
        if self._tried_ns >= 0 and now_ns >= self._tried_ns + self._back_after_ns * self._patience:
            self._patience, self._tried_ns = 1, -1
        best = self._worst
        while best < self.level and self._queues[best].idle_ns < (1 - BUSY_SHARE) * self._passed_ns:
            best += 1
        self._calm_halves = self._calm_halves + 1 if best < self.level else 0
        if best < self.level and self._calm_halves >= self._patience:
            self._calm_halves = 0
            self._tried_ns = now_ns
            self._switch(best)
        self._began_ns, self._passed_ns, self._worst = now_ns, 0, 0
        self._queues = [_Queue() for _ in self._queues]

    def _switch(self, level: int) -> None:
        self.level = level
        self.switch_count += 1
