"""What a camera sees now, frame by frame, through Video4Linux."""

from __future__ import annotations

import glob
import time
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import trio

from streamflow import InputError, MissingExtraError, Node, Out

INPUT_FORMAT = "v4l2"
PLAUSIBLE_AGE_NS = 2_000_000_000  # of a frame when it is handed over; else its stamp is of another clock


class Camera(Node):
    """Frames uint8[height, width, 3] in BGR; attributes `frame` (from 0) and `time_s` (since the first frame).

    Event time is the driver's own stamp where it is of the monotonic clock (as UVC cameras' are), else when the
    frame was handed over. Opening raises InputError where there is no such camera, it may not be used, or it does not
    deliver `size`. A camera that stalls holds up the end of the run for as long as it stalls.
    """

    live = True

    def __init__(self, device: str = "/dev/video0", size: tuple[int, int] | None = None, rate_hz: float = 30.0) -> None:
        """`size`: (width, height) in pixels; None takes what the camera prefers."""
        if not rate_hz > 0:
            raise InputError("Camera rate_hz", f"is {rate_hz:g}", "a rate above 0")
        if size is not None and min(size) < 1:
            raise InputError("Camera size", f"is {size[0]} x {size[1]}", "at least 1 x 1 pixel")
        self.device = device
        self.size = size
        self.rate_hz = rate_hz
        shape = f"{size[1]}, {size[0]}, 3" if size else "height, width, 3"
        self.frames = Out(f"uint8[{shape}]", rate_hz=rate_hz)
        self._container: Any = None

    def preload(self) -> None:
        _av()

    def open(self) -> None:
        av = _av()
        options = {"framerate": f"{self.rate_hz:g}"}
        if self.size is not None:
            options["video_size"] = f"{self.size[0]}x{self.size[1]}"
        try:
            self._container = av.open(self.device, format=INPUT_FORMAT, options=options)
        except (OSError, ValueError) as error:  # PyAV's own errors are both
            raise InputError(f"camera {self.device}", *_why_not(error)) from None
        stream = self._container.streams.video[0]
        if self.size is not None and (stream.width, stream.height) != self.size:
            found = f"delivers {stream.width} x {stream.height}"
            raise InputError(f"camera {self.device}", found, f"{self.size[0]} x {self.size[1]}")

    def close(self) -> None:
        if self._container is not None:
            self._container.close()

    async def run(self) -> None:
        frames = self._decoded()
        first_ns = index = 0
        while True:
            # Never abandoned on cancellation: the container must not be closed under a thread that reads from it.
            frame = await trio.to_thread.run_sync(next, frames, None)
            if frame is None:
                raise InputError(f"camera {self.device}", "stopped delivering", "frames", "was it unplugged?")
            taken_ns, pixels = frame
            first_ns = first_ns if index else taken_ns
            await self.emit(pixels, event_time_ns=taken_ns, frame=index, time_s=(taken_ns - first_ns) / 1e9)
            index += 1

    def _decoded(self) -> Iterator[tuple[int, Any]]:
        """Event time and pixels of each frame; blocks until there is one."""
        av = _av()
        try:
            for frame in self._container.decode(video=0):
                stamp_ns = None if frame.time is None else round(frame.time * 1e9)
                yield taken_ns(time.monotonic_ns(), stamp_ns), frame.to_ndarray(format="bgr24")
        except av.FFmpegError as error:
            raise InputError(f"camera {self.device}", error.strerror or str(error), "frames") from None


def taken_ns(now_ns: int, stamp_ns: int | None) -> int:
    """The driver's stamp of a frame that came now, or now where the stamp cannot be of the same clock."""
    if stamp_ns is not None and 0 <= now_ns - stamp_ns <= PLAUSIBLE_AGE_NS:
        return stamp_ns
    return now_ns


def _why_not(error: Exception) -> tuple[str, str, str]:
    """Found, expected and hint for a camera that could not be opened."""
    there = ", ".join(sorted(glob.glob("/dev/video*"))) or "none"
    if isinstance(error, FileNotFoundError):
        return "there is no such device", "a camera", f"cameras here: {there}"
    if isinstance(error, PermissionError):
        return "may not be used by this user", "a camera", "membership of the group `video` allows it"
    words = getattr(error, "strerror", None) or str(error)
    return f"cannot be opened ({words})", "a camera", f"cameras here: {there}"


def _av() -> ModuleType:
    try:
        import av
    except ImportError:
        raise MissingExtraError("Camera", "av", "video") from None
    module: ModuleType = av
    return module
