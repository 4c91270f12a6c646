"""The settled join: whatever has one event time together, once nothing older can come; the same rows in any order.

As MediaPipe's default: a moment is settled when every input has passed it. What a row has follows from event times
alone and not from when data arrived, so a recording gives the same rows each time; the price is to wait for the slowest
input. Only where `max_wait` or `idle_timeout` end a wait does arrival count, and what comes then is late, and counted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from streamflow.core.joins.assembly import Choice, single
from streamflow.core.joins.contract import Decider, Join, Reason, T
from streamflow.core.joins.inputs import Input
from streamflow.core.joins.timeline import Timeline


@dataclass(frozen=True, slots=True, kw_only=True)
class Settled(Join):
    """A row for each event time that any input has, or only for those of `trigger`.

    Each other input takes part with its newest datum up to then, which is `held` where a row has had it.
    """

    trigger: str = ""

    def decider(self, inputs: Sequence[str]) -> Decider[T]:
        return SettledJoin(self, inputs, trigger=self.trigger)

    def faults(self, inputs: Sequence[str]) -> list[str]:
        trigger = self.input_fault("trigger", self.trigger, inputs) if self.trigger else []
        return [*Join.faults(self, inputs), *trigger]


class SettledJoin(Timeline[T]):
    is_settled = True

    def choose(self, one: Input[T], time_ns: int) -> Choice[T] | None:
        newest = next((entry for entry in reversed(one.entries) if entry.time_ns <= time_ns), None)
        return None if newest is None else single(newest)

    def retire(self, one: Input[T], time_ns: int, choice: Choice[T] | None) -> None:
        if choice is not None:
            one.leave_before(choice.entries[0], time_ns, Reason.PASSED_OVER)
