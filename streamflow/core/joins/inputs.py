"""One input of a join: what waits there, put in the order of event time, and how far its time has come."""

from __future__ import annotations

from bisect import insort
from collections import deque
from collections.abc import Mapping
from operator import attrgetter
from typing import Final, Generic

from streamflow.core.joins.contract import LeftOut, Reason, T

FOREVER: Final = 1 << 62
STEP_NS: Final = 2_000_000_000  # late for so long without a break: its clock was set back, and counts from there on
_time = attrgetter("time_ns")


class Entry(Generic[T]):
    """A datum that waits, or has been used and may be once more."""

    __slots__ = ("arrived_ns", "is_used", "item", "time_ns")

    def __init__(self, item: T, time_ns: int, arrived_ns: int) -> None:
        self.item = item
        self.time_ns = time_ns
        self.arrived_ns = arrived_ns
        self.is_used = False


class Input(Generic[T]):
    """`entries` are in order, each event time once; those not yet in `entries` may still be overtaken.

    `passed_ns`: nothing of this event time or before it will come any more. A datum that comes all the same is late;
    so is one up to `floor_ns`, the moment whose row is made. Where nothing but late data come, the input's clock was
    set back, or a wrong time stamp has set it forward: then it starts anew from there, which `step_count` counts.
    """

    __slots__ = (
        "_disorder_ns",
        "_idle_ns",
        "_last_arrival_ns",
        "_late_since_ns",
        "_left_out",
        "_max_wait_ns",
        "_size",
        "_takes_twins",
        "_unordered",
        "entries",
        "floor_ns",
        "has_ended",
        "idle_count",
        "is_idle",
        "name",
        "newest_ns",
        "passed_ns",
        "step_count",
    )

    def __init__(
        self,
        name: str,
        left_out: list[LeftOut[T]],
        *,
        size: int,
        disorder_ns: int = 0,
        max_wait_ns: int | None = None,
        idle_ns: int | None = None,
        takes_twins: bool = False,
    ) -> None:
        """`left_out` is the join's own list. `size`: entries that are kept. `takes_twins`: of one event time too."""
        self.name = name
        self.entries: deque[Entry[T]] = deque()
        self.passed_ns = -FOREVER
        self.newest_ns = -FOREVER
        self.floor_ns = -FOREVER
        self.has_ended = False
        self.is_idle = False
        self.idle_count = 0
        self.step_count = 0
        self._left_out = left_out
        self._unordered: list[Entry[T]] = []
        self._size = size
        self._disorder_ns = disorder_ns
        self._max_wait_ns = max_wait_ns
        self._idle_ns = idle_ns
        self._takes_twins = takes_twins
        self._last_arrival_ns: int | None = None
        self._late_since_ns: int | None = None

    def offer(self, item: T, now_ns: int) -> None:
        self._last_arrival_ns = now_ns
        self.is_idle = False
        time_ns = item.event_time_ns
        if (time_ns <= self.passed_ns or time_ns <= self.floor_ns) and not self._starts_anew(item, time_ns, now_ns):
            return
        self._late_since_ns = None
        entry = Entry(item, time_ns, now_ns)
        if not self._disorder_ns:
            self.entries.append(entry)
            self.newest_ns = time_ns
            self.passed_ns = time_ns - 1 if self._takes_twins else time_ns
        else:
            self._put_in_order(entry)
        if len(self.entries) + len(self._unordered) > self._size:
            self._overflow()

    def _starts_anew(self, item: T, time_ns: int, now_ns: int) -> bool:
        """Whether what comes late begins another count of time; if not, it was left out."""
        is_twin = time_ns == self.newest_ns
        if not is_twin and self._late_since_ns is None:
            self._late_since_ns = now_ns
        if is_twin or self._late_since_ns is None or now_ns - self._late_since_ns < STEP_NS:
            self._left_out.append(LeftOut(self.name, item, Reason.DUPLICATE if is_twin else Reason.LATE))
            return False
        self.leave_all(Reason.LATE)
        self.passed_ns = self.newest_ns = self.floor_ns = -FOREVER
        self.step_count += 1
        return True

    def _put_in_order(self, entry: Entry[T]) -> None:
        if not self._takes_twins and any(other.time_ns == entry.time_ns for other in self._unordered):
            self._left_out.append(LeftOut(self.name, entry.item, Reason.DUPLICATE))
            return
        insort(self._unordered, entry, key=_time)
        self.newest_ns = max(self.newest_ns, entry.time_ns)
        self._pass(self.newest_ns - self._disorder_ns - 1)

    def _overflow(self) -> None:
        oldest = self.entries.popleft() if self.entries else self._unordered.pop(0)
        self.leave(oldest, Reason.OVERFLOW)

    def _pass(self, passed_ns: int) -> None:
        """Nothing will come at this event time or before it."""
        if passed_ns > self.passed_ns:
            self.passed_ns = passed_ns
            while self._unordered and self._unordered[0].time_ns <= passed_ns:
                self.entries.append(self._unordered.pop(0))

    def advance(self, watermark_ns: int) -> None:
        """Nothing older than this will come."""
        self._pass(watermark_ns - 1)

    def end(self) -> None:
        self.has_ended = True
        self._pass(FOREVER)

    def tick(self, now_ns: int) -> None:
        """What has waited for its order too long is let through, and who is silent too long is idle."""
        if self._unordered and self._max_wait_ns is not None:
            overdue_ns = [one.time_ns for one in self._unordered if one.arrived_ns + self._max_wait_ns <= now_ns]
            if overdue_ns:
                self._pass(max(overdue_ns))
        if self._idle_ns is not None and not self.is_idle and not self.has_ended:
            if self._last_arrival_ns is None:
                self._last_arrival_ns = now_ns  # silence begins when somebody first looks
            elif now_ns >= self._last_arrival_ns + self._idle_ns:
                self.is_idle = True
                self.idle_count += 1
                self._pass(self.newest_ns)

    def wake_ns(self) -> int | None:
        """When `tick` changes something although nothing has come."""
        wakes = [one.arrived_ns + self._max_wait_ns for one in self._unordered] if self._max_wait_ns is not None else []
        if self._idle_ns is not None and not self.is_idle and not self.has_ended and self._last_arrival_ns is not None:
            wakes.append(self._last_arrival_ns + self._idle_ns)
        return min(wakes, default=None)

    def has_passed(self, time_ns: int) -> bool:
        """Whether nothing at this event time or before it will come, as far as anybody waits for that."""
        return self.passed_ns >= time_ns or self.is_idle or self.has_ended

    def first_after(self, time_ns: int) -> Entry[T] | None:
        """The oldest entry that is newer; looked for from the newest on, as there are few."""
        found = None
        for entry in reversed(self.entries):
            if entry.time_ns <= time_ns:
                break
            found = entry
        return found

    def newest_before(self, time_ns: int) -> int:
        """The event time of the newest entry up to an instant."""
        return next((entry.time_ns for entry in reversed(self.entries) if entry.time_ns <= time_ns), -FOREVER)

    def waits_since_ns(self, entry: Entry[T]) -> int:
        """When it came, or any behind it that it keeps waiting: where order was made, that may have been before."""
        if not self._disorder_ns:
            return entry.arrived_ns
        later = (one.arrived_ns for one in self.entries if one.time_ns > entry.time_ns and not one.is_used)
        return min([entry.arrived_ns, *later])

    def leave(self, entry: Entry[T], reason: Reason) -> None:
        """It goes: to those left out, unless a row has had it."""
        if not entry.is_used:
            self._left_out.append(LeftOut(self.name, entry.item, reason))

    def leave_before(self, keep: Entry[T] | None, limit_ns: int, reason: Reason = Reason.PASSED_OVER) -> None:
        """Entries before `keep`, or without one those up to `limit_ns`, go."""
        entries = self.entries
        while entries and entries[0] is not keep and (keep is not None or entries[0].time_ns <= limit_ns):
            self.leave(entries.popleft(), reason)

    def leave_all(self, reason: Reason) -> None:
        while self.entries:
            self.leave(self.entries.popleft(), reason)
        while self._unordered:
            self.leave(self._unordered.pop(0), reason)

    @property
    def held_count(self) -> int:
        """Entries that no row has had yet."""
        return sum(not entry.is_used for entry in self.entries) + len(self._unordered)


class OverInputs(Generic[T]):
    """What a decider over such inputs says of them; `_inputs` and `_left_out` are its own."""

    _inputs: dict[str, Input[T]]
    _left_out: list[LeftOut[T]]

    def left_out(self) -> list[LeftOut[T]]:
        found = list(self._left_out)
        self._left_out.clear()
        return found

    def idle_counts(self) -> Mapping[str, int]:
        return {name: one.idle_count for name, one in self._inputs.items()}

    def step_counts(self) -> Mapping[str, int]:
        return {name: one.step_count for name, one in self._inputs.items()}
