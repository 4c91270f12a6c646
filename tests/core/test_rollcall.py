"""The life of a run, as the supervisor decides it; here the first failure ends it."""

from __future__ import annotations

from streamflow.core.rollcall import (
    Arm,
    Connect,
    Drain,
    Failure,
    Finish,
    Kill,
    Leave,
    Limit,
    Phase,
    Retire,
    RollCall,
    Start,
)
from tests.core.roll_calls import LEAVE, bound, leaving, running, starting

RETIRE_Q = [Retire("q"), Arm(Limit.EXIT)]  # the last of the graph first


def test_senders_connect_when_every_receiver_is_bound() -> None:
    roll = starting()
    assert roll.bound("p", {}) == []
    assert roll.bound("q", {"a->b": "ipc://x"}) == [Connect({"a->b": "ipc://x"})]


def test_nothing_flows_before_every_stage_is_ready() -> None:
    roll = starting()
    assert roll.ready("sink") == []
    assert roll.ready("source") == []
    assert roll.holding_up == ["work"]
    assert roll.ready("work") == [Start()]


def test_the_run_ends_by_itself_when_every_stage_has_closed() -> None:
    roll = running()
    assert roll.closed("source") == []
    assert roll.closed("work") == []
    assert roll.closed("sink") == LEAVE
    assert roll.exited("p", "ended") == []
    assert roll.exited("q", "ended") == [Finish()]
    assert roll.phase is Phase.DONE
    assert roll.failure is None


def test_a_stage_that_is_not_ready_in_time_is_named() -> None:
    roll = bound()
    roll.ready("source")
    assert roll.expired(Limit.STARTUP) == LEAVE
    assert roll.failure is not None
    assert roll.failure.sentence.startswith("stages work, sink: not ready within the start-up deadline")


def test_a_stage_that_did_not_open_is_to_blame_for_those_that_wait_for_their_links() -> None:
    roll = starting()
    roll.opened("source")
    roll.opened("sink")
    assert roll.holding_up == ["work"]
    roll.opened("work")
    assert roll.holding_up == ["source", "work", "sink"]


def test_a_start_up_deadline_that_passes_later_means_nothing() -> None:
    assert running().expired(Limit.STARTUP) == []


def test_the_first_interrupt_drains_and_the_second_kills() -> None:
    roll = running()
    assert roll.interrupted() == [Drain(), Arm(Limit.DRAIN)]
    assert roll.phase is Phase.DRAINING
    assert roll.interrupted() == [Kill(("p", "q"))]
    roll.exited("p", "was killed")
    assert roll.exited("q", "was killed") == [Finish()]
    assert roll.failure is None


def test_an_interrupt_before_all_are_ready_leaves_at_once() -> None:
    assert bound().interrupted() == LEAVE


def test_a_process_that_has_opened_nothing_yet_is_not_waited_for_when_the_run_ends() -> None:
    roll = starting()
    roll.bound("p", {})
    assert roll.interrupted() == [Leave(), Kill(("q",)), Arm(Limit.EXIT)]


def test_a_silent_process_is_to_blame_for_those_that_wait_for_it_and_is_killed_at_once() -> None:
    roll = running()
    roll.interrupted()
    assert roll.expired(Limit.DRAIN, {"q"}) == [*RETIRE_Q, Kill(("q",))]
    assert roll.failure is not None
    assert roll.failure.sentence.startswith("stages work, sink: not drained in time")


def test_the_duration_drains_like_an_interrupt() -> None:
    assert running().duration_elapsed() == [Drain(), Arm(Limit.DRAIN)]


def test_stages_that_do_not_drain_in_time_are_named_and_then_killed() -> None:
    roll = running()
    roll.interrupted()
    roll.closed("source")
    assert roll.expired(Limit.DRAIN) == RETIRE_Q
    assert roll.failure is not None
    assert roll.failure.sentence.startswith("stages work, sink: not drained in time")
    assert roll.expired(Limit.EXIT) == [Kill(("q",)), *LEAVE]
    assert roll.expired(Limit.EXIT) == [Kill(("p", "q"))]


