"""Reads what a run leaves for others, live or dead: its log of events, its state, its stages' flight recorders.

Nothing is asked of the run and nothing is locked, so whoever looks cannot disturb it; in return what is read may be
half written. A line of the log that is no event is counted and passed over; a recorder that is missing or torn is
named, and the rest is read. Alternative not taken: asking the supervisor, which a dead run does not have.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

from streamflow.core.course import joined
from streamflow.core.timebase import seconds
from streamflow.errors import RecorderError, StreamflowError
from streamflow.recorder.reader import Recording
from streamflow.runtime.clock import now_ns
from streamflow.runtime.rundir import RunFolder

ROTATION_RETRY_COUNT = 4  # the log is renamed once in 8 MB, so twice while two files are opened is already absurd
STATE_RETRY_COUNT = 3  # the state is replaced as a whole; only the end of a run can take the folder away meanwhile
LINE_SIZE_LIMIT = 1 << 20  # bytes; the longest event, a miss with its segments, is a few kB

Event = dict[str, Any]


def older_events(folder: RunFolder) -> Path:
    """Where the log's former part is, once it has grown too long."""
    return folder.events.with_name("events.1.jsonl")


@dataclass(slots=True)
class LoggedEvents:
    """The events of a run, the oldest first; to be read once. `damaged_count` counts the lines passed over so far."""

    folder: RunFolder
    damaged_count: int = 0
    is_cut: bool = False
    """Whether there is a former part, before which there may have been more."""

    def __iter__(self) -> Iterator[Event]:
        with ExitStack() as files:
            for file in self._opened(files):
                yield from self._events_in(file)

    def _opened(self, files: ExitStack) -> list[IO[bytes]]:
        """The former part of the log and the present one: as they were at one time, should they be swapped now."""
        for _ in range(ROTATION_RETRY_COUNT):
            present = _open(self.folder.events, files)
            former = _open(older_events(self.folder), files)
            if former is None or present is None or not os.path.samestat(_stat(former), _stat(present)):
                break
        self.is_cut = former is not None
        return [file for file in (former, present) if file is not None]

    def _events_in(self, file: IO[bytes]) -> Iterator[Event]:
        while line := file.readline(LINE_SIZE_LIMIT):
            if not line.strip():
                continue
            event = _event(line)
            if event is not None:
                yield event
            elif line.endswith(b"\n") or len(line) == LINE_SIZE_LIMIT or not self.folder.is_live():
                self.damaged_count += 1  # else it is the last line, and is being written


def _open(path: Path, files: ExitStack) -> IO[bytes] | None:
    try:
        return files.enter_context(path.open("rb"))
    except OSError:
        return None


def _stat(file: IO[bytes]) -> os.stat_result:
    return os.fstat(file.fileno())


def _begin_of(file: IO[bytes]) -> bytes:
    """Its first line, which has an instant."""
    return os.pread(file.fileno(), LINE_SIZE_LIMIT, 0).partition(b"\n")[0]


def _event(line: bytes) -> Event | None:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return None
    is_event = isinstance(found, dict) and isinstance(found.get("event"), str) and isinstance(found.get("at_ns"), int)
    return found if is_event else None


def followed_events(folder: RunFolder, pause: Callable[[], None]) -> Iterator[Event]:
    """The events of a run from the first of its present log on, to its end; `pause` is called when there is no more.

    A log that is put aside is read to its end first. One that begins as it did is a copy, which takes the place of what
    a killed run has written in memory: it is read on from the same place.
    """
    begun, present = b"", None
    with ExitStack() as files:
        while True:
            is_live = folder.is_live()  # before the look, so that what is written until the end is read
            opened = _open(folder.events, files)
            is_new = opened is not None and (present is None or not os.path.samestat(_stat(opened), _stat(present)))
            while present is not None and (line := present.readline(LINE_SIZE_LIMIT)):
                begun += line
                if begun.endswith(b"\n") or len(begun) >= LINE_SIZE_LIMIT:
                    event, begun = _event(begun), b""
                    if event is not None:
                        yield event
            if is_new and opened is not None:
                if present is not None and _begin_of(opened) == _begin_of(present):
                    opened.seek(present.tell())
                else:
                    begun = b""
                present = opened
                continue
            if opened is not None:
                opened.close()
            if not is_live:
                return
            pause()


