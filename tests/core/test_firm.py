"""(m, k)-firm contracts: when one is broken, what is done about it step by step, and how it comes back."""

from __future__ import annotations

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from streamflow.core.firm import (
    UNSETTLED_LIMIT,
    Broken,
    Escalated,
    Escalation,
    Firm,
    FirmEvent,
    FirmMonitor,
    FirmState,
    Recovered,
)

STEPS = (Escalation.DEGRADE, Escalation.RESTART, Escalation.STOP)
OUTCOMES = st.lists(st.sampled_from([True, True, True, False]), max_size=150)


@st.composite
def contracts(draw: st.DrawFn) -> Firm:
    k = draw(st.integers(1, 8))
    return Firm(draw(st.integers(1, k)), k)


def events_of(monitor: FirmMonitor, outcomes: str | list[bool], start: int = 0) -> list[FirmEvent]:
    """Settled one by one in order; in a text `1` is on time and `0` is not."""
    found: list[FirmEvent] = []
    for seq, outcome in enumerate(outcomes, start):
        found += monitor.admitted(seq)
        found += monitor.settled(seq, outcome in ("1", True))
    return found


def test_a_contract_is_broken_by_one_miss_more_than_it_allows_among_the_last_k() -> None:
    monitor = FirmMonitor(Firm(3, 5), (Escalation.DEGRADE,))
    assert events_of(monitor, "11010111") == []
    assert events_of(monitor, "0100", 8) == [Broken(1, Escalation.DEGRADE, 2, 5, 11)]
    assert (monitor.state, monitor.level, monitor.breaches) == (FirmState.BROKEN, 1, 1)


def test_it_is_broken_before_k_data_were_seen_once_no_future_could_save_it() -> None:
    monitor = FirmMonitor(Firm(8, 10))
    assert events_of(monitor, "000") == [Broken(0, None, 0, 3, 2)]


def test_a_contract_without_escalation_is_told_when_it_breaks_and_when_it_holds_again() -> None:
    monitor = FirmMonitor(Firm(2, 2), recovery=3)
    assert events_of(monitor, "01111") == [Broken(0, None, 0, 1, 0), Recovered(0, 4)]
    assert monitor.state is FirmState.HELD


def test_each_further_k_data_in_breach_are_one_step_more_up_to_the_last() -> None:
    monitor = FirmMonitor(Firm(3, 4), STEPS)
    assert events_of(monitor, "0" * 30) == [
        Broken(1, Escalation.DEGRADE, 0, 2, 1),
        Escalated(2, Escalation.RESTART, 0, 4, 5),
        Escalated(3, Escalation.STOP, 0, 4, 9),
    ]
    assert (monitor.breaches, monitor.broken_data) == (1, 29)


def test_the_way_back_is_one_level_for_each_recovery_in_a_row() -> None:
    monitor = FirmMonitor(Firm(3, 4), STEPS, recovery=6)
    events_of(monitor, "000000")
    assert monitor.level == 2
    held_from = 6 + 2  # the third datum in time is the first whose window of 4 has 3
    events = events_of(monitor, "1" * 20, 6)
    assert events == [Recovered(1, held_from + 5), Recovered(0, held_from + 11)]
    assert monitor.state is FirmState.HELD


def test_one_broken_window_on_the_way_back_begins_the_count_anew() -> None:
    monitor = FirmMonitor(Firm(4, 4), (Escalation.DEGRADE,), recovery=5)
    events_of(monitor, "0111")
    assert events_of(monitor, "1111" + "0" + "1111" + "111", 4) == []
    assert events_of(monitor, "1", 16) == [Recovered(0, 16)]
    assert monitor.breaches == 1


def test_a_contract_that_breaks_again_on_its_way_back_goes_up_again() -> None:
    monitor = FirmMonitor(Firm(4, 4), STEPS, recovery=4)
    events_of(monitor, "00000")
    assert monitor.level == 2
    assert events_of(monitor, "1111111" + "0", 5) == [
        Recovered(1, 11),
        Broken(2, Escalation.RESTART, 3, 4, 12),
    ]
    assert monitor.breaches == 2


def test_the_default_recovery_is_twice_k() -> None:
    monitor = FirmMonitor(Firm(1, 5))
    assert monitor.recovery == 10


