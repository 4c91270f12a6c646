"""Values between two data of a signal."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamflow import Message
from streamflow.errors import ResultError
from streamflow.joins import Blend
from streamflow.runtime.stage.interpolation import between, lerp, slerp

WEIGHTS = st.floats(0.0, 1.0)


@given(st.integers(0, 2**32 - 1), WEIGHTS)
def test_a_quaternion_between_two_divides_the_angle_whichever_sign_they_have(seed: int, weight: float) -> None:
    chance = np.random.default_rng(seed)
    axis = chance.normal(size=3)
    axis /= np.linalg.norm(axis)
    angle = chance.uniform(0, 3.1)

    def turned(by: float) -> np.ndarray:
        return np.concatenate([[np.cos(by / 2)], np.sin(by / 2) * axis])

    start = 0.3
    for sign in (1, -1):
        found = slerp(turned(start), sign * turned(start + angle), weight)
        assert np.linalg.norm(found) == pytest.approx(1, abs=1e-12)
        assert abs(found @ turned(start + weight * angle)) == pytest.approx(1, abs=1e-9)


@given(WEIGHTS)
def test_many_quaternions_are_blended_as_each_by_itself(weight: float) -> None:
    chance = np.random.default_rng(1)
    many = chance.normal(size=(2, 5, 4))
    many /= np.linalg.norm(many, axis=-1, keepdims=True)
    together = slerp(many[0], many[1], weight)
    apart = [slerp(first, second, weight) for first, second in zip(many[0], many[1], strict=True)]
    np.testing.assert_allclose(together, apart, atol=1e-12)


def test_whole_numbers_become_fractions_and_float32_stays_what_it_is() -> None:
    assert lerp(np.array([1, 2]), np.array([2, 4]), 0.25).tolist() == [1.25, 2.5]
    assert lerp(np.float32([1]), np.float32([2]), 0.5).dtype == np.float32
    assert lerp(np.uint8([250]), np.uint8([10]), 0.5).tolist() == [130.0]


def test_what_cannot_be_interpolated_is_told() -> None:
    first, second = Message({"array": np.zeros(3)}), Message({"array": np.zeros(4)})
    with pytest.raises(ResultError, match=r"tensor array of float64 \(3,\) and float64 \(4,\) cannot be interpolated"):
        between(first, second, 0.5, 0, Blend.LINEAR)
    words = Message({"array": np.array("left")})
    with pytest.raises(ResultError, match="expected two of one shape, of numbers"):
        between(words, words, 0.5, 0, Blend.LINEAR)
