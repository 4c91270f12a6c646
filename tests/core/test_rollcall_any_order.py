"""Laws of the life of a run, whatever happens in whatever order."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from streamflow.core.rollcall import (
    Abandon,
    Attach,
    Begin,
    Detach,
    Failure,
    Finish,
    Instruction,
    Kill,
    Limit,
    Phase,
    Retire,
    Revive,
)
from streamflow.core.supervision import Restart, RestartStrategy
from streamflow.core.timebase import ms, s
from tests.core.roll_calls import KILLED, NAMES, at_work, endpoints_of, starting


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
