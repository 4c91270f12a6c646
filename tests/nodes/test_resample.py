"""From one sampling rate to another, as the samples come."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from nodes.kernels.filters import design, nearest_ratio
from nodes.preprocess import Resample
from streamflow import InputError, Message
from streamflow.testing import drive

RATES = [(48000, 16000), (16000, 48000), (44100, 16000), (100, 250), (250, 100), (50, 50)]


def messages(signal, sizes, rate_hz, first=0):
    start = 0
    for size in sizes:
        newest = first + start + size - 1
        attributes = {"sample": first + start, "time_s": newest / rate_hz}
        yield Message({"array": signal[..., start : start + size]}, "s", 0, round(newest / rate_hz * 1e9), attributes)
        start += size


def resampled(rate_in, rate_out, signal):
    return np.concatenate(drive(Resample(rate_in, rate_out), [signal]).arrays, axis=-1)


def by_definition(signal, plan, count):
    """Zeros between the samples, one convolution with the whole filter, and every `down`-th value of that."""
    prototype = np.ascontiguousarray(plan.phases[:, ::-1].T).reshape(-1)
    spread = np.zeros(len(signal) * plan.up)
    spread[:: plan.up] = signal
    return np.convolve(spread, prototype)[plan.half :: plan.down][:count]


@pytest.mark.parametrize(("rate_in", "rate_out"), RATES)
def test_the_result_is_that_of_the_definition_and_of_the_exact_length(rate_in, rate_out):
    signal = np.random.default_rng(1).normal(size=403)
    found = resampled(rate_in, rate_out, signal)
    ratio = Fraction(rate_out, rate_in)
    assert found.shape == (-(-403 * ratio.numerator // ratio.denominator),)
    np.testing.assert_allclose(found, by_definition(signal, design(ratio, 0.8, 80.0), len(found)), atol=1e-12)


@settings(max_examples=40)
@given(st.sampled_from(RATES), st.lists(st.integers(0, 90), min_size=1, max_size=12), st.sampled_from(["f4", "f8"]))
def test_where_the_chunks_ended_changes_no_bit(rates, sizes, dtype):
    signal = np.random.default_rng(2).normal(size=(2, sum(sizes))).astype(dtype)
    sent = drive(Resample(*rates), messages(signal, sizes, rates[0])).messages
    parts = np.concatenate([np.zeros((2, 0), dtype), *(message.array for message in sent)], axis=1)
    whole = resampled(*rates, signal) if signal.size else parts
    assert parts.dtype == np.dtype(dtype)
    np.testing.assert_array_equal(parts, whole)


@settings(max_examples=40)
@given(st.sampled_from(RATES), st.lists(st.integers(1, 90), min_size=2, max_size=12))
def test_event_time_is_that_of_the_newest_result_s_place_in_the_signal(rates, sizes):
    sent = drive(
        Resample(*rates), messages(np.zeros(sum(sizes)), sizes, rates[0]), rates={"samples": rates[0]}
    ).messages
    for message in sent:
        newest = message.attributes["sample"] + message.array.shape[-1] - 1
        assert message.event_time_ns == pytest.approx(newest / rates[1] * 1e9, abs=50)
        assert message.attributes["time_s"] == pytest.approx(newest / rates[1], abs=1e-9)


def test_a_tone_in_the_passband_stays_in_place_and_in_size():
    found = resampled(48000, 16000, np.sin(2 * np.pi * 5000 * np.arange(48000) / 48000))
    expected = np.sin(2 * np.pi * 5000 * np.arange(16000) / 16000)
    np.testing.assert_allclose(found[200:-200], expected[200:-200], atol=2e-4)


def test_a_tone_above_the_new_nyquist_frequency_leaves_no_alias():
    found = resampled(48000, 16000, np.sin(2 * np.pi * 9000 * np.arange(48000) / 48000))
    assert np.abs(found[200:-200]).max() < 2e-4


def test_a_constant_stays_the_same_constant():
    np.testing.assert_allclose(resampled(44100, 16000, np.ones(5000))[100:-100], 1.0, rtol=1e-12)


def test_rows_of_a_table_are_resampled_along_their_first_axis():
    signal = np.random.default_rng(3).normal(size=(2, 500))
    node = Resample(100, 50, axis=0)
    found = np.concatenate(drive(node, np.array_split(signal.T, 7)).arrays)
    np.testing.assert_array_equal(found.T, resampled(100, 50, signal))


def test_behind_a_gap_the_signal_starts_afresh_in_its_place():
    signal = np.random.default_rng(4).normal(size=1000)
    chunks = [*messages(signal[:300], [100] * 3, 100), *messages(signal[700:], [100] * 3, 100, first=700)]
    sent = drive(Resample(100, 50), chunks, rates={"samples": 100.0}).messages
    places = np.concatenate([m.attributes["sample"] + np.arange(len(m.array)) for m in sent])
    assert places.tolist() == [*range(150), *range(350, 500)]
    assert [m.attributes["gap"] for m in sent if m.attributes.get("gap")] == [200]
    found = np.concatenate([message.array for message in sent])
    np.testing.assert_array_equal(found[:150], resampled(100, 50, signal[:300]))
    np.testing.assert_allclose(found[150:], resampled(100, 50, signal[700:]), atol=1e-12)
    for message in sent:
        newest = message.attributes["sample"] + len(message.array) - 1
        assert message.event_time_ns == pytest.approx(newest * 20_000_000, abs=50)


def test_the_port_tells_the_rate_that_results():
    assert Resample(44100, 16000).resampled.type.rate_hz == 16000
    assert Resample(44100, 16000).samples.type.rate_hz == 44100
    node = Resample(1000 * np.pi, 1000)
    assert node.resampled.type.rate_hz == node.ratio * 1000 * np.pi
    assert node.resampled.type.rate_hz == pytest.approx(1000, rel=1e-6)


@given(st.floats(0.01, 1e6), st.floats(0.01, 1e6))
@example(24576.0, 4.0)
@example(4.0, 24576.0)
def test_any_two_rates_have_a_near_ratio_of_small_terms_or_are_too_far_apart(rate_in, rate_out):
    try:
        ratio = nearest_ratio(rate_in, rate_out)
    except ValueError:
        assert max(rate_in / rate_out, rate_out / rate_in) > 4096 * 0.99
        return
    assert max(ratio.numerator, ratio.denominator) <= 4096
    assert float(ratio) == pytest.approx(rate_out / rate_in, rel=2e-4)


@pytest.mark.parametrize(
    ("arguments", "settings_", "words"),
    [
        ((0, 100), {}, r"Resample\(rate_in_hz\): 0, expected a rate above 0 Hz"),
        ((100, float("nan")), {}, r"Resample\(rate_out_hz\): nan"),
        ((1e6, 1), {}, "the rates are more than 4096 times apart"),
        ((100, 50), {"passband": 1.0}, r"Resample\(passband\): 1"),
        ((100, 50), {"attenuation_db": 5.0}, r"Resample\(attenuation_db\): 5"),
    ],
)
def test_settings_that_make_no_filter_are_refused(arguments, settings_, words):
    with pytest.raises(InputError, match=words):
        Resample(*arguments, **settings_)
