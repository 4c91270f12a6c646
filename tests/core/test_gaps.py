"""What a state is stepped with: each datum once, in order, and what is missing between two is told and dealt with."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamflow.core.gaps import NO_SEQ, NO_TIME_NS, GapRule, OnGap, Place, Step, StepKind
from streamflow.core.timebase import ms, s
from streamflow.errors import StateError

PERIOD_NS = 10 * ms
policies = st.sampled_from(OnGap)
rules = st.builds(
    GapRule,
    on_gap=policies,
    repeat_count_max=st.integers(1, 5),
    max_gap_ns=st.none() | st.integers(1, s),
    max_gap_count=st.none() | st.integers(0, 20),
    period_ns=st.sampled_from([0, PERIOD_NS]),
    stride=st.integers(0, 3),
)


def step_after(rule: GapRule, missing_count: int, late_ns: int = 0) -> Step:
    """For the datum that comes when so many before it have not, after datum 7."""
    seq = 8 + missing_count
    return rule.step(last_seq=7, last_time_ns=7 * PERIOD_NS, seq=seq, event_time_ns=seq * PERIOD_NS + late_ns)


def test_the_first_datum_of_a_stream_starts_from_the_initial_state() -> None:
    rule = GapRule(period_ns=PERIOD_NS)
    step = rule.step(last_seq=NO_SEQ, last_time_ns=NO_TIME_NS, seq=1234, event_time_ns=5 * s)
    assert step == Step(StepKind.START, elapsed_ns=PERIOD_NS)


def test_a_datum_that_follows_is_stepped_with_the_time_that_has_passed() -> None:
    for policy in OnGap:
        assert step_after(GapRule(policy), 0, late_ns=3) == Step(StepKind.STEP, elapsed_ns=PERIOD_NS + 3)


@pytest.mark.parametrize("seq", [0, 6, 7])
def test_what_the_state_has_seen_is_skipped_whatever_its_time(seq: int) -> None:
    rule = GapRule(max_gap_ns=1)
    step = rule.step(last_seq=7, last_time_ns=7 * PERIOD_NS, seq=seq, event_time_ns=100 * s)
    assert step.kind is StepKind.SKIP


def test_freeze_goes_on_as_if_nothing_were_missing() -> None:
    assert step_after(GapRule(OnGap.FREEZE), 3) == Step(StepKind.FREEZE, 3, 0, PERIOD_NS)
    declared = GapRule(OnGap.FREEZE, period_ns=7 * ms)
    assert step_after(declared, 3) == Step(StepKind.FREEZE, 3, 0, 7 * ms)


def test_repeat_fills_the_gap_up_to_the_limit() -> None:
    rule = GapRule(OnGap.REPEAT, repeat_count_max=4)
    assert step_after(rule, 3) == Step(StepKind.REPEAT, 3, 3, PERIOD_NS)
    assert step_after(rule, 9) == Step(StepKind.REPEAT, 9, 4, PERIOD_NS)


def test_true_dt_takes_the_time_that_has_really_passed() -> None:
    assert step_after(GapRule(OnGap.TRUE_DT, period_ns=PERIOD_NS), 3, 5) == Step(
        StepKind.TRUE_DT, 3, 0, 4 * PERIOD_NS + 5
    )


@pytest.mark.parametrize("policy", OnGap)
def test_beyond_the_longest_gap_the_state_is_reset(policy: OnGap) -> None:
    in_time = GapRule(policy, max_gap_ns=4 * PERIOD_NS)
    assert step_after(in_time, 3).kind.value == policy.value
    assert step_after(in_time, 3, late_ns=1).kind is StepKind.RESET
    in_count = GapRule(policy, max_gap_count=3)
    assert step_after(in_count, 3).kind.value == policy.value
    assert step_after(in_count, 4) == Step(StepKind.RESET, 4)


def test_a_silence_in_which_nothing_was_lost_resets_as_well() -> None:
    step = step_after(GapRule(max_gap_ns=s), 0, late_ns=2 * s)
    assert step == Step(StepKind.RESET)
    assert step.marks == {"gap": 0, "gap_action": "reset"}


def test_the_output_says_how_many_were_missing_and_what_was_done() -> None:
    assert step_after(GapRule(OnGap.FREEZE), 3).marks == {"gap": 3, "gap_action": "freeze"}
    assert step_after(GapRule(OnGap.REPEAT), 2).marks == {"gap": 2, "gap_action": "repeat"}
    assert step_after(GapRule(OnGap.TRUE_DT), 1).marks == {"gap": 1, "gap_action": "true_dt"}


def test_where_nothing_is_missing_the_output_says_nothing() -> None:
    assert step_after(GapRule(), 0).marks == {}
    assert step_after(GapRule(), -1).marks == {}
    assert GapRule().step(last_seq=NO_SEQ, last_time_ns=NO_TIME_NS, seq=5, event_time_ns=0).marks == {}


def test_numbers_that_always_leave_some_out_are_no_gap() -> None:
    rule = GapRule(stride=10)
    assert rule.step(last_seq=9, last_time_ns=0, seq=19, event_time_ns=s).kind is StepKind.STEP
    assert rule.step(last_seq=9, last_time_ns=0, seq=39, event_time_ns=s).missing_count == 2


@pytest.mark.parametrize("rule", [GapRule(period_ns=PERIOD_NS, stride=0), GapRule(period_ns=PERIOD_NS)])
def test_where_numbers_do_not_tell_the_period_does(rule: GapRule) -> None:
    last_seq = 7 if not rule.stride else NO_SEQ  # or they began anew
    for passed_ns, missing_count in [(0, 0), (14 * ms, 0), (16 * ms, 1), (44 * ms, 3)]:
        step = rule.step(last_seq=last_seq, last_time_ns=s, seq=9, event_time_ns=s + passed_ns)
        assert step.missing_count == missing_count


def test_where_neither_tells_nothing_is_missing() -> None:
    step = GapRule(stride=0).step(last_seq=7, last_time_ns=s, seq=900, event_time_ns=9 * s)
    assert step == Step(StepKind.STEP, elapsed_ns=8 * s)


def test_a_time_that_jumped_back_counts_as_the_usual_one_or_none() -> None:
    for period_ns in (PERIOD_NS, 0):
        rule = GapRule(OnGap.TRUE_DT, period_ns=period_ns)
        for last_seq in (7, NO_SEQ):
            step = rule.step(last_seq=last_seq, last_time_ns=9 * s, seq=8, event_time_ns=s)
            assert step == Step(StepKind.STEP, elapsed_ns=period_ns)


def test_what_a_source_sent_before_the_state_began_is_missing_too() -> None:
    nothing = Place()
    assert GapRule().after(nothing, Place(0, s), is_counted=True) == Step(StepKind.START)
    step = GapRule().after(nothing, Place(5, s), is_counted=True)
    assert step == Step(StepKind.START, 5)
    assert step.marks == {"gap": 5, "gap_action": "start"}
    assert GapRule().after(nothing, Place(5, s)).marks == {}, "who gave that stream its numbers is not known"
    assert GapRule(stride=0).after(nothing, Place(5, s), is_counted=True).marks == {}


def test_where_numbers_began_anew_what_its_source_has_counted_since_is_missing() -> None:
    former = Place(NO_SEQ, 60 * s)
    assert GapRule().after(former, Place(0, 61 * s), is_counted=True).kind is StepKind.STEP
    assert GapRule().after(former, Place(3, 61 * s), is_counted=True).missing_count == 3
    by_time = GapRule(period_ns=100 * ms)
    assert by_time.after(former, Place(3, 61 * s), is_counted=True).missing_count == 9, "the host was down as well"
    assert by_time.after(former, Place(3, s), is_counted=True).missing_count == 3


def test_pieces_of_one_datum_are_told_apart_by_time_and_samples() -> None:
    last = Place(7, 9 * s, sample=100)
    rule = GapRule()
    for again in (last, Place(7, 9 * s, sample=50), Place(7, 8 * s, sample=120), Place(6, 10 * s, sample=120)):
        assert rule.after(last, again).kind is StepKind.SKIP
    assert rule.after(last, Place(7, 9 * s + 1, sample=50)) == Step(StepKind.STEP, elapsed_ns=1)
    assert rule.after(last, Place(7, 9 * s, sample=101)).kind is StepKind.STEP


def test_time_is_that_of_the_recording_where_both_tell_it() -> None:
    last = Place(7, 100 * s, 5 * s)
    assert GapRule().after(last, Place(8, 101 * s, 25 * s)).elapsed_ns == 20 * s
    assert GapRule().after(last, Place(8, 101 * s)).elapsed_ns == s
    assert GapRule().after(Place(7, NO_TIME_NS, 5 * s), Place(8, 101 * s, 25 * s)).kind is StepKind.START


@pytest.mark.parametrize(
    "make",
    [
        lambda: GapRule(OnGap.REPEAT, repeat_count_max=0),
        lambda: GapRule(max_gap_ns=0),
        lambda: GapRule(max_gap_count=-1),
        lambda: GapRule(period_ns=-1),
        lambda: GapRule(stride=-1),
    ],
)
def test_a_rule_that_makes_no_sense_is_refused(make: object) -> None:
    assert callable(make)
    with pytest.raises(StateError, match="gaps"):
        make()


def stepped(
    rule: GapRule, seqs: Sequence[int], last_seq: int = NO_SEQ, last_ns: int = NO_TIME_NS
) -> list[tuple[int, Step]]:
    """What a state is stepped with where these come; each step is committed before the next."""
    found = []
    for seq in seqs:
        step = rule.step(last_seq=last_seq, last_time_ns=last_ns, seq=seq, event_time_ns=seq * PERIOD_NS)
        if step.kind is not StepKind.SKIP:
            last_seq, last_ns = seq, seq * PERIOD_NS
            found.append((seq, step))
    return found


arrivals = st.lists(st.integers(0, 60), min_size=1, max_size=60)


@given(rules, arrivals)
def test_each_datum_is_stepped_with_once_and_in_order(rule: GapRule, seqs: list[int]) -> None:
    found = [seq for seq, _ in stepped(rule, seqs)]
    assert found == sorted(set(found))
    assert found[-1] == max(seqs)


@given(rules, arrivals)
def test_stepped_and_missing_are_all_that_there_was(rule: GapRule, seqs: list[int]) -> None:
    """Where each number follows the one before."""
    rule = GapRule(rule.on_gap, rule.repeat_count_max, rule.max_gap_ns, rule.max_gap_count, rule.period_ns)
    found = stepped(rule, seqs)
    assert len(found) + sum(step.missing_count for _, step in found) == found[-1][0] - found[0][0] + 1


@given(rules, arrivals, st.data())
def test_what_comes_again_after_a_crash_changes_nothing(rule: GapRule, seqs: list[int], data: st.DataObject) -> None:
    """The sender sends again from anywhere on; the steps are those of a run without a crash."""
    whole = stepped(rule, seqs)
    crash = data.draw(st.integers(0, len(seqs)))
    before = stepped(rule, seqs[:crash])
    again = data.draw(st.integers(0, crash))
    last_seq, last_ns = (before[-1][0], before[-1][0] * PERIOD_NS) if before else (NO_SEQ, NO_TIME_NS)
    assert before + stepped(rule, seqs[again:], last_seq, last_ns) == whole


@given(rules, st.integers(-1, 50), st.integers(0, 50), st.integers(0, s), st.integers(0, s))
def test_no_more_is_repeated_than_is_missing_and_allowed(
    rule: GapRule, last_seq: int, seq: int, last_ns: int, now_ns: int
) -> None:
    step = rule.step(last_seq=last_seq, last_time_ns=last_ns, seq=seq, event_time_ns=now_ns)
    assert 0 <= step.repeat_count <= min(step.missing_count, rule.repeat_count_max)
    assert step.elapsed_ns >= 0
    assert bool(step.marks) == (step.missing_count > 0 or step.kind is StepKind.RESET)
