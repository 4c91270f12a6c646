"""What the next piece of work will take, as the stage sees it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamflow.core.cost import LATE_SHARE, MARGIN_NS_MIN, STARVED_HALVING_NS, STEP_NS, WINDOW, Caution, ServiceCost
from streamflow.core.timebase import ms, s


def after(*services_ns: int, is_late: bool = False, profile_ns: int = 0) -> ServiceCost:
    cost = ServiceCost()
    cost.usual_ns = profile_ns
    for service_ns in services_ns:
        cost.served(service_ns, is_late=is_late)
    return cost


def test_until_something_was_served_the_profile_counts() -> None:
    assert after(profile_ns=4 * ms).expected_ns() == 4 * ms + MARGIN_NS_MIN
    assert after(2 * ms, profile_ns=4 * ms).usual_ns == 2 * ms


def test_one_slow_spell_does_not_change_what_is_usual() -> None:
    assert after(*[4 * ms] * 40, *[90 * ms] * 24).usual_ns == 4 * ms


def test_what_was_before_the_window_is_forgotten() -> None:
    assert after(*[4 * ms] * WINDOW, *[9 * ms] * WINDOW).usual_ns == 9 * ms


def test_late_work_widens_the_margin_and_work_in_time_narrows_it_again() -> None:
    cost = after(4 * ms, is_late=True)
    assert cost.margin_ns == MARGIN_NS_MIN + STEP_NS
    cost.served(4 * ms, is_late=False)
    assert cost.margin_ns == pytest.approx(MARGIN_NS_MIN + STEP_NS * (1 - LATE_SHARE))


def test_the_margin_never_keeps_back_more_than_its_limit() -> None:
    cost = ServiceCost(margin_limit_ns=2 * ms)
    for _ in range(100):
        cost.served(4 * ms, is_late=True)
    assert cost.margin_ns == 2 * ms


def test_caution_grows_with_what_came_too_late_and_settles_where_the_allowed_share_is_late() -> None:
    caution = Caution()
    for _ in range(100):
        caution.was_late()
    assert caution.value == Caution.LIMIT
    for _ in range(round(Caution.LIMIT / (Caution.STEP * Caution.LATE_SHARE))):
        caution.was_on_time()
    assert caution.value == pytest.approx(0.0, abs=1e-9)


def test_the_margin_is_never_less_than_a_wake_up() -> None:
    assert after(*[4 * ms] * 1000).margin_ns == MARGIN_NS_MIN


def test_the_margin_settles_where_the_share_of_late_work_is_what_is_allowed() -> None:
    """Work is late when it takes longer than the margin allows: lengths spread evenly over 10 ms."""
    cost = ServiceCost()
    late_count = 0
    for index in range(20_000):
        extra_ns = index * 7919 % 1000 * 10_000
        is_late = extra_ns > cost.margin_ns
        late_count += is_late and index >= 10_000
        cost.served(0, is_late=is_late)
    assert 0.5 * LATE_SHARE < late_count / 10_000 < 2 * LATE_SHARE


def test_while_nothing_is_started_what_is_expected_halves_until_some_work_is_tried() -> None:
    cost = after(*[40 * ms] * 8)
    assert cost.eased(40 * ms, 9 * s) == 40 * ms
    cost.given_up(1 * s)
    cost.given_up(2 * s)
    assert cost.eased(40 * ms, 1 * s + STARVED_HALVING_NS - 1) == 40 * ms
    assert cost.eased(40 * ms, 1 * s + STARVED_HALVING_NS) == 20 * ms, "it counts from the first that was given up"
    assert cost.eased(40 * ms, 1 * s + 3 * STARVED_HALVING_NS) == 5 * ms
    assert cost.eased(40 * ms, 3600 * s) == 0
    cost.served(40 * ms, is_late=False)
    assert cost.eased(40 * ms, 3600 * s) == 40 * ms


def starved(cost: ServiceCost, until_ns: int) -> ServiceCost:
    for now_ns in range(1 * s, until_ns, 10 * ms):
        cost.given_up(now_ns)
    return cost


def test_work_in_time_after_nothing_was_started_shows_that_the_estimate_was_wrong() -> None:
    cost = starved(after(*[20 * ms] * WINDOW, is_late=True), 1 * s + STARVED_HALVING_NS)
    margin_ns = cost.margin_ns
    cost.served(4 * ms, is_late=False)
    assert cost.usual_ns == 4 * ms, "what filled the window is over"
    assert cost.margin_ns < 0.51 * margin_ns


def test_late_work_after_nothing_was_started_shows_that_the_estimate_was_right() -> None:
    cost = starved(after(*[20 * ms] * WINDOW), 1 * s + STARVED_HALVING_NS)
    cost.served(4 * ms, is_late=True)
    assert cost.usual_ns == 20 * ms


def test_a_moment_without_work_forgets_nothing() -> None:
    cost = starved(after(*[20 * ms] * WINDOW), 1 * s + 30 * ms)
    cost.served(4 * ms, is_late=False)
    assert cost.usual_ns == 20 * ms


@given(st.lists(st.tuples(st.integers(0, 10 * s), st.booleans()), max_size=100), st.integers(0, 100 * s))
def test_an_estimate_is_between_nothing_and_what_was_served_with_the_margin(
    services: list[tuple[int, bool]], now_ns: int
) -> None:
    cost = ServiceCost()
    for service_ns, is_late in services:
        cost.served(service_ns, is_late=is_late)
    recent = [service_ns for service_ns, _ in services[-WINDOW - 8 :]]
    assert min(recent, default=0) <= cost.usual_ns <= max(recent, default=0)
    assert MARGIN_NS_MIN <= cost.margin_ns <= MARGIN_NS_MIN + len(services) * STEP_NS
    expected_ns = cost.expected_ns()
    assert expected_ns == cost.usual_ns + int(cost.margin_ns)
    cost.given_up(now_ns)
    assert cost.eased(expected_ns, now_ns) == expected_ns
    assert 0 <= cost.eased(expected_ns, now_ns + STARVED_HALVING_NS) <= expected_ns
