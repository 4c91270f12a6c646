"""The life of a run that starts again what fails: who, with whom, and when no more."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from streamflow.core.graph import Graph, StageDef
from streamflow.core.restart import Restarts, downstream_of
from streamflow.core.rollcall import (
    Abandon,
    Arm,
    Attach,
    Begin,
    Detach,
    Drain,
    Failure,
    Finish,
    Kill,
    Limit,
    Retire,
    Revive,
    RollCall,
)
from streamflow.core.supervision import GroupDef, Restart, RestartStrategy
from streamflow.core.timebase import ms
from tests.core.roll_calls import KILLED, LEAVE, NAMES, at_work, death_of, endpoints_of, revive, roll_call


def test_a_process_that_dies_is_told_to_its_neighbours_and_started_again() -> None:
    roll = at_work()
    plan = Revive(("vad",), 7, death_of("vad"))
    assert roll.exited("vad", KILLED, 7) == [Detach(("vad",)), plan]
    assert roll.down == {"vad"}
    assert not roll.is_whole
    revive(roll, plan)
    assert not roll.waits_to_revive(plan)
    others = endpoints_of("text")
    assert roll.bound("vad", endpoints_of("vad", 1)) == [Attach("vad", others | endpoints_of("vad", 1))]
    assert not roll.is_whole
    assert roll.ready("vad") == [Begin("vad")]
    assert roll.is_whole
    assert roll.failure is None


def test_a_process_with_several_stages_begins_when_all_of_them_are_ready() -> None:
    graph = Graph("two", (StageDef("a", "Node", "p", {}, {}), StageDef("b", "Node", "p", {}, {})), ())
    restarts = Restarts(
        [GroupDef("two", ("a", "b"))],
        dict.fromkeys("ab", Restart.TRANSIENT),
        {"p": ["a", "b"]},
        downstream_of(graph),
        lambda: 0.0,
    )
    roll = RollCall({"p": ["a", "b"]}, "ab", restarts)
    roll.ready("a")
    roll.ready("b")
    roll.closed("a")
    roll.exited("p", KILLED)
    roll.revived(["p"])
    assert roll.ready("b") == []
    assert roll.ready("a") == [Begin("p")]
    assert roll.closed("b") == [], "a had closed in its former life, and runs again"
    assert roll.closed("a") == LEAVE


def test_the_endpoints_of_who_is_down_are_not_handed_out() -> None:
    roll = at_work()
    roll.exited("vad", KILLED)
    roll.exited("text", KILLED)
    roll.revived(["vad"])
    assert roll.bound("vad", endpoints_of("vad", 1)) == [Attach("vad", endpoints_of("vad", 1))]
    roll.revived(["text"])
    now = endpoints_of("vad", 1) | endpoints_of("text", 1)
    assert roll.bound("text", endpoints_of("text", 1)) == [Attach("text", now)]


def test_rest_for_one_ends_what_is_downstream_and_starts_all_again_when_all_have_ended() -> None:
    roll = at_work(RestartStrategy.REST_FOR_ONE)
    assert roll.exited("vad", KILLED) == [Detach(("vad",)), Kill(("text",))]
    assert not roll.is_whole
    plan = Revive(("vad", "text"), 0, death_of("vad"))
    assert roll.exited("text", KILLED, 99) == [Detach(("text",)), plan]
    assert roll.down == {"vad", "text"}
    revive(roll, plan)
    assert roll.down == set()


def test_one_for_all_ends_and_starts_the_whole_group() -> None:
    roll = at_work(RestartStrategy.ONE_FOR_ALL)
    assert roll.exited("text", KILLED) == [Detach(("text",)), Kill(("mic", "cam", "vad"))]
    assert roll.exited("mic", KILLED) == [Detach(("mic",))]
    assert roll.exited("cam", KILLED) == [Detach(("cam",))]
    detach, plan = roll.exited("vad", KILLED)
    assert detach == Detach(("vad",))
    assert plan == Revive(("mic", "cam", "vad", "text"), 0, death_of("text"))


def test_a_death_of_another_takes_over_the_plan_for_those_that_are_down() -> None:
    roll = at_work(RestartStrategy.REST_FOR_ONE)
    _, first = roll.exited("text", KILLED)
    assert first == Revive(("text",), 0, death_of("text"))
    _, second = roll.exited("vad", KILLED, 3)
    assert second == Revive(("vad", "text"), 3 + 25 * ms, death_of("vad"))
    assert isinstance(first, Revive)
    assert isinstance(second, Revive)
    assert not roll.waits_to_revive(first)
    revive(roll, second)


def test_who_is_left_of_a_plan_that_was_taken_over_in_part_is_started_all_the_same() -> None:
    """cam is not downstream of mic: when mic's end takes text along, cam still waits."""
    roll = at_work(RestartStrategy.REST_FOR_ONE)
    roll.exited("cam", KILLED)
    _, plan = roll.exited("text", KILLED)
    assert plan == Revive(("cam", "text"), 0, death_of("cam"))
    assert isinstance(plan, Revive)
    detach, left, kill = roll.exited("mic", KILLED)
    assert (detach, left, kill) == (Detach(("mic",)), Revive(("cam",), 0, death_of("cam")), Kill(("vad",)))
    _, other = roll.exited("vad", KILLED)
    assert other == Revive(("mic", "vad", "text"), 25 * ms, death_of("mic"))
    assert not roll.waits_to_revive(plan)
    for each in (left, other):
        assert isinstance(each, Revive)
        revive(roll, each)


