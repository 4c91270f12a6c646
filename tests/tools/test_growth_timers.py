"""How late timers are: what is measured of each way to sleep, and when the claim is judged by it."""

from __future__ import annotations

import pytest

from tools.bench.growth_timers import BLOCK, Awake, Lateness, awake, measure
from tools.claims.framework import AbsentError, Row
from tools.claims.growth import TimerRepeat, timer_rows

PRESENT = Awake(1_000_000_000, [])
GONE = Awake(1_000_000_000, [20_150_000])  # 2 % of all instants come too late


def lateness(late_us: float) -> Lateness:
    return Lateness("made up", [late_us] * 100, processor_s=0.1, elapsed_s=1.0)


def repeat(late_us: float, *, idle_share: float = 0.95, awake: Awake = PRESENT) -> TimerRepeat:
    return TimerRepeat(idle_share, lateness(late_us), lateness(late_us), lateness(1_200), awake)


def judged(*repeats: TimerRepeat) -> Row:
    return next(iter(timer_rows(repeats, "host took 0%")))


def test_each_way_to_sleep_is_measured_and_none_ends_too_early() -> None:
    exact, bare, usual = measure(BLOCK)
    for way in (exact, bare, usual):
        assert len(way.late_us) == BLOCK
        assert way.core_share > 0.0
    assert min(exact.late_us + bare.late_us) >= 0.0  # trio's floats are rounded


def test_who_never_sleeps_is_late_for_what_falls_into_a_gap_early_enough() -> None:
    found = Awake(10_000_000, [1_150_000, 100_000, 250_000])
    assert found.late_share(150) == pytest.approx((1_000_000 + 100_000) / 10_000_000)
    assert 0.0 <= awake(0.01).late_share(0) <= 1.0


def test_a_claim_holds_up_to_its_bound() -> None:
    assert judged(repeat(150), repeat(150)).holds is True
    assert judged(repeat(151), repeat(151)).holds is False


def test_where_the_processors_are_gone_nothing_is_judged_but_all_is_told() -> None:
    rows = list(timer_rows([repeat(5_000, awake=GONE)], "host took 9%"))
    assert [row.holds for row in rows] == [None] * 4
    assert "p99 5,000 µs" in rows[0].measured
    assert "2.0% of all instants" in rows[1].measured


def test_only_repeats_with_processors_of_our_own_are_judged() -> None:
    assert judged(repeat(100), repeat(5_000, awake=GONE), repeat(5_000, awake=GONE)).holds is True
    assert judged(repeat(200), repeat(100, awake=GONE), repeat(100, awake=GONE)).holds is False


def test_a_busy_machine_says_nothing() -> None:
    with pytest.raises(AbsentError, match="85% idle"):
        judged(repeat(100, idle_share=0.5))
