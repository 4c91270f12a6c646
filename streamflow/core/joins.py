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


HELD_LIMIT = 256  # data per input that wait for partners; a branch whose results are rarer than that is no branch


class ExactJoin(Generic[T]):
    """Pure: `offer` what was taken from an input, `ready` gives the next complete set.

    It never refuses: an input that waits for another is not held back by it, since the two may hang on one
    source, which would then stand still for ever. Beyond `limit` the oldest is given up.
    """

    def __init__(self, inputs: Sequence[str], limit: int = HELD_LIMIT) -> None:
        self._queues: dict[str, deque[T]] = {name: deque() for name in inputs}
        self._limit = limit
        self._ended: set[str] = set()
        self.unmatched: Counter[str] = Counter()
        self._given_up: list[tuple[str, T]] = []

    def given_up(self) -> list[tuple[str, T]]:
        """What was given up since the last call, with its input."""
        given_up, self._given_up = self._given_up, []
        return given_up

    def offer(self, name: str, item: T) -> None:
        """Keep what came from an input, in its order."""
        queue = self._queues[name]
        queue.append(item)
        if len(queue) > self._limit:
            self._give_up_oldest(name)

    def end(self, name: str) -> None:
        """Nothing more will come from this input."""
        self._ended.add(name)

    def ready(self) -> dict[str, T] | None:
        """A set of equal event times, or None; what can find no partner any more is given up."""
        while all(self._queues.values()):
            newest = max(queue[0].event_time_ns for queue in self._queues.values())
            behind = [name for name, queue in self._queues.items() if queue[0].event_time_ns < newest]
            if not behind:
                return {name: queue.popleft() for name, queue in self._queues.items()}
            for name in behind:
                self._give_up_oldest(name)
        if any(not self._queues[name] for name in self._ended):
            for name, queue in self._queues.items():
                while queue:
                    self._give_up_oldest(name)
        return None

    def _give_up_oldest(self, name: str) -> None:
        self._given_up.append((name, self._queues[name].popleft()))
        self.unmatched[name] += 1
