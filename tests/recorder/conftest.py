"""A recorder and its reader, in a file and in memory."""

from __future__ import annotations

from pathlib import Path

import pytest

from streamflow.recorder.reader import Recording
from streamflow.recorder.writer import Recorder
from tests.recorder.made import SHAPE


@pytest.fixture(params=["file", "memory"])
def made(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Recorder, Recording]:
    if request.param == "memory":
        recorder = Recorder.in_memory(SHAPE)
        return recorder, Recording.over(recorder.buffer)
    return Recorder.create(tmp_path / "infer", SHAPE), Recording.open(tmp_path / "infer")