# ---------------------------------------------------------------------------------------------- the state


@dataclass(frozen=True, slots=True)
class RunState:
    """How a run is, as its supervisor last wrote, and how old that is."""

    content: dict[str, Any]
    age_s: float
    is_live: bool


def read_state(folder: RunFolder) -> RunState:
    """Raises StreamflowError where the run has written none yet, or none that can be read."""
    is_live = folder.is_live()
    for _ in range(STATE_RETRY_COUNT):
        try:
            content = json.loads(folder.state.read_bytes())
        except OSError:
            hint = "it has only just begun" if is_live else ""
            trouble = StreamflowError(f"run {folder.path.name}", "it has told no state", hint=hint)
        except ValueError as error:
            trouble = StreamflowError(str(folder.state), f"cannot be read ({error})", "the state of a run")
        else:
            if isinstance(content, dict):
                if not is_live and "ending" not in content:
                    _kill(content)
                return RunState(content, _age_s(content, is_live=is_live), is_live)
            trouble = StreamflowError(str(folder.state), f"a {type(content).__name__}", "the state of a run")
    raise trouble


def read_courses(folder: RunFolder, paths: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """How each of a state's paths has gone from the begin of the run to now, in columns as a report has them."""
    wholes: dict[str, Any] = {}
    for index in range(len(paths)):
        try:
            written = json.loads(folder.course(index).read_bytes())
            wholes[written["path"]] = written["course"]
        except (OSError, ValueError, KeyError):
            continue  # it was not its turn yet
    recent = {name: (path.get("recent") or {}).get("steps") or {} for name, path in paths.items()}
    return {name: joined(wholes.get(name) or {}, steps) for name, steps in recent.items()}


def _kill(content: dict[str, Any]) -> None:
    """Of a run that was killed: its stages are as it told last, and have died with it."""
    stages = content.get("stages")
    for stage in stages.values() if isinstance(stages, dict) else ():
        if isinstance(stage, dict):
            stage |= {"state": "killed", "pid": 0}


def _age_s(content: dict[str, Any], *, is_live: bool) -> float:
    """By the monotonic clock while the run lives; a dead one may be of before the last boot of this machine."""
    at_ns, at = content.get("at_ns"), content.get("at")
    if is_live and isinstance(at_ns, int):
        return max(seconds(now_ns() - at_ns), 0.0)
    try:
        return max((datetime.now(UTC) - datetime.fromisoformat(str(at))).total_seconds(), 0.0)
    except (TypeError, ValueError):
        return 0.0


# ------------------------------------------------------------------------------------------- the recorders


@dataclass(slots=True)
class Recordings:
    """The recorders of a run by stage, and a sentence for each that cannot be read."""

    by_stage: dict[str, Recording] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)
    streams: tuple[str, ...] = ()
    """All stages of the pipeline, in the order in which records number them."""

    def close(self) -> None:
        for recording in self.by_stage.values():
            recording.close()


def open_recordings(folder: RunFolder) -> Recordings:
    """Every recorder of the run that can be read. Raises StreamflowError when there is none."""
    found = Recordings()
    unread = set()
    for path in sorted(folder.recordings.glob("*.rec")):
        try:
            recording = Recording.open(path)
        except RecorderError as error:
            found.faults.append(str(error))
            unread.add(path.stem)
            continue
        found.by_stage[recording.stage] = recording
        found.streams = found.streams or recording.shape.streams
    missing = [name for name in found.streams if name not in found.by_stage and name not in unread]
    found.faults += [f"stage {name}: it has no recorder" for name in missing]
    if not found.by_stage:
        raise StreamflowError(f"run {folder.path.name}", "no flight recorder can be read", hint="; ".join(found.faults))
    return found
