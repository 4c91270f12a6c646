"""Snapshots of a stage's states on disk: the newest whole one is what the next run goes on from.

    0    8 bytes  magic
    8    u32      version
    12   u32      bytes of the head
    16            the head: JSON, the stage, its layout, and what the caller says about the snapshot
    ..            for each stream: the length of its name, and room for 120 bytes; its facts; its tensors in C order
    end  u32      CRC-32 of all that comes before

Whoever writes reads the states as anybody does, in another process or thread, while their owner commits. Each stream is
as it was after one of its steps; no two need be of one instant, nor those of two stages, for each goes on by itself.
A file has its name only when all of it is on the disk, and the two newest stay, so that one is whole whatever happens.

What a run left must not be half taken over either: `restored` fills a file that nobody sees yet, and names it then.

Event times are of a clock that begins anew when the host does, and numbers begin anew with a run. So the caller says
what they are to become; this reads no clock, and keeps in `about` what the caller will need to know then.
"""

from __future__ import annotations

import json
import os
import re
import struct
import zlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path
from typing import Any, Final

import numpy as np

from streamflow.core.gaps import NO_SEQ, NO_TIME_NS
from streamflow.errors import StateError
from streamflow.memory.state_layout import NAME_SIZE, StateTensor, from_text, require_same, to_text
from streamflow.memory.state_view import FACT_SIZE, FACTS, LENGTH, StateView, StreamState, decoded, to_notes
from streamflow.memory.states import States

MAGIC: Final = b"\x01SFSNAP\n"
VERSION: Final = 1
KEPT_COUNT: Final = 2  # the newest, and the one before it where the disk has spoilt that
_START: Final = struct.Struct("<8sII")
_CHECKSUM: Final = struct.Struct("<I")


class Numbering(Enum):
    """What the data to come are called."""

    GOES_ON = "goes_on"
    """They are counted on from where they were, so what comes again is not stepped with again."""
    BEGINS_ANEW = "begins_anew"
    """Their sources have begun to count anew, so a state knows by its time alone what is missing."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One that is whole."""

    path: Path
    tensors: tuple[StateTensor, ...]
    streams: tuple[StreamState, ...]
    """Each once."""
    about: Mapping[str, Any]
    """What its writer said of it."""


@dataclass(frozen=True, slots=True)
class Found:
    """What there is to go on from."""

    snapshot: Snapshot | None
    skipped: tuple[StateError, ...]
    """Newer ones that are not whole, or not ours, and why."""


class Snapshots:
    """Of one stage, in a folder that it may share with others."""

    def __init__(self, folder: Path, stage: str) -> None:
        self._folder = folder
        self._stage = stage
        self._pattern = re.compile(rf"{re.escape(stage)}\.(\d{{12}})\.snapshot")
        self._whole: list[int] = []  # that were written or read here, the newest last

    def newest(self) -> Found:
        """The newest whole one, and what is newer and cannot be used. Another layout is for `restored` to refuse."""
        skipped = []
        for number in sorted(self._numbers(), reverse=True):
            try:
                snapshot = read_snapshot(self._path(number), self._stage)
            except StateError as error:
                skipped.append(error)
                continue
            self._whole = [number]
            return Found(snapshot, tuple(skipped))
        return Found(None, tuple(skipped))

    def write(self, view: StateView, about: Mapping[str, Any] | None = None) -> Path:
        """One more, of all streams that have a slot; of those before it the newest stays. `about`: JSON.

        Raises StateError where it cannot be written; what was there before is there then. Waits for the disk.
        """
        number = max(self._numbers(), default=0) + 1
        path = self._path(number)
        partial = self._folder / f"{self._stage}.snapshot.partial"
        try:
            self._make_folder()
            descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            with open(descriptor, "wb") as file:
                self._fill(file.write, view, about or {})
                file.flush()
                os.fsync(descriptor)
            partial.rename(path)
            _sync(self._folder)
        except OSError as error:
            raise StateError(str(path), f"cannot be written ({error.strerror})", "a place on a disk") from None
        finally:
            with suppress(OSError):
                partial.unlink(missing_ok=True)
        self._whole = [*self._whole, number][-KEPT_COUNT:]
        self._remove_old()
        return path

    def _fill(self, put: Callable[[bytes], object], view: StateView, about: Mapping[str, Any]) -> None:
        checksum = 0

        def write(content: bytes) -> None:
            nonlocal checksum
            checksum = zlib.crc32(content, checksum)
            put(content)

        head = json.dumps({"stage": self._stage, "layout": to_text(view.tensors), "about": about}).encode()
        write(_START.pack(MAGIC, VERSION, len(head)) + head)
        for slot in range(view.slot_count):
            state = view.read(slot)
            if state is not None:
                name = state.stream.encode()
                write((LENGTH.pack(len(name)) + name).ljust(NAME_SIZE, b"\0"))
                write(FACTS.pack(state.seq, state.event_time_ns, *state.notes))
                for array in state.tensors:
                    write(array.tobytes())
        put(_CHECKSUM.pack(checksum))

    def _remove_old(self) -> None:
        """What is older than all that are kept; what is not whole goes with time, and counts for none of them."""
        if len(self._whole) < KEPT_COUNT:
            return
        for number in self._numbers():
            if number < self._whole[0]:
                with suppress(OSError):
                    self._path(number).unlink()

    def _make_folder(self) -> None:
        if not self._folder.is_dir():
            self._folder.mkdir(parents=True, exist_ok=True)
            _sync(self._folder.parent)

    def _path(self, number: int) -> Path:
        return self._folder / f"{self._stage}.{number:012}.snapshot"

    def _numbers(self) -> list[int]:
        try:
            names = os.listdir(self._folder)
        except FileNotFoundError:
            return []
        except OSError as error:
            raise StateError(
                str(self._folder), f"cannot be read ({error.strerror})", "a folder for snapshots"
            ) from None
        return [int(match[1]) for name in names if (match := self._pattern.fullmatch(name))]


