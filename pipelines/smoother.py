"""A noisy tone, smoothed by a tracker whose prediction comes back to it: a feedback edge."""

import numpy as np

from nodes.infer import Correct, Predict
from nodes.ingest import Tone
from nodes.postprocess import JsonLines
from streamflow import Pipeline, ms
from streamflow.joins import Exact


def build(
    rate_hz: float = 100.0,
    duration_s: float | None = 5.0,
    noise: float = 0.2,
    patience_ms: int = 20,
    out: str = "-",
) -> Pipeline:
    """`patience_ms`: how long a sample waits for its prediction before it goes on with the one before."""
    p = Pipeline("smoother")
    sensor = p.add("sensor", Tone(frequency_hz=0.5, rate_hz=rate_hz, chunk=1, noise=noise, duration_s=duration_s))
    correct = p.add("correct", Correct(rate_hz), join=Exact(max_wait=patience_ms * ms))
    predict = p.add("predict", Predict(rate_hz))
    log = p.add("log", JsonLines(out))
    p.connect(sensor.signal, correct.measured)
    p.connect(correct, predict)
    p.connect(predict, correct.prior, delay=1, initial=np.zeros(2))
    p.connect(correct, log)
    p.deadline("smoothed", sensor, log, within=50 * ms)
    return p
