"""What the supervisor does next: events in the past tense go in, instructions in the imperative come out.

    STARTING --all bound, all ready--> RUNNING --(interrupt, duration)--> DRAINING --all closed--> LEAVING --> DONE
        any failure, in any phase: ABORTING --all gone or time is up--> DONE

No clock, no process, no socket: the doer carries the instructions out and reports what happened. A stage
that fails ends the run: what else is running is told to leave, files are closed, and the first failure is
the one that is reported, since those after it are usually its consequences.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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


class RollCall:
    """The life of one run, as the supervisor sees it."""

    def __init__(self, processes: Mapping[str, Sequence[str]]) -> None:
        self.phase = Phase.STARTING
        self.failure: Failure | None = None
        self.interrupt_count = 0
        self._processes = {name: tuple(stages) for name, stages in processes.items()}
        self._unbound = set(self._processes)
        self._unready = {stage for stages in self._processes.values() for stage in stages}
        self._unclosed = set(self._unready)
        self._alive = set(self._processes)
        self._endpoints: dict[str, str] = {}

    @property
    def unready(self) -> list[str]:
        """Stages that have not said they are ready, in the order of definition."""
        return [stage for stages in self._processes.values() for stage in stages if stage in self._unready]

    def begun(self) -> list[Instruction]:
        return [Arm(Limit.STARTUP)]

    def bound(self, process: str, endpoints: Mapping[str, str]) -> list[Instruction]:
        if self.phase is not Phase.STARTING:
            return []
        self._unbound.discard(process)
        self._endpoints.update(endpoints)
        return [] if self._unbound else [Connect(dict(self._endpoints))]

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

    def failed(self, failure: Failure) -> list[Instruction]:
        if self.failure is None:
            self.failure = failure
        if self.phase in (Phase.ABORTING, Phase.DONE):
            return []
        self.phase = Phase.ABORTING
        return [Leave(), Arm(Limit.EXIT)] if self._alive else self._finish()

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
        if self.interrupt_count > 1:
            self.phase = Phase.ABORTING
            return [Kill(tuple(sorted(self._alive)))]
        return self._stop_sources()

    def duration_elapsed(self) -> list[Instruction]:
        return self._stop_sources()

    def expired(self, limit: Limit) -> list[Instruction]:
        match limit, self.phase:
            case Limit.STARTUP, Phase.STARTING:
                names = ", ".join(self.unready)
                stages = "stage" if len(self.unready) == 1 else "stages"
                sentence = f"{stages} {names}: not ready within the start-up deadline"
                return self.failed(Failure(names, f"{sentence}; --startup-timeout sets it"))
            case Limit.DRAIN, Phase.DRAINING:
                names = ", ".join(sorted(self._unclosed))
                return self.failed(Failure(names, f"stages {names}: not drained in time; killed"))
            case Limit.EXIT, (Phase.LEAVING | Phase.ABORTING):
                return [Kill(tuple(sorted(self._alive)))]
            case _:
                return []

    def _stop_sources(self) -> list[Instruction]:
        match self.phase:
            case Phase.STARTING:
                self.phase = Phase.ABORTING
                return [Leave(), Arm(Limit.EXIT)] if self._alive else self._finish()
            case Phase.RUNNING:
                self.phase = Phase.DRAINING
                return [Drain(), Arm(Limit.DRAIN)]
            case _:
                return []

    def _finish(self) -> list[Instruction]:
        if self.phase is Phase.DONE:
            return []
        self.phase = Phase.DONE
        return [Finish()]
