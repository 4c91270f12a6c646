"""The reference of the cabin: what is looked up for an instant, and what counts as another record."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest

from tools.claims.cabin_reference import Sense, differences

RECORD: dict[str, Any] = {
    "frame": 7,
    "time_s": 0.25,
    "speech_state": "used",
    "speech_age_ms": 3.5,
    "speech": 0.5,
    "temperature_per_minute": None,
    "people": 1,
    "objects": [{"box": [1.0, 2.0, 3.0, 4.0], "score": 0.9, "class": 0, "name": "person"}],
}


def changed(**values: Any) -> dict[str, Any]:
    return copy.deepcopy(RECORD) | values


def test_the_newest_datum_up_to_an_instant_is_taken_that_of_the_instant_itself_included() -> None:
    sense = Sense(np.array([10, 20, 30]), [{}, {}, {}])
    assert [sense.newest(time_ns) for time_ns in (9, 10, 19, 20, 99)] == [-1, 0, 0, 1, 2]


def test_the_same_arithmetic_in_other_hands_is_no_difference() -> None:
    box = [{"box": [1.01, 2.0, 3.0, 4.0], "score": 0.9001, "class": 0, "name": "person"}]
    assert differences([changed(speech=0.50001, objects=box)], [RECORD]) == []


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"speech_state": "held"}, "speech_state held for used"),
        ({"speech_age_ms": 3.501}, "speech_age_ms 3.501 for 3.5"),
        ({"speech": None}, "speech None for 0.5"),
        ({"speech": 0.6}, "speech 0.6 for 0.5"),
        ({"temperature_per_minute": 1.0}, "temperature_per_minute 1.0 for None"),
        ({"objects": []}, "objects [] for [{"),
        ({"unheard_of": 1}, "unheard_of 1 for None"),
    ],
)
def test_whatever_else_differs_is_told_with_its_frame(values: dict[str, Any], told: str) -> None:
    found = differences([changed(**values)], [RECORD])
    assert len(found) == 1
    assert found[0].startswith(f"frame 7: {told}")


@pytest.mark.parametrize("change", [{"class": 1}, {"name": "cat"}, {"score": 0.8}, {"box": [1, 2, 3, 5]}])
def test_another_object_is_a_difference(change: dict[str, Any]) -> None:
    objects = [RECORD["objects"][0] | change]
    assert len(differences([changed(objects=objects)], [RECORD])) == 1
