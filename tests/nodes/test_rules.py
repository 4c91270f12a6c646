"""Rules in place of models: loud or not, what is lit, and tilt from gravity."""

from __future__ import annotations

import numpy as np
import pytest

from nodes.infer import BrightBox, Loudness, Tilt
from nodes.ingest import ImuMotion, MovingShapes, Talk
from nodes.postprocess.situation import inclination_deg
from streamflow import InputError
from streamflow.testing import drive


def test_a_chunk_of_the_level_is_as_likely_speech_as_not() -> None:
    quiet, even, loud = drive(Loudness(0.1), [np.full(64, rms, np.float32) for rms in (0.0, 0.1, 1.0)]).arrays
    assert quiet == 0
    assert even == pytest.approx(0.5)
    assert loud == pytest.approx(1 / 1.01)


def test_the_hum_of_a_voice_is_likely_and_its_pause_is_not() -> None:
    sent = drive(Talk(speech_s=0.32, pause_s=0.32, duration_s=1.28))
    likely = [bool(array[0] > 0.5) for array in drive(Loudness(), [m.array for m in sent["signal"]]).arrays]
    assert likely == [bool(m["speaking"].all()) for m in sent["truth"]]
    assert sum(likely) == len(likely) / 2


def test_the_box_is_around_what_is_lit_to_the_pixel() -> None:
    image = np.zeros((20, 30, 3), np.uint8)
    image[4:9, 7:15, 1] = 200
    found = drive(BrightBox(), [image]).messages[0]
    assert found["box"].tolist() == [[7, 4, 15, 9]]
    assert found["class"].tolist() == [0]
    assert found["name"].tolist() == ["shape"]


def test_in_the_dark_there_is_no_box() -> None:
    found = drive(BrightBox(), [np.full((20, 30, 3), 5, np.uint8)]).messages[0]
    assert found["box"].shape == (0, 4)
    assert found["name"].shape == (0,)


def test_a_drawn_shape_is_found_where_it_truly_is() -> None:
    sent = drive(MovingShapes(count=1, duration_s=0.5))
    found = drive(BrightBox(), [m.array for m in sent["signal"]]).messages
    for box, truth in zip(found, sent["truth"], strict=True):
        np.testing.assert_allclose(box["box"], truth["boxes"], atol=1.01)


def test_tilt_is_the_true_inclination_without_heading() -> None:
    sent = drive(ImuMotion(accelerometer_noise=0, gyroscope_noise=0, chunk=20, duration_s=1))
    found = drive(Tilt(), [m.array for m in sent["signal"]]).arrays
    for attitude, truth in zip(found, sent["truth"], strict=True):
        assert inclination_deg(attitude) == pytest.approx(inclination_deg(truth["attitude"]), abs=1e-3)


@pytest.mark.parametrize(("force", "degrees"), [((0, 0, 9.8), 0), ((0, 0, -9.8), 180), ((9.8, 0, 0), 90)])
def test_tilt_of_a_sensor_at_rest(force: tuple[float, float, float], degrees: float) -> None:
    sample = np.array([[*force, 0, 0, 0]], np.float32)
    attitude = drive(Tilt(), [sample]).arrays[0]
    assert np.linalg.norm(attitude) == pytest.approx(1)
    assert inclination_deg(attitude) == pytest.approx(degrees, abs=1e-4)


@pytest.mark.parametrize("make", [lambda: Loudness(0), lambda: BrightBox(256)])
def test_a_level_that_makes_no_sense_is_refused(make: object) -> None:
    with pytest.raises(InputError, match="level"):
        make()  # type: ignore[operator]
