"""What holds of every batch that is chosen, whatever waits and whatever the rule."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamflow.core.batching import ALIKE, MIXED, BatchRule, Fill, Timing, Waiting
from streamflow.core.deadline import Criticality
from streamflow.core.latency_profile import LatencyProfile
from tests.core.waiting import NOW, PROFILE, RULE, SIZE_MAX, STAIRCASE, affine, plan, undated

_, NORMAL, CRITICAL = Criticality

RULES = st.builds(
    BatchRule,
    size_max=st.integers(1, SIZE_MAX),
    fill=st.sampled_from(Fill),
    timing=st.sampled_from(Timing),
    margin_ns=st.integers(0, 3),
    stage_ns=st.integers(0, 10),
    patience_ns=st.integers(0, 60),
)
DATED = st.builds(
    lambda left, span, stream, criticality, value: Waiting(NOW + left, NOW + left - span, stream, criticality, value),
    st.integers(-5, 60),
    st.sampled_from([20, 50, 70]),
    st.sampled_from([None, None, "a", "b", "c"]),
    st.sampled_from(Criticality),
    st.sampled_from([1, 1, 1, 2, 3]),
)
UNDATED = st.builds(
    lambda age, stream: Waiting(0, NOW - age, stream), st.integers(0, 80), st.sampled_from([None, "x", "y"])
)
QUEUES = st.lists(st.one_of(DATED, DATED, UNDATED), max_size=14)
PROFILES = st.sampled_from([PROFILE, STAIRCASE, affine(SIZE_MAX, 1, 4), affine(SIZE_MAX, 15, 0)])
FREE = st.integers(NOW - 5, NOW + 20)


@settings(max_examples=400)
@given(QUEUES, RULES, PROFILES, FREE)
def test_work_is_started_given_up_or_kept_and_never_lost(
    waiting: list[Waiting], rule: BatchRule, profile: LatencyProfile, free_ns: int
) -> None:
    made = plan(waiting, rule, profile=profile, free_ns=free_ns)
    told = Counter(made.start) + Counter(made.given_up)
    assert set(told) <= set(range(len(waiting)))
    assert all(count == 1 for count in told.values())
    assert len(made.start) <= rule.size_max
    assert rule.fill is Fill.UP_TO or len(made.start) in (0, rule.size_max)
    assert made.wake_ns is None or (not made.start and made.wake_ns > NOW)
    assert all(waiting[index].deadline_ns for index in made.given_up), "no deadline: never given up"
    if not made.start and made.wake_ns is None:
        kept = [item for index, item in enumerate(waiting) if index not in told]
        assert not any(item.deadline_ns for item in kept), "what can become too late has an instant to look at it"
        assert not kept or rule.fill is Fill.FULL


@settings(max_examples=400)
@given(QUEUES, RULES, PROFILES, FREE)
def test_a_batch_that_starts_is_in_time_by_the_profile(
    waiting: list[Waiting], rule: BatchRule, profile: LatencyProfile, free_ns: int
) -> None:
    made = plan(waiting, rule, profile=profile, free_ns=free_ns)
    if made.start:
        start_ns = max(NOW, free_ns)
        assert made.end_ns - start_ns == profile.cost_ns(len(made.start))
        deadlines = [waiting[index].deadline_ns for index in made.start if waiting[index].deadline_ns]
        assert all(made.end_ns + rule.margin_ns <= deadline_ns for deadline_ns in deadlines)
        assert deadlines == sorted(deadlines)


@settings(max_examples=400)
@given(QUEUES, RULES, PROFILES)
def test_no_step_of_a_stream_overtakes_another_and_no_two_are_in_a_batch(
    waiting: list[Waiting], rule: BatchRule, profile: LatencyProfile
) -> None:
    made = plan(waiting, rule, profile=profile)
    streams = [waiting[index].stream for index in made.start if waiting[index].stream is not None]
    assert len(streams) == len(set(streams))
    for index in made.start:
        if waiting[index].stream is not None:
            before = [other for other in range(index) if waiting[other].stream == waiting[index].stream]
            assert set(before) <= set(made.given_up)


@settings(max_examples=300)
@given(QUEUES, PROFILES)
def test_no_later_deadline_starts_while_an_earlier_one_that_would_be_on_time_waits(
    waiting: list[Waiting], profile: LatencyProfile
) -> None:
    alike = [item._replace(stream=None, criticality=NORMAL) for item in waiting]
    made = plan(alike, profile=profile)
    dated = [alike[index].deadline_ns for index in made.start if alike[index].deadline_ns]
    kept = set(range(len(alike))) - set(made.start) - set(made.given_up)
    assert all(not dated or not alike[index].deadline_ns or alike[index].deadline_ns >= dated[-1] for index in kept)


@settings(max_examples=600)
@given(QUEUES, PROFILES, st.integers(1, SIZE_MAX))
def test_a_critical_item_is_never_given_up_for_others(
    waiting: list[Waiting], profile: LatencyProfile, size_max: int
) -> None:
    apart = [item._replace(stream=None) for item in waiting]
    rule = replace(RULE, size_max=size_max, patience_ns=40)
    for criticality in (CRITICAL, NORMAL):
        others = [item for item in apart if item.deadline_ns and item.criticality >= criticality]
        alone = plan(others, rule, profile=profile)
        without_undated = [item for item in apart if criticality is CRITICAL or item.deadline_ns]
        together = plan(without_undated, rule, profile=profile)
        lost = sum(without_undated[index].criticality >= criticality for index in together.given_up)
        assert lost <= len(alone.given_up)


@settings(max_examples=300)
@given(QUEUES, PROFILES, st.integers(1, SIZE_MAX))
def test_lazy_never_lets_a_deadline_pass_that_eager_would_have_met(
    waiting: list[Waiting], profile: LatencyProfile, size_max: int
) -> None:
    eager = plan(waiting, replace(RULE, size_max=size_max), profile=profile)
    rule = replace(RULE, size_max=size_max, timing=Timing.LAZY)
    lazy = plan(waiting, rule, profile=profile)
    if lazy.wake_ns is not None:
        waited = plan(waiting, rule, profile=profile, now_ns=lazy.wake_ns)
        assert sorted(waited.start) == sorted(eager.start)
        assert waited.given_up == eager.given_up
    else:
        assert lazy == eager


@settings(max_examples=400)
@given(st.lists(DATED, max_size=10), PROFILES, st.integers(1, SIZE_MAX))
def test_the_batch_is_the_best_of_all_windows(waiting: list[Waiting], profile: LatencyProfile, size_max: int) -> None:
    alike = [item._replace(stream=None, criticality=NORMAL) for item in waiting]
    made = plan(alike, replace(RULE, size_max=size_max), profile=profile)
    chosen = best_of_all_windows(alike, profile, size_max)
    assert set(made.start) == set(chosen)


def best_of_all_windows(waiting: list[Waiting], profile: LatencyProfile, size_max: int) -> list[int]:
    """Every start and every size of the queue in order of deadlines, each looked at by itself."""
    in_time = [index for index, item in enumerate(waiting) if item.deadline_ns >= NOW + profile.cost_ns(1)]
    queue = sorted(in_time, key=lambda index: waiting[index].deadline_ns)
    if not queue:
        return []
    found = []
    for skipped in range(len(queue)):
        for size in range(1, min(size_max, len(queue) - skipped) + 1):
            cost_ns = profile.cost_ns(size)
            if NOW + cost_ns <= waiting[queue[skipped]].deadline_ns:
                over = sum(waiting[index].deadline_ns < NOW + cost_ns for index in queue)
                if over == skipped:  # a window that starts later gives up what it need not
                    value = sum(waiting[index].value for index in queue[skipped : skipped + size])
                    loss = lost_after(waiting, queue, skipped, size, profile, size_max)
                    found.append((Fraction(value) / cost_ns, -skipped, -size, value, cost_ns, loss))
    best = max(found)
    if best[1]:
        spans = [waiting[index].deadline_ns - waiting[index].arrival_ns for index in queue]
        regret, _ = MIXED if 2 * max(spans) >= 3 * min(spans) else ALIKE
        full = [one for one in found if is_largest(one, found)]
        least = min(one[5] for one in full)
        lossless = [one for one in full if not one[1] and not one[5]]
        if lossless:
            best = max(lossless)
        else:
            best = max(full, key=lambda one: ((one[3] - Fraction(regret) * (one[5] - least)) / one[4], *one[:3]))
    return queue[-best[1] : -best[1] - best[2]]


Considered = tuple[Fraction, int, int, float, int, float]


def is_largest(one: Considered, found: list[Considered]) -> bool:
    return all(other[4] != one[4] or other[2] >= one[2] for other in found)


def lost_after(
    waiting: list[Waiting], queue: list[int], skipped: int, size: int, profile: LatencyProfile, size_max: int
) -> float:
    spans = [waiting[index].deadline_ns - waiting[index].arrival_ns for index in queue]
    _, spare_count = MIXED if 2 * max(spans) >= 3 * min(spans) else ALIKE
    together_max = min(size_max, len(queue))
    lost = sum(waiting[index].value for index in queue[:skipped])
    end_ns, left = NOW + profile.cost_ns(size), queue[skipped + size :]
    while left:
        batch, left = left[:together_max], left[together_max:]
        end_ns += profile.cost_ns(len(batch))
        due_ns = end_ns + spare_count * profile.cost_ns(1)
        lost += sum(waiting[index].value for index in batch if waiting[index].deadline_ns < due_ns)
    return lost


@pytest.mark.parametrize("size_max", [1, 4])
def test_data_without_a_deadline_do_not_starve_in_overload(size_max: int) -> None:
    rule = replace(RULE, size_max=size_max)
    now_ns, last_undated_ns = NOW, 0
    served: list[int] = []
    waiting = undated(5, NOW)
    while len(served) < 5 and now_ns < NOW + 5000:
        waiting += [Waiting(now_ns + 40, now_ns)] * 2 * size_max
        made = plan(waiting, rule, now_ns=now_ns, last_undated_ns=last_undated_ns)
        if any(not waiting[index].deadline_ns for index in made.start):
            served.append(now_ns)
            last_undated_ns = now_ns
        gone = {*made.start, *made.given_up}
        waiting = [item for index, item in enumerate(waiting) if index not in gone]
        now_ns = made.end_ns
    assert len(served) == 5
    assert served[-1] <= NOW + 5 * (rule.patience_ns + 20)
