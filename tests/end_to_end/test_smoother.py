"""A feedback edge between real processes: the tracker gives what its filter gives in one piece."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from nodes.ingest import Tone
from nodes.kernels.tracking import tracked
from streamflow.testing import drive
from tests.end_to_end.project import Project

PIPELINE = Path(__file__).parents[2] / "pipelines" / "smoother.py"
RATE_HZ, DURATION_S = 100.0, 2.0


@pytest.mark.parametrize("options", [["--offline"], []], ids=["without a clock", "at its own pace"])
def test_the_prediction_comes_back_in_time_for_the_next_sample(project: Project, options: list[str]) -> None:
    settings = ["--set", f"duration_s={DURATION_S}", "--set", "out=smooth.jsonl", "--set", "patience_ms=2000"]
    report = project.report(PIPELINE, *settings, *options)
    assert report["conserved"] is True
    lines = (project.folder / "smooth.jsonl").read_text().splitlines()
    found = np.array([json.loads(line)["array"] for line in lines])
    sensor = Tone(frequency_hz=0.5, rate_hz=RATE_HZ, chunk=1, noise=0.2, duration_s=DURATION_S)
    signal = np.array([float(message.tensors["array"][0]) for message in drive(sensor)["signal"]])
    truth = tracked(signal, 1 / RATE_HZ, 0.5, 0.1, np.zeros(2))
    np.testing.assert_array_equal(found, truth)
