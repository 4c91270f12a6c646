"""What the supervisor may be told to do next, in the imperative; `core.rollcall` says when.

Data only, so that what was decided can be compared, logged and carried out somewhere else.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum


class Limit(Enum):
    """What must happen in time; the doer arms one timer for each."""

    STARTUP = "startup"
    DRAIN = "drain"
    EXIT = "exit"


@dataclass(frozen=True, slots=True)
class Connect:
    """Tell every process where all receivers are."""

    endpoints: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Start:
    """Tell every process that all are ready."""


@dataclass(frozen=True, slots=True)
class Drain:
    """Tell every process to stop its sources."""


@dataclass(frozen=True, slots=True)
class Leave:
    """Tell every process to exit."""


@dataclass(frozen=True, slots=True)
class Kill:
    """End these processes now."""

    processes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Arm:
    """Report `expired(limit)` unless the phase has changed by then."""

    limit: Limit


@dataclass(frozen=True, slots=True)
class Detach:
    """These processes have ended: tell their neighbours, and see what went with them."""

    processes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Revive:
    """Start these processes again at `at_ns`, senders first; it replaces what was to be revived before."""

    processes: tuple[str, ...]
    at_ns: int
    reason: str


@dataclass(frozen=True, slots=True)
class Attach:
    """A revived process has bound: tell it where the others are, and its neighbours where it is.

    Of the receivers of a process that is down there is no endpoint: it follows when that one has bound.
    """

    process: str
    endpoints: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Begin:
    """Tell a revived process, which is ready, to go to work."""

    process: str


@dataclass(frozen=True, slots=True)
class Abandon:
    """This process stays ended: tell its neighbours."""

    process: str
    reason: str


@dataclass(frozen=True, slots=True)
class Retire:
    """Tell one process to exit."""

    process: str


@dataclass(frozen=True, slots=True)
class Finish:
    """The run is over."""


Instruction = (
    Connect | Start | Drain | Leave | Kill | Arm | Finish | Detach | Revive | Attach | Begin | Abandon | Retire
)
