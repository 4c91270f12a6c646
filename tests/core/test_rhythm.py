"""The next datum is expected where data come at an even pace, and only there."""

from __future__ import annotations

from itertools import accumulate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamflow.core.rhythm import KEPT_MIN, STRANGERS_MAX, Rhythm
from streamflow.core.timebase import ms, s, us

LIMIT_NS = 200 * us
START_NS = 10 * s


def after(*intervals_ns: int, limit_ns: int = LIMIT_NS) -> Rhythm:
    found = Rhythm(limit_ns)
    for sent_ns in accumulate(intervals_ns, initial=START_NS):
        found.came(sent_ns)
    return found


def expected_ns(rhythm: Rhythm) -> int:
    """The instant to be awake for, seen from the last datum; 0: none."""
    wake_ns = rhythm.wake_ns(rhythm.last_ns)
    return wake_ns - rhythm.last_ns if wake_ns else 0


@pytest.mark.parametrize("period_ns", [ms, 3500 * us, 33_333_333, s])
def test_an_even_pace_is_expected_to_go_on_from_the_fifth_interval_on(period_ns: int) -> None:
    assert not expected_ns(after(*[period_ns] * KEPT_MIN))
    rhythm = after(*[period_ns] * (KEPT_MIN + 1))
    assert expected_ns(rhythm) == period_ns - rhythm.lead_ns


def test_nothing_is_expected_of_data_at_random_instants() -> None:
    assert not expected_ns(after(*[ms, 9 * ms, 2 * ms, 30 * ms, ms, 4 * ms, 17 * ms, 2 * ms] * 5))


def test_who_is_off_the_beat_by_more_than_may_be_waited_awake_is_not_waited_for() -> None:
    assert not expected_ns(after(*[10 * ms, 11 * ms] * 20))
    assert expected_ns(after(*[10 * ms, 11 * ms] * 20, limit_ns=5 * ms))


def test_jitter_is_waited_awake() -> None:
    rhythm = after(*[1000 * us, 1020 * us] * 40)
    assert 980 * us - rhythm.lead_ns - 50 * us < expected_ns(rhythm) < 1000 * us - rhythm.lead_ns


def test_a_gap_leaves_the_rhythm_as_it_was() -> None:
    steady = after(*[ms] * 20)
    assert expected_ns(after(*[ms] * 20, 7 * ms)) == expected_ns(steady)


def test_another_pace_is_learnt() -> None:
    rhythm = after(*[ms] * 20, *[5 * ms] * (STRANGERS_MAX + KEPT_MIN))
    assert expected_ns(rhythm) == 5 * ms - rhythm.lead_ns


def test_after_a_wait_in_vain_the_rhythm_must_be_kept_again() -> None:
    rhythm = after(*[ms] * 20)
    rhythm.missed()
    assert not expected_ns(rhythm)
    for _ in range(KEPT_MIN):
        rhythm.came(rhythm.last_ns + ms)
    assert expected_ns(rhythm)


def test_what_has_passed_is_not_slept_for() -> None:
    rhythm = after(*[ms] * 20)
    assert not rhythm.wake_ns(rhythm.last_ns + ms)


@pytest.mark.parametrize("late_ns", [20 * us, 90 * us])
def test_the_wake_is_as_much_sooner_as_wakes_are_late(late_ns: int) -> None:
    rhythm = after(*[ms] * 20)
    for _ in range(100):
        rhythm.woken(late_ns)
    assert abs(rhythm.lead_ns - late_ns) <= 20 * us


def test_whoever_is_woken_may_still_wait_awake_for_a_datum_that_is_late() -> None:
    rhythm = after(*[ms] * 20)
    for _ in range(100):
        rhythm.woken(5 * ms)
    assert expected_ns(rhythm) == ms - LIMIT_NS * 3 // 4


def test_instants_that_are_not_known_are_no_rhythm() -> None:
    rhythm = Rhythm(LIMIT_NS)
    for _ in range(20):
        rhythm.came(0)
    assert not rhythm.wake_ns(0)


@given(st.lists(st.one_of(st.just(ms), st.integers(1, 20 * ms)), max_size=200))
def test_of_four_data_at_most_one_is_waited_for_in_vain(intervals_ns: list[int]) -> None:
    rhythm, in_vain = Rhythm(LIMIT_NS), 0
    at_ns = START_NS
    rhythm.came(at_ns)
    for interval_ns in intervals_ns:
        wake_ns = rhythm.wake_ns(at_ns)
        at_ns += interval_ns
        if wake_ns and wake_ns + LIMIT_NS < at_ns:
            in_vain += 1
            rhythm.missed()
        rhythm.came(at_ns)
    assert in_vain * KEPT_MIN <= len(intervals_ns)
