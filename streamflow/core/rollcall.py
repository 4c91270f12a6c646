"""What the supervisor does next: events in the past tense go in, instructions in the imperative come out.

    STARTING --all bound, all ready--> RUNNING --(interrupt, duration)--> DRAINING --all closed--> LEAVING --> DONE
        a failure that is not contained, in any phase: ABORTING --all gone or time is up--> DONE

No clock, no process, no socket: the doer carries the instructions out and reports what happened. A stage
that fails ends the run: what else is running is told to leave, files are closed, and the first failure is
the one that is reported, since those after it are usually its consequences.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from enum import Enum, auto


class Phase(Enum):
    STARTING = auto()
    RUNNING = auto()
    DRAINING = auto()
    LEAVING = auto()
    ABORTING = auto()
    DONE = auto()


class Limit(Enum):
    """What must happen in time; the doer arms one timer for each."""

    STARTUP = "startup"
    DRAIN = "drain"
    EXIT = "exit"


@dataclass(frozen=True, slots=True)
class Connect:
    """Tell every process where all receivers are."""

    endpoints: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Start:
    """Tell every process that all are ready."""


@dataclass(frozen=True, slots=True)
class Drain:
    """Tell every process to stop its sources."""


@dataclass(frozen=True, slots=True)
class Leave:
    """Tell every process to exit."""


@dataclass(frozen=True, slots=True)
class Kill:
    """End these processes now."""

    processes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Arm:
    """Report `expired(limit)` unless the phase has changed by then."""

    limit: Limit


@dataclass(frozen=True, slots=True)
class Finish:
    """The run is over."""


Instruction = Connect | Start | Drain | Leave | Kill | Arm | Finish


@dataclass(frozen=True, slots=True)
class Failure:
    """Why the run failed: the stage or process, one sentence, and the user's traceback where there is one."""

    subject: str
    sentence: str
    traceback_text: str = ""
    exit_code: int = 1


class RollCall:
    """The life of one run, as the supervisor sees it."""

    def __init__(self, processes: Mapping[str, Sequence[str]]) -> None:
        self.phase = Phase.STARTING
        self.failure: Failure | None = None
        self.interrupt_count = 0
        self._processes = {name: tuple(stages) for name, stages in processes.items()}
        self._unbound = set(self._processes)
        self._unopened = {stage for stages in self._processes.values() for stage in stages}
        self._unready = set(self._unopened)
        self._unclosed = set(self._unready)
        self._alive = set(self._processes)
        self._endpoints: dict[str, str] = {}

    @property
    def is_complete(self) -> bool:
        """Whether every stage has closed in order."""
        return not self._unclosed

    @property
    def unready(self) -> list[str]:
        """Stages that have not said they are ready, in the order of definition."""
        return self._in_order(self._unready)

    @property
    def holding_up(self) -> list[str]:
        """Stages for which the start waits: those not open, else those whose links are not."""
        return self._in_order(self._unopened & self._unready or self._unready)

    def _in_order(self, some: Set[str]) -> list[str]:
        return [stage for stages in self._processes.values() for stage in stages if stage in some]

    def begun(self) -> list[Instruction]:
        return [Arm(Limit.STARTUP)]

    def bound(self, process: str, endpoints: Mapping[str, str]) -> list[Instruction]:
        if self.phase is not Phase.STARTING:
            return []
        self._unbound.discard(process)
        self._endpoints.update(endpoints)
        return [] if self._unbound else [Connect(dict(self._endpoints))]

    def opened(self, stage: str) -> list[Instruction]:
        self._unopened.discard(stage)
        return []

    def ready(self, stage: str) -> list[Instruction]:
        self._unready.discard(stage)
        if self._unready or self.phase is not Phase.STARTING:
            return []
        self.phase = Phase.RUNNING
        return [Start()]

    def closed(self, stage: str) -> list[Instruction]:
        self._unclosed.discard(stage)
        if self._unclosed or self.phase not in (Phase.RUNNING, Phase.DRAINING):
            return []
        self.phase = Phase.LEAVING
        return [Leave(), Arm(Limit.EXIT)]

    def failed(self, failure: Failure, *, is_contained: bool = False) -> list[Instruction]:
        """A stage has failed. Contained: its streams end in order, so that the run drains, and the rest is whole."""
        if self.failure is None:
            self.failure = failure
        if self.phase in (Phase.ABORTING, Phase.DONE):
            return []
        if is_contained and self.phase is not Phase.STARTING:
            return self._stop_sources()
        return self._abort()

    def exited(self, process: str, how: str) -> list[Instruction]:
        """A process has ended; `how` says by which signal or status, for people."""
        self._alive.discard(process)
        expected = self.phase in (Phase.LEAVING, Phase.ABORTING, Phase.DONE)
        instructions: list[Instruction] = []
        if not expected:
            stages = ", ".join(self._processes[process])
            instructions += self.failed(Failure(f"stage {stages}", f"stage {stages}: its process {how}"))
        if not self._alive:
            instructions += self._finish()
        return instructions

    def interrupted(self) -> list[Instruction]:
        """Ctrl-C or SIGTERM: the first drains, the second kills."""
        self.interrupt_count += 1
        if self.phase is Phase.DONE:
            return []
        if self.interrupt_count > 1:
            self.phase = Phase.ABORTING
            return [Kill(tuple(sorted(self._alive)))]
        return self._stop_sources()

    def duration_elapsed(self) -> list[Instruction]:
        return self._stop_sources()

    def expired(self, limit: Limit, silent: Set[str] = frozenset()) -> list[Instruction]:
        """Time is up; `silent` are the processes that have not been heard of for a while.

        One that is stuck in user code is silent and holds up all the others. So where there are silent ones they
        are to blame, and are killed at once: they would not hear that they should leave.
        """
        match limit, self.phase:
            case Limit.STARTUP, Phase.STARTING:
                late, found = self.holding_up, "not ready within the start-up deadline; --startup-timeout sets it"
            case Limit.DRAIN, Phase.DRAINING:
                late, found = self._in_order(self._unclosed), "not drained in time, killed; --drain-timeout sets it"
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

    def _stop_sources(self) -> list[Instruction]:
        match self.phase:
            case Phase.STARTING:
                return self._abort()
            case Phase.RUNNING:
                self.phase = Phase.DRAINING
                return [Drain(), Arm(Limit.DRAIN)]
            case _:
                return []

    def _abort(self) -> list[Instruction]:
        """Let everybody leave; who has not even bound has opened nothing, and need not be waited for."""
        self.phase = Phase.ABORTING
        if not self._alive:
            return self._finish()
        unbound = tuple(sorted(self._unbound & self._alive))
        return [Leave(), *([Kill(unbound)] if unbound else []), Arm(Limit.EXIT)]

    def _finish(self) -> list[Instruction]:
        if self.phase is Phase.DONE:
            return []
        self.phase = Phase.DONE
        return [Finish()]


def _stages(names: Sequence[str]) -> str:
    return f"stage{'s' if len(names) != 1 else ''} {', '.join(names)}"
