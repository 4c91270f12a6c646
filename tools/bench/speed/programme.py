"""What is sent in a measurement, and what each end notes of it: the same for streamflow and for bare mechanisms.

A programme is known to all ends, so that nothing of it travels: the receiver of the n-th message knows its size, its
phase and whether it counts. The first messages of a phase never do: memory is fresh and forms are new.
"""

from __future__ import annotations

import heapq
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt

WARM_COUNT = 20  # messages of a phase that are sent and not counted
FRAME_SIZE = 1080 * 1920 * 3

Ns = npt.NDArray[np.int64]


class Origin(Enum):
    """Where the sender has its data before it is sent."""

    FRESH = "fresh"  # a new array of ordinary memory each time
    IN_PLACE = "in_place"  # written where the receiver reads it, as far as the mechanism has such a place
    FIXED = "fixed"  # always the same array of ordinary memory, which must be copied


@dataclass(frozen=True, slots=True)
class Phase:
    """`count` messages of `size` bytes at a steady rate; `rate_hz` 0: as fast as it goes."""

    size: int
    rate_hz: float
    count: int
    origin: Origin = Origin.FRESH

    def __str__(self) -> str:
        return f"{self.size}/{self.rate_hz:g}/{self.count}/{self.origin.value}"

    @property
    def period_ns(self) -> int:
        return round(1e9 / self.rate_hz) if self.rate_hz else 0


@dataclass(frozen=True, slots=True)
class Sending:
    """One message: `due_ns` from the start, the number of its phase."""

    due_ns: int
    phase: int


@dataclass(frozen=True)
class Programme:
    """Phases one after the other, or all at once (`is_together`)."""

    phases: tuple[Phase, ...]
    is_together: bool = False

    def __str__(self) -> str:
        return ("+" if self.is_together else ";").join(map(str, self.phases))

    @staticmethod
    def parse(text: str) -> Programme:
        """What `str` has written."""
        is_together = "+" in text
        return Programme(tuple(map(_phase, text.split("+" if is_together else ";"))), is_together)

    @cached_property
    def sendings(self) -> list[Sending]:
        """All messages in the order in which they are sent."""
        return list(self._together() if self.is_together else self._in_turn())

    def _together(self) -> Iterator[Sending]:
        ways = [
            [Sending(index * phase.period_ns, number) for index in range(phase.count)]
            for number, phase in enumerate(self.phases)
        ]
        return heapq.merge(*ways, key=lambda sending: (sending.due_ns, sending.phase))

    def _in_turn(self) -> Iterator[Sending]:
        start_ns = 0
        for number, phase in enumerate(self.phases):
            for index in range(phase.count):
                yield Sending(start_ns + index * phase.period_ns, number)
            start_ns += phase.count * phase.period_ns

    @cached_property
    def counted(self) -> list[npt.NDArray[np.intp]]:
        """Of each phase, which messages count."""
        numbers = np.array([sending.phase for sending in self.sendings], np.intp)
        return [np.flatnonzero(numbers == phase)[WARM_COUNT:] for phase in range(len(self.phases))]

    @property
    def duration_s(self) -> float:
        """How long it takes at least."""
        return self.sendings[-1].due_ns / 1e9

    def spans(self) -> list[tuple[int, int]]:
        """The first and the last message between which a stage's processor time is taken: of each phase, or of all."""
        if self.is_together:
            return [(WARM_COUNT, len(self.sendings) - 1)]
        return [(int(numbers[0]), int(numbers[-1])) for numbers in self.counted]


def _phase(text: str) -> Phase:
    size, rate_hz, count, origin = text.split("/")
    return Phase(int(size), float(rate_hz), int(count), Origin(origin))


class Meter:
    """What one end of a connection, or a stage between two, notes while messages pass; it is saved at the end."""

    def __init__(self, programme: Programme) -> None:
        self._spans = programme.spans()
        self._marked = {number for span in self._spans for number in span}
        self._marks: dict[int, tuple[int, int, int]] = {}
        self._took_ns: list[int] = []
        self._late_ns: list[int] = []

    def note(self, number: int, took_ns: int) -> None:
        """That message has passed. `took_ns`: its latency at a sink, how long sending it took at a source."""
        self._took_ns.append(took_ns)
        if number in self._marked:
            self._marks[number] = time.process_time_ns(), time.thread_time_ns(), time.monotonic_ns()

    def late(self, late_ns: int) -> None:
        """At a source: how long after it was due the next message is sent."""
        self._late_ns.append(late_ns)

    def save(self, folder: Path, name: str) -> None:
        """name.json: processor and other time per message of each span; name.npy: int64[2, messages] ns, both notes."""
        each = [
            [(self._marks[last][i] - self._marks[first][i]) / (last - first) / 1e3 for i in range(3)]
            for first, last in self._spans
            if last in self._marks
        ]
        figures = {name: [one[i] for one in each] for i, name in enumerate(("cpu_us", "thread_cpu_us", "wall_us"))}
        (folder / f"{name}.json").write_text(json.dumps(figures))
        late_ns = self._late_ns or [0] * len(self._took_ns)
        np.save(folder / f"{name}.npy", np.array([self._took_ns, late_ns], np.int64))


@dataclass(frozen=True, slots=True)
class Noted:
    """What a meter has saved; `cpu_us` is of the whole process, `thread_cpu_us` of the thread that noted."""

    took_ns: Ns
    late_ns: Ns
    cpu_us: list[float]
    thread_cpu_us: list[float]
    wall_us: list[float]

    @staticmethod
    def load(folder: Path, name: str) -> Noted:
        took_ns, late_ns = np.load(folder / f"{name}.npy")
        return Noted(took_ns, late_ns, **json.loads((folder / f"{name}.json").read_text()))
