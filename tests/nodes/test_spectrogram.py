"""Short-time spectra."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodes.kernels.spectrum import window_weights
from nodes.preprocess import Spectrogram
from streamflow import InputError
from streamflow.testing import drive


@given(st.lists(st.integers(0, 40), min_size=1, max_size=10), st.integers(2, 20), st.integers(1, 25))
def test_frames_are_those_of_the_whole_signal_wherever_the_chunks_ended(sizes, size, hop):
    signal = np.random.default_rng(0).normal(size=sum(sizes))
    chunks = np.split(signal, np.cumsum(sizes)[:-1])
    whole = drive(Spectrogram(size, hop), [signal]).arrays
    parts = drive(Spectrogram(size, hop), chunks).arrays
    assert len(parts) == len(range(0, len(signal) - size + 1, hop))
    for part, frame in zip(parts, whole, strict=True):
        np.testing.assert_array_equal(part, frame)


@pytest.mark.parametrize("window", ["hann", "hamming", "blackman", "rectangular"])
@pytest.mark.parametrize(("scale", "expected"), [("magnitude", 3.0), ("power", 4.5), ("decibel", 10 * np.log10(4.5))])
def test_a_sine_of_amplitude_3_shows_its_amplitude_or_power_in_its_bin(window, scale, expected):
    sine = 3.0 * np.cos(2 * np.pi * 8 * np.arange(64) / 64 + 0.3)
    frame = drive(Spectrogram(64, window=window, scale=scale), [sine]).arrays[0]
    assert frame.shape == (33,)
    assert np.argmax(frame) == 8
    assert frame[8] == pytest.approx(expected)


def test_a_constant_and_the_highest_frequency_have_no_mirror_image():
    constant, alternating = np.full(16, 2.0), 2.0 * (-1.0) ** np.arange(16)
    node = {"window": "rectangular", "scale": "power"}
    assert drive(Spectrogram(16, **node), [constant]).arrays[0][0] == pytest.approx(4.0)
    assert drive(Spectrogram(16, **node), [alternating]).arrays[0][8] == pytest.approx(4.0)


def test_power_adds_up_to_the_mean_square_of_the_signal():
    for size in (64, 63):
        noise = np.random.default_rng(1).normal(size=size)
        frame = drive(Spectrogram(size, window="rectangular", scale="power"), [noise]).arrays[0]
        assert frame.sum() == pytest.approx(np.mean(noise**2))


def test_silence_in_decibel_is_a_floor_and_no_infinity():
    assert drive(Spectrogram(16, scale="decibel"), [np.zeros(16, np.float32)]).arrays[0].tolist() == [-120.0] * 9


def test_channels_and_dtype_are_kept():
    frame = drive(Spectrogram(32), [np.zeros((3, 32), np.float32)]).arrays[0]
    assert frame.shape == (3, 17)
    assert frame.dtype == np.float32


def test_along_axis_0_it_is_the_spectrum_of_the_transposed_signal():
    table = np.random.default_rng(2).normal(size=(100, 3)).astype(np.float32)
    upright = drive(Spectrogram(16, 5, axis=0), [table[:30], table[30:]])
    across = drive(Spectrogram(16, 5), [table.T])
    assert upright.arrays[0].shape == (9, 3)
    assert len(upright.arrays) == len(across.arrays)
    for column_wise, row_wise in zip(upright.arrays, across.arrays, strict=True):
        np.testing.assert_array_equal(column_wise, row_wise.T)
    assert [str(port.type) for port in Spectrogram(16, axis=0).ports().values()] == [
        "float32|float64[time, ...]",
        "float32|float64[9, ...]",
    ]


def test_windows_are_periodic():
    np.testing.assert_allclose(window_weights("hann", 16), np.hanning(17)[:-1], atol=1e-15)
    np.testing.assert_allclose(window_weights("hamming", 16), np.hamming(17)[:-1], atol=1e-15)
    np.testing.assert_allclose(window_weights("blackman", 16), np.blackman(17)[:-1], atol=1e-15)


def test_settings_that_make_no_sense_are_refused():
    with pytest.raises(InputError, match="'kaiser' is no window, expected one of hann, hamming, blackman, rectangular"):
        Spectrogram(16, window="kaiser")
    with pytest.raises(InputError, match=r"Spectrogram\(size\): 1, expected at least 2 samples"):
        Spectrogram(1)
    with pytest.raises(InputError, match="expected one of magnitude, power, decibel"):
        Spectrogram(16, scale="loudness")
