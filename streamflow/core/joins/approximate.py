"""The approximate join: sets of data that lie closest together in event time, as ROS 2's ApproximateTime finds them.

The algorithm is that of message_filters' `ApproximateTime` (Vincent Rabaud, Troy Straszheim, Julius Kammerl), step by
step. Each datum is in one set at most, sets do not cross, and what is found follows from event times alone. A
*candidate* is made of the oldest datum of each input; the newest datum in it is the *pivot*, which every better set has
as well. Data are then passed over from the oldest on, as long as a later set may be smaller; `age_penalty` is by how
much it must be. A set is found when all with the pivot were tried, or none that is to come can be better: for that an
input's next datum is taken to come no sooner than `lower_bounds` after its last.

What ROS lacks: such a proof waits for the slowest input, for ever where that is silent. When the first datum of a
candidate has waited for `max_wait` it is taken as it is; where there is none, `on_missing` says what becomes of the
datum that waits. Its messages that are out of order are taken as they come; here they are late.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from streamflow.core.joins.assembly import Assembly, single
from streamflow.core.joins.contract import Decider, Join, LeftOut, OnMissing, Reason, Row, T
from streamflow.core.joins.inputs import FOREVER, Entry, Input, OverInputs


@dataclass(frozen=True, slots=True, kw_only=True)
class Approximate(Join):
    """Rows of one datum of each input; `max_skew` is ROS's `max_interval_duration`, `queue_size` its queue's.

    A row stands for the time of its newest datum. `lower_bounds`: the least time (ns) between two data of an input, by
    its name, where known; the nearer to the truth, the sooner a row is proved.
    """

    queue_size: int = 10
    age_penalty: float = 0.1
    lower_bounds: Mapping[str, int] = field(default_factory=dict)

    def decider(self, inputs: Sequence[str]) -> Decider[T]:
        return ApproximateJoin(self, inputs)

    def faults(self, inputs: Sequence[str]) -> list[str]:
        found = Join.faults(self, inputs)
        if not isinstance(self.age_penalty, int | float) or not self.age_penalty >= 0:
            found.append(f"age_penalty {self.age_penalty!r}, expected 0 or more, as 0.1")
        for name, bound in self.lower_bounds.items():
            found += self.input_fault("lower_bounds", name, inputs)
            if type(bound) is not int or bound < 0:
                found.append(f"lower_bounds {bound!r}, expected whole nanoseconds")
        return found


class ApproximateJoin(OverInputs[T]):
    def __init__(self, settings: Approximate, inputs: Sequence[str]) -> None:
        self._left_out: list[LeftOut[T]] = []
        self._inputs = {
            name: Input(
                name,
                self._left_out,
                size=settings.queue_size,
                disorder_ns=settings.disorder_ns(name),
                max_wait_ns=settings.max_wait,
                idle_ns=settings.idle_timeout,
                takes_twins=True,
            )
            for name in inputs
        }
        self._queues: dict[str, deque[Entry[T]]] = {name: deque() for name in inputs}
        self._passed: dict[str, list[Entry[T]]] = {name: [] for name in inputs}
        self._has_dropped: set[str] = set()  # whose oldest datum went, so that it is no good pivot
        self._active = list(inputs)
        """Those that a set must have: without the silent ones, where a row may lack them."""
        self._settings = settings
        self._penalty = 1 + settings.age_penalty
        self._bounds_ns = {name: settings.lower_bounds.get(name, 0) for name in inputs}
        self._assembly: Assembly[T] = Assembly(settings, inputs)
        self._has_clock = settings.idle_timeout is not None or bool(settings.disorder)
        self._candidate: dict[str, Entry[T]] | None = None
        self._candidate_since_ns = 0  # when the first of it came
        self._since_ns: int | None = None  # what waits does so since then
        self._may_be_hopeless = False  # an input has ended, or was silent for too long
        self._start_ns = self._end_ns = 0  # of the candidate
        self._pivot = ""
        self._pivot_ns = 0
        self._rows: deque[Row[T]] = deque()

    # ---------------------------------------------------------------------------------- the contract

    def offer(self, name: str, item: T, now_ns: int) -> None:
        one = self._inputs[name]
        was_idle = one.is_idle
        one.offer(item, now_ns)
        if was_idle:
            self._choose_active()
        self._arrive(one)

    def advance(self, name: str, watermark_ns: int, now_ns: int) -> None:
        self._inputs[name].advance(watermark_ns)
        self._arrive(self._inputs[name])
        self._try_to_prove()

    def end(self, name: str, now_ns: int) -> None:
        self._inputs[name].end()
        self._may_be_hopeless = True
        self._arrive(self._inputs[name])
        self._try_to_prove()

    def wake_ns(self) -> int | None:
        wakes = []
        if self._has_clock:
            wakes = [wake_ns for one in self._inputs.values() if (wake_ns := one.wake_ns()) is not None]
        if self._settings.max_wait is not None and self._since_ns is not None:
            wakes.append(self._since_ns + self._settings.max_wait)
        return min(wakes, default=None)

    def ready(self, now_ns: int) -> Row[T] | None:
        if self._has_clock:
            self._tick(now_ns)
        if not self._rows:
            self._find(now_ns)
        return self._rows.popleft() if self._rows else None

    def _find(self, now_ns: int) -> None:
        """Rows that are not proved, where nothing should be waited for any longer."""
        max_wait_ns = self._settings.max_wait
        while not self._rows:
            self._since_ns = self._waits_since_ns()
            if self._since_ns is None:
                break
            is_overdue = max_wait_ns is not None and now_ns >= self._since_ns + max_wait_ns
            if self._candidate is not None:
                if not is_overdue:
                    break
                self._publish(timed_out=True)
            elif is_overdue or (self._may_be_hopeless and self._is_hopeless()):
                self._give_up_oldest(timed_out=is_overdue)
            else:
                break
            self._search()

    # ---------------------------------------------------------------------------- what comes, or does not

    def _tick(self, now_ns: int) -> None:
        for one in self._inputs.values():
            was_idle = one.is_idle
            one.tick(now_ns)
            if one.entries:
                self._arrive(one)
            if one.is_idle and not was_idle:
                self._may_be_hopeless = True
                self._try_to_prove()

    def _arrive(self, one: Input[T]) -> None:
        """What is in order now comes to the end of its queue."""
        queue, name = self._queues[one.name], one.name
        while one.entries:
            queue.append(one.entries.popleft())
            if len(queue) == 1:
                self._search()
            if len(queue) + len(self._passed[name]) > self._settings.queue_size:
                self._overflow(name)

    def _overflow(self, name: str) -> None:
        self._recover()
        self._leave_out(name, Reason.OVERFLOW)
        self._has_dropped.add(name)
        if self._candidate is not None:
            self._candidate = None
            self._search()

    def _waits_since_ns(self) -> int | None:
        """The arrival of the candidate's first datum; without one, or where order was made, of the first there is."""
        if self._settings.disorder:
            everything = [*self._queues.values(), *self._passed.values()]
            return min((entry.arrived_ns for entries in everything for entry in entries), default=None)
        if self._candidate is not None:
            return self._candidate_since_ns
        return min([queue[0].arrived_ns for queue in self._queues.values() if queue], default=None)

    def _is_silent(self, name: str) -> bool:
        """Whether nothing waits there, and nobody should wait for it."""
        one = self._inputs[name]
        return not self._queues[name] and not self._passed[name] and (one.has_ended or one.is_idle)

    def _is_hopeless(self) -> bool:
        """Whether what waits has no partner to wait for."""
        if self._settings.on_missing is OnMissing.SKIP:
            return any(self._is_silent(name) for name in self._queues)
        return all(self._is_silent(name) for name, queue in self._queues.items() if not queue)

    def _choose_active(self) -> None:
        """Sets are looked for among those that are not silent, where a row may lack an input."""
        active = list(self._queues)
        if self._settings.on_missing is not OnMissing.SKIP:
            active = [name for name in active if not self._is_silent(name)]
        if active != self._active:
            self._active = active
            if self._candidate is not None and any(name not in self._candidate for name in active):
                self._recover()
                self._candidate = None
            self._search()

    def _try_to_prove(self) -> None:
        """An input's time has advanced without data."""
        if self._candidate is not None and self._proves():
            self._publish()
        self._choose_active()
        self._search()

    def _give_up_oldest(self, *, timed_out: bool) -> None:
        """What has waited longest, with those around it, is a row without the rest, or none."""
        heads = {name: queue[0] for name, queue in self._queues.items() if queue}
        first = min(heads.values(), key=lambda entry: (entry.arrived_ns, entry.time_ns))
        max_skew_ns = self._settings.max_skew
        near = {
            name: entry
            for name, entry in heads.items()
            if max_skew_ns is None or abs(entry.time_ns - first.time_ns) <= max_skew_ns
        }
        if self._settings.on_missing is OnMissing.SKIP:
            near = {name: entry for name, entry in near.items() if entry is first}
        self._make(near, timed_out=timed_out)
        for name in near:
            self._queues[name].popleft()

    # ------------------------------------------------------------------------------------- the search

    def _search(self) -> None:
        queues = self._queues
        max_skew_ns = self._settings.max_skew
        while self._active:
            first = last = ""
            start_ns, end_ns = FOREVER + 1, -FOREVER
            for name in self._active:  # of several, the first is the oldest and the last the newest, as in ROS
                queue = queues[name]
                if not queue:
                    return
                time_ns = queue[0].time_ns
                if time_ns < start_ns:
                    first, start_ns = name, time_ns
                if time_ns >= end_ns:
                    last, end_ns = name, time_ns
            if self._has_dropped:
                self._has_dropped.intersection_update((last,))
            if self._candidate is None:
                if (max_skew_ns is not None and end_ns - start_ns > max_skew_ns) or last in self._has_dropped:
                    self._leave_out(first, Reason.UNMATCHED)
                    continue
                self._take(start_ns, end_ns)
                self._pivot, self._pivot_ns = last, end_ns
            elif self._is_better(start_ns, end_ns):
                self._take(start_ns, end_ns)
            queue = queues[first]
            self._passed[first].append(queue.popleft())
            if first == self._pivot or self._is_best(end_ns) or (not queue and self._proves()):
                self._publish()

    def _is_better(self, start_ns: int, end_ns: int) -> bool:
        return (end_ns - self._end_ns) * self._penalty < start_ns - self._start_ns

    def _is_best(self, end_ns: int) -> bool:
        """Whether no set that ends there or later can be better than the candidate."""
        return (end_ns - self._end_ns) * self._penalty >= self._pivot_ns - self._start_ns

    def _proves(self) -> bool:
        """Whether the candidate is best whatever comes, no sooner than the bounds say: ROS's virtual search."""
        depths = dict.fromkeys(self._active, 0)
        heads_ns = {name: self._virtual_ns(name, 0) for name in self._active}
        while True:
            first, last = _ends(heads_ns)
            if self._is_best(heads_ns[last]):
                return True
            if self._is_better(heads_ns[first], heads_ns[last]):
                return False
            depths[first] += 1
            heads_ns[first] = self._virtual_ns(first, depths[first])

    def _virtual_ns(self, name: str, depth: int) -> int:
        """The time of the head behind `depth` others; of one that is to come, the earliest that it can have."""
        queue = self._queues[name]
        if depth < len(queue):
            return queue[depth].time_ns
        one = self._inputs[name]
        if one.has_ended or one.is_idle:
            return FOREVER
        last = queue[-1] if queue else self._passed[name][-1]
        return max(last.time_ns + self._bounds_ns[name], self._pivot_ns, one.passed_ns + 1)

    def _take(self, start_ns: int, end_ns: int) -> None:
        """The heads are the candidate; what was passed over before them is in no set."""
        for name, passed in self._passed.items():
            if passed:
                self._left_out += [LeftOut(name, entry.item, Reason.PASSED_OVER) for entry in passed]
                passed.clear()
        self._candidate = {name: self._queues[name][0] for name in self._active}
        self._candidate_since_ns = min([entry.arrived_ns for entry in self._candidate.values()])
        self._start_ns, self._end_ns = start_ns, end_ns

    def _publish(self, *, timed_out: bool = False) -> None:
        assert self._candidate is not None
        candidate, self._candidate = self._candidate, None
        self._recover()
        for name in candidate:
            self._queues[name].popleft()
        self._make(candidate, timed_out=timed_out)

    def _make(self, entries: Mapping[str, Entry[T]], *, timed_out: bool) -> None:
        newest_ns = max([entry.time_ns for entry in entries.values()])
        choices = {name: single(entry) for name, entry in entries.items()}
        row = self._assembly.row(newest_ns, choices, timed_out=timed_out)
        if row is not None:
            self._rows.append(row)
            if len(row.fresh) == len(entries):
                return
        reason = Reason.TIMED_OUT if timed_out else Reason.UNMATCHED
        self._left_out += [LeftOut(name, one.item, reason) for name, one in entries.items() if not one.is_used]

    def _recover(self) -> None:
        for name, passed in self._passed.items():
            if passed:
                self._queues[name].extendleft(reversed(passed))
                passed.clear()

    def _leave_out(self, name: str, reason: Reason) -> None:
        self._left_out.append(LeftOut(name, self._queues[name].popleft().item, reason))


def _ends(heads_ns: Mapping[str, int]) -> tuple[str, str]:
    """The inputs with the oldest head, and with the newest; of several, the first and the last, as in ROS."""
    first = last = ""
    start_ns, end_ns = FOREVER + 1, -FOREVER
    for name, time_ns in heads_ns.items():
        if time_ns < start_ns:
            first, start_ns = name, time_ns
        if time_ns >= end_ns:
            last, end_ns = name, time_ns
    return first, last
