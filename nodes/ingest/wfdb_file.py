"""Signals of a WFDB record (PhysioNet: ECG, blood pressure, respiration) in physical units, and its annotations."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from nodes.ingest.recording import faults_of, instant_ns, padded, readable_file, require_positive, require_rate
from nodes.kernels import wfdb_format
from nodes.kernels.wfdb_format import Annotations, Header
from streamflow import InputError, Node, Out

EXPECTED = "a WFDB header (.hea)"
SUFFIXES = (".hea", ".dat", ".atr")


@dataclass(frozen=True, slots=True)
class SignalFile:
    """One file of a record: its format, and which of the record's signals its frames consist of, in order."""

    path: Path
    format: int
    offset: int
    signals: tuple[int, ...]

    def byte_range(self, first: int, last: int) -> tuple[int, int]:
        """(position, length) in bytes of frames `first` to `last` (exclusive)."""
        width = len(self.signals)
        position, length = wfdb_format.byte_range(self.format, first * width, last * width)
        return self.offset + position, length

    def frame_count(self) -> int:
        """How many whole frames the file has room for."""
        data_size = self.path.stat().st_size - self.offset
        sample_count = data_size // 2 if self.format == 16 else data_size * 2 // 3
        return sample_count // len(self.signals)

    def read(self, file: BinaryIO, first: int, last: int) -> npt.NDArray[np.int16]:
        """Frames `first` to `last` (exclusive), int16[frames, signals]."""
        position, length = self.byte_range(first, last)
        file.seek(position)
        data = file.read(length)
        if len(data) < length:
            raise InputError(str(self.path), f"ends before frame {last}", "whole frames", "it was cut off")
        width = len(self.signals)
        return wfdb_format.decode(self.format, data, first * width, last * width).reshape(-1, width)


