"""Many channels through spectra and a recurrent classifier, on the first device there is."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.end_to_end.project import Project

PIPELINE = Path(__file__).parents[2] / "pipelines" / "spectrum_gpu.py"
CHANNELS, CHUNKS = 6, 62


@pytest.mark.parametrize("options", [["--offline", "--set", "device=host"], []], ids=["without a clock", "at its pace"])
def test_what_is_heard_is_what_was_played(project: Project, options: list[str]) -> None:
    settings = {"channels": CHANNELS, "duration_s": 2.0, "out": "heard.jsonl", "within_ms": 2000}
    words = [word for name, value in settings.items() for word in ("--set", f"{name}={value}")]
    report = project.report(PIPELINE, *words, *options)
    assert report["conserved"] is True
    heard = [json.loads(line) for line in (project.folder / "heard.jsonl").read_text().splitlines()]
    assert len(heard) == CHANNELS * CHUNKS
    for channel in range(CHANNELS):
        samples = [one["sample"] for one in heard if one["channel"] == channel]
        assert samples == [256 * nth for nth in range(CHUNKS)]
    settled = [one for one in heard if one["since"] >= 10]
    assert sum(one["label"] == one["sound"] for one in settled) > 0.9 * len(settled) > 0
    assert [one for one in heard if one["gap"] is not None] == []
    devices = {report["stages"][name]["device"] for name in ("spectra", "classify")}
    assert len(devices) == 1
    if options:
        assert devices == {"host"}
        assert max(map(int, report["stages"]["classify"]["batch"])) > 1
