"""What inputs that never came mean for a recurrent state, and what is said of it in the output.

A state belongs to the datum it was last stepped with, and both are committed together. So the datum at hand says what
lies between: nothing, data that are missing, or less than nothing, since it was stepped with before and comes again
after a crash. Law: each datum is stepped with once, in order, and stepped + missing is all there was.

Numbers tell what is missing exactly, where each follows the one before it by the same `stride`. Where a stage before
absorbs as it sees fit (`stride=0`), or the numbers began anew with another run, the time tells, if there is a period.
Time is that of the recording, where that is told: `--speed` does not bend it. Duplicates are told by their numbers, and
only the pieces of one datum (windows of a chunk) by their time and samples. A time that jumped back is another
recording: it counts as the usual time, or as none where that is not known.

What this does not do: find out what became of the missing ones. They were dropped, shed, or lost in a crash, which the
accounts know; the state has not seen them, and that is all that matters to it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Final, NamedTuple

from streamflow.errors import StateError

NO_SEQ: Final = -1
"""The state belongs to no datum of this numbering, which begins at 0: whatever comes is after it."""
NO_TIME_NS: Final = -(1 << 63)
"""It belongs to no instant: no step has been made."""
NO_SAMPLE: Final = -1


class Place(NamedTuple):
    """Where a datum is in its stream, or what a state belongs to."""

    seq: int = NO_SEQ
    event_time_ns: int = NO_TIME_NS
    recorded_ns: int = NO_TIME_NS
    """By the recording's own clock; NO_TIME_NS where it is not told."""
    sample: int = NO_SAMPLE
    """The index of its first sample; NO_SAMPLE where it is not told."""


class OnGap(Enum):
    """What is done with the state of a stream of which data are missing."""

    FREEZE = "freeze"
    """It goes on as if they had never been: the next step takes the usual time."""
    REPEAT = "repeat"
    """The last input is stepped with again for each of them, up to a limit, before the one that came."""
    TRUE_DT = "true_dt"
    """The next step takes the time that has really passed, for models that are told the time."""


class StepKind(Enum):
    """How a datum is stepped with."""

    SKIP = "skip"
    """Not at all: it, or a later one, has been, or there is no room for its stream."""
    START = "start"
    """The stream's first: from the initial state."""
    STEP = "step"
    """Nothing is missing before it."""
    FREEZE = "freeze"
    REPEAT = "repeat"
    TRUE_DT = "true_dt"
    RESET = "reset"
    """The gap is too long for the old state to mean anything: from the initial one."""


class Step(NamedTuple):
    """What to do with the state for one datum; all that it takes is committed once, in the name of that datum."""

    kind: StepKind
    missing_count: int = 0
    """Data before it that the state has not seen."""
    repeat_count: int = 0
    """Steps with the last input, each `elapsed_ns` long, before the datum's own."""
    elapsed_ns: int = 0
    """The time that a step stands for: a model's dt; 0 where none is known."""

    @property
    def marks(self) -> dict[str, int | str]:
        """What the output is to say: nothing where nothing is missing. `gap` is a count, as where windows are cut."""
        if not self.missing_count and self.kind is not StepKind.RESET:
            return {}
        return {"gap": self.missing_count, "gap_action": self.kind.value}


_KIND_OF = {OnGap.FREEZE: StepKind.FREEZE, OnGap.REPEAT: StepKind.REPEAT, OnGap.TRUE_DT: StepKind.TRUE_DT}
_SKIP = Step(StepKind.SKIP)


