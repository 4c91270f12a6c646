"""The exact join: data of the same stream and event time, one from each input, together.

Branches of one source keep its event time, so they meet again even where an edge between dropped some of
them. What can no longer find its partners, because a later datum of each other input has passed it, is
given up and counted as `unmatched`. Signals of different sensors need a policy by time distance instead.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Sequence
from typing import Generic, Protocol, TypeVar


class Timed(Protocol):
    @property
    def event_time_ns(self) -> int: ...


T = TypeVar("T", bound=Timed)


class ExactJoin(Generic[T]):
    """Pure: `offer` what was taken from an input, `ready` gives the next complete set."""

    def __init__(self, inputs: Sequence[str]) -> None:
        self._queues: dict[str, deque[T]] = {name: deque() for name in inputs}
        self.unmatched: Counter[str] = Counter()

    def wants(self) -> list[str]:
        """The inputs of which nothing is here yet: only these are worth taking from."""
        return [name for name, queue in self._queues.items() if not queue]

    def offer(self, name: str, item: T) -> None:
        self._queues[name].append(item)

    def ready(self) -> dict[str, T] | None:
        """A set of equal event times, or None; heads that are older than another input's head are given up."""
        while all(self._queues.values()):
            newest = max(queue[0].event_time_ns for queue in self._queues.values())
            behind = [name for name, queue in self._queues.items() if queue[0].event_time_ns < newest]
            if not behind:
                return {name: queue.popleft() for name, queue in self._queues.items()}
            for name in behind:
                self._queues[name].popleft()
                self.unmatched[name] += 1
        return None

    def give_up(self) -> None:
        """The inputs have ended: what waits has no partner."""
        for name, queue in self._queues.items():
            self.unmatched[name] += len(queue)
            queue.clear()
