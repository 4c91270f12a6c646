"""What a stage may ask of the machine, what is refused before the start, and what stages of one process get."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamflow import RealTime, ms, s, us
from streamflow.core.realtime import Effect, cpu_list, faults, merged, wishes

settings_of_some_stage = st.builds(
    RealTime,
    cpus=st.none() | st.frozensets(st.integers(0, 3), min_size=1),
    priority=st.none() | st.integers(1, 99),
    policy=st.sampled_from(["fifo", "rr"]),
    lock_memory=st.booleans(),
    collects=st.sampled_from(["always", "in_slack"]),
    threads=st.none() | st.integers(1, 8),
    switch_interval=st.none() | st.integers(us, s),
    timer_slack=st.none() | st.integers(1, s),
)


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        ({"cpus": {1, 7}}, "stage x: realtime cpus 7, expected some of cpus 0-3, which this machine has"),
        ({"cpus": {-1}}, "stage x: realtime cpus -1, expected some of cpus 0-3, which this machine has"),
        ({"cpus": ()}, "stage x: realtime cpus without any, expected some of cpus 0-3, which this machine has"),
        ({"cpus": 1}, "stage x: realtime cpus 1, expected a set of numbers; cpus={1}"),
        ({"cpus": "01"}, "stage x: realtime cpus '01', expected a set of numbers; cpus={1}"),
        ({"priority": 0}, "stage x: realtime priority 0, expected 1 to 99, or None"),
        ({"priority": 100}, "stage x: realtime priority 100, expected 1 to 99, or None"),
        ({"priority": True}, "stage x: realtime priority True, expected 1 to 99, or None"),
        ({"policy": "deadline"}, 'stage x: realtime policy \'deadline\', expected "fifo" or "rr"'),
        ({"collects": "never"}, 'stage x: realtime collects \'never\', expected "always" or "in_slack"'),
        ({"lock_memory": 1}, "stage x: realtime lock_memory 1, expected True or False"),
        ({"threads": 0}, "stage x: realtime threads 0, expected a whole number, at least 1, or None"),
        (
            {"switch_interval": 0.0005},
            "stage x: realtime switch_interval 0.0005, expected whole nanoseconds, 1,000 to 1,000,000,000, "
            "as in switch_interval=500 * us",
        ),
        (
            {"timer_slack": 0},
            "stage x: realtime timer_slack 0, expected whole nanoseconds, 1 to 1,000,000,000, as in timer_slack=1 * us",
        ),
    ],
)
def test_what_no_machine_could_give_is_a_fault(asked: dict[str, Any], sentence: str) -> None:
    assert [str(fault) for fault in faults("stage x", RealTime(**asked), 4)] == [sentence]


def test_all_faults_are_told_together() -> None:
    assert len(faults("stage x", RealTime(cpus={9}, priority=0, threads=0), 4)) == 3


def test_what_is_no_real_time_is_a_fault_with_an_example() -> None:
    (fault,) = faults("stage x", {"priority": 20}, 4)
    assert str(fault).endswith("expected a RealTime; realtime=RealTime(cpus={1}, priority=20)")


@given(settings_of_some_stage)
def test_what_a_machine_could_give_is_no_fault(settings: RealTime) -> None:
    assert faults("stage x", settings, 4) == []


def test_a_stage_computes_in_as_many_threads_as_it_has_cpus_unless_it_says_otherwise() -> None:
    assert RealTime().thread_count is None
    assert RealTime(cpus={0, 2}).thread_count == 2
    assert RealTime(cpus=[0, 2, 2], threads=1).thread_count == 1
    assert RealTime(threads=3).thread_count == 3


def test_only_what_is_asked_for_is_a_wish_and_how_garbage_is_collected() -> None:
    assert wishes(RealTime()) == {"collection": "always"}
    everything = RealTime(
        cpus={0, 1, 3},
        priority=20,
        policy="rr",
        lock_memory=True,
        collects="in_slack",
        switch_interval=500 * us,
        timer_slack=2 * ms,
    )
    assert wishes(everything) == {
        "cpus": "0-1,3",
        "threads": "3",
        "priority": "SCHED_RR 20",
        "locked memory": "all",
        "switch interval": "500 us",
        "timer slack": "2000 us",
        "collection": "in slack",
    }


# ------------------------------------------------------------------------------- several in one process


def test_stages_of_one_process_get_the_most_that_any_of_them_asks_for() -> None:
    first = RealTime(cpus={0}, priority=20, policy="rr", lock_memory=True, switch_interval=ms, timer_slack=us)
    second = RealTime(cpus={2}, priority=10, collects="in_slack", threads=3, switch_interval=2 * ms)
    assert merged([first, None, second]) == RealTime(
        cpus={0, 2},
        priority=20,
        policy="rr",
        lock_memory=True,
        collects="in_slack",
        threads=3,
        switch_interval=ms,
        timer_slack=us,
    )


def test_a_process_of_stages_that_ask_for_nothing_is_given_nothing() -> None:
    assert merged([None, None]) is None


@given(st.lists(settings_of_some_stage, min_size=1, max_size=4))
def test_no_stage_gets_less_than_it_asked_for_and_order_does_not_matter(several: list[RealTime]) -> None:
    got = merged(several)
    assert got is not None
    assert merged(several[::-1]) == got
    for one in several:
        assert set(one.cpus or ()) <= set(got.cpus or ())
        assert (one.priority or 0) <= (got.priority or 0)
        assert (one.threads or 0) <= (got.threads or 0)
        assert got.lock_memory or not one.lock_memory
        assert got.collects == "in_slack" or one.collects == "always"
        assert one.switch_interval is None or (got.switch_interval or s) <= one.switch_interval
        assert one.timer_slack is None or (got.timer_slack or s) <= one.timer_slack


# -------------------------------------------------------------------------------------- what is told


def test_what_took_effect_is_told_with_what_holds() -> None:
    effect = Effect("cpus", "1", "1")
    assert effect.told() == {
        "knob": "cpus",
        "asked": "1",
        "got": "1",
        "why_not": "",
        "took_effect": True,
        "sentence": "cpus 1 is in effect: 1",
    }


def test_what_did_not_is_told_with_what_holds_instead_and_why() -> None:
    told = Effect("priority", "SCHED_FIFO 20", "SCHED_OTHER", "not permitted").told()
    assert not told["took_effect"]
    assert told["sentence"] == "priority SCHED_FIFO 20 is not in effect, it has SCHED_OTHER: not permitted"


@pytest.mark.parametrize(
    ("cpus", "text"), [([], ""), ([3], "3"), ([0, 1, 2], "0-2"), ([5, 0, 1, 7, 8], "0-1,5,7-8"), ([0, 2], "0,2")]
)
def test_cpus_are_listed_as_linux_lists_them(cpus: list[int], text: str) -> None:
    assert cpu_list(cpus) == text
