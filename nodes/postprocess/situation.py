"""What several senses tell of one moment, as one record: who and what is seen, speech, inclination, temperature."""

from __future__ import annotations

from typing import Any

import numpy as np

from streamflow import In, Message, Node, Out

Array = np.ndarray[Any, Any]


class Situation(Node):
    """Four inputs that a join brings together; what is missing in a row is NaN, and no objects.

    objects: boxes as of `Detections`; speech: a probability; attitude: unit quaternions w x y z that turn body vectors
    into earth vectors, z up, of which the last counts; temperature: as of `Trend`.

    Output: `people` int64, boxes of the class `person`; `speech` float32; `inclination_deg` float64, from the body's z
    axis to the vertical; `temperature_c` and `temperature_per_minute` float64; and the boxes as they came. What the
    join tells of each input, state and age, comes along as attributes.
    """

    objects = In(box="float32[n, 4]", score="float32[n]", name="str[n]", **{"class": "int64[n]"})
    speech = In("float32[...]")
    attitude = In("float32|float64[..., 4]")
    temperature = In(value="float64[]", per_minute="float64[]")
    situation = Out(
        people="int64[]",
        speech="float32[]",
        inclination_deg="float64[]",
        temperature_c="float64[]",
        temperature_per_minute="float64[]",
        box="float32[n, 4]",
        score="float32[n]",
        name="str[n]",
        **{"class": "int64[n]"},
    )

    def __init__(self, person: int = 0) -> None:
        """`person`: the class of people, 0 in COCO."""
        self._person = person

    def process(
        self,
        *,
        objects: Message | None,
        speech: Message | None,
        attitude: Message | None,
        temperature: Message | None,
    ) -> dict[str, Any]:
        seen = NOTHING_SEEN if objects is None else objects.tensors
        celsius, per_minute = (np.nan, np.nan) if temperature is None else _numbers(temperature)
        return {
            "people": np.int64(np.count_nonzero(np.asarray(seen["class"]) == self._person)),
            "speech": np.float32(np.nan if speech is None else speech.array.item()),
            "inclination_deg": np.float64(np.nan if attitude is None else inclination_deg(attitude.array)),
            "temperature_c": np.float64(celsius),
            "temperature_per_minute": np.float64(per_minute),
            **{name: seen[name] for name in NOTHING_SEEN},
        }


NOTHING_SEEN: dict[str, Array] = {
    "box": np.zeros((0, 4), np.float32),
    "score": np.zeros(0, np.float32),
    "name": np.zeros(0, dtype="U1"),
    "class": np.zeros(0, np.int64),
}


def inclination_deg(attitude: Array) -> float:
    """Between the body's z axis and the vertical, 0 to 180, by the last of [..., 4]: cos = 1 - 2 (x² + y²), atan2'd."""
    w, x, y, z = np.asarray(attitude, np.float64).reshape(-1, 4)[-1]
    return float(np.degrees(2 * np.arctan2(np.hypot(x, y), np.hypot(w, z))))


def _numbers(temperature: Message) -> tuple[float, float]:
    return float(temperature["value"].item()), float(temperature["per_minute"].item())
