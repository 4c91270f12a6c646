"""Made-up signals: what is sent agrees with the truth that is sent beside it."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodes.ingest import Chirp, ImuMotion, MovingShapes, Talk, Thermometer, Tone
from nodes.kernels import synthetic as kernel
from streamflow import InputError
from streamflow.testing import Driven, drive


def joined(driven: Driven, port: str, name: str | None = None) -> np.ndarray:
    return np.concatenate([m.array if name is None else m[name] for m in driven[port]])


def test_a_tone_is_the_sine_of_its_true_phase() -> None:
    driven = drive(Tone(440.0, rate_hz=8000, chunk=100, amplitude=0.5, duration_s=0.1))
    signal, phase = joined(driven, "signal"), joined(driven, "truth", "phase")
    assert signal.dtype == np.float32
    assert signal.shape == (800,)
    expected = [0.5 * math.sin(2 * math.pi * 440 * i / 8000) for i in range(800)]
    assert np.allclose(signal, expected, atol=1e-6)
    assert np.allclose(0.5 * np.sin(phase), signal, atol=1e-6)
    assert phase.min() >= 0.0
    assert phase.max() < 2 * math.pi
    assert (joined(driven, "truth", "frequency_hz") == 440.0).all()


def test_signal_and_truth_have_the_same_event_time_and_attributes() -> None:
    driven = drive(Tone(rate_hz=1000, frequency_hz=10, chunk=100, duration_s=0.3))
    for signal, truth in zip(driven["signal"], driven["truth"], strict=True):
        assert signal.event_time_ns == truth.event_time_ns
        assert signal.attributes == truth.attributes
    assert [m.attributes["sample"] for m in driven["signal"]] == [0, 100, 200]
    assert [m.event_time_ns for m in driven["signal"]] == [99_000_000, 199_000_000, 299_000_000]
    assert driven["signal"][0].attributes["time_s"] == pytest.approx(0.099)


def test_a_last_chunk_that_is_not_full_says_how_much_is_valid() -> None:
    sent = drive(Tone(10, rate_hz=1000, chunk=64, duration_s=0.1))["signal"]
    assert [m.attributes.get("valid") for m in sent] == [None, 36]


def test_the_same_seed_makes_the_same_noise_and_another_seed_another() -> None:
    def noisy(seed: int) -> np.ndarray:
        return joined(drive(Tone(noise=0.1, duration_s=0.1, seed=seed)), "signal")

    assert np.array_equal(noisy(1), noisy(1))
    assert not np.array_equal(noisy(1), noisy(2))
    clean = joined(drive(Tone(duration_s=0.1)), "signal")
    assert np.std(noisy(1) - clean) == pytest.approx(0.1, rel=0.1)


def test_the_chunk_size_does_not_change_the_signal() -> None:
    small, large = (joined(drive(Chirp(chunk=n, duration_s=0.2)), "signal") for n in (10, 40))
    assert np.array_equal(small, large)
    quiet = {"accelerometer_noise": 0.0, "gyroscope_noise": 0.0, "duration_s": 0.2}
    small, large = (joined(drive(ImuMotion(chunk=n, **quiet)), "signal") for n in (1, 40))
    assert np.allclose(small, large, atol=1e-6)


def test_a_chirps_frequency_is_the_slope_of_its_phase_also_across_sweeps() -> None:
    time_s = np.arange(0, 5, 1e-5)
    phase, frequency_hz = kernel.chirp(time_s, 100.0, 400.0, 2.0)
    slope_hz = np.diff(phase) / (2 * np.pi * 1e-5)
    middle_hz = 0.5 * (frequency_hz[1:] + frequency_hz[:-1])
    inside = np.abs(np.diff(frequency_hz)) < 1.0  # not the step from one sweep's end to the next one's start
    assert np.allclose(slope_hz[inside], middle_hz[inside], atol=1e-3)
    assert np.diff(phase).max() < 2 * np.pi * 401 * 1e-5
    assert frequency_hz.min() == 100.0
    assert frequency_hz.max() < 400.0 + 1e-9


def test_integrated_attitude_is_exact_for_a_constant_turn() -> None:
    rate = np.array([0.3, -0.4, 1.2])
    path = kernel.integrate_attitude(np.array([1.0, 0, 0, 0]), np.tile(rate, (1000, 1)), 1e-3)
    angle = np.linalg.norm(rate)
    expected = np.concatenate([[math.cos(angle / 2)], math.sin(angle / 2) * rate / angle])
    assert np.allclose(path[-1], expected, atol=1e-12)


def test_the_true_attitude_is_the_integral_of_the_true_rate() -> None:
    truth = drive(ImuMotion(rate_hz=200, duration_s=2.0, seed=3))["truth"]
    attitude = np.concatenate([m["attitude"] for m in truth])
    assert np.allclose(np.linalg.norm(attitude, axis=1), 1.0, atol=1e-12)
    swing = kernel.random_swing(3)
    fine_s = 1.0 / (200 * 64)
    middles = (np.arange(399 * 64) + 0.5) * fine_s
    reference = kernel.integrate_attitude(np.array([1.0, 0, 0, 0]), swing.rate_rad_s(middles), fine_s)[-1]
    error_rad = 2 * math.acos(min(1.0, abs(float(attitude[-1] @ reference))))
    assert error_rad < 1e-5


def test_the_accelerometer_feels_gravity_turned_into_the_body() -> None:
    half = math.sqrt(0.5)
    flat, rolled = np.array([1.0, 0, 0, 0]), np.array([half, half, 0, 0])  # rolled 90° about x
    felt = kernel.gravity_in_body(np.stack([flat, rolled]))
    assert np.allclose(felt, [[0, 0, 9.80665], [0, 9.80665, 0]], atol=1e-12)


def test_an_imu_reads_its_truth_and_noise_of_the_size_that_was_asked_for() -> None:
    node = ImuMotion(duration_s=5.0, accelerometer_noise=0.2, gyroscope_noise=0.01, seed=1)
    driven = drive(node)
    signal = joined(driven, "signal")
    force = signal[:, :3] - kernel.gravity_in_body(joined(driven, "truth", "attitude"))
    turning = signal[:, 3:] - joined(driven, "truth", "rate_rad_s")
    assert signal.shape == (1000, 6)
    assert np.std(force) == pytest.approx(0.2, rel=0.1)
    assert np.std(turning) == pytest.approx(0.01, rel=0.1)


@given(seed=st.integers(0, 2**32 - 1), peak=st.floats(0, 20))
def test_the_swing_never_exceeds_its_peak(seed: int, peak: float) -> None:
    swing = kernel.random_swing(seed, peak_rad_s=peak)
    assert np.abs(swing.rate_rad_s(np.linspace(0, 20, 500))).max() <= peak + 1e-9


def test_an_attitude_model_that_was_trained_on_real_sensors_finds_the_made_up_attitude(recordings) -> None:
    onnxruntime = pytest.importorskip("onnxruntime", reason="the extra `onnx` is not installed")
    session = onnxruntime.InferenceSession(recordings("imu_riann/riann.onnx"))
    driven = drive(ImuMotion(rate_hz=200, chunk=200, duration_s=20.0, peak_rad_s=1.0))
    signal = joined(driven, "signal")
    rows = np.concatenate([signal, np.full((len(signal), 1), 1 / 200, np.float32)], axis=1)
    found, _ = session.run(None, {"input": rows[None], "h0": np.zeros((2, 1, 1, 200), np.float32)})
    up_found = kernel.gravity_in_body(found[0].astype(np.float64))
    up_true = kernel.gravity_in_body(joined(driven, "truth", "attitude"))
    cosine = (up_found * up_true).sum(1) / np.linalg.norm(up_found, axis=1) / np.linalg.norm(up_true, axis=1)
    error_degrees = np.degrees(np.arccos(np.clip(cosine[1000:], -1, 1)))
    assert np.sqrt(np.mean(error_degrees**2)) < 3.0, np.sqrt(np.mean(error_degrees**2))


def test_every_box_holds_exactly_the_pixels_of_its_shape() -> None:
    scene = kernel.random_scene(5, 1, 160, 120)
    for time_s in (0.0, 0.7, 3.1, 12.9):
        boxes = kernel.boxes_at(scene, time_s, 160, 120)
        rows, columns = np.nonzero(kernel.draw(scene, boxes, 160, 120).any(axis=2))
        x1, y1, x2, y2 = boxes[0]
        seen = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
        assert np.allclose(seen, (x1, y1, x2, y2), atol=1.5)


@given(
    seed=st.integers(0, 2**32 - 1),
    time_s=st.floats(0, 1e5),
    size=st.tuples(st.integers(8, 2000), st.integers(8, 2000)),
)
def test_boxes_never_leave_the_frame_and_keep_their_size(seed: int, time_s: float, size: tuple[int, int]) -> None:
    width, height = size
    scene = kernel.random_scene(seed, 4, width, height)
    boxes = kernel.boxes_at(scene, time_s, width, height)
    assert (boxes >= 0).all()
    assert (boxes[:, 2] <= width + 1e-3).all()
    assert (boxes[:, 3] <= height + 1e-3).all()
    assert np.allclose(boxes[:, 2:] - boxes[:, :2], scene.size, atol=1e-3)


def test_shapes_move_at_their_speed_between_two_bounces() -> None:
    scene = kernel.Scene(
        np.array([[10.0, 10.0]]), np.array([[0.0, 50.0]]), np.array([[20.0, -5.0]]), np.array([0]),
        np.array([[255, 0, 0]], dtype=np.uint8),
    )  # fmt: skip
    assert kernel.boxes_at(scene, 2.0, 100, 100).tolist() == [[40.0, 40.0, 50.0, 50.0]]
    assert kernel.boxes_at(scene, 5.0, 100, 100)[0, 0] == 80.0  # it met the right edge (90) after 4.5 s


def test_moving_shapes_sends_frames_with_their_boxes() -> None:
    node = MovingShapes(width=64, height=48, count=2, rate_hz=10, duration_s=0.5)
    driven = drive(node)
    assert [m.attributes["frame"] for m in driven["signal"]] == [0, 1, 2, 3, 4]
    for frame, truth in zip(driven["signal"], driven["truth"], strict=True):
        assert frame.array.shape == (48, 64, 3)
        assert frame.array.any()
        assert truth["boxes"].shape == (2, 4)
        assert frame.event_time_ns == truth.event_time_ns
    assert str(node.signal.type) == "uint8[48, 64, 3]"


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: Tone(9000, rate_hz=16000), r"Tone: a frequency of 9000 Hz, expected one above 0 and up to 8000 Hz"),
        (lambda: Tone(rate_hz=0), r"Tone: rate_hz = 0, expected a rate above 0"),
        (lambda: Tone(noise=-1), r"Tone: noise = -1, expected a standard deviation of 0 or more"),
        (lambda: Chirp(sweep_s=0), r"Chirp: sweep_s = 0, expected more than 0 s"),
        (lambda: Chirp(start_hz=-5), r"Chirp: a frequency of -5 Hz, expected 0 Hz or more"),
        (lambda: ImuMotion(chunk=0), r"ImuMotion: chunk = 0, expected at least 1 sample"),
        (lambda: ImuMotion(gyroscope_noise=-1), r"ImuMotion: a noise of -1, expected a standard deviation"),
        (lambda: MovingShapes(width=2), r"MovingShapes: a frame of 2 x 240, expected at least 8 x 8 pixels"),
        (lambda: MovingShapes(duration_s=0), r"MovingShapes: duration_s = 0, expected more than 0 s, or None"),
    ],
)
def test_a_setting_that_cannot_be_is_refused_before_anything_starts(make, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        make()


def test_a_voice_hums_while_it_speaks_and_is_silent_between() -> None:
    driven = drive(Talk(speech_s=0.5, pause_s=0.25, noise=0, rate_hz=1000, chunk=50, duration_s=1.5))
    signal, speaking = joined(driven, "signal"), joined(driven, "truth", "speaking")
    assert speaking.tolist() == ([True] * 500 + [False] * 250) * 2
    assert not signal[~speaking].any()
    assert np.abs(signal[speaking]).max() == pytest.approx(0.5, rel=0.01)


def test_a_room_warms_as_its_formula_says() -> None:
    driven = drive(Thermometer(mean=20, swing=2, period_s=60, duration_s=60))
    celsius = [20 + 2 * math.sin(2 * math.pi * t / 60) for t in range(60)]
    assert joined(driven, "signal").tolist() == pytest.approx(celsius, abs=1e-5)
    per_minute = joined(driven, "truth", "per_minute")
    assert per_minute[0] == pytest.approx(60 * 2 * 2 * math.pi / 60)
    assert np.diff(joined(driven, "truth", "celsius"))[20] * 60 == pytest.approx(per_minute[20:22].mean(), rel=1e-2)