def test_a_datum_is_judged_when_all_before_it_are_settled() -> None:
    monitor = FirmMonitor(Firm(1, 2))
    for seq in (3, 7, 8):
        monitor.admitted(seq)
    assert monitor.settled(8, False) == ()
    assert monitor.settled(7, False) == ()
    assert monitor.judged_count == 0
    assert monitor.settled(3, True) == (Broken(0, None, 0, 2, 8),)
    assert monitor.judged_count == 3


def test_the_first_verdict_on_a_datum_counts_and_unknown_data_do_not() -> None:
    monitor = FirmMonitor(Firm(1, 1))
    monitor.admitted(0)
    monitor.admitted(1)
    monitor.admitted(1)
    assert monitor.settled(1, True) == ()
    assert monitor.settled(1, False) == ()
    assert monitor.settled(5, False) == ()
    assert monitor.settled(0, True) == ()
    assert monitor.settled(0, False) == ()
    assert (monitor.judged_count, monitor.broken_data) == (2, 0)


def test_beyond_the_limit_the_oldest_that_is_waited_for_counts_as_not_on_time() -> None:
    monitor = FirmMonitor(Firm(1, 1))
    for seq in range(UNSETTLED_LIMIT):
        assert monitor.admitted(seq) == ()
    assert monitor.admitted(UNSETTLED_LIMIT) == (Broken(0, None, 0, 1, 0),)


@given(contracts(), OUTCOMES, st.integers(0, 1 << 32))
def test_the_window_is_that_of_the_last_k_in_whatever_order_outcomes_are_heard(
    firm: Firm, outcomes: list[bool], seed: int
) -> None:
    monitor, in_order = FirmMonitor(firm), FirmMonitor(firm)
    chance = random.Random(seed)
    seqs = sorted(chance.sample(range(3 * len(outcomes)), len(outcomes)))
    heard: list[FirmEvent] = []
    for seq in seqs:
        monitor.admitted(seq)
    for seq, is_on_time in chance.sample(list(zip(seqs, outcomes, strict=True)), len(outcomes)):
        heard += monitor.settled(seq, is_on_time)
    expected: list[FirmEvent] = []
    broken_data = 0
    for position, (seq, is_on_time) in enumerate(zip(seqs, outcomes, strict=True)):
        in_order.admitted(seq)
        expected += in_order.settled(seq, is_on_time)
        window = outcomes[max(0, position + 1 - firm.k) : position + 1]
        is_broken = window.count(False) > firm.k - firm.m
        broken_data += is_broken
        assert in_order.holds is not is_broken
        assert (in_order.met, in_order.of) == (window.count(True), len(window))
        assert not is_broken or in_order.state is FirmState.BROKEN
    assert monitor.judged_count == len(outcomes)
    assert monitor.broken_data == broken_data
    assert heard == expected


@settings(max_examples=200)
@given(contracts(), OUTCOMES, st.none() | st.integers(1, 20), st.integers(0, 3))
def test_no_step_down_within_recovery_and_no_step_up_within_k(
    firm: Firm, outcomes: list[bool], recovery: int | None, steps: int
) -> None:
    monitor = FirmMonitor(firm, STEPS[:steps], recovery)
    last_bad = last_up = last_down = -10_000
    level, was = 0, FirmState.HELD
    for seq, is_on_time in enumerate(outcomes):
        monitor.admitted(seq)
        events = monitor.settled(seq, is_on_time)
        assert len(events) <= 1
        if not monitor.holds:
            last_bad = seq
        for event in events:
            if isinstance(event, Recovered):
                assert seq - max(last_bad, last_down, last_up) >= monitor.recovery
                assert event.level == max(0, level - 1)
                last_down = seq
            else:
                assert not monitor.holds
                assert isinstance(event, Escalated) or was is FirmState.HELD
                if event.step is not None:
                    assert seq - last_up >= firm.k
                    assert (event.level, event.step) == (level + 1, STEPS[level])
                    last_up = seq
            level = event.level
        if not monitor.holds and level < steps:
            assert seq - last_up < firm.k, "what is broken and could be escalated was, at most k data ago"
        assert monitor.level == level <= steps
        was = monitor.state
