"""Which of the data that wait go into the next batch, which are given up for it, and when to look again.

Of the batches that could start (`batch_windows`) the one with most value in time per unit of service time is taken,
although the head of the queue is then given up early. Alternative not taken: the largest batch that still saves the
head; under load it leads to small batches, those to a longer queue, and so to smaller ones (GROUND §3.1: 0.40 in
time at 80 % load, where no deadline logic at all has 0.92, and this rule 0.98).

But a batch that loses nothing, now or after it, is taken first; and if there is none, a share of what a batch loses
beyond the one that loses least is taken from its value. Where some have much longer than others (`MIXED_RATIO`) the
plain rule would give up tight ones for data that can wait: of 10, 25 and 100 ms mixed this has 0.87 instead of 0.83 in
time at 60 % load, 0.63 instead of 0.62 at 140 %. With one deadline so much regret would cost 1 %, so there it is half
as large and the rest must have more to spare: the same for Poisson arrivals within 0.1 %, up to 0.4 % more in bursts.

Measured for mixes and not better: to count only the heads that are given up (worse than the plain rule in overload),
to look two batches ahead (worse for one deadline), a price on the time of the device (collapses as shrinking does),
and a limit on the length of batches for the sake of those that may come (each limit is wrong for some mix).

No item of a class is given up for one below it: a batch with data of several classes loses none more of the higher
ones than the batch that those alone would have had. Data without a deadline are never given up; they have the places
that cost nothing, the device when nothing else waits, and once they waited for `patience_ns` one place in each batch,
unless a critical item would be lost by that. In batches of one that is one turn in `patience_ns`.

What it does not do: predict arrivals. A tight deadline that comes while a long batch runs is lost; only a device of
its own helps there. A decision takes O(n log n + n s / b) for n that wait, s sizes and batches of up to b: in overload,
for 32 sizes, some 100 µs for 32 items, 250 for 128 and 650 for 512, in Python; half of it where no head is given up,
and three times as much where several classes are mixed (`python -m tools.claims.rates_overload --only decision`).
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final, NamedTuple

from streamflow.core.batch_windows import Queue, Waiting, Window
from streamflow.core.deadline import Criticality
from streamflow.core.latency_profile import LatencyProfile, Level
from streamflow.core.timebase import ms, us

__all__ = ["BatchRule", "Fill", "Plan", "Timing", "Waiting", "choose", "choose_in_order", "is_worth_staging"]

MARGIN_NS: Final = 300 * us  # a wake-up and its jitter (GROUND §3.2)
PATIENCE_NS: Final = 100 * ms
# How much of what a batch loses is taken from its value, and how many smallest batches what is left must have to spare.
MIXED: Final = (1.0, 1)
ALIKE: Final = (0.5, 2)


class Fill(Enum):
    UP_TO = "up_to"
    """Any number of items up to the largest batch."""
    FULL = "full"
    """Exactly `size_max` items, for a model whose batch is fixed; nothing is padded. 1: not in batches at all."""


class Timing(Enum):
    EAGER = "eager"
    """A batch starts as soon as the device is free."""
    LAZY = "lazy"
    """It waits while it could grow, up to the last instant at which one more could join (Symphony, arXiv 2308.07470).

    The device is then busy for a smaller share of the time, at two to four times the latency under light load: for a
    device that several models share.
    """


@dataclass(frozen=True, slots=True)
class BatchRule:
    """What is declared of a stage. A batch counts as in time if it ends `margin_ns` before its tightest deadline.

    `stage_ns`: how long before the device is free the next batch is put in place, its inputs copied. Until then it
    can still be chosen better, so nothing is chosen sooner.
    """

    size_max: int
    fill: Fill = Fill.UP_TO
    timing: Timing = Timing.EAGER
    margin_ns: int = MARGIN_NS
    stage_ns: int = 0
    patience_ns: int = PATIENCE_NS


class Plan(NamedTuple):
    """Indexes of what was asked about; what is in neither list is kept.

    `start`: the batch, by deadline, those without one last; empty: nothing starts now. `wake_ns`: ask again then, or
    before if something comes; None: nothing is to be decided before something comes or the device is free.
    """

    start: tuple[int, ...]
    given_up: tuple[int, ...] = ()
    wake_ns: int | None = None
    end_ns: int = 0
    """When the device is free again, as the profile has it."""


def choose(
    waiting: Sequence[Waiting],
    now_ns: int,
    profile: LatencyProfile,
    rule: BatchRule,
    *,
    free_ns: int = 0,
    last_undated_ns: int = 0,
) -> Plan:
    """What to do now. `free_ns`: when the device is done with the batch that runs; none other may be in place.

    `last_undated_ns`: when one without a deadline was last started; it counts only in batches of one.
    """
    start_ns = max(now_ns, free_ns)
    levels = _levels(profile, rule, now_ns)
    soonest_ns = start_ns + rule.margin_ns + levels[0].cost_ns
    dated: list[int] = []
    undated: list[int] = []
    too_late: list[int] = []
    for index, item in enumerate(waiting):
        deadline_ns = item.deadline_ns
        (undated if not deadline_ns else dated if deadline_ns >= soonest_ns else too_late).append(index)
    if now_ns < free_ns - rule.stage_ns:
        return Plan((), tuple(too_late), free_ns - rule.stage_ns)
    fillers = _first_of_streams(waiting, undated)
    full_with = len(fillers) if rule.fill is Fill.FULL else None
    window: Window | None
    if dated:
        queue = Queue(waiting, dated, start_ns + rule.margin_ns, levels, full_with)
        since_ns = max(waiting[fillers[0]].arrival_ns, last_undated_ns if levels[-1].size == 1 else 0) if fillers else 0
        is_overdue = bool(fillers) and start_ns - since_ns >= rule.patience_ns
        window = _with_a_place(queue) if is_overdue else _best_by_class(queue)
    else:
        window = _undated(waiting, fillers, levels, rule, start_ns)
    if window is None:
        tightest_ns = min([waiting[index].deadline_ns for index in dated], default=0)
        return Plan((), tuple(too_late), tightest_ns - soonest_ns + start_ns + 1 if dated else None)
    start = window.indexes
    if dated:
        start += tuple(fillers[: window.level.size - len(start)])
    if rule.timing is Timing.LAZY and len(start) == len(dated) + len(undated):
        wake_ns = _front_run_ns(waiting, start, levels, rule)
        if start_ns < wake_ns:
            return Plan((), tuple(too_late), wake_ns)
    chosen = set(start)
    over = [index for index in dated if waiting[index].deadline_ns < window.end_ns and index not in chosen]
    return Plan(start, (*too_late, *over), None, start_ns + window.level.cost_ns)


def is_worth_staging(
    free_count: int, waiting_count: int, pause_ns: int, profile: LatencyProfile, size_max: int
) -> bool:
    """Whether to stage a batch of what may be started while another runs, or to wait until that is over.

    Of `waiting_count` streams that wait `free_count` have nothing in the batch that runs. Who waits has a larger batch
    of all of them, and the device a pause of `pause_ns` before it: what has more of them done in a time is better.
    """
    limit = min(size_max, profile.size_limit)
    staged, together = min(free_count, limit), min(waiting_count, limit)
    return staged * (profile.cost_ns(together) + pause_ns) >= together * profile.cost_ns(staged)


def choose_in_order(waiting: Sequence[Waiting], rule: BatchRule, *, has_ended: bool) -> Plan:
    """What to do where no time goes by: batches follow from the order of arrival alone, whenever things came.

    A batch is closed by the first item that has no place in it, or by the end; one that is to be full then stays.
    """
    streams: set[Hashable] = set()
    size = 0
    for item in waiting[: rule.size_max]:
        if item.stream is not None and item.stream in streams:
            break
        streams.add(item.stream)
        size += 1
    is_full = size == rule.size_max
    is_closed = is_full if rule.fill is Fill.FULL else is_full or size < len(waiting) or has_ended
    return Plan(tuple(range(size))) if is_closed else Plan(())


def _levels(profile: LatencyProfile, rule: BatchRule, now_ns: int) -> tuple[Level, ...]:
    if rule.fill is Fill.FULL:
        return (Level(rule.size_max, profile.cost_ns(rule.size_max, now_ns)),)
    return profile.levels(now_ns, rule.size_max)


def _first_of_streams(waiting: Sequence[Waiting], indexes: Sequence[int]) -> list[int]:
    taken: set[Hashable] = set()
    first = []
    for index in indexes:
        stream = waiting[index].stream
        if stream not in taken:
            first.append(index)
            if stream is not None:
                taken.add(stream)
    return first


def _undated(
    waiting: Sequence[Waiting], fillers: Sequence[int], levels: Sequence[Level], rule: BatchRule, start_ns: int
) -> Window | None:
    """When nothing else waits: the size with most value per unit of time, the first come first."""
    windows = []
    for level in levels:
        indexes = tuple(fillers[: level.size])
        if indexes and (rule.fill is Fill.UP_TO or len(indexes) == level.size):
            value = sum([waiting[index].value for index in indexes])
            windows.append(Window(indexes, level, start_ns + level.cost_ns, value, 0))
    return max(windows, key=lambda window: window.gain, default=None)


def _front_run_ns(waiting: Sequence[Waiting], batch: Sequence[int], levels: Sequence[Level], rule: BatchRule) -> int:
    """The last instant at which the batch could start with one more in it; 0 when it cannot grow."""
    grown = next((level for level in levels if level.size > len(batch)), None)
    if grown is None:
        return 0
    return min(
        waiting[index].deadline_ns - rule.margin_ns - grown.cost_ns
        if waiting[index].deadline_ns
        else waiting[index].arrival_ns + rule.patience_ns
        for index in batch
    )


def _with_a_place(queue: Queue) -> Window | None:
    """The best batch that leaves a place to an item without a deadline, unless a critical one is lost by that."""
    without, window = _best_by_class(queue), _best_by_class(queue, 1)
    if window is None or without is None:
        return window or without
    critical = queue.among(_classes(queue).get(Criticality.CRITICAL, ()))
    return window if not critical or _harmless(queue, without, critical)(window) else without


def _best_by_class(queue: Queue, place_count: int = 0) -> Window | None:
    """The best batch that gives up nothing of a class for one below it."""
    classes = _classes(queue)
    if len(classes) == 1:
        return _best(queue, queue.windows(place_count))
    best: Window | None = None
    higher: set[int] = set()
    for criticality in sorted(classes, reverse=True):
        among = queue.restricted(higher | classes[criticality])
        best = _best_beside(among, best, higher, place_count) if higher else _best(among, among.windows(place_count))
        higher |= classes[criticality]
    return best


def _best_beside(queue: Queue, base: Window | None, higher: set[int], place_count: int) -> Window | None:
    """The best batch of all in the queue that loses no more of the `higher` than `base`, the batch of those alone."""
    windows = queue.windows(place_count)
    seen = {window.indexes for window in windows}
    windows += [window for window in queue.windows_preferring(higher, place_count) if window.indexes not in seen]
    if base is None:
        return _best(queue, windows)
    harmless = _harmless(queue, base, queue.among(higher))
    return _best(queue, windows, harmless) or queue.filled(base, place_count)


def _harmless(queue: Queue, base: Window, heads: Sequence[tuple[int, int]]) -> Callable[[Window], bool]:
    """Whether a batch loses no more of the `heads` than `base` does, at once or later."""
    lost_max, over_max = queue.lost_count_after(base, heads)

    def is_harmless(window: Window) -> bool:
        lost, over_count = queue.lost_count_after(window, heads)
        return lost <= lost_max and over_count <= over_max

    return is_harmless


def _best(queue: Queue, windows: list[Window], is_allowed: Callable[[Window], bool] | None = None) -> Window | None:
    """Of those allowed the most value per unit of time, less some of what is lost for it."""
    windows.sort(key=lambda window: (-window.gain, window.over_count, window.level.size))
    allowed = filter(is_allowed, windows) if is_allowed else iter(windows)
    best = next(allowed, None)
    if best is None or not best.over_count:
        return best
    windows = [best, *allowed]
    regret, spare_count = MIXED if queue.is_mixed else ALIKE
    spare_ns = spare_count * queue.levels[0].cost_ns
    losses = [queue.lost_after(window, spare_ns=spare_ns) for window in windows]
    least = min(losses)
    for window, loss in zip(windows, losses, strict=True):
        if not window.over_count and not loss:
            return window
    gains = [
        (window.value - regret * (loss - least)) / max(window.level.cost_ns, 1)
        for window, loss in zip(windows, losses, strict=True)
    ]
    return windows[gains.index(max(gains))]


def _classes(queue: Queue) -> dict[Criticality, set[int]]:
    """The indexes of each class; what stands before an item in its stream is of its class at least."""
    waiting, indexes = queue.waiting, [index for _, index in queue.in_order]
    if len({waiting[index].criticality for index in indexes}) == 1:
        return {waiting[indexes[0]].criticality: set(indexes)}
    classes: dict[Criticality, set[int]] = {}
    raised: dict[Hashable, Criticality] = {}
    for index in sorted(indexes, reverse=True):
        criticality, stream = waiting[index].criticality, waiting[index].stream
        if stream is not None:
            criticality = raised[stream] = max(criticality, raised.get(stream, criticality))
        classes.setdefault(criticality, set()).add(index)
    return classes