def test_a_death_while_starting_is_a_failure_of_its_own() -> None:
    roll = at_work()
    roll.exited("vad", KILLED)
    roll.revived(["vad"])
    plan = Revive(("vad",), 1 + 25 * ms, death_of("vad"))
    assert roll.exited("vad", KILLED, 1) == [Detach(("vad",)), plan]
    revive(roll, plan)


def test_what_comes_too_late_from_a_former_life_changes_nothing() -> None:
    roll = at_work()
    roll.exited("vad", KILLED)
    assert roll.bound("vad", endpoints_of("vad")) == []
    assert roll.ready("vad") == []
    assert roll.failed(Failure("vad", "vad broke"), process="vad") == []
    assert roll.exited("vad", KILLED) == []
    roll.revived(["vad"])
    assert roll.exited("vad", KILLED, 1)[1] == Revive(("vad",), 1 + 25 * ms, death_of("vad"))


def test_who_is_alive_or_stays_ended_is_not_started_again_by_mistake() -> None:
    roll = at_work(policies={"text": Restart.TEMPORARY})
    roll.revived(["vad"])
    assert roll.is_whole
    roll.exited("text", KILLED)
    roll.revived(["text"])
    assert roll.is_whole


def test_too_many_failures_end_the_run_and_say_why() -> None:
    roll = at_work(intensity=1)
    roll.exited("vad", KILLED)
    roll.revived(["vad"])
    assert roll.exited("vad", KILLED, 1) == [Detach(("vad",)), Retire("text"), Arm(Limit.EXIT)]
    assert roll.failure is not None
    assert roll.failure.sentence == (
        f"{death_of('vad')}; 2 failures within 0.1 s, more than the 1 restart in 10 s that is allowed (group speech)"
    )
    assert roll.exited("text", "ended") == [Retire("cam")]
    assert roll.exited("cam", "ended") == [Retire("mic")]
    assert roll.exited("mic", "ended") == [Finish()]


def test_giving_up_forgets_who_was_to_be_started() -> None:
    roll = at_work(intensity=1)
    _, plan = roll.exited("vad", KILLED)
    roll.exited("text", KILLED, 1)
    assert isinstance(plan, Revive)
    assert not roll.waits_to_revive(plan)
    assert roll.down == set()


def test_what_a_process_said_before_it_ended_is_the_reason() -> None:
    roll = at_work(intensity=0)
    assert roll.failed(Failure("vad", "vad broke", "Traceback", 3), process="vad") == []
    roll.exited("vad", "exited with 3")
    assert roll.failure == Failure("vad", "stage vad: vad broke; no restart is allowed (group speech)", "Traceback", 3)


def test_a_temporary_process_stays_ended_and_the_rest_goes_on() -> None:
    roll = at_work(policies={"vad": Restart.TEMPORARY})
    assert roll.exited("vad", KILLED) == [Detach(("vad",)), Abandon("vad", death_of("vad"))]
    assert roll.is_whole
    for name in ("mic", "cam"):
        assert roll.closed(name) == []
    assert roll.closed("text") == LEAVE
    assert roll.failure is None


def test_a_process_whose_streams_have_ended_stays_ended_also_when_its_group_is_started_again() -> None:
    roll = at_work(RestartStrategy.ONE_FOR_ALL)
    roll.closed("mic")
    assert roll.exited("mic", KILLED) == [Detach(("mic",)), Abandon("mic", death_of("mic"))]
    assert roll.exited("vad", KILLED) == [Detach(("vad",)), Kill(("cam", "text"))]
    roll.exited("cam", KILLED)
    assert roll.exited("text", KILLED)[1] == Revive(("cam", "vad", "text"), 0, death_of("vad"))


def test_a_hung_process_is_killed_and_that_is_a_failure_like_any_other() -> None:
    roll = at_work()
    assert roll.hung("vad", "stage vad: no progress for 2 s") == [Kill(("vad",))]
    plan = Revive(("vad",), 5, "stage vad: no progress for 2 s")
    assert roll.exited("vad", KILLED, 5) == [Detach(("vad",)), plan]
    assert roll.hung("vad", "stage vad: no progress for 4 s") == [], "it is down"


def test_a_revived_process_that_is_not_ready_in_time_is_killed_and_tried_again() -> None:
    roll = at_work()
    assert roll.expired(Limit.STARTUP, process="vad") == [], "it is at work"
    roll.exited("vad", KILLED)
    roll.revived(["vad"])
    assert roll.expired(Limit.STARTUP, process="vad") == [Kill(("vad",))]
    _, plan = roll.exited("vad", KILLED)
    assert isinstance(plan, Revive)
    assert plan.reason.startswith("stage vad: started again, but not ready within the start-up deadline")


