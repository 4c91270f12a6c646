"""Sensors whose every datum is known beforehand, so that a test can say what must come out, and when."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

import numpy as np

from streamflow.core.timebase import s
from streamflow.errors import Fault
from streamflow.runtime.node import Node, Out


class Scripted(Node):
    """Emits the numbers 0, 1, 2, ... as int64, each due at its instant; made by subclasses that say when."""

    number = Out("int64[]")

    def __init__(self, due_ns: Sequence[int], *, live: bool) -> None:
        self._due_ns = tuple(due_ns)
        self.live = live

    def event_times_ns(self, start_ns: int = 0, *, speed: float = 1.0) -> list[int]:
        """The event time of every datum, in order, in a run that started at `start_ns`; offline that is 0."""
        return [start_ns + round(due_ns / speed) for due_ns in self._due_ns]

    async def run(self) -> None:
        for number, due_ns in enumerate(self._due_ns):
            event_time_ns = await self.pace(due_ns)
            await self.emit(np.int64(number), event_time_ns=event_time_ns)


class Ticks(Scripted):
    """`count` data at `rate_hz`, the first one at 0; each up to `jitter_ns` later than the beat, by `seed`."""

    def __init__(self, rate_hz: float, count: int, *, jitter_ns: int = 0, seed: int = 0, live: bool = False) -> None:
        if not rate_hz > 0:
            raise Fault("Ticks", f"rate_hz={rate_hz}", "more than 0")
        if not 0 <= jitter_ns <= s / rate_hz:
            raise Fault("Ticks", f"jitter_ns={jitter_ns}", f"0 to {s / rate_hz:.0f}, a period: data keep their order")
        chance = Random(seed)
        super().__init__(
            [round(number * s / rate_hz) + chance.randint(0, jitter_ns) for number in range(count)], live=live
        )


class Bursts(Scripted):
    """`count` times `size` data at once, every `period_ns`, the first ones at 0; all of one burst have its time."""

    def __init__(self, period_ns: int, size: int, count: int, *, live: bool = False) -> None:
        if period_ns <= 0:
            raise Fault("Bursts", f"period_ns={period_ns}", "more than 0")
        super().__init__([burst * period_ns for burst in range(count) for _ in range(size)], live=live)
