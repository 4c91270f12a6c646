"""Whether a stage hangs: no progress while work is due, seen from outside, in what its recorder tells.

There is no heartbeat thread: it would beat on while user code stands still, and stand still while a long call holds
the interpreter. What counts is what came of it: records written, data taken, another datum in service.

Every duration is measured on the observer's side, between its own observations, and a gap of more than OBSERVER_GAP
between two of them counts against nobody: who was not running himself cannot say that others were not. So the
observer must look at least that often, or it will never find anything.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto

from streamflow.core.timebase import ms, s, seconds

OBSERVER_GAP_NS = 100 * ms
STOPPED_LIMIT_NS = 50 * ms  # a process in state T will not go on by itself; its loop beats every 20 ms
STANDSTILL_LIMITS = 4  # how many limits a loop may be silent that has nothing to do
BEAT_LIMIT_NS = 2 * s  # but at least this long: an idle loop wakes every 0.5 s
DEFAULT_LIMIT_NS = 5 * s
TIGHT_LIMIT_NS = 1 * s  # below, a garbage collection or a page of swap would pass for a hang


def default_hang_limit_ns(within_ns: int | None) -> int:
    """How long a stage may stand still by default, from the tightest deadline that it is under."""
    return DEFAULT_LIMIT_NS if within_ns is None else max(TIGHT_LIMIT_NS, 10 * within_ns)


class StagePhase(Enum):
    """Only a stage that is at work can hang: start-up and drain have limits of their own."""

    STARTING = auto()
    RUNNING = auto()
    ENDED = auto()


Progress = tuple[int, int, int, int, StagePhase]
"""What is different when a stage has got on."""


def progress_of(
    records: int, taken: int, in_service_serial: int, due_ns: int, given_ns: int, phase: StagePhase
) -> Progress:
    """Of the numbers of a `Sign`. While a device has something only that it is done with it counts: what is taken or
    given up meanwhile says nothing of a device that will never be."""
    if given_ns:
        return 0, given_ns, in_service_serial, due_ns, phase
    return records, taken, in_service_serial, due_ns, phase


@dataclass(frozen=True, slots=True)
class Sign:
    """What can be seen of a stage at one instant.

    `records`, `received` and `taken` are counts that only grow. `waiting` are the data that the stage could take:
    at its inputs, on the wire, or held by its senders; not those that wait in a join for a partner. `beat_ns` is
    when its loop was last seen to run. `due_ns` is when a sleeping source should have woken; 0 where none sleeps.
    `given_ns`: since when a device has what it is not done with; 0: none has. `is_blocked`: it waits for room
    downstream. `is_loop_taken`: another stage of its process is in service and not blocked, so that the loop is that
    one's, and its limit holds. `is_stopped` (state T) need be looked up only for a suspect.
    """

    records: int = 0
    in_service_since_ns: int | None = None
    in_service_serial: int = 0
    waiting: int = 0
    received: int = 0
    taken: int = 0
    beat_ns: int = 0
    due_ns: int = 0
    given_ns: int = 0
    is_blocked: bool = False
    is_loop_taken: bool = False
    is_stopped: bool = False
    phase: StagePhase = StagePhase.RUNNING

    def is_work_due(self, now_ns: int) -> bool:
        """Whether the stage ought to get on. One that waits for room need not: whoever makes none is to blame."""
        if self.phase is not StagePhase.RUNNING or self.is_blocked:
            return False
        is_in_service = self.in_service_since_ns is not None or self.given_ns > 0
        return is_in_service or could_begin(now_ns, self.waiting, self.due_ns, is_loop_taken=self.is_loop_taken)

    @property
    def progress(self) -> Progress:
        return progress_of(self.records, self.taken, self.in_service_serial, self.due_ns, self.given_ns, self.phase)


def could_begin(now_ns: int, waiting: int, due_ns: int, *, is_loop_taken: bool) -> bool:
    """Whether a stage that has nothing in service ought to take something up."""
    return (waiting > 0 or 0 < due_ns <= now_ns) and not is_loop_taken


class Condition(Enum):
    ALIVE = auto()
    SUSPECT = auto()
    """Look at the state of its process, and observe again: if it is stopped, nothing will come of waiting."""


@dataclass(frozen=True, slots=True)
class Hung:
    """It stands still since `since_ns` at the latest; `why` reads on from the name of the stage."""

    since_ns: int
    why: str


class Liveness:
    """The decider for one stage. After a restart of the stage a new one is made."""

    def __init__(self, hang_limit_ns: int) -> None:
        self.hang_limit_ns = hang_limit_ns
        self._suspect_ns = min(hang_limit_ns // 4, STOPPED_LIMIT_NS)
        self._standstill_ns = max(STANDSTILL_LIMITS * hang_limit_ns, BEAT_LIMIT_NS)
        self._observed_ns: int | None = None
        self._seen = Sign(phase=StagePhase.STARTING).progress
        self._beat_ns = 0
        self._was_due = False
        self._still_since_ns = 0  # no progress was seen since; moved on by the observer's own gaps
        self._silent_since_ns = 0  # the same for the beat of its loop

    def observe(self, now_ns: int, sign: Sign) -> Condition | Hung:
        """What is to be thought of the stage, which shows `sign` at `now_ns`."""
        is_due = sign.is_work_due(now_ns)
        progress = sign.progress
        self._skip_gap(now_ns)
        if not (is_due and self._was_due) or progress != self._seen:
            self._still_since_ns = now_ns
        if sign.beat_ns != self._beat_ns or sign.is_loop_taken or sign.phase is not self._seen[-1]:
            self._silent_since_ns = now_ns
        self._seen, self._beat_ns, self._was_due, self._observed_ns = progress, sign.beat_ns, is_due, now_ns
        return self._of_worker(now_ns, sign) if is_due else self._of_idler(now_ns, sign)

    def gets_on(self, now_ns: int, progress: Progress, beat_ns: int, *, is_due: bool) -> bool:
        """Whether the stage is alive by its progress and its beat alone. If not, nothing was observed: see `observe`.

        That would say the same, and wants to know more, which is most of what a look costs. `is_due`: whether work is
        due as a `Sign` has it.
        """
        if self._observed_ns is None or progress == self._seen or beat_ns == self._beat_ns:
            return False
        self._still_since_ns = self._silent_since_ns = self._observed_ns = now_ns
        self._seen, self._beat_ns, self._was_due = progress, beat_ns, is_due
        return True

    def _skip_gap(self, now_ns: int) -> None:
        if self._observed_ns is None:
            self._still_since_ns = self._silent_since_ns = now_ns
        elif (gap_ns := now_ns - self._observed_ns) > OBSERVER_GAP_NS:
            self._still_since_ns += gap_ns
            self._silent_since_ns += gap_ns

    def _of_worker(self, now_ns: int, sign: Sign) -> Condition | Hung:
        still_ns = now_ns - self._still_since_ns
        if sign.is_stopped and still_ns >= STOPPED_LIMIT_NS:
            return Hung(self._still_since_ns, f"its process is stopped; {self._progress(now_ns, sign)}")
        if still_ns >= self.hang_limit_ns:
            return Hung(self._still_since_ns, self._progress(now_ns, sign))
        return Condition.SUSPECT if still_ns >= self._suspect_ns else Condition.ALIVE

    def _of_idler(self, now_ns: int, sign: Sign) -> Condition | Hung:
        """Nothing is due, but a loop that runs wakes now and then; one that is stopped would not see room either."""
        silent_ns = now_ns - self._silent_since_ns
        if sign.phase is not StagePhase.RUNNING or silent_ns < self.hang_limit_ns:
            return Condition.ALIVE
        meanwhile = "while it waits for room downstream" if sign.is_blocked else "with nothing to do"
        silence = f"its loop stands still for {_duration(silent_ns)} {meanwhile}"
        if sign.is_blocked and sign.is_stopped:
            return Hung(self._silent_since_ns, f"its process is stopped; {silence}")
        if silent_ns >= self._standstill_ns:
            return Hung(self._silent_since_ns, silence)
        return Condition.SUSPECT if sign.is_blocked else Condition.ALIVE

    def _progress(self, now_ns: int, sign: Sign) -> str:
        reasons = []
        if sign.waiting:
            reasons.append(f"{sign.waiting} data waiting ({sign.taken} of {sign.received} received are taken)")
        if sign.given_ns:
            reasons.append(f"a device at work for {_duration(now_ns - sign.given_ns)}")
        elif sign.in_service_since_ns is not None:
            reasons.append(f"one in service for {_duration(now_ns - sign.in_service_since_ns)}")
        if not reasons:
            reasons.append(f"a wake-up due {_duration(now_ns - sign.due_ns)} ago")
        return f"no progress for {_duration(now_ns - self._still_since_ns)} with {' and '.join(reasons)}"


def _duration(duration_ns: int) -> str:
    return f"{seconds(duration_ns):.1f} s" if duration_ns >= s else f"{duration_ns / ms:.0f} ms"
