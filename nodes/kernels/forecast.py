"""A small recurrent forecaster that learns as it goes, and how surprising each sample is to it.

An echo state network (Jaeger, The "echo state" approach, GMD report 148, 2001; leaky units as in Lukoševičius,
A practical guide to applying echo state networks, 2012): a fixed random recurrent network remembers the recent
past, and only a linear readout is trained, here sample by sample by recursive least squares with forgetting
(Haykin, Adaptive filter theory, chapter 10). Two additions keep it sound for days on any signal: errors are
cut at `ERROR_CUT` deviations before they teach, so that an outlier does not wreck what was learnt; and
forgetting pauses while the signal does not excite the network, or the covariance would grow without bound.

Nothing here waits or keeps state: `step(network, state, sample)` gives the next state.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

Array = np.ndarray[Any, Any]

SPECTRAL_RADIUS = 0.9  # below 1 the network forgets its start (the echo state property)
LEAK = 0.5  # share of a unit's value that is replaced each step
INPUT_GAIN = 0.5  # standardised inputs then use the bent part of tanh without saturating it
FORGETTING = 0.998  # the readout remembers about 500 samples
PRIOR_COVARIANCE = 10.0  # of the readout's weights before any sample: a mild ridge towards 0
SIGNAL_MEMORY = 1000.0  # samples over which mean and deviation are averaged
ERROR_MEMORY = 200.0  # samples over which the usual error is averaged; shorter, as errors shrink while it learns
ERROR_CUT = 4.0  # usual errors; a larger one teaches, and widens the scale, as one of this size
INPUT_CUT = 5.0  # deviations; a larger input is shown to the network as one of this size
PRIOR_ERRORS = 4.0  # samples' worth of belief that errors are as large as the signal's own deviation


@dataclass(frozen=True, slots=True)
class Network:
    """What is fixed: float64 recurrent[units, units] and inputs[units, 1 + features]; resolution[features].

    `resolution` is the smallest change worth notice, in the unit of each feature: no deviation and no usual error
    is taken to be smaller, so that the first flicker of a silent signal is no alarm.
    """

    recurrent: Array
    inputs: Array
    resolution: Array
    horizon: int


@dataclass(frozen=True, slots=True)
class State:
    """What changes; all float64. `n` is features, `m` = 1 + features + units regressors, `h` the horizon."""

    count: int  # samples seen
    mean: Array  # [n]
    variance: Array  # [n]
    units: Array  # [units]
    readout: Array  # [n, m], in deviations
    covariance: Array  # [m, m]
    regressors: Array  # [h, m], of the last h samples, oldest first
    forecasts: Array  # [h, n], in the unit of the signal, for the next h samples, nearest first
    error_square: Array  # [n], usual squared error, in deviations


class Step(NamedTuple):
    """`forecast` float64[n] is what had been forecast for this sample; `score` how many usual errors it is off."""

    state: State
    forecast: Array
    score: float


def network(features: int, units: int, *, seed: int, horizon: int = 1, resolution: Array | float = 0.0) -> Network:
    """A random network: uniform weights, the recurrent ones scaled to `SPECTRAL_RADIUS`."""
    random = np.random.default_rng(seed)
    recurrent = random.uniform(-1.0, 1.0, (units, units))
    recurrent *= SPECTRAL_RADIUS / np.abs(np.linalg.eigvals(recurrent)).max()
    inputs = INPUT_GAIN * random.uniform(-1.0, 1.0, (units, 1 + features))
    return Network(recurrent, inputs, np.broadcast_to(np.asarray(resolution, np.float64), (features,)), horizon)


def initial_state(net: Network) -> State:
    """Before any sample: the readout forecasts the mean."""
    features, units = len(net.resolution), len(net.recurrent)
    regressors = 1 + features + units
    return State(
        count=0,
        mean=np.zeros(features),
        variance=np.zeros(features),
        units=np.zeros(units),
        readout=np.zeros((features, regressors)),
        covariance=PRIOR_COVARIANCE * np.eye(regressors),
        regressors=np.zeros((net.horizon, regressors)),
        forecasts=np.zeros((net.horizon, features)),
        error_square=np.ones(features),
    )


def step(net: Network, state: State, sample: Array) -> Step:
    """Judge `sample` (float[n], finite), learn from it, forecast the sample `horizon` steps on.

    The score is the largest over the features of |sample - forecast| / usual error, the usual error being the root
    of a running mean square. During the first `horizon` samples there was no forecast: the sample itself is
    given back, with score 0.
    """
    sample = np.asarray(sample, dtype=np.float64)
    mean, variance = _moments(state, sample)
    deviation = np.maximum(np.sqrt(variance), np.maximum(net.resolution, 1e-9 * np.abs(mean) + 1e-300))

    if state.count < net.horizon:
        forecast, score = sample, 0.0
        readout, covariance, error_square = state.readout, state.covariance, state.error_square
    else:
        forecast = state.forecasts[0]
        usual = np.maximum(np.sqrt(state.error_square), net.resolution / deviation)
        error = (sample - forecast) / deviation
        score = float(np.max(np.abs(error) / usual, initial=0.0))
        cut = np.clip(error, -ERROR_CUT * usual, ERROR_CUT * usual)
        weight = 1.0 / min(state.count - net.horizon + 1.0 + PRIOR_ERRORS, ERROR_MEMORY)
        error_square = state.error_square + weight * (cut**2 - state.error_square)
        # The readout has been taught since it made that forecast: what it would say now is what is corrected.
        amiss = (sample - mean) / deviation - state.readout @ state.regressors[0]
        lesson = np.clip(amiss, -ERROR_CUT * usual, ERROR_CUT * usual)
        readout, covariance = _learn(state.readout, state.covariance, state.regressors[0], lesson)

    shown = np.clip((sample - mean) / deviation, -INPUT_CUT, INPUT_CUT)
    units = _echo(net, state.units, shown)
    regressor = np.concatenate([[1.0], shown, units])
    ahead = mean + deviation * (readout @ regressor)
    after = State(
        count=state.count + 1,
        mean=mean,
        variance=variance,
        units=units,
        readout=readout,
        covariance=covariance,
        regressors=np.concatenate([state.regressors[1:], regressor[None]]),
        forecasts=np.concatenate([state.forecasts[1:], ahead[None]]),
        error_square=error_square,
    )
    return Step(after, forecast, score)


def _moments(state: State, sample: Array) -> tuple[Array, Array]:
    """Running mean and variance: exact over the first samples, exponential over `SIGNAL_MEMORY` later on."""
    weight = 1.0 / min(state.count + 1.0, SIGNAL_MEMORY)
    away = sample - state.mean
    if state.count >= SIGNAL_MEMORY / 100.0:  # by then the deviation is known well enough to tell an outlier
        limit = INPUT_CUT * np.sqrt(state.variance)
        away = np.where(limit > 0.0, np.clip(away, -limit, limit), away)
    mean = state.mean + weight * away
    return mean, (1.0 - weight) * (state.variance + weight * away**2)


def _echo(net: Network, units: Array, shown: Array) -> Array:
    drive: Array = net.recurrent @ units + net.inputs[:, 0] + net.inputs[:, 1:] @ shown
    return np.asarray((1.0 - LEAK) * units + LEAK * np.tanh(drive))


def _learn(readout: Array, covariance: Array, regressor: Array, error: Array) -> tuple[Array, Array]:
    """One step of recursive least squares; all features share one covariance."""
    spread = covariance @ regressor
    gain = spread / (FORGETTING + regressor @ spread)
    reduced = covariance - np.outer(gain, spread)
    reduced = 0.5 * (reduced + reduced.T)  # rounding would let it drift from symmetry, and then diverge
    if np.trace(reduced) < FORGETTING * PRIOR_COVARIANCE * len(regressor):
        reduced = reduced / FORGETTING
    return readout + np.outer(error, gain), reduced
