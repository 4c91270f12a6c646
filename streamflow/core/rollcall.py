"""What the supervisor does next: events in the past tense go in, instructions in the imperative come out.

    STARTING --all bound, all ready--> RUNNING --(interrupt, duration)--> DRAINING --all closed--> LEAVING --> DONE
        a failure that nothing can be done about, in any phase: ABORTING --all gone or time is up--> DONE
    each process, while RUNNING or DRAINING:
        up --ended--> down --(its neighbours are told, its time has come)--> starting --bound, ready--> up
            --(it stays ended: that is declared, or all its streams have ended, or it only has sources, and they drain)

No clock, no process, no socket: the doer carries the instructions out and reports what happened. A process that
fails while the run runs is started again as its group says (`core.restart`). Where that gives up, or nothing is
restarted, the run ends: stages leave against the graph's order, one after another, so that files are closed and
nobody sends to who has left before it; and the first failure is the one that is reported, since those after it
are usually its consequences.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, replace
from enum import Enum, auto

from streamflow.core.instructions import (
    Abandon,
    Arm,
    Attach,
    Begin,
    Connect,
    Detach,
    Drain,
    Finish,
    Instruction,
    Kill,
    Leave,
    Limit,
    Retire,
    Revive,
    Start,
)
from streamflow.core.restart import GiveUp, LeaveEnded, RestartNow, Restarts, stop_order

__all__ = [
    "Abandon", "Arm", "Attach", "Begin", "Connect", "Detach", "Drain", "Failure", "Finish", "Instruction", "Kill",
    "Leave", "Limit", "Phase", "Retire", "Revive", "RollCall", "Start",
]  # fmt: skip


class Phase(Enum):
    STARTING = auto()
    RUNNING = auto()
    DRAINING = auto()
    LEAVING = auto()
    ABORTING = auto()
    DONE = auto()


@dataclass(frozen=True, slots=True)
class Failure:
    """Why the run failed: the stage or process, one sentence, and the user's traceback where there is one."""

    subject: str
    sentence: str
    traceback_text: str = ""
    exit_code: int = 1


