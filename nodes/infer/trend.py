"""Where a slow signal stands and where it goes: the straight line through its last readings."""

from __future__ import annotations

from collections import deque

import numpy as np

from nodes.kernels.streams import PerStream
from streamflow import In, InputError, Message, Node, Out

READING_LIMIT = 4096  # of a span; a signal with more is not slow, and every reading looks at all of them


class Trend(Node):
    """Least squares over the readings of the last `span_s` of event time: `value` float64, the line at the newest one;
    `per_minute` float64, how steep it is, NaN while there is one reading only.

    Input: one number a message, of each stream by itself. Of more readings than `READING_LIMIT` the newest count.
    """

    reading = In("float32|float64[...]")
    trend = Out(value="float64[]", per_minute="float64[]")

    def __init__(self, span_s: float = 60.0) -> None:
        if not span_s > 0:
            raise InputError("Trend span_s", f"{span_s:g}", "more than 0 s")
        self._span_ns = round(span_s * 1e9)
        self._readings = PerStream[deque[tuple[int, float]]](lambda: deque(maxlen=READING_LIMIT))

    def process(self, message: Message) -> dict[str, np.float64]:
        if message.array.size != 1:
            raise InputError("Trend reading", f"shape {list(message.array.shape)} arrived", "one number")
        newest_ns = message.event_time_ns
        readings = self._readings[message.stream]
        readings.append((newest_ns, float(message.array.item())))
        while readings[0][0] <= newest_ns - self._span_ns:
            readings.popleft()
        time_s = np.array([(time_ns - newest_ns) / 1e9 for time_ns, _ in readings])
        value = np.array([value for _, value in readings])
        away_s = time_s - time_s.mean()
        spread = float(away_s @ away_s)
        slope = float(away_s @ value) / spread if spread else 0.0
        per_minute = 60 * slope if spread else np.nan
        return {"value": np.float64(value.mean() - slope * time_s.mean()), "per_minute": np.float64(per_minute)}
