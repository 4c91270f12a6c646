"""Many microphones, each with a row of sounds of its own that only a memory tells apart."""

from __future__ import annotations

from nodes.ingest.recording import instant_ns
from nodes.kernels.sounds import CHUNK, RATE_HZ, SOUNDS, chunks
from streamflow import InputError, Node, Out, Output
from streamflow.core.message import Attribute
from streamflow.core.timebase import s


class Sounds(Node):
    """Chunks of `channels` signals as streams `channel0`, `channel1`, ...: noise, a steady tone, or one that rises or
    falls, for about a second each (`nodes.kernels.sounds`).

    Their chunks are spread evenly over the length of one. Attributes: `channel`, `sample` (the chunk's first),
    `time_s`, and the truth: `sound`, and `since`, how many chunks of that sound were before it. Equal seeds make equal
    signals.
    """

    def __init__(
        self,
        channels: int = 16,
        chunk: int = CHUNK,
        rate_hz: float = RATE_HZ,
        duration_s: float | None = None,
        seed: int = 0,
    ) -> None:
        for name, count in (("channels", channels), ("chunk", chunk)):
            if count < 1:
                raise InputError(f"Sounds({name})", f"{count}", "at least 1")
        if rate_hz <= 0 or (duration_s is not None and duration_s <= 0):
            raise InputError("Sounds", f"{rate_hz:g} Hz for {duration_s} s", "a rate and a time above 0")
        self.channels = channels
        self.chunk = chunk
        self.rate_hz = rate_hz
        self.chunk_limit = None if duration_s is None else max(1, round(duration_s * rate_hz / chunk))
        self.seed = seed
        self.signal = Out(f"float32[{chunk}]", rate_hz=rate_hz)

    async def run(self) -> None:
        signals = [chunks((self.seed, channel), self.rate_hz, self.chunk) for channel in range(self.channels)]
        spacing_ns = round(self.chunk / self.rate_hz * s / self.channels)
        number = 0
        while self.chunk_limit is None or number < self.chunk_limit:
            first = number * self.chunk
            newest = first + self.chunk - 1
            for channel, signal in enumerate(signals):
                samples, kind, since = next(signal)
                event_time_ns = await self.pace(instant_ns(newest, self.rate_hz) + channel * spacing_ns)
                facts: dict[str, Attribute] = {"channel": channel, "sample": first, "time_s": newest / self.rate_hz}
                facts |= {"sound": SOUNDS[kind], "since": since}
                datum = Output(samples, stream=f"channel{channel}", seq=number, attributes=facts)
                await self.emit(datum, event_time_ns=event_time_ns)
            number += 1
