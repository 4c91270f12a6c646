"""One recording as many streams, as if so many microphones heard it, each a little later than the one before."""

from __future__ import annotations

import os

import numpy as np

from nodes.ingest.audio_file import EXPECTED, WavFile
from nodes.ingest.recording import faults_of, instant_ns, padded
from streamflow import InputError, Output
from streamflow.core.message import Attribute
from streamflow.core.timebase import s


class Voices(WavFile):
    """Chunks of a WAV or FLAC file of one channel as streams `voice0`, `voice1`, ...: all have the same sound.

    Their chunks are spread evenly over the length of one. As `WavFile`, with the attribute `voice`.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        count: int,
        chunk: int = 512,
        rate_hz: float | None = None,
        duration_s: float | None = None,
    ) -> None:
        if count < 1:
            raise InputError("Voices(count)", f"{count}", "at least 1")
        super().__init__(path, chunk, rate_hz, channel=0, duration_s=duration_s)
        self.count = count

    async def run(self) -> None:
        rate_hz, size = self._file.samplerate, self._file.frames
        if self.duration_s is not None:
            size = min(size, round(self.duration_s * rate_hz))
        with faults_of(f"{self.path}", EXPECTED, RuntimeError):
            sound = self._file.read(size, dtype="float32", always_2d=True)[:, 0]
        spacing_ns = round(self.chunk / rate_hz * s / self.count)
        names = [f"voice{voice}" for voice in range(self.count)]
        for number, first in enumerate(range(0, len(sound), self.chunk)):
            valid = min(self.chunk, len(sound) - first)
            chunk = np.ascontiguousarray(padded(sound[first : first + valid], self.chunk, axis=0))
            newest = first + valid - 1
            attributes: dict[str, Attribute] = {"sample": first, "time_s": newest / rate_hz}
            if valid < self.chunk:
                attributes["valid"] = valid
            for voice, name in enumerate(names):
                event_time_ns = await self.pace(instant_ns(newest, rate_hz) + voice * spacing_ns)
                datum = Output(chunk, stream=name, seq=number, attributes={**attributes, "voice": voice})
                await self.emit(datum, event_time_ns=event_time_ns)
