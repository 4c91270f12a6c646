"""BeatDetector finds every beat of synthetic and recorded ECGs, however they are cut, scaled or sampled."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from nodes.kernels.beats import BeatFinder, hold, slope_kernel
from nodes.postprocess import BeatDetector
from streamflow import InputError, Message
from streamflow.testing.harness import drive

TOLERANCE_S = 0.15
Signal = NDArray[np.float64]


def ecg(
    *, rate_hz: float = 360, seconds: float = 60, bpm: float = 75, premature: float = 0.0, seed: int = 0
) -> tuple[Signal, Signal]:
    """A lead in mV and the times of its R waves: sums of Gaussians, after McSharry et al., IEEE TBME 50(3), 2003.

    A share `premature` of the beats is ventricular: early, wide, tall, with a pause after it.
    """
    random = np.random.default_rng(seed)
    time = np.arange(int(seconds * rate_hz)) / rate_hz
    signal, beats, at = np.zeros(len(time)), [], 0.5
    while at < seconds - 0.7:
        interval = 60 / bpm * (1 + 0.05 * np.clip(random.standard_normal(), -2.5, 2.5))
        is_premature = bool(beats) and random.random() < premature
        at -= 0.3 * interval if is_premature else 0
        beats.append(at)
        stretch = np.sqrt(interval)  # Bazett: the T wave follows sooner in a fast heart
        normal = [(-0.17 * stretch, 0.12, 0.025), (-0.03, -0.12, 0.01), (0, 1, 0.011), (0.03, -0.2, 0.01)]
        waves = [*normal, (0.28 * stretch, 0.3, 0.05 * stretch)]
        wide = [(-0.02, -0.3, 0.03), (0, 1.5, 0.035), (0.07, -0.5, 0.035), (0.32 * stretch, -0.5, 0.06)]
        for delay, height, width in wide if is_premature else waves:
            signal += height * np.exp(-0.5 * ((time - at - delay) / width) ** 2)
        at += interval * (1.3 if is_premature else 1)
    return signal, np.array(beats)


def noise(like: Signal, rate_hz: float = 360, seed: int = 0) -> Signal:
    """White, with a power per hertz that does not depend on the sampling rate."""
    return np.random.default_rng(seed).standard_normal(len(like)) * np.sqrt(rate_hz / 360)


def found_in(signal: Signal, rate_hz: float = 360, chunk: int = 36) -> list[Message]:
    chunks = [signal[np.newaxis, i : i + chunk] for i in range(0, len(signal), chunk)]
    return drive(BeatDetector(rate_hz=rate_hz), chunks).messages


def times(messages: list[Message]) -> Signal:
    return np.array([float(message["time_s"]) for message in messages])


def missed_and_false(beats: Signal, found: Signal) -> tuple[int, int]:
    """How many beats have no find within the tolerance, and how many finds no beat; each counts once."""
    missed, left = 0, sorted(found)
    for beat in beats:
        near = [time for time in left if abs(time - beat) <= TOLERANCE_S]
        if near:
            left.remove(min(near, key=lambda time: abs(time - beat)))
        else:
            missed += 1
    return missed, len(left)


@pytest.mark.parametrize("bpm", [40, 60, 100, 140, 180])
def test_every_beat_is_found_at_every_heart_rate(bpm: float) -> None:
    signal, beats = ecg(bpm=bpm)
    assert missed_and_false(beats, times(found_in(signal + 0.1 * noise(signal)))) == (0, 0)


@pytest.mark.parametrize("rate_hz", [250, 500, 1000])
def test_the_sampling_rate_does_not_matter(rate_hz: float) -> None:
    signal, beats = ecg(rate_hz=rate_hz)
    assert missed_and_false(beats, times(found_in(signal + 0.1 * noise(signal, rate_hz), rate_hz))) == (0, 0)


@pytest.mark.parametrize("gain", [-1, 0.005, 1000])
def test_polarity_and_unit_do_not_matter(gain: float) -> None:
    signal, _ = ecg()
    signal = signal + 0.05 * noise(signal)
    plain, scaled = found_in(signal), found_in(signal * gain)
    assert times(plain).tolist() == times(scaled).tolist()
    amplitudes = [[float(message["amplitude"]) for message in messages] for messages in (plain, scaled)]
    np.testing.assert_allclose(amplitudes[1], gain * np.array(amplitudes[0]), rtol=1e-5)


def test_baseline_wander_and_mains_hum_do_not_matter() -> None:
    signal, beats = ecg()
    time = np.arange(len(signal)) / 360
    signal = signal + np.sin(2 * np.pi * 0.25 * time) + 0.6 * np.sin(2 * np.pi * 0.4 * time)
    signal += 0.1 * np.sin(2 * np.pi * 50 * time) + 0.05 * noise(signal)
    assert missed_and_false(beats, times(found_in(signal))) == (0, 0)


def test_premature_wide_beats_are_found() -> None:
    signal, beats = ecg(premature=0.15)
    assert missed_and_false(beats, times(found_in(signal + 0.05 * noise(signal)))) == (0, 0)


def test_breathing_that_changes_the_height_does_not_hide_beats() -> None:
    signal, beats = ecg()
    time = np.arange(len(signal)) / 360
    signal = signal * (0.65 + 0.35 * np.sin(2 * np.pi * 0.2 * time)) + 0.02 * noise(signal)
    assert missed_and_false(beats, times(found_in(signal))) == (0, 0)


def test_beats_that_become_ten_times_smaller_are_found_again_within_seconds() -> None:
    signal, beats = ecg()
    signal[30 * 360 :] *= 0.1
    missed, false = missed_and_false(beats, times(found_in(signal + 0.002 * noise(signal))))
    assert missed <= 12
    assert false == 0


def test_a_spike_hides_no_later_beat() -> None:
    signal, beats = ecg()
    signal[20 * 360 + 100 : 20 * 360 + 130] += 40
    missed, false = missed_and_false(beats, times(found_in(signal)))
    assert missed <= 1
    assert false <= 2


def test_a_lead_that_is_flat_at_first_is_learned_when_it_is_not() -> None:
    signal, beats = ecg(seconds=20)
    signal = np.concatenate([np.zeros(10 * 360), signal + 0.01 * noise(signal)])
    assert missed_and_false(beats + 10, times(found_in(signal))) == (0, 0)


@pytest.mark.parametrize("signal", [np.zeros(0), np.zeros(3600), np.full(3600, 5.0), np.zeros(10)])
def test_a_signal_without_beats_has_none(signal: Signal) -> None:
    assert found_in(signal) == []


@settings(deadline=None, max_examples=20)
@given(st.lists(st.integers(1, 4000), max_size=30))
def test_chunk_boundaries_do_not_matter(cuts: list[int]) -> None:
    signal, _ = ecg(seconds=12)
    signal = signal + 0.1 * noise(signal)
    whole, cut = BeatFinder(360), BeatFinder(360)
    expected = whole.feed(signal) + whole.finish()
    chunks = np.split(signal, sorted(cut for cut in cuts if cut < len(signal)))
    assert [beat for chunk in chunks for beat in cut.feed(chunk)] + cut.finish() == expected


def test_a_beat_comes_within_the_stated_delay() -> None:
    signal, _ = ecg()
    finder = BeatFinder(360)
    delays = []
    for index in range(0, len(signal), 18):
        for beat in finder.feed(signal[index : index + 18]):
            if beat.sample > 3 * 360:  # the first seconds are learned from
                delays.append((index + 18 - beat.sample) / 360)
    assert max(delays) <= BeatFinder.DELAY_S + 18 / 360


def test_the_amplitude_is_that_of_the_r_wave_from_its_baseline() -> None:
    signal, beats = ecg()
    sent = found_in(signal + 3)
    np.testing.assert_allclose([float(message["amplitude"]) for message in sent], 1, atol=0.1)
    np.testing.assert_allclose(times(sent), beats, atol=2 / 360)


def test_intervals_are_between_neighbours_and_the_first_has_none() -> None:
    signal, _ = ecg(seconds=10)
    sent = found_in(signal)
    assert np.isnan(sent[0]["rr_s"])
    np.testing.assert_allclose([float(m["rr_s"]) for m in sent[1:]], np.diff(times(sent)), atol=1e-9)


def test_over_a_gap_there_is_no_interval_and_nothing_else_is_lost() -> None:
    signal, beats = ecg()
    chunks = [
        Message({"array": signal[np.newaxis, i : i + 36]}, attributes={"sample": i})
        for i in range(0, len(signal), 36)
        if not 20 * 360 <= i < 30 * 360
    ]
    sent = drive(BeatDetector(360), chunks).messages
    kept = beats[(beats < 19.9) | (beats > 30.1)]
    missed, false = missed_and_false(kept, times(sent))
    assert missed == 0
    assert false <= 2  # beats that the cut went through
    assert [bool(np.isnan(message["rr_s"])) for message in sent].count(True) == 2
    assert not any(20.1 < time < 29.9 for time in times(sent))


def test_a_lead_is_chosen_and_one_that_is_not_there_is_refused() -> None:
    signal, beats = ecg(seconds=10)
    both = np.stack([np.zeros(len(signal)), signal]).astype(np.float32)
    assert missed_and_false(beats, times(drive(BeatDetector(360, lead=1), [both]).messages)) == (0, 0)
    with pytest.raises(InputError, match="BeatDetector lead: 2, expected below the 2 channels"):
        drive(BeatDetector(360, lead=2), [both])


def test_the_padding_of_a_last_chunk_is_not_signal() -> None:
    signal, _ = ecg(seconds=10)
    padded = np.concatenate([signal, np.full(500, 50.0)])[np.newaxis]
    sent = drive(BeatDetector(360), [Message({"array": padded}, attributes={"valid": len(signal)})]).messages
    assert times(sent).tolist() == times(found_in(signal)).tolist()


@pytest.mark.parametrize("settings", [{"rate_hz": 50}, {"lead": -1}])
def test_impossible_settings_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="BeatDetector"):
        BeatDetector(**settings)


def test_values_that_are_not_finite_repeat_the_one_before() -> None:
    nan = np.nan
    assert hold(np.array([nan, 1, nan, np.inf, 2, nan]), 7.0).tolist() == [7, 1, 1, 1, 2, 2]
    signal, beats = ecg(seconds=20)
    signal[::7] = nan
    assert missed_and_false(beats, times(found_in(signal))) == (0, 0)


def test_the_slope_filter_passes_the_qrs_band_and_nothing_constant() -> None:
    response = np.abs(np.fft.rfft(slope_kernel(360), 3600)) / np.maximum(2 * np.pi * np.arange(1801) / 10, 1e-9)
    hertz = np.arange(1801) / 10
    assert abs(slope_kernel(360).sum()) < 1e-9
    assert response[hertz == 12] == pytest.approx(1, abs=0.25)
    assert response[(hertz > 0) & (hertz < 0.5)].max() < 0.05
    assert response[hertz > 40].max() < 0.05


def test_the_recording_has_its_2273_beats(recordings: Callable[[str], Path]) -> None:
    base = recordings("ecg_mitbih/100")
    packed = np.fromfile(base.with_suffix(".dat"), np.uint8).reshape(-1, 3).astype(np.int16)
    values = packed[:, 0] | (packed[:, 1] & 0x0F) << 8  # format 212: the first of two 12-bit values
    signal = np.where(values > 2047, values - 4096, values) / 200
    beats = annotated_beats(np.fromfile(base.with_suffix(".atr"), "<u2"))
    assert len(beats) == 2273
    missed, false = missed_and_false(beats / 360, times(found_in(signal, chunk=360)))
    assert missed <= 11  # 99.5 %
    assert false <= 11


def annotated_beats(words: NDArray[np.uint16]) -> NDArray[np.int64]:
    """Samples of the beats in an MIT annotation file that has none of the long forms but notes."""
    samples, sample, index = [], 0, 0
    while index < len(words) and words[index]:
        code, value = int(words[index]) >> 10, int(words[index]) & 0x3FF
        index += 1
        if code == 63:  # a note of so many bytes
            index += (value + 1) // 2
        elif code < 59:
            sample += value
            if code < 14:
                samples.append(sample)
    return np.array(samples)
