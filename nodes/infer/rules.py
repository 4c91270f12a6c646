"""Rules in place of models, for signals plain enough: loud or not, what is lit in an image, tilt from gravity.

They need no file, and take and give what a speech detector, an object detector and an attitude estimator do; so a
pipeline can be tried, and tested, on made-up sensors.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from streamflow import In, InputError, Message, Node, Out

Array = np.ndarray[Any, Any]


class Loudness(Node):
    """How likely somebody speaks: power / (power + level²), float32[1]; a half where the RMS of a chunk is `level`."""

    sound = In("float32[time]")
    probability = Out("float32[1]")

    def __init__(self, level: float = 0.05) -> None:
        if not level > 0:
            raise InputError("Loudness level", f"{level:g}", "an RMS above 0")
        self._level_power = level**2

    def process(self, message: Message) -> Array:
        power = float(np.mean(np.square(message.array, dtype=np.float64)))
        return np.array([power / (power + self._level_power)], np.float32)


class BrightBox(Node):
    """The one box around all pixels brighter than `level` in any channel, as `Detections` tells it: class 0, score 1.

    In pixels, x1, y1, x2, y2, the far edges exclusive; no box where all is dark.
    """

    image = In("uint8[height, width, channels]")
    objects = Out(box="float32[n, 4]", score="float32[n]", name="str[n]", **{"class": "int64[n]"})

    def __init__(self, level: int = 32, name: str = "shape") -> None:
        if not 0 <= level <= 255:
            raise InputError("BrightBox level", f"{level}", "0 to 255")
        self._level = level
        self._name = name

    def process(self, message: Message) -> dict[str, Array]:
        is_lit = (message.array > self._level).any(axis=2)
        rows, columns = np.flatnonzero(is_lit.any(axis=1)), np.flatnonzero(is_lit.any(axis=0))
        boxes = [[columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]] if len(rows) else []
        return {
            "box": np.array(boxes, np.float32).reshape(-1, 4),
            "score": np.ones(len(boxes), np.float32),
            "name": np.array([self._name] * len(boxes), dtype=np.str_),
            "class": np.zeros(len(boxes), np.int64),
        }


class Tilt(Node):
    """Attitude from gravity alone, of a sensor that is not carried away: float32[time, 4], w x y z, without heading.

    The shortest turn that takes what the accelerometer shows, the first three columns, to the vertical.
    """

    samples = In("float32[time, columns]")
    attitude = Out("float32[time, 4]")

    def process(self, message: Message) -> Array:
        force = message.array[:, :3].astype(np.float64)
        up = force / np.maximum(np.linalg.norm(force, axis=1, keepdims=True), np.finfo(np.float64).tiny)
        turn = np.stack([1 + up[:, 2], up[:, 1], -up[:, 0], np.zeros(len(up))], axis=1)
        length = np.linalg.norm(turn, axis=1, keepdims=True)
        upside_down = np.array([0.0, 1.0, 0.0, 0.0])  # any axis that lies flat does
        return np.where(length > 1e-9, turn / np.maximum(length, 1e-9), upside_down).astype(np.float32)
