"""The pipeline of `make demo`: what it is made of."""

from __future__ import annotations

import pytest

from pipelines.host import build

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
