"""The life of a run, as the supervisor decides it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from streamflow.core.graph import EdgeDef, Graph, StageDef
from streamflow.core.restart import Restarts, downstream_of, with_rest
from streamflow.core.rollcall import (
    Abandon,
    Arm,
    Attach,
    Begin,
    Connect,
    Detach,
    Drain,
    Failure,
    Finish,
    Instruction,
    Kill,
    Leave,
    Limit,
    Phase,
    Retire,
    Revive,
    RollCall,
    Start,
)
from streamflow.core.supervision import GroupDef, Restart, RestartStrategy
from streamflow.core.timebase import ms, s

LEAVE = [Leave(), Arm(Limit.EXIT)]
RETIRE_Q = [Retire("q"), Arm(Limit.EXIT)]  # the last of the graph first


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


# ---------------------------------------------------------------------------------------------- with restarts

# mic -> vad -> text, and cam -> text; each in a process of its own
NAMES = ("mic", "cam", "vad", "text")
EDGES = (("mic", "vad"), ("vad", "text"), ("cam", "text"))
PROCESSES = {name: [name] for name in NAMES}
KILLED = "was killed by SIGKILL"


def death_of(process: str) -> str:
    return f"stage {process}: its process {KILLED}"


def roll_call(
    *groups: GroupDef, policies: dict[str, Restart] | None = None, source_only: frozenset[str] = frozenset()
) -> RollCall:
    stages = tuple(StageDef(name, "Node", name, {}, {}) for name in NAMES)
    graph = Graph("speech", stages, tuple(EdgeDef(source, "", target, "") for source, target in EDGES))
    policy_of = dict.fromkeys(NAMES, Restart.TRANSIENT) | (policies or {})
    whole = with_rest(groups, GroupDef("speech", ()), NAMES)
    restarts = Restarts(whole, policy_of, PROCESSES, downstream_of(graph), lambda: 0.0)
    return RollCall(PROCESSES, NAMES, restarts, source_only)


def at_work(
    strategy: RestartStrategy = RestartStrategy.ONE_FOR_ONE,
    intensity: int = 5,
    policies: dict[str, Restart] | None = None,
) -> RollCall:
    """All four are at work."""
    group = GroupDef("speech", NAMES, strategy, intensity)
    roll = roll_call(group, policies=policies, source_only=frozenset({"mic", "cam"}))
    for name in NAMES:
        roll.bound(name, endpoints_of(name))
        roll.ready(name)
    assert roll.phase is Phase.RUNNING
    return roll


def endpoints_of(process: str, life: int = 0) -> dict[str, str]:
    return {f"{source}->{target}": f"ipc://{target}{life}" for source, target in EDGES if target == process}


def revive(roll: RollCall, plan: Revive) -> None:
    assert roll.waits_to_revive(plan)
    assert roll.revived(plan.processes) == []


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


# ------------------------------------------------------------------------------------------ any order of events


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


class RestartMachine(RuleBasedStateMachine):
    """A run of four processes that are started again: deaths, words and the passing of time in any order."""

    names = st.sampled_from(NAMES)

    @initialize(
        strategy=st.sampled_from(RestartStrategy),
        intensity=st.integers(0, 4),
        temporary=st.sets(names),
        permanent=st.sets(names),
    )
    def begin(self, strategy: RestartStrategy, intensity: int, temporary: set[str], permanent: set[str]) -> None:
        policies = dict.fromkeys(temporary, Restart.TEMPORARY) | dict.fromkeys(permanent, Restart.PERMANENT)
        self.alive = set(NAMES)
        self.doomed: set[str] = set()
        self.plans: list[Revive] = []
        self.abandoned: set[str] = set()
        self.retiring = ""
        self.now_ns = 0
        self.finish_count = 0
        self.roll = at_work(strategy, intensity, policies)

    def told(self, instructions: list[Instruction]) -> None:
        for instruction in instructions:
            match instruction:
                case Kill(processes):
                    assert set(processes) <= self.alive
                    self.doomed |= set(processes)
                case Revive(processes):
                    assert not set(processes) & (self.alive | self.abandoned)
                    self.plans.append(instruction)
                case Abandon(process):
                    assert process not in self.alive
                    self.abandoned.add(process)
                case Detach(processes):
                    assert not set(processes) & self.alive
                case Begin(process) | Attach(process):
                    assert process in self.alive
                case Retire(process):
                    assert self.retiring not in self.alive
                    assert process in self.alive
                    self.retiring = process
                case Finish():
                    self.finish_count += 1

    @rule(process=names)
    def a_process_dies(self, process: str) -> None:
        if process in self.alive:
            self.alive.discard(process)
            self.doomed.discard(process)
            self.told(self.roll.exited(process, KILLED, self.now_ns))

    @rule(duration_ns=st.sampled_from([0, 30 * ms, 1 * s, 11 * s]))
    def time_passes(self, duration_ns: int) -> None:
        self.now_ns += duration_ns
        due = [plan for plan in self.plans if plan.at_ns <= self.now_ns]
        self.plans = [plan for plan in self.plans if plan.at_ns > self.now_ns]
        for plan in due:
            if self.roll.waits_to_revive(plan):
                assert not set(plan.processes) & self.alive
                self.told(self.roll.revived(plan.processes))
                self.alive |= set(plan.processes)

    @rule(process=names)
    def it_binds(self, process: str) -> None:
        self.told(self.roll.bound(process, endpoints_of(process)))

    @rule(process=names)
    def it_is_ready(self, process: str) -> None:
        self.told(self.roll.ready(process))

    @rule(process=names)
    def it_closes(self, process: str) -> None:
        self.told(self.roll.closed(process))

    @rule(process=names)
    def it_says_why_it_ends(self, process: str) -> None:
        self.told(self.roll.failed(Failure(process, f"{process} broke"), process=process))

    @rule(process=names)
    def it_hangs(self, process: str) -> None:
        self.told(self.roll.hung(process, f"{process} hangs"))

    @rule(process=names)
    def it_is_late_to_start(self, process: str) -> None:
        self.told(self.roll.expired(Limit.STARTUP, process=process))

    @rule()
    def interrupted(self) -> None:
        self.told(self.roll.interrupted())

    @rule(limit=st.sampled_from([Limit.DRAIN, Limit.EXIT]))
    def expired(self, limit: Limit) -> None:
        self.told(self.roll.expired(limit))

    def waiting(self) -> list[Revive]:
        return [plan for plan in self.plans if self.roll.waits_to_revive(plan)]

    @invariant()
    def no_process_has_two_plans(self) -> None:
        planned = [process for plan in dict.fromkeys(self.waiting()) for process in plan.processes]
        assert len(planned) == len(set(planned))

    @invariant()
    def who_is_down_waits_for_its_plan_or_for_those_that_are_ended_with_it(self) -> None:
        down = self.roll.down
        assert not down & self.alive
        planned = {process for plan in self.waiting() for process in plan.processes}
        assert planned <= down
        assert down <= planned or self.doomed

    @invariant()
    def nobody_is_missing_while_the_run_runs(self) -> None:
        if self.roll.phase in (Phase.RUNNING, Phase.DRAINING):
            assert self.alive | self.roll.down | self.abandoned == set(NAMES)
            assert not self.alive & self.abandoned

    @invariant()
    def it_says_once_that_the_run_is_over(self) -> None:
        assert self.finish_count == (self.roll.phase is Phase.DONE)
        assert not self.alive or self.roll.phase is not Phase.DONE

    def teardown(self) -> None:
        """When everything exits and the user insists, the run is over."""
        if hasattr(self, "roll"):
            self.interrupted()
            self.interrupted()
            for process in NAMES:
                self.a_process_dies(process)
            assert self.roll.phase is Phase.DONE
            assert not self.waiting()
            self.it_says_once_that_the_run_is_over()


RestartMachine.TestCase.settings = settings(max_examples=150, stateful_step_count=30, deadline=None)
TestAnyOrderOfRestarts = RestartMachine.TestCase
