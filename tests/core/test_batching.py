"""Which data go into the next batch, and which are given up for it."""

from __future__ import annotations

from dataclasses import replace

from streamflow.core.batching import BatchRule, Fill, Plan, Timing, Waiting, choose_in_order, is_worth_staging
from streamflow.core.deadline import Criticality
from streamflow.core.latency_profile import LatencyProfile
from tests.core.waiting import NOW, RULE, STAIRCASE, due, plan, undated

LOW, NORMAL, CRITICAL = Criticality


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


# ------------------------------------------------------------------------------------------------ no time goes by


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


def test_a_part_is_staged_where_more_is_done_by_that_than_by_waiting_for_the_whole() -> None:
    """Of 16 streams in batches that take 40 and 5 for each, and a pause where all are waited for."""
    profile = LatencyProfile(tuple(range(1, 17)), {size: 40 + 5 * size for size in range(1, 17)})
    assert is_worth_staging(16, 32, 20, profile, 16), "what may be started fills a batch"
    assert is_worth_staging(1, 1, 0, profile, 16), "nothing else waits"
    assert is_worth_staging(14, 16, 20, profile, 16)
    assert not is_worth_staging(8, 16, 20, profile, 16)
    assert is_worth_staging(8, 16, 100, profile, 16), "the pause is longer than what the other half takes by itself"
