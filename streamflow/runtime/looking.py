"""Looks at a run that lives, again and again, for those who draw or count it: its state, and its recorders as they are.

Nothing is asked of the run: its folder is read, and memory that its stages share with whoever looks.
"""

from __future__ import annotations

import os
from contextlib import suppress
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

from streamflow.core import ladder
from streamflow.core.metrics import Look, StageNow
from streamflow.errors import RecorderError, StreamflowError
from streamflow.recorder.reader import Recording
from streamflow.runtime.clock import now_ns
from streamflow.runtime.inspection import read_state
from streamflow.runtime.rundir import RunFolder


class Lookout:
    """On one run. Its recorders stay open; one that is not there yet, or torn, is tried again at the next look."""

    def __init__(self, folder: RunFolder) -> None:
        self.folder = folder
        description = folder.description()
        self._graph: dict[str, Any] = description.get("graph", {})
        self._processes = {stage["name"]: stage["process"] or stage["name"] for stage in self._graph.get("stages", ())}
        self._supervisor = description.get("supervisor")
        self._edges = {edge["name"] for edge in self._graph.get("edges", ())}
        self._recordings: dict[str, Recording] = {}
        self._started_s = 0.0
        self.pipeline = folder.pipeline

    def look(self) -> Look:
        """How the run is now. A run that has written no state yet has an empty one."""
        self._open()
        state: dict[str, Any] = {}
        with suppress(StreamflowError):
            state = read_state(self.folder).content
        told_s = _epoch_s(state)
        if state.get("started_ns") and told_s and not self._started_s:
            self._started_s = round(told_s - float(state.get("elapsed_s", 0.0)), 3)
        received = {one.name: one.held for recording in self._recordings.values() for one in recording.inputs()}
        sent = {one.name: one.held for recording in self._recordings.values() for one in recording.outputs()}
        return Look(
            run=self.folder.path.name,
            pipeline=self.pipeline,
            version=version(),
            state=state,
            graph=self._graph,
            started_s=self._started_s,
            told_s=told_s,
            stages={name: stage_now(recording) for name, recording in self._recordings.items()},
            # Recorders have tables of their own among them, of what a stage has in hand or has given up.
            waiting={
                name: received.get(name, 0) + sent.get(name, 0) for name in (received | sent) if name in self._edges
            },
            resident_bytes=self._resident_bytes(),
        )

    def _open(self) -> None:
        missing = self._processes.keys() - self._recordings.keys()
        for name in sorted(missing):
            with suppress(RecorderError):
                self._recordings[name] = Recording.open(self.folder.recording(name))

    def _resident_bytes(self) -> dict[str, int]:
        """By process; where all stages are in one that is the supervisor's too, it is called so once."""
        processes = {recording.counter("pid"): self._processes[name] for name, recording in self._recordings.items()}
        found = {}
        for pid, process in processes.items():
            with suppress(OSError, ValueError, IndexError):  # it may be down
                found["supervisor" if pid == self._supervisor else process] = _resident(pid)
        return found

    def close(self) -> None:
        for recording in self._recordings.values():
            recording.close()
        self._recordings = {}


def stage_now(recording: Recording) -> StageNow:
    """What a recorder says at this moment."""
    counters = recording.counters()
    service = None
    if recording.shape.in_edges:
        measured = recording.histogram("service")
        service = ladder.cumulative(ladder.recorded(measured.counts)), measured.sum
    serving = recording.in_service()
    at_work_since_ns = serving.started_ns if serving is not None else recording.given_ns
    return StageNow(
        busy_ns=counters["busy_ns"],
        stalled_ns=counters["stall_ns"] + counters["gc_ns"],
        spun_ns=counters["spun_ns"],
        in_service_ns=max(now_ns() - at_work_since_ns, 0) if at_work_since_ns else 0,
        depth=sum(one.held for one in recording.inputs()),
        is_blocked=bool(recording.blocked_on),
        pool_bytes=counters["pool_bytes"],
        pool_exhausted=counters["pool_exhausted"],
        service=service,
    )


def _resident(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _epoch_s(state: dict[str, Any]) -> float:
    with suppress(ValueError):
        return datetime.fromisoformat(str(state.get("at"))).timestamp()
    return 0.0


@cache
def version() -> str:
    """Of streamflow, as installed; empty where it is not."""
    from importlib.metadata import PackageNotFoundError
    from importlib.metadata import version as version_of

    try:
        return version_of("streamflow")
    except PackageNotFoundError:
        return ""
