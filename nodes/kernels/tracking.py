"""The alpha-beta filter: a position and its rate, tracked through noise at constant gains."""

from __future__ import annotations

from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


def predicted(state: Array, period_s: float) -> Array:
    """One period on at constant rate: float64[2] (position, rate) in and out."""
    position, rate = state
    return np.array([position + period_s * rate, rate])


def corrected(prior: Array, measured: float, period_s: float, alpha: float, beta: float) -> Array:
    """The prior float64[2], drawn towards what was measured (Benedict and Bordner 1962, g-h form)."""
    residual = measured - prior[0]
    return np.array([prior[0] + alpha * residual, prior[1] + beta / period_s * residual])


def tracked(measured: Array, period_s: float, alpha: float, beta: float, start: Array) -> Array:
    """The corrected states of a whole signal, float64[time] to float64[time, 2]; `start` is the first prior."""
    states = np.empty((len(measured), 2))
    prior = start
    for index, value in enumerate(measured):
        states[index] = corrected(prior, float(value), period_s, alpha, beta)
        prior = predicted(states[index], period_s)
    return states