class WfdbFile(Node):
    """Chunks of a WFDB record (formats 16 and 212), float32[channels, chunk] in the header's units (mV for an ECG).

    The record is its path without a suffix. Missing samples are NaN. The last chunk is padded with zeros and has
    the attribute `valid`. Attributes: `sample` of the first sample, `time_s` of the newest real one. At the end
    the header's checksums are compared with what was read: a damaged record fails there.
    """

    samples = Out("float32[channels, time]")

    def __init__(
        self,
        record: str | os.PathLike[str],
        channels: Sequence[int | str] | int | str | None = None,
        chunk: int = 36,
        rate_hz: float | None = None,
    ) -> None:
        """`channels`: names or indices (from 0), in the order wanted; None: all."""
        self.record = record
        self.channels = [channels] if isinstance(channels, int | str) else channels
        self.chunk = chunk
        self.rate_hz = rate_hz

    def inspect(self) -> None:
        """Read the header, the sizes and the first frame; raises InputError for what is wrong with them."""
        require_positive("WfdbFile", chunk=self.chunk, rate_hz=self.rate_hz)
        header = self._read_header()
        require_rate(self._header_path, header.rate_hz, self.rate_hz)
        files = self._signal_files(header)
        frame_count = self._frame_count(header, files)
        if frame_count == 0:
            raise InputError(str(self.record), "has no samples", "at least one")
        for part in files:
            found = part.byte_range(0, frame_count)
            needed, size = sum(found), part.path.stat().st_size
            if size < needed:
                hint = "it was cut off"
                expected = f"the {needed} that {frame_count} frames take"
                raise InputError(str(part.path), f"has {size} bytes", expected, hint)
            with part.path.open("rb") as file:
                self._require_first(header, part, part.read(file, 0, 1)[0])
        self.samples = Out(f"float32[{len(self._selected(header))}, {self.chunk}]", rate_hz=header.rate_hz)

    def open(self) -> None:
        self._header = self._read_header()
        self._parts = self._signal_files(self._header)
        self._files: list[BinaryIO] = []
        for part in self._parts:
            self._files.append(part.path.open("rb"))

    def close(self) -> None:
        for file in getattr(self, "_files", []):
            file.close()

    async def run(self) -> None:
        header, selected = self._header, self._selected(self._header)
        frame_count = self._frame_count(header, self._parts)
        totals = np.zeros(len(header.signals), np.int64)
        for first in range(0, frame_count, self.chunk):
            frames = self._frames(first, min(first + self.chunk, frame_count))
            totals += frames.sum(axis=0, dtype=np.int64)
            signals = [header.signals[index] for index in selected]
            values = wfdb_format.physical(frames[:, selected], signals)
            await self._send(values, first, header.rate_hz)
        self._require_checksums(totals)

    async def _send(self, values: Any, first: int, rate_hz: float) -> None:
        """`values`: float32[channels, valid]."""
        valid = values.shape[1]
        newest = first + valid - 1
        event_time_ns = await self.pace(instant_ns(newest, rate_hz))
        attributes: dict[str, Any] = {"valid": valid} if valid < self.chunk else {}
        await self.emit(
            padded(values, self.chunk, axis=1),
            event_time_ns=event_time_ns,
            sample=first,
            time_s=newest / rate_hz,
            **attributes,
        )

    def _frames(self, first: int, last: int) -> npt.NDArray[np.int16]:
        """int16[frames, all signals of the record]."""
        frames = np.empty((last - first, len(self._header.signals)), np.int16)
        for part, file in zip(self._parts, self._files, strict=True):
            frames[:, part.signals] = part.read(file, first, last)
        return frames

    # ----------------------------------------------------------------------------------------------- the header

    @property
    def _header_path(self) -> str:
        return f"{os.fspath(self.record)}.hea"

    def _read_header(self) -> Header:
        if os.fspath(self.record).endswith(SUFFIXES):
            raise InputError(f"WfdbFile {self.record}", "has a suffix", "the path of the record without one")
        path = readable_file(self._header_path, EXPECTED)
        with faults_of(str(path), EXPECTED, ValueError, OSError):
            return wfdb_format.parse_header(path.read_text(encoding="utf-8"))

    def _signal_files(self, header: Header) -> list[SignalFile]:
        folder = Path(self.record).parent
        names = dict.fromkeys(signal.file for signal in header.signals)
        return [self._signal_file(header, folder, name) for name in names]

    def _signal_file(self, header: Header, folder: Path, name: str) -> SignalFile:
        indices = tuple(index for index, signal in enumerate(header.signals) if signal.file == name)
        kinds = {(header.signals[index].format, header.signals[index].offset) for index in indices}
        if len(kinds) > 1:
            raise InputError(self._header_path, f"gives {name} two formats or offsets", "one for all its signals")
        path = readable_file(folder / name, f"the signals that {self._header_path} names")
        return SignalFile(path, *kinds.pop(), indices)

    def _frame_count(self, header: Header, files: list[SignalFile]) -> int:
        return header.frame_count or min(part.frame_count() for part in files)

    def _selected(self, header: Header) -> list[int]:
        """Indices of the wanted signals."""
        names = [signal.name for signal in header.signals]
        if self.channels is None:
            return list(range(len(names)))
        there = ", ".join(f"{index} {name}" for index, name in enumerate(names))
        for channel in self.channels:
            known = channel in names if isinstance(channel, str) else 0 <= channel < len(names)
            if not known:
                raise InputError(self._header_path, f"has no channel {channel}", f"one of: {there}")
        return [names.index(channel) if isinstance(channel, str) else channel for channel in self.channels]

    def _require_first(self, header: Header, part: SignalFile, frame: npt.NDArray[np.int16]) -> None:
        for index, value in zip(part.signals, frame, strict=True):
            signal = header.signals[index]
            if signal.initial is not None and value != signal.initial:
                expected = f"the {signal.initial} of {Path(self._header_path).name}"
                found = f"signal {signal.name or index} begins with {value}"
                raise InputError(str(part.path), found, expected, "header and data do not belong together")

    def _require_checksums(self, totals: npt.NDArray[np.int64]) -> None:
        for part in self._parts:
            for index in part.signals:
                signal = self._header.signals[index]
                found = wfdb_format.checksum(int(totals[index]))
                if signal.checksum is not None and found != signal.checksum:
                    what = f"signal {signal.name or index} has checksum {found}"
                    raise InputError(str(part.path), what, f"{signal.checksum}", "its data is damaged")


def read_annotations(path: str | os.PathLike[str]) -> Annotations:
    """The annotations of an MIT-format file such as 100.atr. Raises InputError."""
    file = readable_file(path, "MIT annotations")
    with faults_of(str(file), "MIT annotations", ValueError, OSError):
        return wfdb_format.parse_annotations(file.read_bytes())
