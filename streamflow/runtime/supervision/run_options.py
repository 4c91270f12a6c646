"""How a pipeline is run, what becomes of the run, and who follows it while it goes."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any, Protocol

from streamflow.core.budget import Estimate
from streamflow.core.portrait import as_values
from streamflow.core.rollcall import Failure
from streamflow.runtime.environment import environment
from streamflow.runtime.loading.loader import Loaded
from streamflow.runtime.rundir import RunFolder


class LinkKind(Enum):
    IPC = "ipc"
    TCP = "tcp"
    DIRECT = "direct"


@dataclass(frozen=True, slots=True)
class RunOptions:
    """How to run; durations in seconds. `by_hand`: stages that somebody starts with `streamflow node`.

    `enforces`: stages give up what cannot be on time. `restart_limit`: (intensity, period in s) in place of every
    group's own. `keep`: a folder that gets the recorders at the end. `is_warm`: processes start as copies of one
    that has imported everything. `raises_priority`: the supervisor wakes before its stages, where it may. `spin_us`:
    how long stages wait awake before they sleep. `pool_mb`: of shared memory that a stage may take
    for large tensors.
    """

    offline: bool = False
    inline: bool = False
    speed: float = 1.0
    duration_s: float | None = None
    startup_timeout_s: float = 60.0
    drain_timeout_s: float = 10.0
    exit_timeout_s: float = 5.0
    link: LinkKind = LinkKind.IPC
    by_hand: Sequence[str] = ()
    enforces: bool = True
    restarts: bool = True
    restart_limit: tuple[int, float] | None = None
    keep: Path | None = None
    is_warm: bool = True
    raises_priority: bool = True
    spin_us: int = 0
    pool_mb: int | None = None
    state: Path | None = None
    """A folder to which recurrent states are written, and from which they go on."""
    profile: Mapping[str, Estimate] = field(default_factory=dict)
    """What stages and edges usually take, by name, as measured before."""
    log_level: str = "warning"
    """From which level on stages tell what their nodes log."""
    log_json: bool = False


@dataclass(slots=True)
class Outcome:
    """What became of a run, with its report."""

    failure: Failure | None = None
    interrupted: bool = False
    was_killed: bool = False
    duration_ns: int = 0
    report: dict[str, Any] = field(default_factory=dict)
    broken_contracts: list[str] = field(default_factory=list)
    """Deadlines whose contract was broken: (m, k), or without one that every datum is on time."""


class Watcher(Protocol):
    """Whoever wants to follow a run while it goes: the progress line."""

    def seen(self, state: Mapping[str, Any]) -> None: ...
    def happened(self, event: str, fields: Mapping[str, Any]) -> None: ...
    def waiting_for(self, stages: Sequence[str]) -> None: ...
    def draining(self, limit_s: float) -> None: ...


def description_of(loaded: Loaded, options: RunOptions, folder: RunFolder, *, restarts: bool) -> dict[str, Any]:
    """What the processes of the run, and whoever looks at it, need to know: the content of run.json."""
    reference = loaded.reference
    return {
        "reference": reference.text,
        "settings": dict(reference.settings),
        "amendments": [amendment.told() for amendment in reference.amendments],
        "pipeline": loaded.resolved.graph.name,
        "key": loaded.key,
        "offline": options.offline,
        "speed": options.speed,
        "endpoint": "tcp://127.0.0.1:*" if options.link is LinkKind.TCP else folder.edge_endpoint,
        "is_direct": options.link is LinkKind.DIRECT,
        "by_hand": list(options.by_hand),
        "restarts": restarts,
        "enforces": options.enforces,
        "spin_us": options.spin_us,
        "pool_mb": options.pool_mb,
        "state": None if options.state is None else str(options.state.resolve()),
        "log": {"level": options.log_level, "is_json": options.log_json},
        "search_path": [path for path in sys.path if path],
        "working_folder": str(Path.cwd()),
        "supervisor": os.getpid(),
        "graph": as_values(loaded.resolved),
        "environment": environment(),
    }
