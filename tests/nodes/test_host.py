"""The pipeline of `make demo`: what it is made of, and that its own small node keeps signals apart."""

from __future__ import annotations

import numpy as np
import pytest

from pipelines.host import AlertOfEachSignal, build
from streamflow import Message
from streamflow.testing import drive

psutil = pytest.importorskip("psutil", reason="the extra `host` is not installed")


def test_the_pipeline_has_no_fault_and_each_stage_its_own_process() -> None:
    pipeline = build()
    pipeline.check()
    stages = pipeline.definition().graph.stages
    assert len({stage.process for stage in stages}) == len(stages)


def test_the_sensors_have_the_rates_that_are_promised() -> None:
    nodes = build().definition().nodes
    assert nodes["jitter"].outputs()["lateness"].type.rate_hz >= 200
    assert 50 <= nodes["cpu"].outputs()["readings"].type.rate_hz <= 100
    assert nodes["memory"].outputs()["readings"].type.rate_hz == 10
    if "disk" in nodes:
        assert nodes["disk"].outputs()["readings"].type.rate_hz == 1


def test_a_machine_without_disk_and_temperature_has_no_stage_for_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(psutil, "disk_io_counters", lambda: None)  # what psutil answers on such a machine
    monkeypatch.setattr(psutil, "sensors_temperatures", dict)
    pipeline = build()
    pipeline.check()
    assert "disk" not in pipeline.definition().nodes


def test_a_machine_without_network_has_memory_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(psutil, "net_io_counters", lambda pernic: {"lo": None})
    pipeline = build()
    pipeline.check()
    assert pipeline.definition().nodes["memory"].outputs()["readings"].type.tensors["array"].dimensions == (1, 1)


def test_the_alert_of_one_signal_is_not_ended_by_another() -> None:
    def scored(signal: str, score: float, at: int) -> Message:
        return Message({"score": np.float32(score)}, signal, at, at * 10**9, {"signal": signal})

    sent = drive(
        AlertOfEachSignal(6.0, 3.0),
        [scored("disk", 9, 0), scored("cpu", 1, 1), scored("disk", 8, 2), scored("cpu", 7, 3), scored("disk", 1, 4)],
    ).messages
    told = [(m.attributes["signal"], bool(m["started"]), float(m["time_s"])) for m in sent]
    assert told == [("disk", True, 0.0), ("cpu", True, 3.0), ("disk", False, 4.0)]
