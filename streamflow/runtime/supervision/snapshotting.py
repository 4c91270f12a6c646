"""Writes the stages' states to disk while a run goes, and at its end: in a thread of the supervisor's process.

Nobody waits for the disk: the stages commit meanwhile, and a snapshot reads as anybody may. It is taken every few
seconds where something was committed since, more seldom where it takes long: a tenth of the time at most. What is in
none when the host dies is what was stepped with since the last.

*Not taken*: the stage's own loop, which would wait for the disk; a process of its own, which is 30 MB for a write every
few seconds.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Final

from streamflow.core.graph import Graph
from streamflow.core.timebase import s, seconds
from streamflow.errors import StateError
from streamflow.memory.snapshots import Snapshots
from streamflow.memory.state_view import StateView
from streamflow.runtime.clock import now_ns
from streamflow.runtime.rundir import RunFolder
from streamflow.runtime.state_folder import Provenance, StateFolder, provenance
from streamflow.runtime.supervision.run_options import RunOptions

PERIOD_NS: Final = 2 * s
PAUSE_SHARE: Final = 9  # of the time that the last took


class _Kept:
    """One stage's."""

    def __init__(self, folder: Path, stage: str, path: Path) -> None:
        self.path = path
        self._snapshots = Snapshots(folder, stage)
        self._view: StateView | None = None
        self._written_count = -1

    def write(self, provenance: Callable[[], Provenance]) -> None:
        """If there is anything new. Raises StateError where it cannot be written."""
        if self._view is None:
            if not self.path.exists():
                return  # it keeps none, or has not opened yet
            self._view = StateView(self.path)
        change_count = self._view.change_count()
        if change_count != self._written_count:
            self._snapshots.write(self._view, provenance().about())
            self._written_count = change_count

    def close(self) -> None:
        if self._view is not None:
            self._view.close()


class Snapshotting:
    """Of one run, if it keeps its states: begun by making it, `finish` ends it."""

    def __init__(self, options: RunOptions, graph: Graph, run: RunFolder) -> None:
        """Raises UsageError as `StateFolder` does."""
        self._folder = None if options.state is None else StateFolder(options.state)
        self._kept: list[_Kept] = []
        if self._folder is not None:
            names = [name for stage in graph.stages for name in stage.state_names]
            self._kept = [_Kept(self._folder.path, name, run.states(name)) for name in names]
        self._provenance = partial(provenance, graph.name, has_recorded_time=options.offline)
        self._lock = threading.Lock()
        self._is_over = threading.Event()
        self._faults: list[str] = []
        self._told: set[str] = set()
        self._thread = threading.Thread(target=self._run, name="snapshots", daemon=True)
        if self._folder is not None:
            self._thread.start()

    def faults(self) -> list[str]:
        """What could not be written since this was last asked, in sentences; the same one is told once."""
        with self._lock:
            new = [sentence for sentence in self._faults if sentence not in self._told]
            self._faults.clear()
        self._told.update(new)
        return new

    def finish(self) -> str:
        """The last ones, of what the stages had committed when they ended; why not, where that failed."""
        if self._folder is None:
            return ""
        self._is_over.set()
        self._thread.join()
        faults = self._write()
        for one in self._kept:
            one.close()
        self._folder.close()
        return "; ".join(faults)

    def _run(self) -> None:
        pause_ns = PERIOD_NS
        while not self._is_over.wait(seconds(pause_ns)):
            started_ns = now_ns()
            faults = self._write()
            pause_ns = max(PERIOD_NS, PAUSE_SHARE * (now_ns() - started_ns))
            with self._lock:
                self._faults += faults

    def _write(self) -> list[str]:
        faults = []
        for one in self._kept:
            try:
                one.write(self._provenance)
            except StateError as error:
                faults.append(str(error))
        return faults
