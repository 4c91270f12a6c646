"""A window in a few numbers: what a slow model needs of a fast signal."""

from __future__ import annotations

from typing import Any

import numpy as np

from streamflow import In, Message, Node, Out


class Summarise(Node):
    """The mean, then the maximum, over time of each channel: [channels, time] to float32[2 · channels].

    The order is mean of channel 0, 1, …, maximum of channel 0, 1, …; time must not be empty.
    """

    window = In("float32|float64[channels, time]")
    features = Out("float32[features]")

    def process(self, message: Message) -> np.ndarray[Any, Any]:
        window = message.array
        return np.concatenate([window.mean(axis=1), window.max(axis=1)]).astype(np.float32)
