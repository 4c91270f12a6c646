"""Which life of a process this is, as its supervisor says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Life:
    """What the supervisor says of this life of the process: its generation, and those of its edges."""

    generation: int
    edges: Mapping[str, int]
    down_since_ns: int = 0
    gone: frozenset[str] = frozenset()
    """Edges whose other end is gone for good."""
    lost_devices: frozenset[str] = frozenset()
    """Devices that failed in a former life."""