def test_a_process_that_ends_unasked_fails_the_run_with_its_stages_named() -> None:
    roll = running()
    assert roll.exited("q", "was killed by SIGKILL") == [Retire("p"), Arm(Limit.EXIT)]
    assert roll.failure == Failure("stage work, sink", "stage work, sink: its process was killed by SIGKILL")
    assert roll.exited("p", "ended") == [Finish()]


def test_a_process_that_ends_when_told_to_is_no_failure() -> None:
    roll = leaving()
    roll.exited("p", "ended")
    assert roll.failure is None


def test_a_process_that_does_not_leave_is_killed() -> None:
    roll = leaving()
    roll.exited("p", "ended")
    assert roll.expired(Limit.EXIT) == [Kill(("q",))]


def test_the_first_failure_is_the_one_that_is_reported() -> None:
    roll = running()
    assert roll.failed(Failure("work", "work broke")) == RETIRE_Q
    assert roll.failed(Failure("sink", "sink lost its sender")) == []
    assert roll.failure == Failure("work", "work broke")


def test_a_contained_failure_drains_the_rest_and_ends_in_order() -> None:
    roll = running()
    assert roll.failed(Failure("work", "work broke"), is_contained=True) == [Drain(), Arm(Limit.DRAIN)]
    for stage in ("source", "work", "sink"):
        instructions = roll.closed(stage)
    assert instructions == [Leave(), Arm(Limit.EXIT)]
    assert roll.is_complete
    assert roll.failure == Failure("work", "work broke")


def test_a_contained_failure_before_the_start_ends_the_run_at_once() -> None:
    roll = RollCall({"p": ["source"], "q": ["work", "sink"]})
    roll.bound("p", {})
    roll.bound("q", {})
    assert roll.failed(Failure("work", "work broke"), is_contained=True) == LEAVE


def test_after_a_failure_one_leaves_after_another_against_the_graph() -> None:
    roll = RollCall({"p": ["a"], "q": ["b"], "r": ["c"]}, ["c", "a", "b"])
    for stage in "abc":
        roll.ready(stage)
    assert roll.failed(Failure("a", "a broke")) == [Retire("q"), Arm(Limit.EXIT)]
    assert roll.exited("p", "ended") == [], "q, which was told to leave, has not left yet"
    assert roll.exited("q", "ended") == [Retire("r")]
    assert roll.exited("r", "ended") == [Finish()]


def test_who_does_not_leave_is_killed_and_costs_the_others_no_time_to_close_their_files() -> None:
    roll = RollCall({"p": ["a"], "q": ["b"], "r": ["c"]})
    for stage in "abc":
        roll.ready(stage)
    assert roll.failed(Failure("a", "a broke")) == [Retire("r"), Arm(Limit.EXIT)]
    assert roll.expired(Limit.EXIT) == [Kill(("r",)), *LEAVE]
    assert roll.exited("r", "was killed") == []
    assert roll.expired(Limit.EXIT) == [Kill(("p", "q"))]
    roll.exited("p", "was killed")
    assert roll.exited("q", "was killed") == [Finish()]


def test_without_restarts_a_hung_process_fails_the_run_and_is_killed() -> None:
    roll = running()
    assert roll.hung("p", "stage source: no progress for 2 s") == [*RETIRE_Q, Kill(("p",))]
    assert roll.failure == Failure("stage source", "stage source: no progress for 2 s")


def test_a_deadline_that_demands_it_drains_the_run_and_fails_it() -> None:
    roll = running()
    assert roll.stop(Failure("deadline d", "deadline d: missed")) == [Drain(), Arm(Limit.DRAIN)]
    assert roll.failure == Failure("deadline d", "deadline d: missed")
