"""How long a batch takes, learnt from batches, and how large one may be until that is known."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamflow.core.cost import STARVED_HALVING_NS
from streamflow.core.latency_profile import (
    KNOWN_COUNT,
    STALE_COUNT,
    WINDOW,
    LatencyProfile,
    Level,
    powers_of_two,
)
from streamflow.core.timebase import ms, s

BATCHES = st.lists(st.tuples(st.integers(1, 32), st.integers(1, 100 * ms), st.booleans()), max_size=200)


def run(profile: LatencyProfile, size: int, service_ns: int, count: int = KNOWN_COUNT, *, late: bool = False) -> None:
    for _ in range(count):
        profile.served(size, service_ns, is_late=late)


def learnt(**services_ns: int) -> LatencyProfile:
    """Of a padded model up to 32; `b8=5` is that batches of 8 took 5 ms."""
    profile = LatencyProfile(powers_of_two(32))
    for name, service_ms in services_ns.items():
        run(profile, int(name[1:]), service_ms * ms)
    return profile


def test_powers_of_two_end_with_the_largest_batch_there_is() -> None:
    assert powers_of_two(1) == (1,)
    assert powers_of_two(8) == (1, 2, 4, 8)
    assert powers_of_two(12) == (1, 2, 4, 8, 12)


@pytest.mark.parametrize("buckets", [(), (0, 1), (2, 1), (1, 1)])
def test_buckets_that_are_not_ascending_sizes_are_refused(buckets: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="ascending"):
        LatencyProfile(buckets)


def test_a_batch_beyond_the_largest_bucket_is_refused() -> None:
    with pytest.raises(ValueError, match="none beyond 32"):
        learnt(b4=3).cost_ns(33)


def test_a_batch_takes_what_its_bucket_takes() -> None:
    profile = learnt(b4=3, b8=5)
    assert [profile.cost_ns(size) for size in (3, 4, 5, 8)] == [3 * ms, 3 * ms, 5 * ms, 5 * ms]


def test_a_bucket_that_never_ran_lies_between_those_that_did() -> None:
    assert learnt(b4=3, b16=6).cost_ns(8) == 4 * ms
    assert learnt(b4=3, b16=6).cost_ns(1) == 3 * ms, "below the smallest, what that takes"


def test_a_batch_larger_than_any_that_ran_is_worth_a_try() -> None:
    assert learnt(b8=5).cost_ns(32) == 5 * ms


def test_a_larger_batch_is_never_said_to_take_less() -> None:
    assert learnt(b4=6, b8=5).cost_ns(8) == 6 * ms


def test_a_few_slow_batches_do_not_move_it_and_a_slower_device_does() -> None:
    profile = learnt(b8=5)
    run(profile, 8, 500 * ms, count=4)
    assert profile.cost_ns(8) == 5 * ms
    run(profile, 8, 7 * ms, count=WINDOW)
    assert profile.cost_ns(8) == 7 * ms


def test_what_a_warm_up_found_is_known_at_once() -> None:
    profile = LatencyProfile(range(1, 5), {size: (4 + size) * ms for size in range(1, 5)})
    assert profile.is_known
    assert profile.levels(0) == tuple(Level(size, (4 + size) * ms) for size in range(1, 5))


def test_a_staircase_has_one_level_for_each_step_with_the_largest_batch_on_it() -> None:
    profile = LatencyProfile((1, 2, 4, 8), {1: 3 * ms, 2: 3 * ms, 4: 3 * ms, 8: 9 * ms})
    assert profile.levels(0) == (Level(4, 3 * ms), Level(8, 9 * ms))
    assert profile.levels(0, size_max=6) == (Level(4, 3 * ms), Level(6, 9 * ms))


# ------------------------------------------------------------------------------------------------ AIMD


def test_the_first_batch_is_of_one() -> None:
    assert LatencyProfile(powers_of_two(32)).levels(0) == (Level(1, 0),)


def test_a_good_batch_of_the_limits_size_allows_one_more() -> None:
    profile = LatencyProfile(powers_of_two(32))
    run(profile, 1, 4 * ms, count=1)
    run(profile, 2, 4 * ms, count=1)
    assert profile.size_limit == 3
    run(profile, 1, 4 * ms, count=20)
    assert profile.size_limit == 3, "a smaller batch says nothing about a larger one"


def test_a_late_batch_takes_a_tenth_of_the_limit_back() -> None:
    profile = LatencyProfile(powers_of_two(32))
    for size in range(1, 20):
        run(profile, size, 4 * ms, count=1)
    assert profile.size_limit == 20
    run(profile, 20, 4 * ms, count=1, late=True)
    assert profile.size_limit == 18


def test_a_size_is_free_once_as_large_batches_ran_often_enough() -> None:
    profile = learnt(b16=6)
    assert profile.size_limit >= 16
    run(profile, 16, 6 * ms, count=30, late=True)
    assert (profile.size_limit, profile.is_known) == (16, False)
    assert learnt(b32=9).is_known


# ------------------------------------------------------------------------- estimates that nothing corrects


def test_a_bucket_that_is_not_run_for_long_counts_with_the_least_it_has_taken() -> None:
    profile = learnt(b1=4, b32=20)
    run(profile, 32, 90 * ms, count=WINDOW)
    assert profile.cost_ns(32) == 90 * ms
    run(profile, 1, 4 * ms, count=STALE_COUNT + WINDOW)
    assert profile.cost_ns(32) == 20 * ms


def test_while_nothing_is_started_what_is_expected_halves_until_some_batch_is_tried() -> None:
    profile = learnt(b32=40)
    profile.given_up(1 * s)
    profile.given_up(1 * s + STARVED_HALVING_NS)
    assert profile.levels(1 * s)[-1].cost_ns == 40 * ms
    assert profile.levels(1 * s + STARVED_HALVING_NS)[-1].cost_ns == 20 * ms
    profile.served(32, 8 * ms, is_late=False)
    assert profile.levels(9 * s)[-1].cost_ns == 8 * ms, "it ended in time, so what had filled the window is over"


def test_a_late_batch_after_nothing_was_started_shows_that_the_profile_was_right() -> None:
    profile = learnt(b32=40)
    profile.given_up(1 * s)
    profile.given_up(1 * s + STARVED_HALVING_NS)
    profile.served(32, 8 * ms, is_late=True)
    assert profile.levels(9 * s)[-1].cost_ns == 40 * ms


# ------------------------------------------------------------------------------------------------ laws


@given(st.sampled_from([powers_of_two(32), tuple(range(1, 33)), (8, 32), (32,)]), BATCHES, st.integers(0, 10 * s))
def test_levels_rise_in_size_and_in_time_within_what_ran(
    buckets: tuple[int, ...], batches: list[tuple[int, int, bool]], now_ns: int
) -> None:
    profile = LatencyProfile(buckets)
    for size, service_ns, is_late in batches:
        profile.served(size, service_ns, is_late=is_late)
        levels = profile.levels(now_ns)
        assert all(a.size < b.size and a.cost_ns < b.cost_ns for a, b in pairwise(levels))
        assert 1 <= levels[-1].size == profile.size_limit <= 32
        assert all(level.cost_ns == profile.cost_ns(level.size) for level in levels)
    services = [service_ns for _, service_ns, _ in batches]
    costs = [profile.cost_ns(size) for size in range(1, 33)]
    assert costs == sorted(costs)
    assert min(services, default=0) <= costs[0]
    assert costs[-1] <= max(services, default=0)


@given(BATCHES)
def test_what_runs_never_takes_the_known_size_back(batches: list[tuple[int, int, bool]]) -> None:
    profile = LatencyProfile(powers_of_two(32))
    known_size = 0
    for size, service_ns, is_late in batches:
        profile.served(size, service_ns, is_late=is_late)
        assert profile.known_size >= known_size
        known_size = profile.known_size
