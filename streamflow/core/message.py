"""One datum on its way: named tensors and what is known of when and whence they came."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

Attribute = int | float | str | bool


@dataclass(frozen=True, slots=True)
class Message:
    """What a node is handed and what an edge carries.

    `stream` and `seq` name the datum at its source: the source stage, and the number (from 0) it gave it; a
    result made from several data has the name of the newest. `event_time_ns` is when the sensor took the
    (newest) sample, in CLOCK_MONOTONIC ns; under `--offline` it is the recording's own time, from 0.
    `attributes` are small facts that travel along (`sample`, `frame`, `time_s`, ...) and are inherited by
    every result. Tensors that were received are read-only.
    """

    tensors: Mapping[str, Any]
    stream: str = ""
    seq: int = 0
    event_time_ns: int = 0
    attributes: Mapping[str, Attribute] = field(default_factory=dict)

    @property
    def array(self) -> Any:
        """The only tensor. Raises ValueError where there are several: index by name then."""
        if len(self.tensors) != 1:
            raise ValueError(f"a message of {len(self.tensors)} tensors has no single array: {', '.join(self.tensors)}")
        return next(iter(self.tensors.values()))

    def __getitem__(self, name: str) -> Any:
        return self.tensors[name]

    def age_ns(self, now_ns: int) -> int:
        """How long ago the sensor took the newest sample."""
        return now_ns - self.event_time_ns
