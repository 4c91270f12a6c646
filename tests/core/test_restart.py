"""Who is restarted after a failure, when, and when the run gives up."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamflow.core.graph import EdgeDef, Graph, StageDef
from streamflow.core.restart import (
    GiveUp,
    LeaveEnded,
    RestartNow,
    Restarts,
    downstream_of,
    group_faults,
    stop_order,
    with_rest,
)
from streamflow.core.supervision import GroupDef, Restart, RestartStrategy
from streamflow.core.timebase import ms, s

ONE, REST, ALL = RestartStrategy.ONE_FOR_ONE, RestartStrategy.REST_FOR_ONE, RestartStrategy.ONE_FOR_ALL
PERMANENT, TRANSIENT, TEMPORARY = Restart.PERMANENT, Restart.TRANSIENT, Restart.TEMPORARY

# mic -> vad -> text -> sink, and mic -> meter
NAMES = ("mic", "vad", "text", "sink", "meter")
EDGES = (("mic", "vad"), ("vad", "text"), ("text", "sink"), ("mic", "meter"))


def graph(processes: dict[str, str] | None = None) -> Graph:
    stages = tuple(StageDef(name, "Node", (processes or {}).get(name, name), {}, {}) for name in NAMES)
    return Graph("speech", stages, tuple(EdgeDef(source, "", target, "") for source, target in EDGES))


def restarts(
    *groups: GroupDef,
    processes: dict[str, str] | None = None,
    policies: dict[str, Restart] | None = None,
    chance: float = 0.0,
) -> Restarts:
    whole = graph(processes)
    policy_of = dict.fromkeys(NAMES, TRANSIENT) | (policies or {})
    groups = with_rest(groups, GroupDef("speech", ()), NAMES)
    return Restarts(groups, policy_of, whole.processes(), downstream_of(whole), lambda: chance)


def whole_group(strategy: RestartStrategy = ONE, **limits: int) -> GroupDef:
    return GroupDef("speech", NAMES, strategy, **limits)


def restarted(decision: object) -> tuple[str, ...]:
    assert isinstance(decision, RestartNow)
    return decision.processes


def test_one_for_one_restarts_the_failed_process_alone() -> None:
    assert restarts(whole_group()).failed("vad", 7) == RestartNow(("vad",), 7, 1)


def test_rest_for_one_restarts_what_is_downstream_too_and_nothing_beside() -> None:
    decider = restarts(whole_group(REST))
    assert restarted(decider.failed("vad", 0)) == ("vad", "text", "sink")
    assert restarted(decider.failed("meter", 0)) == ("meter",)


def test_one_for_all_restarts_the_group_with_senders_before_receivers() -> None:
    found = restarted(restarts(whole_group(ALL)).failed("sink", 0))
    assert set(found) == set(NAMES)
    assert all(found.index(source) < found.index(target) for source, target in EDGES)


@pytest.mark.parametrize("strategy", [REST, ALL])
def test_a_strategy_stays_within_its_group(strategy: RestartStrategy) -> None:
    decider = restarts(GroupDef("front", ("mic", "vad"), strategy))
    assert restarted(decider.failed("mic", 0)) == ("mic", "vad")


def test_stages_of_one_process_are_restarted_together() -> None:
    decider = restarts(whole_group(), processes={"vad": "p", "meter": "p"})
    assert restarted(decider.failed("p", 0)) == ("p",)


def test_rest_for_one_follows_on_from_every_stage_of_a_process_it_takes_along() -> None:
    """The end of `sink` takes nothing along but, sharing its process with vad, what is downstream of that."""
    decider = restarts(whole_group(REST), processes={"sink": "p", "vad": "p"})
    assert restarted(decider.failed("text", 0)) == ("p", "text")


def test_a_temporary_stage_stays_ended_and_does_not_count() -> None:
    decider = restarts(whole_group(intensity=1), policies={"meter": TEMPORARY})
    assert decider.failed("meter", 0) == LeaveEnded("meter")
    assert decider.failed("vad", 1) == RestartNow(("vad",), 1, 1)
    assert decider.ended == {"meter"}


def test_a_transient_stage_stays_ended_after_a_normal_end_only() -> None:
    decider = restarts(whole_group())
    assert decider.failed("mic", 0) == RestartNow(("mic",), 0, 1)
    assert decider.failed("mic", 1, is_normal_end=True) == LeaveEnded("mic")


def test_a_permanent_stage_is_started_again_after_a_normal_end() -> None:
    decider = restarts(whole_group(), policies={"mic": PERMANENT})
    assert decider.failed("mic", 0, is_normal_end=True) == RestartNow(("mic",), 0, 1)


def test_a_process_is_as_permanent_as_its_most_permanent_stage() -> None:
    policies = {"vad": TEMPORARY, "text": TRANSIENT}
    decider = restarts(whole_group(), processes={"vad": "p", "text": "p"}, policies=policies)
    assert restarted(decider.failed("p", 0)) == ("p",)


def test_what_stays_ended_is_not_taken_along() -> None:
    decider = restarts(whole_group(ALL), policies={"meter": TEMPORARY})
    assert decider.failed("mic", 0, is_normal_end=True) == LeaveEnded("mic")
    assert restarted(decider.failed("vad", 1)) == ("vad", "text", "sink")


def test_a_temporary_stage_that_works_is_left_at_work() -> None:
    decider = restarts(whole_group(ALL), policies={"meter": TEMPORARY})
    assert "meter" not in restarted(decider.failed("vad", 0))


def test_the_first_restart_is_at_once_and_each_further_one_waits_twice_as_long() -> None:
    decider = restarts(whole_group(intensity=9, backoff_ns=50 * ms, backoff_ns_max=300 * ms))
    decisions = [decider.failed("vad", 0) for _ in range(6)]
    found = [decision.at_ns for decision in decisions if isinstance(decision, RestartNow)]
    assert found == [0, 25 * ms, 50 * ms, 100 * ms, 150 * ms, 150 * ms]


def test_jitter_shortens_a_delay_by_up_to_half() -> None:
    decider = restarts(whole_group(backoff_ns=100 * ms), chance=0.5)
    decider.failed("vad", 0)
    assert decider.failed("vad", 10) == RestartNow(("vad",), 10 + 75 * ms, 2)


def test_after_a_quiet_period_the_first_restart_is_at_once_again() -> None:
    decider = restarts(whole_group(period_ns=10 * s))
    decider.failed("vad", 0)
    assert decider.failed("text", 10 * s + 1) == RestartNow(("text",), 10 * s + 1, 1)


@pytest.mark.parametrize("reason", ["stage vad: process raised ValueError", "stage vad, port x: int16[4] sent"])
@pytest.mark.parametrize("process", ["vad", "p"])
def test_the_reason_does_not_name_the_stage_twice(reason: str, process: str) -> None:
    processes = {"vad": process, "text": process} if process == "p" else None
    decision = restarts(whole_group(intensity=0), processes=processes).failed(process, 0, reason)
    assert isinstance(decision, GiveUp)
    assert decision.sentence.startswith(f"{reason}; ")


def test_more_than_the_intensity_gives_up_and_says_why() -> None:
    decider = restarts(whole_group())
    for index in range(5):
        assert isinstance(decider.failed("vad", index * 500 * ms), RestartNow)
    assert decider.failed("vad", 2500 * ms, "its process was killed by SIGKILL") == GiveUp(
        "stage vad: its process was killed by SIGKILL; 6 failures within 2.5 s, more than the 5 restarts in 10 s "
        "that are allowed (group speech)"
    )


def test_what_never_comes_to_work_again_is_given_up_however_long_each_start_takes() -> None:
    """The period is 5 s, and each start takes a minute to be found stuck."""
    decider = restarts(whole_group(intensity=2, period_ns=5 * s))
    assert isinstance(decider.failed("vad", 0, "it hangs"), RestartNow)
    assert isinstance(decider.failed("vad", 60 * s, "it hangs", was_at_work=False), RestartNow)
    found = decider.failed("vad", 120 * s, "it hangs", was_at_work=False)
    assert isinstance(found, GiveUp)
    assert found.sentence == (
        "stage vad: it hangs; 3 failures within 120 s without being at work in between (group speech)"
    )
    apart = restarts(whole_group(intensity=2, period_ns=5 * s))
    assert all(isinstance(apart.failed("vad", n * 60 * s, "it hangs"), RestartNow) for n in range(9))


def test_an_intensity_of_one_and_of_none_read_well() -> None:
    decider = restarts(whole_group(intensity=1), processes={"vad": "p", "text": "p"})
    decider.failed("mic", 0)
    assert decider.failed("p", 1, "its process exited with 3") == GiveUp(
        "stages vad, text: its process exited with 3; 2 failures within 0.1 s, more than the 1 restart in 10 s "
        "that is allowed (group speech)"
    )
    assert restarts(whole_group(intensity=0)).failed("mic", 0, "its process exited with 3") == GiveUp(
        "stage mic: its process exited with 3; no restart is allowed (group speech)"
    )


def test_a_restart_counts_from_the_instant_it_is_due() -> None:
    """Else what was put off would meet, after the wait, a window that has forgotten it."""
    decider = restarts(whole_group(intensity=2, period_ns=1 * s, backoff_ns=1600 * ms))
    assert decider.failed("vad", 0) == RestartNow(("vad",), 0, 1)
    assert decider.failed("vad", 500 * ms) == RestartNow(("vad",), 1300 * ms, 2)
    assert decider.failed("vad", 1600 * ms) == RestartNow(("vad",), 2400 * ms, 2)
    assert isinstance(decider.failed("vad", 2 * s), GiveUp)


def test_one_failure_counts_once_however_many_go_with_it() -> None:
    decider = restarts(whole_group(ALL, intensity=2))
    decider.failed("mic", 0)
    assert decider.failed("vad", 1, is_ended_by_us=True) is None
    decision = decider.failed("vad", 2)
    assert isinstance(decision, RestartNow)
    assert decision.attempt == 2


def test_groups_count_apart() -> None:
    decider = restarts(GroupDef("front", ("mic",), intensity=1))
    decider.failed("mic", 0)
    assert decider.failed("vad", 1) == RestartNow(("vad",), 1, 1)
    assert isinstance(decider.failed("mic", 2), GiveUp)


def test_after_giving_up_nothing_is_restarted() -> None:
    decider = restarts(whole_group(intensity=0))
    given_up = decider.failed("vad", 0)
    assert isinstance(given_up, GiveUp)
    assert decider.failed("mic", 100 * s) == given_up


@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from(RestartStrategy),
    st.integers(0, 4),
    st.integers(1, 3000).map(lambda count: count * ms),
    st.integers(0, 2000).map(lambda count: count * ms),
    st.lists(st.tuples(st.integers(0, 1000), st.sampled_from(NAMES), st.floats(0, 1, exclude_max=True)), max_size=60),
)
def test_never_more_than_the_intensity_in_any_period(
    strategy: RestartStrategy,
    intensity: int,
    period_ns: int,
    backoff_ns: int,
    failures: list[tuple[int, str, float]],
) -> None:
    """Whether a restart is dated by the failure or by the instant it is due."""
    group = whole_group(strategy, intensity=intensity, period_ns=period_ns, backoff_ns=backoff_ns)
    chances = iter([chance for _, _, chance in failures])
    whole = graph()
    decider = Restarts(
        [group], dict.fromkeys(NAMES, PERMANENT), whole.processes(), downstream_of(whole), lambda: next(chances)
    )
    now_ns = 0
    told: list[int] = []
    due: list[int] = []
    for pause, process, _ in failures:
        now_ns += pause * ms
        match decider.failed(process, now_ns):
            case RestartNow(processes, at_ns, attempt):
                assert process in processes
                assert now_ns <= at_ns <= now_ns + group.backoff_ns_max
                assert attempt <= intensity
                told.append(now_ns)
                due.append(at_ns)
            case GiveUp():
                break
    for instants in (told, due):
        for first_ns in instants:
            assert sum(first_ns <= instant <= first_ns + period_ns for instant in instants) <= intensity


def test_processes_are_stopped_against_the_graph() -> None:
    processes = {"p": ["mic", "text"], "q": ["vad"], "r": ["sink"]}
    assert stop_order(["mic", "vad", "text", "sink"], processes) == ("r", "p", "q")


def test_what_is_in_no_group_is_in_the_default_one() -> None:
    front = GroupDef("front", ("mic", "vad"))
    default = GroupDef("speech", ())
    rest = GroupDef("speech", ("text", "sink", "meter"))
    assert with_rest([front], default, NAMES) == (front, rest)
    assert with_rest([whole_group()], default, NAMES) == (whole_group(),)


@pytest.mark.parametrize(
    ("group", "sentence"),
    [
        (GroupDef("g", ()), "group g: no stages, expected at least one"),
        (
            GroupDef("g", ("mik",)),
            "group g: no stage mik, expected one of mic, vad, text, sink, meter; did you mean mic?",
        ),
        (GroupDef("g", ("mic",), intensity=-1), "group g: a restart intensity of -1, expected 0 or more"),
        (GroupDef("g", ("mic",), period_ns=0), "group g: a restart period of 0 s, expected more than 0"),
        (GroupDef("g", ("mic",), backoff_ns=-ms), "group g: a backoff of -0.001 s, expected 0 or more"),
        (
            GroupDef("g", ("mic",), backoff_ns=3 * s),
            "group g: a longest backoff of 2 s, expected at least the first, 3 s",
        ),
    ],
)
def test_a_group_that_cannot_be_is_a_fault(group: GroupDef, sentence: str) -> None:
    assert [str(fault) for fault in group_faults([group], graph().stages)] == [sentence]


def test_a_stage_in_two_groups_is_a_fault() -> None:
    groups = [GroupDef("g", ("mic", "vad")), GroupDef("h", ("vad",))]
    assert [str(fault) for fault in group_faults(groups, graph().stages)] == [
        "stage vad: in the groups g and h, expected one group"
    ]


def test_two_groups_of_one_name_are_a_fault() -> None:
    groups = [GroupDef("g", ("mic",)), GroupDef("g", ("vad",))]
    assert [str(fault) for fault in group_faults(groups, graph().stages)] == [
        "group g: 2 groups of this name, expected one; name them apart"
    ]


def test_a_process_in_several_groups_is_a_fault() -> None:
    stages = graph({"mic": "p", "vad": "p"}).stages
    assert [str(fault) for fault in group_faults([GroupDef("g", ("mic",))], stages)] == [
        "process p: its stages are in several groups (mic in g, vad in none), expected one group; "
        "a process is restarted as a whole"
    ]


def test_good_groups_have_no_faults() -> None:
    groups = [GroupDef("g", ("mic", "vad")), GroupDef("h", ("text",), intensity=0, backoff_ns=0)]
    assert group_faults(groups, graph({"mic": "p", "vad": "p"}).stages) == []
