"""What a node keeps per stream: made when the stream's first datum comes, never more than a named limit."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

from streamflow.errors import InputError

STREAM_LIMIT = 4096  # one model step per stream and second already fills a core; more is a name that runs away

S = TypeVar("S")


class PerStream(Generic[S]):
    """One S for each stream. Nothing is evicted: a state that vanished unseen would be a wrong result later."""

    def __init__(self, start: Callable[[], S], limit: int = STREAM_LIMIT) -> None:
        self._start = start
        self._limit = limit
        self._kept: dict[str, S] = {}

    def __getitem__(self, stream: str) -> S:
        """What `stream` has, new if it has nothing yet. Raises InputError beyond the limit of streams."""
        kept = self._kept.get(stream)
        if kept is None:
            if len(self._kept) >= self._limit:
                raise InputError(
                    f"stream {stream!r}", f"{self._limit} other streams have a state here", "no more than that"
                )
            kept = self._kept[stream] = self._start()
        return kept

    def __iter__(self) -> Iterator[str]:
        return iter(self._kept)

    def __len__(self) -> int:
        return len(self._kept)
