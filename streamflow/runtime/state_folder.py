"""The folder of `streamflow run --state DIR`: one run at a time keeps its states there, and the next goes on from them.

A snapshot says of which pipeline it is, and by which clocks its event times are: those of another boot of the host are
moved by what the wall clock tells, and those of a run that had recorded time for event time, or of one that had not
where this one has, are forgotten. Numbers always begin anew, for every run counts its data from 0.

The lock is the process's own (POSIX): copies of it do not hold it, so it goes with the one that writes, however that
ends. The file stays.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from streamflow.core.timebase import s
from streamflow.errors import StateError, UsageError
from streamflow.memory.snapshots import Numbering, Snapshot, Snapshots, restored
from streamflow.memory.state_layout import StateTensor
from streamflow.memory.states import States
from streamflow.runtime.clock import Instants, instants

_LOCK = "lock"


class StateFolder:
    """Held by a run's supervisor from `open` to `close`."""

    def __init__(self, path: Path) -> None:
        """Raises UsageError where another run has it, or nothing can be kept there."""
        self.path = path
        try:
            path.mkdir(parents=True, exist_ok=True)
            self._lock = os.open(path / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise UsageError(f"--state {path}", f"cannot be used: {error.strerror}", "a folder for states") from None
        try:
            fcntl.lockf(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._lock)
            raise UsageError(f"--state {path}", "another run keeps its states there", "a folder of its own") from None

    def close(self) -> None:
        os.close(self._lock)


@dataclass(frozen=True, slots=True)
class Provenance:
    """Of which run a snapshot is: what its next one needs to know."""

    pipeline: str
    has_recorded_time: bool
    """Event times are the recordings' own, from 0."""
    taken: Instants

    def about(self) -> dict[str, Any]:
        taken = self.taken
        return {
            "pipeline": self.pipeline,
            "has_recorded_time": self.has_recorded_time,
            "boot": taken.boot,
            "monotonic_ns": taken.monotonic_ns,
            "wall_ns": taken.wall_ns,
        }

    @classmethod
    def of(cls, snapshot: Snapshot) -> Provenance:
        """Raises StateError for one that tells nothing of it."""
        about: Mapping[str, Any] = snapshot.about
        try:
            taken = Instants(str(about["boot"]), int(about["monotonic_ns"]), int(about["wall_ns"]))
            return cls(str(about["pipeline"]), bool(about["has_recorded_time"]), taken)
        except (KeyError, TypeError, ValueError):
            raise StateError(str(snapshot.path), "does not say when it was taken", "a snapshot of a run") from None

    def shift_ns(self, now: Provenance) -> int | None:
        """What event times of then become by adding it; None: they mean nothing now."""
        if self.has_recorded_time != now.has_recorded_time:
            return None
        if self.has_recorded_time or self.taken.boot == now.taken.boot:
            return 0
        then, current = self.taken, now.taken
        return (current.monotonic_ns - current.wall_ns) - (then.monotonic_ns - then.wall_ns)


def take_up(
    folder: Path, stage: str, now: Provenance, path: Path, tensors: Sequence[StateTensor], slot_count: int
) -> tuple[States, list[str]]:
    """The file of states of a stage's first life, filled from what is kept in `folder`, and what became of that, told.

    Raises StateError for what is kept there and is not this stage's: a run that was to go on would begin anew unseen.
    """
    found = Snapshots(folder, stage).newest()
    told = [f"stage {stage}: passed over {error}" for error in found.skipped]
    snapshot = found.snapshot
    if snapshot is None:
        told.append(f"stage {stage}: its state begins anew, nothing of it that is whole is in {folder}")
        return restored(path, tensors, slot_count, None, Numbering.BEGINS_ANEW), told
    former = Provenance.of(snapshot)
    if former.pipeline != now.pipeline:
        hint = "name another folder for what is kept"
        raise StateError(str(snapshot.path), f"of pipeline {former.pipeline}", f"one of {now.pipeline}", hint)
    shift_ns = former.shift_ns(now)
    states = restored(path, tensors, slot_count, snapshot, Numbering.BEGINS_ANEW, shift_ns=shift_ns)
    count = len(snapshot.streams)
    taken = datetime.fromtimestamp(former.taken.wall_ns / s, UTC).isoformat(timespec="seconds")
    streams = f"{count} stream{'s' if count != 1 else ''}"
    told.append(f"stage {stage}: its state goes on from {snapshot.path} ({streams}, of {taken})")
    return states, told


def provenance(pipeline: str, *, has_recorded_time: bool) -> Provenance:
    """Of this run, now."""
    return Provenance(pipeline, has_recorded_time, instants())