@dataclass(frozen=True, slots=True)
class GapRule:
    """Declared for a stage; raises StateError for what cannot be."""

    on_gap: OnGap = OnGap.FREEZE
    repeat_count_max: int = 8  # steps before the one that is due: they delay it, so they are few
    max_gap_ns: int | None = None
    """From one step's event time to the next's: beyond it the state is reset. None: never, for that reason."""
    max_gap_count: int | None = None
    """The same in missing data."""
    period_ns: int = 0
    """From one datum to the next, as declared; 0: not known."""
    stride: int = 1
    """From one datum's number to the next one's; 0: they do not tell."""

    def __post_init__(self) -> None:
        faults = (
            (
                self.on_gap is OnGap.REPEAT and self.repeat_count_max < 1,
                f"{self.repeat_count_max} repeats",
                "1 or more",
            ),
            (self.max_gap_ns is not None and self.max_gap_ns <= 0, f"a gap of {self.max_gap_ns} ns", "more than 0"),
            (
                self.max_gap_count is not None and self.max_gap_count < 0,
                f"a gap of {self.max_gap_count} data",
                "0 or more",
            ),
            (self.period_ns < 0, f"a period of {self.period_ns} ns", "0 or more"),
            (self.stride < 0, f"a stride of {self.stride}", "0 or more"),
        )
        for is_broken, found, expected in faults:
            if is_broken:
                raise StateError(f"gaps ({self.on_gap.value})", found, expected)

    def after(self, last: Place, coming: Place, *, is_counted: bool = False) -> Step:
        """For the datum that comes, where the state belongs to `last`; `is_counted` as in `step`."""
        last_seq, last_ns, coming_ns = last.seq, last.event_time_ns, coming.event_time_ns
        if coming.seq == last_seq and (coming_ns, coming.sample) > (last_ns, last.sample):
            last_seq = NO_SEQ  # a further piece of the same datum, whose number tells nothing
            is_counted = False
        if last.recorded_ns != NO_TIME_NS != coming.recorded_ns and last_ns != NO_TIME_NS:
            last_ns, coming_ns = last.recorded_ns, coming.recorded_ns
        return self.step(
            last_seq=last_seq, last_time_ns=last_ns, seq=coming.seq, event_time_ns=coming_ns, is_counted=is_counted
        )

    def step(self, *, last_seq: int, last_time_ns: int, seq: int, event_time_ns: int, is_counted: bool = False) -> Step:
        """For the datum `seq`, where the state belongs to `last_seq`; NO_SEQ and NO_TIME_NS for what there is not.

        `is_counted`: the stream is a source's own, whose first datum is 0, so that what was never seen is known too.
        """
        if seq <= last_seq:
            return _SKIP
        if last_time_ns == NO_TIME_NS:
            never_seen_count = seq // self.stride if is_counted and self.stride and last_seq == NO_SEQ else 0
            return Step(StepKind.START, never_seen_count, elapsed_ns=self.period_ns)
        passed_ns = event_time_ns - last_time_ns
        if passed_ns < 0:
            passed_ns = self.period_ns
        missing_count = self._missing_count(last_seq, seq, passed_ns, is_counted=is_counted)
        if self._is_too_long(missing_count, passed_ns):
            return Step(StepKind.RESET, missing_count, elapsed_ns=self.period_ns)
        if not missing_count:
            return Step(StepKind.STEP, elapsed_ns=passed_ns)
        kind = _KIND_OF[self.on_gap]
        if kind is StepKind.TRUE_DT:
            return Step(kind, missing_count, elapsed_ns=passed_ns)
        usual_ns = self.period_ns or passed_ns // (missing_count + 1)
        repeat_count = min(missing_count, self.repeat_count_max) if kind is StepKind.REPEAT else 0
        return Step(kind, missing_count, repeat_count, usual_ns)

    def _missing_count(self, last_seq: int, seq: int, passed_ns: int, *, is_counted: bool) -> int:
        if self.stride and last_seq != NO_SEQ:
            return (seq - last_seq - 1) // self.stride
        never_seen_count = seq // self.stride if self.stride and is_counted else 0
        if self.period_ns:
            return max((passed_ns + self.period_ns // 2) // self.period_ns - 1, never_seen_count)
        return never_seen_count

    def _is_too_long(self, missing_count: int, passed_ns: int) -> bool:
        return (self.max_gap_ns is not None and passed_ns > self.max_gap_ns) or (
            self.max_gap_count is not None and missing_count > self.max_gap_count
        )
