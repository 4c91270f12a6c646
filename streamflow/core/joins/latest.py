"""The latest join: what each input had last when one of them, or a timer, asks; a hold of order zero.

It waits for nobody, so a row depends on what had arrived by then: `settled` does the same by event times alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from streamflow.core.joins.assembly import Choice, single
from streamflow.core.joins.contract import Decider, Join, T
from streamflow.core.joins.inputs import Input
from streamflow.core.joins.timeline import Timeline


@dataclass(frozen=True, slots=True, kw_only=True)
class Latest(Join):
    """Rows with each datum of `trigger`, or every `every` ns by the clock, from the first datum on.

    Where an input has nothing yet that is new enough, a row of a trigger waits for it, at most `max_wait`.
    """

    trigger: str = ""
    every: int | None = None

    @property
    def uses_clock(self) -> bool:
        return self.every is not None or self.max_wait is not None or self.idle_timeout is not None

    def decider(self, inputs: Sequence[str]) -> Decider[T]:
        return LatestJoin(self, inputs, trigger=self.trigger, period_ns=0 if self.trigger else self.every or 0)

    def faults(self, inputs: Sequence[str]) -> list[str]:
        found = [*Join.faults(self, inputs), *self.rhythm_faults(self.trigger, self.every, inputs)]
        if self.disorder:
            found.append("disorder, expected none: a datum that is overtaken is never the latest")
        return found


class LatestJoin(Timeline[T]):
    def __init__(self, settings: Latest, inputs: Sequence[str], *, trigger: str, period_ns: int) -> None:
        super().__init__(settings, inputs, trigger=trigger, period_ns=period_ns)
        self._next_tick_ns: int | None = None

    def offer(self, name: str, item: T, now_ns: int) -> None:
        super().offer(name, item, now_ns)
        one = self._inputs[name]
        if name != self._trigger and one.entries:
            one.leave_before(one.entries[-1], 0)
        if self._next_tick_ns is None and self._period_ns:
            self._next_tick_ns = (now_ns // self._period_ns + 1) * self._period_ns

    def knows(self, one: Input[T], time_ns: int) -> bool:
        if self._period_ns or self._settings.max_wait is None or one.is_idle or one.has_ended:
            return True
        max_age_ns = self._settings.max_age_ns(one.name)
        return bool(one.entries) and (max_age_ns is None or time_ns - one.entries[-1].time_ns <= max_age_ns)

    def choose(self, one: Input[T], time_ns: int) -> Choice[T] | None:
        return single(one.entries[-1]) if one.entries else None

    def retire(self, one: Input[T], time_ns: int, choice: Choice[T] | None) -> None:
        """Only the newest is kept, always."""

    def wake_ns(self) -> int | None:
        wakes = [super().wake_ns(), self._next_tick_ns]
        return min((wake for wake in wakes if wake is not None), default=None)

    def _grid_moment(self) -> tuple[int, int] | None:
        """The last tick that is over: what was missed before it would show the same."""
        if all(one.has_ended for one in self._inputs.values()):
            self._next_tick_ns = None
        if self._next_tick_ns is None or self._now_ns < self._next_tick_ns:
            return None
        tick_ns = self._now_ns // self._period_ns * self._period_ns
        self._next_tick_ns = tick_ns + self._period_ns
        return tick_ns, tick_ns
