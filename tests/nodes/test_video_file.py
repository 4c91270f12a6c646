"""VideoFile: the container's frames at the container's times, and one sentence for each file that cannot be played."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from nodes.ingest import VideoFile
from nodes.kernels.image import resize_area
from streamflow import InputError
from streamflow.testing.harness import drive

HEIGHT, WIDTH = 48, 64
MILLISECONDS = Fraction(1, 1000)
IRREGULAR_MS = [0, 40, 60, 180, 190, 300]


def images(count: int) -> list[Any]:
    """uint8[HEIGHT, WIDTH, 3] each, noise that does not compress: bytes of the file are spread over its frames."""
    rng = np.random.default_rng(1)
    return [rng.integers(0, 256, (HEIGHT, WIDTH, 3)).astype(np.uint8) for _ in range(count)]


def written(
    path: Path,
    stamps_ms: Sequence[int],
    codec: str = "mpeg4",
    pixels: str = "yuv420p",
    rate_hz: Fraction = Fraction(1000),
    **options: str,
) -> Path:
    """A video of noise with those time stamps; `rate_hz` is what its header says."""
    with av.open(path, "w", options=options) as container:
        stream = container.add_stream(codec, rate=rate_hz)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, pixels
        stream.codec_context.time_base = MILLISECONDS
        for image, stamp in zip(images(len(stamps_ms)), stamps_ms, strict=True):
            frame = av.VideoFrame.from_ndarray(image, format="bgr24")
            frame.pts, frame.time_base = stamp, MILLISECONDS
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


@pytest.fixture
def lossless(tmp_path: Path) -> Path:
    return written(tmp_path / "v.mkv", IRREGULAR_MS, "ffv1", "bgr0")


def test_frames_are_the_recorded_pixels_in_bgr(lossless: Path) -> None:
    node = VideoFile(lossless)
    sent = drive(node).arrays
    assert str(node.frame.type) == f"uint8[{HEIGHT}, {WIDTH}, 3]"
    assert all(np.array_equal(a, b) for a, b in zip(sent, images(6), strict=True))


def test_irregular_time_stamps_are_kept(lossless: Path) -> None:
    sent = drive(VideoFile(lossless)).messages
    assert [message.attributes["frame"] for message in sent] == [0, 1, 2, 3, 4, 5]
    assert [message.attributes["time_s"] for message in sent] == pytest.approx([t / 1000 for t in IRREGULAR_MS])
    assert [message.event_time_ns for message in sent] == [t * 1_000_000 for t in IRREGULAR_MS]


def test_pacing_starts_with_the_first_frame_although_its_stamp_is_later(tmp_path: Path) -> None:
    path = written(tmp_path / "v.mkv", [5000, 5040, 5080], "ffv1", "bgr0")
    sent = drive(VideoFile(path)).messages
    assert [message.event_time_ns for message in sent] == [0, 40_000_000, 80_000_000]
    assert sent[0].attributes["time_s"] == 5.0


def test_a_second_lap_goes_on_where_the_first_one_ended_a_period_later(tmp_path: Path) -> None:
    path = written(tmp_path / "v.mkv", [100, 140, 180], "ffv1", "bgr0", Fraction(25))
    sent = drive(VideoFile(path, laps=2)).messages
    assert [message.attributes["frame"] for message in sent] == [0, 1, 2, 3, 4, 5]
    assert [message.event_time_ns for message in sent] == [t * 1_000_000 for t in (0, 40, 80, 120, 160, 200)]
    assert sent[3].attributes["time_s"] == pytest.approx(0.22)
    assert all(np.array_equal(a.array, b.array) for a, b in zip(sent[:3], sent[3:], strict=True))


def test_what_comes_after_the_duration_is_not_played_in_whatever_lap(lossless: Path) -> None:
    assert len(drive(VideoFile(lossless, duration_s=0.180)).messages) == 3
    assert len(drive(VideoFile(lossless, laps=2, duration_s=0.401)).messages) == 8
    assert len(drive(VideoFile(lossless, laps=1, duration_s=9)).messages) == 6


@pytest.mark.parametrize("settings", [{"laps": 0}, {"duration_s": 0.0}])
def test_laps_or_a_duration_of_nothing_are_refused(lossless: Path, settings: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="above 0"):
        VideoFile(lossless, **settings).inspect()


def test_a_size_shrinks_by_area_and_the_recorded_size_is_still_told(lossless: Path) -> None:
    node = VideoFile(lossless, size=(40, 20))
    sent = drive(node, limit=1).messages[0]
    assert str(node.frame.type) == "uint8[20, 40, 3]"
    assert np.array_equal(sent.array, resize_area(images(1)[0], 20, 40))
    assert (sent.attributes["frame_width"], sent.attributes["frame_height"]) == (WIDTH, HEIGHT)


def test_a_video_marked_as_turned_is_upright(tmp_path: Path) -> None:
    path = written(tmp_path / "v.mp4", range(0, 90, 30))
    plain = drive(VideoFile(path)).arrays[0]
    data = bytearray(path.read_bytes())
    matrix = data.index(b"tkhd") + 44  # after version, flags and the times, ISO 14496-12 section 8.3.2
    one = 1 << 16
    data[matrix : matrix + 36] = struct.pack(">9i", 0, one, 0, -one, 0, 0, HEIGHT * one, 0, 1 << 30)
    path.write_bytes(data)
    node = VideoFile(path)
    turned = drive(node).arrays[0]
    assert str(node.frame.type) == f"uint8[{WIDTH}, {HEIGHT}, 3]"
    assert np.array_equal(turned, np.rot90(plain, -1))  # the matrix asks for a quarter turn clockwise


def cut(path: Path, share: float) -> Path:
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    return path


class Player:
    """Plays a video and keeps the attributes of its frames, not the frames."""

    def __init__(self, path: Path) -> None:
        self.node = VideoFile(path)
        self.node.emit = self._emit  # type: ignore[method-assign]
        self.seen: list[dict[str, Any]] = []

    async def _emit(self, value: Any, **attributes: Any) -> None:
        self.seen.append(attributes)

    def fails(self) -> tuple[str, int]:
        """The sentence with which playing ends, and how many frames came before."""
        with pytest.raises(InputError) as caught:
            drive(self.node)
        return str(caught.value), len(self.seen)


@pytest.mark.parametrize(
    ("name", "codec"), [("v.mkv", "ffv1"), ("v.webm", "libvpx"), ("v.mp4", "mpeg4"), ("v.avi", "mpeg4")]
)
def test_a_video_that_was_cut_off_names_the_frame_reached(tmp_path: Path, name: str, codec: str) -> None:
    options = {"movflags": "faststart"} if name == "v.mp4" else {}
    path = written(tmp_path / name, range(0, 900, 30), codec, "bgr0" if codec == "ffv1" else "yuv420p", **options)
    assert len(drive(VideoFile(path)).arrays) == 30
    sentence, count = Player(cut(path, 0.6)).fails()
    assert 10 < count < 25
    assert f"ends after frame {count - 1}, at" in sentence or f", frame {count}: " in sentence


def test_a_video_that_lacks_its_last_frame_only_is_cut_off(tmp_path: Path) -> None:
    path = written(tmp_path / "v.mkv", range(0, 300, 30), "ffv1", "bgr0", Fraction(100, 3))
    assert len(drive(VideoFile(path)).arrays) == 10
    sentence, count = Player(cut(path, 0.95)).fails()
    assert "it was cut off" in sentence
    assert count == 9


def refused(path: Path, **options: Any) -> str:
    """The sentence with which inspecting refuses the file."""
    with pytest.raises(InputError) as caught:
        VideoFile(path, **options).inspect()
    return str(caught.value)


def test_an_mp4_that_lost_its_index_is_refused(tmp_path: Path) -> None:
    sentence = refused(cut(written(tmp_path / "v.mp4", range(0, 900, 30)), 0.5))
    assert (
        sentence
        == f"{tmp_path}/v.mp4: cannot be read (Invalid data found when processing input), expected a video file"
    )


def test_a_missing_an_empty_and_a_wrong_file_are_refused(tmp_path: Path) -> None:
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "text.mp4").write_text("words, only words\n" * 50)
    assert "No such file" in refused(tmp_path / "no.mp4")
    assert "is empty" in refused(tmp_path / "empty.mp4")
    assert "expected a video file" in refused(tmp_path / "text.mp4")


def test_a_file_of_sound_alone_is_no_video(tmp_path: Path) -> None:
    with av.open(tmp_path / "sound.wav", "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), format="s16", layout="mono")
        frame.rate = 8000
        container.mux(stream.encode(frame))
    assert "holds audio, expected a video file" in refused(tmp_path / "sound.wav")


def test_a_size_of_nothing_is_refused(lossless: Path) -> None:
    assert "VideoFile size: is 0 × 20" in refused(lossless, size=(0, 20))


def test_the_detectors_recording_has_its_1189_frames(recordings: Callable[[str], Path]) -> None:
    player = Player(recordings("cam_fastestdet/bottle-detection.mp4"))
    drive(player.node)
    assert len(player.seen) == 1189
    assert player.seen[-1]["time_s"] == pytest.approx(39.821229)
    assert player.node.frame.type.rate_hz == pytest.approx(179 / 6)
