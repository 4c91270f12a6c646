"""An anomaly score for any slow or fast signal: how far each sample is from what a small recurrent network foresaw."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from nodes.kernels import forecast as kernel
from streamflow import In, InputError, Message, Node, Out, Output

SAMPLES_AT_LEAST = 4  # before these there is no deviation to measure a surprise by
SCORE_LIMIT = 1e9  # a score is finite in float32, however sudden the jump

Resolution = float | Sequence[float]


class EchoForecaster(Node):
    """Learns each signal as it comes, forecasts its next sample, and scores the sample that then arrives.

    One In port per signal, each with a network and a state of its own, float[...] with always as many values;
    signals of different rates do not wait for each other. Out `score` float32[]: the error in usual errors (about
    1 on ordinary samples, 6 is rare), `forecast` and `actual` float32[features]; the attribute `signal` is the
    port's name. Nothing is sent until the signal has been seen for `warm_up_s` or `warm_up_samples`, whichever
    comes first.
    """

    scores = Out(score="float32[]", forecast="float32[...]", actual="float32[...]")

    def __init__(
        self,
        signals: Mapping[str, Resolution] | None = None,
        *,
        warm_up_s: float = 5.0,
        warm_up_samples: int = 50,
        reservoir: int = 48,
        horizon: int = 1,
        seed: int = 0,
    ) -> None:
        """`signals`: port names, each with the smallest change worth notice (one number, or one per feature).

        Without `signals` there is one port, `signal`, of resolution 0. `reservoir` is the number of recurrent
        units, `horizon` how many samples ahead is forecast.
        """
        self.resolutions = dict(signals) if signals is not None else {"signal": 0.0}
        self.warm_up_ns = round(warm_up_s * 1e9)
        self.warm_up_samples = warm_up_samples
        self.reservoir = _at_least(1, "reservoir", reservoir)
        self.horizon = _at_least(1, "horizon", horizon)
        self.seed = seed
        self._learners: dict[str, _Learner] = {}
        if not self.resolutions:
            raise InputError("EchoForecaster signals", "none given", "at least one name")
        for name in self.resolutions:
            if not name.isidentifier() or hasattr(self, name):
                raise InputError("EchoForecaster signals", f"'{name}' cannot name a port", "a free Python name")
            setattr(self, name, In("float32|float64[...]"))
            setattr(self, f"process_{name}", partial(self._judge, name))

    def _judge(self, signal: str, message: Message) -> Output | None:
        sample = np.asarray(message.array, dtype=np.float64).ravel()
        learner = self._learners.get(signal)
        if learner is None:
            learner = self._learners[signal] = self._new_learner(signal, len(sample), message.event_time_ns)
        if len(sample) != len(learner.network.resolution):
            raise InputError(
                f"EchoForecaster {signal}", f"{len(sample)} values", f"{len(learner.network.resolution)} as before"
            )
        if not np.isfinite(sample).all():
            raise InputError(f"EchoForecaster {signal}", "a value that is NaN or infinite", "finite values")
        learner.state, forecast, score = kernel.step(learner.network, learner.state, sample)
        if not self._is_warm(learner, message.event_time_ns):
            return None
        value = {
            "score": np.float32(min(score, SCORE_LIMIT)),
            "forecast": forecast.astype(np.float32),
            "actual": sample.astype(np.float32),
        }
        return Output(value, attributes={"signal": signal})

    def _new_learner(self, signal: str, features: int, now_ns: int) -> _Learner:
        resolution = np.asarray(self.resolutions[signal], dtype=np.float64)
        if resolution.ndim and resolution.shape != (features,):
            raise InputError(
                f"EchoForecaster {signal}",
                f"{resolution.size} resolutions for {features} values",
                "one for all, or one for each",
            )
        network = kernel.network(features, self.reservoir, seed=self.seed, horizon=self.horizon, resolution=resolution)
        return _Learner(network, now_ns)

    def _is_warm(self, learner: _Learner, now_ns: int) -> bool:
        seen = learner.state.count
        if seen <= self.horizon + SAMPLES_AT_LEAST:
            return False
        return seen > self.warm_up_samples or now_ns - learner.since_ns >= self.warm_up_ns


class _Learner:
    """One signal's network, its state, and when its first sample was taken."""

    def __init__(self, network: kernel.Network, since_ns: int) -> None:
        self.network = network
        self.since_ns = since_ns
        self.state = kernel.initial_state(network)


def _at_least(least: int, name: str, value: Any) -> int:
    if value < least:
        raise InputError("EchoForecaster", f"{name} = {value}", f"at least {least}")
    return int(value)
