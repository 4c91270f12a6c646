"""A tracker in two stages, correct and predict, between which a prediction comes back."""

from __future__ import annotations

from typing import Any

import numpy as np

from nodes.kernels.tracking import corrected, predicted
from streamflow import In, InputError, Message, Node, Out


class Correct(Node):
    """A measurement and what was predicted for it: the state float64[2] (position, rate) between the two.

    Connect `Predict` back to `prior` with a delay. `measured` is one sample, of any shape with one element.
    """

    measured = In("float32|float64[...]")
    prior = In("float64[2]")
    state = Out("float64[2]")

    def __init__(self, rate_hz: float, *, alpha: float = 0.5, beta: float = 0.1) -> None:
        _require_rate(self, rate_hz)
        if not 0 < alpha < 1 or not 0 < beta < 4 - 2 * alpha:
            raise InputError("Correct", f"alpha {alpha:g}, beta {beta:g}", "0 < alpha < 1 and 0 < beta < 4 - 2 alpha")
        self.period_s = 1 / rate_hz
        self.alpha, self.beta = alpha, beta

    def process(self, *, measured: Message, prior: Message) -> Any:
        value = float(np.asarray(measured.array).item())
        return corrected(prior.array, value, self.period_s, self.alpha, self.beta)


class Predict(Node):
    """A state, one period on."""

    state = In("float64[2]")
    prior = Out("float64[2]")

    def __init__(self, rate_hz: float) -> None:
        _require_rate(self, rate_hz)
        self.period_s = 1 / rate_hz

    def process(self, message: Message) -> Any:
        return predicted(message.array, self.period_s)


def _require_rate(node: Node, rate_hz: float) -> None:
    if not rate_hz > 0:
        raise InputError(f"{type(node).__name__}(rate_hz)", f"{rate_hz:g}", "a rate above 0 Hz")
