"""Joins that go through event time moment by moment: what asks for rows, when all is known, and what a row has.

A *moment* is an instant for which a row is asked: by a datum of the input that triggers, by a grid, or by whatever
comes. A row is made when no input can get anything that would change it, or when its moment has waited for `max_wait`.
A policy says what an input has for a moment (`choose`), since when that is known (`knows`), and what goes afterwards
(`retire`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from streamflow.core.joins.assembly import Assembly, Choice, single
from streamflow.core.joins.contract import Join, LeftOut, Reason, Row, T
from streamflow.core.joins.inputs import FOREVER, Input, OverInputs


class Reach(NamedTuple):
    """How old a datum may be for an instant, and how much newer (ns)."""

    behind: int
    ahead: int


class Timeline(OverInputs[T]):
    """What the policies share; each of them is a subclass that fills in the three rules."""

    is_settled = False
    """Whether rows follow from event times alone, so that what comes after the row of its time is late."""
    flushes = False
    """Whether there is a last row of a grid for what has come after the last multiple."""

    def __init__(self, settings: Join, inputs: Sequence[str], *, trigger: str = "", period_ns: int = 0) -> None:
        """`trigger`: rows are asked for by its data; `period_ns`: by the multiples of it; neither: by all data."""
        self._settings = settings
        self._left_out: list[LeftOut[T]] = []
        self._inputs = {
            name: Input(
                name,
                self._left_out,
                size=settings.queue_size,
                disorder_ns=settings.disorder_ns(name),
                max_wait_ns=settings.max_wait,
                idle_ns=settings.idle_timeout,
            )
            for name in inputs
        }
        self._trigger = trigger
        self._period_ns = period_ns
        self._others = [one for name, one in self._inputs.items() if name != trigger]
        self._assembly: Assembly[T] = Assembly(settings, inputs, trigger=trigger)
        self._has_clock = settings.idle_timeout is not None or bool(settings.disorder)
        self._done_ns = -FOREVER  # the moment of the last row, or of what was skipped
        self._next_grid_ns: int | None = None
        self._waits_since_ns: int | None = None  # the moment that is next, since it was asked for
        self._now_ns = -FOREVER

    # ------------------------------------------------------------------------------ what a policy says

    def knows(self, one: Input[T], time_ns: int) -> bool:
        """Whether nothing that may come would change what the input has for the moment."""
        return one.has_passed(time_ns)

    def choose(self, one: Input[T], time_ns: int) -> Choice[T] | None:
        """What the input has for the moment."""
        raise NotImplementedError

    def reach_ns(self) -> Reach | None:
        """How far from a multiple of the grid a datum counts; None: however far it is."""
        return None

    def retire(self, one: Input[T], time_ns: int, choice: Choice[T] | None) -> None:
        """After the moment: what no later one needs goes."""
        raise NotImplementedError

    # ---------------------------------------------------------------------------------- the contract

    def offer(self, name: str, item: T, now_ns: int) -> None:
        one = self._inputs[name]
        step_count = one.step_count
        one.offer(item, now_ns)
        if one.step_count != step_count and (self.is_settled or name == self._trigger):
            self._set_back()

    def advance(self, name: str, watermark_ns: int, now_ns: int) -> None:
        self._inputs[name].advance(watermark_ns)

    def end(self, name: str, now_ns: int) -> None:
        self._inputs[name].end()

    def wake_ns(self) -> int | None:
        """When the next moment has waited long enough; or an input is idle, or has waited for its order."""
        wakes = [] if self._waits_since_ns is None or self._settings.max_wait is None else [
            self._waits_since_ns + self._settings.max_wait
        ]  # fmt: skip
        if self._has_clock:
            wakes += [wake_ns for one in self._inputs.values() if (wake_ns := one.wake_ns()) is not None]
        return min(wakes, default=None)

    def ready(self, now_ns: int) -> Row[T] | None:
        self._now_ns = now_ns
        if self._has_clock:
            for one in self._inputs.values():
                one.tick(now_ns)
        max_wait_ns = self._settings.max_wait
        self._waits_since_ns = None
        while (moment := self._moment()) is not None:
            time_ns, since_ns = moment
            is_known = True
            for one in self._others:
                if not self.knows(one, time_ns):
                    is_known = False
                    break
            if not is_known and (max_wait_ns is None or now_ns < since_ns + max_wait_ns):
                self._waits_since_ns = since_ns
                return None
            row = self._made(time_ns, timed_out=not is_known)
            if row is not None:
                return row
        if all(one.has_ended for one in self._inputs.values()):
            for one in self._inputs.values():
                one.leave_all(Reason.PASSED_OVER)
        return None

    # ------------------------------------------------------------------------------------ the moments

    def _moment(self) -> tuple[int, int] | None:
        """The next moment, and when it was first asked for."""
        if self._trigger:
            entries = self._inputs[self._trigger].entries
            if entries:
                return entries[0].time_ns, self._inputs[self._trigger].waits_since_ns(entries[0])
            if self._inputs[self._trigger].has_ended:
                for one in self._others:
                    one.leave_all(Reason.PASSED_OVER)
            return None
        if self._period_ns:
            return self._grid_moment()
        heads = [entry for one in self._inputs.values() if (entry := one.first_after(self._done_ns))]
        first = min(heads, key=lambda entry: entry.time_ns, default=None)
        if first is None:
            return None
        return first.time_ns, min(one.waits_since_ns(first) for one in self._inputs.values())

    def _grid_moment(self) -> tuple[int, int] | None:
        """The next multiple of the period that the newest datum has reached."""
        grid_ns = self._next_grid_ns
        if grid_ns is None:  # until there was a row, an input that begins later may begin the grid earlier
            firsts = [one.entries[0].time_ns for one in self._inputs.values() if one.entries]
            if not firsts:
                return None
            grid_ns = -(-min(firsts) // self._period_ns) * self._period_ns
        reached = [entry for one in self._inputs.values() if (entry := one.first_after(grid_ns - 1))]
        if reached:
            grid_ns = self._past_gap_ns(grid_ns, min(entry.time_ns for entry in reached))
        if not reached and self.flushes and all(one.has_ended for one in self._inputs.values()):
            reached = [entry for one in self._inputs.values() if (entry := one.first_after(self._done_ns))]
        if not reached:
            return None
        return grid_ns, min(one.waits_since_ns(entry) for entry in reached for one in self._inputs.values())

    def _past_gap_ns(self, grid_ns: int, coming_ns: int) -> int:
        """The first multiple at which anything can be had, so that a leap of a clock costs no step for each of them."""
        reach_ns = self.reach_ns()
        if reach_ns is None or coming_ns - reach_ns.ahead <= grid_ns:
            return grid_ns
        if any(
            one.entries and one.newest_before(grid_ns) >= grid_ns - reach_ns.behind for one in self._inputs.values()
        ):
            return grid_ns
        return -(-(coming_ns - reach_ns.ahead) // self._period_ns) * self._period_ns

    def _set_back(self) -> None:
        """Time has begun anew at the input that counts."""
        self._done_ns = -FOREVER
        self._next_grid_ns = None
        for one in self._inputs.values():
            one.floor_ns = -FOREVER

    # --------------------------------------------------------------------------------------- the rows

    def _made(self, time_ns: int, *, timed_out: bool) -> Row[T] | None:
        """The row of the moment, or None where there is none; what no later moment needs is gone."""
        choices = {one.name: self.choose(one, time_ns) for one in self._others}
        trigger = None
        if self._trigger:
            trigger = self._inputs[self._trigger].entries.popleft()
            choices[self._trigger] = single(trigger)
        self._done_ns = time_ns
        if self._period_ns:
            self._next_grid_ns = time_ns + self._period_ns
        row = self._assembly.row(time_ns, choices, timed_out=timed_out)
        if row is None and trigger is not None:
            self._inputs[self._trigger].leave(trigger, Reason.TIMED_OUT if timed_out else Reason.UNMATCHED)
        for one in self._others:
            self.retire(one, time_ns, choices[one.name])
            if self.is_settled:
                one.floor_ns = time_ns
        return row
