"""Sound from a WAV or FLAC file, in chunks, as if a microphone delivered it now."""

from __future__ import annotations

import os
import struct
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from nodes.ingest.recording import faults_of, instant_ns, padded, readable_file, require_positive, require_rate
from streamflow import InputError, MissingExtraError, Node, Out

FORMATS = ("WAV", "WAVEX", "RF64", "FLAC")  # soundfile's names; other formats declare no exact length
EXPECTED = "a WAV or FLAC file"

# A data chunk of this size was written by a program that did not know the length (a pipe): it goes to the end.
UNKNOWN_SIZE = 0xFFFFFFFF


class WavFile(Node):
    """Chunks of a WAV or FLAC file, as float32 in [-1, 1): full scale of the file's integers is 1.

    Emits float32[chunk] for one channel (the file has one, or `channel` picks one, from 0), else
    float32[channels, chunk]. The last chunk is padded with zeros and has the attribute `valid`.
    Attributes: `sample` of the first sample, `time_s` of the newest real one.
    """

    samples = Out("float32[...]")

    def __init__(
        self,
        path: str | os.PathLike[str],
        chunk: int = 512,
        rate_hz: float | None = None,
        channel: int | None = None,
        duration_s: float | None = None,
    ) -> None:
        """`rate_hz`: the sampling rate that the pipeline needs; a file with another one is refused.

        `duration_s`: no more than that is played, from the beginning.
        """
        self.path = path
        self.chunk = chunk
        self.rate_hz = rate_hz
        self.channel = channel
        self.duration_s = duration_s

    def inspect(self) -> None:
        """Read the header; raises InputError for whatever is wrong with settings or file."""
        require_positive("WavFile", chunk=self.chunk, rate_hz=self.rate_hz, duration_s=self.duration_s)
        path = readable_file(self.path, EXPECTED)
        _require_whole_data_chunk(path)
        with self._opened() as file:
            if file.format not in FORMATS:
                raise InputError(str(path), f"is {file.format_info}", EXPECTED)
            if file.frames == 0:
                raise InputError(str(path), "has no samples", "sound")
            require_rate(str(path), file.samplerate, self.rate_hz)
            if self.channel is not None and not 0 <= self.channel < file.channels:
                found = f"has {file.channels} channel{'s' if file.channels != 1 else ''}"
                raise InputError(str(path), found, f"channel {self.channel}", "channels count from 0")
            one = file.channels == 1 or self.channel is not None
            shape = f"{self.chunk}" if one else f"{file.channels}, {self.chunk}"
            self.samples = Out(f"float32[{shape}]", rate_hz=file.samplerate)

    def open(self) -> None:
        self._file = self._opened()

    def close(self) -> None:
        file = getattr(self, "_file", None)
        if file is not None:
            file.close()

    async def run(self) -> None:
        rate_hz, declared = self._file.samplerate, self._file.frames
        if self.duration_s is not None:
            declared = min(declared, round(self.duration_s * rate_hz))
        first = 0
        while first < declared:
            size = min(self.chunk, declared - first)
            with faults_of(f"{self.path}, sample {first}", EXPECTED, RuntimeError):
                block = self._file.read(size, dtype="float32", always_2d=True).T
            valid = block.shape[1]
            if valid:
                await self._send(block, first, rate_hz)
            first += valid
            if valid < self.chunk:
                break
        if first != declared:
            raise InputError(str(self.path), f"ends after {first} samples", f"{declared}", "it was cut off")

    async def _send(self, block: Any, first: int, rate_hz: int) -> None:
        """`block`: float32[channels, valid]."""
        valid = block.shape[1]
        newest = first + valid - 1
        event_time_ns = await self.pace(instant_ns(newest, rate_hz))
        whole = padded(block, self.chunk, axis=1)
        channel = 0 if whole.shape[0] == 1 else self.channel
        value = np.ascontiguousarray(whole if channel is None else whole[channel])
        attributes = {"valid": valid} if valid < self.chunk else {}
        await self.emit(value, event_time_ns=event_time_ns, sample=first, time_s=newest / rate_hz, **attributes)

    def _opened(self) -> Any:
        soundfile = _soundfile()
        with faults_of(str(self.path), EXPECTED, soundfile.LibsndfileError):
            return soundfile.SoundFile(os.fspath(self.path))


def _soundfile() -> ModuleType:
    try:
        import soundfile
    except ImportError:
        raise MissingExtraError("WavFile", "soundfile", "audio") from None
    module: ModuleType = soundfile
    return module


def _require_whole_data_chunk(path: Path) -> None:
    """A RIFF file holds all the bytes its data chunk declares; libsndfile would end early without a word."""
    size = path.stat().st_size
    with path.open("rb") as file:
        if file.read(4) != b"RIFF":
            return
        if size < 12:
            raise InputError(str(path), f"ends inside its header, after {size} bytes", EXPECTED, "it was cut off")
        position = 12  # RIFF, size, WAVE
        while True:
            file.seek(position)
            header = file.read(8)
            if len(header) < 8:
                raise InputError(str(path), f"ends after {size} bytes, before any sound", EXPECTED, "it was cut off")
            name, declared = struct.unpack("<4sI", header)
            position += 8
            if name == b"data":
                break
            position += declared + declared % 2  # chunks are padded to even sizes
    present = size - position
    if declared != UNKNOWN_SIZE and declared > present:
        raise InputError(
            str(path), f"has {present} bytes of sound", f"the {declared} its header declares", "it was cut off"
        )