def test_a_source_that_dies_while_it_drains_is_not_started_again() -> None:
    roll = at_work(intensity=0)
    roll.interrupted()
    assert roll.exited("mic", KILLED) == [Detach(("mic",)), Abandon("mic", death_of("mic"))]
    assert roll.failure is None
    for name in ("cam", "vad"):
        assert roll.closed(name) == []
    assert roll.closed("text") == LEAVE


def test_a_source_that_is_down_when_the_run_drains_stays_ended() -> None:
    roll = at_work(RestartStrategy.ONE_FOR_ALL)
    roll.exited("mic", KILLED)
    roll.exited("cam", KILLED)
    roll.exited("vad", KILLED)
    abandoned = [Abandon("mic", death_of("mic")), Abandon("cam", death_of("mic"))]
    assert roll.interrupted() == [Drain(), Arm(Limit.DRAIN), *abandoned]
    plan = Revive(("vad", "text"), 0, death_of("mic"))
    assert roll.exited("text", KILLED) == [Detach(("text",)), plan]
    revive(roll, plan)


def test_a_run_whose_last_open_streams_are_of_sources_that_are_down_ends_when_it_drains() -> None:
    roll = at_work()
    roll.exited("mic", KILLED)
    roll.exited("cam", KILLED)
    roll.closed("vad")
    roll.closed("text")
    abandoned = [Abandon("mic", death_of("mic")), Abandon("cam", death_of("cam"))]
    assert roll.interrupted() == [Drain(), Arm(Limit.DRAIN), *abandoned, *LEAVE]
    assert roll.down == set()


def test_a_source_that_was_being_ended_when_the_run_drains_stays_ended() -> None:
    roll = at_work(RestartStrategy.ONE_FOR_ALL)
    roll.exited("vad", KILLED)
    roll.exited("cam", KILLED)
    roll.exited("text", KILLED)
    roll.interrupted()
    left = Revive(("vad", "text"), 0, death_of("vad"))
    assert roll.exited("mic", KILLED) == [Detach(("mic",)), Abandon("mic", death_of("mic")), left]
    revive(roll, left)


def test_sources_that_drain_are_not_taken_along() -> None:
    roll = at_work(RestartStrategy.ONE_FOR_ALL)
    roll.interrupted()
    assert roll.exited("text", KILLED) == [Detach(("text",)), Kill(("vad",))]


def test_what_is_no_source_is_started_again_while_the_run_drains_and_told_so() -> None:
    roll = at_work()
    roll.interrupted()
    _, plan = roll.exited("vad", KILLED)
    assert isinstance(plan, Revive)
    revive(roll, plan)
    roll.bound("vad", {})
    assert roll.ready("vad") == [Begin("vad"), Drain()]


def test_the_last_close_ends_the_run_also_while_somebody_is_down() -> None:
    """The word that it had closed came after that of its death."""
    roll = at_work()
    for name in ("mic", "cam", "vad"):
        roll.closed(name)
    _, plan = roll.exited("text", KILLED)
    assert roll.closed("text") == LEAVE
    assert isinstance(plan, Revive)
    assert not roll.waits_to_revive(plan)


def test_a_second_interrupt_ends_a_run_of_which_everybody_is_down() -> None:
    roll = roll_call()
    for name in NAMES:
        roll.ready(name)
    for name in NAMES:
        roll.exited(name, KILLED)
    assert roll.interrupted() == [Drain(), Arm(Limit.DRAIN)]
    assert roll.interrupted() == [Finish()]


@pytest.mark.parametrize("end", [lambda roll: roll.failed(Failure("x", "x broke")), RollCall.interrupted])
def test_nobody_is_started_again_once_the_run_ends(end: Callable[[RollCall], object]) -> None:
    roll = at_work()
    _, plan = roll.exited("vad", KILLED)
    assert isinstance(plan, Revive)
    end(roll)
    end(roll)
    assert not roll.waits_to_revive(plan)


def test_an_observer_that_does_not_drain_in_time_is_killed_and_the_run_has_not_failed() -> None:
    roll = roll_call(policies={"text": Restart.TEMPORARY}, observers=frozenset({"text"}))
    for name in NAMES:
        roll.ready(name)
    roll.interrupted()
    for name in ("mic", "cam", "vad"):
        roll.closed(name)
    assert roll.expired(Limit.DRAIN) == [Kill(("text",))]
    assert roll.exited("text", KILLED) == [Detach(("text",)), Abandon("text", death_of("text")), *LEAVE]
    assert roll.failure is None


def test_an_observer_that_does_not_drain_in_time_covers_for_nobody_else() -> None:
    roll = roll_call(observers=frozenset({"text"}))
    for name in NAMES:
        roll.ready(name)
    roll.interrupted()
    for name in ("mic", "cam"):
        roll.closed(name)
    roll.expired(Limit.DRAIN)
    assert roll.failure is not None
    assert roll.failure.subject == "stages vad, text"
