"""Sound as it is heard now, from a microphone or line input."""

from __future__ import annotations

import time
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np
import trio

from streamflow import InputError, MissingExtraError, Node, Out

HEARD_CHUNKS_LIMIT = 64  # 2 s at the default rate; more waiting means this process is starved
PLAUSIBLE_AGE_S = 2.0  # of a sample when it is handed over; some drivers report no time, or that of another clock


class Microphone(Node):
    """Mono chunks float32[chunk] in [-1, 1], as the device delivers them; attributes `sample`, `time_s`.

    Event time is when the newest sample was digitised, as the driver tells, else when it was handed over. The
    attribute `overflows` counts how often sound was lost so far, in the driver or here; `sample` counts what was heard.
    Opening raises InputError where there is no such device, or none that has this rate.
    """

    live = True

    def __init__(self, rate_hz: float = 16000.0, chunk: int = 512, device: int | str | None = None) -> None:
        """`device`: a number or part of a name as `python -m sounddevice` lists them; None is the system's choice."""
        if not rate_hz > 0:
            raise InputError("Microphone rate_hz", f"is {rate_hz:g}", "a rate above 0")
        if chunk < 1:
            raise InputError("Microphone chunk", f"is {chunk}", "at least 1 sample")
        self.rate_hz = rate_hz
        self.chunk = chunk
        self.device = device
        self.samples = Out(f"float32[{chunk}]", rate_hz=rate_hz)
        self._stream: Any = None

    # No preload: importing sounddevice looks at every device, which is for the stage's own process alone.
    async def open(self) -> None:
        self._heard = _Heard(trio.lowlevel.current_trio_token(), self.rate_hz)
        await trio.to_thread.run_sync(self._open_stream)  # the library looks at every device: some 0.1 s

    def _open_stream(self) -> None:
        sounddevice = _sounddevice()
        try:
            self._stream = sounddevice.InputStream(
                samplerate=self.rate_hz,
                blocksize=self.chunk,
                device=self.device,
                channels=1,
                dtype="float32",
                callback=self._heard.keep,
                finished_callback=self._heard.end,
            )
        except (sounddevice.PortAudioError, ValueError) as error:
            raise InputError(f"Microphone {self._device_name}", *_why_not(sounddevice, error)) from None

    def close(self) -> None:
        if self._stream is not None:
            self._stream.close()

    async def run(self) -> None:
        self._stream.start()
        sample = 0
        async for chunk in self._heard.receive:
            sample += self.chunk
            await self.emit(
                chunk.samples,
                event_time_ns=chunk.newest_ns,
                sample=sample - self.chunk,
                time_s=(sample - 1) / self.rate_hz,
                overflows=chunk.overflow_count,
            )
        raise InputError(f"Microphone {self._device_name}", "stopped delivering", "sound", "was it unplugged?")

    @property
    def _device_name(self) -> str:
        return "default device" if self.device is None else f"device {self.device}"


@dataclass(frozen=True, slots=True)
class _Chunk:
    samples: np.ndarray[Any, Any]
    newest_ns: int
    overflow_count: int


class _Heard:
    """What the driver's thread hands over to the node's, at most `HEARD_CHUNKS_LIMIT` chunks of it."""

    def __init__(self, token: trio.lowlevel.TrioToken, rate_hz: float) -> None:
        self._token = token
        self._rate_hz = rate_hz
        self._overflow_count = 0
        self._send, self.receive = trio.open_memory_channel[_Chunk](HEARD_CHUNKS_LIMIT)

    def keep(self, samples: Any, count: int, clock: Any, status: Any) -> None:
        """Called by PortAudio in its own thread; `samples` is its buffer, float32[count, 1], and is used again."""
        if status.input_overflow:
            self._overflow_count += 1
        age_s = clock.currentTime - clock.inputBufferAdcTime - (count - 1) / self._rate_hz
        newest_ns = digitised_ns(time.monotonic_ns(), age_s)
        self._in_loop(self._offer, samples[:, 0].copy(), newest_ns)

    def end(self) -> None:
        """Called by PortAudio when the stream has stopped, for whatever reason."""
        self._in_loop(self._send.close)

    def _in_loop(self, function: Any, *arguments: Any) -> None:
        try:
            self._token.run_sync_soon(function, *arguments)
        except trio.RunFinishedError:  # the run is over and nobody listens any more
            return

    def _offer(self, samples: np.ndarray[Any, Any], newest_ns: int) -> None:
        try:
            self._send.send_nowait(_Chunk(samples, newest_ns, self._overflow_count))
        except trio.WouldBlock:
            self._overflow_count += 1
        except trio.ClosedResourceError:  # the stream has ended; this chunk was overtaken
            return


def digitised_ns(now_ns: int, age_s: float) -> int:
    """When a sample was taken that is `age_s` old by the driver's word; now, where that cannot be true."""
    return now_ns - round(age_s * 1e9) if 0.0 <= age_s <= PLAUSIBLE_AGE_S else now_ns


def _why_not(sounddevice: ModuleType, error: Exception) -> tuple[str, str, str]:
    """Found, expected and hint for a stream that could not be opened."""
    names = [device["name"] for device in sounddevice.query_devices() if device["max_input_channels"] > 0]
    if not names:
        return "this machine has no microphone", "a sound input device", ""
    words = str(error).strip().splitlines()[0]
    return words, "a device that can record so", f"there are: {', '.join(names)}"


def _sounddevice() -> ModuleType:
    try:
        import sounddevice
    except ImportError:
        raise MissingExtraError("Microphone", "sounddevice", "microphone") from None
    except OSError:  # the Python package is there, the C library it binds is not
        raise InputError(
            "Microphone", "the PortAudio library is not installed", hint="`apt install libportaudio2` brings it"
        ) from None
    module: ModuleType = sounddevice
    return module
