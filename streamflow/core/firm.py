"""Firm contracts: at least `m` of any `k` consecutive data on time, and what follows when that is broken.

The contract is the (m, k)-firm deadline of Hamdaoui and Ramanathan (1995). Its window slides over the data of a
path in the order of their numbers; a datum counts when every one before it is settled, so that it does not matter
in which order the outcomes are heard. Data that were never seen count as on time: a contract is broken when
`k - m + 1` misses are among the last `k`, even if fewer than `k` data were produced so far.

A step up is taken at most every `k` data: the window is then of data that were produced after the last one. The
way down needs `recovery` data in a row during which the window held; a single broken window begins the count anew.
"""

from __future__ import annotations

import heapq
from collections import deque
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

UNSETTLED_LIMIT = 100_000  # data of one path that are waited for; beyond, the oldest counts as not on time


@dataclass(frozen=True, slots=True)
class Firm:
    """`m` of any `k` consecutive data of the path are on time (met, or absorbed in time)."""

    m: int
    k: int


class Escalation(Enum):
    """What a broken firm contract leads to, one step for each further breach."""

    DEGRADE = "degrade"
    """Every stage of the path uses its cheaper variant."""
    RESTART = "restart"
    """The culprit of most misses is restarted."""
    STOP = "stop"
    """The run stops safely: sources first, what is under way is finished."""


class FirmState(Enum):
    HELD = "held"
    BROKEN = "broken"
    """From the datum that broke the window until it held for `recovery` data in a row."""


class Broken(NamedTuple):
    """The contract held and does no more. `step` is what to do now; None where nothing more is declared or due."""

    level: int
    step: Escalation | None
    met: int
    of: int
    seq: int


class Escalated(NamedTuple):
    """It is still broken, `k` data or more after the last step."""

    level: int
    step: Escalation
    met: int
    of: int
    seq: int


class Recovered(NamedTuple):
    """It held long enough: the measures beyond `level` end. At level 0 none is left."""

    level: int
    seq: int


FirmEvent = Broken | Escalated | Recovered


class FirmMonitor:
    """One contract, watched datum by datum."""

    def __init__(self, firm: Firm, escalation: tuple[Escalation, ...] = (), recovery: int | None = None) -> None:
        self.firm = firm
        self.escalation = escalation
        self.recovery = max(1, 2 * firm.k if recovery is None else recovery)
        self.state = FirmState.HELD
        self.level = 0
        self.breaches = 0
        """How often the contract held and then did no more."""
        self.broken_data = 0
        """Data at which the window was broken."""
        self.judged_count = 0
        self._window: deque[bool] = deque(maxlen=firm.k)
        self._met = 0
        self._data_since_step = firm.k
        self._held_in_a_row = 0
        self._waiting: list[int] = []  # a heap of the numbers that were admitted and are not judged
        self._outcomes: dict[int, bool] = {}  # of those, the settled ones
        self._known: set[int] = set()  # the same as _waiting

    @property
    def met(self) -> int:
        """Data of the window that were on time."""
        return self._met

    @property
    def of(self) -> int:
        """Data in the window: `k` once as many were judged."""
        return len(self._window)

    @property
    def holds(self) -> bool:
        """Whether the window of this moment keeps the contract."""
        return len(self._window) - self._met <= self.firm.k - self.firm.m

    def admitted(self, seq: int) -> tuple[FirmEvent, ...]:
        """A datum is on the path; those after it are not judged before it is settled."""
        if seq in self._known:
            return ()
        self._known.add(seq)
        heapq.heappush(self._waiting, seq)
        if len(self._waiting) > UNSETTLED_LIMIT:
            return self.settled(self._waiting[0], False)
        return ()

    def settled(self, seq: int, is_on_time: bool) -> tuple[FirmEvent, ...]:
        """What became of an admitted datum; the first verdict counts, and unknown data are not counted."""
        if seq not in self._known or seq in self._outcomes:
            return ()
        self._outcomes[seq] = is_on_time
        waiting, events = self._waiting, []
        while waiting and waiting[0] in self._outcomes:
            first = heapq.heappop(waiting)
            self._known.discard(first)
            event = self._judge(first, self._outcomes.pop(first))
            if event is not None:
                events.append(event)
        return tuple(events)

    def _judge(self, seq: int, is_on_time: bool) -> FirmEvent | None:
        window = self._window
        if len(window) == self.firm.k:
            self._met -= window[0]
        window.append(is_on_time)
        self._met += is_on_time
        self.judged_count += 1
        self._data_since_step += 1
        return self._kept(seq) if self.holds else self._not_kept(seq)

    def _not_kept(self, seq: int) -> FirmEvent | None:
        self.broken_data += 1
        self._held_in_a_row = 0
        was, self.state = self.state, FirmState.BROKEN
        step = None
        if self.level < len(self.escalation) and self._data_since_step >= self.firm.k:
            step = self.escalation[self.level]
            self.level += 1
            self._data_since_step = 0
        if was is FirmState.HELD:
            self.breaches += 1
            return Broken(self.level, step, self._met, len(self._window), seq)
        return Escalated(self.level, step, self._met, len(self._window), seq) if step is not None else None

    def _kept(self, seq: int) -> FirmEvent | None:
        if self.state is FirmState.HELD and self.level == 0:
            return None
        self._held_in_a_row += 1
        if self._held_in_a_row < self.recovery:
            return None
        self._held_in_a_row = 0
        self.state = FirmState.HELD
        self.level = max(0, self.level - 1)
        return Recovered(self.level, seq)
