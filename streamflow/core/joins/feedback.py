"""Results that come back: each row of the other inputs, with what was made of the row `delay` rows before it.

A row waits for that result, but never for ever: where it does not come, because it was absorbed, dropped, or lost with
a process, the last one before it takes its place, or the initial value. So nothing can stand still in a cycle.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Generic

from streamflow.core.joins.contract import Decider, InputState, LeftOut, Part, Reason, Row, T
from streamflow.core.joins.inputs import Entry, Input

DELAY_LIMIT = 4096  # rows; who needs more of the past needs a store
WAIT_NS = 100_000_000  # for a result that does not come, where the join says nothing


class Reseed(Enum):
    """What stands in for a result that does not come."""

    LAST = "last"
    """The last one before it; with none, the initial value."""
    INITIAL = "initial"
    """The initial value."""


@dataclass(frozen=True, slots=True)
class Loop:
    """A feedback input. `delay`: rows."""

    delay: int
    reseed: Reseed = Reseed.LAST


class WithFeedback(Generic[T]):
    """Around the decider of the other inputs; of a part without a datum the initial value is meant.

    Rows are counted over all streams. The first `delay` rows, and those of a new life of the stage, begin anew.
    """

    def __init__(
        self, inner: Decider[T], forward: Iterable[str], loops: Mapping[str, Loop], max_wait_ns: int | None
    ) -> None:
        """`forward`: the other inputs. `max_wait_ns`: None waits for the result, or until it cannot come any more."""
        self._forward = frozenset(forward)
        self._has_ended: set[str] = set()
        self._inner = inner
        self._loops = loops
        self._max_wait_ns = max_wait_ns
        self._left_out: list[LeftOut[T]] = []
        self._inputs = {name: Input(name, self._left_out, size=2 * loop.delay + 8) for name, loop in loops.items()}
        self._waiting: deque[tuple[Row[T], int]] = deque()
        self._times_ns: deque[int] = deque(maxlen=max(loop.delay for loop in loops.values()))

    def offer(self, name: str, item: T, now_ns: int) -> None:
        if name in self._inputs:
            self._inputs[name].offer(item, now_ns)
        else:
            self._inner.offer(name, item, now_ns)

    def advance(self, name: str, watermark_ns: int, now_ns: int) -> None:
        if name in self._inputs:
            # Who promises it has handled what was of that time: of one row one result comes back, or none.
            self._inputs[name].advance(watermark_ns + 1)
        else:
            self._inner.advance(name, watermark_ns, now_ns)

    def end(self, name: str, now_ns: int) -> None:
        if name in self._inputs:
            self._inputs[name].end()
        else:
            self._has_ended.add(name)
            self._inner.end(name, now_ns)

    def left_out(self) -> list[LeftOut[T]]:
        found = [*self._inner.left_out(), *self._left_out]
        self._left_out.clear()
        return found

    def idle_counts(self) -> Mapping[str, int]:
        return {**self._inner.idle_counts(), **{name: one.idle_count for name, one in self._inputs.items()}}

    def step_counts(self) -> Mapping[str, int]:
        return {**self._inner.step_counts(), **{name: one.step_count for name, one in self._inputs.items()}}

    def wake_ns(self) -> int | None:
        wakes = [self._inner.wake_ns()]
        if self._waiting and self._max_wait_ns is not None:
            wakes.append(self._waiting[0][1] + self._max_wait_ns)
        return min((wake_ns for wake_ns in wakes if wake_ns is not None), default=None)

    def ready(self, now_ns: int) -> Row[T] | None:
        while (row := self._inner.ready(now_ns)) is not None:
            self._waiting.append((row, now_ns))
        if not self._waiting:
            return None
        row, since_ns = self._waiting[0]
        wanted_ns = {name: self._wanted_ns(loop) for name, loop in self._loops.items()}
        is_known = all(time_ns is None or self._inputs[name].has_passed(time_ns) for name, time_ns in wanted_ns.items())
        is_over = self._max_wait_ns is not None and now_ns >= since_ns + self._max_wait_ns
        if not is_known and not is_over:
            return None
        self._waiting.popleft()
        for name, time_ns in wanted_ns.items():
            row.parts[name] = self._part(row, name, time_ns)
        row.timed_out |= not is_known
        self._times_ns.append(row.time_ns)
        return row

    def is_over(self) -> bool:
        """Whether the other inputs have ended, and no row waits."""
        return self._has_ended >= self._forward and not self._waiting

    def discard(self) -> None:
        """The other inputs have ended and no row waits: what still comes back is for nobody."""
        for one in self._inputs.values():
            one.leave_all(Reason.PASSED_OVER)

    def _wanted_ns(self, loop: Loop) -> int | None:
        """The event time of the row whose result is due; None: there was none yet."""
        return self._times_ns[-loop.delay] if loop.delay <= len(self._times_ns) else None

    def _part(self, row: Row[T], name: str, time_ns: int | None) -> Part[T]:
        if time_ns is None:
            return Part(InputState.INITIAL)
        one = self._inputs[name]
        found: Entry[T] | None = next((entry for entry in reversed(one.entries) if entry.time_ns <= time_ns), None)
        one.leave_before(found, time_ns)
        is_due = found is not None and found.time_ns == time_ns
        if found is None or (not is_due and self._loops[name].reseed is Reseed.INITIAL):
            return Part(InputState.INITIAL)
        state = InputState.HELD if found.is_used else InputState.USED
        if not found.is_used:
            found.is_used = True
            row.consumed.append((name, found.item))
        return Part(state, (found.item,), row.time_ns - found.time_ns)
