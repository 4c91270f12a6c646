"""Frames of a video file, at the times that its container gives them.

Decoded with PyAV, which is FFmpeg as OpenCV's VideoCapture is: on the detector's reference video the BGR bytes
are the same as OpenCV's in every frame, so OpenCV, with its windows and its 60 MB, is not needed.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt

from nodes.ingest.recording import faults_of, readable_file, require_positive
from nodes.kernels.image import resize_area
from streamflow import InputError, MissingExtraError, Node, Out
from streamflow.core.timebase import nanoseconds

EXPECTED = "a video file"
MICROSECONDS = 1e-6  # the unit of a container's duration

Image = npt.NDArray[np.uint8]


class VideoFile(Node):
    """Frames uint8[height, width, 3] in BGR, paced by their own time stamps, which may be irregular.

    `size` (width, height): frames are resized to it by area averaging, as Resize does, before they are sent.
    Frames that are marked as turned are turned upright. Attributes: `frame` (from 0), `time_s` as stamped,
    `frame_width` and `frame_height` of the recorded image. A video that ends before its declared length, or
    has a damaged frame, fails there with the frame's number. `laps`: how often it is played, one after the other;
    frames and times count on. `duration_s`: what comes later than that after the first frame is not played.
    """

    frame = Out("uint8[height, width, 3]")

    def __init__(
        self,
        path: str | os.PathLike[str],
        size: tuple[int, int] | None = None,
        *,
        laps: int = 1,
        duration_s: float | None = None,
    ) -> None:
        self.path = path
        self.size = size
        self.laps = laps
        self.duration_s = duration_s

    def inspect(self) -> None:
        """Read the header and decode the first frame; raises InputError for what is wrong with settings or file."""
        if self.size is not None and min(self.size) < 1:
            raise InputError("VideoFile size", f"is {self.size[0]} × {self.size[1]}", "at least 1 × 1 pixel")
        require_positive("VideoFile", laps=self.laps, duration_s=self.duration_s)
        readable_file(self.path, EXPECTED)
        with self._opened() as container:
            stream = _video_stream(container, str(self.path))
            first = next(self._decoded(container, stream), None)
            if first is None:
                raise InputError(str(self.path), "has no frames", EXPECTED)
            rate_hz = float(stream.average_rate) if stream.average_rate else None
            height, width = self._sized(_upright(first)).shape[:2]
        self.frame = Out(f"uint8[{height}, {width}, 3]", rate_hz=rate_hz)

    def open(self) -> None:
        self._container = self._opened()

    def close(self) -> None:
        container = getattr(self, "_container", None)
        if container is not None:
            container.close()

    async def run(self) -> None:
        first, begin_s = 0, 0.0
        for lap in range(self.laps):
            if lap:
                self._container.close()
                self._container = self._opened()
            count, length_s = await self._play(first, begin_s)
            first, begin_s = first + count, begin_s + length_s

    async def _play(self, first: int, begin_s: float) -> tuple[int, float]:
        """Once from the beginning, which is at `begin_s` of recorded time; how many frames that were, and how long."""
        stream = _video_stream(self._container, str(self.path))
        start_s = last_s = 0.0
        count = 0
        duration_s = 0.0
        for frame in self._decoded(self._container, stream):
            last_s = frame.pts * float(frame.time_base)
            start_s = last_s if count == 0 else start_s
            recorded_s = last_s - start_s + begin_s
            if self.duration_s is not None and recorded_s >= self.duration_s:
                return count, last_s - start_s
            duration_s = (frame.duration or 0) * float(frame.time_base)
            image = _upright(frame)
            event_time_ns = await self.pace(nanoseconds(recorded_s))
            await self.emit(
                self._sized(image),
                event_time_ns=event_time_ns,
                frame=first + count,
                time_s=last_s + begin_s,
                frame_width=image.shape[1],
                frame_height=image.shape[0],
            )
            count += 1
        period_s = (last_s - start_s) / max(count - 1, 1)
        self._require_end(stream, count, last_s, max(duration_s, period_s) + period_s / 2)
        return count, last_s - start_s + (period_s or duration_s)

    def _decoded(self, container: Any, stream: Any) -> Iterator[Any]:
        """Every frame in the order of presentation, undamaged and with a time stamp."""
        frames = container.decode(stream)
        index = 0
        while True:
            with faults_of(f"{self.path}, frame {index}", "a frame that is whole", _av().FFmpegError):
                frame = next(frames, None)
            if frame is None:
                return
            if frame.is_corrupt:
                raise InputError(f"{self.path}, frame {index}", "is damaged", "a frame that is whole")
            if frame.pts is None:
                hint = "put the stream into a container that has them, such as mp4"
                raise InputError(f"{self.path}, frame {index}", "has no time stamp", "one per frame", hint)
            yield frame
            index += 1

    def _require_end(self, stream: Any, count: int, last_s: float, tolerance_s: float) -> None:
        """Raises InputError if the last frame is further than `tolerance_s` from the end that is declared."""
        declared_s = _declared_end_s(self._container, stream)
        is_complete = 0 < stream.frames <= count
        if declared_s is not None and last_s + tolerance_s < declared_s and not is_complete:
            found = f"ends after frame {count - 1}, at {last_s:.3f} s"
            frames = f"{stream.frames} frames in " if stream.frames else ""
            raise InputError(str(self.path), found, f"{frames}{declared_s:.3f} s as declared", "it was cut off")

    def _sized(self, image: Image) -> Image:
        return image if self.size is None else resize_area(image, self.size[1], self.size[0])

    def _opened(self) -> Any:
        av = _av()
        with faults_of(str(self.path), EXPECTED, av.FFmpegError):
            return av.open(os.fspath(self.path))


def _av() -> ModuleType:
    try:
        import av
    except ImportError:
        raise MissingExtraError("VideoFile", "av", "video") from None
    module: ModuleType = av
    return module


def _video_stream(container: Any, subject: str) -> Any:
    if not container.streams.video:
        kinds = ", ".join(stream.type for stream in container.streams) or "nothing"
        raise InputError(subject, f"holds {kinds}", EXPECTED)
    return container.streams.video[0]


def _declared_end_s(container: Any, stream: Any) -> float | None:
    """When the last frame ends, by the stream's header or by that of a container with no other stream.

    A container's duration counts from 0 in some formats and from its first time stamp in others; the earlier
    of the two ends is taken, so that a whole video is never said to be cut off.
    """
    if stream.duration is not None:
        return float((stream.duration + (stream.start_time or 0)) * stream.time_base)
    if container.duration is not None and len(container.streams) == 1:
        return float(container.duration * MICROSECONDS)
    return None


def _upright(frame: Any) -> Image:
    """uint8[height, width, 3] in BGR, turned as the recording camera was held."""
    image: Image = frame.to_ndarray(format="bgr24")
    turns = round(frame.rotation / 90) % 4
    return np.ascontiguousarray(np.rot90(image, turns)) if turns else image
