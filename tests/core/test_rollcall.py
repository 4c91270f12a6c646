"""The life of a run, as the supervisor decides it."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from streamflow.core.rollcall import (
    Arm,
    Connect,
    Drain,
    Failure,
    Finish,
    Instruction,
    Kill,
    Leave,
    Limit,
    Phase,
    RollCall,
    Start,
)

LEAVE = [Leave(), Arm(Limit.EXIT)]


def starting() -> RollCall:
    """Two processes, three stages."""
    roll = RollCall({"p": ["source"], "q": ["work", "sink"]})
    assert roll.begun() == [Arm(Limit.STARTUP)]
    return roll


def bound() -> RollCall:
    roll = starting()
    for process in ("p", "q"):
        roll.bound(process, {})
    return roll


def running() -> RollCall:
    roll = bound()
    for stage in ("source", "work", "sink"):
        roll.ready(stage)
    assert roll.phase is Phase.RUNNING
    return roll


def leaving() -> RollCall:
    roll = running()
    for stage in ("source", "work", "sink"):
        roll.closed(stage)
    assert roll.phase is Phase.LEAVING
    return roll


def test_senders_connect_when_every_receiver_is_bound() -> None:
    roll = starting()
    assert roll.bound("p", {}) == []
    assert roll.bound("q", {"a->b": "ipc://x"}) == [Connect({"a->b": "ipc://x"})]


def test_nothing_flows_before_every_stage_is_ready() -> None:
    roll = starting()
    assert roll.ready("sink") == []
    assert roll.ready("source") == []
    assert roll.unready == ["work"]
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
    assert roll.unready == ["source", "work", "sink"]
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
    assert roll.expired(Limit.DRAIN, {"q"}) == [*LEAVE, Kill(("q",))]
    assert roll.failure is not None
    assert roll.failure.sentence.startswith("stages work, sink: not drained in time")


def test_the_duration_drains_like_an_interrupt() -> None:
    assert running().duration_elapsed() == [Drain(), Arm(Limit.DRAIN)]


def test_stages_that_do_not_drain_in_time_are_named_and_then_killed() -> None:
    roll = running()
    roll.interrupted()
    roll.closed("source")
    assert roll.expired(Limit.DRAIN) == LEAVE
    assert roll.failure is not None
    assert roll.failure.sentence.startswith("stages work, sink: not drained in time")
    assert roll.expired(Limit.EXIT) == [Kill(("p", "q"))]


def test_a_process_that_ends_unasked_fails_the_run_with_its_stages_named() -> None:
    roll = running()
    assert roll.exited("q", "was killed by SIGKILL") == LEAVE
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
    assert roll.failed(Failure("work", "work broke")) == LEAVE
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


class RunMachine(RuleBasedStateMachine):
    """Events of a run in any order, also those that should not come."""

    processes = st.sampled_from(["p", "q"])
    stages = st.sampled_from(["source", "work", "sink"])

    @initialize()
    def begin(self) -> None:
        self.roll = starting()
        self.alive = {"p", "q"}
        self.finish_count = 0
        self.first_failure: Failure | None = None

    def told(self, instructions: list[Instruction]) -> None:
        for instruction in instructions:
            self.finish_count += isinstance(instruction, Finish)
            if isinstance(instruction, Kill):
                assert set(instruction.processes) <= self.alive
        if self.first_failure is None:
            self.first_failure = self.roll.failure

    @rule(process=processes)
    def bound(self, process: str) -> None:
        self.told(self.roll.bound(process, {}))

    @rule(stage=stages)
    def opened(self, stage: str) -> None:
        self.told(self.roll.opened(stage))

    @rule(stage=stages)
    def ready(self, stage: str) -> None:
        self.told(self.roll.ready(stage))

    @rule(stage=stages)
    def closed(self, stage: str) -> None:
        self.told(self.roll.closed(stage))

    @rule(stage=stages)
    def failed(self, stage: str) -> None:
        self.told(self.roll.failed(Failure(stage, f"{stage} broke")))

    @rule(process=processes)
    def exited(self, process: str) -> None:
        if process in self.alive:
            self.alive.discard(process)
            self.told(self.roll.exited(process, "ended"))

    @rule()
    def interrupted(self) -> None:
        self.told(self.roll.interrupted())

    @rule()
    def duration_elapsed(self) -> None:
        self.told(self.roll.duration_elapsed())

    @rule(limit=st.sampled_from(Limit), silent=st.sets(processes))
    def expired(self, limit: Limit, silent: set[str]) -> None:
        self.told(self.roll.expired(limit, silent))

    @invariant()
    def the_run_is_done_exactly_when_it_has_said_so_once_and_every_process_has_gone(self) -> None:
        assert self.finish_count == (self.roll.phase is Phase.DONE)
        assert (self.roll.phase is Phase.DONE) == (not self.alive)

    @invariant()
    def the_first_failure_stays(self) -> None:
        assert self.roll.failure == self.first_failure

    def teardown(self) -> None:
        if hasattr(self, "alive"):
            for process in sorted(self.alive):
                self.exited(process)
            self.the_run_is_done_exactly_when_it_has_said_so_once_and_every_process_has_gone()


RunMachine.TestCase.settings = settings(max_examples=100, stateful_step_count=25)
TestAnyOrderOfEvents = RunMachine.TestCase
