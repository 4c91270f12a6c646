"""ThresholdAlert speaks only when an alert starts or ends."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from nodes.postprocess import ThresholdAlert
from streamflow import InputError, Message, Out
from streamflow.core.ports import unify_ports
from streamflow.testing.harness import drive


def alerts(values: list[float], **settings: Any) -> list[tuple[float, bool, float]]:
    """The values arrive 0.1 s apart."""
    inputs = [Message({"array": np.float32(v)}, attributes={"time_s": i / 10}) for i, v in enumerate(values)]
    sent = drive(ThresholdAlert(**settings), inputs).messages
    return [(round(float(m["value"]), 6), bool(m["started"]), float(m["time_s"])) for m in sent]


def test_an_alert_starts_at_the_level_and_ends_at_the_release() -> None:
    values = [0, 4.9, 5, 6, 4, 3.1, 3, 2, 4.9]
    assert alerts(values, level=5, release=3) == [(5, True, 0.2), (3, False, 0.6)]


def test_between_release_and_level_nothing_changes() -> None:
    assert alerts([6, 4, 4.9, 3.5, 6, 4], level=5, release=3) == [(6, True, 0.0)]


def test_without_a_release_it_is_alerting_strictly_above_the_level() -> None:
    assert alerts([5, 5.5, 5, 5], level=5) == [(5.5, True, 0.1), (5, False, 0.2)]


def test_a_release_above_the_level_alerts_below_it() -> None:
    assert alerts([97, 90, 89, 93, 95], level=90, release=95) == [(90, True, 0.1), (95, False, 0.4)]


def test_a_level_that_is_not_held_raises_no_alert() -> None:
    assert alerts([0, 6, 6, 0, 6, 6, 6, 6], level=5, hold_s=0.2) == [(6, True, 0.6)]


def test_nan_changes_nothing() -> None:
    nan = float("nan")
    assert alerts([nan, 6, nan, 6, nan, 0, nan], level=5, release=1) == [(6, True, 0.1), (0, False, 0.5)]
    assert alerts([6, nan, 6], level=5, hold_s=0.2) == [(6, True, 0.2)]


def test_an_alert_that_is_on_at_the_end_is_not_ended() -> None:
    assert alerts([6], level=5) == [(6, True, 0.0)]


def test_without_the_attribute_the_time_is_the_event_time() -> None:
    (sent,) = drive(ThresholdAlert(5), [Message({"array": np.int64(7)}, event_time_ns=2_500_000_000)]).messages
    assert float(sent["time_s"]) == 2.5


def test_a_field_is_watched_among_other_tensors() -> None:
    node = ThresholdAlert(5, field="score")
    forecaster = Out(score="float32[]", forecast="float32[channels]", actual="float32[channels]")
    assert unify_ports(forecaster.type, node.inputs()["value"].type, {}) == {}
    inputs = [{"score": np.float32(score), "forecast": np.zeros(2), "actual": np.zeros(2)} for score in (1, 9)]
    assert [float(message["value"]) for message in drive(node, inputs).messages] == [9]


def test_several_elements_are_refused() -> None:
    with pytest.raises(InputError, match=r"float64\[3\] arrived, expected one number"):
        drive(ThresholdAlert(5), [np.zeros(3)])


@pytest.mark.parametrize("settings", [{"level": float("nan")}, {"level": 1, "hold_s": -1}])
def test_impossible_settings_are_refused(settings: dict[str, float]) -> None:
    with pytest.raises(InputError, match="ThresholdAlert"):
        ThresholdAlert(**settings)


def test_the_alert_of_one_signal_is_not_ended_by_another() -> None:
    def scored(signal: str, score: float, at: int) -> Message:
        return Message({"score": np.float32(score)}, signal, at, at * 10**9, {"signal": signal})

    sent = drive(
        ThresholdAlert(6.0, 3.0, field="score", by="signal"),
        [scored("disk", 9, 0), scored("cpu", 1, 1), scored("disk", 8, 2), scored("cpu", 7, 3), scored("disk", 1, 4)],
    ).messages
    told = [(m.attributes["signal"], bool(m["started"]), float(m["time_s"])) for m in sent]
    assert told == [("disk", True, 0.0), ("cpu", True, 3.0), ("disk", False, 4.0)]
