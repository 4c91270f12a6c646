"""Situation: what several senses tell of one moment, and what is said where one of them is missing."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from nodes.postprocess import Situation
from nodes.postprocess.situation import inclination_deg
from streamflow import Message


def message(**tensors: Any) -> Message:
    return Message({name: np.asarray(value) for name, value in tensors.items()}, "s", 0, 0)


SEEN = message(
    box=np.zeros((3, 4), np.float32),
    score=np.ones(3, np.float32),
    name=["person", "bottle", "person"],
    **{"class": np.array([0, 39, 0])},
)


def test_a_whole_row_becomes_one_record() -> None:
    found = Situation().process(
        objects=SEEN,
        speech=message(array=np.array([0.75], np.float32)),
        attitude=message(array=np.array([[1, 0, 0, 0], [0, 1, 0, 0]], np.float32)),
        temperature=message(value=21.5, per_minute=-0.5),
    )
    assert found["people"] == 2
    assert found["speech"] == 0.75
    assert found["inclination_deg"] == 180
    assert (found["temperature_c"], found["temperature_per_minute"]) == (21.5, -0.5)
    assert found["name"].tolist() == ["person", "bottle", "person"]


def test_what_is_missing_is_nan_and_nothing_is_seen() -> None:
    found = Situation().process(objects=None, speech=None, attitude=None, temperature=None)
    assert found["people"] == 0
    assert found["box"].shape == (0, 4)
    numbers = ("speech", "inclination_deg", "temperature_c", "temperature_per_minute")
    assert all(np.isnan(found[name]) for name in numbers)


@pytest.mark.parametrize("degrees", [0.0, 1e-4, 30.0, 90.0, 179.9])
def test_inclination_does_not_depend_on_heading_and_is_exact_near_0(degrees: float) -> None:
    half = np.radians(degrees) / 2
    tilt = np.array([np.cos(half), np.sin(half) * 0.6, np.sin(half) * 0.8, 0])
    w, x, y, z = tilt
    turn_w, turn_z = np.cos(0.4), np.sin(0.4)  # the turn about the vertical comes after it
    turned = np.array(
        [turn_w * w - turn_z * z, turn_w * x - turn_z * y, turn_w * y + turn_z * x, turn_w * z + turn_z * w]
    )
    assert inclination_deg(tilt) == pytest.approx(degrees, rel=1e-9)
    assert inclination_deg(turned) == pytest.approx(degrees, rel=1e-9)
