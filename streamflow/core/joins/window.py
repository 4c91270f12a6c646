"""The window join: all data that each input has within a span of event time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from streamflow.core.joins.assembly import Choice
from streamflow.core.joins.contract import Decider, Join, T
from streamflow.core.joins.inputs import Input
from streamflow.core.joins.timeline import Reach, Timeline


@dataclass(frozen=True, slots=True, kw_only=True)
class Window(Join):
    """Rows of the data in (t - `span`, t], oldest first; the node gets a tuple of messages for each input.

    t is the event time of each datum of `trigger`, which comes by itself, or without one each multiple of `every` (by
    default of `span`, so that windows neither overlap nor leave gaps). A row is made when every input has passed t.
    When the inputs end, what is in no whole window yet makes a last one. Of an input that has none in the span there is
    nothing, and `on_missing` counts.
    """

    span: int
    trigger: str = ""
    every: int | None = None

    def gives_several(self, name: str) -> bool:
        return name != self.trigger

    def decider(self, inputs: Sequence[str]) -> Decider[T]:
        period_ns = 0 if self.trigger else self.every or self.span
        return WindowJoin(self, inputs, trigger=self.trigger, period_ns=period_ns)

    def faults(self, inputs: Sequence[str]) -> list[str]:
        found = Join.faults(self, inputs)
        for name, value in (("span", self.span), ("every", self.every)):
            if (value is not None or name == "span") and (type(value) is not int or value < 1):
                found.append(f"{name} {value!r}, expected whole nanoseconds above 0, as in {name}=100 * ms")
        if self.trigger:
            found += self.input_fault("trigger", self.trigger, inputs)
            if self.every is not None:
                found.append("both trigger and every, expected one of them")
        return found


class WindowJoin(Timeline[T]):
    is_settled = True
    flushes = True
    _settings: Window

    def reach_ns(self) -> Reach:
        return Reach(self._settings.span - 1, 0)

    def choose(self, one: Input[T], time_ns: int) -> Choice[T] | None:
        start_ns = time_ns - self._settings.span
        entries = tuple(entry for entry in one.entries if start_ns < entry.time_ns <= time_ns)
        return Choice(entries, entries[-1].time_ns, entries[-1].time_ns) if entries else None

    def retire(self, one: Input[T], time_ns: int, choice: Choice[T] | None) -> None:
        """What is before every later window goes."""
        one.leave_before(None, time_ns + self._period_ns - self._settings.span)
