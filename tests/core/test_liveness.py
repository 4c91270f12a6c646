"""Whether a stage hangs, as an observer decides it from outside."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamflow.core.liveness import (
    OBSERVER_GAP_NS,
    Condition,
    Hung,
    Liveness,
    Sign,
    StagePhase,
    default_hang_limit_ns,
)
from streamflow.core.timebase import ms, s

ALIVE, SUSPECT = Condition.ALIVE, Condition.SUSPECT
LIMIT = 1 * s
BUSY = Sign(records=7, in_service_since_ns=0, in_service_serial=8, beat_ns=1)
WAITED_FOR = Sign(records=7, waiting=3, received=10, taken=7, beat_ns=1)


def watched(sign: Sign, until_ns: int, *, step_ns: int = 20 * ms, liveness: Liveness | None = None) -> Condition | Hung:
    """What is thought at `until_ns` of a stage that has shown the same all the time from 0."""
    liveness = liveness or Liveness(LIMIT)
    found: Condition | Hung = ALIVE
    for now_ns in range(0, until_ns + 1, step_ns):
        found = liveness.observe(now_ns, sign)
    return found


def beating(sign: Sign, instants: range) -> Iterator[tuple[int, Sign]]:
    return ((now_ns, replace(sign, beat_ns=now_ns)) for now_ns in instants)


@pytest.mark.parametrize("sign", [BUSY, WAITED_FOR, Sign(due_ns=1)])
def test_a_stage_that_makes_no_progress_with_work_due_is_suspect_and_then_hung(sign: Sign) -> None:
    assert watched(sign, 40 * ms) is ALIVE
    assert watched(sign, 400 * ms) is SUSPECT
    assert watched(sign, 980 * ms) is SUSPECT
    assert isinstance(watched(sign, 1040 * ms), Hung)


def test_the_reason_tells_what_waits_and_for_how_long() -> None:
    assert watched(WAITED_FOR, 1200 * ms) == Hung(
        0, "no progress for 1.2 s with 3 data waiting (7 of 10 received are taken)"
    )
    assert watched(replace(BUSY, waiting=2), 1200 * ms) == Hung(
        0, "no progress for 1.2 s with 2 data waiting (0 of 0 received are taken) and one in service for 1.2 s"
    )
    assert watched(Sign(due_ns=1 * ms), 1020 * ms) == Hung(
        20 * ms, "no progress for 1.0 s with a wake-up due 1.0 s ago"
    )


@pytest.mark.parametrize(
    "change", [{"records": 8}, {"in_service_serial": 9}, {"taken": 1}, {"in_service_since_ns": None}]
)
def test_any_progress_begins_the_count_anew(change: dict[str, int | None]) -> None:
    liveness = Liveness(LIMIT)
    assert watched(BUSY, 980 * ms, liveness=liveness) is SUSPECT
    changed = replace(BUSY, **change)  # type: ignore[arg-type]
    assert liveness.observe(1000 * ms, changed) is ALIVE
    assert liveness.observe(1040 * ms, changed) is ALIVE


def test_a_source_that_wakes_on_time_is_alive_though_it_emits_nothing() -> None:
    liveness = Liveness(LIMIT)
    for now_ns in range(0, 5 * s, 20 * ms):
        assert liveness.observe(now_ns, Sign(due_ns=now_ns - 1, beat_ns=now_ns)) is ALIVE


def test_an_idle_stage_is_not_hung_however_long_nothing_comes() -> None:
    liveness = Liveness(LIMIT)
    for now_ns, sign in beating(Sign(), range(0, 30 * s, 90 * ms)):
        assert liveness.observe(now_ns, sign) is ALIVE


def test_time_without_work_is_not_counted_once_work_comes() -> None:
    liveness = Liveness(LIMIT)
    for now_ns in range(0, 2 * s, 90 * ms):
        liveness.observe(now_ns, Sign(beat_ns=now_ns))
    assert liveness.observe(2 * s, Sign(waiting=1)) is ALIVE
    assert liveness.observe(2 * s + 40 * ms, Sign(waiting=1)) is ALIVE


@pytest.mark.parametrize("sign", [BUSY, WAITED_FOR, Sign(due_ns=1)])
def test_a_stage_that_waits_for_room_is_never_named(sign: Sign) -> None:
    liveness = Liveness(LIMIT)
    for now_ns, shown in beating(replace(sign, is_blocked=True), range(0, 30 * s, 90 * ms)):
        assert liveness.observe(now_ns, shown) is ALIVE


def test_a_stage_whose_loop_another_stage_has_is_not_named_for_it() -> None:
    liveness = Liveness(LIMIT)
    for now_ns in range(0, 30 * s, 90 * ms):
        assert liveness.observe(now_ns, replace(WAITED_FOR, is_loop_taken=True)) is ALIVE
    assert watched(replace(BUSY, is_loop_taken=True), 1 * s) == Hung(
        0, "no progress for 1.0 s with one in service for 1.0 s"
    )


@pytest.mark.parametrize("phase", [StagePhase.STARTING, StagePhase.ENDED])
def test_a_stage_that_is_not_at_work_cannot_hang(phase: StagePhase) -> None:
    assert watched(replace(WAITED_FOR, phase=phase), 30 * s, step_ns=90 * ms) is ALIVE


def test_a_stopped_process_with_work_due_is_hung_without_waiting_for_the_limit() -> None:
    liveness = Liveness(5 * s)
    assert watched(WAITED_FOR, 40 * ms, liveness=liveness) is ALIVE
    assert liveness.observe(50 * ms, WAITED_FOR) is SUSPECT
    assert liveness.observe(50 * ms, replace(WAITED_FOR, is_stopped=True)) == Hung(
        0, "its process is stopped; no progress for 50 ms with 3 data waiting (7 of 10 received are taken)"
    )


def test_a_stopped_process_without_work_is_let_be() -> None:
    assert watched(Sign(is_stopped=True), 3900 * ms, step_ns=50 * ms) is ALIVE


def test_a_loop_that_stands_still_for_long_with_nothing_to_do_is_hung() -> None:
    assert watched(Sign(), 3960 * ms) is ALIVE
    assert watched(Sign(), 4000 * ms) == Hung(0, "its loop stands still for 4.0 s with nothing to do")


def test_a_loop_may_be_idle_for_longer_than_its_longest_sleep_whatever_the_limit() -> None:
    assert watched(Sign(), 1900 * ms, liveness=Liveness(100 * ms)) is ALIVE
    assert isinstance(watched(Sign(), 2000 * ms, liveness=Liveness(100 * ms)), Hung)


def test_a_stopped_process_that_waits_for_room_is_found_once_its_loop_is_silent() -> None:
    blocked = replace(BUSY, is_blocked=True)
    liveness = Liveness(LIMIT)
    assert watched(blocked, 980 * ms, liveness=liveness) is ALIVE
    assert liveness.observe(1 * s, blocked) is SUSPECT
    assert liveness.observe(1 * s, replace(blocked, is_stopped=True)) == Hung(
        0, "its process is stopped; its loop stands still for 1.0 s while it waits for room downstream"
    )


def test_a_gap_of_the_observer_counts_against_nobody() -> None:
    liveness = Liveness(LIMIT)
    assert watched(WAITED_FOR, 40 * ms, liveness=liveness) is ALIVE
    assert liveness.observe(30 * s, WAITED_FOR) is ALIVE
    found = [liveness.observe(30 * s + more, WAITED_FOR) for more in range(0, 980 * ms, 20 * ms)]
    assert all(isinstance(each, Condition) for each in found[:-1])
    assert isinstance(found[-1], Hung)
    assert found[-1].since_ns == 30 * s - 40 * ms


def test_a_gap_does_not_count_against_a_loop_either() -> None:
    liveness = Liveness(LIMIT)
    liveness.observe(0, Sign())
    assert liveness.observe(60 * s, Sign()) is ALIVE


def test_the_first_observation_accuses_nobody() -> None:
    assert Liveness(LIMIT).observe(60 * s, replace(BUSY, is_stopped=True)) is ALIVE


def test_the_default_limit_follows_the_tightest_deadline() -> None:
    assert default_hang_limit_ns(None) == 5 * s
    assert default_hang_limit_ns(25 * ms) == 1 * s
    assert default_hang_limit_ns(300 * ms) == 3 * s


def stage_at(now_ns: int, finishes: list[int], starts: list[int]) -> Sign:
    """A stage that ends one datum at each of `finishes`; its input waits from each of `starts` on."""
    done = sum(instant <= now_ns for instant in finishes)
    come = sum(instant <= now_ns for instant in starts)
    in_service = come > done
    return Sign(
        records=done,
        in_service_since_ns=starts[done] if in_service else None,
        in_service_serial=done + 1 if in_service else 0,
        received=come,
        taken=come,
        beat_ns=now_ns,
    )


@settings(max_examples=200, deadline=None)
@given(
    st.integers(20, 2000).map(lambda count: count * ms),
    st.lists(st.tuples(st.floats(0, 1), st.floats(0, 3)), min_size=1, max_size=20),
    st.lists(st.integers(0, 400).map(lambda count: count * ms), min_size=1, max_size=60),
)
def test_progress_at_least_every_half_limit_is_never_hung_whoever_looks_when(
    limit_ns: int, work: list[tuple[float, float]], pauses: list[int]
) -> None:
    starts, finishes, now_ns = [], [], 0
    for service, pause in work:
        starts.append(now_ns + int(pause * limit_ns))
        now_ns = starts[-1] + int(service * limit_ns / 2)
        finishes.append(now_ns)
    liveness = Liveness(limit_ns)
    observed_ns = 0
    for pause_ns in pauses * 3:
        observed_ns += pause_ns
        assert isinstance(liveness.observe(observed_ns, stage_at(observed_ns, finishes, starts)), Condition)


@settings(max_examples=100, deadline=None)
@given(
    st.integers(200, 2000).map(lambda count: count * ms),
    st.lists(st.integers(1, OBSERVER_GAP_NS), min_size=1, max_size=20),
    st.sampled_from([BUSY, WAITED_FOR, Sign(due_ns=1)]),
)
def test_a_hung_stage_is_found_within_the_limit_and_two_looks(limit_ns: int, pauses: list[int], sign: Sign) -> None:
    liveness = Liveness(limit_ns)
    now_ns = index = 0
    while not isinstance(found := liveness.observe(now_ns, sign), Hung):
        assert now_ns < limit_ns + 2 * OBSERVER_GAP_NS
        now_ns += max(pauses[index % len(pauses)], 5 * ms)
        index += 1
    assert now_ns - found.since_ns >= limit_ns


@settings(max_examples=100, deadline=None)
@given(
    st.integers(200, 2000).map(lambda count: count * ms),
    st.lists(
        st.tuples(
            st.integers(1, 2 * OBSERVER_GAP_NS),
            st.builds(
                Sign,
                records=st.integers(0, 1),
                in_service_since_ns=st.none() | st.just(1),
                in_service_serial=st.integers(0, 1),
                waiting=st.integers(0, 1),
                taken=st.integers(0, 1),
                beat_ns=st.integers(0, 1),
                due_ns=st.integers(0, 1),
                is_blocked=st.booleans(),
                is_loop_taken=st.booleans(),
                phase=st.sampled_from(StagePhase),
            ),
        ),
        max_size=60,
    ),
)
def test_to_see_a_stage_get_on_is_to_observe_it(limit_ns: int, looks: list[tuple[int, Sign]]) -> None:
    thorough, brief = Liveness(limit_ns), Liveness(limit_ns)
    now_ns = 0
    for pause_ns, sign in looks:
        now_ns += pause_ns
        thought = thorough.observe(now_ns, sign)
        is_due = sign.is_work_due(now_ns)
        if brief.gets_on(now_ns, sign.progress, sign.beat_ns, is_due=is_due):
            assert thought is ALIVE
        else:
            assert brief.observe(now_ns, sign) == thought


def test_a_stage_gets_on_only_with_progress_and_a_beat_since_it_was_observed() -> None:
    liveness = Liveness(LIMIT)
    assert not liveness.gets_on(0, BUSY.progress, BUSY.beat_ns, is_due=True), "it was never observed"
    liveness.observe(0, BUSY)
    further = replace(BUSY, records=8).progress
    assert not liveness.gets_on(50 * ms, BUSY.progress, 2, is_due=True)
    assert not liveness.gets_on(50 * ms, further, BUSY.beat_ns, is_due=True)
    assert liveness.gets_on(50 * ms, further, 2, is_due=True)
    assert not liveness.gets_on(100 * ms, further, 3, is_due=True)