class RollCall:
    """The life of one run, as the supervisor sees it. `order`: stages, every sender before its receivers."""

    def __init__(
        self,
        processes: Mapping[str, Sequence[str]],
        order: Sequence[str] = (),
        restarts: Restarts | None = None,
        source_only: Set[str] = frozenset(),
        observers: Set[str] = frozenset(),
    ) -> None:
        """Without `restarts` the first failure ends the run. `source_only`: processes that have nothing but sources.

        `observers`: stages whose lateness is no failure of the run.
        """
        self.phase = Phase.STARTING
        self.failure: Failure | None = None
        self.interrupt_count = 0
        self.down: set[str] = set()
        """Processes that have ended and are to be started again."""
        self._processes = {name: tuple(stages) for name, stages in processes.items()}
        self._restarts = restarts
        self._source_only = source_only
        self._observers = observers
        self._unbound = set(self._processes)
        self._unopened = {stage for stages in self._processes.values() for stage in stages}
        self._unready = set(self._unopened)
        self._unclosed = set(self._unready)
        self._alive = set(self._processes)
        self._starting: set[str] = set()  # revived, and not at work yet
        self._plan: dict[str, Revive] = {}  # to be revived once all of its processes have ended
        self._told: dict[str, Failure] = {}  # what a process said before it ended
        self._endpoints: dict[str, Mapping[str, str]] = {}  # by process
        self._to_retire = list(stop_order(order or self._in_order(self._unready), self._processes))
        self._retiring = ""  # the process that was told to leave last, where they leave one after another

    @property
    def is_complete(self) -> bool:
        """Whether every stage has closed in order, or was left ended."""
        return not self._unclosed

    @property
    def is_whole(self) -> bool:
        """Whether no process is being ended to be started again, or down, or starting."""
        return not self._plan and not self._starting

    @property
    def holding_up(self) -> list[str]:
        """Stages for which the start waits: those not open, else those whose links are not."""
        return self._in_order(self._unopened & self._unready or self._unready)

    def _in_order(self, some: Set[str]) -> list[str]:
        return [stage for stages in self._processes.values() for stage in stages if stage in some]

    def begun(self) -> list[Instruction]:
        return [Arm(Limit.STARTUP)]

    def bound(self, process: str, endpoints: Mapping[str, str]) -> list[Instruction]:
        if process not in self._alive:
            return []
        self._endpoints[process] = endpoints
        if process in self._starting:
            return [Attach(process, self._all_endpoints())]
        if self.phase is not Phase.STARTING:
            return []
        self._unbound.discard(process)
        return [] if self._unbound else [Connect(self._all_endpoints())]

    def _all_endpoints(self) -> dict[str, str]:
        return {edge: endpoint for own in self._endpoints.values() for edge, endpoint in own.items()}

    def opened(self, stage: str) -> list[Instruction]:
        self._unopened.discard(stage)
        return []

    def ready(self, stage: str) -> list[Instruction]:
        self._unready.discard(stage)
        process = self._process_of(stage)
        if process in self._starting:
            if self._unready & set(self._processes[process]):
                return []
            self._starting.discard(process)
            return [Begin(process), *([Drain()] if self.phase is Phase.DRAINING else [])]
        if self._unready or self.phase is not Phase.STARTING:
            return []
        self.phase = Phase.RUNNING
        return [Start()]

    def _process_of(self, stage: str) -> str:
        return next(process for process, stages in self._processes.items() if stage in stages)

    def closed(self, stage: str) -> list[Instruction]:
        self._unclosed.discard(stage)
        return self._leave_if_complete()

    def _leave_if_complete(self) -> list[Instruction]:
        if self._unclosed or self.phase not in (Phase.RUNNING, Phase.DRAINING):
            return []
        self.phase = Phase.LEAVING
        self._forget_plans()
        return [Leave(), Arm(Limit.EXIT)] if self._alive else self._finish()

    def failed(self, failure: Failure, *, is_contained: bool = False, process: str = "") -> list[Instruction]:
        """A stage has failed. Contained: its streams end in order, so that the run drains, and the rest is whole.

        With `process`, that one ends by itself now, and it is decided then.
        """
        if process and self._restarts is not None and self._is_running:
            if process in self._alive:
                self._told.setdefault(process, failure)
            return []
        if self.failure is None:
            self.failure = failure
        if self.phase in (Phase.ABORTING, Phase.DONE):
            return []
        if is_contained and self.phase is not Phase.STARTING:
            return self._stop_sources()
        return self._abort()

    @property
    def _is_running(self) -> bool:
        return self.phase in (Phase.RUNNING, Phase.DRAINING)

    def exited(self, process: str, how: str, now_ns: int = 0) -> list[Instruction]:
        """A process has ended; `how` says by which signal or status, for people."""
        if process not in self._alive:
            return []
        self._alive.discard(process)
        self._starting.discard(process)
        self._endpoints.pop(process, None)
        who = ", ".join(self._processes[process])
        failure = self._told.pop(process, None) or Failure(f"stage {who}", f"stage {who}: its process {how}")
        instructions: list[Instruction] = []
        if self._is_running and self._restarts is not None:
            instructions += self._revive(process, failure, now_ns)
        elif self.phase not in (Phase.LEAVING, Phase.ABORTING, Phase.DONE):
            instructions += self.failed(failure)
        elif self.phase is Phase.ABORTING and process == self._retiring:
            instructions += self._retire_next()
        if not self._alive and not self._is_running:
            instructions += self._finish()
        return instructions

    def _revive(self, process: str, failure: Failure, now_ns: int) -> list[Instruction]:
        """What follows from the end of a process while the run runs."""
        assert self._restarts is not None
        if self._is_drained(process):
            return [Detach((process,)), *self._leave_ended({process: failure.sentence})]
        if process in self._plan:
            self.down.add(process)
            return [Detach((process,)), *self._revive_when_all_ended(process)]
        has_ended = not set(self._processes[process]) & self._unclosed
        was_at_work = not set(self._processes[process]) & self._unready
        decision = self._restarts.failed(
            process, now_ns, failure.sentence, is_normal_end=has_ended, was_at_work=was_at_work
        )
        match decision:
            case GiveUp():
                self.failure = self.failure or Failure(
                    failure.subject, decision.sentence, failure.traceback_text, failure.exit_code
                )
                return [Detach((process,)), *self._abort()]
            case RestartNow():
                return [Detach((process,)), *self._plan_to_revive(process, decision, failure.sentence)]
            case LeaveEnded() | None:
                return [Detach((process,)), *self._leave_ended({process: failure.sentence})]

    def _is_drained(self, process: str) -> bool:
        """Whether it has nothing left to do: sources were told to stop, and where they end their streams end."""
        return self.phase is Phase.DRAINING and process in self._source_only

    def _plan_to_revive(self, process: str, decision: RestartNow, reason: str) -> list[Instruction]:
        """It takes the place of what was planned for any of them; sources that drain are left as they are."""
        taken = tuple(name for name in decision.processes if not self._is_drained(name))
        others = tuple(name for name in taken if name in self._alive and name not in self._plan)
        instructions = self._take_out(frozenset(taken))
        self._plan |= dict.fromkeys(taken, Revive(taken, decision.at_ns, reason))
        self.down.add(process)
        if others:
            instructions.append(Kill(others))
        return instructions + self._revive_when_all_ended(process)

    def _take_out(self, processes: Set[str]) -> list[Instruction]:
        """These are no longer revived as was planned; what is left of those plans stands."""
        instructions: list[Instruction] = []
        for plan in dict.fromkeys(self._plan.pop(name) for name in sorted(processes) if name in self._plan):
            left = tuple(name for name in plan.processes if name not in processes)
            if left:
                self._plan |= dict.fromkeys(left, replace(plan, processes=left))
                instructions += self._revive_when_all_ended(left[0])
        return instructions

    def _leave_ended(self, reasons: Mapping[str, str]) -> list[Instruction]:
        """The streams of these end where they ended, and the rest goes on without them."""
        for process in reasons:
            self._unclosed -= set(self._processes[process])
            self.down.discard(process)
        rest = self._take_out(reasons.keys())
        abandoned = [Abandon(process, reason) for process, reason in reasons.items()]
        return [*abandoned, *rest, *self._leave_if_complete()]

    def _revive_when_all_ended(self, process: str) -> list[Instruction]:
        plan = self._plan[process]
        return [plan] if not set(plan.processes) & self._alive else []

    def revived(self, processes: Sequence[str]) -> list[Instruction]:
        """The time has come: these processes are started again."""
        if not self._is_running:
            return []
        for process in processes:
            if self._plan.pop(process, None) is None:
                continue  # it is alive, or stays ended
            stages = set(self._processes[process])
            self.down.discard(process)
            self._alive.add(process)
            self._starting.add(process)
            self._unopened |= stages
            self._unready |= stages
            self._unclosed |= stages  # one that had closed runs with the others, and closes again
        return []

    def waits_to_revive(self, plan: Revive) -> bool:
        """Whether this is still what is to be done."""
        return self._is_running and all(self._plan.get(process) == plan for process in plan.processes)

    def interrupted(self) -> list[Instruction]:
        """Ctrl-C or SIGTERM: the first drains, the second kills."""
        self.interrupt_count += 1
        if self.phase is Phase.DONE:
            return []
        if self.interrupt_count > 1:
            self.phase = Phase.ABORTING
            self._forget_plans()
            return [Kill(tuple(sorted(self._alive)))] if self._alive else self._finish()
        return self._stop_sources()

    def duration_elapsed(self) -> list[Instruction]:
        return self._stop_sources()

    def hung(self, process: str, sentence: str) -> list[Instruction]:
        """A process makes no progress although work is due: it is ended, and then it is a failure like any other."""
        if process not in self._alive or not self._is_running:
            return []
        stage = self._processes[process][0]
        failure = Failure(f"stage {stage}", sentence)
        if self._restarts is None:
            return [*self.failed(failure), Kill((process,))]
        self._told.setdefault(process, failure)
        return [Kill((process,))]

    def stop(self, failure: Failure) -> list[Instruction]:
        """A deadline demands that the run stops safely: sources first, what is under way is finished."""
        self.failure = self.failure or failure
        return self._stop_sources()

    def expired(self, limit: Limit, silent: Set[str] = frozenset(), process: str = "") -> list[Instruction]:
        """Time is up; `silent` are the processes that have not been heard of for a while.

        With `process`, that one alone was to be ready: it is ended, which is a failure like any other.

        One that is stuck in user code is silent and holds up all the others. So where there are silent ones they
        are to blame, and are killed at once: they would not hear that they should leave.
        """
        match limit, self.phase:
            case Limit.STARTUP, _ if process:
                return self._late_to_start(process)
            case Limit.STARTUP, Phase.STARTING:
                late, found = self.holding_up, "not ready within the start-up deadline; --startup-timeout sets it"
            case Limit.DRAIN, Phase.DRAINING if self._restarts is not None and self._unclosed <= self._observers:
                return [Kill(tuple(name for name, own in self._processes.items() if set(own) & self._unclosed))]
            case Limit.DRAIN, Phase.DRAINING:
                late, found = self._in_order(self._unclosed), "not drained in time, killed; --drain-timeout sets it"
            case Limit.EXIT, Phase.ABORTING if self._retiring and len(self._alive) > 1:
                # Who was told to leave does not; that is not to cost the others their time to close files.
                late_one, self._retiring = self._retiring, ""
                return [Kill((late_one,)), Leave(), Arm(Limit.EXIT)]
            case Limit.EXIT, (Phase.LEAVING | Phase.ABORTING):
                if self.failure is None and self.phase is Phase.LEAVING:
                    who = _stages(
                        [stage for name, own in self._processes.items() if name in self._alive for stage in own]
                    )
                    self.failure = Failure(who, f"{who}: had finished, but the process did not exit, killed")
                return [Kill(tuple(sorted(self._alive)))]
            case _:
                return []
        stuck = [name for name in sorted(self._alive) if name in silent and set(self._processes[name]) & set(late)]
        who = _stages([stage for stage in late if not stuck or any(stage in self._processes[name] for name in stuck)])
        return [*self.failed(Failure(who, f"{who}: {found}")), *([Kill(tuple(stuck))] if stuck else [])]

    def _late_to_start(self, process: str) -> list[Instruction]:
        if process not in self._starting or not self._is_running:
            return []
        who = _stages([stage for stage in self._processes[process] if stage in self._unready])
        sentence = f"{who}: started again, but not ready within the start-up deadline; --startup-timeout sets it"
        self._told.setdefault(process, Failure(who, sentence))
        return [Kill((process,))]

    def _stop_sources(self) -> list[Instruction]:
        match self.phase:
            case Phase.STARTING:
                return self._abort()
            case Phase.RUNNING:
                self.phase = Phase.DRAINING
                drained = [name for name in self._processes if name in self.down and self._is_drained(name)]
                ended = self._leave_ended({name: self._plan[name].reason for name in drained})
                return [Drain(), Arm(Limit.DRAIN), *ended]
            case _:
                return []

    def _abort(self) -> list[Instruction]:
        """Let everybody leave; who has not even bound has opened nothing, and need not be waited for.

        From a run that runs they leave one after another, the last of the graph first.
        """
        was_running = self._is_running
        self.phase = Phase.ABORTING
        self._forget_plans()
        if not self._alive:
            return self._finish()
        if was_running:
            return [*self._retire_next(), Arm(Limit.EXIT)]
        unbound = tuple(sorted(self._unbound & self._alive))
        return [Leave(), *([Kill(unbound)] if unbound else []), Arm(Limit.EXIT)]

    def _forget_plans(self) -> None:
        self.down.clear()
        self._plan.clear()
        self._retiring = ""

    def _retire_next(self) -> list[Instruction]:
        self._to_retire = [process for process in self._to_retire if process in self._alive]
        self._retiring = self._to_retire.pop(0) if self._to_retire else ""
        return [Retire(self._retiring)] if self._retiring else []

    def _finish(self) -> list[Instruction]:
        if self.phase is Phase.DONE:
            return []
        self.phase = Phase.DONE
        return [Finish()]


def _stages(names: Sequence[str]) -> str:
    return f"stage{'s' if len(names) != 1 else ''} {', '.join(names)}"
