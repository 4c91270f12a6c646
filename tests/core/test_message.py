"""One datum, as a node sees it."""

from __future__ import annotations

import dataclasses

import pytest

from streamflow import Message, ms, s
from streamflow.core.message import Origin, made


def test_the_only_tensor_is_the_array_whatever_its_name() -> None:
    assert Message({"samples": "x"}).array == "x"


@pytest.mark.parametrize("tensors", [{}, {"box": 1, "score": 2}])
def test_a_message_of_none_or_several_tensors_has_no_single_array(tensors: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=f"{len(tensors)} tensors has no single array: {', '.join(tensors)}"):
        _ = Message(tensors).array


def test_tensors_are_found_by_name() -> None:
    assert Message({"box": 1, "score": 2})["score"] == 2


def test_the_age_counts_from_when_the_sensor_took_the_sample() -> None:
    assert Message({}, event_time_ns=2 * s).age_ns(now_ns=2 * s + 5 * ms) == 5 * ms


def test_a_message_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Message({}).seq = 1  # type: ignore[misc]


def test_one_that_was_made_is_like_any_other() -> None:
    given = {"x": 1}, "mic", 3, 1000, {"frame": 7}, 9000, 1, 2000, 3000, (Origin("mic", 3, 1000),)
    quick = made(*given)
    assert quick == Message(*given)
    assert type(quick) is Message
    with pytest.raises(dataclasses.FrozenInstanceError):
        quick.seq = 4  # type: ignore[misc]
    assert dataclasses.replace(quick, seq=4).seq == 4
    assert repr(quick) == repr(Message(*given))
