"""Trend: the straight line through the last readings, by their event times."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from nodes.infer import Trend
from streamflow import InputError, Message
from streamflow.testing import drive


def readings(values: Sequence[float], times_s: Sequence[float], stream: str = "room") -> list[Message]:
    return [
        Message({"array": np.array([value], np.float32)}, stream, seq, round(time_s * 1e9))
        for seq, (value, time_s) in enumerate(zip(values, times_s, strict=True))
    ]


def test_a_single_reading_has_a_value_and_no_direction_yet() -> None:
    found = drive(Trend(), readings([21.5], [100])).messages[0]
    assert found["value"] == 21.5
    assert np.isnan(found["per_minute"])


def test_a_steady_rise_is_found_whatever_the_times_between_readings() -> None:
    times_s = [0, 1, 4, 4.5, 11]
    found = drive(Trend(), readings([20 + 0.1 * t for t in times_s], times_s)).messages[-1]
    assert found["value"] == pytest.approx(21.1, abs=1e-4)
    assert found["per_minute"] == pytest.approx(6.0, abs=1e-3)


def test_the_line_is_that_of_least_squares_over_the_span_alone() -> None:
    random = np.random.default_rng(3)
    values, times_s = random.normal(20, 1, 40), np.arange(40.0)
    found = drive(Trend(span_s=10), readings(list(values), list(times_s))).messages[-1]
    last = values[-10:].astype(np.float32)
    slope, level = np.polyfit(times_s[-10:] - times_s[-1], last, 1)
    assert found["value"] == pytest.approx(level)
    assert found["per_minute"] == pytest.approx(60 * slope)


def test_each_stream_has_a_line_of_its_own() -> None:
    mixed = [*readings([20, 21], [0, 60], "a"), *readings([5, 4], [0, 60], "b")]
    found = drive(Trend(span_s=100), [mixed[0], mixed[2], mixed[1], mixed[3]]).messages
    assert [float(m["per_minute"]) for m in found[2:]] == pytest.approx([1, -1])


def test_several_numbers_are_no_reading() -> None:
    with pytest.raises(InputError, match="one number"):
        drive(Trend(), [np.zeros(2, np.float32)])
