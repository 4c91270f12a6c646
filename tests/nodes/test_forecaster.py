"""The recurrent forecaster: it learns while it runs, and an unusual sample scores high."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from nodes.infer.forecaster import EchoForecaster
from nodes.kernels import forecast as kernel
from streamflow import InputError, Message
from streamflow.testing import drive


def run(signal: np.ndarray, **settings: object) -> tuple[np.ndarray, np.ndarray, kernel.State]:
    """Forecasts [time, features], scores [time] and the last state, over a signal [time, features]."""
    net = kernel.network(signal.shape[1], 48, seed=0, **settings)
    state = kernel.initial_state(net)
    forecasts, scores = [], []
    for sample in signal:
        state, forecast, score = kernel.step(net, state, sample)
        forecasts.append(forecast)
        scores.append(score)
    return np.array(forecasts), np.array(scores), state


def rms(values: np.ndarray) -> float:
    return float(np.sqrt(np.mean(values**2)))


@pytest.mark.parametrize("horizon", [1, 3])
def test_a_sine_is_forecast_far_better_than_by_its_last_value(horizon: int) -> None:
    sine = np.sin(2 * np.pi * np.arange(1000) / 20)[:, None]
    forecasts, _, _ = run(sine, horizon=horizon)
    last_value = rms((sine[horizon:] - sine[:-horizon])[500:])
    assert rms((forecasts - sine)[500:]) < last_value / 20


def test_noise_is_forecast_no_worse_than_by_its_mean() -> None:
    noise = np.random.default_rng(0).normal(5.0, 2.0, (1500, 1))
    forecasts, _, _ = run(noise)
    assert rms((forecasts - noise)[500:]) < 1.1 * 2.0


def noisy_sine(length: int) -> np.ndarray:
    random = np.random.default_rng(1)
    return (np.sin(2 * np.pi * np.arange(length) / 20) + random.normal(0, 0.05, length))[:, None]


def test_a_step_gives_a_peak_of_the_score_and_then_becomes_usual() -> None:
    signal = noisy_sine(1000)
    signal[700:] += 1.0
    _, scores, _ = run(signal)
    assert scores[700] > 10
    assert scores[100:700].max() < 5
    assert scores[800:].max() < 5


def test_one_wild_outlier_does_not_spoil_what_was_learnt() -> None:
    signal = noisy_sine(1000)
    clean, _, _ = run(signal)
    signal[700] = 1e6
    forecasts, scores, _ = run(signal)
    assert scores[700] > 1e4
    assert rms((forecasts - signal)[750:]) < 1.5 * rms((clean - signal)[750:])


def test_scores_of_ordinary_noise_are_about_one() -> None:
    _, scores, _ = run(np.random.default_rng(2).normal(0, 1, (1500, 1)))
    assert 0.5 < np.sqrt(np.mean(scores[200:] ** 2)) < 1.5


def test_a_change_below_the_resolution_is_no_anomaly_in_a_silent_signal() -> None:
    signal = np.full((300, 1), 3.0)
    signal[200] = 3.02
    assert run(signal, resolution=0.01)[1].max() == pytest.approx(2.0, abs=0.1)
    assert run(signal, resolution=0.1)[1].max() < 0.5


def test_a_constant_signal_does_not_let_the_covariance_grow_without_bound() -> None:
    state = run(np.full((2500, 2), 7.0))[2]
    assert np.trace(state.covariance) <= kernel.PRIOR_COVARIANCE * len(state.covariance)
    assert np.array_equal(state.covariance, state.covariance.T)


def test_a_step_is_pure_it_changes_neither_state_nor_sample() -> None:
    net = kernel.network(1, 8, seed=0)
    state = run_to(net, 50)
    before = {name: np.copy(getattr(state, name)) for name in kernel.State.__slots__}
    sample = np.array([0.5])
    first, second = kernel.step(net, state, sample), kernel.step(net, state, sample)
    assert all(np.array_equal(before[name], getattr(state, name)) for name in before)
    assert sample.tolist() == [0.5]
    assert first.score == second.score
    assert np.array_equal(first.state.readout, second.state.readout)


def run_to(net: kernel.Network, count: int) -> kernel.State:
    state = kernel.initial_state(net)
    for sample in noisy_sine(count):
        state = kernel.step(net, state, sample).state
    return state


@settings(deadline=None, max_examples=40)
@given(arrays(np.float64, (40, 2), elements=st.floats(-1e9, 1e9)))
def test_forecast_and_score_are_finite_for_any_finite_signal(signal: np.ndarray) -> None:
    forecasts, scores, state = run(signal)
    assert np.isfinite(forecasts).all()
    assert np.isfinite(scores).all()
    assert (scores >= 0).all()
    assert np.isfinite(state.readout).all()


# ------------------------------------------------------------------------------------------------------ the node


def sampled(values: np.ndarray, rate_hz: float) -> list[Message]:
    return [Message({"array": value}, "s", i, round(i * 1e9 / rate_hz)) for i, value in enumerate(values)]


def test_nothing_is_sent_before_the_warm_up_and_everything_after_it() -> None:
    node = EchoForecaster(warm_up_s=5.0, warm_up_samples=1000)
    sent = drive(node, sampled(noisy_sine(120).astype(np.float32), 10)).messages
    assert [message.seq for message in sent] == list(range(50, 120))


def test_a_fast_signal_is_warm_after_so_many_samples() -> None:
    node = EchoForecaster(warm_up_s=5.0, warm_up_samples=50)
    sent = drive(node, sampled(noisy_sine(120).astype(np.float32), 100)).messages
    assert [message.seq for message in sent] == list(range(50, 120))


def test_a_signal_of_one_hertz_is_warm_after_the_first_seconds() -> None:
    sent = drive(EchoForecaster(warm_up_s=5.0), sampled(noisy_sine(15).astype(np.float32), 1)).messages
    assert sent[0].seq == 5


def test_a_result_tells_score_forecast_and_what_came() -> None:
    signal = np.concatenate([noisy_sine(100), -noisy_sine(100)], axis=1).astype(np.float32)
    signal[80] += 5
    sent = drive(EchoForecaster(), sampled(signal, 10)).messages
    for message in sent:
        assert message["score"].shape == ()
        assert message["score"].dtype == np.float32
        assert message["forecast"].shape == (2,)
        assert np.array_equal(message["actual"], signal[message.seq])
        assert message.attributes["signal"] == "signal"
    assert max(sent, key=lambda message: float(message["score"])).seq == 80


def test_signals_are_learnt_apart_whatever_their_rates_and_sizes() -> None:
    fast, slow = noisy_sine(200).astype(np.float32), noisy_sine(80).reshape(20, 4).astype(np.float32)
    together = drive(
        EchoForecaster({"fast": 0.0, "slow": (0.1, 0.1, 0.1, 0.1)}),
        {"fast": sampled(fast, 100), "slow": sampled(slow, 1)},
    ).messages
    alone = drive(EchoForecaster({"fast": 0.0}), sampled(fast, 100)).messages
    of_fast = [float(m["score"]) for m in together if m.attributes["signal"] == "fast"]
    assert of_fast == [float(m["score"]) for m in alone]
    assert {m.attributes["signal"] for m in together} == {"fast", "slow"}


def test_the_shape_of_a_sample_does_not_matter_only_its_values() -> None:
    flat = sampled(noisy_sine(80).astype(np.float32), 10)
    column = sampled(noisy_sine(80).astype(np.float32)[:, :, None], 10)
    results = [[float(m["score"]) for m in drive(EchoForecaster(), messages).messages] for messages in (flat, column)]
    assert results[0] == results[1]


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ([[1.0], [float("nan")]], "EchoForecaster signal: a value that is NaN or infinite, expected finite values"),
        ([[1.0], [1.0, 2.0]], "EchoForecaster signal: 2 values, expected 1 as before"),
    ],
)
def test_a_sample_that_cannot_be_judged_is_an_input_error(values: list[list[float]], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        drive(EchoForecaster(), [np.array(value, dtype=np.float32) for value in values])


def test_resolutions_must_be_as_many_as_the_values() -> None:
    with pytest.raises(InputError, match="EchoForecaster a: 3 resolutions for 2 values, expected one for all"):
        drive(EchoForecaster({"a": (1.0, 2.0, 3.0)}), [np.zeros(2, np.float32)])


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: EchoForecaster({}), "signals: none given, expected at least one name"),
        (lambda: EchoForecaster({"two words": 0.0}), "'two words' cannot name a port"),
        (lambda: EchoForecaster({"scores": 0.0}), "'scores' cannot name a port"),
        (lambda: EchoForecaster(reservoir=0), "reservoir = 0, expected at least 1"),
        (lambda: EchoForecaster(horizon=0), "horizon = 0, expected at least 1"),
    ],
)
def test_a_setting_that_cannot_be_is_refused_before_anything_starts(make, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        make()
