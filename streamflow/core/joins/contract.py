"""What every join keeps to: data of several inputs are offered, rows come out, and each datum is accounted for.

A *row* is one datum of each input, or several, that are worked on together; it stands for one instant of event time.
A policy says which data those are. All of them share what is declared in `Join`, and each has a decider that takes
event times and `now_ns` and neither clocks nor arrays. Of whatever is offered, each datum is once, and once only, in
one of: the `fresh` of a row, its `consumed`, `left_out` with a reason, or held back still.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Generic, NamedTuple, Protocol, TypeVar

QUEUE_SIZE_LIMIT = 65_536  # data per input; who needs more of the past needs a store


class Timed(Protocol):
    @property
    def event_time_ns(self) -> int: ...


T = TypeVar("T", bound=Timed)


class OnMissing(Enum):
    """What becomes of a row that lacks an input."""

    SKIP = "skip"
    """There is no row; what asked for it is left out."""
    PARTIAL = "partial"
    """The row comes without: the node gets None there."""
    HOLD = "hold"
    """The last value of that input again, within `max_age` and `max_skew`; with none, as SKIP."""
    FAIL = "fail"
    """The stage fails."""


class InputState(Enum):
    """How an input takes part in a row."""

    USED = "used"
    """With a datum that no row had before."""
    HELD = "held"
    """With one that an earlier row had already."""
    STALE = "stale"
    """Not at all: what there is, is older than `max_age`, or too far off for `max_skew`."""
    MISSING = "missing"
    """Not at all: there is nothing."""
    INITIAL = "initial"
    """With the value that was declared for the beginning, of an input that comes back."""


class Reason(Enum):
    """Why a datum takes no part in any row."""

    UNMATCHED = "unmatched"
    """No partner can come any more."""
    TIMED_OUT = "timed_out"
    """None had come when `max_wait` was over."""
    PASSED_OVER = "passed_over"
    """By design: no row needed it, because another of its input was nearer, newer or enough."""
    LATE = "late"
    """It came behind the watermark of its input: rows of its time are made."""
    DUPLICATE = "duplicate"
    """Another of its input had the same event time."""
    OVERFLOW = "overflow"
    """`queue_size` others waited already, and it was the oldest."""


ABSORBED = frozenset({Reason.PASSED_OVER})
"""Where the join has done with a datum what it is for; all others are dropped."""


class Part(NamedTuple, Generic[T]):
    """What one input has in a row. `age_ns`: of its newest datum, from the row's time back, also where that is too
    old to be used; None without any.

    `items`: one, several of a window, oldest first, or none; where `weight` is above 0 the value lies between two, by
    that share of the way to the second.
    """

    state: InputState
    items: tuple[T, ...] = ()
    age_ns: int | None = None
    weight: float = 0.0


@dataclass(slots=True)
class Row(Generic[T]):
    """Data that are worked on together.

    `time_ns`: the event time it stands for. `fresh`: by input, the datum that goes on with what is made of the row, the
    one whose name it has first; what was used by it for the first time and does not go on is `consumed`. `skew_ns`:
    between the oldest and the newest of the parts. `timed_out`: it was made because the wait was over.
    """

    time_ns: int
    parts: dict[str, Part[T]]
    fresh: dict[str, T]
    consumed: list[tuple[str, T]] = field(default_factory=list)
    skew_ns: int = 0
    timed_out: bool = False

    @property
    def missing(self) -> list[str]:
        """Inputs of which there is nothing to hand over."""
        return [name for name, part in self.parts.items() if not part.items and part.state is not InputState.INITIAL]


class LeftOut(NamedTuple, Generic[T]):
    """A datum that is in no row."""

    input: str
    item: T
    reason: Reason


class Decider(Protocol[T]):
    """A policy at work on one stage's inputs. Instants are of one clock that never goes back."""

    def offer(self, name: str, item: T, now_ns: int) -> None:
        """Keep what came from an input, in its order. Never refuses: two inputs may hang on one source."""

    def advance(self, name: str, watermark_ns: int, now_ns: int) -> None:
        """Nothing older than this will come from the input."""

    def end(self, name: str, now_ns: int) -> None:
        """Nothing more will come from the input."""

    def ready(self, now_ns: int) -> Row[T] | None:
        """The next row, in the order of event time; None: there is none yet."""

    def wake_ns(self) -> int | None:
        """When to ask again although nothing has come."""

    def left_out(self) -> list[LeftOut[T]]:
        """What took no part, since the last call."""

    def idle_counts(self) -> Mapping[str, int]:
        """How often each input fell silent for longer than `idle_timeout`."""

    def step_counts(self) -> Mapping[str, int]:
        """How often the clock of each input was set back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Join:
    """What all policies have in common; durations in ns.

    `max_wait`: a row waits no longer for what it lacks, counted from the arrival of what asked for it; then
    `on_missing` says what becomes of it. None waits for ever. `max_skew`: between the event times of a row. `max_age`:
    of each input, or of those named, from the row's event time back. `disorder`: by how much data of an input may be
    out of order; they wait for that long, at most `max_wait`, and are put in order. `idle_timeout`: an input that is
    silent for longer keeps no row waiting until it is back. `queue_size`: data that are kept of each input. `late`: an
    output of the node to which late data go as they are, in place of being dropped.
    """

    max_wait: int | None = None
    max_skew: int | None = None
    max_age: int | Mapping[str, int] | None = None
    on_missing: OnMissing = OnMissing.SKIP
    disorder: int | Mapping[str, int] = 0
    idle_timeout: int | None = None
    queue_size: int = 256
    late: str = ""

    def decider(self, inputs: Sequence[str]) -> Decider[T]:
        raise NotImplementedError

    @property
    def is_plain(self) -> bool:
        """Whether each row has one new datum of every input and nothing more is to be said of it."""
        return False

    @property
    def uses_clock(self) -> bool:
        """Whether a row may become ready although nothing comes."""
        return self.max_wait is not None or self.idle_timeout is not None

    def gives_several(self, name: str) -> bool:
        """Whether an input's part is all of several data."""
        return False

    def fails(self, row: Row[T]) -> bool:
        """Whether the stage may not work on it."""
        return self.on_missing is OnMissing.FAIL and bool(row.missing)

    @property
    def held_limit(self) -> int:
        """Data of one input that are held back at most: in order, waiting for their order, and in rows just found."""
        return 3 * self.queue_size + 2

    def faults(self, inputs: Sequence[str]) -> list[str]:
        """What is wrong with the settings, each as `found, expected`."""
        found = [
            f"{name} {value!r}, expected whole nanoseconds above 0, as in {name}=20 * ms"
            for name in ("max_wait", "max_skew", "max_age", "idle_timeout")
            for value in _values(getattr(self, name), 1)
        ]
        found += [
            f"disorder {value!r}, expected whole nanoseconds, as in disorder=20 * ms"
            for value in _values(self.disorder, 0)
        ]
        for name in ("max_age", "disorder"):
            setting = getattr(self, name)
            named = setting if isinstance(setting, Mapping) else {}
            found += [_unknown(name, each, inputs) for each in named if each not in inputs]
        if type(self.queue_size) is not int or not 1 <= self.queue_size <= QUEUE_SIZE_LIMIT:
            found.append(f"queue_size {self.queue_size!r}, expected 1 to {QUEUE_SIZE_LIMIT:,}")
        if not isinstance(self.on_missing, OnMissing):
            choices = ", ".join(f"OnMissing.{choice.name}" for choice in OnMissing)
            found.append(f"on_missing {self.on_missing!r}, expected one of {choices}")
        return found

    def input_fault(self, setting: str, name: object, inputs: Sequence[str]) -> list[str]:
        """For a policy's setting that names an input."""
        return [] if name in inputs else [_unknown(setting, name, inputs)]

    def rhythm_faults(self, trigger: str, every: object, inputs: Sequence[str]) -> list[str]:
        """For a policy whose rows are asked for by an input or by a period."""
        found = self.input_fault("trigger", trigger, inputs) if trigger else []
        if bool(trigger) == (every is not None):
            found.append("neither or both of trigger and every, expected one of them")
        if every is not None and (type(every) is not int or every < 1):
            found.append(f"every {every!r}, expected whole nanoseconds above 0, as in every=10 * ms")
        return found

    def max_age_ns(self, name: str) -> int | None:
        return self.max_age.get(name) if isinstance(self.max_age, Mapping) else self.max_age

    def disorder_ns(self, name: str) -> int:
        return self.disorder.get(name, 0) if isinstance(self.disorder, Mapping) else self.disorder


def _values(setting: object, least: int) -> list[object]:
    """Those of a setting that are no durations."""
    values = list(setting.values()) if isinstance(setting, Mapping) else [setting]
    return [value for value in values if value is not None and (type(value) is not int or value < least)]


def _unknown(setting: str, name: object, inputs: Sequence[str]) -> str:
    return f"{setting} names {name!r}, expected one of {', '.join(inputs)}"
