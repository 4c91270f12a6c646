"""One datum, as a node sees it."""

from __future__ import annotations

import copy

import pytest

from streamflow import Message, ms, s
from streamflow.core.message import Origin


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


@pytest.mark.parametrize("name", ["seq", "tensors", "origins"])
def test_a_message_cannot_be_changed(name: str) -> None:
    message = Message({})
    with pytest.raises(AttributeError):
        setattr(message, name, 1)
    assert message == Message({})


def test_another_can_be_made_of_it() -> None:
    given = {"x": 1}, "mic", 3, 1000, {"frame": 7}, 9000, 1, 2000, 3000, (Origin("mic", 3, 1000),)
    message = Message(*given)
    assert message.replace(seq=4, flags=2) == Message(*given[:2], 4, *given[3:6], 2, *given[7:])
    assert message == Message(*given) == copy.copy(message) != message.replace(stream="camera")
    assert repr(message) == repr(message.replace()) != repr(message.replace(seq=4))
    with pytest.raises(TypeError, match="keyword argument"):
        message.replace(sequence=4)
