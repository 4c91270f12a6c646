"""The camera: what is wrong is said in one sentence; frames are decoded by the real library from its test picture."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from nodes.ingest import Camera, camera
from streamflow import InputError
from streamflow.testing import drive

pytest.importorskip("av", reason="the extra `video` is not installed")


def test_a_camera_that_is_not_there_is_an_input_error(tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"camera .*video9: there is no such device, expected a camera; cameras here: "
    ):
        drive(Camera(str(tmp_path / "video9")), limit=1)


def test_a_device_that_is_no_camera_is_an_input_error() -> None:
    with pytest.raises(InputError, match=r"camera /dev/null: cannot be opened \(.*\), expected a camera"):
        drive(Camera("/dev/null"), limit=1)


def test_a_file_that_is_no_camera_is_an_input_error(tmp_path: Path) -> None:
    path = tmp_path / "picture.bin"
    path.write_bytes(b"no camera")
    with pytest.raises(InputError, match=r"picture\.bin: cannot be opened"):
        drive(Camera(str(path)), limit=1)


def test_frames_are_bgr_and_numbered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(camera, "INPUT_FORMAT", "lavfi")
    monkeypatch.setattr(Camera, "open", _open_generator)
    sent = drive(Camera("color=c=blue:size=64x48:rate=30", rate_hz=30), limit=3).messages
    assert [message.attributes["frame"] for message in sent] == [0, 1, 2]
    for message in sent:
        assert message.array.shape == (48, 64, 3)
        assert message.array.dtype == np.uint8
    blue, green, red = sent[0].array.reshape(-1, 3).mean(axis=0)
    assert blue > 200
    assert green < 50
    assert red < 50
    times = [message.attributes["time_s"] for message in sent]
    assert times[0] == 0.0
    assert times == sorted(times)


def test_a_camera_that_ends_is_an_input_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(camera, "INPUT_FORMAT", "lavfi")
    monkeypatch.setattr(Camera, "open", _open_generator)
    with pytest.raises(InputError, match="stopped delivering, expected frames; was it unplugged"):
        drive(Camera("color=c=blue:size=64x48:rate=30:duration=0.1"))


def _open_generator(node: Camera) -> None:
    """FFmpeg's own test picture takes no `framerate` option, unlike a camera."""
    import av

    node._container = av.open(node.device, format=camera.INPUT_FORMAT)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"rate_hz": 0.0}, "Camera rate_hz: is 0, expected a rate above 0"),
        ({"size": (0, 480)}, "Camera size: is 0 x 480, expected at least 1 x 1 pixel"),
    ],
)
def test_a_setting_that_cannot_be_is_refused_before_anything_starts(settings: dict, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        Camera(**settings)


def test_the_port_has_the_size_that_was_asked_for() -> None:
    assert str(Camera(size=(640, 480)).frames.type) == "uint8[480, 640, 3]"
    assert str(Camera().frames.type) == "uint8[height, width, 3]"


def test_the_drivers_stamp_is_used_only_where_it_can_be_of_the_same_clock() -> None:
    now_ns = 100_000_000_000
    assert camera.taken_ns(now_ns, now_ns - 30_000_000) == now_ns - 30_000_000
    assert camera.taken_ns(now_ns, now_ns + 1) == now_ns
    assert camera.taken_ns(now_ns, 1_700_000_000_000_000_000) == now_ns  # wall time
    assert camera.taken_ns(now_ns, 0) == now_ns
    assert camera.taken_ns(now_ns, None) == now_ns
