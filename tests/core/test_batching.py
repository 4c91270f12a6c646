"""Which data go into the next batch, and which are given up for it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamflow.core.batching import ALIKE, MIXED, BatchRule, Fill, Plan, Timing, Waiting, choose, choose_in_order
from streamflow.core.deadline import Criticality
from streamflow.core.latency_profile import LatencyProfile

LOW, NORMAL, CRITICAL = Criticality
SIZE_MAX = 8
NOW = 1000


def affine(size_max: int = SIZE_MAX, fixed_ns: int = 8, each_ns: int = 1) -> LatencyProfile:
    return LatencyProfile(range(1, size_max + 1), {size: fixed_ns + each_ns * size for size in range(1, size_max + 1)})


PROFILE = affine()
STAIRCASE = LatencyProfile((2, 4, 8), {2: 10, 4: 12, 8: 24})
RULE = BatchRule(SIZE_MAX, margin_ns=0, patience_ns=100)


def due(*lefts_ns: int, **more: object) -> list[Waiting]:
    """Items that must have ended so long after NOW, all with the same time from their arrival."""
    return [Waiting(NOW + left, NOW + left - 50)._replace(**more) for left in lefts_ns]  # type: ignore[arg-type]


def undated(count: int, arrival_ns: int = NOW, stream: object = None) -> list[Waiting]:
    return [Waiting(0, arrival_ns, stream)] * count


def plan(
    waiting: Sequence[Waiting],
    rule: BatchRule = RULE,
    *,
    now_ns: int = NOW,
    profile: LatencyProfile = PROFILE,
    free_ns: int = 0,
    last_undated_ns: int = 0,
) -> Plan:
    return choose(waiting, now_ns, profile, rule, free_ns=free_ns, last_undated_ns=last_undated_ns)


# ---------------------------------------------------------------------------------------------- the window


def test_nothing_waits_and_nothing_starts() -> None:
    assert plan([]) == Plan(())


def test_all_that_fits_starts_by_deadline() -> None:
    assert plan(due(40, 20, 30)) == Plan((1, 2, 0), (), None, NOW + 11)


def test_no_batch_is_larger_than_declared() -> None:
    assert plan(due(*range(40, 52))).start == tuple(range(8))
    assert plan(due(*range(40, 52)), replace(RULE, size_max=3)).start == (0, 1, 2)


def test_what_cannot_be_on_time_even_alone_is_given_up() -> None:
    assert plan(due(8, 9)) == Plan((1,), (0,), None, NOW + 9)


def test_a_head_that_keeps_a_batch_small_is_given_up_early() -> None:
    assert plan(due(9, 16, 16, 16, 16, 16, 16, 16, 16)) == Plan(tuple(range(1, 9)), (0,), None, NOW + 16)


def test_a_head_is_saved_where_nothing_is_gained_without_it() -> None:
    assert plan(due(10, 16)).start == (0, 1)


def test_a_batch_ends_a_margin_before_its_tightest_deadline() -> None:
    assert plan(due(12), replace(RULE, margin_ns=3)).start == (0,)
    assert plan(due(11), replace(RULE, margin_ns=3)) == Plan((), (0,))


def test_a_batch_ends_at_the_edge_of_a_step_where_the_next_step_saves_nothing() -> None:
    assert len(plan(due(*[90] * 5), profile=STAIRCASE).start) == 4, "5 take as long as 8"
    assert len(plan(due(*[90] * 8), profile=STAIRCASE).start) == 4, "8 take twice what 4 take"


def test_an_item_of_more_value_counts_for_more() -> None:
    many = due(9, 16, 16, 16, 16, 16, 16, 16, 16)
    assert plan([many[0]._replace(value=9), *many[1:]]).start == (0,)


def test_a_tight_deadline_is_not_given_up_for_data_that_can_wait() -> None:
    tight, lax = Waiting(NOW + 10, NOW), Waiting(NOW + 90, NOW)
    assert plan([*[lax] * 8, tight]) == Plan((8, 0), (), None, NOW + 10)


def test_a_tight_deadline_is_given_up_if_saving_it_loses_more() -> None:
    tight, lax = Waiting(NOW + 9, NOW), Waiting(NOW + 17, NOW - 60)
    assert plan([*[lax] * 8, tight]) == Plan(tuple(range(8)), (8,), None, NOW + 16)


def test_before_the_profile_is_known_aimd_bounds_the_batch() -> None:
    profile = LatencyProfile(range(1, 9))
    assert len(plan(due(*[90] * 8), profile=profile).start) == 1
    profile.served(1, 9, is_late=False)
    profile.served(2, 10, is_late=False)
    assert len(plan(due(*[90] * 8), profile=profile).start) == 3


# ------------------------------------------------------------------------- one runs, one is put in place


def test_a_batch_is_chosen_for_the_time_at_which_the_device_is_free() -> None:
    staging = replace(RULE, stage_ns=10)
    assert plan(due(15, 18, 20), staging, free_ns=NOW + 7) == Plan((1, 2), (0,), None, NOW + 17)


def test_nothing_is_put_in_place_before_it_must_be() -> None:
    staging = replace(RULE, stage_ns=10)
    assert plan(due(40, 60), staging, free_ns=NOW + 30) == Plan((), (), NOW + 20)
    assert plan(due(38, 60), staging, free_ns=NOW + 30).given_up == (0,), "what that makes too late is told at once"


# ---------------------------------------------------------------------------------------------------- lazy

LAZY = replace(RULE, timing=Timing.LAZY)


def test_a_lazy_batch_waits_until_the_last_instant_at_which_one_more_could_join() -> None:
    assert plan(due(40, 60), LAZY) == Plan((), (), NOW + 40 - 11)
    assert plan(due(40, 60), LAZY, now_ns=NOW + 29).start == (0, 1)


def test_a_lazy_batch_that_cannot_grow_starts() -> None:
    assert len(plan(due(*[90] * 8), LAZY).start) == 8
    assert len(plan(due(*[90] * 9), LAZY).start) == 8


def test_a_lazy_batch_without_deadlines_waits_as_long_as_patience_lasts() -> None:
    assert plan(undated(2), LAZY).wake_ns == NOW + 100
    assert plan(undated(2), LAZY, now_ns=NOW + 100).start == (0, 1)


# --------------------------------------------------------------------------------------------- fixed batches

FULL = replace(RULE, size_max=4, fill=Fill.FULL)


def test_a_fixed_batch_starts_only_when_it_is_full() -> None:
    assert plan(due(40, 50, 60), FULL) == Plan((), (), NOW + 40 - 12 + 1), "and then the first is too late"
    assert plan(due(40, 50, 60), FULL, now_ns=NOW + 29).given_up == (0,)
    assert plan(due(40, 50, 60, 70, 80), FULL).start == (0, 1, 2, 3)


def test_a_fixed_batch_is_judged_by_what_it_takes_and_not_by_what_one_would() -> None:
    assert plan(due(11, 50, 60, 70), FULL) == Plan((), (0,), NOW + 50 - 12 + 1)


def test_a_batch_of_one_serves_by_deadline() -> None:
    assert plan(due(40, 20), replace(RULE, size_max=1, fill=Fill.FULL)).start == (1,)


def test_data_without_a_deadline_help_to_fill_a_fixed_batch() -> None:
    assert plan([*due(40, 50, 60), *undated(2)], FULL).start == (0, 1, 2, 3)
    assert plan(undated(3), FULL) == Plan(())
    assert plan(undated(5), FULL).start == (0, 1, 2, 3)


# ---------------------------------------------------------------------------------------- without a deadline


def test_data_without_a_deadline_have_the_device_when_nothing_else_waits() -> None:
    assert len(plan(undated(9)).start) == 8


def test_data_without_a_deadline_have_the_places_that_cost_nothing() -> None:
    assert plan([*undated(4), *due(40)], profile=STAIRCASE).start == (4, 0)
    assert plan([*undated(4), *due(40)]).start == (4,)


def test_once_they_waited_long_enough_one_of_them_has_a_place_in_each_batch() -> None:
    waiting = [*undated(2, NOW - 100), *due(*[90] * 9)]
    assert plan(waiting).start == (*range(2, 9), 0)
    assert plan([*undated(2, NOW - 99), *due(*[90] * 9)]).start == tuple(range(2, 10))


def test_a_critical_item_is_not_lost_for_that_place() -> None:
    assert plan([*undated(1, NOW - 100), *due(9, criticality=CRITICAL)]).start == (1,)
    assert plan([*undated(1, NOW - 100), *due(10, criticality=CRITICAL)]).start == (1, 0)


def test_in_batches_of_one_they_have_one_turn_in_the_time_they_wait() -> None:
    one = replace(RULE, size_max=1)
    waiting = [*undated(2, NOW - 500), *due(20)]
    assert plan(waiting, one, last_undated_ns=NOW - 100).start == (0,)
    assert plan(waiting, one, last_undated_ns=NOW - 99).start == (2,)


# -------------------------------------------------------------------------------------------------- streams


def test_a_batch_has_one_step_of_a_stream() -> None:
    assert plan([*due(40, 50, stream="a"), *due(60, stream="b")]).start == (0, 2)


def test_when_the_first_of_a_stream_is_given_up_the_next_takes_its_place() -> None:
    waiting = [*due(9, 20, stream="a"), *due(*[16] * 7)]
    assert plan(waiting) == Plan((*range(2, 9), 1), (0,), None, NOW + 16)


def test_what_has_no_stream_may_fill_a_batch_alone() -> None:
    assert len(plan(due(*[50] * 8, stream=None)).start) == 8


# -------------------------------------------------------------------------------------------------- classes


def test_a_critical_head_is_not_given_up_for_a_larger_batch() -> None:
    critical, others = due(9, criticality=CRITICAL), due(*[16] * 8)
    assert plan([*others, *critical]) == Plan((8,), (), None, NOW + 9)


def test_a_critical_item_that_would_not_be_on_time_after_others_goes_with_them() -> None:
    others, critical = due(*[20] * 8), due(22, criticality=CRITICAL)
    assert plan([*others, *critical]).start == (*range(7), 8)


def test_critical_items_that_can_wait_leave_the_device_to_tighter_ones() -> None:
    tight, critical = Waiting(NOW + 10, NOW), Waiting(NOW + 90, NOW, criticality=CRITICAL)
    assert plan([*[critical] * 8, tight, tight]).start == (8, 9)


def test_what_stands_before_a_critical_item_in_its_stream_is_as_critical() -> None:
    stream = [*due(10, stream="a"), *due(30, stream="a", criticality=CRITICAL)]
    assert plan([*stream, *due(*[16] * 8)]).start[0] == 0


# ----------------------------------------------------------------------------------------------------- laws

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


def is_largest(one: tuple[Fraction, int, int, float, int, float], found: list[tuple]) -> bool:  # type: ignore[type-arg]
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


def in_order(streams: str, rule: BatchRule, *, has_ended: bool = False) -> tuple[int, ...]:
    waiting = [Waiting(0, 0, None if stream == "-" else stream) for stream in streams]
    return choose_in_order(waiting, rule, has_ended=has_ended).start


def test_where_no_time_goes_by_a_batch_is_closed_by_the_first_that_has_no_place_in_it() -> None:
    rule = BatchRule(3)
    assert in_order("ab", rule) == (), "one more may come"
    assert in_order("aba", rule) == (0, 1)
    assert in_order("abc", rule) == (0, 1, 2)
    assert in_order("abcd", rule) == (0, 1, 2)
    assert in_order("ab", rule, has_ended=True) == (0, 1)
    assert in_order("----", rule) == (0, 1, 2)


def test_where_no_time_goes_by_a_batch_that_must_be_full_is_full() -> None:
    rule = BatchRule(3, Fill.FULL)
    assert in_order("--", rule, has_ended=True) == ()
    assert in_order("----", rule) == (0, 1, 2)
