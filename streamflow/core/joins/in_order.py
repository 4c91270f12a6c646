"""A join on a recording: as if each datum arrived at the very instant it was taken, whatever order they come in.

So a run without a clock gives the same rows each time, and those of a live run in which nothing is ever delayed. What
is later at another input is not offered before everything older is: an input that sends nothing is waited for until it
promises that nothing older comes, or ends.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from typing import Generic

from streamflow.core.joins.contract import Decider, LeftOut, Row, T
from streamflow.core.joins.inputs import FOREVER


class InOrder(Generic[T]):
    """Wraps the decider of a policy; `now_ns` of its calls counts for nothing."""

    def __init__(self, decider: Decider[T], inputs: Sequence[str], limit: int) -> None:
        """`limit`: data of one input that wait at most, while an input is asked whether it `has_room`."""
        self._decider = decider
        self._queues: dict[str, deque[T]] = {name: deque() for name in inputs}
        self._passed_ns = dict.fromkeys(inputs, -FOREVER)
        self._is_over: set[str] = set()  # the policy knows that it has ended
        self._limit = limit
        self._now_ns = -FOREVER

    def has_room(self, name: str) -> bool:
        """Whether more of the input should be taken: it may run far ahead of another."""
        return len(self._queues[name]) < self._limit

    def offer(self, name: str, item: T, now_ns: int) -> None:
        self._queues[name].append(item)

    def advance(self, name: str, watermark_ns: int, now_ns: int) -> None:
        self._passed_ns[name] = max(self._passed_ns[name], watermark_ns - 1)

    def end(self, name: str, now_ns: int) -> None:
        self._passed_ns[name] = FOREVER

    def left_out(self) -> list[LeftOut[T]]:
        return self._decider.left_out()

    def idle_counts(self) -> Mapping[str, int]:
        return self._decider.idle_counts()

    def step_counts(self) -> Mapping[str, int]:
        return self._decider.step_counts()

    def wake_ns(self) -> int | None:
        return None

    def ready(self, now_ns: int) -> Row[T] | None:
        while True:
            # Silence begins with the first datum: before that there is no instant to ask at.
            row = None if self._now_ns == -FOREVER else self._decider.ready(self._now_ns)
            if row is not None or not self._goes_on():
                return row

    def _goes_on(self) -> bool:
        """Take the next step in event time: what the policy waits for, or the next datum."""
        for name, queue in self._queues.items():
            if not queue and self._passed_ns[name] == FOREVER and name not in self._is_over:
                self._is_over.add(name)
                self._decider.end(name, self._now_ns)
                return True
        heads = {name: queue[0].event_time_ns for name, queue in self._queues.items() if queue}
        if not heads:
            return False
        name = min(heads, key=heads.__getitem__)
        time_ns = heads[name]
        if any(not queue and self._passed_ns[other] < time_ns for other, queue in self._queues.items()):
            return False
        wake_ns = self._decider.wake_ns()
        if wake_ns is not None and wake_ns < time_ns:
            self._now_ns = max(self._now_ns, wake_ns)
            return True
        self._now_ns = max(self._now_ns, time_ns)
        self._decider.offer(name, self._queues[name].popleft(), self._now_ns)
        return True
