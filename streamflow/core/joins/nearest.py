"""The nearest join: with each datum of one input, the datum of every other that lies nearest in event time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from streamflow.core.joins.assembly import Choice, single
from streamflow.core.joins.contract import Decider, Join, T
from streamflow.core.joins.inputs import FOREVER, Entry, Input
from streamflow.core.joins.timeline import Timeline


@dataclass(frozen=True, slots=True, kw_only=True)
class Nearest(Join):
    """A row for each datum of `trigger`; of two that are equally near, the older.

    It waits until each other input has one as new as the trigger's, or none nearer can come. A datum may be the nearest
    of several: after the first time it is `held`.
    """

    trigger: str

    def decider(self, inputs: Sequence[str]) -> Decider[T]:
        return NearestJoin(self, inputs, trigger=self.trigger)

    def faults(self, inputs: Sequence[str]) -> list[str]:
        return [*Join.faults(self, inputs), *self.input_fault("trigger", self.trigger, inputs)]


class NearestJoin(Timeline[T]):
    def knows(self, one: Input[T], time_ns: int) -> bool:
        if one.entries and one.entries[-1].time_ns >= time_ns:
            return True
        within_ns = self._settings.max_skew
        if one.entries:
            before_ns = time_ns - one.entries[-1].time_ns
            within_ns = before_ns - 1 if within_ns is None else min(within_ns, before_ns - 1)
        return one.has_passed(time_ns + (FOREVER if within_ns is None else within_ns))

    def choose(self, one: Input[T], time_ns: int) -> Choice[T] | None:
        best: Entry[T] | None = None
        for entry in reversed(one.entries):
            if best is not None and abs(entry.time_ns - time_ns) > abs(best.time_ns - time_ns):
                break
            best = entry
        max_skew_ns = self._settings.max_skew
        if best is None or (max_skew_ns is not None and abs(best.time_ns - time_ns) > max_skew_ns):
            return None
        return single(best)

    def retire(self, one: Input[T], time_ns: int, choice: Choice[T] | None) -> None:
        """Those before the nearest are farther from every later moment."""
        if choice is not None:
            one.leave_before(choice.entries[0], time_ns)
        elif self._settings.max_skew is not None:
            one.leave_before(None, time_ns - self._settings.max_skew)