def read_snapshot(path: Path, stage: str) -> Snapshot:
    """Raises StateError for what is not a whole one of that stage."""
    subject, expected = str(path), f"a whole snapshot of {stage}"
    try:
        content = path.read_bytes()
    except OSError as error:
        raise StateError(subject, f"cannot be read ({error.strerror})", expected) from None
    if len(content) < _START.size + _CHECKSUM.size or not content.startswith(MAGIC):
        raise StateError(subject, "no snapshot", expected)
    _, version, head_size = _START.unpack_from(content)
    if version != VERSION:
        raise StateError(subject, f"version {version}", f"version {VERSION}")
    end = len(content) - _CHECKSUM.size
    if _CHECKSUM.unpack_from(content, end)[0] != zlib.crc32(memoryview(content)[:end]):
        raise StateError(subject, "torn: its checksum is that of another content", expected)
    start = _START.size + head_size
    try:
        head = json.loads(content[_START.size : start])
        found, tensors, about = head["stage"], from_text(head["layout"]), head["about"]
        states = _read_streams(memoryview(content)[start:end], tensors) if found == stage else []
    except (ValueError, KeyError, TypeError, struct.error) as error:
        raise StateError(subject, f"cannot be understood ({error})", expected) from None
    if found != stage:
        raise StateError(subject, f"a snapshot of {found}", expected)
    return Snapshot(path, tensors, tuple({state.stream: state for state in states}.values()), about)


def _read_streams(content: memoryview, tensors: Sequence[StateTensor]) -> list[StreamState]:
    """All of them: who changed its slot while they were read is there twice, and is what it was last."""
    states = []
    start = 0
    while start < len(content):
        name = decoded(bytes(content[start : start + NAME_SIZE]))
        start += NAME_SIZE
        seq, event_time_ns, *notes = FACTS.unpack_from(content, start)
        start += FACT_SIZE
        arrays = []
        for tensor in tensors:
            arrays.append(np.ndarray(tensor.shape, tensor.dtype, content, start))
            start += tensor.size
        states.append(StreamState(name, seq, event_time_ns, to_notes(notes), tuple(arrays)))
    return states


def restored(
    path: Path,
    tensors: Sequence[StateTensor],
    slot_count: int,
    snapshot: Snapshot | None,
    numbering: Numbering,
    *,
    shift_ns: int | None = 0,
) -> States:
    """The file of states of a run that goes on from a snapshot: filled from it by the first life, whole or not at all.

    Where the file is there, a former life of this run has made it, and the snapshot is of no more use. `shift_ns` is
    added to all event times: what the clocks of the two runs differ by; None: they mean nothing now. Raises StateError
    for another layout, and where there are fewer slots than streams.
    """
    if snapshot is not None and not path.exists():
        hint = "name another folder for what is kept, or remove this one, to begin anew"
        require_same(str(snapshot.path), snapshot.tensors, tensors, hint)
        if len(snapshot.streams) > slot_count:
            raise StateError(str(snapshot.path), f"{len(snapshot.streams)} streams", f"at most {slot_count}, the slots")
        hidden = path.with_name(path.name + ".restoring")
        hidden.unlink(missing_ok=True)
        states = States(hidden, tensors, slot_count)
        for slot, state in enumerate(snapshot.streams):
            states.restore(slot, _moved(state, numbering, shift_ns))
        states.close()
        hidden.rename(path)
    return States(path, tensors, slot_count)


def _moved(state: StreamState, numbering: Numbering, shift_ns: int | None) -> StreamState:
    if state.event_time_ns == NO_TIME_NS:
        return state
    seq = state.seq if numbering is Numbering.GOES_ON else NO_SEQ
    event_time_ns = NO_TIME_NS if shift_ns is None else state.event_time_ns + shift_ns
    return replace(state, seq=seq, event_time_ns=event_time_ns)


def _sync(folder: Path) -> None:
    """What the folder holds by name is on the disk."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
